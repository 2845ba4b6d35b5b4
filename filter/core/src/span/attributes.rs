//! The attributes of spans: names of sentry-conventions (sentry-protocol.md §12.4) and a handful of
//! Envoy's own, `envoy.*`. What is not known is absent.

use std::borrow::Cow;

use serde::Serialize;

use super::stream_info::{StreamInfo, UpstreamInfo};
use super::{Request, SpanStatus};
use crate::live::{piece, HeapBytes};
use crate::route::TransactionName;
use crate::text::{shortened, MAX_TEXT};

/// How many bytes a number has as JSON, at most.
const MAX_NUMBER: usize = 24;
/// How many bytes all attributes of a span may have as JSON. Relay trims `contexts.trace`, where
/// those of the server span are, at 8 kB (sentry-protocol.md §9.1).
const MAX_BYTES: usize = 7_000;

/// The value of an attribute. Most texts are those of the request and its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// The lines of a header.
    Texts(Vec<Cow<'a, str>>),
}

impl Value<'_> {
    fn into_owned(self) -> Value<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Text(text) => Value::Text(own(text)),
            Self::Integer(number) => Value::Integer(number),
            Self::Double(number) => Value::Double(number),
            Self::Texts(texts) => Value::Texts(texts.into_iter().map(own).collect()),
        }
    }

    /// How many bytes it is as JSON, at most; exactly so for texts if `text_len` is exact.
    fn len(&self, text_len: impl Fn(&str) -> usize) -> usize {
        match self {
            Self::Text(text) => text_len(text),
            Self::Integer(_) | Self::Double(_) => MAX_NUMBER,
            Self::Texts(texts) => texts
                .iter()
                .fold(0, |sum: usize, text| sum.saturating_add(text_len(text))),
        }
    }
}

/// Attributes in the order in which they are written, within bounds.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Attributes<'a> {
    entries: Vec<(Cow<'static, str>, Value<'a>)>,
    /// How many bytes they are as JSON: at most, or exactly if texts are counted.
    bytes: usize,
    /// Whether texts are counted byte by byte, since there might be too many.
    counts: bool,
}

/// More than most spans have.
const USUAL: usize = 24;

impl<'a> Attributes<'a> {
    fn new() -> Self {
        Self {
            entries: Vec::with_capacity(USUAL),
            ..Self::default()
        }
    }

    /// Every name and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    /// The same, for longer than the request and its end are there.
    pub fn into_owned(self) -> Attributes<'static> {
        let entries = self.entries.into_iter();
        Attributes {
            entries: entries
                .map(|(name, value)| (name, value.into_owned()))
                .collect(),
            bytes: self.bytes,
            counts: self.counts,
        }
    }

    fn text(&mut self, name: &'static str, text: Option<&'a str>) {
        self.cow(name, text.map(Cow::Borrowed));
    }

    fn cow(&mut self, name: &'static str, text: Option<Cow<'a, str>>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.add(name.into(), Value::Text(shortened(text, MAX_TEXT)));
        }
    }

    fn integer(&mut self, name: &'static str, number: Option<impl Into<u64>>) {
        if let Some(number) = number.and_then(|number| i64::try_from(number.into()).ok()) {
            self.add(name.into(), Value::Integer(number));
        }
    }

    fn milliseconds(&mut self, name: &'static str, ns: Option<u64>) {
        if let Some(us) = ns.and_then(|ns| ns.checked_div(1_000)) {
            self.add(name.into(), Value::Double(us as f64 / 1_000.0));
        }
    }

    /// `host:port` under two names; a path, as of a Unix socket, has no port.
    fn address(&mut self, names: [&'static str; 2], authority: Option<&'a str>) {
        let [address, port] = names;
        let (host, number) = host_and_port(authority.unwrap_or_default());
        self.text(address, Some(host));
        // Envoy's word for a port that it does not know, as behind `x-forwarded-for`, is 0.
        self.integer(port, number.filter(|number| *number > 0));
    }

    fn headers(&mut self, prefix: &str, headers: &'a [(String, Vec<String>)]) {
        for (name, lines) in headers {
            let lines = lines.iter().map(|line| shortened(line, MAX_TEXT)).collect();
            self.add(format!("{prefix}{name}").into(), Value::Texts(lines));
        }
    }

    /// What does not fit is left out, whole.
    fn add(&mut self, name: Cow<'static, str>, value: Value<'a>) {
        const AT_MOST: fn(&str) -> usize = |text| text.len().saturating_mul(6).saturating_add(3);
        let sum = |value: usize, name: usize| value.saturating_add(name);
        if !self.counts {
            let bytes = self
                .bytes
                .saturating_add(sum(value.len(AT_MOST), name.len()));
            if bytes <= MAX_BYTES {
                self.bytes = bytes;
                self.entries.push((name, value));
                return;
            }
            self.counts = true;
            self.bytes = self.entries.iter().fold(0, |all: usize, (name, value)| {
                all.saturating_add(sum(value.len(json_len), name.len()))
            });
        }
        let bytes = self
            .bytes
            .saturating_add(sum(value.len(json_len), name.len()));
        if bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.entries.push((name, value));
        }
    }
}

