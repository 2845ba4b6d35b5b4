//! The callbacks, as Envoy has them.

use std::ffi::c_void;
use std::ptr;

use sentry_filter::abi::{
    self, header_type, Callbacks, EnvoyBuffer, EnvoyHeader, ModuleBuffer, ModuleHeader, Timing,
};

use crate::config::{Callout, State};
use crate::host::{keep, lock, process, Fault};
use crate::stream::{Lines, Metadata, Stream};

/// What a header count is that lies.
const HUGE: usize = usize::MAX / 2;

/// Puts them in the place of Envoy's.
pub(crate) fn install() {
    // The first test has done it already, otherwise.
    let _ = abi::provide(Callbacks {
        log: Some(log),
        get_concurrency: Some(get_concurrency),
        is_validation_mode: Some(is_validation_mode),
        http_filter_config_define_counter: Some(define_counter),
        http_filter_config_define_gauge: Some(define_gauge),
        http_filter_config_increment_counter: Some(increment_counter),
        http_filter_config_increment_gauge: Some(increment_gauge),
        http_filter_config_decrement_gauge: Some(decrement_gauge),
        http_filter_config_scheduler_new: Some(scheduler_new),
        http_filter_config_scheduler_commit: Some(scheduler_commit),
        http_filter_config_scheduler_delete: Some(scheduler_delete),
        http_filter_config_http_callout: Some(callout),
        http_filter_get_worker_index: Some(worker_index),
        http_get_headers_size: Some(headers_size),
        http_get_headers: Some(get_headers),
        http_get_header: Some(get_header),
        http_set_header: Some(set_header),
        http_add_header: Some(add_header),
        http_filter_get_attribute_string: Some(attribute_string),
        http_filter_get_attribute_int: Some(attribute_int),
        http_get_cluster_name: Some(cluster_name),
        http_get_timing_info: Some(timing_info),
        http_set_filter_state_bytes: Some(set_filter_state),
        http_get_metadata_keys_count: Some(metadata_keys_count),
        http_get_metadata_string: Some(metadata_string),
        http_get_metadata_number: Some(metadata_number),
        http_get_metadata_bool: Some(metadata_bool),
        get_most_specific_route_config: Some(route_config),
        bootstrap_extension_config_signal_init_complete: Some(signal_init_complete),
        bootstrap_extension_config_scheduler_new: Some(scheduler_new),
        bootstrap_extension_config_scheduler_commit: Some(scheduler_commit),
        bootstrap_extension_config_scheduler_delete: Some(scheduler_delete),
        bootstrap_extension_http_callout: Some(callout),
        bootstrap_extension_config_define_counter: Some(define_counter),
        bootstrap_extension_config_define_gauge: Some(define_gauge),
        bootstrap_extension_config_increment_counter: Some(increment_counter),
        bootstrap_extension_config_increment_gauge: Some(increment_gauge),
        bootstrap_extension_config_decrement_gauge: Some(decrement_gauge),
    });
}

fn bytes(buffer: ModuleBuffer) -> Vec<u8> {
    if buffer.ptr.is_null() {
        return Vec::new();
    }
    // SAFETY: the module promises that so many bytes are there.
    unsafe { std::slice::from_raw_parts(buffer.ptr, buffer.length) }.to_vec()
}

fn text(buffer: ModuleBuffer) -> String {
    String::from_utf8_lossy(&bytes(buffer)).into_owned()
}

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

unsafe extern "C" fn log(level: u32, line: ModuleBuffer) {
    process().log(level, text(line));
}

unsafe extern "C" fn get_concurrency() -> u32 {
    match process().fault("get_concurrency") {
        Some(Fault::Huge) => 1 << 20,
        Some(_) => 0,
        None => 2,
    }
}

unsafe extern "C" fn is_validation_mode() -> bool {
    process().fault("is_validation_mode").is_some()
}

unsafe extern "C" fn define_counter(
    config: *mut c_void,
    name: ModuleBuffer,
    _labels: *const ModuleBuffer,
    _count: usize,
    id: *mut usize,
) -> u32 {
    define(config, name, false, id)
}

unsafe extern "C" fn define_gauge(
    config: *mut c_void,
    name: ModuleBuffer,
    _labels: *const ModuleBuffer,
    _count: usize,
    id: *mut usize,
) -> u32 {
    define(config, name, true, id)
}

fn define(config: *mut c_void, name: ModuleBuffer, is_gauge: bool, id: *mut usize) -> u32 {
    if process().refuses("define") {
        return 3;
    }
    // SAFETY: the module has the pointer from the hook, and room for the id.
    unsafe { id.write(State::of(config).define(text(name), is_gauge)) };
    0
}

fn change(config: *mut c_void, id: usize, is_gauge: bool, change: i64) -> u32 {
    // SAFETY: the module has the pointer from the hook.
    let state = unsafe { State::of(config) };
    state.check("a change of a metric");
    let is_changed = !process().refuses("change") && state.change(id, is_gauge, change);
    u32::from(!is_changed)
}

unsafe extern "C" fn increment_counter(
    config: *mut c_void,
    id: usize,
    _labels: *const ModuleBuffer,
    _count: usize,
    by: u64,
) -> u32 {
    change(config, id, false, by as i64)
}

