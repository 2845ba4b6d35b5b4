//! Good streamed spans, and a row for each way to spoil them.

use serde_json::{json, Value};

use crate::validator::{
    tests::{assert_refused, now, request, set, validator, KEY, TRACE_ID},
    ReceivedRequest, SDK_NAME, SDK_VERSION,
};

/// Header, item header without its length, and payload.
fn streamed() -> Value {
    let text = |text: &str| json!({"type": "string", "value": text});
    let common = |kind: &str| {
        json!({
            "sentry.op": text(&format!("http.{kind}")), "sentry.kind": text(kind), "sentry.origin": text("auto.http.envoy"),
            "sentry.segment.id": text("6ee6b3f2a1c04d5e"), "sentry.segment.name": text("GET /api/{id}"),
            "sentry.trace_lifecycle": text("stream"), "sentry.platform": text("other"), "sentry.sdk.name": text(SDK_NAME),
            "sentry.sdk.version": text(SDK_VERSION), "sentry.environment": text("production"),
            "sentry.status.message": text("not_found"),
            "http.request.method": text("GET"), "http.response.status_code": {"type": "integer", "value": 404},
        })
    };
    let mut server = common("server");
    server["sentry.segment.name.source"] = text("route");
    server["http.route"] = text("/api/{id}");
    json!({
        "header": {
            "sent_at": humantime::format_rfc3339_micros(now()).to_string(),
            "sdk": {"name": SDK_NAME, "version": SDK_VERSION},
            "trace": {"trace_id": TRACE_ID, "public_key": KEY},
        },
        "item": {"type": "span", "item_count": 2, "content_type": "application/vnd.sentry.items.span.v2+json"},
        "payload": {"version": 2, "items": [
            {"trace_id": TRACE_ID, "span_id": "6ee6b3f2a1c04d5e", "name": "GET /api/{id}", "status": "error", "is_segment": true,
             "start_timestamp": 1_799_999_999.25, "end_timestamp": 1_799_999_999.5, "attributes": server},
            {"trace_id": TRACE_ID, "span_id": "1111111111111111", "parent_span_id": "6ee6b3f2a1c04d5e", "name": "GET",
             "status": "error", "is_segment": false,
             "start_timestamp": 1_799_999_999.3, "end_timestamp": 1_799_999_999.4, "attributes": common("client")},
        ]},
    })
}

fn envelope(draft: &Value) -> ReceivedRequest {
    let payload = draft["payload"].to_string();
    let mut item = draft["item"].clone();
    item["length"] = payload.len().into();
    let body = format!("{}\n{item}\n{payload}\n", draft["header"]);
    request(
        "/api/7/envelope/",
        "application/x-sentry-envelope",
        body.into_bytes(),
    )
}

#[test]
fn good_streamed_spans_are_accepted() {
    let received = validator().validate(&envelope(&streamed())).unwrap();
    assert!(received.transaction.is_none());
    let [server, call] = received.spans.as_slice() else {
        panic!("{received:?}");
    };
    assert_eq!(
        (server.status.as_str(), server.source.as_deref()),
        ("not_found", Some("route"))
    );
    assert_eq!(
        (server.duration_ms(), call.start_us),
        (250.0, 1_799_999_999_300_000)
    );
    assert_eq!(call.attributes.len(), 2, "{call:?}");
}

