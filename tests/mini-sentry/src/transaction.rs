//! A transaction event: what it must have (sentry-protocol.md §9.1), and what tests ask it.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use vectors::is_id;

use super::{
    span::{is_known, Format, Span},
    validator::{Complaints, MAX_AGE_SECONDS, MAX_AHEAD_SECONDS, SDK_NAME},
};

/// Names that Relay accepts, as far as they could be true of a gateway.
const PLATFORMS: [&str; 3] = ["other", "native", "rust"];
const SOURCES: [&str; 6] = ["custom", "url", "route", "view", "component", "task"];
pub(super) const STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown_error",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal_error",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// What Relay would cut (sentry-protocol.md §9.1).
const LIMITS: [(&str, usize); 6] = [
    ("/transaction", 200),
    ("/contexts/trace/op", 128),
    ("/contexts/trace/origin", 128),
    ("/server_name", 256),
    ("/release", 200),
    ("/environment", 64),
];
/// How many bytes a context may have.
const MAX_CONTEXT: usize = 8_192;

/// An accepted transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The envelope's header.
    pub envelope_header: Map<String, Value>,
    /// The event.
    pub payload: Value,
}

impl Transaction {
    pub(super) fn new(envelope_header: Map<String, Value>, payload: Value) -> Self {
        Self {
            envelope_header,
            payload,
        }
    }

