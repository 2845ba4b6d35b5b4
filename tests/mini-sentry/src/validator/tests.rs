//! One good request, and a row for each way to spoil it.

use std::{io::Write, time::Duration};

use flate2::{write::GzEncoder, Compression};
use serde_json::json;

use super::*;

pub(crate) const KEY: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";
pub(crate) const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";

/// The parts of a good request, each of which a test may spoil.
pub(crate) struct Draft {
    header: Value,
    item_type: &'static str,
    pub(crate) payload: Value,
    auth: String,
    request: ReceivedRequest,
}

impl Draft {
    pub(crate) fn good() -> Self {
        let event_id = "0123456789abcdef0123456789abcdef";
        Self {
            item_type: "transaction",
            header: json!({
                "event_id": event_id,
                "sent_at": humantime::format_rfc3339_micros(now()).to_string(),
                "dsn": format!("http://{KEY}@127.0.0.1:8080/7"),
                "sdk": {"name": SDK_NAME, "version": SDK_VERSION},
                "trace": {"trace_id": TRACE_ID, "public_key": KEY, "sample_rate": "0.5", "sample_rand": "0.123456",
                    "sampled": "true", "environment": "production"},
            }),
            payload: json!({
                "type": "transaction",
                "event_id": event_id,
                "platform": "other",
                "transaction": "/api/{id}",
                "transaction_info": {"source": "route"},
                "start_timestamp": 1_799_999_999.25,
                "timestamp": "2027-01-15T07:59:59.5Z",
                "environment": "production",
                "contexts": {"trace": {"trace_id": TRACE_ID, "span_id": "6ee6b3f2a1c04d5e",
                    "parent_span_id": "b9f2e3d4c5a60718", "op": "http.server", "status": "ok",
                    "origin": "auto.http.envoy", "data": {"http.response.status_code": 200}}},
                "spans": [{"trace_id": TRACE_ID, "span_id": "1111111111111111", "parent_span_id": "6ee6b3f2a1c04d5e",
                    "start_timestamp": 1_799_999_999.3, "timestamp": "2027-01-15T07:59:59.4Z", "op": "http.client",
                    "origin": "auto.http.envoy", "status": "ok", "description": "GET http://shop.test/api/7",
                    "data": {"sentry.kind": "client", "http.request.method": "GET"}}],
            }),
            auth: format!(
                "Sentry sentry_version=7, sentry_client={SDK_NAME}/{SDK_VERSION}, sentry_key={KEY}"
            ),
            request: ReceivedRequest {
                headers: Headers::default(),
                ..request("/api/7/envelope/", "", Vec::new())
            },
        }
    }

    fn body(&self) -> Vec<u8> {
        let payload = self.payload.to_string();
        let item = json!({"type": self.item_type, "length": payload.len()});
        format!("{}\n{item}\n{payload}\n", self.header).into_bytes()
    }

    pub(crate) fn finish(mut self) -> ReceivedRequest {
        self.request.body = self.body();
        self.finish_with_this_body()
    }

    fn finish_with_this_body(mut self) -> ReceivedRequest {
        if !self.auth.is_empty() {
            self.request
                .headers
                .push("x-sentry-auth", self.auth.as_bytes());
        }
        if self.request.headers.lines("content-type").is_empty() {
            self.request
                .headers
                .push("content-type", b"application/x-sentry-envelope");
        }
        self.request
    }
}

/// Sets, or with `null` removes, a value that a JSON pointer names; its parent must be there.
pub(crate) fn set(root: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => parent.remove(key),
        value => parent.insert(key.to_owned(), value),
    };
}

pub(crate) fn validator() -> Validator {
    Validator::new(Expected::of("7", KEY, "127.0.0.1:8080"))
}

#[track_caller]
pub(crate) fn assert_refused(request: &ReceivedRequest, complaint: &str) {
    let complaints = validator().validate(request).expect_err(complaint);
    assert!(
        complaints.iter().any(|got| got.starts_with(complaint)),
        "{complaint:?} is not among {complaints:#?}"
    );
}

