//! Requests through the dynamic module as it is built for Envoy, for who counts what it executes:
//! `tests/instructions.rs` runs this under valgrind.
//!
//! ```text
//! cost MODULE CONFIGURATION REQUESTS [NAME=VALUE of a request's header]...
//! ```
//! A second request is like the first one: same headers, same attributes, and the main thread comes
//! round as soon as it is called. Nothing is drawn but what the module draws.
#![allow(unsafe_code)]

mod callbacks;

use std::env;
use std::ffi::{c_char, c_int, c_void, CString};

use callbacks::{Lines, Process, Stream};
use sentry_filter::abi::{EnvoyBuffer, EnvoyHeader};

extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;

type New = unsafe extern "C" fn(*mut c_void, EnvoyBuffer, EnvoyBuffer) -> *const c_void;
type NewStream = unsafe extern "C" fn(*const c_void, *mut c_void) -> *const c_void;
type Headers = unsafe extern "C" fn(*mut c_void, *const c_void, bool) -> u32;
type End = unsafe extern "C" fn(*mut c_void, *const c_void);
type Destroy = unsafe extern "C" fn(*const c_void);
type Scheduled = unsafe extern "C" fn(*mut c_void, *const c_void, u64);
type Done = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    u64,
    u32,
    *const EnvoyHeader,
    usize,
    *const EnvoyBuffer,
    usize,
);

/// The hooks that Envoy calls for a request, and for what the module sends.
struct Module {
    new_stream: NewStream,
    request_headers: Headers,
    response_headers: Headers,
    end: End,
    destroy: Destroy,
    scheduled: Scheduled,
    done: Done,
}

struct Library(*mut c_void);

impl Library {
    fn open(file: &str) -> Self {
        let name = CString::new(file).expect("a file's name");
        // SAFETY: the name ends with NUL.
        let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
        assert!(!library.is_null(), "{file} cannot be loaded");
        Self(library)
    }

    /// # Safety
    /// The hook has this type.
    unsafe fn hook<T: Copy>(&self, name: &str) -> T {
        let name = CString::new(format!("envoy_dynamic_module_on_{name}")).expect("a name");
        // SAFETY: the name ends with NUL.
        let hook = unsafe { dlsym(self.0, name.as_ptr()) };
        assert!(!hook.is_null(), "there is no hook {name:?}");
        // SAFETY: the caller promises it.
        unsafe { std::mem::transmute_copy(&hook) }
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().expect("MODULE CONFIGURATION REQUESTS");
    let (file, configuration) = (next(), next());
    let requests: u32 = next().parse().expect("a number of requests");
    let more: Lines = arguments
        .map(|line| {
            let (name, value) = line.split_once('=').expect("NAME=VALUE");
            (name.into(), value.into())
        })
        .collect();
    let library = Library::open(&file);
    // SAFETY: these are the types of Envoy's ABI.
    let (init, new_config, module) = unsafe {
        (
            library.hook::<unsafe extern "C" fn() -> *const c_char>("program_init"),
            library.hook::<New>("http_filter_config_new"),
            Module {
                new_stream: library.hook("http_filter_new"),
                request_headers: library.hook("http_filter_request_headers"),
                response_headers: library.hook("http_filter_response_headers"),
                end: library.hook("http_filter_stream_complete"),
                destroy: library.hook("http_filter_destroy"),
                scheduled: library.hook("http_filter_config_scheduled"),
                done: library.hook("http_filter_config_http_callout_done"),
            },
        )
    };
    // SAFETY: as Envoy calls them; the buffers live until the hook returns.
    let config = unsafe {
        init();
        let process = Process::raw();
        new_config(
            process,
            callbacks::buffer(b"sentry"),
            callbacks::buffer(configuration.as_bytes()),
        )
    };
    assert!(!config.is_null(), "the configuration is refused");
    for _ in 0..requests {
        serve(&module, config, &more);
    }
    let Process {
        posts, refused_log, ..
    } = Process::get();
    assert_eq!(*refused_log, 0, "the module has warned");
    println!("{posts} posts");
}

/// One request, and what the main thread has to do after it.
fn serve(module: &Module, config: *const c_void, more: &Lines) {
    let mut stream = Stream::new(more);
    let raw = std::ptr::from_mut(&mut stream).cast();
    // SAFETY: as Envoy calls them, one after the other.
    unsafe {
        let ours = (module.new_stream)(config, raw);
        (module.request_headers)(raw, ours, true);
        (module.response_headers)(raw, ours, true);
        (module.end)(raw, ours);
        (module.destroy)(ours);
    }
    let process = Process::get();
    for event in std::mem::take(&mut process.scheduled) {
        // SAFETY: as Envoy calls it.
        unsafe { (module.scheduled)(Process::raw(), config, event) };
    }
    for id in std::mem::take(&mut process.under_way) {
        let status = EnvoyHeader {
            key: callbacks::buffer(b":status"),
            value: callbacks::buffer(b"200"),
        };
        // SAFETY: as Envoy calls it; the header lives until the hook returns.
        unsafe {
            (module.done)(
                Process::raw(),
                config,
                id,
                0,
                &status,
                1,
                std::ptr::null(),
                0,
            );
        }
    }
}
