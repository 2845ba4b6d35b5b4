//! What waits to be sent: bounded by bytes, the oldest goes first when it is full (filter.md §8). It knows nothing of formats.

use std::collections::VecDeque;

use crate::envelope::{Parcel, Sharing};

/// How many spans one POST may carry (sentry-protocol.md §10.2).
const MAX_SPANS: u32 = 1_000;
/// How many bytes of spans one POST may carry: 1 MiB an item (sentry-protocol.md §8.5), less what is around them.
const MAX_BYTES: usize = 1_000_000;

/// A queue of parcels, each of which is one segment.
#[derive(Debug)]
pub struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    max_bytes: usize,
}

impl Queue {
    /// An empty queue that holds at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            parcels: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds the newest parcel and returns how many spans had to go for it. One that is larger than the whole queue is itself what goes.
    #[must_use]
    pub fn push(&mut self, parcel: Parcel) -> u32 {
        if parcel.weight() > self.max_bytes {
            return parcel.count();
        }
        let mut lost: u32 = 0;
        while self.bytes.saturating_add(parcel.weight()) > self.max_bytes {
            let Some(oldest) = self.pop() else { break };
            lost = lost.saturating_add(oldest.count());
        }
        self.bytes = self.bytes.saturating_add(parcel.weight());
        self.parcels.push_back(parcel);
        lost
    }

    /// Puts back what could not be sent now, as the oldest. Returns how many spans were lost because there is no room any more.
    #[must_use]
    pub fn push_front(&mut self, parcels: Vec<Parcel>) -> u32 {
        let mut lost: u32 = 0;
        for parcel in parcels.into_iter().rev() {
            if self.bytes.saturating_add(parcel.weight()) > self.max_bytes {
                lost = lost.saturating_add(parcel.count());
                continue;
            }
            self.bytes = self.bytes.saturating_add(parcel.weight());
            self.parcels.push_front(parcel);
        }
        lost
    }

    /// Takes the oldest parcel, and those that may go with it as far as there is room in one POST. None if nothing waits.
    pub fn take(&mut self, sharing: Sharing) -> Vec<Parcel> {
        let Some(first) = self.pop() else {
            return Vec::new();
        };
        let (trace_id, mut spans, mut bytes) = (first.trace_id(), first.count(), first.len());
        let mut taken = vec![first];
        let mut has_room = |parcel: &Parcel| {
            spans = spans.saturating_add(parcel.count());
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
                let mut kept = VecDeque::with_capacity(self.parcels.len());
                let mut is_full = false;
                for parcel in std::mem::take(&mut self.parcels) {
                    // In their order: after one that has no room, none.
                    let is_of_trace = !is_full && parcel.trace_id() == trace_id;
                    if is_of_trace && has_room(&parcel) {
                        self.bytes = self.bytes.saturating_sub(parcel.weight());
                        taken.push(parcel);
                    } else {
                        is_full |= is_of_trace;
                        kept.push_back(parcel);
                    }
                }
                self.parcels = kept;
            }
        }
        taken
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Empties the queue and returns how many spans were in it.
    #[must_use]
    pub fn clear(&mut self) -> u32 {
        std::iter::from_fn(|| self.pop()).fold(0, |sum, parcel| sum.saturating_add(parcel.count()))
    }

    fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.bytes = self.bytes.saturating_sub(parcel.weight());
        Some(parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Format;
    use crate::fixtures::{config, segment, segment_of};

    fn parcel(path: &str) -> Parcel {
        Format::Transaction
            .encode(&segment(path), &config(""))
            .unwrap()
    }

    fn of_trace(trace: u8) -> Parcel {
        let mut segment = segment_of("/", |_| {});
        segment.context.trace_id = crate::trace::id::TraceId::from_bytes([trace; 16]).unwrap();
        Format::SpanV2.encode(&segment, &config("")).unwrap()
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let one = parcel("/1");
        let mut queue = Queue::new(one.weight() * 2);
        assert_eq!(queue.push(one), 0);
        assert_eq!(queue.push(parcel("/2")), 0);
        assert_eq!(queue.push(parcel("/3")), 2, "both spans of a segment");
        assert_eq!(queue.take(Sharing::Alone), [parcel("/2")]);
        assert_eq!(queue.take(Sharing::Alone), [parcel("/3")]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_never_fits_is_what_goes() {
        let mut queue = Queue::new(parcel("/").weight());
        assert_eq!(queue.push(parcel("/")), 0);
        assert_eq!(queue.push(parcel(&"/x".repeat(2_000))), 2);
        assert_eq!(queue.take(Sharing::Alone), [parcel("/")]);
    }

    #[test]
    fn what_comes_back_is_the_oldest_but_pushes_nothing_out() {
        let mut queue = Queue::new(parcel("/1").weight() * 3);
        assert_eq!(queue.push(parcel("/3")), 0);
        assert_eq!(queue.push_front(vec![parcel("/1"), parcel("/2")]), 0);
        assert_eq!(queue.push_front(vec![parcel("/0")]), 2);
        assert_eq!(
            queue.take(Sharing::Any),
            [parcel("/1"), parcel("/2"), parcel("/3")]
        );
        assert_eq!(queue.clear(), 0);
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
                assert_eq!(queue.push(of_trace(trace)), 0);
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
            assert_eq!(queue.push(of_trace(1)), 0);
        }
        for sharing in [Sharing::Trace, Sharing::Any] {
            let taken = queue.take(sharing);
            let spans: u32 = taken.iter().map(Parcel::count).sum();
            let bytes: usize = taken.iter().map(Parcel::len).sum();
            assert!(spans <= MAX_SPANS && bytes <= MAX_BYTES, "{spans} {bytes}");
            assert!(taken.len() > 300);
            assert_eq!(queue.push_front(taken), 0);
            assert_eq!(queue.parcels.len(), 600);
        }
    }
}
