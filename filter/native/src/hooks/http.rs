//! The hooks of the HTTP filter. Twenty have to be there for Envoy to take the module, and the
//! filter needs nine of them; the others let everything pass.

use std::ffi::c_void;
use std::sync::Arc;

use sentry_filter_core::config::FilterConfig;

use crate::abi::{self, EnvoyBuffer, EnvoyHeader};
use crate::boot::Resident;
use crate::configuration::Configuration;
use crate::guard::guard;
use crate::host::{self, ConfigHandle, StreamHandle};
use crate::inbox::CalloutAnswer;
use crate::route::RouteConfig;
use crate::stream::Stream;

/// A configuration is made, on the main thread; null refuses it.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: *mut c_void,
    name: EnvoyBuffer,
    text: EnvoyBuffer,
) -> *const c_void {
    guard("http_filter_config_new", std::ptr::null(), || {
        host::set_main_thread();
        // SAFETY: the handle goes when the configuration is destroyed; both buffers are Envoy's.
        let (handle, name, text) = unsafe {
            (
                ConfigHandle::new(config),
                host::bytes(name),
                host::bytes(text),
            )
        };
        match Configuration::new(handle, name, text) {
            Some(configuration) => Arc::into_raw(configuration).cast(),
            None => std::ptr::null(),
        }
    })
}

/// A configuration goes, and with it all that Envoy has of it.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    if config.is_null() {
        return;
    }
    // SAFETY: it was made by the hook above, and Envoy gives it back once. A panic drops it.
    let configuration = unsafe { Arc::from_raw(config.cast::<Configuration>()) };
    guard("http_filter_config_destroy", (), move || {
        Configuration::destroy(configuration);
    });
}

/// The configuration of a route is made, on the main thread; null refuses it.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    _name: EnvoyBuffer,
    text: EnvoyBuffer,
) -> *const c_void {
    guard("http_filter_per_route_config_new", std::ptr::null(), || {
        // SAFETY: the buffer is Envoy's.
        let text = unsafe { host::bytes(text) };
        let settings = FilterConfig::load_route(text, &mut |severity, line| {
            host::log(host::level(severity), &line.to_string());
        });
        match settings.map(RouteConfig) {
            Some(config) => Box::into_raw(Box::new(config)).cast_const().cast(),
            None => std::ptr::null(),
        }
    })
}

/// The configuration of a route goes.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(
    config: *const c_void,
) {
    if config.is_null() {
        return;
    }
    // SAFETY: it was made by the hook above, and Envoy gives it back once. A panic drops it.
    let config = unsafe { Box::from_raw(config.cast_mut().cast::<RouteConfig>()) };
    guard("http_filter_per_route_config_destroy", (), move || {
        drop(config)
    });
}

/// What a stream is that the filter has nothing to do with. Null would end the request.
static NO_STREAM: u8 = 0;

fn no_stream() -> *const c_void {
    (&raw const NO_STREAM).cast()
}

/// A stream begins, on the thread of its worker.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const c_void,
    stream: *mut c_void,
) -> *const c_void {
    guard("http_filter_new", no_stream(), || {
        // SAFETY: Envoy keeps the configuration at least until its last stream has gone.
        let configuration = unsafe { config.cast::<Configuration>().as_ref() };
        // SAFETY: the handle does not outlive the hook.
        let handle = unsafe { StreamHandle::new(stream) };
        match configuration {
            Some(configuration) => {
                let stream = Stream::new(configuration.worker(handle.worker_index()));
                Box::into_raw(Box::new(stream)).cast_const().cast()
            }
            None => no_stream(),
        }
    })
}

/// Runs what a hook does for a stream, if the filter has one.
///
/// # Safety
/// Both pointers are what Envoy gave the hook.
unsafe fn with_stream(
    hook: &'static str,
    handle: *mut c_void,
    stream: *const c_void,
    act: impl FnOnce(&mut Stream, StreamHandle<'_>),
) {
    guard(hook, (), || {
        if stream.is_null() || std::ptr::eq(stream, no_stream()) {
            return;
        }
        // SAFETY: the stream was made by the hook above, and Envoy calls the hooks of a stream one
        // after the other.
        let stream = unsafe { &mut *stream.cast_mut().cast::<Stream>() };
        // SAFETY: the handle does not outlive the hook.
        act(stream, unsafe { StreamHandle::new(handle) });
    });
}

/// The request's headers have arrived.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    handle: *mut c_void,
    stream: *const c_void,
    _is_end: bool,
) -> u32 {
    // SAFETY: as Envoy gave them.
    unsafe {
        with_stream(
            "http_filter_request_headers",
            handle,
            stream,
            |stream, handle| {
                stream.on_request_headers(handle);
            },
        );
    }
    abi::CONTINUE
}

/// The response's headers have arrived.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    handle: *mut c_void,
    stream: *const c_void,
    _is_end: bool,
) -> u32 {
    // SAFETY: as Envoy gave them.
    unsafe {
        with_stream(
            "http_filter_response_headers",
            handle,
            stream,
            |stream, handle| {
                stream.on_response_headers(handle);
            },
        );
    }
    abi::CONTINUE
}

