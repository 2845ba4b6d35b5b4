//! What Envoy calls. Every hook runs behind the guard, takes null for "not there", and does nothing
//! but turn pointers into values.
#![allow(unsafe_code)]

/// Hooks that have to be there, and have nothing to do but to let Envoy go on.
macro_rules! passing {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            $(#[$doc])*
            #[no_mangle]
            pub extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                $(let _ = $argument;)*
                $(crate::abi::CONTINUE as $result)?
            }
        )*
    };
}

pub mod bootstrap;
pub mod http;

use std::ffi::c_char;

use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::headers::Headers;

use crate::abi::{self, EnvoyBuffer, EnvoyHeader};
use crate::guard::guard;
use crate::host;
use crate::inbox::CalloutAnswer;

/// The module was loaded.
#[no_mangle]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    guard("program_init", (), host::set_main_thread);
    abi::VERSION.as_ptr()
}

/// What came back for a callout: its headers are empty if nothing came.
///
/// # Safety
/// Headers and body are what Envoy gave the hook that is running.
unsafe fn answer(
    result: u32,
    headers: *const EnvoyHeader,
    header_count: usize,
    body: *const EnvoyBuffer,
    body_count: usize,
) -> CalloutAnswer {
    if result != abi::CALLOUT_ANSWERED {
        return CalloutAnswer::default();
    }
    // SAFETY: the caller promises that they are Envoy's of this hook.
    let (lines, chunks) = unsafe {
        (
            host::array(headers, header_count),
            host::array(body, body_count),
        )
    };
    // SAFETY: as above.
    let pairs = lines.iter().map(|one| unsafe { host::line(one) });
    let headers = Headers::from_pairs(pairs);
    let mut start = Vec::new();
    for chunk in chunks {
        // SAFETY: as above.
        let bytes = unsafe { host::bytes(*chunk) };
        let room = CalloutResponse::MAX_BODY.saturating_sub(start.len());
        start.extend(bytes.iter().take(room));
    }
    CalloutAnswer {
        headers,
        body: start,
    }
}