impl HeapBytes for Attributes<'_> {
    fn heap_bytes(&self) -> usize {
        let Self {
            entries,
            // What the texts are as JSON, which is never less than their own bytes.
            bytes,
            counts: _,
        } = self;
        let entry = size_of::<(Cow<'_, str>, Value<'_>)>().saturating_mul(entries.capacity());
        piece(entry).saturating_add(*bytes)
    }
}

/// The attributes of the gateway's own span. `gateway_ns` is the time that it took besides its
/// calls to upstreams.
pub fn of_server_span<'a>(
    request: &'a Request,
    transaction: &'a TransactionName,
    end: &'a StreamInfo,
    status: SpanStatus,
    gateway_ns: u64,
    response_headers: &'a [(String, Vec<String>)],
) -> Attributes<'a> {
    let mut attributes = Attributes::new();
    let all = &mut attributes;
    method(request, all);
    all.integer("http.response.status_code", end.response_code);
    all.integer("http.response.body.size", end.response_size);
    let template = transaction.is_template().then_some(&*transaction.name);
    all.text("http.route", template);
    all.text("url.full", request.full_url.as_deref());
    all.text("url.scheme", request.scheme.as_deref());
    all.text("url.path", Some(&request.path));
    all.text("url.query", request.query.as_deref());
    all.address(
        ["server.address", "server.port"],
        request.authority.as_deref(),
    );
    all.address(
        ["client.address", "client.port"],
        end.client_address.as_deref(),
    );
    all.text("user_agent.original", request.user_agent.as_deref());
    protocol(end.protocol.as_deref(), all);
    let code = end.response_code.filter(|code| *code >= 500);
    all.cow("error.type", error_type(status, end, code));
    rpc(request, end.grpc_status, all);
    all.cow(
        "envoy.route",
        end.route_name.as_deref().map(String::from_utf8_lossy),
    );
    all.text("envoy.cluster", end.cluster_name.as_deref());
    all.cow(
        "envoy.response_flags",
        Some(end.response_flags.names().into()),
    );
    all.text(
        "envoy.response_code_details",
        end.response_code_details.as_deref(),
    );
    all.milliseconds("envoy.gateway_time_ms", Some(gateway_ns));
    all.integer("envoy.request_body_size", end.request_size);
    all.text("envoy.tls_version", end.tls_version.as_deref());
    all.headers("http.request.header.", &request.headers);
    all.headers("http.response.header.", response_headers);
    attributes
}

/// The attributes of a call to an upstream. `code` is the status that the upstream answered with,
/// `first_byte_ns` how long that took to begin.
pub fn of_upstream_span<'a>(
    request: &'a Request,
    end: &'a StreamInfo,
    upstream: &'a UpstreamInfo,
    status: SpanStatus,
    code: Option<u16>,
    first_byte_ns: Option<u64>,
) -> Attributes<'a> {
    let mut attributes = Attributes::new();
    let all = &mut attributes;
    method(request, all);
    all.integer("http.response.status_code", code);
    let resends = upstream.attempts.saturating_sub(1);
    all.integer(
        "http.request.resend_count",
        (resends > 0).then_some(resends),
    );
    all.text("url.full", request.full_url.as_deref());
    all.address(["server.address", "server.port"], Some(&upstream.address));
    all.cow("error.type", error_type(status, end, code));
    rpc(request, end.grpc_status.filter(|_| code.is_some()), all);
    all.text("envoy.cluster", end.cluster_name.as_deref());
    all.milliseconds("envoy.pool_wait_ms", upstream.pool_wait_ns);
    all.milliseconds("envoy.time_to_first_byte_ms", first_byte_ns);
    all.text(
        "envoy.transport_failure",
        upstream.transport_failure.as_deref(),
    );
    all.text("envoy.tls_version", upstream.tls_version.as_deref());
    attributes
}

