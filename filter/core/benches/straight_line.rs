//! What the steps of one request cost. The numbers of one run are to be compared with each other,
//! not with those of another machine.

// A panic ends the bench, and no traffic.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;

use divan::{black_box, Bencher};
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::headers::{self, Headers};
use sentry_filter_core::pipeline::{Pipeline, RequestOutcome};
use sentry_filter_core::response::Answer;
use sentry_filter_core::span::StreamInfo;
use sentry_filter_core::trace::sentry_trace::SentryTrace;
use sentry_filter_core::trace::Sources;

const SENTRY_TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";

fn main() {
    divan::main();
}

fn pipeline(rate: &str) -> Pipeline {
    configured(&format!(r#""traces_sample_rate": {rate}"#))
}

fn configured(more: &str) -> Pipeline {
    let json = format!(
        r#"{{"dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42", {more}}}"#
    );
    let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
    Pipeline::new(config.expect("a good configuration"))
}

/// The header map of a browser's request as the host serialises it.
fn request(sentry_trace: Option<&str>) -> Vec<u8> {
    let mut lines = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/api/items?limit=10"),
        ("accept", "application/json"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("cookie", "a=1; b=2"),
        ("x-request-id", "4f1c9d2e-0c0b-4a55-9d0e-6b2f3f0a9b11"),
    ];
    if let Some(sentry_trace) = sentry_trace {
        lines.push(("sentry-trace", sentry_trace));
        lines.push((
            "baggage",
            "vendor=1,sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=49d0f7386ad645858ae85020e393bef3,\
             sentry-sample_rate=0.25,sentry-sampled=true,sentry-environment=production",
        ));
    }
    headers::serialize(
        lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

/// Serves one request; the random bytes count up.
fn serve(pipeline: &mut Pipeline, headers: &Headers) -> RequestOutcome {
    let mut next = 0_u8;
    let mut sources = Sources {
        entropy: &mut |bytes| {
            next = next.wrapping_add(1);
            bytes.fill(next);
            true
        },
        now_ns: &mut || 0,
        attribute: &mut |_| None,
        redirect_token: &mut || None,
    };
    pipeline.on_request_headers(black_box(headers), &mut sources)
}

#[divan::bench]
fn read_header_map(bencher: Bencher) {
    bencher
        .with_inputs(|| request(Some(SENTRY_TRACE)))
        .bench_values(|map| Headers::from_serialized(black_box(map)));
}

#[divan::bench]
fn parse_sentry_trace() -> bool {
    SentryTrace::parse(black_box(SENTRY_TRACE.as_bytes())).is_ok()
}

/// The requests of a gateway: forwarded, continued and recorded, begun and recorded.
#[divan::bench(args = ["forward", "continue", "start"])]
fn request_headers(bencher: Bencher, what: &str) {
    let (mut pipeline, map) = match what {
        "forward" => (
            pipeline("0"),
            request(Some(&SENTRY_TRACE.replace("-1", "-0"))),
        ),
        "continue" => (pipeline("1"), request(Some(SENTRY_TRACE))),
        _ => (pipeline("1"), request(None)),
    };
    let headers = Headers::from_serialized(map).expect("a good map");
    bencher.bench_local(|| serve(&mut pipeline, &headers));
}

/// The answers: one without CORS, one to a page of another origin, and a document that tells its
/// trace.
#[divan::bench(args = ["plain", "granted", "document"])]
fn response_headers(bencher: Bencher, what: &str) {
    let mut lines = vec![
        (":status", "200"),
        ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ];
    lines.extend_from_slice(match what {
        "plain" => &[("content-type", "application/json")],
        "granted" => &[
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "x-total, etag"),
        ],
        _ => &[
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "private, max-age=0"),
        ],
    });
    let lines = lines.iter();
    let pairs = lines.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let answer = Headers::from_pairs(pairs);
    let mut pipeline = match what {
        "document" => configured(r#""server_timing": true, "traces_sample_rate": 1"#),
        _ => pipeline("1"),
    };
    let headers = Headers::from_serialized(request(Some(SENTRY_TRACE))).expect("a good map");
    let outcome = serve(&mut pipeline, &headers);
    let response = outcome.request.response.expect("an answer to add to");
    bencher.bench_local(|| {
        let mut has = |name: &str| black_box(&answer).value(name).is_some();
        let mut read = || black_box(&answer).clone();
        pipeline.on_response_headers(&response, &mut Answer::new(&mut has, &mut read))
    });
}

/// Closing, encoding and queueing a span.
#[divan::bench]
fn stream_end(bencher: Bencher) {
    let pipeline = RefCell::new(pipeline("1"));
    let headers = Headers::from_serialized(request(Some(SENTRY_TRACE))).expect("a good map");
    bencher
        .with_inputs(|| serve(&mut pipeline.borrow_mut(), &headers).request)
        .bench_local_values(|request| {
            let mut pipeline = pipeline.borrow_mut();
            pipeline.on_stream_end(request, StreamInfo::default(), || None)
        });
}
