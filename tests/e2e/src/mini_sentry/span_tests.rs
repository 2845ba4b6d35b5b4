//! Good streamed spans and a good request of OpenTelemetry's, and a row for each way to spoil them.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{any_value, AnyValue, InstrumentationScope, KeyValue},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status},
};
use prost::Message;
use serde_json::{json, Value};

use super::judge::{tests::set, Expected, Judge, ReceivedRequest, SDK_NAME};
use crate::wire::Headers;

const KEY: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";
const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn request(path: &str, content_type: &str, body: Vec<u8>) -> ReceivedRequest {
    let mut headers = Headers::default();
    let auth =
        format!("Sentry sentry_version=7, sentry_client={SDK_NAME}/{VERSION}, sentry_key={KEY}");
    headers.push("x-sentry-auth", auth.as_bytes());
    headers.push("content-type", content_type.as_bytes());
    ReceivedRequest {
        method: "POST".to_owned(),
        path: path.to_owned(),
        authority: "127.0.0.1:8080".to_owned(),
        version: "HTTP/1.1".to_owned(),
        sni: None,
        headers,
        body,
        received_at: now(),
    }
}

fn judge(request: &ReceivedRequest) -> Result<super::judge::Received, Vec<String>> {
    Judge::new(Expected::of("7", KEY, "127.0.0.1:8080")).judge(request)
}

#[track_caller]
fn assert_refused(request: &ReceivedRequest, complaint: &str) {
    let complaints = judge(request).expect_err(complaint);
    assert!(
        complaints.iter().any(|got| got.starts_with(complaint)),
        "{complaint:?} is not among {complaints:#?}"
    );
}

