//! An error event: what it must have (filter.md §13; develop.sentry.dev, event payloads), and what
//! tests ask it.

use serde_json::{Map, Value};
use vectors::is_id;

use super::validator::{Complaints, MAX_AGE_SECONDS, MAX_AHEAD_SECONDS, SDK_NAME, SDK_VERSION};

/// The type of its item.
pub(super) const ITEM_TYPE: &str = "event";

/// Every field that the filter writes.
const FIELDS: [&str; 15] = [
    "event_id",
    "timestamp",
    "transaction",
    "environment",
    "release",
    "server_name",
    "level",
    "platform",
    "logger",
    "sdk",
    "exception",
    "fingerprint",
    "tags",
    "contexts",
    "request",
];
/// Every tag.
const TAGS: [&str; 5] = [
    "http.response.status_code",
    "envoy.cluster",
    "envoy.route",
    "envoy.response_flags",
    "envoy.response_code_details",
];
/// How long a tag, a transaction's name and an exception's value may be.
const MAX_TAG: usize = 200;
const MAX_VALUE: usize = 8_192;

/// An accepted error event.
#[derive(Clone, Debug)]
pub struct ErrorEvent {
    /// The envelope's header.
    pub envelope_header: Map<String, Value>,
    /// The event.
    pub payload: Value,
}

impl ErrorEvent {
    /// A text of the event; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        let found = self.payload.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    }

    /// The id of the event.
    pub fn event_id(&self) -> &str {
        self.text("/event_id")
    }

    /// The exception's type: the first line of the title.
    pub fn name(&self) -> &str {
        self.text("/exception/values/0/type")
    }

    /// Its value: the second line.
    pub fn value(&self) -> &str {
        self.text("/exception/values/0/value")
    }

    /// What the request is called.
    pub fn transaction(&self) -> &str {
        self.text("/transaction")
    }

    /// A tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.payload["tags"].get(name)?.as_str()
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> &str {
        self.text("/contexts/trace/trace_id")
    }

    /// The span that it belongs to.
    pub fn span_id(&self) -> &str {
        self.text("/contexts/trace/span_id")
    }
}

/// Complains about every field that is missing, wrong or unknown.
pub(super) fn check(payload: &Value, received_at: f64, complaints: &mut Complaints) {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let keys = |pointer: &str| {
        let object = payload.pointer(pointer).and_then(Value::as_object);
        object.into_iter().flat_map(Map::keys)
    };
    let only = |pointer: &str, known: &[&str], complaints: &mut Complaints| {
        for key in keys(pointer).filter(|key| !known.contains(&key.as_str())) {
            complaints.add(pointer, format_args!("unknown field {key:?}"));
        }
    };
    only("", &FIELDS, complaints);
    only("/contexts", &["trace", "response"], complaints);
    let trace = ["trace_id", "span_id", "parent_span_id"];
    only("/contexts/trace", &trace, complaints);
    let request = ["method", "url", "query_string", "headers"];
    only("/request", &request, complaints);
    only("/tags", &TAGS, complaints);
    for (pointer, word) in [
        ("/level", "error"),
        ("/platform", "other"),
        ("/logger", "envoy"),
        ("/sdk/name", SDK_NAME),
        ("/sdk/version", SDK_VERSION),
        ("/contexts/response/type", "response"),
    ] {
        let fine = text(pointer) == Some(word);
        complaints.unless(fine, pointer, format_args!("{:?}", text(pointer)));
    }
    for (pointer, digits) in [
        ("/event_id", 32),
        ("/contexts/trace/trace_id", 32),
        ("/contexts/trace/span_id", 16),
    ] {
        let fine = text(pointer).is_some_and(|id| is_id(id, digits));
        complaints.unless(
            fine,
            pointer,
            format_args!("not an id: {:?}", text(pointer)),
        );
    }
    if let Some(parent) = payload.pointer("/contexts/trace/parent_span_id") {
        let fine = parent.as_str().is_some_and(|id| is_id(id, 16));
        complaints.unless(fine, "/contexts/trace", "parent_span_id is not an id");
    }
    let at = text("/timestamp").and_then(|text| humantime::parse_rfc3339(text).ok());
    let age = at.map(|at| received_at - super::validator::seconds(at));
    let recent = age.is_some_and(|age| (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age));
    complaints.unless(recent, "/timestamp", format_args!("{age:?} s old"));
    check_words(payload, complaints);
}

fn check_words(payload: &Value, complaints: &mut Complaints) {
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let exceptions = payload
        .pointer("/exception/values")
        .and_then(Value::as_array);
    complaints.unless(
        exceptions.is_some_and(|all| all.len() == 1),
        "/exception",
        "not one",
    );
    for (pointer, most) in [
        ("/exception/values/0/type", MAX_TAG),
        ("/exception/values/0/value", MAX_VALUE),
        ("/transaction", MAX_TAG),
        ("/environment", 64),
    ] {
        let length = text(pointer).map(str::len);
        let fine = length.is_some_and(|length| (1..=most).contains(&length));
        complaints.unless(fine, pointer, format_args!("{:?}", text(pointer)));
    }
    for (pointer, most) in [("/release", 200), ("/server_name", 256)] {
        let Some(value) = payload.pointer(pointer) else {
            continue;
        };
        let fine = value
            .as_str()
            .is_some_and(|text| (1..=most).contains(&text.len()));
        complaints.unless(fine, pointer, value);
    }
    let transaction = text("/transaction").unwrap_or_default();
    complaints.unless(!transaction.contains('?'), "/transaction", "a query in it");
    for (name, value) in payload["tags"].as_object().into_iter().flatten() {
        let fits = |text: &str| (1..=MAX_TAG).contains(&text.len()) && !text.contains('\n');
        complaints.unless(
            value.as_str().is_some_and(fits),
            "/tags",
            format_args!("{name}: {value}"),
        );
    }
    let code = payload
        .pointer("/contexts/response/status_code")
        .and_then(Value::as_u64);
    let tag = text("/tags/http.response.status_code").and_then(|tag| tag.parse().ok());
    complaints.unless(
        code.is_some() && code == tag,
        "/contexts/response",
        format_args!("{code:?}, {tag:?}"),
    );
    let fingerprint = payload["fingerprint"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let is_first = fingerprint.first().and_then(Value::as_str) == text("/exception/values/0/type");
    let are_texts = fingerprint
        .iter()
        .all(|part| part.as_str().is_some_and(|part| !part.is_empty()));
    complaints.unless(
        is_first && are_texts && fingerprint.len() <= 3,
        "/fingerprint",
        format_args!("{fingerprint:?}"),
    );
    let method = text("/request/method").unwrap_or_default();
    complaints.unless(!method.is_empty(), "/request/method", "none");
    if let Some(url) = payload.pointer("/request/url") {
        let fine = url
            .as_str()
            .is_some_and(|url| url.contains("://") && !url.contains(['?', '@', '#']));
        complaints.unless(fine, "/request/url", url);
    }
    if let Some(headers) = payload.pointer("/request/headers") {
        let fine = headers
            .as_object()
            .is_some_and(|headers| !headers.is_empty() && headers.values().all(Value::is_string));
        complaints.unless(fine, "/request/headers", headers);
    }
}
