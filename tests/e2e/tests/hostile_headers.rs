//! Bytes that are no text, and contexts that are none: requests go on, and so does the gateway.

use std::collections::BTreeMap;

use e2e::{Gateway, Request, SPANS};
use serde_json::json;

const NOT_UTF8: &[u8] = b"\xff\xfe";

#[tokio::test]
async fn bytes_that_are_no_text_break_nothing() {
    let gateway = Gateway::start(json!({"debug": true})).await;
    let mut sent = 0;
    for name in [
        "x-anything",
        "baggage",
        "user-agent",
        "referer",
        "x-forwarded-for",
        "x-envoy-original-path",
        "cookie",
    ] {
        let seen = gateway
            .pass(&Request::get("/api/1").header(name, NOT_UTF8))
            .await;
        assert!(seen.sentry_trace().sampled.is_some(), "with {name}");
        sent += 1;
    }
    let seen = gateway
        .pass(&Request::get("/api/1").header("x-anything", NOT_UTF8))
        .await;
    seen.assert_lines("x-anything", &[NOT_UTF8]);
    let seen = gateway
        .pass(&Request::get("/api/1").header("sentry-trace", NOT_UTF8))
        .await;
    seen.sentry_trace();
    gateway
        .envoy
        .wait_for_stat("sentry_trace_refused.not_utf8", 1)
        .await;
    gateway.pass(&Request::get("/api/%ff%fe")).await;
    sent += 3;

    gateway.sentry.wait_for(sent).await;
    assert_eq!(
        gateway
            .envoy
            .wait_for_account(|account| account.queued + account.in_flight == 0)
            .await
            .sent,
        sent as u64 * SPANS
    );
}

/// Envoy may refuse such a path or host itself; what may not happen is that a later request
/// suffers.
#[tokio::test]
async fn a_path_or_host_that_is_no_text_harms_no_later_request() {
    let gateway = Gateway::start(json!({})).await;
    for request in [
        Request::get(b"/api/\xff\xfe"),
        Request::get(b"/\xff?\xfe=1").header("x-b3-traceid", NOT_UTF8),
    ] {
        let status = gateway.send(&request).await.response.status;
        assert!([200, 400].contains(&status), "status {status}");
    }
    gateway.pass(&Request::get("/plain")).await;
    gateway.sentry.wait_for(1).await;
}

/// Members of other vendors pass as bytes, even if they are no text (house rule 8).
#[tokio::test]
async fn baggage_that_is_no_text_is_kept_beside_ours() {
    let gateway = Gateway::start(json!({})).await;
    let context = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718-0";
    let baggage = b"a=\xff\xfe,b=1";
    let request = Request::get("/api/1")
        .header("sentry-trace", context)
        .header("baggage", baggage);
    gateway
        .pass(&request)
        .await
        .assert_lines("baggage", &[baggage]);
}

#[tokio::test]
async fn every_reason_to_refuse_a_context_is_counted() {
    let gateway = Gateway::start(json!({"traces_sample_rate": 0})).await;
    let (trace, span) = ("771a43a4192642f0b136d5159a501700", "b9f2e3d4c5a60718");
    let mut expected = BTreeMap::new();
    let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
    for (reason, value) in [
        ("empty", String::new()),
        ("wrong_length", "1".to_owned()),
        ("malformed_sampled", format!("{trace}-{span}-11")),
        (
            "malformed_trace_id",
            format!("{}-{span}-1", trace.replace('f', "g")),
        ),
        (
            "malformed_span_id",
            format!("{trace}-{}-1", span.replace('f', "g")),
        ),
        ("zero_trace_id", format!("{zero_trace}-{span}-1")),
        ("zero_span_id", format!("{trace}-{zero_span}-1")),
        ("malformed_sampled", format!("{trace}-{span}-x")),
        ("conflicting", format!("{trace}-{span}-1,{trace}-{span}-0")),
    ] {
        let seen = gateway
            .pass(&Request::get("/api/1").header("sentry-trace", &value))
            .await;
        assert_ne!(
            seen.sentry_trace().trace_id,
            trace,
            "{value:?} was continued"
        );
        *expected
            .entry(format!("sentry_trace_refused.{reason}"))
            .or_insert(0) += 1;
    }
    // What half of the SDKs would refuse is repaired, and not counted.
    let upper = format!("{}-{}-1", trace.to_uppercase(), span.to_uppercase());
    let seen = gateway
        .pass(&Request::get("/api/1").header("sentry-trace", upper))
        .await;
    assert_eq!(seen.sentry_trace().trace_id, trace);
    gateway.sentry.wait_for(1).await;
    gateway.envoy.wait_for_stat("requests", 10).await;
    let mut refused = gateway.envoy.stats().await;
    refused.retain(|name, count| name.starts_with("sentry_trace_refused") && *count > 0);
    assert_eq!(refused, expected);
}
