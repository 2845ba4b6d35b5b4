//! A stream that has ended, seen in Sentry: one segment, never two and never none.

use mini_sentry::Segment;
use serde_json::Value;

use crate::{
    client::Request,
    gateway::{Gateway, SPANS},
};

/// The segment of the only request so far, after another one has come through: whatever the first
/// one left behind would have come with it.
///
/// # Panics
/// If there is no segment, or another one beside it.
pub async fn only(gateway: &Gateway) -> Segment {
    gateway.pass(&Request::get("/afterwards")).await;
    let mut segments = gateway.sentry.wait_for_segments(2).await;
    assert_eq!(segments.len(), 2, "{segments:#?}");
    let last = segments.pop().expect("two");
    assert_eq!(last.server.name, "/afterwards");
    let first = segments.remove(0);
    let spans = SPANS + 1 + first.calls.len() as u64;
    let account = gateway.envoy.wait_for_account(|it| it.sent >= spans).await;
    assert_eq!(account.recorded, spans, "{account}");
    first
}

/// That the requests so far have left nothing, after another one has come through.
///
/// # Panics
/// If there is a segment of theirs.
pub async fn none(gateway: &Gateway) {
    gateway.pass(&Request::get("/afterwards")).await;
    let segment = gateway.sentry.only_segment().await;
    assert_eq!(segment.server.name, "/afterwards");
    let account = gateway
        .envoy
        .wait_for_account(|it| it.sent >= SPANS && it.queued == 0)
        .await;
    assert_eq!(account.recorded, SPANS, "{account}");
}

/// What a segment says, in short: `<status> <code> <flags>` of the gateway's own span, then
/// ` | <status> <code>` of each call.
pub fn told(segment: &Segment) -> String {
    let number = |value: Option<&Value>| value.map_or("-".to_owned(), Value::to_string);
    let code = "http.response.status_code";
    let mut told = format!(
        "{} {}",
        segment.server.status,
        number(segment.server.attribute(code))
    );
    let flags = segment.server.text("envoy.response_flags");
    if !flags.is_empty() {
        told += &format!(" {flags}");
    }
    for call in &segment.calls {
        told += &format!(" | {} {}", call.status, number(call.attribute(code)));
    }
    told
}
