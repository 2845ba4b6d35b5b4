//! Bytes that are no text, and contexts that are none: requests go on, and so does the gateway.

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

/// Envoy refuses such a path or host itself, before any filter; no later request suffers.
#[tokio::test]
async fn a_path_or_host_that_is_no_text_harms_no_later_request() {
    let gateway = Gateway::start(json!({})).await;
    for request in [
        Request::get(b"/api/\xff\xfe"),
        Request::get(b"/\xff?\xfe=1").header("x-b3-traceid", NOT_UTF8),
        Request::get("/api/1").host(NOT_UTF8),
        Request::get("/api/1").host(b"gateway.test\xff"),
    ] {
        let exchange = gateway.send(&request).await;
        assert!(exchange.upstream.is_none(), "{request:?}");
        assert_eq!(exchange.response.status, 400, "{request:?}");
    }
    gateway.pass(&Request::get("/plain")).await;
    assert_eq!(gateway.sentry.only_transaction().await.name(), "/plain");
}
