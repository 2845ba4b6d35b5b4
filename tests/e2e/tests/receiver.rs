//! The DSN's own receiver on a host that the gateway serves itself: only what goes to it has no
//! trace and no span.

use e2e::{Gateway, Request, SPANS};
use serde_json::json;

const ENVELOPE: &str = "/sentry/api/1/envelope/";

#[tokio::test]
async fn the_rest_of_the_dsns_host_is_traced() {
    let gateway = Gateway::builder()
        .await
        .config(json!({"dsn": "http://key@shop.example/sentry/1"}))
        .with_sentry_down()
        .start()
        .await;
    let rows = [
        ("shop.example", ENVELOPE, false),
        ("shop.example:80", ENVELOPE, false),
        ("Shop.Example.", ENVELOPE, false),
        (
            "shop.example.:80",
            "/sentry/api/1/integration/otlp/v1/traces/",
            false,
        ),
        ("shop.example", "/x/../sentry/%61pi/1/envelope/", false),
        ("shop.example", "/", true),
        ("shop.example", "/sentry/", true),
        ("shop.example", "/api/1/envelope/", true),
        ("shop.example", "/sentry/api/../checkout", true),
        (
            "shop.example",
            "/checkout?next=/sentry/api/1/envelope/",
            true,
        ),
        ("shop.example:8080", ENVELOPE, true),
        ("www.shop.example", ENVELOPE, true),
    ];
    let mut recorded = 0;
    for (host, path, is_traced) in rows {
        let seen = gateway.pass(&Request::get(path).host(host)).await;
        let has_trace = seen.headers.text("sentry-trace").is_some();
        assert_eq!(has_trace, is_traced, "{host}{path}");
        recorded += if is_traced { SPANS } else { 0 };
    }
    gateway
        .envoy
        .wait_for_stat("spans_recorded", recorded)
        .await;
}
