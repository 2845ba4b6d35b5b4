//! A configuration of the filter and the bootstrap extension, as the main thread sees them.

use std::ffi::c_void;
use std::ptr;

use sentry_filter_core::host::HostError;

use super::module_header;
use crate::abi::{self, Completion, ModuleBuffer, ModuleHeader};

/// Envoy's number of a metric, and whether it goes down, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricId {
    id: usize,
    is_gauge: bool,
}

/// A POST that Envoy is to make.
#[derive(Debug, Clone, Copy)]
pub struct Callout<'a> {
    /// The cluster it goes to.
    pub cluster: &'a str,
    /// Its headers, with `:method`, `:path` and `:authority`.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Its body.
    pub body: &'a [u8],
    /// How long it may take, in milliseconds.
    pub timeout_ms: u32,
}

/// A configuration of Envoy's, from its hook until the one that destroys it.
#[derive(Debug, Clone, Copy)]
pub struct ConfigHandle(*mut c_void);

/// The configuration of the bootstrap extension, likewise.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap(*mut c_void);

// SAFETY: a pointer that nothing but Envoy looks behind. Where a callback is for the main thread
// only, its function says so.
unsafe impl Send for ConfigHandle {}
// SAFETY: as above.
unsafe impl Send for Bootstrap {}

