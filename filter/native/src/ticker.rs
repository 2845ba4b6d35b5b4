//! A thread that calls at regular intervals. Envoy has no timer for a filter's configuration.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Enough for a thread that only waits and posts a message.
const STACK_BYTES: usize = 128 * 1024;

/// Calls until it is dropped; then its thread has ended.
#[derive(Debug)]
pub struct Ticker {
    is_over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Calls every so often, the first time after one period.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(period: Duration, tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let is_over = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&is_over);
        let work = move || {
            let (is_over, changed) = &*shared;
            let mut guard = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                let waited = changed.wait_timeout(guard, period);
                let (next, result) = waited.unwrap_or_else(PoisonError::into_inner);
                guard = next;
                if result.timed_out() && !*guard {
                    // Whoever drops the ticker waits until this is over.
                    tick();
                }
            }
        };
        let builder = Builder::new()
            .name("sentry-tick".to_owned())
            .stack_size(STACK_BYTES);
        let thread = Some(builder.spawn(work)?);
        Ok(Self { is_over, thread })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (is_over, changed) = &*self.is_over;
        *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Whether it panicked changes nothing about its being over.
            let _ = thread.join();
        }
    }
}
