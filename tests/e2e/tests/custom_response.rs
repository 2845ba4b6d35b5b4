//! Envoy's custom response filter, which puts other responses in the place of an upstream's: by a
//! redirect that Envoy follows itself, or by a local reply.
//!
//! Seen on 1.40. A local reply goes past all filters to the client, so that nothing can be added to
//! it. On the second trip of a redirect the code is that of the first answer, or the policy's:
//! before our filter sees it if ours is nearer to the client, after that otherwise.

use e2e::{
    ended::{only, told},
    Gateway, GatewayBuilder, Reply, Request, Response, Route, Segment, SentryTrace,
};
use serde_json::{json, Value};

const FILTER: &str = "envoy.filters.http.custom_response";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stands {
    Behind,
    InFront,
}

/// `/api` is answered with 503, which the policy matches.
async fn gateway(stands: Stands, policy: Value) -> GatewayBuilder {
    let empty = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse",
    });
    let input = json!({
        "name": "status",
        "typed_config": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"},
    });
    let predicate = json!({"single_predicate": {"input": input, "value_match": {"exact": "503"}}});
    let action = json!({"action": {"name": "policy", "typed_config": policy}});
    let mut matching = empty.clone();
    matching["custom_response_matcher"] =
        json!({"matcher_list": {"matchers": [{"predicate": predicate, "on_match": action}]}});
    let builder = Gateway::builder().await.config(json!({}));
    let builder = match stands {
        Stands::Behind => builder.behind(FILTER, empty),
        Stands::InFront => builder.in_front(FILTER, empty),
    };
    builder.route(Route::new("api", "/api").filter(FILTER, matching))
}

fn redirect(path: &str, status_code: Option<u16>) -> Value {
    let mut policy = json!({
        "@type": "type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy",
        "uri": format!("http://gateway.test{path}"),
    });
    if let Some(status_code) = status_code {
        policy["status_code"] = json!(status_code);
    }
    policy
}

fn local() -> Value {
    // What docs/spans.md tells to add.
    let add = |name: &str, value: &str| json!({"header": {"key": name, "value": value}});
    json!({
        "@type": "type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
        "status_code": 418,
        "body": {"inline_string": "sorry"},
        "response_headers_to_add": [add("sentry-trace", "%REQ(sentry-trace)%")],
    })
}

/// The client's response, the contexts that the upstream got, and the segment.
async fn call(gateway: &Gateway, body: &str) -> (Response, Vec<SentryTrace>, Segment) {
    let reply = Reply::status(503).body("application/json", body);
    gateway.upstream.reply("GET", "/api", reply);
    let request = Request::get("/api");
    let answer = request.send(gateway.envoy.address()).await;
    let requests = gateway.upstream.take_if(|_| true);
    let contexts = requests.iter().map(|request| request.sentry_trace());
    let contexts = contexts.collect();
    (answer.expect("an answer"), contexts, only(gateway).await)
}

#[tokio::test]
async fn a_redirect_is_one_segment_and_its_second_call_claims_no_code_of_the_first() {
    let rows = [
        (Stands::Behind, "/page", None, 503, "ok -"),
        (Stands::Behind, "/page", Some(418), 418, "ok -"),
        (Stands::Behind, "/status/404", None, 503, "ok -"),
        (Stands::InFront, "/page", None, 503, "ok 200"),
        (Stands::InFront, "/page", Some(418), 418, "ok 200"),
        (Stands::InFront, "/status/404", None, 503, "not_found 404"),
    ];
    for (stands, path, status_code, status, second) in rows {
        // A body is cut off by the redirect.
        let bodies: &[&str] = match (path, status_code) {
            ("/page", None) => &["", "{}"],
            _ => &["{}"],
        };
        for body in bodies {
            let row = format!("{stands:?} {path} {status_code:?} {body:?}");
            let policy = redirect(path, status_code);
            let gateway = gateway(stands, policy).await.start().await;
            let (answer, contexts, segment) = call(&gateway, body).await;
            assert_eq!(answer.status, status, "{row}");
            let server = match status {
                503 => "unavailable 503",
                _ => "invalid_argument 418",
            };
            assert_eq!(
                told(&segment),
                format!("{server} | unavailable 503 | {second}"),
                "{row}"
            );
            assert_eq!(contexts.len(), 2, "{row}");
            let answered = answer.headers.text("sentry-trace");
            let answered = answered.and_then(SentryTrace::parse).expect("a trace");
            assert_eq!(answered.span_id, segment.server.span_id, "{row}");
            for (context, call) in contexts.iter().zip(&segment.calls) {
                assert_eq!(context.trace_id, answered.trace_id, "{row}");
                assert_eq!(context.span_id, call.span_id, "{row}");
            }
        }
    }
}

/// The upstream said 503, which nobody tells us; its call does not claim the policy's 418.
#[tokio::test]
async fn a_local_reply_has_the_trace_where_the_policy_says_so() {
    for stands in [Stands::Behind, Stands::InFront] {
        for body in ["", "{}"] {
            let row = format!("{stands:?} {body:?}");
            let gateway = gateway(stands, local()).await.start().await;
            let (answer, contexts, segment) = call(&gateway, body).await;
            assert_eq!(answer.status, 418, "{row}");
            let told_now = told(&segment);
            assert_eq!(told_now, "invalid_argument 418 | unknown_error -", "{row}");
            // One line: ours does not reach the client.
            let lines = answer.headers.lines("sentry-trace");
            let context = contexts[0].to_string();
            assert_eq!(lines, [context.as_bytes()], "{row}");
        }
    }
}

/// Envoy's own answer is replaced: the upstream did not answer at all.
#[tokio::test]
async fn a_local_reply_in_the_place_of_envoys_own() {
    for stands in [Stands::Behind, Stands::InFront] {
        let gateway = gateway(stands, local()).await.start().await;
        gateway
            .upstream
            .script("GET", "/api", vec![e2e::Step::Reset]);
        let request = Request::get("/api");
        let answer = request.send(gateway.envoy.address()).await;
        assert_eq!(answer.expect("an answer").status, 418, "{stands:?}");
        let segment = only(&gateway).await;
        let told = told(&segment);
        assert_eq!(
            told, "invalid_argument 418 UC | internal_error -",
            "{stands:?}"
        );
    }
}

/// Another filter that answers on the way back: a body that is too large to be looked at whole.
#[tokio::test]
async fn a_reply_because_of_a_body_that_is_too_large() {
    let lua = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {
            "inline_string": "function envoy_on_response(handle)\n  handle:body()\nend",
        },
    });
    let builder = Gateway::builder().await.config(json!({}));
    let gateway = builder.behind("envoy.filters.http.lua", lua).start().await;
    let reply = Reply::status(200).body("text/plain", vec![b'x'; 4 << 20]);
    gateway.upstream.reply("GET", "/api", reply);
    let answer = Request::get("/api").send(gateway.envoy.address()).await;
    assert_eq!(answer.expect("an answer").status, 500);
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "internal_error 500 | unknown_error -");
}
