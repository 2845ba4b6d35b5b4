//! `Access-Control-Allow-Origin: https://shop.example`: whom a service lets in (Fetch, "CORS
//! check"). Read, never written.

use super::Origin;
use crate::headers::{trim, Headers, ACCESS_CONTROL_ALLOW_ORIGIN};

/// Whether a response lets an origin in: one line, with `*` or that origin, byte for byte. Anything
/// else, such as a list, lets in nobody.
pub fn grants(response: &Headers, origin: Option<Origin>) -> bool {
    let mut lines = response.values(ACCESS_CONTROL_ALLOW_ORIGIN).map(trim);
    match (lines.next(), lines.next()) {
        (Some(b"*"), None) => true,
        (Some(granted), None) => Some(Origin::new(granted)) == origin,
        _ => false,
    }
}