/// Rows I1 to I5 of sentry-protocol.md §14.7 are among these.
#[test]
fn spoiled_streamed_spans_are_refused() {
    let other = "99999999999999999999999999999999";
    let typed = |kind: &str, value: Value| json!({"type": kind, "value": value});
    let attribute = |name: &str| format!("/payload/items/0/attributes/{name}");
    let rows = [
        (
            "/header/trace".to_owned(),
            Value::Null,
            "trace: missing_dsc",
        ),
        (
            "/header/trace/trace_id".to_owned(),
            json!(other),
            "items/0: invalid_dsc",
        ),
        (
            "/header/trace/public_key".to_owned(),
            Value::Null,
            "trace.public_key",
        ),
        (
            "/header/event_id".to_owned(),
            json!(TRACE_ID),
            "event_id: there is no event",
        ),
        // A path, and no route.
        (
            "/payload/items/1/name".to_owned(),
            json!("GET /api/7"),
            "items/1: name",
        ),
        (
            attribute("http.route"),
            typed("string", json!("/api/{user}")),
            "items/0: name",
        ),
        (
            "/item/item_count".to_owned(),
            json!(3),
            "span item: item_count",
        ),
        (
            "/item/item_count".to_owned(),
            Value::Null,
            "span item: item_count",
        ),
        (
            "/item/content_type".to_owned(),
            json!("application/json"),
            "span item: content_type",
        ),
        (
            "/payload/version".to_owned(),
            Value::Null,
            "span item: no version",
        ),
        (
            "/payload/ingest_settings".to_owned(),
            json!({"infer_ip": "auto"}),
            "span item: ingest_settings",
        ),
        ("/payload/items".to_owned(), json!([]), "span item: 0 spans"),
        (
            "/payload/items/1/trace_id".to_owned(),
            json!(other),
            "items/1: invalid_dsc",
        ),
        (
            "/payload/items/1/span_id".to_owned(),
            json!("6ee6b3f2a1c04d5e"),
            "span_id: seen before",
        ),
        (
            "/payload/items/1/span_id".to_owned(),
            Value::Null,
            "items/1: span_id is not an id",
        ),
        (
            "/payload/items/1/parent_span_id".to_owned(),
            Value::Null,
            "parent_span_id: is of no segment",
        ),
        (
            "/payload/items/1/parent_span_id".to_owned(),
            json!("2222222222222222"),
            "parent_span_id: is of no segment",
        ),
        (
            "/payload/items/0/name".to_owned(),
            Value::Null,
            "items/0: name",
        ),
        (
            "/payload/items/0/name".to_owned(),
            json!("/a?b=c"),
            "items/0: name",
        ),
        (
            "/payload/items/0/status".to_owned(),
            Value::Null,
            "items/0: status",
        ),
        (
            "/payload/items/0/status".to_owned(),
            json!("not_found"),
            "items/0: status",
        ),
        (
            "/payload/items/0/status".to_owned(),
            json!("ok"),
            "items/0: status \"ok\" of not_found",
        ),
        (
            "/payload/items/0/is_segment".to_owned(),
            Value::Null,
            "items/0: is_segment",
        ),
        (
            "/payload/items/0/is_remote".to_owned(),
            json!(true),
            "items/0: unknown field is_remote",
        ),
        (
            "/payload/items/0/start_timestamp".to_owned(),
            Value::Null,
            "items/0: start_timestamp: timestamp",
        ),
        (
            "/payload/items/0/start_timestamp".to_owned(),
            json!("2027-01-15T07:59:59Z"),
            "items/0: start_timestamp: timestamp",
        ),
        (
            "/payload/items/0/start_timestamp".to_owned(),
            json!(1_799_999_999.75),
            "items/0: ends at",
        ),
        (
            "/payload/items/0/end_timestamp".to_owned(),
            json!(1_799_999_000.0),
            "items/0: end_timestamp: timestamp",
        ),
        (
            "/payload/items/0/links".to_owned(),
            json!([{"trace_id": other, "span_id": "3333333333333333", "attributes": {"sentry.link.type": "follows_from"}}]),
            "items/0: link",
        ),
        (
            attribute("http.status_code"),
            typed("integer", json!(404)),
            "items/0: unknown attribute http.status_code",
        ),
        (
            attribute("url.path"),
            typed("string", json!(true)),
            "items/0: attribute url.path",
        ),
        (
            attribute("url.path"),
            typed("string", json!("")),
            "items/0: attribute url.path",
        ),
        (
            attribute("url.path"),
            json!("/"),
            "items/0: attribute url.path",
        ),
        (
            attribute("server.port"),
            typed("integer", json!(80.5)),
            "items/0: attribute server.port",
        ),
        (
            attribute("server.port"),
            typed("string", json!("80")),
            "items/0: server.port is",
        ),
        (
            attribute("http.request.header.accept"),
            typed("string", json!("a")),
            "items/0: http.request.header.accept is",
        ),
        (
            attribute("http.request.header.Accept"),
            typed("array", json!(["a"])),
            "items/0: http.request.header.Accept is",
        ),
        (
            attribute("http.request.header.accept"),
            typed("array", json!(["a", 1])),
            "items/0: attribute http.request.header.accept",
        ),
        (
            attribute("sentry.segment.id"),
            Value::Null,
            "items/0: sentry.segment.id",
        ),
        (
            attribute("sentry.segment.id"),
            typed("string", json!("1111111111111111")),
            "items/0: sentry.segment.id",
        ),
        (
            attribute("sentry.segment.name"),
            Value::Null,
            "items/0: sentry.segment.name",
        ),
        (
            attribute("sentry.segment.name.source"),
            Value::Null,
            "items/0: sentry.segment.name.source",
        ),
        (attribute("sentry.op"), Value::Null, "items/0: sentry.op"),
        (
            attribute("sentry.trace_lifecycle"),
            typed("string", json!("static")),
            "items/0: sentry.trace_lifecycle",
        ),
        (
            attribute("sentry.environment"),
            Value::Null,
            "items/0: no sentry.environment",
        ),
        (
            attribute("sentry.status.message"),
            typed("string", json!("broken")),
            "items/0: status \"broken\"",
        ),
    ];
    for (pointer, value, complaint) in rows {
        let mut draft = streamed();
        set(&mut draft, &pointer, value);
        assert_refused(&envelope(&draft), complaint);
    }
}

#[test]
fn two_items_of_spans_are_refused() {
    let draft = streamed();
    let payload = draft["payload"].to_string();
    let mut item = draft["item"].clone();
    item["length"] = payload.len().into();
    let body = format!(
        "{}\n{item}\n{payload}\n{item}\n{payload}\n",
        draft["header"]
    );
    let request = request(
        "/api/7/envelope/",
        "application/x-sentry-envelope",
        body.into_bytes(),
    );
    assert_refused(&request, "items: duplicate_item");
}
