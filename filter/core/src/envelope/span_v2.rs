//! The `span` item: streamed spans, sentry-protocol.md §10.
//!
//! ```text
//! {"dsn":"…","sdk":{…},"trace":{…},"sent_at":"…"}
//! {"type":"span","item_count":2,"length":1024,
//!  "content_type":"application/vnd.sentry.items.span.v2+json"}
//! {"version":2,"items":[{"trace_id":"…","span_id":"…","name":"…","status":"ok",…},…]}
//! ```
//! `ingest_settings` are left out, which means that Sentry infers nothing from the connection that
//! delivers the envelope: it is the gateway's, not a client's.

use std::borrow::Cow;

use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::{
    envelope, item_len, protocol_attributes, write_header, write_json, EncodedSegment, ItemHeader,
    Resource,
};
use super::{LINK_TYPE, PLATFORM, SDK_NAME, SDK_VERSION};
use crate::id::{SpanId, TraceId};
use crate::span::attributes::{Attributes, Value};
use crate::span::catalogue::ProtocolAttribute as A;
use crate::span::{Segment, Span, SpanKind};
use crate::trace::sentry_trace::SentryTrace;

const CONTENT_TYPE: &str = "application/vnd.sentry.items.span.v2+json";

#[derive(Serialize)]
struct StreamedSpan<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    name: &'a str,
    status: &'static str,
    is_segment: bool,
    start_timestamp: f64,
    end_timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<[Link; 1]>,
    attributes: Typed<'a>,
}

#[derive(Serialize)]
struct Link {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<bool>,
    attributes: Typed<'static>,
}

/// Attributes as `{"name": {"type": "string", "value": …}}`.
struct Typed<'a> {
    texts: Vec<(A, Cow<'a, str>)>,
    attributes: Option<&'a Attributes<'a>>,
}

#[derive(Serialize)]
struct TypedValue<T> {
    r#type: &'static str,
    value: T,
}

/// Writes a segment's spans, separated by commas. `None` if they cannot be written as JSON.
pub fn write(
    segment: &Segment<'_>,
    resource: &Resource,
    header: &mut Vec<u8>,
    spans: &mut Vec<u8>,
) -> Option<()> {
    let context = &segment.context;
    let trace = context
        .dsc
        .for_spans(context.trace_id, resource.dsn.as_ref()?.public_key());
    write_header(resource, None, Some(&trace), header)?;
    write_json(&streamed(&segment.server, segment, resource), spans)?;
    for span in &segment.upstream {
        spans.push(b',');
        write_json(&streamed(span, segment, resource), spans)?;
    }
    Some(())
}

/// One envelope for segments of one trace; its DSC is the first one's.
pub fn body(segments: &[EncodedSegment], now_ns: u64) -> Vec<u8> {
    let Some(first) = segments.first() else {
        return Vec::new();
    };
    let mut payload: Vec<&[u8]> = vec![br#"{"version":2,"items":["#];
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            payload.push(b",");
        }
        payload.push(&segment.spans);
    }
    payload.push(b"]}");
    let item = ItemHeader {
        r#type: "span",
        item_count: Some(
            segments
                .iter()
                .fold(0, |sum: u32, segment| sum.saturating_add(segment.count)),
        ),
        content_type: Some(CONTENT_TYPE),
        length: item_len(payload.iter().copied()),
    };
    envelope(&first.header, &item, &payload, now_ns)
}

fn streamed<'a>(
    span: &'a Span<'_>,
    segment: &'a Segment<'_>,
    resource: &'a Resource,
) -> StreamedSpan<'a> {
    let Span {
        span_id,
        parent_span_id,
        kind,
        name,
        status,
        times,
        attributes,
    } = span;
    let is_segment = *kind == SpanKind::Server;
    let mut texts: Vec<_> = protocol_attributes(span, segment).collect();
    let known = [
        (A::TraceLifecycle, Some("stream")),
        (A::Kind, Some(kind.as_str())),
        (A::Platform, Some(PLATFORM)),
        (A::SdkName, Some(SDK_NAME)),
        (A::SdkVersion, Some(SDK_VERSION)),
        (A::Environment, Some(&*resource.environment)),
        (A::Release, resource.release.as_deref()),
        (A::ServiceName, resource.server_name.as_deref()),
    ];
    texts.extend(
        known
            .into_iter()
            .filter_map(|(name, text)| Some((name, Cow::from(text?)))),
    );
    StreamedSpan {
        trace_id: segment.context.trace_id,
        span_id: *span_id,
        parent_span_id: *parent_span_id,
        name,
        status: if status.is_error() { "error" } else { "ok" },
        is_segment,
        start_timestamp: seconds(times.start_ns),
        end_timestamp: seconds(times.end_ns),
        links: segment
            .context
            .link
            .filter(|_| is_segment)
            .map(|context| [link(context)]),
        attributes: Typed {
            texts,
            attributes: Some(attributes),
        },
    }
}

fn link(context: SentryTrace) -> Link {
    Link {
        trace_id: context.trace_id,
        span_id: context.span_id,
        sampled: context.sampled,
        attributes: Typed {
            texts: vec![(A::LinkType, LINK_TYPE.into())],
            attributes: None,
        },
    }
}

/// Seconds since the epoch with microseconds, which a double holds exactly enough to be written
/// with six decimals.
fn seconds(ns: u64) -> f64 {
    ns.checked_div(1_000).unwrap_or_default() as f64 / 1e6
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, text) in &self.texts {
            map.serialize_entry(name.as_str(), &typed("string", text))?;
        }
        for (name, value) in self
            .attributes
            .iter()
            .flat_map(|attributes| attributes.iter())
        {
            match value {
                Value::Text(text) => map.serialize_entry(name, &typed("string", text))?,
                Value::Integer(number) => map.serialize_entry(name, &typed("integer", number))?,
                Value::Double(number) => map.serialize_entry(name, &typed("double", number))?,
                Value::Texts(texts) => map.serialize_entry(name, &typed("array", texts))?,
            }
        }
        map.end()
    }
}

fn typed<T>(r#type: &'static str, value: T) -> TypedValue<T> {
    TypedValue { r#type, value }
}
