//! CORS: lets browsers send the trace across origins and read it from responses, wherever the
//! service has let them in at all (filter.md §5, Fetch standard).
//!
//! ```text
//! OPTIONS, on its way to the service
//!     Access-Control-Request-Headers: without the names below
//! OPTIONS, answered with Access-Control-Allow-Origin
//!     Access-Control-Allow-Headers: …, sentry-trace, baggage, traceparent, tracestate
//! anything else answered with it
//!     Access-Control-Expose-Headers: …, sentry-trace, baggage
//! ```
//! `Access-Control-Allow-Origin` is never written: no door is opened that was shut. Nor is `Vary`,
//! since no answer of ours depends on more than the response that we found: what goes to one origin
//! alone says so already, and what goes to every origin is exposed to every request, as the
//! standard wants it for responses that a cache may hand on ("CORS protocol and HTTP caches").

pub mod allow_credentials;
pub mod allow_headers;
pub mod allow_origin;
pub mod expose_headers;
pub mod filter_order;
pub mod names;
pub mod request_headers;

use std::hash::{DefaultHasher, Hasher};

use crate::headers::{
    HeaderAddition, Headers, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORITY, METHOD, ORIGIN, SCHEME, STATUS,
};
use crate::trace::propagation::Formats;

/// Which lists the filter adds to, and which names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorsOptions {
    /// `Access-Control-Allow-Headers` of preflight responses.
    pub allow_headers: bool,
    /// `Access-Control-Expose-Headers` of all others.
    pub expose_headers: bool,
    /// The formats that are read or written: pages may send their headers.
    pub allowed: Formats,
    /// The formats that are written: pages may read their headers.
    pub exposed: Formats,
}

/// The longest origin that is compared, in bytes: a scheme, a host name of 253 bytes and a port are
/// not half of it. What is longer is no origin of a browser's.
const MAX_ORIGIN: usize = 1_024;

/// An origin, as far as its response has to be compared with it: a hash, so that what is kept for a
/// live request has a fixed size. Two origins with the same hash do no harm, since the browser
/// compares the origins itself before it looks at any list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u64);

impl Origin {
    /// That of an origin's bytes.
    pub fn new(origin: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(origin);
        Self(hasher.finish())
    }
}

/// What a request means for the CORS headers of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorsRequest {
    /// A browser asks whether it may send a request.
    Preflight {
        /// Who asks.
        origin: Origin,
        /// Whether the request is to have one of Sentry's headers.
        carries_trace: bool,
    },
    /// A request of the gateway's own origin.
    SameOrigin,
    /// Any other.
    Other {
        /// Who asks, if it is said once.
        origin: Option<Origin>,
    },
}

impl CorsRequest {
    /// What the headers of a request say.
    pub fn read(headers: &Headers) -> Self {
        match only_origin(headers) {
            // Browsers ask other origins only, so the gateway's own name does not count here.
            Some(origin) if asks_for_a_method(headers) => Self::Preflight {
                origin: Origin::new(origin),
                carries_trace: names::has_any(
                    headers,
                    ACCESS_CONTROL_REQUEST_HEADERS,
                    Formats::SENTRY.headers(),
                ),
            },
            Some(origin) if is_own(origin, headers) => Self::SameOrigin,
            origin => Self::Other {
                origin: origin.map(Origin::new),
            },
        }
    }

    /// Whether a browser asks whether it may send a request.
    pub fn is_preflight(headers: &Headers) -> bool {
        asks_for_a_method(headers) && only_origin(headers).is_some()
    }

    /// Whether a browser of another origin waits for the response.
    pub fn is_cross_origin(&self) -> bool {
        match self {
            Self::Preflight { .. } => true,
            Self::SameOrigin => false,
            Self::Other { origin } => origin.is_some(),
        }
    }

    /// What to add to a response that may carry CORS headers: to `Access-Control-Allow-Headers` the
    /// headers that we read or write, to `Access-Control-Expose-Headers` those that we write
    /// (filter.md §11).
    pub fn addition(&self, response: &Headers, options: CorsOptions) -> Option<HeaderAddition> {
        match self {
            Self::Preflight { origin, .. } => {
                let grants = options.allow_headers
                    && is_ok(response)
                    && allow_origin::grants(response, Some(*origin));
                grants.then(|| allow_headers::add(response, options.allowed))?
            }
            Self::SameOrigin => None,
            Self::Other { origin } => {
                let grants = options.expose_headers && allow_origin::grants(response, *origin);
                grants.then(|| expose_headers::add(response, options.exposed))?
            }
        }
    }

