//! The `transaction` item: one event with the span in its trace context, sentry-protocol.md §9.1.

use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::{timestamp, Envelope, Sdk, SDK};
use crate::config::FilterConfig;
use crate::route::Source;
use crate::span::attributes::{self, Value};
use crate::span::{status, FinishedSpan};
use crate::trace::id::{EventId, SpanId, TraceId};

/// The operation of the gateway's own span.
const OP: &str = "http.server";
/// Who recorded it, sentry-protocol.md §13.
const ORIGIN: &str = "auto.http.envoy";

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
    contexts: Contexts,
    /// Children; the gateway's own span is the only one so far.
    spans: [(); 0],
}

#[derive(Serialize)]
struct TransactionInfo {
    source: Source,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Serialize)]
struct Contexts {
    trace: TraceContext,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

#[derive(Serialize)]
struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    op: &'static str,
    status: &'static str,
    origin: &'static str,
    #[serde(serialize_with = "as_object")]
    data: Vec<(&'static str, Value)>,
}

#[derive(Serialize)]
struct Response {
    r#type: &'static str,
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_size: Option<u64>,
}

/// A span as an envelope of its own. `None` if it cannot be written as JSON.
pub fn encode(span: &FinishedSpan, config: &FilterConfig) -> Option<Envelope> {
    let FinishedSpan {
        context,
        transaction,
        request,
        start_ns,
        end_ns,
        end,
    } = span;
    let event_id = EventId::of(context.trace_id, context.span_id);
    let payload = serde_json::to_vec(&Transaction {
        r#type: "transaction",
        event_id,
        transaction: &transaction.name,
        transaction_info: TransactionInfo {
            source: transaction.source,
        },
        start_timestamp: timestamp(*start_ns),
        timestamp: timestamp(*end_ns),
        platform: "other",
        sdk: SDK,
        environment: &config.environment,
        release: config.release.as_deref(),
        server_name: config.server_name.as_deref(),
        request: Request {
            method: &request.method,
            url: request.url(),
        },
        contexts: Contexts {
            trace: TraceContext {
                trace_id: context.trace_id,
                span_id: context.span_id,
                parent_span_id: context.parent_span_id,
                op: OP,
                status: status::from_http(end.response_code),
                origin: ORIGIN,
                data: attributes::of_server_span(span),
            },
            response: end.response_code.map(|status_code| Response {
                r#type: "response",
                status_code,
                body_size: end.response_size,
            }),
        },
        spans: [],
    })
    .ok()?;
    Envelope::of_item(config, event_id, &context.dsc, "transaction", &payload, 1)
}

fn as_object<S: Serializer>(
    attributes: &[(&'static str, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(attributes.len()))?;
    for (name, value) in attributes {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests;
