//! Receivers that nobody here wrote, and what they make of what the gateway sends.

use e2e::{Bugsink, Gateway, Request};
use serde_json::json;

/// Bugsink takes errors only. It answers every envelope with 200 and says in
/// `X-Sentry-Rate-Limits` what it does not want to get for a day; the gateway obeys.
#[tokio::test]
async fn bugsink_asks_for_no_spans_and_gets_no_more() {
    let bugsink = Bugsink::start().await;
    for format in ["transaction", "span_v2"] {
        let builder = Gateway::builder().await;
        let (builder, cluster) = bugsink.behind(builder);
        let config = json!({
            "dsn": bugsink.dsn(),
            "transport": {"format": format, "cluster": cluster},
        });
        let gateway = builder.config(config).start().await;
        gateway.pass(&Request::get("/api/1")).await;
        let first = gateway.envoy.wait_for_account(|spans| spans.sent == 2);
        let first = first.await;
        assert!(first.discarded.is_empty(), "{format}: {first}");

        gateway.pass(&Request::get("/api/2")).await;
        let second = gateway.envoy.wait_for_account(|spans| {
            spans.recorded == 4 && spans.discarded.values().sum::<u64>() == 2
        });
        let second = second.await;
        let reasons: Vec<_> = second.discarded.keys().collect();
        assert_eq!(reasons, ["ratelimit_backoff"], "{format}: {second}");
    }
    assert!(bugsink.issues().await.is_empty());
}

/// What stands for the gateway's own errors: it is kept as an issue, by Sentry's own schema.
#[tokio::test]
async fn bugsink_makes_issues_of_events() {
    let bugsink = Bugsink::start().await;
    let event = |level: &str| {
        json!({
            "event_id": "9ec79c33ec9942ab8353589fcb2e04dc",
            "timestamp": 1_795_820_380.5,
            "platform": "other",
            "level": level,
            "exception": {"values": [{"type": "NoHealthyUpstream", "value": "cluster shop"}]},
        })
    };
    let post = async |event: serde_json::Value| {
        let header = json!({"event_id": event["event_id"], "dsn": bugsink.dsn()});
        let body = format!("{header}\n{}\n{event}\n", json!({"type": "event"}));
        let post = Request::new("POST", "/api/1/envelope/").body(body);
        post.send(bugsink.address())
            .await
            .expect("an answer")
            .status
    };
    // It answers the same to whatever comes, and keeps what is an event by Sentry's schema.
    assert_eq!(post(event("no level")).await, 200);
    assert!(bugsink.issues().await.is_empty());

    assert_eq!(post(event("error")).await, 200);
    let issues = bugsink.issues().await;
    let [issue] = &issues[..] else {
        panic!("one issue: {issues:?}");
    };
    assert_eq!(issue["calculated_type"], "NoHealthyUpstream");
    assert_eq!(issue["calculated_value"], "cluster shop");
    assert_eq!(bugsink.events(issue).await, [event("error")]);
}
