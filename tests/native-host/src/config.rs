//! A configuration of the filter, and the bootstrap extension.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::Mutex;
use std::thread;

use sentry_filter::abi::{EnvoyBuffer, EnvoyHeader};
use sentry_filter::hooks::{bootstrap, http};

use crate::host::{keep, lock, process, Host};

/// A POST that the module has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callout {
    /// The number that it has.
    pub id: u64,
    /// Its cluster.
    pub cluster: String,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// The result and the headers of an answer that comes at once.
type Inline = (u32, Vec<(String, String)>);

/// What Envoy has of either: it is never given back, so that what is used too late is seen.
#[derive(Default)]
pub(crate) struct State {
    metrics: Mutex<Vec<(String, bool)>>,
    pub(crate) callouts: Mutex<Vec<Callout>>,
    next_callout: Mutex<u64>,
    pub(crate) scheduled: Mutex<Vec<u64>>,
    pub(crate) is_made: AtomicBool,
    is_destroyed: AtomicBool,
    pub(crate) module: AtomicPtr<c_void>,
    is_extension: bool,
    pub(crate) signals: Mutex<u32>,
    /// Answers that come before the callout that they are for has returned.
    inline: Mutex<Option<Inline>>,
}

impl State {
    fn new(is_extension: bool) -> &'static Self {
        keep(Self {
            is_extension,
            ..Self::default()
        })
    }

    fn raw(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// # Safety
    /// The pointer is one of [`Self::raw`].
    pub(crate) unsafe fn of(raw: *mut c_void) -> &'static Self {
        // SAFETY: the caller promises it, and states are never given back.
        unsafe { &*raw.cast::<Self>() }
    }

    pub(crate) fn check(&self, callback: &str) {
        if self.is_destroyed.load(Ordering::SeqCst) {
            process().violation(format!("{callback} after the configuration was destroyed"));
        }
    }

    pub(crate) fn define(&self, name: String, is_gauge: bool) -> usize {
        if self.is_made.load(Ordering::SeqCst) {
            process().violation(format!("{name} is defined too late"));
        }
        let mut metrics = lock(&self.metrics);
        metrics.push((name, is_gauge));
        metrics.len() - 1
    }

    /// Changes a metric; `false` if there is none of that id and kind.
    pub(crate) fn change(&self, id: usize, is_gauge: bool, change: i64) -> bool {
        let metric = lock(&self.metrics).get(id).cloned();
        match metric {
            Some((name, kind)) if kind == is_gauge => process().change(&name, change),
            _ => return false,
        }
        true
    }

    pub(crate) fn begin(&'static self, callout: Callout) -> u64 {
        if thread::current().id() != *lock(&MAIN_THREAD).get_or_insert(thread::current().id()) {
            process().violation("a callout from another thread than the main one");
        }
        let id = {
            let mut next = lock(&self.next_callout);
            *next += 1;
            *next
        };
        lock(&self.callouts).push(Callout { id, ..callout });
        id
    }

    /// The answer that comes at once, if one is to.
    pub(crate) fn answer_inline(&'static self, id: u64) {
        let inline = lock(&self.inline).clone();
        if let Some((result, headers)) = inline {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            self.answer(id, result, &headers, b"");
        }
    }

    fn answer(&'static self, id: u64, result: u32, headers: &[(&str, &str)], body: &[u8]) {
        lock(&self.callouts).retain(|callout| callout.id != id);
        let buffer = |bytes: &[u8]| EnvoyBuffer {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        };
        let lines: Vec<EnvoyHeader> = headers
            .iter()
            .map(|(name, value)| EnvoyHeader {
                key: buffer(name.as_bytes()),
                value: buffer(value.as_bytes()),
            })
            .collect();
        // In two pieces, as it may well come.
        let (start, rest) = body.split_at(body.len() / 2);
        let chunks = [buffer(start), buffer(rest)];
        let hook = match self.is_extension {
            true => bootstrap::envoy_dynamic_module_on_bootstrap_extension_http_callout_done,
            false => http::envoy_dynamic_module_on_http_filter_config_http_callout_done,
        };
        let module = self.module.load(Ordering::SeqCst);
        // SAFETY: what is pointed to lives until the hook returns.
        unsafe {
            hook(
                self.raw(),
                module,
                id,
                result,
                lines.as_ptr(),
                lines.len(),
                chunks.as_ptr(),
                chunks.len(),
            );
        }
    }

    fn run_scheduled(&'static self) -> usize {
        let events = std::mem::take(&mut *lock(&self.scheduled));
        let count = events.len();
        let hook = match self.is_extension {
            true => bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_scheduled,
            false => http::envoy_dynamic_module_on_http_filter_config_scheduled,
        };
        for event in events {
            // Envoy forgets what was scheduled for what has gone.
            if !self.is_destroyed.load(Ordering::SeqCst) {
                // SAFETY: the module's object is there.
                unsafe { hook(self.raw(), self.module.load(Ordering::SeqCst), event) };
            }
        }
        count
    }
}

static MAIN_THREAD: Mutex<Option<thread::ThreadId>> = Mutex::new(None);

