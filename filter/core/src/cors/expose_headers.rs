//! `Access-Control-Expose-Headers: x-total, sentry-trace, baggage`: what scripts of another origin
//! may read of a response (Fetch, "CORS filtered response").

use super::names;
use crate::headers::{HeaderAddition, Headers, ACCESS_CONTROL_EXPOSE_HEADERS};
use crate::trace::propagation::Formats;

/// Adds the names that are missing; `None` if none is.
pub fn add(response: &Headers, wanted: Formats) -> Option<HeaderAddition> {
    names::add(response, ACCESS_CONTROL_EXPOSE_HEADERS, wanted)
}
