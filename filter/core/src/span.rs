//! The gateway's span: opened at the request headers, closed at the end of the stream (filter.md §6).

pub mod attributes;
pub mod status;

use crate::headers::{Headers, AUTHORITY, METHOD, PATH, SCHEME};
use crate::route::TransactionName;
use crate::trace::SpanContext;

/// A span whose request is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSpan {
    /// Its place in the trace.
    pub context: SpanContext,
    /// The name, if it was needed for the DSC already.
    pub transaction: Option<TransactionName>,
    /// The request.
    pub request: Request,
}

/// What a span says about its request. Texts, since they go into JSON: bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// `http` or `https`, if known.
    pub scheme: Option<String>,
    /// The host and port the client asked for, without credentials.
    pub authority: Option<String>,
    /// The path without query and fragment, `/` if there is none.
    pub path: String,
}

impl Request {
    /// What the request's headers say.
    pub fn read(headers: &Headers) -> Self {
        let text = |name| {
            headers
                .value(name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let path = headers
            .value(PATH)
            .and_then(|path| path.split(|byte| matches!(byte, b'?' | b'#')).next())
            .filter(|path| !path.is_empty())
            .unwrap_or(b"/");
        Self {
            method: text(METHOD).unwrap_or_default(),
            scheme: text(SCHEME),
            authority: text(AUTHORITY).map(without_credentials),
            path: String::from_utf8_lossy(path).into_owned(),
        }
    }

    /// The URL without query, if scheme and host are known.
    pub fn url(&self) -> Option<String> {
        let (scheme, authority) = (self.scheme.as_ref()?, self.authority.as_ref()?);
        Some(format!("{scheme}://{authority}{}", self.path))
    }
}

fn without_credentials(authority: String) -> String {
    match authority.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => authority,
    }
}

/// What Envoy says about a stream that has ended. Everything may be missing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// When the request began, in nanoseconds since the epoch.
    pub start_ns: Option<u64>,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// The status the client got; absent if it got none.
    pub response_code: Option<u16>,
    /// Envoy's explanation of the response.
    pub response_code_details: Option<String>,
    /// The bytes of the response's body.
    pub response_size: Option<u64>,
    /// The protocol of the request, such as `HTTP/1.1`.
    pub protocol: Option<String>,
    /// The name of Envoy's route.
    pub route_name: Option<Vec<u8>>,
    /// The cluster that was chosen.
    pub cluster_name: Option<String>,
}

/// A span that has ended, with everything an encoder needs.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedSpan {
    /// Its place in the trace.
    pub context: SpanContext,
    /// What it is called.
    pub transaction: TransactionName,
    /// The request.
    pub request: Request,
    /// When it began, in nanoseconds since the epoch.
    pub start_ns: u64,
    /// When it ended; never before it began.
    pub end_ns: u64,
    /// How Envoy says it went.
    pub end: StreamEnd,
}

impl OpenSpan {
    /// Closes the span. `now_ns` stands in for times that Envoy does not tell.
    pub fn finish(self, end: StreamEnd, now_ns: u64) -> FinishedSpan {
        let Self {
            context,
            transaction,
            request,
        } = self;
        let transaction = transaction
            .or_else(|| TransactionName::from_route(end.route_name.as_deref()?))
            .unwrap_or_else(|| TransactionName::from_path(&request.path));
        let duration_ns = end.duration_ns.unwrap_or(0);
        let start_ns = end
            .start_ns
            .unwrap_or_else(|| now_ns.saturating_sub(duration_ns));
        FinishedSpan {
            context,
            transaction,
            request,
            start_ns,
            end_ns: match end.duration_ns {
                Some(duration_ns) => start_ns.saturating_add(duration_ns),
                None => now_ns.max(start_ns),
            },
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_without_query_credentials_or_bytes_that_are_no_text() {
        let headers = Headers::from_pairs([
            (b":method".as_slice(), b"GET".as_slice()),
            (b":scheme", b"https"),
            (b":authority", b"user:password@shop.example"),
            (b":path", b"/a\xff?token=1"),
        ]);
        let request = Request::read(&headers);
        assert_eq!(
            request.url().as_deref(),
            Some("https://shop.example/a\u{fffd}")
        );
    }

    #[test]
    fn a_request_without_anything_has_a_path() {
        let request = Request::read(&Headers::default());
        assert_eq!((request.path.as_str(), request.url()), ("/", None));
    }
}
