//! Every way a stream can end: one segment each, and it says what happened.

mod snapshot;

use std::time::Duration;

use e2e::{
    door,
    ended::{only, told},
    envoy::cluster_at,
    peers::curl,
    Door, Gateway, GatewayBuilder, Reply, Request, Route, Segment, Step,
};
use serde_json::json;

const LIMITER: &str = "envoy.filters.http.local_ratelimit";

/// Everything that a segment says is as it was when somebody looked at it last (`tests/snapshots`;
/// `INSTA_UPDATE=always` writes them anew).
macro_rules! assert_whole {
    ($segment:expr) => {
        let _comparison = snapshot::compare();
        insta::assert_snapshot!($segment.whole());
    };
}

async fn gateway() -> GatewayBuilder {
    Gateway::builder().await.config(json!({}))
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.envoy.address())
}

fn ms(milliseconds: u64) -> Step {
    Step::Pause(Duration::from_millis(milliseconds))
}

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// The parent that the upstream was told of is in the segment.
#[track_caller]
fn assert_no_hole(gateway: &Gateway, segment: &Segment) {
    for request in gateway
        .upstream
        .take_if(|request| request.path != "/afterwards")
    {
        let told = request.sentry_trace();
        let is_there = segment
            .calls
            .iter()
            .any(|call| call.span_id == told.span_id);
        assert!(is_there, "{told} is in no call of {segment:#?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_the_upstreams_time() {
    let gateway = gateway().await.start().await;
    gateway.upstream.script(
        "GET",
        "/slow",
        vec![
            ms(120),
            send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"),
            ms(150),
            send("world"),
        ],
    );
    let (done, answer) = curl(&["--http1.1", &url(&gateway, "/slow?q=1")]).await;
    assert!(done && answer.ends_with("helloworld"), "{answer}");
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "ok 200 | ok 200");
    assert_no_hole(&gateway, &segment);
    let (server, call) = (&segment.server, segment.call());
    assert_eq!(server.text("network.protocol.version"), "1.1");
    assert_eq!(server.number("http.response.body.size"), 10.0);
    assert_eq!(server.text("url.query"), "q=[Filtered]");
    assert_eq!(server.text("envoy.response_code_details"), "via_upstream");
    assert_eq!(server.text("envoy.cluster"), "upstream");
    let first_byte = call.number("envoy.time_to_first_byte_ms");
    assert!((110.0..260.0).contains(&first_byte), "{call:#?}");
    assert!(call.duration_ms() > 260.0 && call.duration_ms() <= server.duration_ms());
    let gateways = server.number("envoy.gateway_time_ms");
    let rest = server.duration_ms() - call.duration_ms();
    assert!((gateways - rest).abs() < 0.01, "{gateways} and {rest}");
    assert!(gateways < 100.0, "{gateways} ms");
    assert_eq!(call.text("server.address"), "127.0.0.1");
    assert_eq!(
        call.number("server.port"),
        f64::from(gateway.upstream.address().port())
    );
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer() {
    let gateway = gateway().await.start().await;
    gateway.upstream.script("GET", "/hang", vec![Step::Hang]);
    let (done, _) = curl(&["--max-time", "0.3", &url(&gateway, "/hang")]).await;
    assert!(!done);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "cancelled - DC | cancelled -");
    assert_no_hole(&gateway, &segment);
    assert!(segment.call().duration_ms() > 200.0, "{segment:#?}");
    assert_eq!(segment.server.attribute("error.type"), None);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer() {
    let gateway = gateway().await.start().await;
    let begins = send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    gateway
        .upstream
        .script("GET", "/half", vec![begins, Step::Hang]);
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let (done, _) = curl(&[protocol, "--max-time", "0.3", &url(&gateway, "/half")]).await;
        assert!(!done);
    }
    let segments = gateway.sentry.wait_for_segments(2).await;
    for segment in &segments {
        assert_eq!(told(segment), "cancelled 200 DC | cancelled 200");
        assert_whole!(segment);
    }
    assert_eq!(segments[1].server.text("network.protocol.version"), "2");
}

#[tokio::test]
async fn an_upstream_that_hangs_up_before_the_answer() {
    let gateway = gateway().await.start().await;
    gateway
        .upstream
        .script("GET", "/gone", vec![ms(50), Step::Reset]);
    let exchange = gateway.send(&Request::get("/gone")).await;
    assert_eq!(exchange.response.status, 503);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "unavailable 503 UC | internal_error -");
    let details = segment.server.text("envoy.response_code_details");
    assert!(
        details.starts_with("upstream_reset_before_response_started"),
        "{details}"
    );
    assert_eq!(segment.server.text("error.type"), "503");
    assert_eq!(segment.call().text("error.type"), "internal_error");
    assert_eq!(
        segment.call().attribute("envoy.time_to_first_byte_ms"),
        None
    );
}

