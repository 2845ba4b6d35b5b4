//! What one of Envoy's worker threads has of a configuration.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::tracer::{Recorded, Tracer};

use crate::host::Scheduler;
use crate::inbox::lock;

/// What the main thread is to do, as schedulers tell it.
pub mod event {
    /// The time has come for a tick.
    pub const TICK: u64 = 0;
    /// A worker has a full batch.
    pub const COLLECT: u64 = 1;
}

/// Calls the main thread for a configuration, once until it has come.
#[derive(Debug)]
pub struct Waker {
    scheduler: Option<Scheduler>,
    is_called: AtomicBool,
}

impl Waker {
    /// A waker; `None` calls nobody.
    pub fn new(scheduler: Option<Scheduler>) -> Self {
        Self {
            scheduler,
            is_called: AtomicBool::new(false),
        }
    }

    /// Calls for a tick.
    pub fn tick(&self) {
        if let Some(scheduler) = &self.scheduler {
            scheduler.commit(event::TICK);
        }
    }

    /// Calls to collect what a worker has, unless that is under way.
    fn call(&self) {
        if let Some(scheduler) = &self.scheduler {
            if !self.is_called.swap(true, Ordering::AcqRel) {
                scheduler.commit(event::COLLECT);
            }
        }
    }

    /// The main thread has come, and looks at every worker after this.
    pub fn answered(&self) {
        self.is_called.store(false, Ordering::Release);
    }
}

/// A worker's tracer. Its lock is the worker's, but for the moments in which the main thread takes
/// what was recorded.
#[derive(Debug)]
pub struct Worker {
    tracer: Mutex<Tracer>,
    waker: Arc<Waker>,
    clears_route_cache: bool,
    /// The last one that ended in a redirect, until another stream begins. What this ABI puts into
    /// the filter state does not outlive a redirect, but a worker begins the next stream of such a
    /// request before it does anything else.
    redirect: Mutex<Option<Redirect>>,
    has_redirect: AtomicBool,
}

/// A request that Envoy is turning into another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The tracer's token for it.
    pub token: u64,
    /// When it began, in nanoseconds since the epoch. Envoy says the same of its successor.
    pub start_ns: i64,
}

impl Worker {
    /// A worker that has seen nothing.
    pub fn new(config: Arc<FilterConfig>, waker: Arc<Waker>) -> Self {
        Self {
            clears_route_cache: config.clear_route_cache,
            tracer: Mutex::new(Tracer::new(config)),
            waker,
            redirect: Mutex::new(None),
            has_redirect: AtomicBool::new(false),
        }
    }

    /// Whether Envoy is to match the route again where a request was changed.
    pub fn clears_route_cache(&self) -> bool {
        self.clears_route_cache
    }

    /// The stream of a request has ended that goes on as another one.
    pub fn set_redirect(&self, redirect: Redirect) {
        *lock(&self.redirect) = Some(redirect);
        self.has_redirect.store(true, Ordering::Relaxed);
    }

    /// What a stream that begins may be the successor of. Nobody after it is.
    pub fn take_redirect(&self) -> Option<Redirect> {
        if !self.has_redirect.load(Ordering::Relaxed) {
            return None;
        }
        self.has_redirect.store(false, Ordering::Relaxed);
        lock(&self.redirect).take()
    }

    /// Lets the tracer work.
    pub fn with_tracer<T>(&self, act: impl FnOnce(&mut Tracer) -> T) -> T {
        let mut tracer = lock(&self.tracer);
        #[cfg(feature = "failpoints")]
        crate::guard::failpoints::pass("tracer");
        act(&mut tracer)
    }

    /// Lets the tracer work on the end of a stream, and calls the main thread if it then has enough
    /// that it should not wait for a tick.
    pub fn end<T>(&self, act: impl FnOnce(&mut Tracer) -> T) -> T {
        let (result, is_full) = self.with_tracer(|tracer| {
            let result = act(tracer);
            (result, tracer.is_full_batch())
        });
        if is_full {
            self.waker.call();
        }
        result
    }

    /// Takes what was recorded.
    pub fn take(&self, act: impl FnOnce(&mut Tracer)) -> Recorded {
        self.with_tracer(|tracer| {
            act(tracer);
            std::mem::take(tracer.recorded())
        })
    }
}