/// The stream has ended, and its access log is about to be written.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    handle: *mut c_void,
    stream: *const c_void,
) {
    // SAFETY: as Envoy gave them.
    unsafe {
        with_stream(
            "http_filter_stream_complete",
            handle,
            stream,
            |stream, handle| {
                stream.on_end(handle);
            },
        );
    }
}

/// The stream goes.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: *const c_void) {
    if stream.is_null() || std::ptr::eq(stream, no_stream()) {
        return;
    }
    // SAFETY: it was made by `http_filter_new`, and Envoy gives it back once. A panic drops it.
    let stream = unsafe { Box::from_raw(stream.cast_mut().cast::<Stream>()) };
    guard("http_filter_destroy", (), move || drop(stream));
}

/// What was scheduled for a configuration has come to the main thread.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _handle: *mut c_void,
    config: *const c_void,
    event: u64,
) {
    guard("http_filter_config_scheduled", (), || {
        // SAFETY: Envoy drops what is scheduled for a configuration that has gone.
        if let Some(configuration) = unsafe { config.cast::<Configuration>().as_ref() } {
            configuration.on_scheduled(event);
        }
    });
}

/// A callout of a configuration has ended, on the main thread.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    _handle: *mut c_void,
    config: *const c_void,
    callout: u64,
    result: u32,
    headers: *const EnvoyHeader,
    header_count: usize,
    body: *const EnvoyBuffer,
    body_count: usize,
) {
    // SAFETY: Envoy cancels the callouts of a configuration that goes.
    let Some(configuration) = (unsafe { config.cast::<Configuration>().as_ref() }) else {
        return;
    };
    let is_done = guard("http_filter_config_http_callout_done", false, || {
        // SAFETY: headers and body are Envoy's of this hook.
        let answer = unsafe { super::answer(result, headers, header_count, body, body_count) };
        configuration.on_callout_done(callout, answer);
        true
    });
    if !is_done {
        guard("callout_without_answer", (), || {
            configuration.on_callout_done(callout, CalloutAnswer::default());
        });
    }
}

passing! {
    /// A part of the request's body.
    envoy_dynamic_module_on_http_filter_request_body(handle: *mut c_void, stream: *const c_void, is_end: bool) -> u32;
    /// The request's trailers.
    envoy_dynamic_module_on_http_filter_request_trailers(handle: *mut c_void, stream: *const c_void) -> u32;
    /// A part of the response's body.
    envoy_dynamic_module_on_http_filter_response_body(handle: *mut c_void, stream: *const c_void, is_end: bool) -> u32;
    /// The response's trailers.
    envoy_dynamic_module_on_http_filter_response_trailers(handle: *mut c_void, stream: *const c_void) -> u32;
    /// Envoy is about to answer in the upstream's place.
    envoy_dynamic_module_on_http_filter_local_reply(handle: *mut c_void, stream: *const c_void, code: u32, details: EnvoyBuffer, is_reset: bool) -> u32;
    /// A callout of a stream, of which there are none.
    envoy_dynamic_module_on_http_filter_http_callout_done(handle: *mut c_void, stream: *const c_void, callout: u64, result: u32, headers: *const EnvoyHeader, header_count: usize, body: *const EnvoyBuffer, body_count: usize);
    /// A streamed callout of a stream, of which there are none.
    envoy_dynamic_module_on_http_filter_http_stream_headers(handle: *mut c_void, stream: *const c_void, id: u64, headers: *const EnvoyHeader, count: usize, is_end: bool);
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_data(handle: *mut c_void, stream: *const c_void, id: u64, data: *const EnvoyBuffer, count: usize, is_end: bool);
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_trailers(handle: *mut c_void, stream: *const c_void, id: u64, trailers: *const EnvoyHeader, count: usize);
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_complete(handle: *mut c_void, stream: *const c_void, id: u64);
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_reset(handle: *mut c_void, stream: *const c_void, id: u64, reason: u32);
    /// A streamed callout of a configuration, of which there are none.
    envoy_dynamic_module_on_http_filter_config_http_stream_headers(handle: *mut c_void, config: *const c_void, id: u64, headers: *const EnvoyHeader, count: usize, is_end: bool);
    /// As above.
    envoy_dynamic_module_on_http_filter_config_http_stream_data(handle: *mut c_void, config: *const c_void, id: u64, data: *const EnvoyBuffer, count: usize, is_end: bool);
    /// As above.
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers(handle: *mut c_void, config: *const c_void, id: u64, trailers: *const EnvoyHeader, count: usize);
    /// As above.
    envoy_dynamic_module_on_http_filter_config_http_stream_complete(handle: *mut c_void, config: *const c_void, id: u64);
    /// As above.
    envoy_dynamic_module_on_http_filter_config_http_stream_reset(handle: *mut c_void, config: *const c_void, id: u64, reason: u32);
    /// What was scheduled for a stream, of which there is nothing.
    envoy_dynamic_module_on_http_filter_scheduled(handle: *mut c_void, stream: *const c_void, event: u64);
    /// The client reads more slowly than the response comes.
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(handle: *mut c_void, stream: *const c_void);
    /// It does not any more.
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(handle: *mut c_void, stream: *const c_void);
}
