//! The Sentry filter without a host: values in, values out.
//!
//! One request is one straight line:
//!
//! ```text
//! plugin configuration -> FilterConfig                                config, dsn
//! request headers      -> TraceDecision -> header mutations + a span  headers, trace, route
//! response headers     -> header mutations                            response, cors
//! end of the stream    -> Segment       -> EncodedSegment in the Queue        span, envelope, queue
//! tick                 -> Callout                                     transport
//! answer               -> spans sent, spans lost                      transport, metrics
//! ```
//! [`pipeline::Pipeline`] is that line. The clock and randomness are arguments, so nothing here can
//! surprise a test; nothing here panics, because a panic would take the gateway's worker with it.
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
mod decimal;
pub mod dsn;
pub mod envelope;
pub mod filter_state;
pub mod headers;
pub mod live;
pub mod metrics;
pub mod pattern;
pub mod pipeline;
pub mod protobuf;
pub mod queue;
mod reading;
pub mod response;
pub mod route;
pub mod rules;
pub mod span;
pub mod trace;
pub mod transport;

#[cfg(test)]
mod fixtures;
