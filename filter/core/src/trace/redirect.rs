//! Internal redirects: one request of a client's for which Envoy runs the filters several times
//! (`internal_redirect_policy`, the custom response filter).
//!
//! ```text
//! trip 1   request headers -> decision          end of the stream: "internal_redirect"
//!                                               -> filter state: token of what was decided
//! trip 2   request headers, filter state: token -> the same decision goes on
//! ```
//! The trace, the flag and everything else that was decided on the first trip holds on every later
//! one. A request is told from one that merely looks like it by a token in Envoy's filter state,
//! which outlives the redirect and which no caller can send; it is asked for only while a redirect
//! is under way.

use super::sentry_trace::SentryTrace;
use crate::live::HeapBytes;
use crate::project::ProjectId;

/// What was decided about a request and holds on every later trip.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The context of the request.
    pub context: Option<SentryTrace>,
    /// The `sentry-` members that belong to it, where the request itself does not carry them
    /// because its upstream was not to get the trace.
    pub withheld: Option<Vec<u8>>,
    /// Whether a document tells the browser its trace.
    pub server_timing: bool,
    /// The project that it belongs to.
    pub project: Option<ProjectId>,
}

impl HeapBytes for Carried {
    fn heap_bytes(&self) -> usize {
        let Self {
            context: _,
            withheld,
            server_timing: _,
            project: _,
        } = self;
        withheld.heap_bytes()
    }
}
