//! `Access-Control-Allow-Headers: content-type, sentry-trace, baggage`: what a request of another
//! origin may carry (Fetch, "CORS-preflight fetch").

use super::names;
use crate::headers::{HeaderAddition, Headers, ACCESS_CONTROL_ALLOW_HEADERS};
use crate::trace::propagation::Formats;

/// Adds the names that are missing; `None` if none is.
pub fn add(response: &Headers, wanted: Formats) -> Option<HeaderAddition> {
    names::add(response, ACCESS_CONTROL_ALLOW_HEADERS, wanted)
}
