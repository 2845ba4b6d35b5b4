//! How much memory the requests that are under way may take together.
//!
//! What is kept for a request lives until its stream ends, and both its size and its lifetime are
//! the caller's choice: a connection may hold thousands of streams open, each with headers that
//! cost the caller next to nothing (HPACK repeats a long line in one byte). So every text is cut
//! when it is taken, and all of it together is counted here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// What a worker keeps for a live request besides what is counted field by field, in bytes: the
/// contexts of the proxy-wasm SDK and of the door.
const STREAM_BYTES: usize = 256;

/// The budget of one worker.
#[derive(Debug, Clone)]
pub struct LiveBudget {
    used: Arc<AtomicUsize>,
    max: usize,
}

impl LiveBudget {
    /// A budget of `max` bytes. It may be exceeded by the one request that was admitted last, which
    /// keeps at most [`crate::span::MAX_HELD`] bytes.
    pub fn new(max: usize) -> Self {
        Self {
            used: Arc::default(),
            max,
        }
    }

    /// Whether another request may be recorded.
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.max
    }

    /// Counts a request that keeps so many bytes, for as long as the result lives.
    pub fn hold(&self, bytes: usize) -> LiveBytes {
        let bytes = bytes.saturating_add(STREAM_BYTES);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        LiveBytes {
            used: Arc::clone(&self.used),
            bytes,
        }
    }

    /// How much is in use, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The share of one live request. The budget gets it back when this is dropped, however the stream
/// comes to its end.
#[derive(Debug, Default)]
pub struct LiveBytes {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl LiveBytes {
    /// The request keeps more than before.
    pub fn grow(&mut self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Drop for LiveBytes {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The memory that a value holds outside of itself, in bytes.
pub(crate) trait HeapBytes {
    /// How much it is, rounded up by what the allocator adds.
    fn heap_bytes(&self) -> usize;
}

/// What an allocator adds to each piece of memory, about.
const PIECE: usize = 16;

impl HeapBytes for String {
    fn heap_bytes(&self) -> usize {
        piece(self.capacity())
    }
}

impl HeapBytes for Vec<u8> {
    fn heap_bytes(&self) -> usize {
        piece(self.capacity())
    }
}

impl HeapBytes for Vec<String> {
    fn heap_bytes(&self) -> usize {
        sum(
            self.iter().map(HeapBytes::heap_bytes),
            piece(size_of::<String>().saturating_mul(self.capacity())),
        )
    }
}

impl HeapBytes for Vec<(String, Vec<String>)> {
    fn heap_bytes(&self) -> usize {
        sum(
            self.iter()
                .map(|(name, lines)| name.heap_bytes().saturating_add(lines.heap_bytes())),
            piece(size_of::<(String, Vec<String>)>().saturating_mul(self.capacity())),
        )
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, HeapBytes::heap_bytes)
    }
}

/// The bytes of one allocation.
pub(crate) fn piece(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes.saturating_add(PIECE),
    }
}

/// All of these together.
pub(crate) fn sum(parts: impl Iterator<Item = usize>, start: usize) -> usize {
    parts.fold(start, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let budget = LiveBudget::new(1_000);
        let first = budget.hold(100);
        assert!(budget.has_room());
        let mut second = budget.hold(300);
        assert_eq!(budget.used(), 400 + 2 * STREAM_BYTES);
        second.grow(88);
        assert!(!budget.has_room());
        drop(second);
        assert!(budget.has_room());
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
