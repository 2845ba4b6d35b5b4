//! Every parser, the decision and every encoder, next to the same job in the crates of Sentry and
//! OpenTelemetry, where they have it. Before anything is measured both have to give the same
//! answer. The numbers of one run are to be compared with each other, not with those of another
//! machine; `make bench-core` makes a table of them.

mod agreement;
#[path = "../../tests/host/mod.rs"]
mod host;

use std::collections::HashMap;
use std::str::FromStr;

use divan::{black_box, Bencher};
use host::Host;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TraceState};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use prost::Message;
use sentry_core::TracePropagationContext;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::envelope::client_report::ClientReport;
use sentry_filter_core::envelope::{EncodeBuffers, EncodedSegment, Format, Resource};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{Entropy, HostCalls};
use sentry_filter_core::project::ProjectId;
use sentry_filter_core::quantity::Quantity;
use sentry_filter_core::route::{Naming, TransactionName};
use sentry_filter_core::span::{OpenSpan, StreamInfo, UpstreamInfo};
use sentry_filter_core::trace::baggage::{Baggage, SentryMembers};
use sentry_filter_core::trace::dsc::Dsc;
use sentry_filter_core::trace::sentry_trace::SentryTrace;
use sentry_filter_core::trace::traceparent::Traceparent;
use sentry_filter_core::trace::{decide, tracestate, Limits, TraceDecision};
use sentry_filter_core::worker::Worker;
use sentry_types::protocol::v7::{Envelope, EnvelopeItem};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const SENTRY_TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";
const TRACEPARENT: &str = "00-771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-01";
const TRACESTATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7,dd=s:1;o:rum";
const DSN: &str = "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42";
/// 2026-11-25, in nanoseconds since the epoch.
const NOW_NS: u64 = 1_795_600_000_000_000_000;
/// How many members the header has, those of ours among them.
const MEMBERS: [usize; 2] = [4, 64];

fn main() {
    agreement::assert_all();
    divan::main();
}

// === What is read and written ===

/// Four members of ours, and others behind them.
fn baggage_value(members: usize) -> String {
    let ours = [
        format!("sentry-trace_id={TRACE_ID}"),
        "sentry-public_key=49d0f7386ad645858ae85020e393bef3".to_owned(),
        "sentry-sample_rate=0.25".to_owned(),
        "sentry-environment=production".to_owned(),
    ];
    let others = (ours.len()..members).map(|index| format!("vendor-{index}=value-{index}"));
    ours.into_iter().chain(others).collect::<Vec<_>>().join(",")
}

fn read_baggage(value: &str) -> Baggage<'_> {
    Baggage::read(std::iter::once(value.as_bytes()))
}

fn carrier(name: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(name.to_owned(), value.to_owned())])
}

fn config(more: &str) -> String {
    format!(
        r#"{{"dsn": "{DSN}", "environment": "test", "release": "shop@1.2.3"{more}, "traces_sample_rate": 1}}"#
    )
}

