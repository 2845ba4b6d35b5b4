//! Whether another filter undoes what this one does: one in front of it in the list answers
//! preflights before they come here, and writes its lists when ours are written already
//! (envoy-wasm.md §3). Nothing tells the order at start-up, but the end of a stream shows it: there
//! the headers are those that the client got.

use super::{CorsOptions, CorsRequest};
use crate::headers::Headers;

/// Looks at one answer for each flush, which costs next to nothing, until it has found one: the
/// order of filters does not change.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum FilterOrder {
    /// The next response to a browser of another origin is looked at.
    #[default]
    Due,
    /// One was looked at since the last flush.
    Seen,
    /// One was found, and said so.
    Wrong,
}

impl FilterOrder {
    /// What is said.
    pub const WARNING: &'static str = "sentry: a CORS response reached a browser without sentry-trace and baggage in its lists: a filter in front of this \
        one wrote it. Put the Sentry filter before it in http_filters (docs/cors.md)";

    /// Whether the end of a stream is worth a look. `request` is `None` where the filter never saw
    /// the request's headers.
    pub fn is_due(self, request: Option<&CorsRequest>, lists: CorsOptions) -> bool {
        let adds_any = lists.allow_headers || lists.expose_headers;
        self == Self::Due && adds_any && request.is_none_or(CorsRequest::is_cross_origin)
    }

    /// Looks at the response that the client got; whether to say that the order is wrong.
    pub fn look(&mut self, request: &CorsRequest, response: &Headers, lists: CorsOptions) -> bool {
        if !request.is_cross_origin() {
            return false;
        }
        let is_wrong = request.lacks_sentry(response, lists);
        *self = if is_wrong { Self::Wrong } else { Self::Seen };
        is_wrong
    }

    /// A flush has come.
    pub fn flushed(&mut self) {
        if *self == Self::Seen {
            *self = Self::Due;
        }
    }
}