/// Header, item header without its length, and payload.
fn streamed() -> Value {
    let text = |text: &str| json!({"type": "string", "value": text});
    let common = |kind: &str| {
        json!({
            "sentry.op": text(&format!("http.{kind}")), "sentry.kind": text(kind), "sentry.origin": text("auto.http.envoy"),
            "sentry.segment.id": text("6ee6b3f2a1c04d5e"), "sentry.segment.name": text("/api/{id}"),
            "sentry.trace_lifecycle": text("stream"), "sentry.platform": text("other"), "sentry.sdk.name": text(SDK_NAME),
            "sentry.sdk.version": text(VERSION), "sentry.environment": text("production"),
            "sentry.status.message": text("not_found"),
            "http.response.status_code": {"type": "integer", "value": 404},
        })
    };
    let mut server = common("server");
    server["sentry.segment.name.source"] = text("route");
    json!({
        "header": {
            "sent_at": humantime::format_rfc3339_micros(now()).to_string(),
            "sdk": {"name": SDK_NAME, "version": VERSION},
            "trace": {"trace_id": TRACE_ID, "public_key": KEY},
        },
        "item": {"type": "span", "item_count": 2, "content_type": "application/vnd.sentry.items.span.v2+json"},
        "payload": {"version": 2, "items": [
            {"trace_id": TRACE_ID, "span_id": "6ee6b3f2a1c04d5e", "name": "/api/{id}", "status": "error", "is_segment": true,
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
    let received = judge(&envelope(&streamed())).unwrap();
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
    assert_eq!(call.attributes.len(), 1, "{call:?}");
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

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, text: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(text.to_owned()))
}

fn otlp() -> ExportTraceServiceRequest {
    let span = |kind: i32, id: u8, parent: &[u8], start: u64, end: u64| OtlpSpan {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.to_vec(),
        flags: 0x101,
        name: "/api/{id}".to_owned(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: vec![
            text(
                "sentry.op",
                if kind == 2 {
                    "http.server"
                } else {
                    "http.client"
                },
            ),
            text("sentry.origin", "auto.http.envoy"),
            text("sentry.segment.id", "0101010101010101"),
            text("sentry.segment.name", "/api/{id}"),
            text("sentry.status.message", "not_found"),
            attribute("http.response.status_code", any_value::Value::IntValue(404)),
        ],
        status: Some(Status {
            message: "not_found".to_owned(),
            code: 2,
        }),
        ..OtlpSpan::default()
    };
    let second = 1_000_000_000;
    let mut server = span(2, 1, &[], 1_799_999_998 * second, 1_800_000_000 * second);
    server
        .attributes
        .push(text("sentry.segment.name.source", "route"));
    let call = span(
        3,
        2,
        &[1; 8],
        1_799_999_999 * second,
        1_800_000_000 * second,
    );
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: SDK_NAME.to_owned(),
            version: VERSION.to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: vec![server, call],
        ..ScopeSpans::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "edge-1"),
            text("deployment.environment", "production"),
            text("sentry.environment", "production"),
            text("sentry.sdk.name", SDK_NAME),
            text("sentry.sdk.version", VERSION),
            text("sentry.platform", "other"),
        ],
        ..Resource::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
}

fn post(body: Vec<u8>) -> ReceivedRequest {
    request(
        "/api/7/integration/otlp/v1/traces/",
        "application/x-protobuf",
        body,
    )
}

#[test]
fn a_good_request_of_opentelemetrys_is_accepted() {
    let received = judge(&post(otlp().encode_to_vec())).unwrap();
    let [server, call] = received.spans.as_slice() else {
        panic!("{received:?}");
    };
    assert_eq!(
        (server.status.as_str(), server.duration_ms()),
        ("not_found", 2_000.0)
    );
    assert_eq!(call.parent_span_id.as_deref(), Some("0101010101010101"));
    assert_eq!(server.environment.as_deref(), Some("production"));
}

#[test]
fn a_spoiled_request_of_opentelemetrys_is_refused() {
    type Spoil = fn(&mut ResourceSpans, &mut OtlpSpan);
    let rows: [(&str, Spoil); 24] = [
        ("spans/0: trace_id", |_, span| span.trace_id = vec![0; 16]),
        ("spans/0: trace_id", |_, span| span.trace_id.truncate(8)),
        ("spans/0: span_id", |_, span| span.span_id.clear()),
        ("spans/0: parent_span_id", |_, span| {
            span.parent_span_id = vec![0; 8]
        }),
        ("spans/0: kind", |_, span| span.kind = 1),
        ("spans/0: flags", |_, span| span.flags = 0),
        ("spans/0: flags", |_, span| span.parent_span_id = vec![9; 8]),
        ("spans/0: name", |_, span| span.name.clear()),
        ("spans/0: ends before", |_, span| {
            span.end_time_unix_nano -= 3_000_000_000
        }),
        ("spans/0: 1", |_, span| span.start_time_unix_nano = 1),
        ("spans/0: trace state", |_, span| {
            span.trace_state = "a=b".to_owned()
        }),
        ("spans/0: status", |_, span| span.status = None),
        ("spans/0: status", |_, span| {
            span.status.as_mut().unwrap().message.clear()
        }),
        ("spans/0: attribute url.path twice", |_, span| {
            span.attributes
                .extend([text("url.path", "/"), text("url.path", "/")]);
        }),
        ("spans/0: attribute url.path is", |_, span| {
            span.attributes.push(text("url.path", ""))
        }),
        ("spans/0: unknown attribute http.url", |_, span| {
            span.attributes.push(text("http.url", "/"))
        }),
        ("spans/0: server.port is", |_, span| {
            span.attributes.push(text("server.port", "80"))
        }),
        ("spans/0: sentry.op", |_, span| {
            span.attributes[0] = text("sentry.op", "http")
        }),
        ("spans/0: sentry.segment.id", |_, span| {
            span.attributes[2] = text("sentry.segment.id", "x")
        }),
        ("spans/0: source", |_, span| drop(span.attributes.pop())),
        ("resource: no service.name", |all, _| {
            all.resource.as_mut().unwrap().attributes.remove(0);
        }),
        ("resource: unknown", |all, _| {
            all.resource
                .as_mut()
                .unwrap()
                .attributes
                .push(text("colour", "blue"));
        }),
        ("scope", |all, _| all.scope_spans[0].scope = None),
        ("body: 2 scopes", |all, _| {
            let first = all.scope_spans[0].clone();
            all.scope_spans.push(first);
        }),
    ];
    for (complaint, spoil) in rows {
        let mut draft = otlp();
        let all = &mut draft.resource_spans[0];
        let mut span = all.scope_spans[0].spans[0].clone();
        spoil(all, &mut span);
        all.scope_spans[0].spans[0] = span;
        assert_refused(&post(draft.encode_to_vec()), complaint);
    }
    let good = otlp().encode_to_vec();
    // A field that nobody knows, and one that is written although it is the default.
    assert_refused(
        &post([&good[..], b"\xf8\x07\x01"].concat()),
        "body: unknown fields",
    );
    assert_refused(&post(good[..good.len() - 1].to_vec()), "body: ");
    let json = request(
        "/api/7/integration/otlp/v1/traces/",
        "application/json",
        good,
    );
    assert_refused(&json, "content-type: not exactly application/x-protobuf");
}