fn rules(count: usize) -> String {
    let rule = |index| format!(r#"{{"match": {{"path": "^/shops/{index}/"}}, "ignore": true}}"#);
    let rules = (0..count).map(rule).collect::<Vec<_>>().join(",");
    format!(r#", "rules": [{rules}]"#)
}

fn parsed(json: &str) -> FilterConfig {
    FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).expect("a good configuration")
}

/// A request that a browser sends.
fn request(sentry_trace: Option<&str>) -> Headers {
    let baggage = baggage_value(4);
    let mut lines = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/api/items?limit=10"),
        ("accept", "application/json"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
        ("x-request-id", "4f1c9d2e-0c0b-4a55-9d0e-6b2f3f0a9b11"),
    ];
    if let Some(value) = sentry_trace {
        lines.extend([("sentry-trace", value), ("baggage", &baggage)]);
    }
    let lines = lines.iter();
    Headers::from_pairs(lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn at_now() -> Host<'static> {
    Host {
        now_ns: NOW_NS,
        ..Host::default()
    }
}

fn decision(headers: &Headers, config: &FilterConfig) -> TraceDecision {
    let (mut host, mut entropy) = (at_now(), Entropy::new(0));
    let mut calls = HostCalls::new(&mut host, &mut entropy);
    decide(headers, &config.trace, Limits::NONE, None, &mut calls)
}

/// A request that was recorded, with a call to the upstream.
struct Recorded {
    config: FilterConfig,
    format: Format,
    span: OpenSpan,
    end: StreamInfo,
    name: TransactionName,
}

impl Recorded {
    fn new(format: &str) -> Self {
        let config = parsed(&config(&format!(
            r#", "transport": {{"format": "{format}"}}"#
        )));
        let mut worker = Worker::alone(config.clone());
        let headers = request(Some(SENTRY_TRACE));
        let outcome = worker.on_request(&headers, &mut at_now());
        let mut span = *outcome.request.span.expect("a recorded span");
        // Parts of a second that are the same as a floating-point number, as which Sentry's types
        // have a time.
        span.answered_ns = Some(NOW_NS + 750_000_000);
        let end = StreamInfo {
            start_ns: Some(NOW_NS),
            duration_ns: Some(1_000_000_000),
            response_code: Some(200),
            response_code_details: Some("via_upstream".to_owned()),
            response_size: Some(17),
            protocol: Some("HTTP/1.1".to_owned()),
            route_name: Some(b"/api/items".to_vec()),
            cluster_name: Some("shop".to_owned()),
            upstream: Some(UpstreamInfo {
                address: "10.0.0.7:8080".to_owned(),
                attempts: 1,
                pool_wait_ns: Some(250_000_000),
                latency_ns: Some(500_000_000),
                ..UpstreamInfo::default()
            }),
            ..StreamInfo::default()
        };
        let name = span.name(&end).into_owned();
        Self {
            format: config.transport.format,
            config,
            span,
            end,
            name,
        }
    }

    /// Its two spans.
    fn encode(&self, buffers: &mut EncodeBuffers) -> EncodedSegment {
        let segment = self
            .span
            .finish(&self.end, Naming::Transactions, &self.name, &[]);
        let segment = self
            .format
            .encode(&segment, resource(&self.config), buffers);
        segment.expect("what can be written")
    }

    /// A POST that carries nothing else.
    fn post(&self, buffers: &mut EncodeBuffers) -> Vec<u8> {
        let segments = [self.encode(buffers)];
        self.format
            .body(&segments, None, resource(&self.config), NOW_NS)
    }

    /// The same, as OpenTelemetry's types.
    fn as_otlp(&self) -> ExportTraceServiceRequest {
        let body = self.post(&mut EncodeBuffers::default());
        ExportTraceServiceRequest::decode(body.as_slice()).expect("an ExportTraceServiceRequest")
    }

    /// The same, as Sentry's types.
    fn as_envelope(&self) -> Envelope {
        Envelope::from_slice(&self.post(&mut EncodeBuffers::default())).expect("an envelope")
    }
}

fn lost() -> ClientReport {
    let mut report = ClientReport::default();
    let one = Quantity {
        segments: 1,
        spans: 2,
        ..Quantity::default()
    };
    report.add("queue_overflow", one, Format::Transaction);
    report.add("network_error", one, Format::Transaction);
    report
}

fn resource(config: &FilterConfig) -> &Resource {
    let own = config.resource_of(ProjectId::FIRST);
    own.expect("a DSN")
}

fn report_post(report: &ClientReport, config: &FilterConfig) -> Vec<u8> {
    Format::Transaction.body(&[], Some(report), resource(config), NOW_NS)
}

fn report_as_envelope() -> Envelope {
    Envelope::from_slice(&report_post(&lost(), &parsed(&config("")))).expect("an envelope")
}

fn written(envelope: &Envelope) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope
        .to_writer(&mut bytes)
        .expect("memory takes everything");
    bytes
}

// === Parsers ===

#[divan::bench_group]
mod sentry_trace {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<SentryTrace> {
        SentryTrace::parse(black_box(SENTRY_TRACE.as_bytes())).ok()
    }

    #[divan::bench]
    fn sentry_core() -> Option<TracePropagationContext> {
        TracePropagationContext::try_from_headers([("sentry-trace", black_box(SENTRY_TRACE))]).ok()
    }
}

#[divan::bench_group]
mod traceparent {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<Traceparent> {
        Traceparent::parse(black_box(TRACEPARENT.as_bytes())).ok()
    }

    #[divan::bench]
    fn opentelemetry_sdk(bencher: Bencher) {
        let (propagator, headers) = (
            TraceContextPropagator::new(),
            carrier("traceparent", TRACEPARENT),
        );
        bencher.bench_local(|| propagator.extract(black_box(&headers)));
    }
}

#[divan::bench_group]
mod tracestate_header {
    use super::*;

    #[divan::bench]
    fn ours() -> bool {
        tracestate::is_valid(std::iter::once(black_box(TRACESTATE.as_bytes())))
    }

    #[divan::bench]
    fn opentelemetry() -> Option<TraceState> {
        TraceState::from_str(black_box(TRACESTATE)).ok()
    }
}

#[divan::bench_group]
mod baggage {
    use super::*;

    #[divan::bench(args = MEMBERS)]
    fn ours(bencher: Bencher, members: usize) {
        let value = baggage_value(members);
        bencher.bench_local(|| read_baggage(black_box(&value)).has_sentry());
    }

    #[divan::bench(args = MEMBERS)]
    fn opentelemetry_sdk(bencher: Bencher, members: usize) {
        let headers = carrier("baggage", &baggage_value(members));
        let propagator = BaggagePropagator::new();
        bencher.bench_local(|| propagator.extract(black_box(&headers)));
    }
}

#[divan::bench_group]
mod dsc {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let value = baggage_value(4);
        let baggage = read_baggage(&value);
        bencher.bench_local(|| Dsc::frozen(black_box(&baggage).sentry()));
    }
}