    /// Whether a response, as the client got it, keeps a trace from a browser that it lets in: one
    /// that asks to send it, or may want to read it.
    pub fn lacks_sentry(&self, response: &Headers, lists: CorsOptions) -> bool {
        let matters = match self {
            Self::Preflight { carries_trace, .. } => *carries_trace,
            Self::SameOrigin | Self::Other { .. } => true,
        };
        let lists = CorsOptions {
            allowed: Formats::SENTRY,
            exposed: Formats::SENTRY,
            ..lists
        };
        matters && self.addition(response, lists).is_some()
    }
}

fn asks_for_a_method(headers: &Headers) -> bool {
    headers.value(METHOD) == Some(b"OPTIONS")
        && headers.value(ACCESS_CONTROL_REQUEST_METHOD).is_some()
}

/// Who asks, if it is said once. Envoy makes one line of several, with commas; no origin has any.
fn only_origin(headers: &Headers) -> Option<&[u8]> {
    let mut origins = headers.values(ORIGIN);
    match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            Some(origin).filter(|origin| origin.len() <= MAX_ORIGIN && !origin.contains(&b','))
        }
        _ => None,
    }
}

/// Whether an origin is the one that the request goes to. Browsers leave default ports out of both.
fn is_own(origin: &[u8], headers: &Headers) -> bool {
    let own = || {
        let (scheme, authority) = (headers.value(SCHEME)?, headers.value(AUTHORITY)?);
        let host = origin.strip_prefix(scheme)?.strip_prefix(b"://")?;
        Some(host.eq_ignore_ascii_case(without_default_port(scheme, authority)))
    };
    own().unwrap_or(false)
}

fn without_default_port<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = match scheme {
        b"https" => b":443",
        _ => b":80",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Fetch, "ok status": a preflight answered otherwise has failed.
fn is_ok(response: &Headers) -> bool {
    matches!(response.value(STATUS), Some([b'2', _, _]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> CorsRequest {
        let own = [(":scheme", "https"), (":authority", "Api.example:443")];
        let lines = own.iter().chain(lines);
        CorsRequest::read(&Headers::from_pairs(
            lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        ))
    }

    fn other(origin: Option<&str>) -> CorsRequest {
        CorsRequest::Other {
            origin: origin.map(|origin| Origin::new(origin.as_bytes())),
        }
    }

    #[test]
    fn requests_are_told_apart() {
        let get = (":method", "GET");
        let options = (":method", "OPTIONS");
        let asks = ("access-control-request-method", "POST");
        let page = ("origin", "https://page.example");
        let own = ("origin", "https://api.example");
        let two = ("origin", "https://page.example,https://other.example");
        let preflight = |origin: &str| CorsRequest::Preflight {
            origin: Origin::new(origin.as_bytes()),
            carries_trace: false,
        };
        let sends = (
            "access-control-request-headers",
            "content-type,sentry-trace",
        );
        let carrying = CorsRequest::Preflight {
            origin: Origin::new(b"https://page.example"),
            carries_trace: true,
        };
        let rows: [(&[(&str, &str)], CorsRequest); 10] = [
            (&[options, asks, page, sends], carrying),
            (&[options, asks, page], preflight("https://page.example")),
            (&[options, asks, own], preflight("https://api.example")),
            (&[options, asks], other(None)),
            (&[options, page], other(Some("https://page.example"))),
            (&[get, asks, page], other(Some("https://page.example"))),
            (&[get, own], CorsRequest::SameOrigin),
            (
                &[get, ("origin", "http://api.example")],
                other(Some("http://api.example")),
            ),
            (&[get, page, page], other(None)),
            (&[options, asks, two], other(None)),
        ];
        for (lines, expected) in rows {
            assert_eq!(request(lines), expected, "{lines:?}");
        }
    }
}
