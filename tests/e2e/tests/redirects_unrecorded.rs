//! Internal redirects of requests that are not recorded: what was decided on the first trip holds
//! on every later one.

use e2e::{Gateway, GatewayBuilder, RecordedRequest, Reply, Request, Route};
use serde_json::{json, Value};

const CALLER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-1";
const DSC: &str = "sentry-trace_id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,sentry-sampled=true";

/// A gateway that follows the redirects of `/old` itself.
async fn redirecting(config: Value) -> Gateway {
    let policy = json!({"max_internal_redirects": 2});
    let action = json!({"route": {"cluster": "upstream", "internal_redirect_policy": policy}});
    let route = Route::new("/old", "/old").action(action);
    let builder = Gateway::builder().await.config(config).route(route);
    let gateway = builder.start().await;
    let url = format!("http://{}/new", gateway.envoy.address());
    let redirect = Reply::status(302).header("location", url);
    gateway.upstream.reply("GET", "/old", redirect);
    gateway
}

/// Sends a caller's request for `/old`, and returns what the two upstreams got of it.
async fn follow(gateway: &Gateway) -> [RecordedRequest; 2] {
    let host = gateway.envoy.address().to_string();
    let request = Request::get("/old")
        .host(&host)
        .header("sentry-trace", CALLER)
        .header("baggage", DSC);
    let answer = request.send(gateway.envoy.address()).await.expect("sent");
    assert_eq!(answer.status, 200);
    ["/old", "/new"].map(|path| {
        let mut taken = gateway.upstream.take(path.as_bytes());
        assert_eq!(taken.len(), 1, "{path}");
        taken.remove(0)
    })
}

#[tokio::test]
async fn a_restarted_trace_is_one() {
    let config = json!({"incoming": {"trace": "restart"}, "traces_sample_rate": 0});
    let gateway = redirecting(config).await;
    for _ in 0..20 {
        let [first, second] = follow(&gateway).await;
        assert_eq!(first.sentry_trace(), second.sentry_trace());
        assert_eq!(
            first.headers.lines("baggage"),
            second.headers.lines("baggage")
        );
    }
    gateway.envoy.wait_for_stat("requests", 20).await;
    assert_eq!(gateway.envoy.stat("traces_restarted.configured").await, 20);
}

#[tokio::test]
async fn a_decision_is_drawn_once() {
    let config = json!({"incoming": {"sampled": "ignore"}, "traces_sample_rate": 0.5});
    let gateway = redirecting(config).await;
    let mut sampled = 0;
    for _ in 0..100 {
        let [first, second] = follow(&gateway).await;
        let flags = [&first, &second].map(|request| request.sentry_trace().sampled);
        assert_eq!(flags[0], flags[1]);
        assert_eq!(
            first.headers.lines("baggage"),
            second.headers.lines("baggage")
        );
        sampled += u64::from(flags[0] == Some(true));
    }
    // 0.81 of them were recorded where each trip drew for itself.
    assert!((30..=70).contains(&sampled), "{sampled} of 100");
    gateway.envoy.wait_for_stat("requests", 100).await;
    gateway
        .envoy
        .wait_for_stat("spans_recorded", sampled * 3)
        .await;
}

#[tokio::test]
async fn the_trace_is_the_callers_where_only_the_second_upstream_gets_it() {
    for rate in [0, 1] {
        let config = json!({"trace_propagation_targets": ["/new"], "traces_sample_rate": rate});
        let gateway = redirecting(config).await;
        let [first, second] = follow(&gateway).await;
        first.assert_lines::<&str>("sentry-trace", &[]);
        first.assert_lines::<&str>("baggage", &[]);
        let trace = second.sentry_trace();
        assert_eq!(trace.trace_id, CALLER[..32]);
        second.assert_lines("baggage", &[DSC]);
        if rate == 1 {
            let segments = gateway.sentry.wait_for_segments(1).await;
            let told: Vec<_> = segments.iter().map(e2e::ended::told).collect();
            assert_eq!(told, ["ok 200 | ok 302 | ok 200"]);
        }
    }
}

/// The second trip of the custom response filter is the same request, too. It stands behind ours,
/// as the documentation asks for.
#[tokio::test]
async fn a_custom_response_is_of_the_same_request() {
    let filter = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse",
        "custom_response_matcher": {"matcher_list": {"matchers": [{
            "predicate": {"single_predicate": {
                "input": {
                    "name": "status",
                    "typed_config": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"},
                },
                "value_match": {"exact": "503"},
            }},
            "on_match": {"action": {
                "name": "redirect",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy",
                    "uri": "http://gateway.test/new",
                },
            }},
        }]}},
    });
    let builder: GatewayBuilder = Gateway::builder()
        .await
        .config(json!({"incoming": {"trace": "restart"}, "traces_sample_rate": 0}))
        .behind("envoy.filters.http.custom_response", filter);
    let gateway = builder.start().await;
    gateway.upstream.reply("GET", "/old", Reply::status(503));
    let request = Request::get("/old").header("sentry-trace", CALLER);
    let answer = request.send(gateway.envoy.address()).await.expect("sent");
    assert_eq!(answer.status, 503);
    let first = gateway.upstream.take(b"/old").remove(0);
    let second = gateway.upstream.take(b"/new").remove(0);
    assert_eq!(first.sentry_trace(), second.sentry_trace());
    gateway.envoy.wait_for_stat("requests", 1).await;
}
