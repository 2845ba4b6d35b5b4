//! Envoy's own tracing beside the filter, with the OpenTelemetry tracer in the same connection
//! manager (filter.md §4).
//!
//! Seen on Envoy 1.40, whether `propagate_traceparent` is on or off:
//! - Envoy decides before the filters run, and writes after them. The filter still reads the
//!   `traceparent` of the caller.
//! - What the upstream reads is one line, Envoy's: the trace of the caller's `traceparent`, or one
//!   that Envoy began, with a span of Envoy's. A line of the filter's does not survive.
//! - `tracestate` is the one that came with the caller's `traceparent`, even if the filter has
//!   removed it, and an empty line where none came.
//! - `sentry-trace` and `baggage` are the filter's, as if there were no tracer.
//!
//! So a request without `traceparent` is in two traces that do not know each other: Envoy's in
//! OpenTelemetry's collector, ours in Sentry. The Sentry SDKs behind the gateway read
//! `sentry-trace` first.

use e2e::{Gateway, RecordedRequest, Request};
use serde_json::json;

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
const BAGGAGE: &str = "vendor=1;p, sentry-trace_id=771a43a4192642f0b136d5159a501700,\
    sentry-public_key=49d0f7386ad645858ae85020e393bef3 ,other=2";
const W3C_TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const W3C_SPAN_ID: &str = "b7ad6b7169203331";
const TRACESTATE: &str = "congo=t61rcWkgMzE";

fn with_sentry_trace(request: Request, flag: u8) -> Request {
    let request = request.header("sentry-trace", format!("{IDS}-{flag}"));
    request.header("baggage", BAGGAGE)
}

fn with_traceparent(request: Request) -> Request {
    let traceparent = format!("00-{W3C_TRACE_ID}-{W3C_SPAN_ID}-01");
    let request = request.header("traceparent", traceparent);
    request.header("tracestate", TRACESTATE)
}

async fn traced_by_envoy_too(propagate_traceparent: bool) -> Gateway {
    let builder = Gateway::builder().await.with_opentelemetry();
    let config = json!({"propagate_traceparent": propagate_traceparent});
    builder.config(config).start().await
}

/// Trace id and parent id of the one `traceparent` at the upstream, which is sampled.
#[track_caller]
fn traceparent(seen: &RecordedRequest) -> (&str, &str) {
    let line = seen.headers.text("traceparent").expect("a traceparent");
    let parts: Vec<_> = line.split('-').collect();
    let ["00", trace_id, parent_id, "01"] = parts[..] else {
        panic!("not a sampled traceparent: {line}");
    };
    (trace_id, parent_id)
}

/// That the tracer is there, and that it, not the filter, wrote the line.
#[track_caller]
fn assert_traceparent_is_envoys(seen: &RecordedRequest, trace_id: Option<&str>) {
    let (trace, parent) = traceparent(seen);
    let ours = seen.sentry_trace();
    assert_ne!(parent, ours.span_id);
    assert_ne!(parent, W3C_SPAN_ID);
    match trace_id {
        Some(trace_id) => assert_eq!(trace, trace_id),
        None => assert_ne!(trace, ours.trace_id),
    }
}

#[tokio::test]
async fn a_trace_of_sentrys_is_continued_beside_the_tracer() {
    for propagates in [false, true] {
        let gateway = traced_by_envoy_too(propagates).await;
        for flag in [0, 1] {
            let alone = with_sentry_trace(Request::get("/api/1"), flag);
            let beside = with_traceparent(alone.clone());
            for (request, trace_id, tracestate) in
                [(alone, None, ""), (beside, Some(W3C_TRACE_ID), TRACESTATE)]
            {
                let seen = gateway.pass(&request).await;
                let sentry_trace = seen.sentry_trace();
                assert_eq!(sentry_trace.trace_id, TRACE_ID);
                assert_eq!(sentry_trace.sampled, Some(flag == 1));
                // Nothing recorded, nothing changed.
                assert_eq!(sentry_trace.to_string() == format!("{IDS}-0"), flag == 0);
                seen.assert_lines("baggage", &[BAGGAGE]);
                assert_traceparent_is_envoys(&seen, trace_id);
                seen.assert_lines("tracestate", &[tracestate]);
            }
        }
        for transaction in gateway.sentry.wait_for(2).await {
            assert_eq!(transaction.trace_id(), TRACE_ID);
            assert_eq!(transaction.parent_span_id(), Some("b9f2e3d4c5a60718"));
        }
    }
}

#[tokio::test]
async fn a_trace_of_the_callers_traceparent_is_one_trace_for_both() {
    for propagates in [false, true] {
        let gateway = traced_by_envoy_too(propagates).await;
        let request = with_traceparent(Request::get("/api/1")).header("baggage", "a=1;p");
        let seen = gateway.pass(&request).await;
        assert_eq!(seen.sentry_trace().trace_id, W3C_TRACE_ID);
        assert_eq!(seen.sentry_trace().sampled, Some(true));
        let said = seen.baggage().sentry("trace_id");
        assert_eq!(said.as_deref(), Some(W3C_TRACE_ID));
        assert_eq!(seen.baggage().third_party(), ["a=1;p"]);
        assert_traceparent_is_envoys(&seen, Some(W3C_TRACE_ID));
        seen.assert_lines("tracestate", &[TRACESTATE]);
        // The filter has read the caller's line, not Envoy's.
        let transaction = gateway.sentry.only_transaction().await;
        assert_eq!(transaction.parent_span_id(), Some(W3C_SPAN_ID));
        assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
    }
}

#[tokio::test]
async fn a_trace_that_begins_here_is_sentrys_and_the_tracers_is_another() {
    let request = Request::get("/api/1").header("baggage", "a=1;p");
    for propagates in [false, true] {
        let gateway = traced_by_envoy_too(propagates).await;
        let seen = gateway.pass(&request).await;
        let sentry_trace = seen.sentry_trace();
        let said = seen.baggage().sentry("trace_id");
        assert_eq!(said.as_ref(), Some(&sentry_trace.trace_id));
        assert_eq!(seen.baggage().third_party(), ["a=1;p"]);
        assert_traceparent_is_envoys(&seen, None);
        let transaction = gateway.sentry.only_transaction().await;
        assert_eq!(transaction.trace_id(), sentry_trace.trace_id);
        assert_eq!(transaction.parent_span_id(), None);
    }

    // Without the tracer the same key makes them one.
    let gateway = Gateway::start(json!({"propagate_traceparent": true})).await;
    let seen = gateway.pass(&request).await;
    let sentry_trace = seen.sentry_trace();
    let ours = (&*sentry_trace.trace_id, &*sentry_trace.span_id);
    assert_eq!(traceparent(&seen), ours);
}
