//! What several tests need.

use crate::config::{FilterConfig, Surroundings};
use crate::span::{FinishedSpan, OpenSpan, Request, StreamEnd};
use crate::trace::dsc::Dsc;
use crate::trace::id::{SpanId, TraceId};
use crate::trace::SpanContext;

/// A configuration with a DSN and some more JSON members.
pub fn config(more: &str) -> FilterConfig {
    let json = format!(
        r#"{{{more} "dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42"}}"#
    );
    FilterConfig::parse(json.as_bytes(), &Surroundings::default()).unwrap()
}

/// A span that has ended as Envoy would describe it.
pub fn finished_span(path: &str) -> FinishedSpan {
    let member = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let trace_id = "771a43a4192642f0b136d5159a501700";
    let span = OpenSpan {
        context: SpanContext {
            trace_id: TraceId::from_hex(trace_id.as_bytes()).unwrap(),
            span_id: SpanId::from_hex(b"7c51afd529da4a2a").unwrap(),
            parent_span_id: SpanId::from_hex(b"1121201211212012").ok(),
            dsc: Dsc::frozen(&[
                member("trace_id", trace_id),
                member("public_key", "49d0f7386ad645858ae85020e393bef3"),
                member("sample_rate", "0.25"),
            ]),
        },
        transaction: None,
        request: Request {
            method: "GET".to_owned(),
            scheme: Some("https".to_owned()),
            authority: Some("shop.example:8443".to_owned()),
            path: path.to_owned(),
        },
    };
    let end = StreamEnd {
        start_ns: Some(1_787_306_400_123_456_789),
        duration_ns: Some(31_000_000),
        response_code: Some(404),
        response_code_details: Some("via_upstream".to_owned()),
        response_size: Some(17),
        protocol: Some("HTTP/1.1".to_owned()),
        route_name: Some(b"default".to_vec()),
        cluster_name: Some("shop".to_owned()),
    };
    span.finish(end, 0)
}
