//! `Access-Control-Expose-Headers: x-total, sentry-trace, baggage`: what scripts of another origin
//! may read of an answer (Fetch, "CORS filtered response").

use super::names;
use crate::headers::{HeaderAddition, Headers, ACCESS_CONTROL_EXPOSE_HEADERS};

/// Adds the names that are missing; `None` if none is.
pub fn add(answer: &Headers, wanted: &[&str]) -> Option<HeaderAddition> {
    names::add(answer, ACCESS_CONTROL_EXPOSE_HEADERS, wanted)
}