#[tokio::test]
async fn an_upstream_that_hangs_up_in_the_middle_of_an_answer() {
    let gateway = gateway().await.start().await;
    let begins = send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    gateway
        .upstream
        .script("GET", "/torn", vec![begins, ms(50), Step::Reset]);
    let (done, _) = curl(&[&url(&gateway, "/torn")]).await;
    assert!(!done);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(
        told(&segment),
        "internal_error 200 UPE | internal_error 200"
    );
    assert_no_hole(&gateway, &segment);
}

#[tokio::test]
async fn an_upstream_that_takes_too_long() {
    let route = Route::new("/late", "/late")
        .action(json!({"route": {"cluster": "upstream", "timeout": "0.2s"}}));
    let gateway = gateway().await.route(route).start().await;
    gateway.upstream.script("GET", "/late", vec![Step::Hang]);
    let exchange = gateway.send(&Request::get("/late")).await;
    assert_eq!(exchange.response.status, 504);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(
        told(&segment),
        "deadline_exceeded 504 UT | deadline_exceeded -"
    );
    assert_eq!(segment.server.text("error.type"), "timeout");
    assert!(segment.call().duration_ms() > 150.0);
}

#[tokio::test]
async fn what_envoy_answers_itself_calls_nobody() {
    let limit = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
    });
    let none = json!({
        "@type": limit["@type"], "stat_prefix": "none",
        "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    });
    let gateway = gateway()
        .await
        .behind(LIMITER, limit)
        .route(Route::new("limited", "/limited").filter(LIMITER, none))
        .route(Route::new("away", "/away").action(json!({"redirect": {"path_redirect": "/"}})))
        .route(Route::new("direct", "/direct").action(json!({"direct_response": {"status": 418}})))
        .start()
        .await;
    gateway.pass(&Request::get("/limited")).await;
    for (request, status) in [
        (Request::get("/lost").host("nothing.test"), 404),
        (Request::get("/away"), 301),
        (Request::get("/direct"), 418),
        (Request::get("/limited"), 429),
        (Request::get("/no-host"), 503),
    ] {
        gateway
            .send(&request)
            .await
            .assert_answered_by_gateway(status);
    }
    let segments = gateway.sentry.wait_for_segments(6).await;
    let told: Vec<_> = segments.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "ok 200 | ok 200",
            "not_found 404 NR",
            "ok 301",
            "invalid_argument 418",
            "resource_exhausted 429 RL",
            "unavailable 503 UH",
        ]
    );
    for segment in &segments[1..] {
        assert_whole!(segment);
        let (gateways, all) = (
            segment.server.number("envoy.gateway_time_ms"),
            segment.server.duration_ms(),
        );
        assert!((gateways - all).abs() < 0.01, "{gateways} of {all}");
    }
}

