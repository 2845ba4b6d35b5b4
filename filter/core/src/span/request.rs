//! What a span says about its request.

use std::borrow::Cow;

use crate::data::{without_credentials, DataOptions, MAX_HOST};
use crate::headers::{Headers, AUTHORITY, CONTENT_TYPE, METHOD, PATH, SCHEME, USER_AGENT};
use crate::live::{sum, HeapBytes};
use crate::method::{Method, MAX_ORIGINAL};
use crate::route::{Source, TransactionName};
use crate::text::{shortened, MAX_TEXT};

/// How much of a header is looked at, in bytes. More of it would not be sent, and it is kept for as
/// long as the request takes.
const MAX_TARGET: usize = 2 * MAX_TEXT;
/// What the media types of gRPC begin with.
const GRPC: &[u8] = b"application/grpc";
/// `http` and `https` are all that Envoy knows.
const MAX_SCHEME: usize = 16;

/// A request as far as a span tells of it. Texts, since they are sent as such: bytes that are not
/// UTF-8 become U+FFFD.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, as names and attributes have it.
    pub method: Method,
    /// The method as it was sent, where it is none that is known.
    pub method_original: Option<String>,
    /// `http` or `https`, if known.
    pub scheme: Option<String>,
    /// The host and port the client asked for, without credentials.
    pub authority: Option<String>,
    /// The path without query and fragment, its parameters filtered like those of a query; `/` if
    /// there is none. Empty for a tunnel, which leads to a host.
    pub path: String,
    /// The URL with its query, if scheme and host are known; absent for a tunnel without a path.
    pub full_url: Option<String>,
    /// How long the URL is without its query.
    pub url_len: usize,
    /// The query without its `?`, with the values filtered that do not leave; absent if there is
    /// none.
    pub query: Option<String>,
    /// The user agent, if it may leave.
    pub user_agent: Option<String>,
    /// Whether it is a gRPC call.
    pub is_grpc: bool,
    /// The headers that are recorded, with their lines.
    pub headers: Vec<(String, Vec<String>)>,
}

