//! The hooks of the bootstrap extension, all on the main thread but one.

use std::ffi::c_void;
use std::sync::Arc;

use crate::abi::{Completion, EnvoyBuffer, EnvoyHeader};
use crate::boot::Boot;
use crate::guard::guard;
use crate::host::{self, Bootstrap, CompletionCallback};
use crate::inbox::CalloutAnswer;

/// The extension's configuration is made.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_new(
    config: *mut c_void,
    _name: EnvoyBuffer,
    _text: EnvoyBuffer,
) -> *const c_void {
    guard("bootstrap_extension_config_new", std::ptr::null(), || {
        host::set_main_thread();
        // SAFETY: the handle goes when the configuration is destroyed.
        let boot = Boot::start(unsafe { Bootstrap::new(config) });
        Arc::into_raw(boot).cast()
    })
}

/// The extension's configuration goes, at the very end of the process.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_destroy(
    config: *const c_void,
) {
    if config.is_null() {
        return;
    }
    // SAFETY: it was made by the hook above, and Envoy gives it back once.
    let boot = unsafe { Arc::from_raw(config.cast::<Boot>()) };
    // Whatever happens, nobody uses it from here on.
    boot.retire();
    guard("bootstrap_extension_config_destroy", (), || boot.end());
}

/// The extension is made of its configuration, and is the same here.
#[no_mangle]
pub extern "C" fn envoy_dynamic_module_on_bootstrap_extension_new(
    config: *const c_void,
    _extension: *mut c_void,
) -> *const c_void {
    config
}

/// The extension goes; its configuration goes later.
#[no_mangle]
pub extern "C" fn envoy_dynamic_module_on_bootstrap_extension_destroy(_extension: *const c_void) {}

/// Runs what a hook does for the extension, if there is one.
///
/// # Safety
/// `boot` is what `bootstrap_extension_config_new` has given Envoy.
unsafe fn with_boot(hook: &'static str, boot: *const c_void, act: impl FnOnce(&Arc<Boot>)) {
    guard(hook, (), || {
        if boot.is_null() {
            return;
        }
        let boot = boot.cast::<Boot>();
        // SAFETY: Envoy has one reference, and this one goes before the hook returns.
        let boot = unsafe {
            Arc::increment_strong_count(boot);
            Arc::from_raw(boot)
        };
        act(&boot);
    });
}

/// Envoy ends, as soon as the completion callback was called.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_shutdown(
    _handle: *mut c_void,
    extension: *const c_void,
    callback: Completion,
    context: *mut c_void,
) {
    // SAFETY: dropped on every way out of here, and then called, once.
    let completion = unsafe { CompletionCallback::new(callback, context) };
    let mut is_done = false;
    // SAFETY: the extension is its configuration.
    unsafe {
        with_boot("bootstrap_extension_shutdown", extension, |boot| {
            boot.on_shutdown(completion);
            is_done = true;
        });
        if !is_done {
            // Envoy was let go when that was dropped: a POST from here on would be its crash.
            with_boot("shutdown_without_boot", extension, |boot| boot.give_up());
        }
    }
}

/// What was scheduled has come to the main thread.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_scheduled(
    _handle: *mut c_void,
    config: *const c_void,
    _event: u64,
) {
    // SAFETY: the configuration is what was given to Envoy.
    unsafe {
        with_boot("bootstrap_extension_config_scheduled", config, |boot| {
            boot.drive()
        });
    }
}

/// A callout has ended.
///
/// # Safety
/// Envoy calls it as its ABI says.
#[no_mangle]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_http_callout_done(
    _handle: *mut c_void,
    config: *const c_void,
    callout: u64,
    result: u32,
    headers: *const EnvoyHeader,
    header_count: usize,
    body: *const EnvoyBuffer,
    body_count: usize,
) {
    let mut is_done = false;
    // SAFETY: the configuration is what was given to Envoy; headers and body are Envoy's.
    unsafe {
        with_boot("bootstrap_extension_http_callout_done", config, |boot| {
            let answer = super::answer(result, headers, header_count, body, body_count);
            boot.on_callout_done(callout, answer);
            is_done = true;
        });
        if !is_done {
            with_boot("callout_without_answer", config, |boot| {
                boot.on_callout_done(callout, CalloutAnswer::default());
            });
        }
    }
}

passing! {
    /// Envoy has read its configuration.
    envoy_dynamic_module_on_bootstrap_extension_server_initialized(handle: *mut c_void, extension: *const c_void);
    /// A worker begins, on its own thread.
    envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized(handle: *mut c_void, extension: *const c_void);
    /// Envoy begins to drain its listeners.
    envoy_dynamic_module_on_bootstrap_extension_drain_started(handle: *mut c_void, extension: *const c_void);
    /// A timer of the extension, of which there are none.
    envoy_dynamic_module_on_bootstrap_extension_timer_fired(handle: *mut c_void, config: *const c_void, timer: *mut c_void);
    /// A file that the extension watches, of which there are none.
    envoy_dynamic_module_on_bootstrap_extension_file_changed(handle: *mut c_void, config: *const c_void, path: EnvoyBuffer, events: u32);
    /// A page of the admin interface, of which there are none.
    envoy_dynamic_module_on_bootstrap_extension_admin_request(handle: *mut c_void, config: *const c_void, method: EnvoyBuffer, path: EnvoyBuffer, body: EnvoyBuffer) -> u32;
    /// A cluster, which the extension does not ask for.
    envoy_dynamic_module_on_bootstrap_extension_cluster_add_or_update(handle: *mut c_void, config: *const c_void, name: EnvoyBuffer);
    /// As above.
    envoy_dynamic_module_on_bootstrap_extension_cluster_removal(handle: *mut c_void, config: *const c_void, name: EnvoyBuffer);
    /// A listener, which the extension does not ask for.
    envoy_dynamic_module_on_bootstrap_extension_listener_add_or_update(handle: *mut c_void, config: *const c_void, name: EnvoyBuffer);
    /// As above.
    envoy_dynamic_module_on_bootstrap_extension_listener_removal(handle: *mut c_void, config: *const c_void, name: EnvoyBuffer);
}
