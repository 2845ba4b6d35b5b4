//! `Access-Control-Allow-Credentials: true`: whether an answer counts for a request with cookies
//! (Fetch, "CORS check"). Read, never written.

use crate::headers::{trim, Headers, ACCESS_CONTROL_ALLOW_CREDENTIALS};

/// Whether it does. With credentials `*` is no wildcard but the name of a header.
pub fn is_allowed(answer: &Headers) -> bool {
    let lines = answer.values(ACCESS_CONTROL_ALLOW_CREDENTIALS).map(trim);
    lines.eq([b"true".as_slice()])
}
