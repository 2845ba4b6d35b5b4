//! The values of the attributes of spans, whose names are in the catalogue (`catalogue.rs`). What is
//! not known is absent.

use std::borrow::Cow;

use serde::Serialize;

use super::catalogue::{write_each, On, SpanAttribute, Write};
use super::request::host_and_port;
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

/// What the attributes of a span are made of.
#[derive(Debug)]
pub struct Known<'a, S> {
    /// The request, as the client sent it or the upstream got it.
    pub request: &'a Request,
    /// What Envoy says of the stream.
    pub end: &'a StreamInfo,
    /// How the span ended.
    pub status: SpanStatus,
    /// The status code of the span's response.
    pub code: Option<u16>,
    /// What only one of the two spans has.
    pub side: S,
}

/// What only the gateway's own span has.
#[derive(Debug)]
pub struct Server<'a> {
    /// What the segment is called.
    pub transaction: &'a TransactionName,
    /// The time that the gateway took besides its calls to upstreams, in nanoseconds.
    pub gateway_ns: u64,
    /// The response's headers that are recorded.
    pub response_headers: &'a [(String, Vec<String>)],
}

/// What only the call to an upstream has.
#[derive(Debug)]
pub struct Call<'a> {
    /// What Envoy says of it.
    pub upstream: &'a UpstreamInfo,
    /// How long the response took to begin, in nanoseconds.
    pub first_byte_ns: Option<u64>,
    /// The template of the route that it took.
    pub template: Option<&'a str>,
}

/// One of the two spans. Code is made for each of them, without what only the other one has.
pub trait Side<'a> {
    /// The attributes that only the other one has.
    const OTHER: On;

    /// What it is if it is the gateway's own span.
    fn server(&self) -> Option<&Server<'a>> {
        None
    }

    /// What it is if it is the call.
    fn call(&self) -> Option<&Call<'a>> {
        None
    }
}

impl<'a> Side<'a> for Server<'a> {
    const OTHER: On = On::Call;

    fn server(&self) -> Option<&Server<'a>> {
        Some(self)
    }
}

impl<'a> Side<'a> for Call<'a> {
    const OTHER: On = On::Server;

    fn call(&self) -> Option<&Call<'a>> {
        Some(self)
    }
}

/// A host, and its port if that is known.
type Address<'a> = (&'a str, Option<u16>);

/// More than most spans have.
const USUAL: usize = 24;