#[tokio::test]
async fn a_filter_in_front_that_answers_leaves_no_span() {
    let limit = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    });
    let gateway = gateway().await.in_front(LIMITER, limit).start().await;
    gateway.pass(&Request::get("/api/1")).await;
    gateway.pass(&Request::get("/afterwards")).await;
    let exchange = gateway.send(&Request::get("/api/2")).await;
    assert_eq!(exchange.response.status, 429);
    let segments = gateway.sentry.wait_for_segments(2).await;
    assert_eq!(segments.len(), 2);
    let account = gateway.envoy.wait_for_account(|it| it.sent >= 4).await;
    assert_eq!(account.recorded, 4, "{account}");
    assert_eq!(
        gateway.envoy.stat("requests").await,
        2,
        "the filter saw no third"
    );
}

#[tokio::test]
async fn retries_are_one_call() {
    let retry = json!({"retry_on": "5xx,connect-failure", "num_retries": 3});
    let route = |name: &str, cluster: &str| {
        Route::new(name, name).action(json!({"route": {"cluster": cluster, "retry_policy": retry}}))
    };
    let gateway = gateway()
        .await
        .route(route("/flaky", "upstream"))
        .route(route("/never", "refused"))
        .start()
        .await;
    let answer = |status| vec![ms(60), Step::Send(Reply::status(status).to_bytes("GET"))];
    gateway
        .upstream
        .replies("GET", "/flaky", vec![answer(503), answer(500), answer(200)]);
    let (done, _) = curl(&[&url(&gateway, "/flaky")]).await;
    assert!(done);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "ok 200 | ok 200");
    let call = segment.call();
    assert_eq!(call.number("http.request.resend_count"), 2.0);
    assert!(call.duration_ms() > 170.0, "all attempts: {call:#?}");
    let attempts = gateway.upstream.take(b"/flaky");
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!(attempt.sentry_trace().span_id, call.span_id);
    }

    gateway
        .send(&Request::get("/never"))
        .await
        .assert_answered_by_gateway(503);
    let segment = gateway.sentry.wait_for_segments(3).await.remove(2);
    assert_whole!(segment);
    assert_eq!(told(&segment), "unavailable 503 UF,URX | internal_error -");
    let call = segment.call();
    assert_eq!(call.number("http.request.resend_count"), 3.0);
    let failure = call.text("envoy.transport_failure");
    assert!(failure.contains("refused"), "{failure:?}");
}

#[tokio::test]
async fn an_internal_redirect_is_one_segment_with_a_call_for_each_request() {
    let policy = json!({"max_internal_redirects": 2});
    let route = Route::new("/old", "/old|/middle")
        .action(json!({"route": {"cluster": "upstream", "internal_redirect_policy": policy}}));
    for incoming in ["continue", "restart"] {
        let gateway = Gateway::builder()
            .await
            .config(json!({"incoming": {"trace": incoming}}))
            .route(route.clone())
            .start()
            .await;
        let location = |path: &str| Reply::status(302).header("location", url(&gateway, path));
        gateway.upstream.reply("GET", "/old", location("/middle"));
        gateway.upstream.reply("GET", "/middle", location("/new"));
        let (done, answer) = curl(&[&url(&gateway, "/old")]).await;
        assert!(done && answer.starts_with("HTTP/1.1 200"), "{answer}");
        let segment = only(&gateway).await;
        assert_whole!(segment);
        assert_eq!(
            told(&segment),
            "ok 200 | ok 302 | ok 302 | ok 200",
            "{incoming}"
        );
        assert_eq!(segment.server.name, "/old");
        let names: Vec<_> = segment
            .calls
            .iter()
            .map(|call| call.text("url.full"))
            .collect();
        assert!(
            names[0].ends_with("/old")
                && names[1].ends_with("/middle")
                && names[2].ends_with("/new")
        );
        assert_no_hole(&gateway, &segment);
        assert!(segment.calls[0].end_us <= segment.calls[1].start_us);
    }
}

