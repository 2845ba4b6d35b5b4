//! The Sentry filter without a host: values in, values out.
//!
//! Two machines, with values between them and the door to a host:
//!
//! ```text
//! request headers  -> Tracer::on_request  -> header mutations, a span    tracer, trace, route
//! response headers -> Tracer::on_response -> header additions            response, cors
//! end of a stream  -> Tracer::on_end      -> an encoded segment          span, envelope
//!                     Exporter::collect   <- segments, counts            exporter, export
//!                     Exporter::poll      -> Command: post, metric, log
//! tick, response   -> Exporter::handle
//! ```
//! The clock, randomness and attributes are asked for through one small trait ([`host`]), so
//! nothing here can surprise a test; nothing here panics, because a panic would take the gateway's
//! worker with it.
//!
//! `filter.md`, `sentry-protocol.md` and `envoy-wasm.md` in comments are pages of `docs/spec`: the
//! specification of the filter, and what it relies on of Sentry's protocol and of Envoy.

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
        clippy::panic_in_result_fn,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

pub mod attribute;
mod clock;
pub mod config;
pub mod cors;
pub mod data;
mod date;
mod decimal;
pub mod dsn;
pub mod envelope;
pub mod export;
pub mod exporter;
pub mod failure;
pub mod filter_state;
pub mod headers;
pub mod host;
pub mod id;
pub mod live;
pub mod method;
pub mod pattern;
pub mod project;
pub mod protobuf;
pub mod quantity;
mod reading;
pub mod response;
pub mod route;
pub mod route_metadata;
pub mod rules;
pub mod sampling;
pub mod span;
mod text;
pub mod trace;
pub mod tracer;
pub mod worker;

#[cfg(test)]
mod fixtures;
