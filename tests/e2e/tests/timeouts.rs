//! Everything that Envoy gives up waiting for. Each leaves one segment; that of a client whose
//! answer was cut says so, though its code is 200.

use e2e::{
    ended::{only, told},
    peers::curl,
    Gateway, Route, Step,
};
use serde_json::{json, Value};

/// A route to the upstream with these limits.
async fn gateway(limits: Value) -> Gateway {
    let mut action = json!({"cluster": "upstream", "timeout": "0s"});
    for (name, value) in limits.as_object().into_iter().flatten() {
        action[name] = value.clone();
    }
    let route = Route::new("/slow", "/slow").action(json!({"route": action}));
    let builder = Gateway::builder().await.config(json!({}));
    builder.route(route).start().await
}

/// Asks an upstream that never answers; `true` if the client got an answer as a whole.
async fn without_an_answer(gateway: &Gateway) -> bool {
    gateway.upstream.script("GET", "/slow", vec![Step::Hang]);
    ask(gateway).await
}

/// Asks an upstream that begins an answer and never ends it.
async fn with_half_an_answer(gateway: &Gateway) -> bool {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec();
    let steps = vec![Step::Send(half), Step::Hang];
    gateway.upstream.script("GET", "/slow", steps);
    ask(gateway).await
}

async fn ask(gateway: &Gateway) -> bool {
    curl(&[&format!("http://{}/slow", gateway.envoy.address())])
        .await
        .0
}

/// The limits, and the flag that Envoy sets for each.
fn limits() -> [(Value, &'static str); 3] {
    [
        (json!({"timeout": "0.2s"}), " UT"),
        (json!({"idle_timeout": "0.2s"}), " SI"),
        // No flag: only the details tell.
        (
            json!({"max_stream_duration": {"max_stream_duration": "0.2s"}}),
            "",
        ),
    ]
}

#[tokio::test]
async fn an_answer_that_never_comes() {
    for (limit, flag) in limits() {
        let gateway = gateway(limit).await;
        assert!(without_an_answer(&gateway).await, "504 is an answer");
        let segment = only(&gateway).await;
        let told = told(&segment);
        let expected = format!("deadline_exceeded 504{flag} | ");
        assert!(told.starts_with(&expected), "{told}");
        let took = segment.server.duration_ms();
        assert!((180.0..5000.0).contains(&took), "{took} ms");
    }
}

#[tokio::test]
async fn an_answer_that_never_ends() {
    for (limit, flag) in limits() {
        let gateway = gateway(limit).await;
        assert!(!with_half_an_answer(&gateway).await, "the client was told");
        let segment = only(&gateway).await;
        assert_eq!(segment.server.text("envoy.response_flags"), flag.trim());
        assert_eq!(segment.server.number("http.response.status_code"), 200.0);
        assert_eq!(segment.calls.len(), 1);
        let took = segment.server.duration_ms();
        assert!((180.0..5000.0).contains(&took), "{took} ms");
    }
}

/// They are answers of the upstream's which Envoy has cut: the details are `response_timeout`,
/// `stream_idle_timeout` and `max_duration_timeout`.
#[tokio::test]
async fn an_answer_that_never_ends_is_told_on_both_sides() {
    for (limit, flag) in limits() {
        let gateway = gateway(limit).await;
        with_half_an_answer(&gateway).await;
        let expected = format!("deadline_exceeded 200{flag} | deadline_exceeded 200");
        assert_eq!(told(&only(&gateway).await), expected);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_has_exceeded_its_deadline() {
    for (limit, flag) in limits() {
        let gateway = gateway(limit).await;
        without_an_answer(&gateway).await;
        let expected = format!("deadline_exceeded 504{flag} | deadline_exceeded -");
        assert_eq!(told(&only(&gateway).await), expected);
    }
}

#[tokio::test]
async fn every_attempt_may_take_its_time() {
    let retry = json!({"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.2s"});
    let gateway = gateway(json!({"timeout": "10s", "retry_policy": retry})).await;
    assert!(without_an_answer(&gateway).await);
    let segment = only(&gateway).await;
    assert_eq!(
        told(&segment),
        "deadline_exceeded 504 UT,URX | deadline_exceeded -"
    );
    let call = segment.call();
    assert_eq!(call.number("http.request.resend_count"), 1.0);
    assert!(call.duration_ms() > 380.0, "both attempts: {call:#?}");
}
