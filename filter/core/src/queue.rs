//! What waits to be sent: bounded by bytes, the oldest trace goes first when it is full, whole (filter.md §8). It knows nothing of formats.

use std::collections::VecDeque;

use crate::envelope::{Amount, Parcel, Sharing};
use crate::trace::id::TraceId;

/// How many spans one POST may carry (sentry-protocol.md §10.2).
const MAX_SPANS: u32 = 1_000;
/// How many bytes of spans one POST may carry: 1 MiB an item (sentry-protocol.md §8.5), less what is around them.
const MAX_BYTES: usize = 1_000_000;

/// How many parcels that each go alone are a full batch.
const FULL_ALONE: usize = 64;
/// A full queue makes room for this part of itself at once: to find what else is of a trace takes a look at all that waits.
const ROOM: usize = 16;

/// A queue of parcels, each of which is one segment. What was taken and may come back still counts.
#[derive(Debug)]
pub struct Queue {
    parcels: VecDeque<Parcel>,
    /// What waits, in bytes.
    bytes: usize,
    /// How many spans wait.
    spans: u32,
    /// What was taken, in bytes.
    lent: usize,
    max_bytes: usize,
}

impl Queue {
    /// An empty queue that holds at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            parcels: VecDeque::new(),
            bytes: 0,
            spans: 0,
            lent: 0,
            max_bytes,
        }
    }

    /// Adds the newest parcel and returns how much had to go for it: the oldest traces, with all that waits of them. If there is no room even then, it is
    /// itself what goes.
    #[must_use]
    pub fn push(&mut self, parcel: Parcel) -> Amount {
        let needed = self.lent.saturating_add(parcel.weight());
        if needed > self.max_bytes {
            return parcel.amount();
        }
        let excess = self
            .bytes
            .saturating_add(needed)
            .saturating_sub(self.max_bytes);
        let lost = match excess {
            0 => Amount::default(),
            excess => self.make_room(excess.max(self.max_bytes.div_euclid(ROOM))),
        };
        self.bytes = self.bytes.saturating_add(parcel.weight());
        self.spans = self.spans.saturating_add(parcel.amount().spans);
        self.parcels.push_back(parcel);
        lost
    }

    /// Puts back what was taken and could not be sent, as the oldest.
    pub fn put_back(&mut self, parcels: Vec<Parcel>) {
        self.settle(&parcels);
        for parcel in parcels.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(parcel.weight());
            self.spans = self.spans.saturating_add(parcel.amount().spans);
            self.parcels.push_front(parcel);
        }
    }

    /// What was taken will not come back.
    pub fn settle(&mut self, parcels: &[Parcel]) {
        self.lent = self.lent.saturating_sub(weight(parcels));
    }

    /// Takes the oldest parcel, and those that may go with it as far as there is room in one POST. None if nothing waits. To be followed by
    /// [`Self::put_back`] or [`Self::settle`].
    pub fn take(&mut self, sharing: Sharing) -> Vec<Parcel> {
        let Some(first) = self.pop() else {
            return Vec::new();
        };
        let (trace_id, mut spans, mut bytes) =
            (first.trace_id(), first.amount().spans, first.len());
        let mut taken = vec![first];
        let mut has_room = |parcel: &Parcel| {
            spans = spans.saturating_add(parcel.amount().spans);
            bytes = bytes.saturating_add(parcel.len());
            spans <= MAX_SPANS && bytes <= MAX_BYTES
        };
        match sharing {
            Sharing::Alone => {}
            Sharing::Any => {
                while self.parcels.front().is_some_and(&mut has_room) {
                    taken.extend(self.pop());
                }
            }
            Sharing::Trace => {
                let mut is_full = false;
                for parcel in std::mem::take(&mut self.parcels) {
                    // In their order: after one that has no room, none.
                    let is_of_trace = !is_full && parcel.trace_id() == trace_id;
                    if is_of_trace && has_room(&parcel) {
                        self.forget(&parcel);
                        taken.push(parcel);
                    } else {
                        is_full |= is_of_trace;
                        self.parcels.push_back(parcel);
                    }
                }
            }
        }
        self.lent = self.lent.saturating_add(weight(&taken));
        taken
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Whether so much waits that it is worth more than to wait for a tick.
    pub fn is_full_batch(&self, sharing: Sharing) -> bool {
        let enough = match sharing {
            Sharing::Alone => self.parcels.len() >= FULL_ALONE,
            Sharing::Trace | Sharing::Any => self.spans >= MAX_SPANS,
        };
        enough || self.bytes.saturating_mul(2) > self.max_bytes
    }

    /// Empties the queue and returns how much was in it.
    #[must_use]
    pub fn clear(&mut self) -> Amount {
        std::iter::from_fn(|| self.pop())
            .fold(Amount::default(), |sum, parcel| sum.plus(parcel.amount()))
    }

    /// Loses the oldest traces until so many bytes are free.
    #[expect(
        clippy::disallowed_methods,
        reason = "a place that was found is not past the end"
    )]
    fn make_room(&mut self, bytes: usize) -> Amount {
        let enough = self.bytes.saturating_sub(bytes);
        // In order, and kept so by hand: to sort them would be 2 kB of the module.
        let mut traces: Vec<TraceId> = Vec::new();
        let mut lost = Amount::default();
        while self.bytes > enough {
            let Some(oldest) = self.pop() else { break };
            lost = lost.plus(oldest.amount());
            if let Err(place) = traces.binary_search(&oldest.trace_id()) {
                traces.insert(place, oldest.trace_id());
            }
        }
        for parcel in std::mem::take(&mut self.parcels) {
            if traces.binary_search(&parcel.trace_id()).is_ok() {
                self.forget(&parcel);
                lost = lost.plus(parcel.amount());
            } else {
                self.parcels.push_back(parcel);
            }
        }
        lost
    }

    fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.forget(&parcel);
        Some(parcel)
    }

    fn forget(&mut self, parcel: &Parcel) {
        self.bytes = self.bytes.saturating_sub(parcel.weight());
        self.spans = self.spans.saturating_sub(parcel.amount().spans);
    }
}