impl<'a> Attributes<'a> {
    /// The attributes of a span.
    pub fn new<S: Side<'a>>(known: &Known<'a, S>) -> Self {
        let (authority, client) = match known.side.call() {
            Some(call) => (Some(&*call.upstream.address), None),
            None => (
                known.request.authority.as_deref(),
                known.end.client_address.as_deref(),
            ),
        };
        let mut writer = Writer {
            all: Self {
                entries: Vec::with_capacity(USUAL),
                ..Self::default()
            },
            known,
            server: host_and_port(authority.unwrap_or_default()),
            client: client.map_or(("", None), host_and_port),
            rpc: known.request.is_grpc.then(|| rpc(&known.request.path)),
        };
        write_each(&mut writer);
        writer.all
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

    #[inline(never)]
    fn cow(&mut self, name: &'static str, text: Option<Cow<'a, str>>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.add(name.into(), Value::Text(shortened(text, MAX_TEXT)));
        }
    }

    #[inline(never)]
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

    /// Envoy's word for a port that it does not know, as behind `x-forwarded-for`, is 0.
    fn port(&mut self, name: &'static str, (_, port): Address<'_>) {
        self.integer(name, port.filter(|port| *port > 0));
    }

    fn headers(&mut self, prefix: &str, headers: &'a [(String, Vec<String>)]) {
        for (name, lines) in headers {
            let lines = lines.iter().map(|line| shortened(line, MAX_TEXT)).collect();
            self.add([prefix, name].concat().into(), Value::Texts(lines));
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

/// Writes the attributes of one span.
struct Writer<'k, 'a, S> {
    all: Attributes<'a>,
    known: &'k Known<'a, S>,
    server: Address<'a>,
    client: Address<'a>,
    /// The service and the method of a gRPC call, as far as they are known.
    rpc: Option<(&'a str, &'a str)>,
}

impl<'a, S: Side<'a>> Write for Writer<'_, 'a, S> {
    #[inline(always)]
    fn write<const INDEX: usize>(&mut self) {
        use SpanAttribute as A;

        #[expect(
            clippy::indexing_slicing,
            reason = "a place outside of the list does not compile"
        )]
        let attribute = const { SpanAttribute::ALL[INDEX] };
        if attribute.on() == S::OTHER {
            return;
        }
        let Known {
            request,
            end,
            status,
            code,
            ref side,
        } = *self.known;
        let (server, call) = (side.server(), side.call());
        let upstream = call.map(|call| call.upstream);
        let protocol = || end.protocol.as_deref()?.split_once('/');
        let (all, name) = (&mut self.all, attribute.as_str());
        match attribute {
            A::HttpRequestMethod => all.text(name, Some(request.method.as_str())),
            A::HttpRequestMethodOriginal => all.text(name, request.method_original.as_deref()),
            A::HttpResponseStatusCode => all.integer(name, code),
            A::HttpResponseBodySize => all.integer(name, end.response_size),
            A::HttpRequestBodySize => all.integer(name, end.request_size),
            A::HttpRequestResendCount => {
                let resends = upstream.and_then(|upstream| upstream.attempts.checked_sub(1));
                all.integer(name, resends.filter(|resends| *resends > 0));
            }
            A::HttpRoute => {
                all.text(name, server.and_then(|server| server.transaction.route()));
            }
            A::UrlTemplate => all.text(name, call.and_then(|call| call.template)),
            A::UrlFull => all.text(name, request.full_url.as_deref()),
            A::UrlScheme => all.text(name, request.scheme.as_deref()),
            A::UrlDomain => all.text(name, request.domain()),
            A::UrlPath => all.text(name, Some(&request.path)),
            A::UrlQuery => all.text(name, request.query.as_deref()),
            A::ServerAddress => all.text(name, Some(self.server.0)),
            A::ServerPort => all.port(name, self.server),
            A::ClientAddress => all.text(name, Some(self.client.0)),
            A::ClientPort => all.port(name, self.client),
            A::UserAgentOriginal => all.text(name, request.user_agent.as_deref()),
            // `HTTP/1.1` is the protocol `http` of version `1.1`.
            A::NetworkProtocolName => all.cow(name, protocol().map(|(name, _)| lower_case(name))),
            A::NetworkProtocolVersion => all.text(name, protocol().map(|(_, version)| version)),
            A::TlsProtocolVersion => {
                let version = match upstream {
                    Some(upstream) => &upstream.tls_version,
                    None => &end.tls_version,
                };
                // `TLSv1.3` is version `1.3`.
                let version = version.as_deref().and_then(|text| text.rsplit('v').next());
                all.text(name, version);
            }
            A::ErrorType => {
                // The client's own mistakes are no errors of the server.
                let least = if upstream.is_some() { 400 } else { 500 };
                let code = code.filter(|code| *code >= least);
                all.cow(name, error_type(status, end, code));
            }
            A::RpcSystemName => all.text(name, self.rpc.map(|_| "grpc")),
            A::RpcService => all.text(name, self.rpc.map(|(service, _)| service)),
            A::RpcMethod => all.text(name, self.rpc.map(|(_, method)| method)),
            A::RpcResponseStatusCode => {
                let is_known = self.rpc.is_some() && (upstream.is_none() || code.is_some());
                let status = end.grpc_status.filter(|_| is_known);
                all.text(name, status.and_then(SpanStatus::grpc_word));
            }
            A::EnvoyRoute => {
                let route = end.route_name.as_deref();
                all.cow(name, route.map(String::from_utf8_lossy));
            }
            A::EnvoyCluster => all.text(name, end.cluster_name.as_deref()),
            A::EnvoyResponseFlags => all.cow(name, Some(end.response_flags.names().into())),
            A::EnvoyResponseCodeDetails => all.text(name, end.response_code_details.as_deref()),
            A::EnvoyGatewayTimeMs => {
                all.milliseconds(name, server.map(|server| server.gateway_ns));
            }
            A::EnvoyPoolWaitMs => {
                all.milliseconds(name, upstream.and_then(|upstream| upstream.pool_wait_ns));
            }
            A::EnvoyTimeToFirstByteMs => {
                all.milliseconds(name, call.and_then(|call| call.first_byte_ns));
            }
            A::EnvoyTransportFailure => {
                let failure = upstream.and_then(|upstream| upstream.transport_failure.as_deref());
                all.text(name, failure);
            }
            A::HttpRequestHeader => all.headers(name, &request.headers),
            A::HttpResponseHeader => {
                all.headers(name, server.map_or(&[], |server| server.response_headers));
            }
        }
    }
}

/// `/package.Service/Method` is the service `package.Service`; the method's name has both. Empty if
/// it is something else.
#[inline(never)]
fn rpc(path: &str) -> (&str, &str) {
    let method = path.trim_start_matches('/');
    let parts = method.rsplit_once('/');
    parts.map_or(("", ""), |(service, _)| (service, method))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let headers: Vec<_> = (0..20)
            .map(|n| (format!("x-{n}"), vec!["v".repeat(2_000)]))
            .collect();
        let mut attributes = Attributes::default();
        attributes.headers(SpanAttribute::HttpRequestHeader.as_str(), &headers);
        attributes.add("url.path".into(), Value::Text("/".into()));
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
            attributes.headers(SpanAttribute::HttpRequestHeader.as_str(), &headers);
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
            let end = StreamInfo {
                grpc_status: status,
                ..StreamInfo::default()
            };
            let upstream = UpstreamInfo::default();
            let all = Attributes::new(&Known {
                request: &request,
                end: &end,
                status: SpanStatus::Ok,
                code: Some(200),
                side: Call {
                    upstream: &upstream,
                    first_byte_ns: None,
                    template: None,
                },
            });
            all.iter()
                .filter(|(name, _)| name.starts_with("rpc."))
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