/// Whether a request is a gRPC call.
pub fn is_grpc(headers: &Headers) -> bool {
    headers
        .value(CONTENT_TYPE)
        .and_then(|value| value.get(..GRPC.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

impl HeapBytes for Request {
    fn heap_bytes(&self) -> usize {
        let Self {
            method: _,
            method_original,
            scheme,
            authority,
            path,
            full_url,
            url_len: _,
            query,
            user_agent,
            is_grpc: _,
            headers,
        } = self;
        let texts = [path.heap_bytes(), headers.heap_bytes()];
        let optional = [
            method_original,
            scheme,
            authority,
            full_url,
            query,
            user_agent,
        ];
        let optional = optional.map(HeapBytes::heap_bytes);
        sum(texts.into_iter().chain(optional), 0)
    }
}

impl Request {
    /// What the request's headers say, as far as it may leave the gateway.
    pub fn read(headers: &Headers, data: &DataOptions) -> Self {
        let text = |name, max| {
            headers
                .value(name)
                .map(|value| shortened(String::from_utf8_lossy(value), max))
                .filter(|text| !text.is_empty())
        };
        let method = Method::read(headers);
        let target = text(PATH, MAX_TARGET).unwrap_or_default();
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut request = Self {
            method,
            method_original: match method {
                Method::Other => text(METHOD, MAX_ORIGINAL).map(Cow::into_owned),
                _ => None,
            },
            scheme: text(SCHEME, MAX_SCHEME).map(Cow::into_owned),
            authority: headers
                .value(AUTHORITY)
                // Not cut before the credentials are off.
                .map(|value| String::from_utf8_lossy(value))
                .map(|value| shortened(without_credentials(&value), MAX_HOST).into_owned())
                .filter(|authority| !authority.is_empty()),
            path: match path {
                "" if method == Method::Connect => String::new(),
                "" => "/".to_owned(),
                path => shortened(data.path(path), MAX_TEXT).into_owned(),
            },
            query: query
                .filter(|query| !query.is_empty() && !data.url_query_params.is_off())
                .map(|query| shortened(data.query(query), MAX_TEXT).into_owned()),
            user_agent: data
                .user_info
                .then(|| text(USER_AGENT, MAX_TEXT))
                .flatten()
                .map(Cow::into_owned),
            is_grpc: is_grpc(headers),
            headers: data.capture_request(headers),
            full_url: None,
            url_len: 0,
        };
        if !request.path.is_empty() {
            request.full_url = request.write_url();
        }
        request
    }

    fn write_url(&mut self) -> Option<String> {
        let (scheme, authority) = (self.scheme.as_deref()?, self.authority.as_deref()?);
        let (mark, query) = match &self.query {
            Some(query) => ("?", query.as_str()),
            None => ("", ""),
        };
        let url = [scheme, "://", authority, &self.path, mark, query].concat();
        let rest = mark.len().saturating_add(query.len());
        self.url_len = url.len().saturating_sub(rest);
        Some(shortened(url, MAX_TEXT).into_owned())
    }

    /// The host of the URL, without its port.
    pub fn domain(&self) -> Option<&str> {
        Some(host_and_port(self.authority.as_deref()?).0)
    }

    /// The URL without query, if scheme and host are known.
    pub fn url(&self) -> Option<&str> {
        let url = self.full_url.as_deref()?;
        // One that was cut before its query is all there is.
        Some(url.get(..self.url_len).unwrap_or(url))
    }

    /// Where it leads: the URL without query, the host of a tunnel, or the path where no more is
    /// known.
    pub fn target(&self) -> &str {
        let host = || self.authority.as_deref().filter(|_| self.is_connect());
        self.url().or_else(host).unwrap_or(&self.path)
    }

    /// What a transaction is called where nobody has a better name: the path, or the host of a
    /// tunnel.
    pub fn name(&self) -> TransactionName {
        let host = self.authority.as_deref().unwrap_or_default();
        match self.method {
            Method::Connect => TransactionName::new(&["CONNECT ", host].concat(), Source::Url),
            _ => TransactionName::new(&self.path, Source::Url),
        }
    }

    /// Whether it asks for a tunnel (RFC 9110, §9.3.6).
    pub fn is_connect(&self) -> bool {
        self.method == Method::Connect
    }

    /// Whether it may have a body worth measuring.
    pub fn has_body(&self) -> bool {
        !matches!(self.method, Method::Get | Method::Head)
    }
}

/// Splits `host:port`; the colons of an IPv6 literal are inside brackets, which are not part of it.
pub(super) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    (literal.unwrap_or(host), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_split_at_its_port() {
        let rows = [
            ("shop.example", ("shop.example", None)),
            ("shop.example:8080", ("shop.example", Some(8080))),
            ("[::1]", ("::1", None)),
            ("[::1]:80", ("::1", Some(80))),
            ("/run/socket:1", ("/run/socket", Some(1))),
            ("/run/socket", ("/run/socket", None)),
            ("shop.example:http", ("shop.example:http", None)),
            ("", ("", None)),
        ];
        for (authority, expected) in rows {
            assert_eq!(host_and_port(authority), expected, "{authority}");
        }
    }

    #[test]
    fn a_request_is_read_without_credentials_query_values_or_bytes_that_are_no_text() {
        let headers = Headers::from_pairs([
            (b":method".as_slice(), b"GET".as_slice()),
            (b":scheme", b"https"),
            (b":authority", b"user:password@shop.example"),
            (b":path", b"/a\xff?token=1&page=2#part"),
            (b"user-agent", b"Somebody/1"),
            (b"content-type", b"application/json"),
        ]);
        let request = Request::read(&headers, &DataOptions::default());
        assert_eq!(
            request.full_url.as_deref(),
            Some("https://shop.example/a\u{fffd}?token=[Filtered]&page=[Filtered]")
        );
        assert_eq!((request.user_agent, request.is_grpc), (None, false));
    }

    #[test]
    fn what_is_long_is_cut_and_its_credentials_are_off_before() {
        let authority = format!("{}:pw@shop.example", "me".repeat(5_000));
        let target = format!("/{}?{}", "a".repeat(1_500), "b=c&".repeat(5_000));
        let headers = Headers::from_pairs([
            (b":authority".as_slice(), authority.as_bytes()),
            (b":path", target.as_bytes()),
        ]);
        let request = Request::read(&headers, &DataOptions::default());
        assert_eq!(request.authority.as_deref(), Some("shop.example"));
        assert_eq!(request.path.len(), MAX_TEXT);
        assert_eq!(request.query.map(|query| query.len()), Some(MAX_TEXT));
    }

    #[test]
    fn a_request_without_anything_has_a_path() {
        let request = Request::read(&Headers::default(), &DataOptions::default());
        assert_eq!((request.path.as_str(), request.full_url), ("/", None));
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, is_grpc) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc-web", true),
            ("application/json", false),
        ] {
            let headers =
                Headers::from_pairs([(b"content-type".as_slice(), content_type.as_bytes())]);
            let request = Request::read(&headers, &DataOptions::default());
            assert_eq!(request.is_grpc, is_grpc, "{content_type}");
        }
    }
}
