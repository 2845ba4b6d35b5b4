//! The callbacks for streams.

use std::ffi::c_void;

use sentry_filter::abi::{self, header_type, EnvoyBuffer, EnvoyHeader, ModuleBuffer, Timing};

use super::{bytes, text};
use crate::host::{process, Fault};
use crate::stream::{Lines, Metadata, Stream};

/// What a header count is that lies.
const HUGE: usize = usize::MAX / 2;

/// Gives the module bytes of Envoy's, unless something is wrong with the callback.
fn give(callback: &str, value: Option<&[u8]>, result: *mut EnvoyBuffer) -> bool {
    let (given, is_there) = match (process().fault(callback), value) {
        (Some(Fault::Refuse), _) | (_, None) => (EnvoyBuffer::NONE, false),
        (Some(Fault::Null), _) => (EnvoyBuffer::NONE, true),
        (Some(Fault::Huge), Some(value)) => (
            EnvoyBuffer {
                ptr: value.as_ptr(),
                length: usize::MAX,
            },
            true,
        ),
        (Some(Fault::Short), Some(value)) => (
            EnvoyBuffer {
                ptr: value.as_ptr(),
                length: value.len() / 2,
            },
            true,
        ),
        (None, Some(value)) => (
            EnvoyBuffer {
                ptr: value.as_ptr(),
                length: value.len(),
            },
            true,
        ),
    };
    // SAFETY: the module promises room for it.
    unsafe { result.write(given) };
    is_there
}

pub(super) unsafe extern "C" fn worker_index(stream: *mut c_void) -> u32 {
    // SAFETY: the module has the pointer from a hook.
    unsafe { Stream::of(stream) }.worker
}

fn map(stream: *mut c_void, kind: u32) -> Option<&'static mut Lines> {
    // SAFETY: the module has the pointer from a hook.
    let stream = unsafe { Stream::of(stream) };
    match kind {
        header_type::REQUEST => stream.request.as_mut(),
        header_type::RESPONSE => stream.response.as_mut(),
        _ => None,
    }
}

pub(super) unsafe extern "C" fn headers_size(stream: *mut c_void, kind: u32) -> usize {
    let count = map(stream, kind).map_or(0, |lines| lines.len());
    match process().fault("http_get_headers_size") {
        Some(Fault::Huge) => HUGE,
        Some(Fault::Short) => count / 2,
        Some(_) => 0,
        None => count,
    }
}

pub(super) unsafe extern "C" fn get_headers(
    stream: *mut c_void,
    kind: u32,
    result: *mut EnvoyHeader,
) -> bool {
    let fault = process().fault("http_get_headers");
    let short = process().fault("http_get_headers_size") == Some(Fault::Short);
    let Some(lines) = map(stream, kind).filter(|_| fault != Some(Fault::Refuse)) else {
        return false;
    };
    let count = match fault {
        // Less than was said: the rest stays as the module has made it.
        Some(Fault::Short) => lines.len() / 2,
        _ if short => lines.len() / 2,
        _ => lines.len(),
    };
    for (place, (name, value)) in lines.iter().take(count).enumerate() {
        let mut header = EnvoyHeader::NONE;
        if fault != Some(Fault::Null) {
            header.key = EnvoyBuffer {
                ptr: name.as_ptr(),
                length: name.len(),
            };
            header.value = EnvoyBuffer {
                ptr: value.as_ptr(),
                length: value.len(),
            };
        }
        // SAFETY: the module promises room for as many as it was told of.
        unsafe { result.add(place).write(header) };
    }
    true
}

pub(super) unsafe extern "C" fn get_header(
    stream: *mut c_void,
    kind: u32,
    name: ModuleBuffer,
    result: *mut EnvoyBuffer,
    index: usize,
    _count: *mut usize,
) -> bool {
    let name = bytes(name);
    let lines = map(stream, kind);
    let value = lines.and_then(|lines| {
        let mut found = lines.iter().filter(|(known, _)| *known == name);
        found.nth(index)
    });
    give(
        "http_get_header",
        value.map(|(_, value)| &value[..]),
        result,
    )
}

pub(super) unsafe extern "C" fn set_header(
    stream: *mut c_void,
    kind: u32,
    name: ModuleBuffer,
    value: ModuleBuffer,
) -> bool {
    let Some(lines) = map(stream, kind).filter(|_| !process().refuses("http_set_header")) else {
        return false;
    };
    let name = bytes(name);
    lines.retain(|(known, _)| *known != name);
    if !value.ptr.is_null() {
        lines.push((name, bytes(value)));
    }
    true
}

pub(super) unsafe extern "C" fn add_header(
    stream: *mut c_void,
    kind: u32,
    name: ModuleBuffer,
    value: ModuleBuffer,
) -> bool {
    let Some(lines) = map(stream, kind).filter(|_| !process().refuses("http_add_header")) else {
        return false;
    };
    lines.push((bytes(name), bytes(value)));
    true
}

