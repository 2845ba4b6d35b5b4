//! The callbacks, as Envoy has them: those for the process and its configurations.

mod streams;

use std::ffi::c_void;
use std::ptr;

use sentry_filter::abi::{self, Callbacks, ModuleBuffer, ModuleHeader};

use crate::config::{Callout, State};
use crate::host::{keep, lock, process, Fault};

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
        http_filter_get_worker_index: Some(streams::worker_index),
        http_get_headers_size: Some(streams::headers_size),
        http_get_headers: Some(streams::get_headers),
        http_get_header: Some(streams::get_header),
        http_set_header: Some(streams::set_header),
        http_add_header: Some(streams::add_header),
        http_clear_route_cache: Some(streams::clear_route_cache),
        http_filter_get_attribute_string: Some(streams::attribute_string),
        http_filter_get_attribute_int: Some(streams::attribute_int),
        http_get_cluster_name: Some(streams::cluster_name),
        http_get_timing_info: Some(streams::timing_info),
        http_set_filter_state_bytes: Some(streams::set_filter_state),
        http_get_metadata_keys_count: Some(streams::metadata_keys_count),
        http_get_metadata_string: Some(streams::metadata_string),
        http_get_metadata_number: Some(streams::metadata_number),
        http_get_metadata_bool: Some(streams::metadata_bool),
        get_most_specific_route_config: Some(streams::route_config),
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

pub(crate) fn bytes(buffer: ModuleBuffer) -> Vec<u8> {
    if buffer.ptr.is_null() {
        return Vec::new();
    }
    // SAFETY: the module promises that so many bytes are there.
    unsafe { std::slice::from_raw_parts(buffer.ptr, buffer.length) }.to_vec()
}

pub(crate) fn text(buffer: ModuleBuffer) -> String {
    String::from_utf8_lossy(&bytes(buffer)).into_owned()
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

unsafe extern "C" fn signal_init_complete(config: *mut c_void) {
    // SAFETY: the module has the pointer from the hook.
    *lock(&unsafe { State::of(config) }.signals) += 1;
}
