//! `Access-Control-Allow-Credentials: true`: whether a response counts for a request with cookies
//! (Fetch, "CORS check"). Read, never written.

use crate::headers::{trim, Headers, ACCESS_CONTROL_ALLOW_CREDENTIALS};

/// Whether it does. With credentials `*` is no wildcard but the name of a header.
pub fn is_allowed(response: &Headers) -> bool {
    let lines = response.values(ACCESS_CONTROL_ALLOW_CREDENTIALS).map(trim);
    lines.eq([b"true".as_slice()])
}
