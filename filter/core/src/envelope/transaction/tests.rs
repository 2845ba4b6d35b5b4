use sentry_types::protocol::v7 as sentry;
use serde_json::{json, Value as Json};

use super::*;
use crate::envelope::{alone, Format};
use crate::fixtures::{config, encoded, segment, segment_of};
use crate::span::StreamInfo;

/// The envelope's lines: header, item header, payload.
fn lines(segment: &Segment<'_>) -> (Vec<u8>, [Json; 3]) {
    let config =
        config(r#""release": "shop@1.2", "server_name": "edge-1", "environment": "test","#);
    let segment = encoded(segment, Format::Transaction, &config);
    let bytes = alone(ITEM_TYPE, &[segment], 1_787_306_500_000_000_000);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let [header, item, payload] = lines.as_slice() else {
        panic!("{text}");
    };
    let parse = |line: &str| serde_json::from_str::<Json>(line).unwrap();
    assert_eq!(parse(item)["length"], payload.len());
    (bytes, [parse(header), parse(item), parse(payload)])
}

#[test]
fn an_envelope_has_the_form_of_the_protocol() {
    let (_, [header, item, payload]) = lines(&segment("/cart"));
    let sdk =
        json!({"name": "sentry-filter.rust.proxy-wasm", "version": env!("CARGO_PKG_VERSION")});
    let event_id = "7c51afd529da4a2ab136d5159a501700";
    assert_eq!(
        header,
        json!({
            "event_id": event_id,
            "dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42",
            "sdk": sdk,
            "trace": {
                "trace_id": "771a43a4192642f0b136d5159a501700",
                "public_key": "49d0f7386ad645858ae85020e393bef3",
                "sample_rate": "0.25",
            },
            "sent_at": "2026-08-21T10:01:40.000000Z",
        })
    );
    assert_eq!(item["type"], "transaction");
    assert_eq!(
        payload,
        json!({
            "type": "transaction",
            "event_id": event_id,
            "transaction": "/cart",
            "transaction_info": {"source": "url"},
            "start_timestamp": "2026-08-21T10:00:00.123456Z",
            "timestamp": "2026-08-21T10:00:00.154456Z",
            "platform": "other",
            "sdk": sdk,
            "environment": "test",
            "release": "shop@1.2",
            "server_name": "edge-1",
            "request": {"method": "GET", "url": "https://shop.example:8443/cart"},
            "contexts": {
                "trace": {
                    "trace_id": "771a43a4192642f0b136d5159a501700",
                    "span_id": "7c51afd529da4a2a",
                    "parent_span_id": "1121201211212012",
                    "op": "http.server",
                    "status": "not_found",
                    "origin": "auto.http.envoy",
                    "data": {
                        "sentry.kind": "server",
                        "http.request.method": "GET",
                        "http.response.status_code": 404,
                        "http.response.body.size": 17,
                        "url.full": "https://shop.example:8443/cart",
                        "url.scheme": "https",
                        "url.path": "/cart",
                        "server.address": "shop.example",
                        "server.port": 8443,
                        "network.protocol.name": "http",
                        "network.protocol.version": "1.1",
                        "envoy.route": "default",
                        "envoy.cluster": "shop",
                        "envoy.response_code_details": "via_upstream",
                        "envoy.gateway_time_ms": 1.75,
                    },
                },
                "response": {"type": "response", "status_code": 404, "body_size": 17},
            },
            "spans": [{
                "span_id": "5cb4ea1ed4cd8e1a",
                "trace_id": "771a43a4192642f0b136d5159a501700",
                "parent_span_id": "7c51afd529da4a2a",
                "op": "http.client",
                "description": "GET https://shop.example:8443/cart",
                "start_timestamp": "2026-08-21T10:00:00.124706Z",
                "timestamp": "2026-08-21T10:00:00.153956Z",
                "status": "not_found",
                "origin": "auto.http.envoy",
                "data": {
                    "sentry.kind": "client",
                    "http.request.method": "GET",
                    "http.response.status_code": 404,
                    "url.full": "https://shop.example:8443/cart",
                    "url.domain": "shop.example",
                    "server.address": "10.0.0.7",
                    "server.port": 8080,
                    "error.type": "404",
                    "envoy.cluster": "shop",
                    "envoy.pool_wait_ms": 0.25,
                    "envoy.time_to_first_byte_ms": 29.25,
                },
            }],
        })
    );
}

#[test]
fn sentrys_own_types_read_it() {
    let (bytes, _) = lines(&segment("/\"quoted\"\u{1F980}\n"));
    let envelope = sentry::Envelope::from_slice(&bytes).unwrap();
    let Some(sentry::EnvelopeItem::Transaction(transaction)) = envelope.items().next() else {
        panic!("{envelope:?}");
    };
    assert_eq!(transaction.name.as_deref(), Some("/\"quoted\"\u{1F980}\n"));
    assert_eq!(envelope.uuid(), Some(&transaction.event_id));
    let Some(sentry::Context::Trace(trace)) = transaction.contexts.get("trace") else {
        panic!("{transaction:?}");
    };
    assert_eq!(trace.status, Some(sentry::SpanStatus::NotFound));
    assert_eq!(
        trace.parent_span_id.unwrap().to_string(),
        "1121201211212012"
    );
}

#[test]
fn a_template_names_the_transaction_and_what_is_unknown_is_absent() {
    let mut segment = segment_of("/cart/7", |end| {
        *end = StreamInfo {
            route_name: Some(b"/cart/{id}".to_vec()),
            ..StreamInfo::default()
        };
    });
    segment.server.parent_span_id = None;
    segment.context.to_mut().dsc = Default::default();
    let (_, [header, _, payload]) = lines(&segment);
    assert_eq!(header.get("trace"), None);
    assert_eq!(payload["transaction"], "/cart/{id}");
    assert_eq!(payload["transaction_info"]["source"], "route");
    assert_eq!(payload["contexts"]["trace"]["status"], "internal_error");
    assert_eq!(payload["contexts"]["trace"].get("parent_span_id"), None);
    assert_eq!(payload["contexts"].get("response"), None);
    assert_eq!(payload["spans"], json!([]));
}
