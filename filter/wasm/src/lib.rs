//! The Sentry filter as a proxy-wasm module. Everything that is decided is decided in
//! `sentry-filter-core`; this crate fetches values from the host and carries out what comes back.
//! [`host`] is the only door to the host.

#![deny(unsafe_code)]
#![allow(
    missing_docs,
    reason = "nothing is public but the entry point that the SDK's macro writes"
)]
// Nothing on the traffic path can panic: a panic kills the VM of the worker.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::get_unwrap,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod exports;
mod host;
mod root;
mod stream;

use talc::wasm::{new_wasm_dynamic_allocator, WasmDynamicTalc};

/// A request is some dozens of small allocations, a fifth of what the module computed with the C
/// library's allocator.
#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

proxy_wasm::main! {{
    host::install_logger();
}}
