//! A good request of OpenTelemetry's, and a row for each way to spoil it.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{any_value, AnyValue, InstrumentationScope, KeyValue},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status},
};
use prost::Message;

use crate::validator::{
    tests::{assert_refused, request, validator},
    ReceivedRequest, SDK_NAME, SDK_VERSION,
};

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
        name: "GET".to_owned(),
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
            text("sentry.segment.name", "GET"),
            text("http.request.method", "GET"),
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
        .push(text("sentry.segment.name.source", "url"));
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
            version: SDK_VERSION.to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: vec![server, call],
        ..ScopeSpans::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "edge-1"),
            text("deployment.environment.name", "production"),
            text("sentry.environment", "production"),
            text("sentry.sdk.name", SDK_NAME),
            text("sentry.sdk.version", SDK_VERSION),
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
    let received = validator().validate(&post(otlp().encode_to_vec())).unwrap();
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
    let rows: [(&str, Spoil); 25] = [
        ("spans/0: name", |_, span| span.name = "GET /a".to_owned()),
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
