use sentry_types::protocol::v7 as sentry;
use serde_json::{json, Value as Json};

use super::*;
use crate::data::DataOptions;
use crate::envelope::{alone, Format};
use crate::fixtures::{config, open_span, resource, stream_end};
use crate::headers::Headers;
use crate::id::EventId;
use crate::span::response_flags::ResponseFlags;
use crate::span::{OpenSpan, StreamInfo};

/// A connection that was refused, after retries.
fn end() -> StreamInfo {
    StreamInfo {
        response_code: Some(503),
        response_code_details: Some("upstream_reset_before_response_started{…}".to_owned()),
        response_flags: ResponseFlags::from_bits(1 << 5 | 1 << 15),
        route_name: Some(b"/api/{id}".to_vec()),
        ..stream_end()
    }
}

fn encoded(span: &OpenSpan, end: &StreamInfo, more: &str) -> EncodedSegment {
    let failure = Failure {
        event_id: EventId::from_bytes([7; 16]).unwrap(),
        context: &span.context,
        request: &span.request,
        transaction: &span.name(end).name.clone(),
        end,
        name: "UpstreamConnectionFailure",
    };
    encode(
        &failure,
        resource(&config(more)),
        &mut EncodeBuffers::default(),
    )
    .unwrap()
}

fn payload(span: &OpenSpan, end: &StreamInfo) -> Json {
    serde_json::from_slice(&encoded(span, end, "").spans).unwrap()
}

#[test]
fn an_event_is_an_issue_with_a_readable_title() {
    let more = r#""release": "shop@1.2", "server_name": "edge-1", "environment": "test","#;
    let event = encoded(&open_span("/api/7?token=a"), &end(), more);
    assert_eq!(event.category(), Category::Errors);
    assert_eq!((event.quantity().events, event.quantity().spans), (1, 0));
    let bytes = alone(ITEM_TYPE, &[event], 1_787_306_500_000_000_000);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [header, item, payload] = lines.as_slice() else {
        panic!("{text}");
    };
    let event_id = "07070707070707070707070707070707";
    assert_eq!(header["event_id"], event_id);
    assert_eq!(
        header["trace"]["trace_id"],
        "771a43a4192642f0b136d5159a501700"
    );
    assert_eq!(
        *item,
        json!({"type": "event", "length": text.lines().last().unwrap().len()})
    );
    assert_eq!(
        *payload,
        json!({
            "event_id": event_id,
            "timestamp": "2026-08-21T10:00:00.154456Z",
            "transaction": "GET /api/{id}",
            "environment": "test",
            "release": "shop@1.2",
            "server_name": "edge-1",
            "level": "error",
            "platform": "other",
            "logger": "envoy",
            "sdk": {"name": SDK_NAME, "version": SDK_VERSION},
            "exception": {"values": [{
                "type": "UpstreamConnectionFailure",
                "value": "cluster shop, route /api/{id}: 503 (UF,URX)",
            }]},
            "fingerprint": ["UpstreamConnectionFailure", "shop", "/api/{id}"],
            "tags": {
                "http.response.status_code": "503",
                "envoy.cluster": "shop",
                "envoy.route": "/api/{id}",
                "envoy.response_flags": "UF,URX",
                "envoy.response_code_details": "upstream_reset_before_response_started{…}",
            },
            "contexts": {
                "trace": {
                    "trace_id": "771a43a4192642f0b136d5159a501700",
                    "span_id": "7c51afd529da4a2a",
                    "parent_span_id": "1121201211212012",
                },
                "response": {"type": "response", "status_code": 503},
            },
            "request": {
                "method": "GET",
                "url": "https://shop.example:8443/api/7",
                "query_string": "token=[Filtered]",
            },
        })
    );
    // Sentry's own types read the same.
    let envelope = sentry::Envelope::from_slice(&bytes).unwrap();
    let Some(sentry::EnvelopeItem::Event(read)) = envelope.items().next() else {
        panic!("no event");
    };
    assert_eq!(read.event_id.simple().to_string(), event_id);
    assert_eq!(read.level, sentry::Level::Error);
    assert_eq!(read.exception[0].ty, "UpstreamConnectionFailure");
    assert_eq!(read.fingerprint.len(), 3);
    let request = read.request.as_ref().unwrap();
    assert_eq!(request.method.as_deref(), Some("GET"));
    assert!(
        matches!(&read.contexts["trace"], sentry::Context::Trace(trace)
        if trace.trace_id.to_string() == "771a43a4192642f0b136d5159a501700")
    );
}

/// Whatever is missing: what closes an object is always there.
#[test]
fn what_is_not_known_is_absent() {
    let mut span = open_span("/");
    span.context.parent_span_id = None;
    span.request = crate::span::Request::read(&Headers::default(), &DataOptions::default());
    let bare = StreamInfo {
        response_code: Some(500),
        ..StreamInfo::default()
    };
    let payload = payload(&span, &bare);
    assert_eq!(payload["exception"]["values"][0]["value"], "500");
    assert_eq!(payload["fingerprint"], json!(["UpstreamConnectionFailure"]));
    assert_eq!(payload["tags"], json!({"http.response.status_code": "500"}));
    assert_eq!(payload["request"], json!({"method": "_OTHER"}));
    assert_eq!(payload["transaction"], "_OTHER /");
    assert!(payload["contexts"]["trace"].get("parent_span_id").is_none());
    assert!(payload.get("release").is_none() && payload.get("server_name").is_none());
}

