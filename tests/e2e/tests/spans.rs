//! Which requests become a transaction, and what it says about them.

use std::time::{Duration, Instant};

use e2e::{Gateway, Request, Step, SPANS};
use serde_json::json;

#[tokio::test]
async fn a_transaction_says_what_happened() {
    let gateway = Gateway::start(json!({"server_name": "edge-1"})).await;
    let pause = Duration::from_millis(200);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let script = vec![Step::Pause(pause), Step::Send(answer)];
    gateway.upstream.script("GET", "/api/1", script);
    let begun = Instant::now();
    gateway
        .pass(&Request::get("/api/1?token=secret").header("user-agent", "e2e/1"))
        .await;
    let took = begun.elapsed();
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(
        (transaction.name(), transaction.source()),
        ("/api/{id}", "route")
    );
    assert_eq!(transaction.status(), "ok");
    assert_eq!(transaction.text("/environment"), "e2e");
    assert_eq!(transaction.text("/release"), "gateway@1.2.3");
    assert_eq!(transaction.text("/server_name"), "edge-1");
    assert_eq!(transaction.data("http.request.method"), Some(&json!("GET")));
    assert_eq!(
        transaction.data("http.response.status_code"),
        Some(&json!(200))
    );
    let possible = pause.as_secs_f64()..=took.as_secs_f64();
    assert!(
        possible.contains(&transaction.duration()),
        "{} s, not within {possible:?}",
        transaction.duration()
    );
    assert!(
        !transaction.payload.to_string().contains("token=secret"),
        "the query's values are nobody's business"
    );
}

#[tokio::test]
async fn only_a_route_that_looks_like_a_template_gives_a_name() {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::get("/plain/path?q=1")).await;
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(
        (transaction.name(), transaction.source()),
        ("/plain/path", "url")
    );
}

#[tokio::test]
async fn a_status_of_the_upstream_becomes_the_spans_status() {
    let gateway = Gateway::start(json!({})).await;
    let table = [
        (204, "ok"),
        (302, "ok"),
        (400, "invalid_argument"),
        (401, "unauthenticated"),
        (403, "permission_denied"),
        (404, "not_found"),
        (409, "already_exists"),
        (429, "resource_exhausted"),
        (499, "cancelled"),
        (500, "internal_error"),
        (501, "unimplemented"),
        (502, "internal_error"),
        (503, "unavailable"),
        (504, "deadline_exceeded"),
    ];
    for (code, _) in table {
        let exchange = gateway.send(&Request::get(format!("/status/{code}"))).await;
        assert_eq!(exchange.response.status, code);
        assert!(exchange.upstream.is_some());
    }
    for transaction in gateway.sentry.wait_for(table.len()).await {
        let code = transaction
            .data("http.response.status_code")
            .and_then(|code| code.as_u64())
            .unwrap();
        let expected = table
            .iter()
            .find(|(row, _)| u64::from(*row) == code)
            .unwrap()
            .1;
        assert_eq!(transaction.status(), expected, "for {code}");
    }
}

#[tokio::test]
async fn what_envoy_answers_itself_has_a_span_too() {
    let gateway = Gateway::start(json!({})).await;
    gateway
        .send(&Request::get("/lost").host("nothing.test"))
        .await
        .assert_answered_by_gateway(404);
    gateway
        .send(&Request::get("/no-host"))
        .await
        .assert_answered_by_gateway(503);
    gateway
        .send(&Request::get("/refused"))
        .await
        .assert_answered_by_gateway(503);

    let transactions = gateway.sentry.wait_for(3).await;
    let seen: Vec<_> = transactions
        .iter()
        .map(|transaction| (transaction.name(), transaction.status()))
        .collect();
    assert_eq!(
        seen,
        [
            ("/lost", "not_found"),
            ("/no-host", "unavailable"),
            ("/refused", "unavailable")
        ]
    );
    assert_eq!(
        transactions[0].data("http.response.status_code"),
        Some(&json!(404))
    );
    assert_eq!(
        transactions[2].data("http.response.status_code"),
        Some(&json!(503))
    );
}

#[tokio::test]
async fn options_has_no_span_and_head_has_one() {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::new("OPTIONS", "/api/1")).await;
    let preflight = Request::new("OPTIONS", "/api/2")
        .header("origin", "https://app.test")
        .header("access-control-request-method", "GET")
        .header(
            "sentry-trace",
            "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718-1",
        );
    let seen = gateway.pass(&preflight).await;
    seen.assert_lines(
        "sentry-trace",
        &["771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718-1"],
    );

    let head = gateway
        .pass(&Request::new("HEAD", "/api/3"))
        .await
        .sentry_trace();
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.upstream_parent(), head.span_id);
    assert_eq!(
        transaction.data("http.request.method"),
        Some(&json!("HEAD"))
    );
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent > 0)
        .await;
    assert_eq!(account.recorded, SPANS, "{account}");
}
