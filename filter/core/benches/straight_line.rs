//! What the steps of one request cost. The numbers of one run are to be compared with each other,
//! not with those of another machine.

// A panic ends the bench, and no traffic.
#![allow(clippy::disallowed_methods)]

#[path = "../tests/host/mod.rs"]
mod host;

use std::cell::RefCell;

use divan::{black_box, Bencher};
use host::Host;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::span::StreamInfo;
use sentry_filter_core::trace::sentry_trace::SentryTrace;
use sentry_filter_core::tracer::{RequestOutcome, StreamState};
use sentry_filter_core::worker::Worker;

const SENTRY_TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";

fn main() {
    divan::main();
}

fn worker(rate: &str) -> Worker {
    configured(&format!(r#""traces_sample_rate": {rate}"#))
}

fn configured(more: &str) -> Worker {
    let json = format!(
        r#"{{"dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42", {more}}}"#
    );
    let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
    Worker::alone(config.expect("a good configuration"))
}

/// The headers of a browser's request.
fn request(sentry_trace: Option<&str>) -> Headers {
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
    let lines = lines.iter();
    Headers::from_pairs(lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// Serves one request.
fn serve(worker: &mut Worker, headers: &Headers) -> RequestOutcome {
    worker.on_request(black_box(headers), &mut Host::default())
}

#[divan::bench]
fn parse_sentry_trace() -> bool {
    SentryTrace::parse(black_box(SENTRY_TRACE.as_bytes())).is_ok()
}

/// The requests of a gateway: forwarded, continued and recorded, begun and recorded.
#[divan::bench(args = ["forward", "continue", "start"])]
fn request_headers(bencher: Bencher, what: &str) {
    let (mut worker, headers) = match what {
        "forward" => (
            worker("0"),
            request(Some(&SENTRY_TRACE.replace("-1", "-0"))),
        ),
        "continue" => (worker("1"), request(Some(SENTRY_TRACE))),
        _ => (worker("1"), request(None)),
    };
    bencher.bench_local(|| serve(&mut worker, &headers));
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
    let mut host = Host {
        response: Some(Headers::from_pairs(pairs)),
        ..Host::default()
    };
    let mut worker = match what {
        "document" => configured(r#""server_timing": true, "traces_sample_rate": 1"#),
        _ => worker("1"),
    };
    let headers = request(Some(SENTRY_TRACE));
    let outcome = serve(&mut worker, &headers);
    assert!(outcome.request.response.is_some(), "a response to add to");
    let mut state = StreamState::Live(outcome.request);
    bencher.bench_local(|| worker.on_response(&mut state, &mut host));
}

/// Closing, encoding and queueing a span.
#[divan::bench]
fn stream_end(bencher: Bencher) {
    let worker = RefCell::new(worker("1"));
    let headers = request(Some(SENTRY_TRACE));
    bencher
        .with_inputs(|| serve(&mut worker.borrow_mut(), &headers).request)
        .bench_local_values(|request| {
            let mut worker = worker.borrow_mut();
            let tracer = worker.tracer();
            tracer.on_stream_info(request, StreamInfo::default(), || None);
            worker.collect();
        });
}
