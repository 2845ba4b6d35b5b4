//! Envoy's internal redirects: the filter sees a stream for each request, Sentry one segment for
//! the client's, however the last of them ends.
//!
//! Seen on 1.40: the response that is followed never comes by (`on_http_response_headers`),
//! `on_log` of the first stream runs before the request headers of the next one, and what it reads
//! of the route and the cluster is the next one's already.

use e2e::{
    ended::{only, told},
    envoy::cluster_at,
    peers::curl,
    Gateway, GatewayBuilder, Reply, Request, Route, Step,
};
use serde_json::{json, Value};

const LIMITER: &str = "envoy.filters.http.local_ratelimit";
const FAULT: &str = "envoy.filters.http.fault";

/// `/old` may be redirected twice.
async fn redirecting() -> GatewayBuilder {
    let policy = json!({"max_internal_redirects": 2});
    let action = json!({"route": {"cluster": "upstream", "internal_redirect_policy": policy}});
    let route = Route::new("/old", "/old").action(action);
    let builder = Gateway::builder().await.config(json!({}));
    builder.route(route)
}

/// Follows `/old` to `to`; the client's options, and the status it gets, if any.
async fn follow(gateway: &Gateway, to: &str, options: &[&str]) -> Option<u16> {
    let url = |path: &str| format!("http://{}{path}", gateway.envoy.address());
    let redirect = Reply::status(302).header("location", url(to));
    gateway.upstream.reply("GET", "/old", redirect);
    let target = url("/old");
    let (_, answer) = curl(&[options, &[target.as_str()]].concat()).await;
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn the_last_one_is_reset_by_the_upstream() {
    let gateway = redirecting().await.start().await;
    gateway.upstream.script("GET", "/gone", vec![Step::Reset]);
    assert_eq!(follow(&gateway, "/gone", &[]).await, Some(503));
    let segment = only(&gateway).await;
    assert_eq!(
        told(&segment),
        "unavailable 503 UC | ok 302 | internal_error -"
    );
}

#[tokio::test]
async fn the_client_leaves_the_last_one() {
    let gateway = redirecting().await.start().await;
    gateway.upstream.script("GET", "/hang", vec![Step::Hang]);
    let status = follow(&gateway, "/hang", &["--max-time", "0.3"]).await;
    assert_eq!(status, None);
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DC | ok 302 | cancelled -");
}

#[tokio::test]
async fn the_gateway_answers_the_last_one() {
    let direct = Route::new("d", "/direct").action(json!({"direct_response": {"status": 418}}));
    let gateway = redirecting().await.route(direct).start().await;
    assert_eq!(follow(&gateway, "/direct", &[]).await, Some(418));
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "invalid_argument 418 | ok 302");
}

#[tokio::test]
async fn one_too_many_is_the_clients() {
    let gateway = redirecting().await.start().await;
    assert_eq!(follow(&gateway, "/old", &[]).await, Some(302));
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "ok 302 | ok 302 | ok 302 | ok 302");
}

/// A filter in front answers the redirected request, which then never comes back to ours: the
/// segment ends with what is known, the redirect. The client's 429 is not in it.
#[tokio::test]
async fn a_filter_in_front_answers_the_last_one() {
    let limiter = |tokens: Option<u64>| {
        let mut limit = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
        });
        if let Some(tokens) = tokens {
            limit["token_bucket"] = json!({"max_tokens": tokens, "fill_interval": "3600s"});
            limit["filter_enabled"] = json!({"default_value": {"numerator": 100}});
            limit["filter_enforced"] = json!({"default_value": {"numerator": 100}});
        }
        limit
    };
    let gateway = redirecting()
        .await
        .in_front(LIMITER, limiter(None))
        .route(Route::new("limited", "/limited").filter(LIMITER, limiter(Some(1))))
        .start()
        .await;
    gateway.pass(&Request::get("/limited")).await;
    assert_eq!(follow(&gateway, "/limited", &[]).await, Some(429));
    gateway.pass(&Request::get("/afterwards")).await;
    let segments = gateway.sentry.wait_for_segments(3).await;
    let all: Vec<_> = segments.iter().map(told).collect();
    assert_eq!(
        all,
        ["ok 200 | ok 200", "ok 302 | ok 302", "ok 200 | ok 200"]
    );
}

/// The route of the redirected request has our filter turned off, so that nobody sees it: still one
/// segment.
#[tokio::test]
async fn the_filter_is_off_for_the_last_one() {
    let off = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
    });
    let route = Route::new("untraced", "/untraced").filter("sentry", off);
    let gateway = redirecting().await.route(route).start().await;
    assert_eq!(follow(&gateway, "/untraced", &[]).await, Some(200));
    gateway.pass(&Request::get("/afterwards")).await;
    let segments = gateway.sentry.wait_for_segments(2).await;
    let all: Vec<_> = segments.iter().map(told).collect();
    assert_eq!(all, ["ok 302 | ok 302", "ok 200 | ok 200"]);
}

/// One segment, however long a filter in front holds up the redirected request, up to five seconds.
#[tokio::test]
async fn a_filter_in_front_holds_up_the_last_one() {
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let percentage = json!({"numerator": 100});
    let delay = json!({"@type": fault, "delay": {"fixed_delay": "0.5s", "percentage": percentage}});
    let gateway = redirecting()
        .await
        .in_front(FAULT, json!({"@type": fault}))
        .route(Route::new("held", "/held").filter(FAULT, delay))
        .start()
        .await;
    assert_eq!(follow(&gateway, "/held", &[]).await, Some(200));
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "ok 200 DI | ok 302 | ok 200");
}

/// At the end of a stream that is redirected Envoy says the cluster of the next one already, so its
/// call says none.
#[tokio::test]
async fn no_call_tells_the_cluster_of_another() {
    let builder = redirecting().await;
    let upstream = builder.upstream().address();
    let action = json!({"route": {"cluster": "other"}});
    let gateway = builder
        .cluster(cluster_at("other", Some(upstream)))
        .route(Route::new("/new", "/new").action(action))
        .start()
        .await;
    assert_eq!(follow(&gateway, "/new", &[]).await, Some(200));
    let segment = only(&gateway).await;
    let clusters: Vec<Option<&Value>> = segment
        .calls
        .iter()
        .map(|call| call.attribute("envoy.cluster"))
        .collect();
    assert_eq!(clusters, [None, Some(&json!("other"))]);
}
