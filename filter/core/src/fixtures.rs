//! What several tests need.

use crate::attribute::Attribute;
use crate::config::{FilterConfig, Surroundings};
use crate::span::{FinishedSpan, OpenSpan, Request, StreamEnd};
use crate::trace::dsc::Dsc;
use crate::trace::id::{SpanId, TraceId};
use crate::trace::{Sources, SpanContext};

/// Random bytes that count up from 1, a clock that stands still, and no attributes.
pub struct Host {
    /// What `entropy` gives next.
    pub next_byte: u8,
    /// Whether there are random bytes.
    pub has_entropy: bool,
    /// The time.
    pub now_ns: u64,
    /// The attributes that are there.
    pub attributes: Vec<(Attribute, Vec<u8>)>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            next_byte: 1,
            has_entropy: true,
            now_ns: 0,
            attributes: Vec::new(),
        }
    }
}

impl Host {
    /// Hands out the sources for one request.
    pub fn serve<T>(&mut self, request: impl FnOnce(&mut Sources<'_>) -> T) -> T {
        let Self {
            next_byte,
            has_entropy,
            now_ns,
            attributes,
        } = self;
        request(&mut Sources {
            entropy: &mut |bytes| {
                bytes.fill(*next_byte);
                *next_byte = next_byte.wrapping_add(1).max(1);
                *has_entropy
            },
            now_ns: &mut || *now_ns,
            attribute: &mut |wanted| {
                let known = attributes.iter().find(|(known, _)| *known == wanted);
                known.map(|(_, value)| value.clone())
            },
        })
    }
}

/// A configuration with a DSN and some more JSON members.
pub fn config(more: &str) -> FilterConfig {
    let json = format!(
        r#"{{{more} "dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42"}}"#
    );
    FilterConfig::parse(json.as_bytes(), &Surroundings::default()).unwrap()
}

/// A span that has ended as Envoy would describe it.
pub fn finished_span(path: &str) -> FinishedSpan {
    let trace_id = "771a43a4192642f0b136d5159a501700";
    let span = OpenSpan {
        context: SpanContext {
            trace_id: TraceId::from_hex(trace_id.as_bytes()).unwrap(),
            span_id: SpanId::from_hex(b"7c51afd529da4a2a").unwrap(),
            parent_span_id: SpanId::from_hex(b"1121201211212012").ok(),
            dsc: Dsc::frozen(
                [
                    ("trace_id", trace_id),
                    ("public_key", "49d0f7386ad645858ae85020e393bef3"),
                    ("sample_rate", "0.25"),
                ]
                .into_iter(),
            ),
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
