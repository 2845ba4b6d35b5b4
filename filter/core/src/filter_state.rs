//! What an access log can tell of a request's trace, as Envoy's filter state:
//! `%FILTER_STATE(wasm.sentry.trace_id:PLAIN)%` (envoy-wasm.md §4). Envoy puts `wasm.` before the
//! names.

use crate::id::Hex;
use crate::sampling::bool_str;
use crate::trace::sentry_trace::SentryTrace;

/// The trace's id, in 32 lower-case hex digits.
pub const TRACE_ID: &str = "sentry.trace_id";
/// `true` or `false`; not there while the decision is left to others.
pub const SAMPLED: &str = "sentry.sampled";

/// The names and values for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterState {
    trace_id: Hex<32>,
    sampled: Option<&'static str>,
}

impl FilterState {
    /// What a request's context says.
    pub fn new(context: SentryTrace) -> Self {
        Self {
            trace_id: context.trace_id.hex(),
            sampled: context.sampled.map(bool_str),
        }
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let sampled = self.sampled.map(|sampled| (SAMPLED, sampled));
        std::iter::once((TRACE_ID, self.trace_id.as_str())).chain(sampled)
    }
}
