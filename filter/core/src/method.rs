//! Methods as OpenTelemetry's conventions for HTTP have them: those of RFC 9110 and `PATCH`,
//! compared with case. A caller may invent any other, so that none of them becomes a name.

use crate::headers::{Headers, METHOD, UPGRADE};

/// What the names of upgrades begin with that are tunnels: `connect-udp` (RFC 9298) and its kin.
/// Envoy makes an upgrade of an extended `CONNECT` of HTTP/2.
const TUNNELS: &[u8] = b"connect-";

/// How much of an unknown method is kept, in bytes.
pub const MAX_ORIGINAL: usize = 64;

/// The method of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called as they are written")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    #[default]
    Other,
}

impl Method {
    const KNOWN: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
    ];

    /// The method of a request.
    pub fn read(headers: &Headers) -> Self {
        let upgrade = headers
            .value(UPGRADE)
            .and_then(|value| value.get(..TUNNELS.len()));
        match upgrade.is_some_and(|start| start.eq_ignore_ascii_case(TUNNELS)) {
            true => Self::Connect,
            false => Self::new(headers.value(METHOD).unwrap_or_default()),
        }
    }

    /// The method that a request line names.
    pub fn new(name: &[u8]) -> Self {
        let mut known = Self::KNOWN.into_iter();
        known
            .find(|method| method.as_str().as_bytes() == name)
            .unwrap_or_default()
    }

    /// The text of `http.request.method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "_OTHER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_somebody_made_up_are_one() {
        for method in Method::KNOWN {
            assert_eq!(Method::new(method.as_str().as_bytes()), method);
        }
        for text in [
            "", "get", "Get", "PROPFIND", "QUERY", "_OTHER", "GET ", "GETGET",
        ] {
            assert_eq!(Method::new(text.as_bytes()), Method::Other, "{text:?}");
        }
    }
}