fn method<'a>(request: &'a Request, all: &mut Attributes<'a>) {
    all.text("http.request.method", Some(request.method.as_str()));
    let original = request.method_original.as_deref();
    all.text("http.request.method_original", original);
}

/// `HTTP/1.1` is the protocol `http` of version `1.1`.
fn protocol<'a>(protocol: Option<&'a str>, all: &mut Attributes<'a>) {
    if let Some((name, version)) = protocol.and_then(|text| text.split_once('/')) {
        all.cow("network.protocol.name", Some(lower_case(name)));
        all.text("network.protocol.version", Some(version));
    }
}

fn lower_case(name: &str) -> Cow<'_, str> {
    match name {
        "HTTP" => Cow::Borrowed("http"),
        _ => Cow::Owned(name.to_ascii_lowercase()),
    }
}

/// What went wrong, in few words: `timeout`, the status code, or the status where there is no code.
fn error_type(
    status: SpanStatus,
    end: &StreamInfo,
    code: Option<u16>,
) -> Option<Cow<'static, str>> {
    if !status.is_error() {
        return None;
    }
    match code {
        _ if end.timed_out() => Some("timeout".into()),
        Some(code) if code >= 400 => Some(code.to_string().into()),
        // The client's own mistakes are no errors of the server.
        None if end
            .response_code
            .is_some_and(|code| (400..500).contains(&code)) =>
        {
            None
        }
        _ => Some(status.as_str().into()),
    }
}

/// `/package.Service/Method`, for gRPC only.
fn rpc<'a>(request: &'a Request, status: Option<u64>, all: &mut Attributes<'a>) {
    if !request.is_grpc {
        return;
    }
    all.text("rpc.system.name", Some("grpc"));
    let method = request.path.trim_start_matches('/');
    if let Some((service, _)) = method.rsplit_once('/') {
        all.text("rpc.service", Some(service));
        all.text("rpc.method", Some(method));
    }
    let word = status.and_then(SpanStatus::grpc_word);
    all.text("rpc.response.status_code", word);
}

/// How many bytes a text is as JSON, with its quotes and a comma.
fn json_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1_usize,
    };
    text.bytes()
        .fold(3, |sum: usize, byte| sum.saturating_add(escaped(byte)))
}

/// Splits `host:port`; the colons of an IPv6 literal are inside brackets, which are not part of it.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
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
    fn what_does_not_fit_is_left_out() {
        let headers: Vec<_> = (0..20)
            .map(|n| (format!("x-{n}"), vec!["v".repeat(2_000)]))
            .collect();
        let mut attributes = Attributes::default();
        attributes.headers("http.request.header.", &headers);
        attributes.text("url.path", Some("/"));
        assert_eq!(attributes.iter().len(), 7, "six headers and the path");
        assert!(attributes.bytes <= MAX_BYTES);
    }

    /// Relay counts the JSON, so quotes and control characters count as what they become.
    #[test]
    fn the_bound_holds_for_the_json() {
        for filler in ["v", "\"", "\u{1}", "\u{1F980}"] {
            let headers: Vec<_> = (0..20)
                .map(|n| (format!("x-{n}"), vec![filler.repeat(200); 3]))
                .collect();
            let mut attributes = Attributes::default();
            attributes.headers("http.request.header.", &headers);
            let json: usize = attributes
                .iter()
                .map(|(name, value)| serde_json::to_string(value).unwrap().len() + name.len() + 4)
                .sum();
            let count = attributes.iter().len();
            assert!(
                count > 0 && json <= MAX_BYTES + count * 4,
                "{json} bytes of {filler:?}"
            );
        }
    }

    #[test]
    fn a_grpc_call_is_told_by_its_path() {
        let attributes = |path: &str, status| {
            let request = Request {
                path: path.to_owned(),
                is_grpc: true,
                ..Request::default()
            };
            let mut all = Attributes::default();
            rpc(&request, status, &mut all);
            all.iter()
                .map(|(name, value)| match value {
                    Value::Text(text) => format!("{name}={text}"),
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            attributes("/shop.v1.Cart/Add", Some(4)),
            "rpc.system.name=grpc rpc.service=shop.v1.Cart rpc.method=shop.v1.Cart/Add rpc.response.status_code=DEADLINE_EXCEEDED"
        );
        assert_eq!(attributes("/nonsense", None), "rpc.system.name=grpc");
    }
}
