use std::cell::RefCell;

use super::*;
use crate::config::FilterConfig;
use crate::envelope::Format;
use crate::fixtures::{config, encoded, segment, segment_of};
use crate::id::TraceId;
use crate::span::Segment;

const NONE: Quantity = Quantity {
    segments: 0,
    spans: 0,
    events: 0,
};
const ONE: Quantity = Quantity {
    segments: 1,
    spans: 2,
    events: 0,
};

fn queue_of(max_bytes: usize) -> Queue {
    Queue::new(max_bytes, Generations::default())
}

fn encoded_segment(path: &str) -> EncodedSegment {
    encoded(&segment(path), Format::Transaction, &config(""))
}

fn of_trace(trace: u8) -> EncodedSegment {
    let mut segment = segment_of("/", |_| {});
    segment.context.to_mut().trace_id = TraceId::from_bytes([trace; 16]).unwrap();
    encoded(&segment, Format::SpanV2, &config(""))
}

/// Bytes and spans that wait, and bytes that are lent.
fn held(queue: &Queue) -> (usize, u32, usize) {
    queue.with(|lane| (lane.bytes, lane.spans, lane.lent))
}

#[test]
fn a_full_queue_loses_the_oldest() {
    let mut queue = queue_of(of_trace(1).weight() * 2);
    assert_eq!(queue.push(of_trace(1)), NONE);
    assert_eq!(queue.push(of_trace(2)), NONE);
    assert_eq!(queue.push(of_trace(3)), ONE, "both spans of a segment");
    assert_eq!(queue.take(BatchScope::Segment), [of_trace(2)]);
    assert_eq!(queue.take(BatchScope::Segment), [of_trace(3)]);
    assert!(queue.is_empty());
}

#[test]
fn a_trace_goes_whole() {
    let mut queue = queue_of(of_trace(1).weight() * 4);
    for trace in [1, 2, 1, 3] {
        assert_eq!(queue.push(of_trace(trace)), NONE);
    }
    assert_eq!(queue.push(of_trace(4)), ONE.plus(ONE), "both of the first");
    let left: Vec<_> = queue.take(BatchScope::Any);
    assert_eq!(left, [2, 3, 4].map(of_trace));
    let (bytes, spans, _lent) = held(&queue);
    assert_eq!((bytes, spans), (0, 0));
}

#[test]
fn a_full_queue_makes_room_for_more_than_one() {
    let weight = of_trace(1).weight();
    let mut queue = queue_of(weight * 64);
    for trace in 1..=64 {
        assert_eq!(queue.push(of_trace(trace)), NONE);
    }
    assert_eq!(queue.push(of_trace(65)).segments, 4, "a sixteenth of 64");
    for trace in 66..69 {
        assert_eq!(queue.push(of_trace(trace)), NONE);
    }
    assert_eq!(queue.push(of_trace(69)).segments, 4);
}

#[test]
fn what_never_fits_is_what_goes() {
    let mut queue = queue_of(encoded_segment("/").weight());
    assert_eq!(queue.push(encoded_segment("/")), NONE);
    assert_eq!(queue.push(encoded_segment(&"/x".repeat(2_000))), ONE);
    assert_eq!(queue.take(BatchScope::Segment), [encoded_segment("/")]);
}

#[test]
fn what_was_taken_keeps_its_room_until_it_is_settled() {
    let mut queue = queue_of(encoded_segment("/1").weight() * 2);
    assert_eq!(queue.push(encoded_segment("/1")), NONE);
    assert_eq!(queue.push(encoded_segment("/2")), NONE);
    let taken = queue.take(BatchScope::Segment);
    assert_eq!(
        queue.push(encoded_segment("/3")),
        ONE,
        "the second had to go"
    );
    queue.put_back(taken);
    assert_eq!(
        queue.take(BatchScope::Any),
        [encoded_segment("/1"), encoded_segment("/3")]
    );
    assert_eq!(
        queue.push(encoded_segment("/4")),
        ONE,
        "all of the room is lent"
    );
    queue.release(&[encoded_segment("/1"), encoded_segment("/3")]);
    assert_eq!(queue.push(encoded_segment("/5")), NONE);
    assert_eq!(queue.clear(), ONE);
    assert_eq!(held(&queue), (0, 0, 0));
}

#[test]
fn a_full_batch_does_not_wait() {
    let mut queue = queue_of(1 << 20);
    for index in 0..64 {
        assert!(!queue.is_full_batch(BatchScope::Segment), "{index}");
        assert_eq!(queue.push(encoded_segment("/")), NONE);
    }
    assert!(queue.is_full_batch(BatchScope::Segment));
    assert!(!queue.is_full_batch(BatchScope::Any));
}

#[test]
fn a_post_takes_what_may_go_together() {
    let traces = |segments: Vec<EncodedSegment>| -> Vec<u8> {
        segments
            .iter()
            .map(|segment| segment.trace_id().as_bytes()[0])
            .collect()
    };
    let fill = || {
        let mut queue = queue_of(1 << 20);
        for trace in [1, 2, 1, 3, 1] {
            assert_eq!(queue.push(of_trace(trace)), NONE);
        }
        queue
    };
    assert_eq!(traces(fill().take(BatchScope::Segment)), [1]);
    assert_eq!(traces(fill().take(BatchScope::Any)), [1, 2, 1, 3, 1]);
    let mut queue = fill();
    assert_eq!(traces(queue.take(BatchScope::Trace)), [1, 1, 1]);
    assert_eq!(traces(queue.take(BatchScope::Trace)), [2]);
    assert_eq!(traces(queue.take(BatchScope::Trace)), [3]);
    assert_eq!(queue.take(BatchScope::Trace), []);
}

