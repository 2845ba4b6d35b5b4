//! What waits for the main thread to come round to it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sentry_filter_core::headers::Headers;

/// What came back for a callout; without headers if nothing came.
#[derive(Debug, Default)]
pub struct CalloutAnswer {
    /// The headers.
    pub headers: Headers,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// Something that happens to an exporter.
#[derive(Debug)]
pub enum Incoming {
    /// Its time has come.
    Tick,
    /// A callout has ended, by Envoy's number of it.
    Answer(u64, CalloutAnswer),
    /// Its configuration goes, and responses are still awaited.
    Shutdown,
    /// Its configuration goes, and nobody is there to send anything.
    Abandoned,
}

/// A list that any thread may add to. Envoy answers some callouts before it has begun them, so what
/// happens while an exporter works has to wait.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<VecDeque<Incoming>>);

impl Inbox {
    /// Adds something.
    pub fn push(&self, incoming: Incoming) {
        lock(&self.0).push_back(incoming);
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<Incoming> {
        lock(&self.0).pop_front()
    }
}

/// Takes a lock. A panic while it was held was caught, and is none for whoever comes next.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