#[divan::bench_group]
mod dsn {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<Dsn> {
        Dsn::parse(black_box(DSN)).ok()
    }

    #[divan::bench]
    fn sentry_types() -> Option<sentry_types::Dsn> {
        black_box(DSN).parse().ok()
    }
}

#[divan::bench_group]
mod configuration {
    use super::*;

    /// With so many rules.
    #[divan::bench(args = [0, 20])]
    fn ours(bencher: Bencher, count: usize) {
        let json = config(&rules(count));
        bencher.bench_local(|| parsed(black_box(&json)));
    }
}

// === The decision ===

#[divan::bench_group]
mod decision_of {
    use super::*;

    #[divan::bench(args = ["forward", "continue", "start"])]
    fn ours(bencher: Bencher, what: &str) {
        let headers = match what {
            "forward" => request(Some(&SENTRY_TRACE.replace("-1", "-0"))),
            "continue" => request(Some(SENTRY_TRACE)),
            _ => request(None),
        };
        let config = parsed(&config(""));
        bencher.bench_local(|| decision(black_box(&headers), &config));
    }
}

// === Writers ===

#[divan::bench_group]
mod sentry_trace_written {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let context = SentryTrace::parse(SENTRY_TRACE.as_bytes()).expect("a good header");
        bencher.bench_local(|| black_box(context).to_value());
    }

    #[divan::bench]
    fn sentry_core(bencher: Bencher) {
        let context = TracePropagationContext::try_from_headers([("sentry-trace", SENTRY_TRACE)]);
        let context = context.expect("a good header");
        bencher.bench_local(|| black_box(&context).sentry_trace_header());
    }
}

#[divan::bench_group]
mod traceparent_written {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let context = Traceparent::parse(TRACEPARENT.as_bytes()).expect("a good header");
        bencher.bench_local(|| black_box(context).to_value());
    }

    #[divan::bench]
    fn opentelemetry_sdk(bencher: Bencher) {
        let propagator = TraceContextPropagator::new();
        let context = propagator.extract(&carrier("traceparent", TRACEPARENT));
        let mut headers = HashMap::from([]);
        bencher.bench_local(|| {
            propagator.inject_context(black_box(&context), &mut headers);
        });
    }
}

#[divan::bench_group]
mod baggage_written {
    use super::*;

    #[divan::bench(args = MEMBERS)]
    fn ours(bencher: Bencher, members: usize) {
        let value = baggage_value(members);
        let baggage = read_baggage(&value);
        bencher.bench_local(|| black_box(&baggage).write(&SentryMembers::Kept));
    }

    #[divan::bench(args = MEMBERS)]
    fn opentelemetry_sdk(bencher: Bencher, members: usize) {
        let propagator = BaggagePropagator::new();
        let context = propagator.extract(&carrier("baggage", &baggage_value(members)));
        let mut headers = HashMap::from([]);
        bencher.bench_local(|| {
            propagator.inject_context(black_box(&context), &mut headers);
        });
    }
}

/// A POST with the two spans of a request. Theirs begins with a clone of the message, whose texts
/// are allocated as those of a span that has just ended.
#[divan::bench_group]
mod transaction {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (recorded, mut buffers) = (Recorded::new("transaction"), EncodeBuffers::default());
        bencher.bench_local(|| black_box(&recorded).post(&mut buffers));
    }

    #[divan::bench]
    fn sentry_types(bencher: Bencher) {
        let envelope = Recorded::new("transaction").as_envelope();
        bencher.bench_local(|| written(&black_box(&envelope).clone()));
    }
}

#[divan::bench_group]
mod span_v2 {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (recorded, mut buffers) = (Recorded::new("span_v2"), EncodeBuffers::default());
        bencher.bench_local(|| black_box(&recorded).post(&mut buffers));
    }
}

/// As above.
#[divan::bench_group]
mod otlp {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (recorded, mut buffers) = (Recorded::new("otlp"), EncodeBuffers::default());
        bencher.bench_local(|| black_box(&recorded).post(&mut buffers));
    }

    #[divan::bench]
    fn opentelemetry_proto(bencher: Bencher) {
        let message = Recorded::new("otlp").as_otlp();
        bencher.bench_local(|| black_box(&message).clone().encode_to_vec());
    }
}

#[divan::bench_group]
mod client_report {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (config, report) = (parsed(&config("")), lost());
        bencher.bench_local(|| report_post(black_box(&report), &config));
    }

    #[divan::bench]
    fn sentry_types(bencher: Bencher) {
        let envelope = report_as_envelope();
        bencher.bench_local(|| written(&black_box(&envelope).clone()));
    }
}