pub(super) unsafe extern "C" fn clear_route_cache(stream: *mut c_void) {
    // SAFETY: the module has the pointer from a hook.
    unsafe { Stream::of(stream) }.route_clears += 1;
}

pub(super) unsafe extern "C" fn attribute_string(
    stream: *mut c_void,
    attribute: u32,
    result: *mut EnvoyBuffer,
) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let text = unsafe { Stream::of(stream) }.texts.get(&attribute);
    give("attribute", text.map(Vec::as_slice), result)
}

pub(super) unsafe extern "C" fn attribute_int(
    stream: *mut c_void,
    attribute: u32,
    result: *mut u64,
) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let number = unsafe { Stream::of(stream) }.numbers.get(&attribute);
    let number = match process().fault("attribute") {
        Some(Fault::Refuse | Fault::Null) => None,
        Some(Fault::Huge) => Some(u64::MAX),
        Some(Fault::Short) | None => number.copied(),
    };
    // SAFETY: the module promises room for it.
    number.is_some_and(|number| unsafe {
        result.write(number);
        true
    })
}

pub(super) unsafe extern "C" fn cluster_name(
    stream: *mut c_void,
    result: *mut EnvoyBuffer,
) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let name = unsafe { Stream::of(stream) }.cluster.as_deref();
    give("attribute", name, result)
}

pub(super) unsafe extern "C" fn timing_info(stream: *mut c_void, result: *mut Timing) {
    // SAFETY: the module has the pointer from a hook.
    let mut timing = unsafe { Stream::of(stream) }.timing;
    match process().fault("timing") {
        Some(Fault::Refuse | Fault::Null) => timing = Timing::NONE,
        Some(Fault::Huge) => {
            timing.moments.fill(i64::MAX);
            timing.is_known.fill(1);
        }
        Some(Fault::Short) => {
            timing.moments.fill(i64::MIN);
            timing.is_known.fill(0xff);
        }
        None => {}
    }
    // SAFETY: the module promises room for it.
    unsafe { result.write(timing) };
}

pub(super) unsafe extern "C" fn set_filter_state(
    stream: *mut c_void,
    name: ModuleBuffer,
    value: ModuleBuffer,
) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let stream = unsafe { Stream::of(stream) };
    if process().refuses("filter_state") {
        return false;
    }
    stream.filter_state.insert(text(name), bytes(value));
    true
}

fn metadata(stream: *mut c_void, key: ModuleBuffer) -> Option<&'static Metadata> {
    // SAFETY: the module has the pointer from a hook.
    let stream = unsafe { Stream::of(stream) };
    stream.metadata.get(&text(key))
}

pub(super) unsafe extern "C" fn metadata_keys_count(
    stream: *mut c_void,
    source: u32,
    namespace: ModuleBuffer,
) -> usize {
    // SAFETY: the module has the pointer from a hook.
    let stream = unsafe { Stream::of(stream) };
    match (source, text(namespace).as_str()) {
        (abi::ROUTE_METADATA, "sentry") => stream.metadata.len(),
        _ => 0,
    }
}

pub(super) unsafe extern "C" fn metadata_string(
    stream: *mut c_void,
    _source: u32,
    _namespace: ModuleBuffer,
    key: ModuleBuffer,
    result: *mut EnvoyBuffer,
) -> bool {
    let value = match metadata(stream, key) {
        Some(Metadata::Text(value)) => Some(value.as_bytes()),
        _ => None,
    };
    give("metadata", value, result)
}

pub(super) unsafe extern "C" fn metadata_number(
    stream: *mut c_void,
    _source: u32,
    _namespace: ModuleBuffer,
    key: ModuleBuffer,
    result: *mut f64,
) -> bool {
    match metadata(stream, key) {
        Some(Metadata::Number(value)) if process().fault("metadata").is_none() => {
            // SAFETY: the module promises room for it.
            unsafe { result.write(*value) };
            true
        }
        _ => false,
    }
}

pub(super) unsafe extern "C" fn metadata_bool(
    stream: *mut c_void,
    _source: u32,
    _namespace: ModuleBuffer,
    key: ModuleBuffer,
    result: *mut u8,
) -> bool {
    match metadata(stream, key) {
        Some(Metadata::Flag(value)) if process().fault("metadata").is_none() => {
            // SAFETY: the module promises room for it.
            unsafe { result.write((*value).into()) };
            true
        }
        _ => false,
    }
}

pub(super) unsafe extern "C" fn route_config(stream: *mut c_void) -> *const c_void {
    // SAFETY: the module has the pointer from a hook.
    unsafe { Stream::of(stream) }.route_config
}