fn weight(parcels: &[Parcel]) -> usize {
    parcels
        .iter()
        .fold(0, |sum, parcel| sum.saturating_add(parcel.weight()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Format;
    use crate::fixtures::{config, encoded, segment, segment_of};

    const NONE: Amount = Amount {
        segments: 0,
        spans: 0,
    };
    const ONE: Amount = Amount {
        segments: 1,
        spans: 2,
    };

    fn parcel(path: &str) -> Parcel {
        encoded(&segment(path), Format::Transaction, &config(""))
    }

    fn of_trace(trace: u8) -> Parcel {
        let mut segment = segment_of("/", |_| {});
        segment.context.to_mut().trace_id = TraceId::from_bytes([trace; 16]).unwrap();
        encoded(&segment, Format::SpanV2, &config(""))
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let mut queue = Queue::new(of_trace(1).weight() * 2);
        assert_eq!(queue.push(of_trace(1)), NONE);
        assert_eq!(queue.push(of_trace(2)), NONE);
        assert_eq!(queue.push(of_trace(3)), ONE, "both spans of a segment");
        assert_eq!(queue.take(Sharing::Alone), [of_trace(2)]);
        assert_eq!(queue.take(Sharing::Alone), [of_trace(3)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_trace_goes_whole() {
        let mut queue = Queue::new(of_trace(1).weight() * 4);
        for trace in [1, 2, 1, 3] {
            assert_eq!(queue.push(of_trace(trace)), NONE);
        }
        assert_eq!(queue.push(of_trace(4)), ONE.plus(ONE), "both of the first");
        let left: Vec<_> = queue.take(Sharing::Any);
        assert_eq!(left, [2, 3, 4].map(of_trace));
        assert_eq!((queue.bytes, queue.spans), (0, 0));
    }

    #[test]
    fn a_full_queue_makes_room_for_more_than_one() {
        let weight = of_trace(1).weight();
        let mut queue = Queue::new(weight * 64);
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
        let mut queue = Queue::new(parcel("/").weight());
        assert_eq!(queue.push(parcel("/")), NONE);
        assert_eq!(queue.push(parcel(&"/x".repeat(2_000))), ONE);
        assert_eq!(queue.take(Sharing::Alone), [parcel("/")]);
    }

    #[test]
    fn what_was_taken_keeps_its_room_until_it_is_settled() {
        let mut queue = Queue::new(parcel("/1").weight() * 2);
        assert_eq!(queue.push(parcel("/1")), NONE);
        assert_eq!(queue.push(parcel("/2")), NONE);
        let taken = queue.take(Sharing::Alone);
        assert_eq!(queue.push(parcel("/3")), ONE, "the second had to go");
        queue.put_back(taken);
        assert_eq!(queue.take(Sharing::Any), [parcel("/1"), parcel("/3")]);
        assert_eq!(queue.push(parcel("/4")), ONE, "all of the room is lent");
        queue.settle(&[parcel("/1"), parcel("/3")]);
        assert_eq!(queue.push(parcel("/5")), NONE);
        assert_eq!(queue.clear(), ONE);
        assert_eq!((queue.bytes, queue.spans, queue.lent), (0, 0, 0));
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut queue = Queue::new(1 << 20);
        for index in 0..64 {
            assert!(!queue.is_full_batch(Sharing::Alone), "{index}");
            assert_eq!(queue.push(parcel("/")), NONE);
        }
        assert!(queue.is_full_batch(Sharing::Alone));
        assert!(!queue.is_full_batch(Sharing::Any));
    }

    #[test]
    fn a_post_takes_what_may_go_together() {
        let traces = |parcels: Vec<Parcel>| -> Vec<u8> {
            parcels
                .iter()
                .map(|parcel| parcel.trace_id().as_bytes()[0])
                .collect()
        };
        let fill = || {
            let mut queue = Queue::new(1 << 20);
            for trace in [1, 2, 1, 3, 1] {
                assert_eq!(queue.push(of_trace(trace)), NONE);
            }
            queue
        };
        assert_eq!(traces(fill().take(Sharing::Alone)), [1]);
        assert_eq!(traces(fill().take(Sharing::Any)), [1, 2, 1, 3, 1]);
        let mut queue = fill();
        assert_eq!(traces(queue.take(Sharing::Trace)), [1, 1, 1]);
        assert_eq!(traces(queue.take(Sharing::Trace)), [2]);
        assert_eq!(traces(queue.take(Sharing::Trace)), [3]);
        assert_eq!((queue.take(Sharing::Trace).len(), queue.bytes), (0, 0));
    }

    #[test]
    fn a_post_has_at_most_a_thousand_spans() {
        let mut queue = Queue::new(1 << 24);
        for _ in 0..600 {
            assert_eq!(queue.push(of_trace(1)), NONE);
        }
        for sharing in [Sharing::Trace, Sharing::Any] {
            let taken = queue.take(sharing);
            let spans = Amount::of(&taken).spans;
            let bytes: usize = taken.iter().map(Parcel::len).sum();
            assert!(spans <= MAX_SPANS && bytes <= MAX_BYTES, "{spans} {bytes}");
            assert!(taken.len() > 300);
            queue.put_back(taken);
            assert_eq!(queue.parcels.len(), 600);
        }
    }
}