/// A configuration of the filter.
#[derive(Clone, Copy)]
pub struct Config(pub(crate) &'static State);

/// The bootstrap extension.
#[derive(Clone, Copy)]
pub struct Extension(&'static State);

fn buffer(bytes: &[u8]) -> EnvoyBuffer {
    EnvoyBuffer {
        ptr: bytes.as_ptr(),
        length: bytes.len(),
    }
}

macro_rules! both {
    ($kind:ident) => {
        impl $kind {
            /// The callouts that are under way.
            pub fn callouts(self) -> Vec<Callout> {
                lock(&self.0.callouts).clone()
            }

            /// Answers a callout: the result 0 is an answer.
            pub fn answer(
                self,
                host: &Host,
                id: u64,
                result: u32,
                headers: &'static [(&'static str, &'static str)],
                body: &'static [u8],
            ) {
                host.on_main(move || self.0.answer(id, result, headers, body));
            }

            /// Answers every callout that is under way with 200; how many there were.
            pub fn accept_all(self, host: &Host) -> usize {
                let callouts = self.callouts();
                for callout in &callouts {
                    self.answer(host, callout.id, 0, &[(":status", "200")], b"");
                }
                callouts.len()
            }

            /// From here on callouts are answered before they have begun.
            pub fn answer_at_once(self, result: u32, headers: &[(&str, &str)]) {
                let headers = headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                *lock(&self.0.inline) = Some((result, headers.collect()));
            }

            /// Runs what was scheduled; how much it was.
            pub fn run_scheduled(self, host: &Host) -> usize {
                host.on_main(move || self.0.run_scheduled())
            }
        }
    };
}

both!(Config);
both!(Extension);

impl Config {
    /// Gives the module a configuration; `None` if it refuses it.
    pub fn new(host: &Host, text: &str) -> Option<Self> {
        let text = text.to_owned();
        host.on_main(move || {
            lock(&MAIN_THREAD).get_or_insert(thread::current().id());
            let state = State::new(false);
            // SAFETY: what is pointed to lives until the hook returns.
            let module = unsafe {
                http::envoy_dynamic_module_on_http_filter_config_new(
                    state.raw(),
                    buffer(b"sentry"),
                    buffer(text.as_bytes()),
                )
            };
            state.is_made.store(true, Ordering::SeqCst);
            state.module.store(module.cast_mut(), Ordering::SeqCst);
            (!module.is_null()).then_some(Self(state))
        })
    }

    /// Destroys it, on the main thread.
    pub fn destroy(self, host: &Host) {
        host.on_main(move || self.destroy_here());
    }

    /// Destroys it on whichever thread this is, as the last stream of a worker may.
    pub fn destroy_here(self) {
        let module = self.0.module.swap(ptr::null_mut(), Ordering::SeqCst);
        // SAFETY: it is given back once; after that the pointer is null.
        unsafe { http::envoy_dynamic_module_on_http_filter_config_destroy(module) };
        self.0.is_destroyed.store(true, Ordering::SeqCst);
    }
}

impl Extension {
    /// Starts the extension.
    pub fn new(host: &Host) -> Self {
        host.on_main(|| {
            lock(&MAIN_THREAD).get_or_insert(thread::current().id());
            let state = State::new(true);
            // SAFETY: what is pointed to lives until the hook returns.
            let module = unsafe {
                bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_new(
                    state.raw(),
                    buffer(b"sentry"),
                    buffer(b""),
                )
            };
            state.is_made.store(true, Ordering::SeqCst);
            state.module.store(module.cast_mut(), Ordering::SeqCst);
            let extension =
                bootstrap::envoy_dynamic_module_on_bootstrap_extension_new(module, ptr::null_mut());
            bootstrap::envoy_dynamic_module_on_bootstrap_extension_server_initialized(
                ptr::null_mut(),
                extension,
            );
            Self(state)
        })
    }

    /// How often it has let Envoy go on with its start.
    pub fn signals(self) -> u32 {
        *lock(&self.0.signals)
    }

    /// Begins the shutdown; `is_complete` says when the module has let Envoy go.
    pub fn shut_down(self, host: &Host, is_complete: &'static AtomicBool) {
        unsafe extern "C" fn complete(context: *mut c_void) {
            // SAFETY: the flag is static.
            let flag = unsafe { &*context.cast::<AtomicBool>() };
            if flag.swap(true, Ordering::SeqCst) {
                process().violation("the shutdown is complete twice");
            }
        }
        host.on_main(move || {
            let context = ptr::from_ref(is_complete).cast_mut().cast();
            let module = self.0.module.load(Ordering::SeqCst);
            // SAFETY: as Envoy calls it.
            unsafe {
                bootstrap::envoy_dynamic_module_on_bootstrap_extension_shutdown(
                    ptr::null_mut(),
                    module,
                    Some(complete),
                    context,
                );
            }
        });
    }

    /// Destroys it, on the main thread.
    pub fn destroy(self, host: &Host) {
        host.on_main(move || {
            let module = self.0.module.swap(ptr::null_mut(), Ordering::SeqCst);
            bootstrap::envoy_dynamic_module_on_bootstrap_extension_destroy(module);
            // SAFETY: it is given back once; after that the pointer is null.
            unsafe {
                bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_destroy(module);
            }
            self.0.is_destroyed.store(true, Ordering::SeqCst);
        });
    }
}