/// When every request here arrives.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A request of now to project 7, with the filter's headers.
pub(crate) fn request(path: &str, content_type: &str, body: Vec<u8>) -> ReceivedRequest {
    let mut headers = Headers::default();
    let auth = format!(
        "Sentry sentry_version=7, sentry_client={SDK_NAME}/{SDK_VERSION}, sentry_key={KEY}"
    );
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

#[test]
fn a_header_that_is_asked_for_must_be_there_with_its_value() {
    let request = |value: &[u8]| {
        let mut request = Draft::good().finish();
        request.headers.push("authorization", value);
        request
    };
    let asking = || {
        Validator::new(
            Expected::of("7", KEY, "127.0.0.1:8080").with_header("authorization", "Bearer a"),
        )
    };
    assert!(asking().validate(&request(b"Bearer a")).is_ok());
    for wrong in [request(b"Bearer b"), Draft::good().finish()] {
        let complaints = asking().validate(&wrong).unwrap_err();
        assert_eq!(complaints, ["authorization: not exactly Bearer a"]);
    }
    assert_refused(&request(b"Bearer a"), "authorization: does not belong");
}

#[test]
fn a_good_request_is_accepted() {
    let received = validator().validate(&Draft::good().finish()).unwrap();
    assert_eq!(received.spans.len(), 2);
    assert_eq!(
        (received.spans[0].duration_ms(), received.spans[1].start_us),
        (250.0, 1_799_999_999_300_000)
    );
    let transaction = received.transaction.unwrap();
    assert_eq!(transaction.trace_id(), TRACE_ID);
    assert_eq!(transaction.span_id(), "6ee6b3f2a1c04d5e");
    assert_eq!(transaction.parent_span_id(), Some("b9f2e3d4c5a60718"));
    assert_eq!(
        (
            transaction.name(),
            transaction.source(),
            transaction.status()
        ),
        ("/api/{id}", "route", "ok")
    );
    assert_eq!(
        transaction.data("http.response.status_code"),
        Some(&json!(200))
    );
    assert_eq!(transaction.dsc("sampled"), Some("true"));
    assert_eq!(transaction.duration(), 0.25);
}

#[test]
fn what_is_optional_may_be_absent() {
    let mut draft = Draft::good();
    for pointer in ["/dsn", "/trace"] {
        set(&mut draft.header, pointer, Value::Null);
    }
    for pointer in [
        "/environment",
        "/contexts/trace/parent_span_id",
        "/contexts/trace/data/http.response.status_code",
    ] {
        set(&mut draft.payload, pointer, Value::Null);
    }
    set(&mut draft.payload, "/spans", json!([]));
    validator().validate(&draft.finish()).unwrap();
}

#[test]
fn the_port_of_the_scheme_may_be_left_out() {
    for (authority, fits) in [
        ("sentry.example", true),
        ("sentry.example:443", true),
        ("sentry.example:80", false),
    ] {
        let mut draft = Draft::good();
        draft.request.authority = authority.to_owned();
        let dsn = format!("https://{KEY}@sentry.example/7");
        set(&mut draft.header, "/dsn", json!(dsn));
        let mut validator = Validator::new(Expected::of("7", KEY, authority));
        let accepted = validator.validate(&draft.finish()).is_ok();
        assert_eq!(accepted, fits, "{authority}");
    }
}

#[test]
fn a_request_to_elsewhere_is_refused() {
    for (method, path) in [
        ("GET", "/api/7/envelope/"),
        ("POST", "/api/8/envelope/"),
        ("POST", "/api/7/envelope"),
        ("POST", "/api/7/store/"),
        (
            "POST",
            "/api/7/envelope/?sentry_key=c0ffeec0ffeec0ffeec0ffeec0ffee00",
        ),
    ] {
        let mut draft = Draft::good();
        (draft.request.method, draft.request.path) = (method.to_owned(), path.to_owned());
        assert_refused(&draft.finish(), "request: no such endpoint");
    }
    let mut draft = Draft::good();
    draft.request.authority = "127.0.0.1".to_owned();
    assert_refused(&draft.finish(), "host: expected 127.0.0.1:8080");
}

#[test]
fn wrong_headers_are_refused() {
    let mut draft = Draft::good();
    draft.auth = draft.auth.replace(KEY, "c0ffeec0ffeec0ffeec0ffeec0ffee01");
    assert_refused(&draft.finish(), "x-sentry-auth: expected");

    let mut draft = Draft::good();
    draft.auth.clear();
    assert_refused(&draft.finish(), "x-sentry-auth: 0 lines");

    let mut draft = Draft::good();
    draft
        .request
        .headers
        .push("x-sentry-auth", b"Sentry sentry_version=7");
    assert_refused(&draft.finish(), "x-sentry-auth: 2 lines");

    let mut draft = Draft::good();
    draft
        .request
        .headers
        .push("content-type", b"application/json");
    assert_refused(&draft.finish(), "content-type: not exactly");

    let mut draft = Draft::good();
    draft.request.headers.push(
        "sentry-trace",
        b"771a43a4192642f0b136d5159a501700-6ee6b3f2a1c04d5e-1",
    );
    assert_refused(&draft.finish(), "sentry-trace: does not belong");
}

#[test]
fn gzip_is_read_and_everything_else_refused() {
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let mut draft = Draft::good();
    draft.request.body = gzip(&draft.body());
    draft.request.headers.push("content-encoding", b"gzip");
    validator()
        .validate(&draft.finish_with_this_body())
        .unwrap();

    let mut draft = Draft::good();
    draft.request.body = gzip(&draft.body());
    draft.request.body.push(0);
    draft.request.headers.push("content-encoding", b"gzip");
    assert_refused(&draft.finish_with_this_body(), "body: bytes behind");

    let mut draft = Draft::good();
    draft.request.headers.push("content-encoding", b"gzip");
    assert_refused(&draft.finish(), "body: not gzip");

    let mut draft = Draft::good();
    draft.request.headers.push("content-encoding", b"compress");
    assert_refused(&draft.finish(), "body: content-encoding");
}

#[test]
fn a_wrong_length_is_refused() {
    for (wrong_by, complaint) in [
        (-1, "framing: item 0: no newline after"),
        (1, "framing: item 1: header"),
        (9, "framing: item 0: length"),
    ] {
        let mut draft = Draft::good();
        let payload = draft.payload.to_string();
        let length = i64::try_from(payload.len()).unwrap() + wrong_by;
        let newlines = if wrong_by == 1 { "\n\n\n" } else { "\n" };
        let header = &draft.header;
        draft.request.body = format!(
            "{header}\n{{\"type\":\"transaction\",\"length\":{length}}}\n{payload}{newlines}"
        )
        .into_bytes();
        assert_refused(&draft.finish_with_this_body(), complaint);
    }
}

#[test]
fn other_items_are_refused() {
    let payload = Draft::good().payload.to_string();
    let item = |kind: &str, extra: &str, payload: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"length\":{}{extra}}}\n{payload}\n",
            payload.len()
        )
    };
    let transaction = item("transaction", "", &payload);
    let lost = |events: &str| {
        let report =
            format!(r#"{{"timestamp":"2027-01-15T08:00:00Z","discarded_events":{events}}}"#);
        item("client_report", "", &report)
    };
    let report = lost(r#"[{"reason":"queue_overflow","category":"span","quantity":2}]"#);
    for (items, complaint) in [
        (String::new(), Some("items: duplicate_item: 0 items")),
        (
            format!("{transaction}{transaction}"),
            Some("items: duplicate_item: 2 items"),
        ),
        (
            item("session", "", &payload),
            Some("item header: type Some(\"session\")"),
        ),
        (
            item("transaction", ",\"colour\":1", &payload),
            Some("item header: unknown field"),
        ),
        (
            item("transaction", "", "[]"),
            Some("payload: not a JSON object"),
        ),
        (format!("{transaction}{report}"), None),
        (report, Some("event_id: there is no event")),
        (
            format!("{transaction}{}", lost("[]")),
            Some("client_report: nothing is discarded"),
        ),
        (
            format!(
                "{transaction}{}",
                lost(r#"[{"reason":"bad_luck","category":"span","quantity":2}]"#)
            ),
            Some("client_report: Discarded"),
        ),
        (
            format!(
                "{transaction}{}",
                lost(r#"[{"reason":"ignored","category":"span","quantity":0}]"#)
            ),
            Some("client_report: Discarded"),
        ),
        (
            format!(
                "{transaction}{}",
                lost(r#"[{"reason":"ignored","category":"span"}]"#)
            ),
            Some("client_report: not a list"),
        ),
    ] {
        let mut draft = Draft::good();
        draft.request.body = format!("{}\n{items}", draft.header).into_bytes();
        let request = draft.finish_with_this_body();
        match complaint {
            Some(complaint) => assert_refused(&request, complaint),
            None => assert!(validator().validate(&request).is_ok()),
        }
    }
}

#[test]
fn a_spoiled_envelope_header_is_refused() {
    let zero = "0".repeat(32);
    for (pointer, value, complaint) in [
        (
            "/event_id",
            Value::Null,
            "event_id: the envelope header has another one",
        ),
        (
            "/event_id",
            json!("1123456789abcdef0123456789abcdef"),
            "event_id: the envelope header has another one",
        ),
        ("/sent_at", Value::Null, "sent_at: not an RFC 3339"),
        ("/sent_at", json!(1_800_000_000), "sent_at: not an RFC 3339"),
        (
            "/sent_at",
            json!("2027-01-15T07:58:59Z"),
            "sent_at: 61 s old",
        ),
        (
            "/sent_at",
            json!("2027-01-15T08:00:02Z"),
            "sent_at: -2 s old",
        ),
        ("/sdk", Value::Null, "sdk.name"),
        ("/sdk/name", json!("sentry.rust"), "sdk.name"),
        ("/sdk/version", json!("v1"), "sdk.version"),
        (
            "/dsn",
            json!(format!("http://{KEY}@127.0.0.1:8080/8")),
            "dsn",
        ),
        ("/dsn", json!("http://other@127.0.0.1:8080/7"), "dsn"),
        ("/dsn", json!("nonsense"), "dsn"),
        ("/dsn", json!(format!("http://{KEY}@127.0.0.1/7")), "dsn"),
        ("/colour", json!("blue"), "envelope header: unknown field"),
        ("/trace", json!("text"), "trace: not an object"),
        ("/trace", json!({}), "trace.trace_id"),
        (
            "/trace/trace_id",
            json!("881a43a4192642f0b136d5159a501700"),
            "trace.trace_id",
        ),
        ("/trace/trace_id", json!(zero), "trace.trace_id"),
        ("/trace/public_key", Value::Null, "trace.public_key"),
        (
            "/trace/sample_rate",
            json!(0.5),
            "trace: sample_rate is not a text",
        ),
        ("/trace/sample_rate", json!("1.5"), "trace.sample_rate"),
        ("/trace/sample_rand", json!("1.000000"), "trace.sample_rand"),
        ("/trace/sample_rand", json!("many"), "trace.sample_rand"),
        ("/trace/sampled", json!("yes"), "trace.sampled"),
        ("/trace/release", json!(""), "trace: release is not a text"),
    ] {
        let mut draft = Draft::good();
        set(&mut draft.header, pointer, value);
        assert_refused(&draft.finish(), complaint);
    }
}

#[test]
fn an_id_that_was_there_before_is_refused() {
    let mut validator = validator();
    validator.validate(&Draft::good().finish()).unwrap();
    let complaints = validator.validate(&Draft::good().finish()).unwrap_err();
    assert_eq!(
        complaints,
        [
            "event_id: seen before",
            "span_id: seen before",
            "span_id: seen before"
        ]
    );
}

/// A good error event in a good envelope.
fn error_event() -> Draft {
    let mut draft = Draft::good();
    draft.item_type = "event";
    draft.payload = json!({
        "event_id": "0123456789abcdef0123456789abcdef",
        "timestamp": "2027-01-15T07:59:59.5Z",
        "transaction": "GET /api/{id}",
        "environment": "production",
        "level": "error",
        "platform": "other",
        "logger": "envoy",
        "sdk": {"name": SDK_NAME, "version": SDK_VERSION},
        "exception": {"values": [{"type": "UpstreamReset", "value": "cluster shop: 503 (UC)"}]},
        "fingerprint": ["UpstreamReset", "shop"],
        "tags": {"http.response.status_code": "503", "envoy.cluster": "shop"},
        "contexts": {
            "trace": {"trace_id": TRACE_ID, "span_id": "6ee6b3f2a1c04d5e"},
            "response": {"type": "response", "status_code": 503},
        },
        "request": {"method": "GET", "url": "http://shop.test/api/7", "query_string": "q=[Filtered]"},
    });
    draft
}

#[test]
fn error_events_are_read_and_spoilt_ones_refused() {
    let received = validator().validate(&error_event().finish()).unwrap();
    let error = received.error.unwrap();
    assert_eq!(
        (error.name(), error.tag("envoy.cluster")),
        ("UpstreamReset", Some("shop"))
    );
    assert!(received.transaction.is_none() && received.spans.is_empty());
    let long = "x".repeat(201);
    for (pointer, value, complaint) in [
        ("/event_id", json!("0"), "/event_id"),
        (
            "/event_id",
            json!("1123456789abcdef0123456789abcdef"),
            "event_id",
        ),
        ("/level", json!("fatal"), "/level"),
        ("/platform", Value::Null, "/platform"),
        ("/timestamp", json!("2027-01-15T07:00:00Z"), "/timestamp"),
        ("/timestamp", json!(1_799_999_999.5), "/timestamp"),
        ("/transaction", json!(""), "/transaction"),
        ("/transaction", json!("GET /?a=b"), "/transaction"),
        ("/transaction", json!(long), "/transaction"),
        ("/exception/values", json!([]), "/exception"),
        ("/fingerprint", json!(["HTTP 503"]), "/fingerprint"),
        ("/fingerprint", json!([]), "/fingerprint"),
        ("/tags/envoy.cluster", json!(7), "/tags"),
        ("/tags/envoy.cluster", json!(long), "/tags"),
        ("/tags/user", json!("x"), "/tags"),
        ("/contexts/trace/trace_id", json!("x"), "/contexts/trace"),
        ("/contexts/trace/op", json!("x"), "/contexts/trace"),
        (
            "/contexts/response/status_code",
            json!(500),
            "/contexts/response",
        ),
        ("/request/url", json!("http://a@shop.test/"), "/request/url"),
        (
            "/request/url",
            json!("http://shop.test/?a=b"),
            "/request/url",
        ),
        ("/request/cookies", json!("a=b"), "/request"),
        ("/user", json!({"ip_address": "192.0.2.1"}), ""),
    ] {
        let mut draft = error_event();
        set(&mut draft.payload, pointer, value);
        assert_refused(&draft.finish(), complaint);
    }
}