    /// The id of the event.
    pub fn event_id(&self) -> &str {
        self.text("/event_id")
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> &str {
        self.text("/contexts/trace/trace_id")
    }

    /// The gateway's span.
    pub fn span_id(&self) -> &str {
        self.text("/contexts/trace/span_id")
    }

    /// The span that the upstream reads as its parent: the call to it, or the gateway's span where
    /// calls are not recorded.
    pub fn upstream_parent(&self) -> &str {
        self.payload
            .pointer("/spans/0/span_id")
            .and_then(Value::as_str)
            .unwrap_or_else(|| self.span_id())
    }

    /// The caller's span.
    pub fn parent_span_id(&self) -> Option<&str> {
        self.payload
            .pointer("/contexts/trace/parent_span_id")
            .and_then(Value::as_str)
    }

    /// The status of the gateway's span.
    pub fn status(&self) -> &str {
        self.text("/contexts/trace/status")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/transaction")
    }

    /// Where the name comes from.
    pub fn source(&self) -> &str {
        self.text("/transaction_info/source")
    }

    /// An attribute of the gateway's span.
    pub fn data(&self, key: &str) -> Option<&Value> {
        self.payload.pointer("/contexts/trace/data")?.get(key)
    }

    /// A value of the dynamic sampling context in the envelope's header.
    pub fn dsc(&self, key: &str) -> Option<&str> {
        self.envelope_header.get("trace")?.get(key)?.as_str()
    }

    /// Seconds from its start to its end.
    pub fn duration(&self) -> f64 {
        let at = |key: &str| self.payload.get(key).and_then(instant).unwrap_or(f64::NAN);
        at("timestamp") - at("start_timestamp")
    }

    /// The same as spans: the gateway's own, then the calls to upstreams.
    pub fn spans(&self) -> Vec<Span> {
        let root = &self.payload["contexts"]["trace"];
        let calls = self.payload["spans"].as_array().into_iter().flatten();
        let event = std::iter::once((root, &self.payload, &self.payload["transaction"]));
        event
            .chain(calls.map(|call| (call, call, &call["description"])))
            .enumerate()
            .map(|(index, (span, times, name))| self.span(index == 0, span, times, name))
            .collect()
    }

    fn span(&self, is_segment: bool, span: &Value, times: &Value, name: &Value) -> Span {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let needed = |value: &Value| text(value).unwrap_or_default();
        let us = |key: &str| {
            let seconds = times.get(key).and_then(instant).unwrap_or_default();
            (seconds * 1e6).round() as u64
        };
        let mut attributes: BTreeMap<String, Value> = span["data"]
            .as_object()
            .map(|data| data.clone().into_iter().collect())
            .unwrap_or_default();
        let kind = attributes.remove("sentry.kind").unwrap_or_default();
        let links = span["links"].as_array().into_iter().flatten();
        Span {
            format: Format::Transaction,
            trace_id: needed(&span["trace_id"]),
            span_id: needed(&span["span_id"]),
            parent_span_id: text(&span["parent_span_id"]),
            is_segment,
            name: needed(name),
            source: is_segment.then(|| self.source().to_owned()),
            op: needed(&span["op"]),
            origin: needed(&span["origin"]),
            kind: needed(&kind),
            status: needed(&span["status"]),
            start_us: us("start_timestamp"),
            end_us: us("timestamp"),
            environment: text(&self.payload["environment"]),
            release: text(&self.payload["release"]),
            attributes,
            links: links
                .map(|link| {
                    let part = |key: &str| link[key].as_str().unwrap_or_default();
                    let kind = link["attributes"]["sentry.link.type"].as_str();
                    let kind = kind.unwrap_or_default();
                    format!("{}-{} {kind}", part("trace_id"), part("span_id"))
                })
                .collect(),
        }
    }

    /// A text of the event; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.payload
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Complains about every field that is missing or wrong.
pub(super) fn check(payload: &Value, received_at: f64, complaints: &mut Complaints) {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let one_of = |pointer: &str, words: &[&str], complaints: &mut Complaints| {
        let fine = text(pointer).is_some_and(|word| words.contains(&word));
        complaints.unless(
            fine,
            pointer,
            format_args!("{:?}, not one of {words:?}", payload.pointer(pointer)),
        );
    };
    one_of("/type", &["transaction"], complaints);
    one_of("/platform", &PLATFORMS, complaints);
    one_of("/transaction_info/source", &SOURCES, complaints);
    one_of("/contexts/trace/op", &["http.server"], complaints);
    for (pointer, most) in LIMITS {
        let fits = text(pointer).is_none_or(|text| text.chars().count() <= most);
        complaints.unless(fits, pointer, format_args!("over {most} characters"));
    }
    for (name, context) in payload["contexts"].as_object().into_iter().flatten() {
        let length = context.to_string().len();
        complaints.unless(
            length <= MAX_CONTEXT,
            &format!("/contexts/{name}"),
            format_args!("{length} bytes"),
        );
    }
    one_of("/contexts/trace/status", &STATUSES, complaints);
    one_of("/contexts/trace/origin", &["auto.http.envoy"], complaints);

    let name = text("/transaction").unwrap_or_default();
    let is_name = !name.is_empty() && !name.contains('?') && name.chars().count() <= 200;
    complaints.unless(
        is_name,
        "/transaction",
        format_args!("not a name: {name:?}"),
    );
    for pointer in ["/environment", "/release", "/server_name"] {
        let fine = payload
            .pointer(pointer)
            .is_none_or(|value| value.as_str().is_some_and(|text| !text.is_empty()));
        complaints.unless(fine, pointer, "there, but not a text that says anything");
    }
    if payload.get("sdk").is_some() {
        one_of("/sdk/name", &[SDK_NAME], complaints);
    }
    check_context(payload, complaints);
    check_times(payload, "", received_at, complaints);
    check_spans(payload, received_at, complaints);
}

fn check_context(payload: &Value, complaints: &mut Complaints) {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    for (pointer, digits) in [
        ("/contexts/trace/trace_id", 32),
        ("/contexts/trace/span_id", 16),
    ] {
        let fine = text(pointer).is_some_and(|id| is_id(id, digits));
        complaints.unless(
            fine,
            pointer,
            format_args!("not an id: {:?}", payload.pointer(pointer)),
        );
    }
    if let Some(parent) = payload.pointer("/contexts/trace/parent_span_id") {
        let fine = parent.as_str().is_some_and(|id| is_id(id, 16));
        complaints.unless(
            fine,
            "/contexts/trace/parent_span_id",
            format_args!("not an id: {parent}"),
        );
    }
    check_data(
        payload.pointer("/contexts/trace/data"),
        "/contexts/trace/data",
        complaints,
    );
}

fn check_data(data: Option<&Value>, at: &str, complaints: &mut Complaints) {
    let Some(data) = data.and_then(Value::as_object) else {
        return complaints.add(at, "not an object");
    };
    for (name, value) in data {
        let known = match name.as_str() {
            "sentry.kind" => match value.as_str() {
                Some("server" | "client") => Ok(()),
                _ => Err(format!("sentry.kind is {value}")),
            },
            name => is_known(name, value),
        };
        if let Err(what) = known {
            complaints.add(at, what);
        }
    }
}

fn check_spans(payload: &Value, received_at: f64, complaints: &mut Complaints) {
    let Some(spans) = payload.get("spans").and_then(Value::as_array) else {
        return complaints.add("/spans", "not an array");
    };
    let id = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let root = payload
        .pointer("/contexts/trace")
        .cloned()
        .unwrap_or_default();
    let mut ids = HashSet::from([id(&root, "span_id")]);
    for (index, span) in spans.iter().enumerate() {
        let at = format!("/spans/{index}");
        complaints.unless(is_id(&id(span, "span_id"), 16), &at, "span_id is not an id");
        complaints.unless(ids.insert(id(span, "span_id")), &at, "span_id seen before");
        complaints.unless(
            id(span, "trace_id") == id(&root, "trace_id"),
            &at,
            "trace_id of another trace",
        );
        check_times(span, &at, received_at, complaints);
        let text = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default();
        complaints.unless(
            text("op") == "http.client",
            &at,
            format_args!("op {:?}", text("op")),
        );
        let origin = text("origin");
        complaints.unless(
            origin == "auto.http.envoy",
            &at,
            format_args!("origin {origin:?}"),
        );
        let status = text("status");
        complaints.unless(
            STATUSES.contains(&status),
            &at,
            format_args!("status {status:?}"),
        );
        let description = text("description");
        let fits = description.contains(' ') && !description.contains('?');
        complaints.unless(fits, &at, format_args!("description {description:?}"));
        check_data(span.get("data"), &format!("{at}/data"), complaints);
        for (key, is_within) in [
            ("start_timestamp", f64::ge as fn(&f64, &f64) -> bool),
            ("timestamp", f64::le),
        ] {
            let (own, above) = (
                span.get(key).and_then(instant),
                payload.get(key).and_then(instant),
            );
            let fits = own
                .zip(above)
                .is_some_and(|(own, above)| is_within(&own, &above));
            complaints.unless(
                fits,
                &at,
                format_args!("{key} {own:?} is not within {above:?}"),
            );
        }
    }
    for (index, span) in spans.iter().enumerate() {
        let known = ids.contains(&id(span, "parent_span_id"));
        complaints.unless(
            known,
            &format!("/spans/{index}"),
            "parent_span_id is of no span here",
        );
    }
}

fn check_times(value: &Value, at: &str, received_at: f64, complaints: &mut Complaints) {
    let time = |key: &str| value.get(key).and_then(instant);
    let (Some(start), Some(end)) = (time("start_timestamp"), time("timestamp")) else {
        return complaints.add(
            &format!("{at}/timestamp"),
            "start_timestamp or timestamp is not a time",
        );
    };
    complaints.unless(
        start <= end,
        &format!("{at}/timestamp"),
        format_args!("ends at {end}, starts at {start}"),
    );
    for (key, time) in [("start_timestamp", start), ("timestamp", end)] {
        let age = received_at - time;
        let recent = (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age);
        complaints.unless(recent, &format!("{at}/{key}"), format_args!("{age} s old"));
    }
}

fn instant(value: &Value) -> Option<f64> {
    let from_text = |text: &str| {
        let time = humantime::parse_rfc3339(text).ok()?;
        Some(
            time.duration_since(std::time::UNIX_EPOCH)
                .ok()?
                .as_secs_f64(),
        )
    };
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(from_text))
}

#[cfg(test)]
mod tests;
