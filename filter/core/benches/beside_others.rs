//! The same jobs beside the crates of Sentry and OpenTelemetry, which do them for programs: each pair reads or writes the same bytes, which is asserted
//! before it is measured. The numbers of one run are to be compared with each other; theirs do more with some results, and so are no verdict.

use std::collections::HashMap;

use divan::{black_box, Bencher};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use prost::Message as _;
use sentry_core::TracePropagationContext;
use sentry_filter_core::config::{FilterConfig, Surroundings};
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::envelope::{Desk, Format};
use sentry_filter_core::headers::{self, Headers};
use sentry_filter_core::pipeline::Pipeline;
use sentry_filter_core::span::{OpenSpan, StreamEnd, UpstreamEnd};
use sentry_filter_core::trace::baggage::Baggage;
use sentry_filter_core::trace::sentry_trace::SentryTrace;
use sentry_filter_core::trace::traceparent::Traceparent;
use sentry_filter_core::trace::Sources;
use sentry_types::protocol::v7::Envelope;

const SENTRY_TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";
const TRACEPARENT: &str = "00-771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-01";
const BAGGAGE: &str = "vendor=1,sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=49d0f7386ad645858ae85020e393bef3,\
                       sentry-sample_rate=0.25,sentry-sampled=true,sentry-environment=production";
const DSN: &str = "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42";
const NOW_NS: u64 = 1_787_306_400_000_000_000;

fn main() {
    divan::main();
}

mod sentry_trace {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<SentryTrace> {
        SentryTrace::parse(black_box(SENTRY_TRACE.as_bytes())).ok()
    }

    #[divan::bench]
    fn sentry_core(bencher: Bencher) {
        let read = || {
            TracePropagationContext::try_from_headers([("sentry-trace", black_box(SENTRY_TRACE))])
        };
        let theirs = read().expect("a trace").sentry_trace_header();
        let ours = ours().map(SentryTrace::to_value);
        assert_eq!(ours.as_deref(), Some(theirs.as_bytes()));
        bencher.bench(read);
    }
}

mod traceparent {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<Traceparent> {
        Traceparent::read([black_box(TRACEPARENT.as_bytes())].into_iter()).ok()?
    }

    #[divan::bench]
    fn opentelemetry_sdk(bencher: Bencher) {
        use opentelemetry::trace::TraceContextExt;
        let carrier = HashMap::from([("traceparent".to_owned(), TRACEPARENT.to_owned())]);
        let propagator = TraceContextPropagator::new();
        let read = || propagator.extract(black_box(&carrier));
        let theirs = read().span().span_context().trace_id().to_string();
        assert_eq!(ours().map(|ours| ours.trace_id.to_string()), Some(theirs));
        bencher.bench_local(read);
    }
}

mod baggage {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bencher.bench(|| {
            Baggage::read([black_box(BAGGAGE.as_bytes())].into_iter())
                .sentry()
                .count()
        });
    }

    #[divan::bench]
    fn opentelemetry_sdk(bencher: Bencher) {
        use opentelemetry::baggage::BaggageExt;
        let carrier = HashMap::from([("baggage".to_owned(), BAGGAGE.to_owned())]);
        let propagator = BaggagePropagator::new();
        let read = || propagator.extract(black_box(&carrier));
        let (theirs, ours) = (read(), Baggage::read([BAGGAGE.as_bytes()].into_iter()));
        for (key, value) in ours.sentry() {
            let theirs = theirs.baggage().get(format!("sentry-{key}"));
            assert_eq!(theirs.map(|value| value.as_str()), Some(value));
        }
        bencher.bench_local(read);
    }
}

mod dsn {
    use super::*;

    #[divan::bench]
    fn ours() -> Option<Dsn> {
        Dsn::parse(black_box(DSN)).ok()
    }

    #[divan::bench]
    fn sentry_types(bencher: Bencher) {
        let read = || black_box(DSN).parse::<::sentry_types::Dsn>();
        let theirs = read().expect("a DSN");
        assert_eq!(
            Some(theirs.public_key()),
            ours().as_ref().map(|dsn| &**dsn.public_key())
        );
        bencher.bench(read);
    }
}

