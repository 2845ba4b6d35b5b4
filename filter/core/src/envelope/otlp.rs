//! OpenTelemetry's `ExportTraceServiceRequest`, as protobuf (sentry-protocol.md §5.5).
//!
//! ```text
//! ExportTraceServiceRequest { resource_spans: 1 = ResourceSpans }
//! ResourceSpans     { resource: 1 = { attributes: 1 = KeyValue … }, scope_spans: 2 = ScopeSpans }
//! ScopeSpans        { scope: 1 = { name: 1, version: 2 }, spans: 2 = Span … }
//! ```
//! The response is an `ExportTraceServiceResponse { partial_success: 1 = { rejected_spans: 1 =
//! int64, error_message: 2 } }`, empty if all was taken.
//!
//! A segment holds its spans with the heads of their fields, so that a POST is the segments one
//! after the other behind one resource. There is no DSC in it, and thus no sampling by the head of
//! the trace on Sentry's side.

use super::{
    protocol_attributes, EncodedSegment, Resource, LINK_TYPE, PLATFORM, SDK_NAME, SDK_VERSION,
};
use crate::protobuf::{bytes_len, number_len, Fields, Message, Wire};
use crate::span::attributes::Value;
use crate::span::catalogue::ProtocolAttribute as A;
use crate::span::{Segment, Span, SpanKind, SpanStatus};
use crate::trace::sentry_trace::SentryTrace;

/// `SPAN_FLAGS_TRACE_FLAGS_MASK`: what is recorded is sampled.
const SAMPLED: u32 = 0x01;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const KNOWS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent is another process's.
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const ERROR: i64 = 2;
/// A tag and eight bytes.
const DOUBLE_LEN: usize = 9;

/// Writes a segment's spans behind what is in a buffer.
pub fn write(segment: &Segment<'_>, buffer: &mut Vec<u8>) {
    let mut spans = Message::behind(std::mem::take(buffer));
    for span in std::iter::once(&segment.server).chain(&segment.upstream) {
        spans.message(2, |message| write_span(span, segment, message));
    }
    *buffer = spans.into_bytes();
}

/// One request for all of them.
pub fn body(segments: &[EncodedSegment], resource: &Resource) -> Vec<u8> {
    let mut resource_spans = Message::default();
    resource_spans.message(1, |message| write_resource(resource, message));
    let mut scope = Message::default();
    scope.message(1, |scope| {
        scope.bytes(1, SDK_NAME.as_bytes());
        scope.bytes(2, SDK_VERSION.as_bytes());
    });
    let scope = scope.into_bytes();
    let spans_len = super::item_len(segments.iter().map(|segment| segment.spans.as_slice()));
    // The segments are long: they are copied once, behind the heads of all that is around them.
    resource_spans.header(2, scope.len().saturating_add(spans_len));
    let resource_spans = [resource_spans.into_bytes(), scope].concat();
    let len = resource_spans.len().saturating_add(spans_len);
    let mut request = Message::behind(Vec::with_capacity(bytes_len(len)));
    request.header(1, len);
    let mut body = request.into_bytes();
    body.extend_from_slice(&resource_spans);
    for segment in segments {
        body.extend_from_slice(&segment.spans);
    }
    body
}

/// How many spans a response says were refused although the POST was taken; none if it says no such
/// thing.
pub fn rejected(response: &[u8]) -> u32 {
    let partial_success = Fields::new(response).find_map(|field| match field {
        Some((1, Wire::Bytes(message))) => Some(message),
        _ => None,
    });
    let rejected = Fields::new(partial_success.unwrap_or_default()).find_map(|field| match field {
        Some((1, Wire::Varint(count))) => u32::try_from(count).ok(),
        _ => None,
    });
    rejected.unwrap_or_default()
}

fn write_resource(resource: &Resource, message: &mut Message) {
    let release = resource.release.as_deref();
    for (name, value) in [
        // Required by OpenTelemetry's conventions; where nobody gave the gateway a name, what it
        // is.
        (
            A::ServiceName,
            Some(resource.server_name.as_deref().unwrap_or("envoy")),
        ),
        (A::ServiceVersion, release),
        (A::DeploymentEnvironmentName, Some(&*resource.environment)),
        (A::Environment, Some(&*resource.environment)),
        (A::Release, release),
        (A::SdkName, Some(SDK_NAME)),
        (A::SdkVersion, Some(SDK_VERSION)),
        (A::Platform, Some(PLATFORM)),
    ] {
        if let Some(value) = value {
            write_text(1, name.as_str(), value, message);
        }
    }
}

fn write_span(span: &Span<'_>, segment: &Segment<'_>, message: &mut Message) {
    let Span {
        span_id,
        parent_span_id,
        kind,
        name,
        status,
        times,
        attributes,
    } = span;
    message.bytes(1, segment.context.trace_id.as_bytes());
    message.bytes(2, span_id.as_bytes());
    if let Some(parent_span_id) = parent_span_id {
        message.bytes(4, parent_span_id.as_bytes());
    }
    message
        .bytes(5, name.as_bytes())
        .number(
            6,
            match kind {
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
        )
        .fixed64(7, times.start_ns)
        .fixed64(8, times.end_ns);
    for (name, text) in protocol_attributes(span, segment) {
        write_text(9, name.as_str(), &text, message);
    }
    for (name, value) in attributes.iter() {
        write_attribute(name, value, message);
    }
    if let (SpanKind::Server, Some(link)) = (kind, segment.context.link) {
        message.message(13, |message| write_link(link, message));
    }
    if status.is_error() {
        message.message(15, |message| write_status(*status, message));
    }
    let is_remote = *kind == SpanKind::Server && parent_span_id.is_some();
    let remote = if is_remote { IS_REMOTE } else { 0 };
    message.fixed32(16, SAMPLED | KNOWS_IS_REMOTE | remote);
}

fn write_link(context: SentryTrace, message: &mut Message) {
    message
        .bytes(1, context.trace_id.as_bytes())
        .bytes(2, context.span_id.as_bytes());
    write_text(4, A::LinkType.as_str(), LINK_TYPE, message);
    if context.sampled == Some(true) {
        message.fixed32(6, SAMPLED);
    }
}

fn write_status(status: SpanStatus, message: &mut Message) {
    message
        .bytes(2, status.as_str().as_bytes())
        .number(3, ERROR);
}

fn write_attribute(name: &str, value: &Value<'_>, message: &mut Message) {
    match value {
        Value::Text(text) => write_text(9, name, text, message),
        Value::Integer(number) => {
            write_key(9, name, number_len(*number), message).number(3, *number);
        }
        Value::Double(number) => {
            write_key(9, name, DOUBLE_LEN, message).double(4, *number);
        }
        Value::Texts(texts) => {
            message.message(9, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.message(2, |value| {
                    value.message(5, |array| {
                        for text in texts {
                            array.message(1, |value| {
                                value.bytes(1, text.as_bytes());
                            });
                        }
                    });
                });
            });
        }
    }
}

fn write_text(field: u32, name: &str, text: &str, message: &mut Message) {
    write_key(field, name, bytes_len(text.len()), message).bytes(1, text.as_bytes());
}

/// `KeyValue { key: 1, value: 2 = AnyValue { … } }` up to the value's only field, which has this
/// length.
fn write_key<'m>(
    field: u32,
    name: &str,
    value_len: usize,
    message: &'m mut Message,
) -> &'m mut Message {
    message.entry(field, name.as_bytes(), value_len)
}