type Define =
    unsafe extern "C" fn(*mut c_void, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
type Change = unsafe extern "C" fn(*mut c_void, usize, *const ModuleBuffer, usize, u64) -> u32;
type Post = unsafe extern "C" fn(
    *mut c_void,
    *mut u64,
    ModuleBuffer,
    *const ModuleHeader,
    usize,
    ModuleBuffer,
    u64,
) -> u32;

impl ConfigHandle {
    /// The configuration that a hook got from Envoy.
    ///
    /// # Safety
    /// It is not used any more once the hook that destroys the configuration has returned.
    pub unsafe fn new(raw: *mut c_void) -> Self {
        Self(raw)
    }

    /// Defines a metric; only while the hook runs that makes the configuration.
    pub fn define(self, name: &str, is_gauge: bool) -> Option<MetricId> {
        let callbacks = abi::callbacks();
        let define = match is_gauge {
            true => callbacks.http_filter_config_define_gauge,
            false => callbacks.http_filter_config_define_counter,
        };
        // SAFETY: the configuration is there.
        unsafe { define_with(define?, self.0, name, is_gauge) }
    }

    /// Changes a metric; `false` if that was refused.
    pub fn change(self, metric: MetricId, change: i64) -> bool {
        let callbacks = abi::callbacks();
        let callback = match (metric.is_gauge, change > 0) {
            (true, true) => callbacks.http_filter_config_increment_gauge,
            (true, false) => callbacks.http_filter_config_decrement_gauge,
            (false, _) => callbacks.http_filter_config_increment_counter,
        };
        // SAFETY: the configuration is there.
        callback.is_some_and(|callback| unsafe { change_with(callback, self.0, metric, change) })
    }

    /// Something that calls the main thread from any other.
    pub fn scheduler(self) -> Option<Scheduler> {
        let callbacks = abi::callbacks();
        let new = callbacks.http_filter_config_scheduler_new?;
        Scheduler::new(
            // SAFETY: the configuration is there.
            unsafe { new(self.0) },
            callbacks.http_filter_config_scheduler_commit?,
            callbacks.http_filter_config_scheduler_delete?,
        )
    }

    /// Begins a callout, on the main thread: Envoy's number of it, or its reason.
    pub fn post(self, callout: &Callout<'_>) -> Result<u64, HostError> {
        let callback = abi::callbacks().http_filter_config_http_callout;
        // SAFETY: the configuration is there.
        unsafe { post_with(callback, self.0, callout) }
    }
}

impl Bootstrap {
    /// The configuration that a hook got from Envoy.
    ///
    /// # Safety
    /// As for [`ConfigHandle::new`].
    pub unsafe fn new(raw: *mut c_void) -> Self {
        Self(raw)
    }

    /// Lets Envoy go on with its start.
    pub fn signal_init_complete(self) {
        if let Some(signal) = abi::callbacks().bootstrap_extension_config_signal_init_complete {
            // SAFETY: the configuration is there.
            unsafe { signal(self.0) }
        }
    }

    /// Defines a metric; only while the hook runs that makes the configuration.
    pub fn define(self, name: &str, is_gauge: bool) -> Option<MetricId> {
        let callbacks = abi::callbacks();
        let define = match is_gauge {
            true => callbacks.bootstrap_extension_config_define_gauge,
            false => callbacks.bootstrap_extension_config_define_counter,
        };
        // SAFETY: the configuration is there.
        unsafe { define_with(define?, self.0, name, is_gauge) }
    }

    /// Changes a metric; `false` if that was refused.
    pub fn change(self, metric: MetricId, change: i64) -> bool {
        let callbacks = abi::callbacks();
        let callback = match (metric.is_gauge, change > 0) {
            (true, true) => callbacks.bootstrap_extension_config_increment_gauge,
            (true, false) => callbacks.bootstrap_extension_config_decrement_gauge,
            (false, _) => callbacks.bootstrap_extension_config_increment_counter,
        };
        // SAFETY: the configuration is there.
        callback.is_some_and(|callback| unsafe { change_with(callback, self.0, metric, change) })
    }

    /// Something that calls the main thread from any other.
    pub fn scheduler(self) -> Option<Scheduler> {
        let callbacks = abi::callbacks();
        let new = callbacks.bootstrap_extension_config_scheduler_new?;
        Scheduler::new(
            // SAFETY: the configuration is there.
            unsafe { new(self.0) },
            callbacks.bootstrap_extension_config_scheduler_commit?,
            callbacks.bootstrap_extension_config_scheduler_delete?,
        )
    }

    /// Begins a callout, on the main thread: Envoy's number of it, or its reason.
    pub fn post(self, callout: &Callout<'_>) -> Result<u64, HostError> {
        let callback = abi::callbacks().bootstrap_extension_http_callout;
        // SAFETY: the configuration is there.
        unsafe { post_with(callback, self.0, callout) }
    }
}

/// # Safety
/// `raw` is a configuration that is there.
unsafe fn define_with(
    define: Define,
    raw: *mut c_void,
    name: &str,
    is_gauge: bool,
) -> Option<MetricId> {
    let mut id = 0;
    let name = ModuleBuffer::new(name.as_bytes());
    // SAFETY: the name lives until the call returns, and the id may be written to.
    let result = unsafe { define(raw, name, ptr::null(), 0, &mut id) };
    (result == abi::METRIC_OK).then_some(MetricId { id, is_gauge })
}

/// # Safety
/// `raw` is the configuration that has defined the metric, and it is there.
unsafe fn change_with(callback: Change, raw: *mut c_void, metric: MetricId, change: i64) -> bool {
    // SAFETY: the caller promises it; there are no labels.
    let result = unsafe { callback(raw, metric.id, ptr::null(), 0, change.unsigned_abs()) };
    result == abi::METRIC_OK
}

/// # Safety
/// `raw` is a configuration that is there, and this is the main thread.
unsafe fn post_with(
    post: Option<Post>,
    raw: *mut c_void,
    callout: &Callout<'_>,
) -> Result<u64, HostError> {
    let post = post.ok_or(HostError::Unavailable)?;
    let headers: Vec<_> = callout.headers.iter().copied().map(module_header).collect();
    let mut id = 0;
    // SAFETY: all that is pointed to lives until the call returns, and Envoy copies it.
    let result = unsafe {
        post(
            raw,
            &mut id,
            ModuleBuffer::new(callout.cluster.as_bytes()),
            headers.as_ptr(),
            headers.len(),
            ModuleBuffer::new(callout.body),
            callout.timeout_ms.into(),
        )
    };
    match result {
        abi::CALLOUT_BEGUN => Ok(id),
        status => Err(HostError::Refused(status)),
    }
}

/// Calls the main thread from any other. Envoy forgets calls for what is no longer there.
#[derive(Debug)]
pub struct Scheduler {
    raw: *mut c_void,
    commit: unsafe extern "C" fn(*mut c_void, u64),
    delete: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: Envoy's schedulers are made for this: commits may come from any thread at once.
unsafe impl Send for Scheduler {}
// SAFETY: as above.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    fn new(
        raw: *mut c_void,
        commit: unsafe extern "C" fn(*mut c_void, u64),
        delete: unsafe extern "C" fn(*mut c_void),
    ) -> Option<Self> {
        let scheduler = Self {
            raw,
            commit,
            delete,
        };
        match raw.is_null() {
            // There is nothing to give back.
            true => {
                std::mem::forget(scheduler);
                None
            }
            false => Some(scheduler),
        }
    }

    /// Lets the hook for scheduled events run on the main thread.
    pub fn commit(&self, event: u64) {
        // SAFETY: the scheduler is there until it is dropped.
        unsafe { (self.commit)(self.raw, event) }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { (self.delete)(self.raw) }
    }
}

/// What tells Envoy that its shutdown may go on. It does so when it is dropped, too: without it
/// Envoy would wait for ever.
#[derive(Debug)]
pub struct CompletionCallback {
    callback: Completion,
    context: *mut c_void,
}

// SAFETY: Envoy takes the call on any thread; the main thread is the one that makes it.
unsafe impl Send for CompletionCallback {}

impl CompletionCallback {
    /// What Envoy has given to the hook.
    ///
    /// # Safety
    /// The callback may be called once with the context.
    pub unsafe fn new(callback: Completion, context: *mut c_void) -> Self {
        Self { callback, context }
    }
}

impl Drop for CompletionCallback {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            // SAFETY: it is called once.
            unsafe { callback(self.context) }
        }
    }
}
