//! What an access log can tell of a request's trace, as Envoy's filter state: `%FILTER_STATE(wasm.sentry.trace_id:PLAIN)%` (envoy-wasm.md, "Attributes,
//! seen"). Envoy puts `wasm.` before the names.

use crate::trace::sentry_trace::SentryTrace;

/// The trace's id, in 32 lower-case hex digits.
pub const TRACE_ID: &str = "sentry.trace_id";
/// `true` or `false`; not there while the decision is left to others.
pub const SAMPLED: &str = "sentry.sampled";

/// The names and values for one request.
pub fn of(context: SentryTrace) -> impl Iterator<Item = (&'static str, String)> {
    let sampled = context
        .sampled
        .map(|sampled| (SAMPLED, sampled.to_string()));
    std::iter::once((TRACE_ID, context.trace_id.to_string())).chain(sampled)
}
