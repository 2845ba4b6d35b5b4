//! OpenTelemetry's `ExportTraceServiceRequest`, as protobuf (sentry-protocol.md §5.5).
//!
//! ```text
//! ExportTraceServiceRequest { resource_spans: 1 = ResourceSpans }
//! ResourceSpans             { resource: 1 = { attributes: 1 = KeyValue … }, scope_spans: 2 = ScopeSpans }
//! ScopeSpans                { scope: 1 = { name: 1, version: 2 }, spans: 2 = Span … }
//! ```
//! The answer is an `ExportTraceServiceResponse { partial_success: 1 = { rejected_spans: 1 = int64, error_message: 2 } }`, empty if all was taken.
//!
//! A parcel holds its spans with the heads of their fields, so that a POST is the parcels one after the other behind one resource. There is no DSC in
//! it, and thus no sampling by the head of the trace on Sentry's side.

use super::{protocol_attributes, Parcel, LINK_TYPE, PLATFORM, SDK_NAME, SDK_VERSION};
use crate::config::FilterConfig;
use crate::protobuf::{Fields, Message, Wire};
use crate::span::attributes::Value;
use crate::span::{Kind, Segment, Span, SpanStatus};
use crate::trace::sentry_trace::SentryTrace;

/// `SPAN_FLAGS_TRACE_FLAGS_MASK`: what is recorded is sampled.
const SAMPLED: u32 = 0x01;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const KNOWS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent is another process's.
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const ERROR: i64 = 2;

/// A segment's spans.
pub fn encode(segment: &Segment) -> Parcel {
    let mut spans = Message::default();
    for span in std::iter::once(&segment.server).chain(&segment.upstream) {
        spans.message(2, &self::span(span, segment));
    }
    Parcel::new(segment, Vec::new(), spans.into_bytes())
}

/// One request for all of them.
pub fn body(parcels: &[Parcel], config: &FilterConfig) -> Vec<u8> {
    let mut scope = Message::default();
    scope
        .bytes(1, SDK_NAME.as_bytes())
        .bytes(2, SDK_VERSION.as_bytes());
    let mut scope_spans = Message::default();
    scope_spans.message(1, &scope);
    let mut scope_spans = scope_spans.into_bytes();
    for parcel in parcels {
        scope_spans.extend_from_slice(&parcel.spans);
    }
    let mut resource_spans = Message::default();
    resource_spans
        .message(1, &resource(config))
        .header(2, scope_spans.len());
    let resource_spans = resource_spans.into_bytes();
    let mut request = Message::default();
    request.header(1, resource_spans.len().saturating_add(scope_spans.len()));
    [request.into_bytes(), resource_spans, scope_spans].concat()
}

/// How many spans an answer says were refused although the POST was taken; none if it says no such thing.
pub fn rejected(answer: &[u8]) -> u32 {
    let partial_success = Fields::of(answer).find_map(|field| match field {
        Some((1, Wire::Bytes(message))) => Some(message),
        _ => None,
    });
    let rejected = Fields::of(partial_success.unwrap_or_default()).find_map(|field| match field {
        Some((1, Wire::Varint(count))) => u32::try_from(count).ok(),
        _ => None,
    });
    rejected.unwrap_or_default()
}

fn resource(config: &FilterConfig) -> Message {
    let release = config.release.as_deref();
    let mut resource = Message::default();
    for (name, value) in [
        // Required by OpenTelemetry's conventions; where nobody gave the gateway a name, what it is.
        (
            "service.name",
            Some(config.server_name.as_deref().unwrap_or("envoy")),
        ),
        ("service.version", release),
        ("deployment.environment", Some(&*config.environment)),
        ("sentry.environment", Some(&*config.environment)),
        ("sentry.release", release),
        ("sentry.sdk.name", Some(SDK_NAME)),
        ("sentry.sdk.version", Some(SDK_VERSION)),
        ("sentry.platform", Some(PLATFORM)),
    ] {
        if let Some(value) = value {
            resource.message(1, &text_attribute(name, value));
        }
    }
    resource
}

fn span(span: &Span, segment: &Segment) -> Message {
    let Span {
        span_id,
        parent_span_id,
        kind,
        name,
        description: _,
        status,
        times,
        attributes,
    } = span;
    let mut message = Message::default();
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
                Kind::Server => 2,
                Kind::Client => 3,
            },
        )
        .fixed64(7, times.start_ns)
        .fixed64(8, times.end_ns);
    for (name, text) in protocol_attributes(span, segment) {
        message.message(9, &text_attribute(name, &text));
    }
    for (name, value) in attributes.iter() {
        message.message(9, &attribute(name, value));
    }
    if let (Kind::Server, Some(link)) = (kind, segment.context.link) {
        message.message(13, &self::link(link));
    }
    if status.is_error() {
        message.message(15, &self::status(*status));
    }
    let is_remote = *kind == Kind::Server && parent_span_id.is_some();
    let remote = if is_remote { IS_REMOTE } else { 0 };
    message.fixed32(16, SAMPLED | KNOWS_IS_REMOTE | remote);
    message
}

fn link(context: SentryTrace) -> Message {
    let mut message = Message::default();
    message
        .bytes(1, context.trace_id.as_bytes())
        .bytes(2, context.span_id.as_bytes())
        .message(4, &text_attribute("sentry.link.type", LINK_TYPE));
    if context.sampled == Some(true) {
        message.fixed32(6, SAMPLED);
    }
    message
}

fn status(status: SpanStatus) -> Message {
    let mut message = Message::default();
    message.bytes(2, status.word().as_bytes()).number(3, ERROR);
    message
}

fn text_attribute(name: &str, text: &str) -> Message {
    let mut value = Message::default();
    value.bytes(1, text.as_bytes());
    key_value(name, &value)
}

fn attribute(name: &str, value: &Value) -> Message {
    let mut any = Message::default();
    match value {
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        Value::Integer(number) => any.number(3, *number),
        Value::Double(number) => any.double(4, *number),
        Value::Texts(texts) => {
            let mut array = Message::default();
            for text in texts {
                let mut value = Message::default();
                value.bytes(1, text.as_bytes());
                array.message(1, &value);
            }
            any.message(5, &array)
        }
    };
    key_value(name, &any)
}

fn key_value(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.bytes(1, name.as_bytes()).message(2, value);
    message
}
