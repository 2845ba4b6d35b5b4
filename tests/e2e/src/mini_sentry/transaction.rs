//! A transaction event: what it must have (sentry-protocol.md §9.1), and what tests ask it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::judge::{Complaints, MAX_AGE_SECONDS, MAX_AHEAD_SECONDS, SDK_NAME};
use crate::context::is_id;

/// Names that Relay accepts, as far as they could be true of a gateway.
const PLATFORMS: [&str; 3] = ["other", "native", "rust"];
const SOURCES: [&str; 6] = ["custom", "url", "route", "view", "component", "task"];
const STATUSES: [&str; 17] = [
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

    /// The span that the upstream reads as its parent: the call to it, or the gateway's span where calls are not recorded.
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
    if let Some(data) = payload.pointer("/contexts/trace/data") {
        let plain = |value: &Value| !value.is_null() && !value.is_object();
        let fine = data
            .as_object()
            .is_some_and(|data| data.values().all(plain));
        complaints.unless(
            fine,
            "/contexts/trace/data",
            "not an object of plain values",
        );
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
