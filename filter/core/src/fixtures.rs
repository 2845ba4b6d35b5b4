//! What several tests need.

use crate::attribute::Attribute;
use crate::config::{EnvDefaults, FilterConfig};
use crate::data::DataOptions;
use crate::envelope::{EncodeBuffers, EncodedSegment, Format, Resource};
use crate::headers::Headers;
use crate::host::{Entropy, HostCalls, HostError, RequestHost};
use crate::id::{SpanId, TraceId};
use crate::project::ProjectId;
use crate::route::Naming;
use crate::route_metadata::RouteMetadata;
use crate::span::{OpenSpan, Request, Segment, StreamInfo, UpstreamInfo};
use crate::trace::dsc::Dsc;
use crate::trace::SpanContext;

/// Random bytes that count up from 1, a clock that stands still, and attributes at will.
#[derive(Clone)]
pub struct Host {
    /// What each random byte of the next call is.
    pub next_byte: u8,
    /// Whether there are random bytes.
    pub has_entropy: bool,
    /// The time.
    pub now_ns: u64,
    /// The attributes that are there.
    pub attributes: Vec<(Attribute, Value)>,
    /// What the route's own metadata says.
    pub metadata: RouteMetadata,
    /// What the end of the stream before a redirect left.
    pub redirect_token: Option<u64>,
    /// The headers of the request, at its end.
    pub request: Option<Headers>,
    /// The headers of the response.
    pub response: Option<Headers>,
    /// How many attributes were asked for.
    pub asked: usize,
}

/// An attribute that a [`Host`] has.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A text.
    Text(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            next_byte: 1,
            has_entropy: true,
            now_ns: 0,
            attributes: Vec::new(),
            metadata: RouteMetadata::default(),
            redirect_token: None,
            request: None,
            response: None,
            asked: 0,
        }
    }
}

impl Host {
    /// Lets something be done with the calls for one request. Random bytes are not stocked: each
    /// value has its own.
    pub fn serve<T>(&mut self, act: impl FnOnce(&mut HostCalls<'_>) -> T) -> T {
        act(&mut HostCalls::new(self, &mut Entropy::new(0)))
    }

    fn attribute(&mut self, wanted: Attribute) -> Option<&Value> {
        self.asked += 1;
        let known = self.attributes.iter().find(|(known, _)| *known == wanted);
        known.map(|(_, value)| value)
    }
}

impl RequestHost for Host {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        Ok(self.now_ns)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        // One value, or a stock for many.
        let each = if buffer.len() <= 16 { 16 } else { 8 };
        for part in buffer.chunks_mut(each) {
            part.fill(self.next_byte);
            self.next_byte = self.next_byte.wrapping_add(1).max(1);
        }
        match self.has_entropy {
            true => Ok(()),
            false => Err(HostError::Unavailable),
        }
    }

    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        Ok(match self.attribute(attribute) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        })
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        Ok(match self.attribute(attribute) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        })
    }

    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        Ok(self.metadata.clone())
    }

    fn redirect_token(&mut self) -> Result<Option<u64>, HostError> {
        Ok(self.redirect_token.take())
    }

    fn request_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(self.request.clone())
    }

    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(self.response.clone())
    }
}

/// A configuration with a DSN and some more JSON members.
pub fn config(more: &str) -> FilterConfig {
    let json = format!(
        r#"{{{more} "dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42"}}"#
    );
    FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).unwrap()
}

/// What is said of its sender in the project of [`config`].
pub fn resource(config: &FilterConfig) -> &Resource {
    config.resource_of(ProjectId::FIRST).unwrap()
}

/// A span whose request is under way.
pub fn open_span(path: &str) -> OpenSpan {
    let trace_id = "771a43a4192642f0b136d5159a501700";
    let context = SpanContext {
        project: ProjectId::FIRST,
        trace_id: TraceId::from_hex(trace_id.as_bytes()).unwrap(),
        span_id: SpanId::from_hex(b"7c51afd529da4a2a").unwrap(),
        parent_span_id: SpanId::from_hex(b"1121201211212012").ok(),
        upstream_span_id: SpanId::from_hex(b"5cb4ea1ed4cd8e1a").ok(),
        link: None,
        dsc: Dsc::frozen(
            [
                ("trace_id", trace_id),
                ("public_key", "49d0f7386ad645858ae85020e393bef3"),
                ("sample_rate", "0.25"),
            ]
            .into_iter(),
        ),
    };
    let headers = Headers::from_pairs([
        (b":method".as_slice(), b"GET".as_slice()),
        (b":scheme", b"https"),
        (b":authority", b"shop.example:8443"),
        (b":path", path.as_bytes()),
    ]);
    let request = Request::read(&headers, &DataOptions::default());
    let mut span = OpenSpan::new(context, None, request);
    span.sent_ns = Some(START_NS + 1_000_000);
    span.answered_ns = Some(START_NS + 30_500_000);
    span
}

/// When the fixture's request began.
pub const START_NS: u64 = 1_787_306_400_123_456_789;

/// The end of its stream as Envoy would describe it.
pub fn stream_end() -> StreamInfo {
    StreamInfo {
        start_ns: Some(START_NS),
        duration_ns: Some(31_000_000),
        response_code: Some(404),
        response_code_details: Some("via_upstream".to_owned()),
        response_size: Some(17),
        protocol: Some("HTTP/1.1".to_owned()),
        route_name: Some(b"default".to_vec()),
        cluster_name: Some("shop".to_owned()),
        upstream: Some(UpstreamInfo {
            address: "10.0.0.7:8080".to_owned(),
            attempts: 1,
            pool_wait_ns: Some(250_000),
            latency_ns: Some(29_000_000),
            ..UpstreamInfo::default()
        }),
        ..StreamInfo::default()
    }
}

/// A segment that has ended.
pub fn segment(path: &str) -> Segment<'static> {
    segment_of(path, |_| {})
}

/// The same, with changes to how it ended.
pub fn segment_of(path: &str, change: impl FnOnce(&mut StreamInfo)) -> Segment<'static> {
    let mut end = stream_end();
    change(&mut end);
    finished(open_span(path), end)
}

/// A span that has ended, called as transactions are.
pub fn finished(span: OpenSpan, end: StreamInfo) -> Segment<'static> {
    finished_as(Naming::Transactions, span, end)
}

/// A span that has ended. What a segment is a view of stays in memory, which a test can afford.
pub fn finished_as(naming: Naming, span: OpenSpan, end: StreamInfo) -> Segment<'static> {
    let (span, end): (&'static _, &'static _) =
        (Box::leak(Box::new(span)), Box::leak(Box::new(end)));
    let name = Box::leak(Box::new(span.name(end).into_owned()));
    span.finish(end, naming, name, &[])
}

/// Encodes a segment on a buffers of its own.
pub fn encoded(segment: &Segment<'_>, format: Format, config: &FilterConfig) -> EncodedSegment {
    format
        .encode(segment, resource(config), &mut EncodeBuffers::default())
        .unwrap()
}
