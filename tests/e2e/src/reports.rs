//! What Sentry's SDKs reported, as transactions or as streamed spans.

use serde_json::Value;

use crate::upstream::RecordedRequest;

/// A span that an SDK reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Who reported it: what stands in the path of the DSN before the project.
    pub reporter: String,
    /// Its trace.
    pub trace_id: String,
    /// Its id.
    pub span_id: String,
    /// The span above it.
    pub parent_span_id: Option<String>,
    /// The operation.
    pub op: String,
    /// Whether it is the first of its process.
    pub is_segment: bool,
    /// Whether it came as a streamed span, and not in a transaction.
    pub is_streamed: bool,
}

/// Where an SDK posts whose DSN has that path before the project 1, such as `/page`, or none.
pub fn envelope_path(reporter: &str) -> String {
    format!("{reporter}{ENVELOPE_PATH}")
}

/// Where SDKs post, below the path of their DSN.
pub const ENVELOPE_PATH: &str = "/api/1/envelope/";

/// The spans in what SDKs posted; anything else in it is passed over.
pub fn reported(requests: &[RecordedRequest]) -> Vec<Reported> {
    let spans_of = |request: &RecordedRequest| {
        let reporter = request.path.split(ENVELOPE_PATH).next();
        let reporter = reporter.unwrap_or_default().trim_start_matches('/');
        let lines = request.body.split(|byte| *byte == b'\n');
        let lines: Vec<Value> = lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        // The envelope's header, then the header and the payload of each item.
        let items = lines.get(1..).unwrap_or_default().chunks_exact(2);
        items
            .flat_map(|item| match item[0]["type"].as_str() {
                Some("transaction") => transaction(reporter, &item[1]),
                Some("span") => streamed(reporter, &item[1]),
                _ => Vec::new(),
            })
            .collect::<Vec<_>>()
    };
    requests.iter().flat_map(spans_of).collect()
}

/// <https://develop.sentry.dev/sdk/data-model/event-payloads/transaction/>
fn transaction(reporter: &str, payload: &Value) -> Vec<Reported> {
    let one = |fields: &Value, is_segment| Reported {
        reporter: reporter.to_owned(),
        trace_id: text(&fields["trace_id"]),
        span_id: text(&fields["span_id"]),
        parent_span_id: fields["parent_span_id"].as_str().map(str::to_owned),
        op: text(&fields["op"]),
        is_segment,
        is_streamed: false,
    };
    let children = payload["spans"].as_array().into_iter().flatten();
    let children = children.map(|span| one(span, false));
    let segment = one(&payload["contexts"]["trace"], true);
    std::iter::once(segment).chain(children).collect()
}

/// <https://develop.sentry.dev/sdk/telemetry/spans/span-protocol/>
fn streamed(reporter: &str, payload: &Value) -> Vec<Reported> {
    let one = |span: &Value| Reported {
        reporter: reporter.to_owned(),
        trace_id: text(&span["trace_id"]),
        span_id: text(&span["span_id"]),
        parent_span_id: span["parent_span_id"].as_str().map(str::to_owned),
        op: text(&span["attributes"]["sentry.op"]["value"]),
        is_segment: span["is_segment"] == true,
        is_streamed: true,
    };
    let spans = payload["items"].as_array().into_iter().flatten();
    spans.map(one).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