#[test]
fn a_title_says_what_is_known() {
    let rows = [
        (("shop", "/a", "", "UF"), "cluster shop, route /a: 503 (UF)"),
        (("shop", "", "", ""), "cluster shop: 503"),
        (("", "/a", "", "NC"), "route /a: 503 (NC)"),
        (("", "", "", "NR"), "503 (NR)"),
        (("", "", "UNAVAILABLE", "UH"), "503, gRPC UNAVAILABLE (UH)"),
    ];
    for ((cluster, route, status, flags), expected) in rows {
        assert_eq!(value(cluster, route, "503", status, flags), expected);
    }
}

#[test]
fn headers_are_those_that_are_recorded() {
    let json = r#""capture_request_headers": ["x-request-id", "authorization", "accept"], "#;
    let headers = Headers::from_pairs([
        (b":method".as_slice(), b"GET".as_slice()),
        (b":path", b"/"),
        (b"accept", b"a"),
        (b"accept", b"\"b\""),
        (b"authorization", b"Bearer hush"),
        (b"cookie", b"hush"),
        (b"user-agent", b"hush"),
    ]);
    let mut span = open_span("/");
    span.request = crate::span::Request::read(&headers, &config(json).data);
    let payload = payload(&span, &end());
    assert_eq!(
        payload["request"]["headers"],
        json!({"accept": "a, \"b\"", "authorization": "[Filtered]"})
    );
    assert!(!payload.to_string().contains("hush"));
}

/// Sentry takes 200 characters of a tag, and of a transaction's name.
#[test]
fn texts_are_bounded_whatever_they_say() {
    let long = "\u{1F980}\"\\\u{1}\n".repeat(300);
    let end = StreamInfo {
        cluster_name: Some(long.clone()),
        route_name: Some([long.as_bytes(), b"/\xff"].concat()),
        response_code_details: Some(long.clone()),
        ..end()
    };
    let payload = payload(&open_span(&format!("/{long}?{long}")), &end);
    for (name, tag) in payload["tags"].as_object().unwrap() {
        let tag = tag.as_str().unwrap();
        assert!(tag.len() <= 200 && !tag.is_empty(), "{name}: {tag}");
    }
    assert!(payload["transaction"].as_str().unwrap().len() <= 200);
    assert!(payload.to_string().len() < 10_000);
}

/// An event goes alone, in every format, and a report may ride on it.
#[test]
fn an_event_is_an_envelope_in_every_format() {
    let config = config("");
    let mut report = crate::envelope::client_report::ClientReport::default();
    let lost = encoded(&open_span("/"), &end(), "").quantity();
    for format in Format::ALL {
        report.add("sample_rate", lost, format);
        let event = encoded(&open_span("/"), &end(), "");
        let body = format.body(&[event], Some(&report), resource(&config), 0);
        let text = String::from_utf8(body).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].starts_with(r#"{"type":"event""#));
        assert!(lines[4].contains(r#""category":"error""#) && !lines[4].contains("span"));
        let alone = format.body(&[], Some(&report), resource(&config), 0);
        assert_eq!(String::from_utf8(alone).unwrap().lines().count(), 3);
    }
}

/// The same as of a span, in every mode of `data_collection`.
#[test]
fn an_event_says_of_its_request_what_is_collected() {
    let headers = Headers::from_pairs([
        (b":method".as_slice(), b"GET".as_slice()),
        (b":scheme", b"https"),
        (b":authority", b"shop.example"),
        (b":path", b"/search?page=2&token=x"),
        (b"x-kind", b"text/html"),
        (b"authorization", b"Bearer hush"),
        (b"cookie", b"theme=dark; sid=1"),
        (b"user-agent", b"Somebody/1"),
    ]);
    let none = json!(null);
    let filtered = json!("page=[Filtered]&token=[Filtered]");
    let query = json!("page=2&token=[Filtered]");
    let rows = [
        (r#""#, filtered.clone(), none.clone()),
        (
            r#""send_default_pii": true,"#,
            query.clone(),
            json!({"x-kind": "text/html", "authorization": "[Filtered]", "cookie": "theme=dark, sid=[Filtered]", "user-agent": "Somebody/1"}),
        ),
        (
            r#""data_collection": {"url_query_params": false},"#,
            none.clone(),
            none.clone(),
        ),
        (
            r#""data_collection": {"url_query_params": {"deny": ["page"]}},"#,
            json!("page=[Filtered]&token=[Filtered]"),
            none.clone(),
        ),
        (
            r#""data_collection": {"url_query_params": {"allow": ["page"]}},"#,
            query,
            none.clone(),
        ),
        (
            r#""data_collection": {"cookies": true},"#,
            filtered.clone(),
            json!({"cookie": "theme=dark, sid=[Filtered]"}),
        ),
        (
            r#""data_collection": {"http_headers": {"request": {"allow": ["x-kind"]}}},"#,
            filtered.clone(),
            json!({"x-kind": "text/html", "authorization": "[Filtered]", "user-agent": "[Filtered]"}),
        ),
        (
            r#""capture_request_headers": ["x-kind", "cookie"],"#,
            filtered,
            json!({"x-kind": "text/html", "cookie": "[Filtered]"}),
        ),
    ];
    for (more, query_string, expected) in rows {
        let mut span = open_span("/");
        span.request = crate::span::Request::read(&headers, &config(more).data);
        let event = encoded(&span, &end(), more);
        let payload: Json = serde_json::from_slice(&event.spans).unwrap();
        let request = &payload["request"];
        assert_eq!(request["query_string"], query_string, "{more}");
        assert_eq!(request["headers"], expected, "{more}");
        let _: sentry::Event<'_> = serde_json::from_value(payload).unwrap();
    }
}