#[test]
fn a_post_has_at_most_a_thousand_spans() {
    let mut queue = queue_of(1 << 24);
    for _ in 0..600 {
        assert_eq!(queue.push(of_trace(1)), NONE);
    }
    for scope in [BatchScope::Trace, BatchScope::Any] {
        let taken = queue.take(scope);
        let spans = taken
            .iter()
            .map(EncodedSegment::quantity)
            .sum::<Quantity>()
            .spans;
        let bytes: usize = taken.iter().map(EncodedSegment::len).sum();
        assert!(spans <= MAX_SPANS && bytes <= MAX_BYTES, "{spans} {bytes}");
        assert!(taken.len() > 300);
        queue.put_back(taken);
        assert_eq!(queue.with(|lane| lane.segments.len()), 600);
    }
}

/// A segment of any number of traces; small, since only the order matters.
fn of_any_trace(number: u64) -> EncodedSegment {
    thread_local! {
        static MADE: RefCell<(FilterConfig, Segment<'static>)> =
            RefCell::new((config(""), segment_of("/", |_| {})));
    }
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let trace = (u128::from(scattered) << 64 | 7).to_be_bytes();
    MADE.with_borrow_mut(|(config, segment)| {
        segment.context.to_mut().trace_id = TraceId::from_bytes(trace).unwrap();
        encoded(segment, Format::Otlp, config)
    })
}

fn filled(segments: u64, traces: u64) -> Queue {
    let mut queue = queue_of(1 << 30);
    for number in 0..segments {
        assert_eq!(queue.push(of_any_trace(number % traces)), NONE);
    }
    queue
}

/// How often each segment was looked at, besides being taken.
fn looked_at(queue: &Queue) -> usize {
    queue.with(|lane| lane.looked_at)
}

#[test]
fn a_flush_of_many_traces_looks_at_each_parcel_a_few_times() {
    for (segments, traces) in [
        (2_000, 2_000),
        (20_000, 20_000),
        (20_000, 5_000),
        (20_000, 1),
    ] {
        let mut queue = filled(segments, traces);
        let mut posts = 0;
        loop {
            let taken = queue.take(BatchScope::Trace);
            if taken.is_empty() {
                break;
            }
            assert!(taken
                .iter()
                .all(|segment| segment.trace_id() == taken[0].trace_id()));
            queue.release(&taken);
            posts += 1;
        }
        assert!(posts >= traces, "{posts}");
        let each = looked_at(&queue) / segments as usize;
        assert!(
            each <= 6,
            "{each} times each of {segments} in {traces} traces"
        );
        assert_eq!(held(&queue), (0, 0, 0));
    }
}

#[test]
fn a_full_queue_looks_at_each_parcel_a_few_times() {
    let weight = of_any_trace(0).weight();
    let mut queue = queue_of(weight * 4_000);
    let mut lost = 0;
    for number in 0..40_000 {
        lost += queue.push(of_any_trace(number)).segments;
    }
    assert!((36_000..37_000).contains(&lost), "{lost}");
    let each = looked_at(&queue) / 40_000;
    assert!(each <= 20, "{each} times each");
    // A receiver that takes nothing, and tries all the while.
    for number in 0..4_000 {
        let taken = queue.take(BatchScope::Trace);
        queue.put_back(taken);
        assert!(queue.push(of_any_trace(number)).segments <= 250);
    }
    let each = looked_at(&queue) / 44_000;
    assert!(each <= 24, "{each} times each");
}

#[test]
fn traces_leave_in_their_order_and_whole() {
    let numbers = |segments: &[EncodedSegment]| -> Vec<u8> {
        let of = |segment: &EncodedSegment| segment.trace_id().as_bytes()[0];
        segments.iter().map(of).collect()
    };
    let mut queue = queue_of(1 << 20);
    for trace in [9, 1, 9, 5, 1, 9] {
        assert_eq!(queue.push(of_trace(trace)), NONE);
    }
    let first = queue.take(BatchScope::Trace);
    assert_eq!(numbers(&first), [9, 9, 9], "the oldest, whatever its id");
    // It comes back, and another of its trace has come meanwhile.
    assert_eq!(queue.push(of_trace(9)), NONE);
    queue.put_back(first);
    assert_eq!(numbers(&queue.take(BatchScope::Trace)), [9, 9, 9]);
    assert_eq!(numbers(&queue.take(BatchScope::Trace)), [1, 1]);
    assert_eq!(numbers(&queue.take(BatchScope::Trace)), [5]);
    assert_eq!(numbers(&queue.take(BatchScope::Trace)), [9]);
    assert!(numbers(&queue.take(BatchScope::Trace)).is_empty());
}

#[test]
fn what_an_old_generation_holds_goes_first() {
    let weight = of_trace(1).weight();
    let mut old = queue_of(weight * 4);
    for trace in 1..=3 {
        assert_eq!(old.push(of_trace(trace)), NONE);
    }
    let under_way = old.take(BatchScope::Trace);
    let mut new = Queue::new(weight * 4, old.generations().clone());
    assert_eq!(new.push(of_trace(4)), NONE);
    assert_eq!(new.push(of_trace(5)), ONE, "the old one's");
    assert_eq!(new.push(of_trace(6)), ONE, "again");
    assert!(old.is_empty());
    assert_eq!(new.push(of_trace(7)), ONE, "now its own");
    assert_eq!(new.take(BatchScope::Any), [5, 6, 7].map(of_trace));
    old.release(&under_way);
    drop(old);
    new.release(&[5, 6, 7].map(of_trace));
    for trace in 1..=4 {
        assert_eq!(new.push(of_trace(trace)), NONE);
    }
}
