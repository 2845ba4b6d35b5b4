//! What Envoy's log says when spans do not reach Sentry: one line when it begins, with its meaning
//! and the number lost, and one when it is over, whatever the number of requests.

use e2e::{eventually, Gateway, Request};
use mini_sentry::Answer;
use serde_json::json;

const BEGINS: &str = "sentry: spans do not reach Sentry: ";
const IS_OVER: &str = "sentry: spans reach Sentry again, ";

/// The lines of the log with a text.
fn lines(gateway: &Gateway, text: &str) -> Vec<String> {
    let log = gateway.envoy.log();
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(str::to_owned).collect()
}

/// Sends requests until all that they recorded has come to an end, and waits for a line.
async fn requests(gateway: &Gateway, text: &str) {
    for _ in 0..10 {
        gateway.pass(&Request::get("/api/1")).await;
    }
    let told = eventually(async || (!lines(gateway, text).is_empty()).then_some(()));
    assert!(told.await.is_some(), "{text}: {}", gateway.envoy.log());
}

#[tokio::test]
async fn a_receiver_that_refuses_is_told_once_and_its_return_once() {
    for (status, meaning) in [
        (401, "the receiver does not know the key"),
        (403, "the receiver does not know the key"),
        (413, "finds the body too large"),
        (500, "is failing"),
    ] {
        let gateway = Gateway::start(json!({})).await;
        gateway.sentry.answer(Answer::status(status));
        requests(&gateway, BEGINS).await;
        gateway.envoy.wait_for_stat("spans_queued", 0).await;
        let [line] = &lines(&gateway, BEGINS)[..] else {
            panic!("{:#?}", lines(&gateway, BEGINS));
        };
        assert!(line.contains("[warning]"), "{line}");
        assert!(line.contains(&format!("{status}: ")), "{line}");
        assert!(line.contains(meaning), "{line}");
        assert!(line.contains("spans lost so far: "), "{line}");
        assert!(lines(&gateway, IS_OVER).is_empty());

        gateway.sentry.answer(Answer::status(200));
        requests(&gateway, IS_OVER).await;
        assert_eq!(lines(&gateway, IS_OVER).len(), 1);
        assert_eq!(lines(&gateway, BEGINS).len(), 1);
    }
}

#[tokio::test]
async fn a_limit_is_told() {
    let gateway = Gateway::start(json!({})).await;
    let limit = [("retry-after", "1")];
    gateway.sentry.answer(Answer::with_headers(429, &limit));
    requests(&gateway, BEGINS).await;
    let told = lines(&gateway, BEGINS);
    assert!(
        told[0].contains("429: the key or the project is limited"),
        "{told:#?}"
    );
    gateway.sentry.answer(Answer::status(200));
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    requests(&gateway, IS_OVER).await;
    assert_eq!(lines(&gateway, BEGINS).len(), 1);
}

#[tokio::test]
async fn no_way_to_the_receiver_is_told() {
    let down = Gateway::builder().await.config(json!({}));
    let down = down.with_sentry_down().start().await;
    requests(&down, BEGINS).await;
    let elsewhere = json!({"transport": {"cluster": "sentri"}});
    let elsewhere = Gateway::start(elsewhere).await;
    requests(&elsewhere, BEGINS).await;
    let nowhere = json!({"transport": {"cluster": "no-host"}});
    let nowhere = Gateway::start(nowhere).await;
    requests(&nowhere, BEGINS).await;
    for (gateway, meaning) in [
        (&down, "there is no connection: nothing listens there"),
        (
            &elsewhere,
            "Envoy has no cluster of the name in transport.cluster",
        ),
        (&nowhere, "has no healthy host"),
    ] {
        let told = lines(gateway, BEGINS);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(meaning), "{told:#?}");
        assert!(
            told[0].contains("the others wait and are tried again"),
            "{told:#?}"
        );
    }
}

/// Nothing is said of a receiver that takes all.
#[tokio::test]
async fn a_receiver_that_works_is_not_mentioned() {
    let gateway = Gateway::start(json!({})).await;
    gateway.burst(20).await;
    gateway
        .envoy
        .wait_for_stat("spans_sent", 20 * e2e::SPANS)
        .await;
    for text in [BEGINS, IS_OVER] {
        assert!(lines(&gateway, text).is_empty(), "{}", gateway.envoy.log());
    }
}