/// A dynamic module is told when a connection was opened while a request waited, and not how long
/// one waited for a connection that was busy. The call is as long nevertheless.
#[tokio::test]
async fn waiting_for_a_busy_connection_is_told_in_wasm_only() {
    let builder = gateway().await;
    let mut narrow = cluster_at("narrow", Some(builder.upstream().address()));
    narrow["circuit_breakers"] = json!({"thresholds": [{"max_connections": 1}]});
    let route = Route::new("/narrow", "/narrow").action(json!({"route": {"cluster": "narrow"}}));
    let gateway = builder.cluster(narrow).route(route).start().await;
    let slow = vec![ms(200), Step::Send(Reply::status(200).to_bytes("GET"))];
    gateway.upstream.script("GET", "/narrow", slow);
    let target = url(&gateway, "/narrow");
    let arguments = [target.as_str()];
    // This one opens the connection.
    assert!(curl(&arguments).await.0);
    let (first, second) = tokio::join!(curl(&arguments), curl(&arguments));
    assert!(first.0 && second.0);
    let segments = gateway.sentry.wait_for_segments(3).await;
    let mut calls: Vec<_> = segments.iter().map(Segment::call).collect();
    calls.sort_by(|one, other| one.duration_ms().total_cmp(&other.duration_ms()));
    let wait = calls[2].attribute("envoy.pool_wait_ms");
    assert_eq!(wait.is_some(), door() == Door::Wasm, "{:#?}", calls[2]);
    assert!(calls[2].duration_ms() > 290.0, "{:#?}", calls[2]);
}

#[tokio::test]
async fn waiting_for_a_connection_is_told() {
    if door() == Door::Native {
        return; // What it is told is in the test above.
    }
    let builder = gateway().await;
    let mut narrow = cluster_at("narrow", Some(builder.upstream().address()));
    narrow["circuit_breakers"] = json!({"thresholds": [{"max_connections": 1}]});
    let route = Route::new("/narrow", "/narrow").action(json!({"route": {"cluster": "narrow"}}));
    let gateway = builder.cluster(narrow).route(route).start().await;
    gateway.upstream.script(
        "GET",
        "/narrow",
        vec![ms(200), Step::Send(Reply::status(200).to_bytes("GET"))],
    );
    let target = url(&gateway, "/narrow");
    let arguments = [target.as_str()];
    let (first, second) = tokio::join!(curl(&arguments), curl(&arguments));
    assert!(first.0 && second.0);
    let segments = gateway.sentry.wait_for_segments(2).await;
    let mut waits: Vec<f64> = segments
        .iter()
        .map(|segment| segment.call().number("envoy.pool_wait_ms"))
        .collect();
    waits.sort_by(f64::total_cmp);
    assert!(waits[0] < 100.0 && waits[1] > 100.0, "{waits:?}");
    for segment in &segments {
        let call = segment.call();
        assert!(
            call.duration_ms() > 190.0 + call.number("envoy.pool_wait_ms") * 0.9,
            "{call:#?}"
        );
        assert!(
            segment.server.number("envoy.gateway_time_ms") < 100.0,
            "{segment:#?}"
        );
    }
}

#[tokio::test]
async fn an_event_stream_ends_when_its_client_leaves() {
    let gateway = gateway().await.start().await;
    let mut steps = vec![send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )];
    for _ in 0..100 {
        steps.extend([send("9\r\ndata: x\n\n\r\n"), ms(50)]);
    }
    gateway.upstream.script("GET", "/events", steps);
    let (_, answer) = curl(&[
        "--no-buffer",
        "--max-time",
        "0.7",
        &url(&gateway, "/events"),
    ])
    .await;
    assert!(answer.matches("data: x").count() > 5, "{answer}");
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "cancelled 200 DC | cancelled 200");
    assert!(segment.call().duration_ms() > 500.0);
    assert!(segment.call().number("envoy.time_to_first_byte_ms") < 300.0);
}