fn config(format: &str) -> FilterConfig {
    let json = format!(
        r#"{{"dsn": "{DSN}", "traces_sample_rate": 1, "server_name": "gateway", "transport": {{"format": "{format}"}}}}"#
    );
    FilterConfig::parse(json.as_bytes(), &Surroundings::default()).expect("a good configuration")
}

/// A segment of two spans, before it is closed.
fn ended() -> (OpenSpan, StreamEnd) {
    let lines = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/api/items?limit=10"),
        ("sentry-trace", SENTRY_TRACE),
        ("baggage", BAGGAGE),
    ];
    let map = headers::serialize(
        lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let headers = Headers::from_serialized(map).expect("a good map");
    let mut next = 0_u8;
    let mut sources = Sources {
        entropy: &mut |bytes| {
            next = next.wrapping_add(1);
            bytes.fill(next);
            true
        },
        now_ns: &mut || NOW_NS,
        attribute: &mut |_| None,
    };
    let outcome = Pipeline::new(config("otlp")).on_request_headers(&headers, &mut sources);
    let end = StreamEnd {
        start_ns: Some(NOW_NS),
        duration_ns: Some(31_000_000),
        response_code: Some(200),
        response_code_details: Some("via_upstream".to_owned()),
        response_size: Some(17),
        protocol: Some("HTTP/1.1".to_owned()),
        route_name: Some(b"/api/items".to_vec()),
        cluster_name: Some("shop".to_owned()),
        upstream: Some(UpstreamEnd {
            address: "10.0.0.7:8080".to_owned(),
            attempts: 1,
            pool_wait_ns: Some(250_000),
            latency_ns: Some(29_000_000),
            ..UpstreamEnd::default()
        }),
        ..StreamEnd::default()
    };
    (*outcome.span.expect("a recorded span"), end)
}

/// Closes and encodes the segment, as it is done at the end of a stream.
fn encode(
    format: Format,
    config: &FilterConfig,
    span: &OpenSpan,
    end: &StreamEnd,
    desk: &mut Desk,
) -> Vec<u8> {
    let name = span.name(end);
    let segment = span.finish(end, &name, &[]);
    let parcel = format
        .encode(&segment, config, desk)
        .expect("it can be written");
    format.body(&[parcel], None, config, NOW_NS)
}

/// A POST of two spans. Theirs begin with the finished values, ours with what Envoy said.
mod transaction {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (config, (span, end), mut desk) = (config("transaction"), ended(), Desk::default());
        bencher.bench_local(|| {
            encode(
                Format::Transaction,
                &config,
                black_box(&span),
                &end,
                &mut desk,
            )
        });
    }

    #[divan::bench]
    fn sentry_types(bencher: Bencher) {
        let (config, (span, end)) = (config("transaction"), ended());
        let body = encode(
            Format::Transaction,
            &config,
            &span,
            &end,
            &mut Desk::default(),
        );
        let envelope = Envelope::from_slice(&body).expect("an envelope");
        let write = || {
            let mut body = Vec::new();
            black_box(&envelope).to_writer(&mut body).map(|()| body)
        };
        let again = Envelope::from_slice(&write().expect("an envelope")).expect("an envelope");
        assert_eq!((again.items().count(), again.uuid()), (1, envelope.uuid()));
        bencher.bench_local(write);
    }
}

mod otlp {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let (config, (span, end), mut desk) = (config("otlp"), ended(), Desk::default());
        bencher.bench_local(|| encode(Format::Otlp, &config, black_box(&span), &end, &mut desk));
    }

    #[divan::bench]
    fn prost(bencher: Bencher) {
        let (config, (span, end)) = (config("otlp"), ended());
        let body = encode(Format::Otlp, &config, &span, &end, &mut Desk::default());
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("a request");
        assert_eq!(request.encode_to_vec(), body, "the same bytes");
        bencher.bench_local(|| black_box(&request).encode_to_vec());
    }
}

/// For which nobody has the same job: streamed spans, and the configuration.
mod alone {
    use super::*;

    #[divan::bench]
    fn span_v2(bencher: Bencher) {
        let (config, (span, end), mut desk) = (config("span_v2"), ended(), Desk::default());
        bencher.bench_local(|| encode(Format::SpanV2, &config, black_box(&span), &end, &mut desk));
    }

    #[divan::bench]
    fn configuration() -> FilterConfig {
        config(black_box("otlp"))
    }
}
