//! The `transaction` item: one event with the server span in its trace context and the calls to
//! upstreams below it, sentry-protocol.md §9.1.

use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::{timestamp, write_header, write_json, Resource, Sdk};
use super::{LINK_TYPE, ORIGIN, PLATFORM, SDK};
use crate::id::{EventId, SpanId, TraceId};
use crate::span::attributes::Attributes;
use crate::span::catalogue::ProtocolAttribute;
use crate::span::{Segment, Span};
use crate::trace::sentry_trace::SentryTrace;

pub(super) const ITEM_TYPE: &str = "transaction";

#[derive(Serialize)]
struct Transaction<'a> {
    r#type: &'static str,
    event_id: EventId,
    transaction: &'a str,
    transaction_info: TransactionInfo,
    start_timestamp: String,
    timestamp: String,
    platform: &'static str,
    sdk: Sdk,
    environment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    request: Request<'a>,
    contexts: Contexts<'a>,
    spans: Vec<Child<'a>>,
}

#[derive(Serialize)]
struct TransactionInfo {
    source: &'static str,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string: Option<&'a str>,
}

#[derive(Serialize)]
struct Contexts<'a> {
    trace: TraceContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

#[derive(Serialize)]
struct TraceContext<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    op: &'static str,
    status: &'static str,
    origin: &'static str,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<[Link; 1]>,
}

#[derive(Serialize)]
struct Response {
    r#type: &'static str,
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_size: Option<u64>,
}

#[derive(Serialize)]
struct Child<'a> {
    span_id: SpanId,
    trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    op: &'static str,
    description: &'a str,
    start_timestamp: String,
    timestamp: String,
    status: &'static str,
    origin: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Link {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<bool>,
    attributes: LinkAttributes,
}

#[derive(Serialize)]
struct LinkAttributes {
    #[serde(rename = "sentry.link.type")]
    link_type: &'static str,
}

/// Attributes as plain values; `sentry.kind` has no other place here.
struct Data<'a> {
    kind: &'static str,
    attributes: &'a Attributes<'a>,
}

/// Writes a segment as an event. `None` if it cannot be written as JSON.
pub fn write(
    segment: &Segment<'_>,
    resource: &Resource,
    header: &mut Vec<u8>,
    payload: &mut Vec<u8>,
) -> Option<()> {
    let Segment {
        context,
        transaction,
        request,
        response_code,
        response_size,
        server,
        upstream,
    } = segment;
    let event_id = EventId::new(context.trace_id, context.span_id);
    // A trace whose head said too little has no DSC here: Relay would discard it (§2.2), a frozen
    // one is never filled (§2.7), and a transaction may do without.
    let trace = Some(&context.dsc).filter(|dsc| !dsc.is_unreadable());
    write_header(resource, Some(event_id), trace, header)?;
    let event = Transaction {
        r#type: ITEM_TYPE,
        event_id,
        transaction: &transaction.name,
        transaction_info: TransactionInfo {
            source: transaction.source.as_str(),
        },
        start_timestamp: timestamp(server.times.start_ns),
        timestamp: timestamp(server.times.end_ns),
        platform: PLATFORM,
        sdk: SDK,
        environment: &resource.environment,
        release: resource.release.as_deref(),
        server_name: resource.server_name.as_deref(),
        request: Request {
            method: request.method.as_str(),
            url: request.url(),
            query_string: request.query.as_deref(),
        },
        contexts: Contexts {
            trace: TraceContext {
                trace_id: context.trace_id,
                span_id: server.span_id,
                parent_span_id: server.parent_span_id,
                op: server.kind.op(),
                status: server.status.as_str(),
                origin: ORIGIN,
                data: data(server),
                links: context.link.map(|context| [link(context)]),
            },
            response: response_code.map(|status_code| Response {
                r#type: "response",
                status_code,
                body_size: *response_size,
            }),
        },
        spans: upstream
            .iter()
            .map(|span| child(span, context.trace_id))
            .collect(),
    };
    write_json(&event, payload)
}

fn child<'a>(span: &'a Span<'_>, trace_id: TraceId) -> Child<'a> {
    Child {
        span_id: span.span_id,
        trace_id,
        parent_span_id: span.parent_span_id,
        op: span.kind.op(),
        description: &span.name,
        start_timestamp: timestamp(span.times.start_ns),
        timestamp: timestamp(span.times.end_ns),
        status: span.status.as_str(),
        origin: ORIGIN,
        data: data(span),
    }
}

fn link(context: SentryTrace) -> Link {
    Link {
        trace_id: context.trace_id,
        span_id: context.span_id,
        sampled: context.sampled,
        attributes: LinkAttributes {
            link_type: LINK_TYPE,
        },
    }
}

fn data<'a>(span: &'a Span<'_>) -> Data<'a> {
    Data {
        kind: span.kind.as_str(),
        attributes: &span.attributes,
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(ProtocolAttribute::Kind.as_str(), self.kind)?;
        for (name, value) in self.attributes.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
