//! Failures of the gateway become error events (filter.md §13): each that can be provoked, whatever
//! is sampled, in every format.

use e2e::{
    envoy::{cluster_at, http2_cluster_at, Account},
    eventually,
    oracles::ask,
    peers::{curl, talk, Peer},
    Answer, Gateway, GatewayBuilder, Request, Route, Step,
};
use serde_json::{json, Value};

const FAULT: &str = "envoy.filters.http.fault";

/// A gateway that samples nothing, so that an event is all that it sends.
async fn gateway(more: Value) -> GatewayBuilder {
    let mut config = json!({"traces_sample_rate": 0, "capture_failures": {}});
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    Gateway::builder().await.config(config)
}

fn step(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// What was captured, after a failure that is the last one.
async fn names(gateway: &Gateway) -> Vec<String> {
    gateway.send(&Request::get("/refused/last")).await;
    let is_last = async || {
        let errors = gateway.sentry.errors();
        let last = errors
            .iter()
            .any(|error| error.text("/request/url").ends_with("/refused/last"));
        last.then_some(())
    };
    eventually(is_last).await.expect("the last event");
    // POSTs overtake each other.
    let is_done = |events: &Account| events.queued == 0 && events.in_flight == 0;
    gateway.envoy.wait_for_events(is_done).await;
    let mut errors = gateway.sentry.errors();
    errors.retain(|error| !error.text("/request/url").ends_with("/refused/last"));
    errors.sort_by_key(|error| error.text("/timestamp").to_owned());
    errors.iter().map(|error| error.name().to_owned()).collect()
}

fn refused() -> Route {
    Route::new("/refused/{id}", "/refused/.*").to_refused()
}

/// Everything that an event says, and that it is in the trace that the upstream would have had.
#[tokio::test]
async fn a_connection_that_is_refused() {
    let gateway = gateway(json!({"capture_request_headers": ["x-request-id", "cookie"]}));
    let gateway = gateway.await.route(refused()).start().await;
    let trace = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718-0";
    let request = Request::get("/refused/7?token=hush")
        .header("sentry-trace", trace)
        .header("x-request-id", "r1")
        .header("cookie", "session=hush")
        .header("user-agent", "hush");
    gateway.send(&request).await.assert_answered_by_gateway(503);
    let event = gateway.sentry.only_error().await;
    assert_eq!(event.name(), "UpstreamConnectionFailure");
    assert_eq!(
        event.value(),
        "cluster refused, route /refused/{id}: 503 (UF)"
    );
    assert_eq!(event.transaction(), "GET /refused/{id}");
    assert_eq!(event.trace_id(), &trace[..32]);
    assert_eq!(event.span_id(), "b9f2e3d4c5a60718", "the caller's");
    assert_eq!(event.tag("envoy.response_flags"), Some("UF"));
    let details = event.tag("envoy.response_code_details").unwrap_or_default();
    assert!(details.contains("remote_connection_failure"), "{details}");
    let fingerprint = json!(["UpstreamConnectionFailure", "refused", "/refused/{id}"]);
    assert_eq!(event.payload["fingerprint"], fingerprint);
    let url = event.text("/request/url");
    assert!(url.ends_with("/refused/7"), "{url}");
    assert_eq!(event.text("/request/query_string"), "token=[Filtered]");
    let headers = json!({"x-request-id": "r1", "cookie": "[Filtered]"});
    assert_eq!(event.payload["request"]["headers"], headers);
    assert_eq!(event.text("/release"), "gateway@1.2.3");
    assert!(
        !event.payload.to_string().contains("hush"),
        "{:#}",
        event.payload
    );
    let account = gateway
        .envoy
        .wait_for_events(|events| events.sent == 1)
        .await;
    assert_eq!(account.recorded, 1);
}

/// The gateway's own span, where one is recorded; in every format, each through its own way.
#[tokio::test]
async fn an_event_is_in_the_trace_of_its_span() {
    for format in ["transaction", "span_v2", "otlp"] {
        let more = json!({"traces_sample_rate": 1, "transport": {"format": format}});
        let gateway = gateway(more).await.route(refused()).start().await;
        gateway.send(&Request::get("/refused/7")).await;
        let event = gateway.sentry.only_error().await;
        let segment = gateway.sentry.only_segment().await;
        assert_eq!(event.trace_id(), segment.server.trace_id, "{format}");
        assert_eq!(event.span_id(), segment.server.span_id, "{format}");
        gateway
            .envoy
            .wait_for_events(|events| events.sent == 1)
            .await;
        gateway
            .envoy
            .wait_for_account(|spans| spans.sent == 2)
            .await;
    }
}

/// Rate 0 is in the other tests.
#[tokio::test]
async fn what_is_not_sampled_fails_all_the_same() {
    for more in [
        json!({"traces_sample_rate": null}),
        json!({"traces_sample_rate": 1, "max_traces_per_second": 0.001}),
    ] {
        let gateway = gateway(more).await.route(refused()).start().await;
        // The first one is let through by the throttle.
        for _ in 0..2 {
            gateway.send(&Request::get("/refused/7")).await;
        }
        let events = gateway.sentry.wait_for_errors(2).await;
        assert_ne!(events[0].trace_id(), events[1].trace_id());
        assert_ne!(events[0].event_id(), events[1].event_id());
    }
}

/// Relay's own normaliser, which reads every event that comes to Sentry, finds nothing to change; of
/// what is wrong it complains.
#[tokio::test]
async fn relay_takes_an_event_as_it_is() {
    let options = json!({
        "capture_request_headers": ["x-request-id", "cookie"],
        "release": "shop@1.2", "environment": "test", "server_name": "edge-1",
    });
    let gateway = gateway(options).await.route(refused()).start().await;
    let request = Request::get("/refused/7?token=x&page=2&empty=");
    let request = request.header("x-request-id", "r1").header("cookie", "a=1");
    gateway.send(&request).await;
    let events = gateway.sentry.wait_for_errors(1).await;
    let good = &events[0].payload;
    let complaints = |event: &Value| {
        let verdicts = ask("read_errors.py", &[event.to_string()]);
        verdicts[0]["complaints"].as_array().cloned()
    };
    assert_eq!(complaints(good), Some(Vec::new()), "{good}");
    for (pointer, value) in [
        ("/level", json!("dire")),
        ("/environment", json!("x".repeat(100))),
        ("/contexts/trace/span_id", json!("short")),
        ("/timestamp", json!("yesterday")),
        ("/release", json!("a/b")),
    ] {
        let mut spoiled = good.clone();
        *spoiled.pointer_mut(pointer).expect("what is spoiled") = value;
        assert_ne!(complaints(&spoiled), Some(Vec::new()), "{pointer}");
    }
}

#[tokio::test]
async fn every_failure_that_can_be_provoked_has_its_name() {
    let builder = gateway(json!({})).await;
    let mut full = cluster_at("full", Some(builder.upstream().address()));
    full["circuit_breakers"] = json!({"thresholds": [{"max_requests": 0, "max_pending_requests": 0, "max_connections": 0}]});
    let to = |cluster: &str| json!({"route": {"cluster": cluster}});
    // Envoy refuses a configuration that names a cluster which it does not have.
    let by_header = json!({"route": {"cluster_header": "x-cluster"}});
    let quick = |limit: Value| {
        let mut action = json!({"cluster": "upstream"});
        action
            .as_object_mut()
            .unwrap()
            .extend(limit.as_object().unwrap().clone());
        json!({"route": action})
    };
    let per_try = json!({"timeout": "0s", "retry_policy": {"retry_on": "reset", "num_retries": 1, "per_try_timeout": "0.1s"}});
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let abort =
        json!({"@type": fault, "abort": {"http_status": 503, "percentage": {"numerator": 100}}});
    let gateway = builder
        .cluster(full)
        .behind(FAULT, json!({"@type": fault}))
        .route(refused())
        .route(Route::new("/none", "/none").to_no_host())
        .route(Route::new("/full", "/full").action(to("full")))
        .route(Route::new("/missing", "/missing").action(by_header))
        .route(Route::new("/late", "/late").action(quick(json!({"timeout": "0.2s"}))))
        .route(Route::new("/tries", "/tries").action(quick(per_try)))
        .route(Route::new("/again", "/again").action(quick(
            json!({"retry_policy": {"retry_on": "reset", "num_retries": 1}}),
        )))
        .route(
            Route::new("/idle", "/idle")
                .action(quick(json!({"timeout": "0s", "idle_timeout": "0.2s"}))),
        )
        .route(Route::new("/direct", "/direct").action(json!({"direct_response": {"status": 503}})))
        .route(Route::new("/fault", "/fault").filter(FAULT, abort))
        .start()
        .await;
    for path in ["/late", "/tries", "/idle"] {
        gateway.upstream.script("GET", path, vec![Step::Hang]);
    }
    gateway.upstream.script("GET", "/gone", vec![Step::Reset]);
    gateway.upstream.script(
        "GET",
        "/broken",
        vec![step("HTTP/1.1 OK what\r\n\r\n"), Step::Hang],
    );
    let good = step("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    gateway
        .upstream
        .replies("GET", "/again", vec![vec![Step::Reset], vec![good]]);
    let rows = [
        ("/none", 503, Some("NoHealthyUpstream")),
        ("/full", 503, Some("UpstreamOverflow")),
        ("/missing", 503, Some("NoClusterFound")),
        ("/late", 504, Some("UpstreamRequestTimeout")),
        ("/tries", 504, Some("UpstreamRequestTimeout")),
        ("/idle", 504, Some("StreamIdleTimeout")),
        ("/gone", 503, Some("UpstreamReset")),
        ("/broken", 502, Some("UpstreamProtocolError")),
        // A retry that ended well, what a service answers, what Envoy was told to, and a code that
        // is not in the list.
        ("/again", 200, None),
        ("/status/503", 503, None),
        ("/status/404", 404, None),
        ("/direct", 503, None),
        ("/fault", 503, None),
    ];
    for (path, status, _) in rows {
        let target = format!("http://{}{path}", gateway.envoy.address());
        let (_, answer) = curl(&[
            "--silent",
            "--output",
            "/dev/null",
            "--header",
            "x-cluster: missing",
            "--write-out",
            "%{http_code}",
            &target,
        ])
        .await;
        assert!(answer.ends_with(&status.to_string()), "{path}: {answer}");
    }
    let expected: Vec<_> = rows.iter().filter_map(|(_, _, name)| *name).collect();
    assert_eq!(names(&gateway).await, expected);
}

#[tokio::test]
async fn nobody_is_told_of_what_is_no_failure() {
    let gateway = gateway(json!({"traces_sample_rate": 1}));
    let rules = json!({"rules": [{"match": {"path": "^/refused/health$"}, "ignore": true}]});
    drop(gateway);
    let gateway = self::gateway(rules).await.route(refused()).start().await;
    gateway.upstream.script("GET", "/hang", vec![Step::Hang]);
    let half = step("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    gateway
        .upstream
        .script("GET", "/half", vec![half, Step::Reset]);
    for path in ["/hang", "/half"] {
        let target = format!("http://{}{path}", gateway.envoy.address());
        curl(&["--max-time", "0.3", &target]).await;
    }
    gateway.send(&Request::new("OPTIONS", "/refused/a")).await;
    gateway.send(&Request::get("/refused/health")).await;
    // The receiver itself, as the filter's own POSTs come by where they lead through the gateway.
    let receiver = gateway.sentry.address().to_string();
    gateway
        .send(&Request::get("/api/7/envelope/").host(receiver))
        .await;
    assert_eq!(names(&gateway).await, Vec::<String>::new());
}

/// With `any` also what services answer, and with the operator's codes.
#[tokio::test]
async fn what_services_answer_is_captured_where_it_is_wanted() {
    let capture = json!({"origin": "any", "status_codes": [404, [500, 503]], "max_per_minute": 2});
    let gateway = gateway(json!({"capture_failures": capture})).await;
    let gateway = gateway.route(refused()).start().await;
    for path in [
        "/status/500",
        "/status/404",
        "/status/504",
        "/status/503",
        "/status/403",
    ] {
        gateway.send(&Request::get(path)).await;
    }
    assert_eq!(names(&gateway).await, ["HTTP 500", "HTTP 404", "HTTP 503"]);
    let first = &gateway.sentry.errors()[0];
    assert_eq!(first.transaction(), "GET /status/500");
    assert_eq!(
        first.tag("envoy.response_code_details"),
        Some("via_upstream")
    );
}

#[tokio::test]
async fn a_storm_stays_within_its_minute_and_is_accounted_for() {
    for format in ["transaction", "otlp"] {
        let capture = json!({"max_per_minute": 3});
        let more = json!({"capture_failures": capture, "transport": {"format": format}});
        let gateway = gateway(more).await.route(refused()).start().await;
        for index in 0..40 {
            gateway
                .send(&Request::get(format!("/refused/{index}")))
                .await;
        }
        let account = gateway
            .envoy
            .wait_for_events(|events| events.sent == 3 && events.recorded == 40)
            .await;
        assert_eq!(
            (account.recorded, account.discarded_for("max_per_minute")),
            (40, 37)
        );
        assert_eq!(gateway.sentry.wait_for_errors(3).await.len(), 3);
        // Another route has a budget of its own, and tells of what was lost.
        gateway.upstream.script("GET", "/gone", vec![Step::Reset]);
        gateway.send(&Request::get("/gone")).await;
        let told = eventually(async || {
            let told = gateway.sentry.discarded("sample_rate", "error");
            (told == 37).then_some(())
        });
        assert!(
            told.await.is_some(),
            "{}",
            gateway.sentry.discarded("sample_rate", "error")
        );
    }
}

/// Of each category what the receiver wants.
#[tokio::test]
async fn limits_go_by_category() {
    let more = json!({"traces_sample_rate": 1});
    let gateway = gateway(more).await.route(refused()).start().await;
    let limits = "60:error:organization";
    gateway.sentry.answer(Answer::with_headers(
        200,
        &[("x-sentry-rate-limits", limits)],
    ));
    gateway.pass(&Request::get("/first")).await;
    gateway.sentry.wait_for_segments(1).await;
    gateway.send(&Request::get("/refused/7")).await;
    gateway.sentry.wait_for_segments(2).await;
    let events = gateway
        .envoy
        .wait_for_events(|events| events.recorded == 1)
        .await;
    assert_eq!(events.discarded_for("ratelimit_backoff"), 1, "{events}");
    assert_eq!(gateway.sentry.errors().len(), 0);
    gateway
        .envoy
        .wait_for_account(|spans| spans.sent == 4)
        .await;
}

/// Envoy answers gRPC with 200, and the failure in `grpc-status`.
#[tokio::test]
async fn a_grpc_service_that_is_down() {
    let peer = Peer::serve("grpc_peer.py").await;
    let cluster = http2_cluster_at("grpc", peer.address());
    let route = Route::new("grpc", "/shop\\.v1\\.Cart/.*")
        .action(json!({"route": {"cluster": "grpc", "timeout": "0s"}}));
    let builder = gateway(json!({})).await.cluster(cluster).route(route);
    let gateway = builder.start().await;
    let port = gateway.envoy.address().port().to_string();
    // The service's own failures are its own to report.
    for method in ["Add", "Fail", "Nothing"] {
        talk("grpc_peer.py", &["call", &port, method]).await;
    }
    drop(peer);
    talk("grpc_peer.py", &["call", &port, "Add"]).await;
    let event = gateway.sentry.only_error().await;
    assert_eq!(event.name(), "UpstreamConnectionFailure");
    assert_eq!(
        event.value(),
        "cluster grpc, route grpc: 200, gRPC UNAVAILABLE (UF)"
    );
}

/// The path that was asked for, and the name that a rule gives, where Envoy rewrites the path.
#[tokio::test]
async fn a_rewritten_path_is_told_as_it_was_asked() {
    let action = json!({"route": {"cluster": "refused", "prefix_rewrite": "/internal"}});
    let rules =
        json!([{"match": {"path": "^/shops/[^/]+/items"}, "transaction": "/shops/{shop}/items"}]);
    let route = Route::new("rewritten", "/shops/.*").action(action);
    let gateway = gateway(json!({"rules": rules}))
        .await
        .route(route)
        .start()
        .await;
    gateway.send(&Request::get("/shops/7/items?q=1")).await;
    let event = gateway.sentry.only_error().await;
    assert!(
        event.text("/request/url").ends_with("/shops/7/items"),
        "{:#}",
        event.payload
    );
    assert_eq!(event.transaction(), "GET /shops/{shop}/items");
}
