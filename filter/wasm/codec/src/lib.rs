//! The encodings of proxy-wasm: how header maps, attributes, metadata and numbers cross its ABI.
//!
//! They stand apart from the module, which links only for a host, so that they are tested natively
//! and fuzzed. Everything here comes from the host, and some of it from strangers.

#![forbid(unsafe_code)]
// Nothing on the traffic path can panic.
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
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod attributes;
pub mod header_map;
pub mod lifetime;
pub mod route_metadata;
pub mod shared_number;