unsafe extern "C" fn increment_gauge(
    config: *mut c_void,
    id: usize,
    _labels: *const ModuleBuffer,
    _count: usize,
    by: u64,
) -> u32 {
    change(config, id, true, by as i64)
}

unsafe extern "C" fn decrement_gauge(
    config: *mut c_void,
    id: usize,
    _labels: *const ModuleBuffer,
    _count: usize,
    by: u64,
) -> u32 {
    change(config, id, true, -(by as i64))
}

/// A scheduler, which is never given back, so that what is used too late is seen.
struct Scheduler {
    state: &'static State,
    is_deleted: std::sync::atomic::AtomicBool,
}

unsafe extern "C" fn scheduler_new(config: *mut c_void) -> *mut c_void {
    if process().refuses("scheduler_new") {
        return ptr::null_mut();
    }
    // SAFETY: the module has the pointer from the hook.
    let state = unsafe { State::of(config) };
    let scheduler = Scheduler {
        state,
        is_deleted: false.into(),
    };
    ptr::from_ref(keep(scheduler)).cast_mut().cast()
}

unsafe extern "C" fn scheduler_commit(scheduler: *mut c_void, event: u64) {
    // SAFETY: the module has the pointer from the callback above.
    let scheduler = unsafe { &*scheduler.cast::<Scheduler>() };
    if scheduler
        .is_deleted
        .load(std::sync::atomic::Ordering::SeqCst)
    {
        process().violation("a commit to a scheduler that was deleted");
    }
    lock(&scheduler.state.scheduled).push(event);
}

unsafe extern "C" fn scheduler_delete(scheduler: *mut c_void) {
    // SAFETY: the module has the pointer from the callback above.
    let scheduler = unsafe { &*scheduler.cast::<Scheduler>() };
    let was_deleted = scheduler
        .is_deleted
        .swap(true, std::sync::atomic::Ordering::SeqCst);
    if was_deleted {
        process().violation("a scheduler that is deleted twice");
    }
}

unsafe extern "C" fn callout(
    config: *mut c_void,
    id: *mut u64,
    cluster: ModuleBuffer,
    headers: *const ModuleHeader,
    count: usize,
    body: ModuleBuffer,
    timeout_ms: u64,
) -> u32 {
    // SAFETY: the module has the pointer from the hook.
    let state = unsafe { State::of(config) };
    state.check("a callout");
    if process().refuses("callout") {
        return 4;
    }
    // SAFETY: the module promises that so many headers are there.
    let headers = unsafe { std::slice::from_raw_parts(headers, count) };
    let headers: Vec<_> = headers
        .iter()
        .map(|header| (text(header.key), bytes(header.value)))
        .collect();
    for needed in [":method", ":path", ":authority"] {
        if headers.iter().all(|(name, _)| name != needed) {
            process().violation(format!("a callout without {needed}"));
        }
    }
    let number = state.begin(Callout {
        id: 0,
        cluster: text(cluster),
        headers,
        body: bytes(body),
        timeout_ms,
    });
    // SAFETY: the module promises room for the id.
    unsafe { id.write(number) };
    state.answer_inline(number);
    0
}

unsafe extern "C" fn worker_index(stream: *mut c_void) -> u32 {
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

unsafe extern "C" fn headers_size(stream: *mut c_void, kind: u32) -> usize {
    let count = map(stream, kind).map_or(0, |lines| lines.len());
    match process().fault("http_get_headers_size") {
        Some(Fault::Huge) => HUGE,
        Some(Fault::Short) => count / 2,
        Some(_) => 0,
        None => count,
    }
}

unsafe extern "C" fn get_headers(stream: *mut c_void, kind: u32, result: *mut EnvoyHeader) -> bool {
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

unsafe extern "C" fn get_header(
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

unsafe extern "C" fn set_header(
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

unsafe extern "C" fn add_header(
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

unsafe extern "C" fn attribute_string(
    stream: *mut c_void,
    attribute: u32,
    result: *mut EnvoyBuffer,
) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let text = unsafe { Stream::of(stream) }.texts.get(&attribute);
    give("attribute", text.map(Vec::as_slice), result)
}

unsafe extern "C" fn attribute_int(stream: *mut c_void, attribute: u32, result: *mut u64) -> bool {
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

unsafe extern "C" fn cluster_name(stream: *mut c_void, result: *mut EnvoyBuffer) -> bool {
    // SAFETY: the module has the pointer from a hook.
    let name = unsafe { Stream::of(stream) }.cluster.as_deref();
    give("attribute", name, result)
}

unsafe extern "C" fn timing_info(stream: *mut c_void, result: *mut Timing) {
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

unsafe extern "C" fn set_filter_state(
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

unsafe extern "C" fn metadata_keys_count(
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

unsafe extern "C" fn metadata_string(
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

unsafe extern "C" fn metadata_number(
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

unsafe extern "C" fn metadata_bool(
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

unsafe extern "C" fn route_config(stream: *mut c_void) -> *const c_void {
    // SAFETY: the module has the pointer from a hook.
    unsafe { Stream::of(stream) }.route_config
}

unsafe extern "C" fn signal_init_complete(config: *mut c_void) {
    // SAFETY: the module has the pointer from the hook.
    *lock(&unsafe { State::of(config) }.signals) += 1;
}
