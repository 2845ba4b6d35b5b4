//! A row for each way to spoil a transaction, and a span below it.

use serde_json::{json, Value};

use crate::validator::tests::{assert_refused, set, Draft};

#[test]
fn a_spoiled_transaction_is_refused() {
    let upper = "771A43A4192642F0B136D5159A501700";
    for (pointer, value, complaint) in [
        ("/type", Value::Null, "/type"),
        ("/type", json!("event"), "/type"),
        ("/event_id", Value::Null, "event_id: not an id"),
        ("/platform", Value::Null, "/platform"),
        ("/platform", json!("toaster"), "/platform"),
        ("/transaction", Value::Null, "/transaction: not a name"),
        ("/transaction", json!(""), "/transaction: not a name"),
        (
            "/transaction",
            json!("/search?q=secret"),
            "/transaction: not a name",
        ),
        (
            "/transaction_info/source",
            Value::Null,
            "/transaction_info/source",
        ),
        (
            "/transaction_info/source",
            json!("unknown"),
            "/transaction_info/source",
        ),
        (
            "/start_timestamp",
            Value::Null,
            "/timestamp: start_timestamp or timestamp is not a time",
        ),
        (
            "/timestamp",
            json!("yesterday"),
            "/timestamp: start_timestamp or timestamp is not a time",
        ),
        (
            "/start_timestamp",
            json!(1_799_999_999.75),
            "/timestamp: ends at",
        ),
        (
            "/start_timestamp",
            json!(1_799_999_000.0),
            "/start_timestamp: 1000 s old",
        ),
        (
            "/timestamp",
            json!("2027-01-15T08:00:02Z"),
            "/timestamp: -2 s old",
        ),
        // The documents allow a number, Sentry's own types do not.
        (
            "/timestamp",
            json!(1_799_999_999.5),
            "sentry-types: invalid item payload",
        ),
        ("/environment", json!(""), "/environment"),
        ("/release", json!(7), "/release"),
        ("/sdk", json!({"name": "other"}), "/sdk/name"),
        ("/contexts/trace", Value::Null, "/contexts/trace/trace_id"),
        (
            "/contexts/trace/trace_id",
            json!(upper),
            "/contexts/trace/trace_id",
        ),
        (
            "/contexts/trace/trace_id",
            json!("0".repeat(32)),
            "/contexts/trace/trace_id",
        ),
        (
            "/contexts/trace/span_id",
            json!("0".repeat(16)),
            "/contexts/trace/span_id",
        ),
        (
            "/contexts/trace/span_id",
            json!("6ee6b3f2a1c04d5"),
            "/contexts/trace/span_id",
        ),
        (
            "/contexts/trace/parent_span_id",
            json!("0".repeat(16)),
            "/contexts/trace/parent_span_id",
        ),
        (
            "/contexts/trace/op",
            json!("http.client"),
            "/contexts/trace/op",
        ),
        (
            "/contexts/trace/status",
            json!("unknown"),
            "/contexts/trace/status",
        ),
        (
            "/contexts/trace/origin",
            Value::Null,
            "/contexts/trace/origin",
        ),
        (
            "/contexts/trace/data",
            json!({"a": {"value": 1}}),
            "/contexts/trace/data: unknown attribute a",
        ),
        (
            "/contexts/trace/data",
            Value::Null,
            "/contexts/trace/data: not an object",
        ),
        // Deprecated (sentry-protocol.md §12.4).
        (
            "/contexts/trace/data",
            json!({"http.status_code": 200}),
            "/contexts/trace/data: unknown attribute http.status_code",
        ),
        (
            "/contexts/trace/data",
            json!({"http.response.status_code": "200"}),
            "/contexts/trace/data: http.response.status_code is",
        ),
        (
            "/contexts/trace/data",
            json!({"url.path": ""}),
            "/contexts/trace/data: url.path is",
        ),
        (
            "/contexts/trace/data",
            json!({"http.request.header.accept": "text"}),
            "/contexts/trace/data: http.request.header.accept is",
        ),
        (
            "/contexts/trace/data",
            json!({"url.path": "x".repeat(9_000)}),
            "/contexts/trace: 9",
        ),
        (
            "/transaction",
            json!("x".repeat(201)),
            "/transaction: not a name",
        ),
        ("/release", json!("x".repeat(201)), "/release: over 200"),
        (
            "/environment",
            json!("x".repeat(65)),
            "/environment: over 64",
        ),
        (
            "/server_name",
            json!("x".repeat(257)),
            "/server_name: over 256",
        ),
        ("/spans", Value::Null, "/spans: not an array"),
    ] {
        let mut draft = Draft::good();
        set(&mut draft.payload, pointer, value);
        assert_refused(&draft.finish(), complaint);
    }
}

#[test]
fn a_spoiled_child_span_is_refused() {
    for (key, value, complaint) in [
        ("span_id", Value::Null, "/spans/0: span_id is not an id"),
        (
            "span_id",
            json!("0".repeat(16)),
            "/spans/0: span_id is not an id",
        ),
        (
            "span_id",
            json!("6ee6b3f2a1c04d5e"),
            "/spans/0: span_id seen before",
        ),
        (
            "trace_id",
            json!("881a43a4192642f0b136d5159a501700"),
            "/spans/0: trace_id of another",
        ),
        (
            "parent_span_id",
            Value::Null,
            "/spans/0: parent_span_id is of no span",
        ),
        (
            "parent_span_id",
            json!("b9f2e3d4c5a60718"),
            "/spans/0: parent_span_id is of no span",
        ),
        ("timestamp", Value::Null, "/spans/0/timestamp"),
        (
            "timestamp",
            json!("2027-01-15T07:59:59.2Z"),
            "/spans/0/timestamp: ends at",
        ),
        ("start_timestamp", json!(1.0), "/spans/0/start_timestamp"),
        (
            "start_timestamp",
            json!(1_799_999_999.2),
            "/spans/0: start_timestamp Some(1799999999.2) is not within",
        ),
        (
            "timestamp",
            json!("2027-01-15T07:59:59.6Z"),
            "/spans/0: timestamp Some(1799999999.6) is not within",
        ),
        ("op", json!("http.server"), "/spans/0: op"),
        ("origin", Value::Null, "/spans/0: origin"),
        ("status", json!("unset"), "/spans/0: status"),
        ("description", json!("GET"), "/spans/0: description"),
        (
            "description",
            json!("GET /a?token=1"),
            "/spans/0: description",
        ),
        ("data", Value::Null, "/spans/0/data: not an object"),
    ] {
        let mut draft = Draft::good();
        let mut span = draft.payload["spans"][0].clone();
        set(&mut span, &format!("/{key}"), value);
        set(&mut draft.payload, "/spans", json!([span]));
        assert_refused(&draft.finish(), complaint);
    }
}
