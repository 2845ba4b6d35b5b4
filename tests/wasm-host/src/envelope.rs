//! The body of a callout, read as a Sentry envelope.
//!
//! ```text
//! {"event_id":"…","dsn":"…","trace":{…}}
//! {"type":"transaction","length":123}
//! {…123 bytes…}
//! ```

use mini_sentry::framing;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value;

use crate::Callout;

/// An envelope.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The first line.
    pub header: Value,
    /// Its items.
    pub items: Vec<Item>,
}

/// An item of an envelope.
#[derive(Clone, Debug)]
pub struct Item {
    /// The line before the payload.
    pub header: Value,
    /// The payload.
    pub payload: Value,
}

/// Reads the body of a callout by its media type, and returns how many spans it carries. Panics
/// where a receiver would refuse it.
pub fn read_spans(callout: &Callout) -> usize {
    if callout.headers.only("content-type") == "application/x-protobuf" {
        let request = ExportTraceServiceRequest::decode(callout.body.as_slice());
        let request = request.unwrap_or_else(|error| panic!("no request of OTLP's: {error}"));
        let scopes = request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        return scopes.map(|scope| scope.spans.len()).sum();
    }
    let envelope = Envelope::parse(&callout.body);
    let reports = |item: &&Item| item.header["type"] != "client_report";
    let items: Vec<_> = envelope.items.iter().filter(reports).collect();
    let item = match items.as_slice() {
        [item] => item,
        [] if !envelope.items.is_empty() => return 0,
        _ => panic!("not one item: {:#?}", envelope.items),
    };
    let (spans, needed): (_, &[&str]) = match item.header["type"].as_str() {
        Some("transaction") => (
            vec![&item.payload],
            &["event_id", "transaction", "start_timestamp", "timestamp"],
        ),
        Some("span") => (
            item.payload["items"]
                .as_array()
                .expect("spans")
                .iter()
                .collect(),
            &[
                "trace_id",
                "span_id",
                "name",
                "start_timestamp",
                "end_timestamp",
            ],
        ),
        other => panic!("an item of type {other:?}"),
    };
    for span in &spans {
        for key in needed {
            assert!(!span[key].is_null(), "{key} of {span:#}");
        }
    }
    match item.payload["spans"].as_array() {
        Some(calls) => 1 + calls.len(),
        None => spans.len(),
    }
}

/// The one callout. Panics if there is none, or more than one.
pub fn only(callouts: &[Callout]) -> &Callout {
    match callouts {
        [callout] => callout,
        _ => panic!(
            "not one callout: {:#?}",
            callouts
                .iter()
                .map(|callout| crate::text(&callout.body))
                .collect::<Vec<_>>()
        ),
    }
}

impl Envelope {
    /// Reads an envelope. Panics where a receiver would refuse it.
    pub fn parse(bytes: &[u8]) -> Self {
        let envelope =
            framing::parse(bytes).unwrap_or_else(|error| panic!("{error}: {}", crate::text(bytes)));
        let items = envelope.items.into_iter();
        Self {
            header: envelope.header.into(),
            items: items
                .map(|item| Item {
                    header: item.header.into(),
                    payload: json(&item.payload),
                })
                .collect(),
        }
    }

    /// The payload of the only item, which must be a transaction.
    pub fn transaction(&self) -> &Value {
        match &self.items[..] {
            [item] | [item, _] if item.header["type"] == "transaction" => &item.payload,
            other => panic!("not one transaction: {other:#?}"),
        }
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("payload is no JSON ({error}): {}", crate::text(bytes)))
}
