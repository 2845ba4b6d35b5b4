//! A fake Sentry that is stricter than the real one, in the manner of Relay's `mini_sentry`.
//!
//! It takes envelopes and OpenTelemetry's spans of one project and validates every request by
//! itself: path, authentication, framing, required fields, ids, times. What it does not like it
//! records as a violation, and a [`MiniSentry`] that is dropped with a violation fails its test,
//! whether or not the test asked.
//!
//! Without the feature `server` there is only the [`Validator`], for hosts that run the module in
//! their own process.

mod auth;
mod client_report;
mod dsc;
mod event;
pub mod framing;
mod headers;
mod json;
mod otlp;
#[cfg(feature = "server")]
mod receiver;
#[cfg(feature = "server")]
mod server;
mod span;
mod span_v2;
#[cfg(feature = "server")]
mod tls;
mod transaction;
mod validator;

pub use self::{
    client_report::Discarded,
    event::ErrorEvent,
    headers::Headers,
    span::{Format, Segment, Span},
    transaction::Transaction,
    validator::{Expected, Received, ReceivedRequest, Validator},
};
#[cfg(feature = "server")]
pub use self::{
    receiver::{Answer, MiniSentry, DEADLINE, PROJECT, PUBLIC_KEY},
    tls::Certificate,
};
