//! The `event` item: one error event for one failure (filter.md §13; develop.sentry.dev, event
//! payloads).
//!
//! ```text
//! {"event_id":"…","dsn":"…","sdk":{…},"trace":{…},"sent_at":"…"}
//! {"type":"event","length":812}
//! {"event_id":"…","level":"error","exception":{"values":[{"type":"UpstreamReset","value":"…"}]},…}
//! ```
//! It is written by hand: failures are rare, and types for its JSON would be a hundredth of the
//! module.

use super::{timestamp, write_header, write_json, Category, EncodeBuffers, EncodedSegment};
use super::{Resource, SDK_NAME, SDK_VERSION};
use crate::failure::Failure;
use crate::span::SpanStatus;
use crate::text::{shortened, MAX_NAME};

pub(super) const ITEM_TYPE: &str = "event";

/// Encodes a failure. `None` if it cannot be written.
#[inline(never)]
pub fn encode(
    failure: &Failure<'_>,
    resource: &Resource,
    buffers: &mut EncodeBuffers,
) -> Option<EncodedSegment> {
    let context = failure.context;
    let EncodeBuffers { header, spans } = buffers;
    let trace = Some(&context.dsc).filter(|dsc| !dsc.is_unreadable());
    write_header(resource, Some(failure.event_id), trace, header)?;
    write(failure, resource, spans);
    let event = EncodedSegment {
        project: context.project,
        trace_id: context.trace_id,
        header: header.clone(),
        spans: spans.clone(),
        count: 0,
        category: Category::Errors,
    };
    buffers.clear();
    Some(event)
}

/// Every text with what stands before it; one that is empty is left out with that. What closes an
/// object stands before a text that says something whatever happens. Tags have the names of the
/// attributes of the gateway's span; Sentry takes 200 characters of each.
fn write(failure: &Failure<'_>, resource: &Resource, json: &mut Vec<u8>) {
    let Failure {
        context,
        request,
        end,
        ..
    } = failure;
    let cut = |text| shortened(text, MAX_NAME);
    let cluster = cut(end.cluster_name.as_deref().unwrap_or_default());
    let route = String::from_utf8_lossy(end.route_name.as_deref().unwrap_or_default());
    let route = cut(&route);
    let details = cut(end.response_code_details.as_deref().unwrap_or_default());
    let code = end.response_code.unwrap_or_default().to_string();
    let status = end.grpc_status.filter(|_| request.is_grpc);
    let status = status.and_then(SpanStatus::grpc_word).unwrap_or_default();
    let flags = end.response_flags.names();
    let value = value(&cluster, &route, &code, status, &flags);
    let transaction = failure.transaction();
    let (event_id, trace_id) = (failure.event_id.hex(), context.trace_id.hex());
    let span_id = context.span_id.hex();
    let parent = context.parent_span_id.map(|id| id.hex());
    let response = ["{\"type\":\"response\",\"status_code\":", &code, "}"];
    write_texts(
        &[
            ("{\"event_id\":", event_id.as_str()),
            (",\"timestamp\":", &timestamp(end.times().end_ns)),
            (",\"transaction\":", &transaction),
            (",\"environment\":", &resource.environment),
            (",\"release\":", resource.release.as_deref().unwrap_or_default()),
            (",\"server_name\":", resource.server_name.as_deref().unwrap_or_default()),
            (",\"level\":\"error\",\"platform\":\"other\",\"logger\":\"envoy\",\"sdk\":{\"name\":", SDK_NAME),
            (",\"version\":", SDK_VERSION),
            ("},\"exception\":{\"values\":[{\"type\":", failure.name),
            (",\"value\":", &value),
            ("}]},\"fingerprint\":[", failure.name),
            (",", &cluster),
            (",", &route),
            ("],\"tags\":{\"http.response.status_code\":", &code),
            (",\"envoy.cluster\":", &cluster),
            (",\"envoy.route\":", &route),
            (",\"envoy.response_flags\":", &flags),
            (",\"envoy.response_code_details\":", &details),
            ("},\"contexts\":{\"trace\":{\"trace_id\":", trace_id.as_str()),
            (",\"span_id\":", span_id.as_str()),
            (",\"parent_span_id\":", parent.as_ref().map_or("", |id| id.as_str())),
        ],
        json,
    );
    json.extend_from_slice(b"},\"response\":");
    json.extend_from_slice(response.concat().as_bytes());
    write_texts(
        &[
            ("},\"request\":{\"method\":", request.method.as_str()),
            (",\"url\":", request.url().unwrap_or_default()),
            (
                ",\"query_string\":",
                request.query.as_deref().unwrap_or_default(),
            ),
        ],
        json,
    );
    let mut joint = ",\"headers\":{";
    for (name, lines) in &request.headers {
        write_texts(&[(joint, name)], json);
        json.push(b':');
        let _ = write_json(&lines.join(", ").as_str(), json);
        joint = ",";
    }
    let ends: &[u8] = if joint == "," { b"}}}" } else { b"}}" };
    json.extend_from_slice(ends);
}

/// `cluster shop, route /api/{id}: 503 (UF,URX)`, with the code that the client got and the status
/// of a gRPC call.
fn value(cluster: &str, route: &str, code: &str, status: &str, flags: &str) -> String {
    let beside = |text: &str, word: &'static str| if text.is_empty() { "" } else { word };
    let places = [cluster, route].concat();
    [
        beside(cluster, "cluster "),
        cluster,
        beside(cluster, beside(route, ", ")),
        beside(route, "route "),
        route,
        beside(&places, ": "),
        code,
        beside(status, ", gRPC "),
        status,
        beside(flags, " ("),
        flags,
        beside(flags, ")"),
    ]
    .concat()
}

#[inline(never)]
fn write_texts(texts: &[(&str, &str)], json: &mut Vec<u8>) {
    for (before, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        json.extend_from_slice(before.as_bytes());
        // A text in memory: it cannot fail.
        let _ = write_json(text, json);
    }
}

#[cfg(test)]
mod tests;
