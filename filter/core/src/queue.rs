//! What waits to be sent: bounded by bytes, the oldest goes first when it is full (filter.md §8). It knows nothing of formats.

use std::collections::VecDeque;

use crate::envelope::Envelope;

/// A queue of envelopes, each of which is one trace's part.
#[derive(Debug)]
pub struct Queue {
    envelopes: VecDeque<Envelope>,
    bytes: usize,
    max_bytes: usize,
}

impl Queue {
    /// An empty queue that holds at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            envelopes: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds the newest envelope and returns how many spans had to go for it. One that is larger than the whole queue is itself what goes.
    #[must_use]
    pub fn push(&mut self, envelope: Envelope) -> u32 {
        if envelope.weight() > self.max_bytes {
            return envelope.spans();
        }
        let mut lost: u32 = 0;
        while self.bytes.saturating_add(envelope.weight()) > self.max_bytes {
            let Some(oldest) = self.pop() else { break };
            lost = lost.saturating_add(oldest.spans());
        }
        self.bytes = self.bytes.saturating_add(envelope.weight());
        self.envelopes.push_back(envelope);
        lost
    }

    /// Puts back what could not be sent now, as the oldest. Returns how many spans were lost because there is no room any more.
    #[must_use]
    pub fn push_front(&mut self, envelope: Envelope) -> u32 {
        if self.bytes.saturating_add(envelope.weight()) > self.max_bytes {
            return envelope.spans();
        }
        self.bytes = self.bytes.saturating_add(envelope.weight());
        self.envelopes.push_front(envelope);
        0
    }

    /// Takes the oldest envelope.
    pub fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.envelopes.pop_front()?;
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        Some(envelope)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// Empties the queue and returns how many spans were in it.
    #[must_use]
    pub fn clear(&mut self) -> u32 {
        std::iter::from_fn(|| self.pop())
            .fold(0, |sum, envelope| sum.saturating_add(envelope.spans()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FilterConfig, Surroundings};
    use crate::envelope;
    use crate::fixtures::finished_span;

    fn envelope(path: &str) -> Envelope {
        let config = FilterConfig::parse(
            br#"{"dsn": "https://key@host/1"}"#,
            &Surroundings::default(),
        )
        .unwrap();
        envelope::transaction::encode(&finished_span(path), &config).unwrap()
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let one = envelope("/1");
        let mut queue = Queue::new(one.weight() * 2);
        assert_eq!(queue.push(one), 0);
        assert_eq!(queue.push(envelope("/2")), 0);
        assert_eq!(queue.push(envelope("/3")), 1);
        assert_eq!(queue.pop(), Some(envelope("/2")));
        assert_eq!(queue.pop(), Some(envelope("/3")));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_never_fits_is_what_goes() {
        let mut queue = Queue::new(envelope("/").weight());
        assert_eq!(queue.push(envelope("/")), 0);
        assert_eq!(queue.push(envelope(&"/x".repeat(2_000))), 1);
        assert_eq!(queue.pop(), Some(envelope("/")));
    }

    #[test]
    fn what_comes_back_is_the_oldest_but_pushes_nothing_out() {
        let mut queue = Queue::new(envelope("/1").weight() * 2);
        assert_eq!(queue.push(envelope("/2")), 0);
        assert_eq!(queue.push_front(envelope("/1")), 0);
        assert_eq!(queue.push_front(envelope("/0")), 1);
        assert_eq!(queue.pop(), Some(envelope("/1")));
        assert_eq!(queue.clear(), 1);
    }
}
