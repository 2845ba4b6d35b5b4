//! What an operator may choose about spans.

use e2e::{Gateway, Reply, Request};
use serde_json::{json, Value};

/// A request that tells everything about its client.
fn telling() -> Request {
    Request::get("/search?q=flu&token=hush&page=2")
        .header("user-agent", "Somebody/1.0")
        .header("cookie", "theme=dark; session=hush")
        .header("x-api-key", "hush")
        .header("x-forwarded-for", "203.0.113.9")
        .header("referer", "https://page.test/?mail=hush")
        .header("accept", "text/html")
}

fn capturing(more: Value) -> Value {
    let mut config = json!({
        "capture_request_headers": ["Accept", "cookie", "x-api-key", "x-forwarded-for", "referer"],
        "capture_response_headers": ["set-cookie", "x-cache"],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

async fn searched(config: Value) -> (Gateway, e2e::Segment) {
    let gateway = Gateway::start(config).await;
    let reply = Reply::status(200)
        .header("set-cookie", "visits=1; Path=/")
        .header("x-cache", "miss");
    gateway.upstream.reply("GET", "/search", reply);
    gateway.send(&telling()).await;
    let segment = gateway.sentry.only_segment().await;
    (gateway, segment)
}

#[tokio::test]
async fn nothing_that_tells_of_a_person_leaves_unless_it_is_asked_for() {
    let (gateway, segment) = searched(capturing(json!({}))).await;
    let server = &segment.server;
    let query = "q=[Filtered]&token=[Filtered]&page=[Filtered]";
    assert_eq!(server.text("url.query"), query);
    assert!(server
        .text("url.full")
        .ends_with(&format!("/search?{query}")));
    for absent in ["client.address", "client.port", "user_agent.original"] {
        assert_eq!(server.attribute(absent), None, "{absent}");
    }
    let rows = [
        ("http.request.header.accept", json!(["text/html"])),
        ("http.request.header.cookie", json!(["[Filtered]"])),
        ("http.request.header.x-api-key", json!(["[Filtered]"])),
        ("http.request.header.x-forwarded-for", json!(["[Filtered]"])),
        (
            "http.request.header.referer",
            json!(["https://page.test/?mail=[Filtered]"]),
        ),
        ("http.response.header.set-cookie", json!(["[Filtered]"])),
        ("http.response.header.x-cache", json!(["miss"])),
    ];
    for (name, value) in rows {
        assert_eq!(server.attribute(name), Some(&value), "{name}");
    }
    let sent = gateway.sentry.only_transaction().await.payload.to_string();
    for secret in ["hush", "flu", "dark", "Somebody", "203.0.113.9", "visits=1"] {
        assert!(!sent.contains(secret), "{secret} has left: {sent}");
    }
}

#[tokio::test]
async fn secrets_do_not_leave_even_if_persons_may() {
    let (gateway, segment) = searched(capturing(json!({"send_default_pii": true}))).await;
    let server = &segment.server;
    assert_eq!(server.text("url.query"), "q=flu&token=[Filtered]&page=2");
    // Whom Envoy takes for the client, here by the header; it does not know the port.
    assert_eq!(server.text("client.address"), "203.0.113.9");
    assert_eq!(server.attribute("client.port"), None);
    assert_eq!(server.text("user_agent.original"), "Somebody/1.0");
    let rows = [
        (
            "http.request.header.cookie",
            json!(["theme=dark", "session=[Filtered]"]),
        ),
        ("http.request.header.x-api-key", json!(["[Filtered]"])),
        (
            "http.request.header.x-forwarded-for",
            json!(["203.0.113.9"]),
        ),
        (
            "http.request.header.referer",
            json!(["https://page.test/?mail=hush"]),
        ),
        ("http.response.header.set-cookie", json!(["visits=1"])),
    ];
    for (name, value) in rows {
        assert_eq!(server.attribute(name), Some(&value), "{name}");
    }
    drop(gateway);
}

#[tokio::test]
async fn without_calls_the_upstream_is_below_the_gateways_own_span() {
    let gateway = Gateway::start(json!({"upstream_spans": false})).await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    let segment = gateway.sentry.only_segment().await;
    assert!(segment.calls.is_empty());
    assert_eq!(segment.server.span_id, seen.sentry_trace().span_id);
    let account = gateway.envoy.wait_for_account(|it| it.sent == 1).await;
    assert_eq!(account.recorded, 1, "{account}");
}

#[tokio::test]
async fn codes_that_are_ignored_are_not_sent_and_accounted_for() {
    let config = json!({"trace_ignore_status_codes": [404, [300, 399]]});
    let gateway = Gateway::start(config).await;
    for code in [200, 404, 301, 403] {
        gateway.send(&Request::get(format!("/status/{code}"))).await;
    }
    let segments = gateway.sentry.wait_for_segments(2).await;
    let names: Vec<_> = segments
        .iter()
        .map(|segment| segment.server.name.as_str())
        .collect();
    assert_eq!(names, ["/status/200", "/status/403"]);
    let account = gateway
        .envoy
        .wait_for_account(|it| it.sent == 4 && it.recorded == 8)
        .await;
    assert_eq!(account.discarded_for("ignored"), 4, "{account}");
    gateway.pass(&Request::get("/afterwards")).await;
    gateway.sentry.wait_for_segments(3).await;
    assert_eq!(
        gateway.sentry.discarded("event_processor", "transaction"),
        2
    );
    assert_eq!(gateway.sentry.discarded("event_processor", "span"), 4);
}

#[tokio::test]
async fn the_upstream_learns_when_the_gateway_got_the_request() {
    let gateway = Gateway::start(json!({"request_start_header": true})).await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    let start = seen.headers.text("x-request-start").expect("the header");
    let seconds: f64 = start
        .strip_prefix("t=")
        .and_then(|text| text.parse().ok())
        .expect("a time");
    let segment = gateway.sentry.only_segment().await;
    assert!(
        (seconds * 1e6 - segment.server.start_us as f64).abs() < 2.0,
        "{start}"
    );

    let earlier = gateway
        .pass(&Request::get("/api/2").header("x-request-start", "t=1"))
        .await;
    earlier.assert_lines("x-request-start", &["t=1"]);
    let gateway = Gateway::start(json!({})).await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    assert_eq!(seen.headers.text("x-request-start"), None);
}

/// Relay cuts what is too long; nothing is left for it to cut. The fake Sentry counts.
#[tokio::test]
async fn a_request_of_any_length_keeps_to_the_limits() {
    let gateway = Gateway::start(capturing(json!({"send_default_pii": true}))).await;
    let long = "\"x\"".repeat(3_000);
    let request = Request::get(format!(
        "/{}?q={}",
        "long/".repeat(2_000),
        "y".repeat(8_000)
    ))
    .header("accept", &long)
    .header("referer", &long)
    .header("user-agent", &long);
    gateway.send(&request).await;
    let segment = gateway.sentry.only_segment().await;
    assert!(segment.server.name.len() <= 200 && segment.server.name.ends_with("..."));
    assert!(segment.server.text("url.path").len() <= 1_024);
    let transaction = gateway.sentry.only_transaction().await;
    println!("{} bytes", transaction.payload.to_string().len());
}
