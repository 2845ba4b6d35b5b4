//! What becomes of spans when a configuration is replaced, and when Envoy ends.

use std::time::{Duration, Instant};

use e2e::{Gateway, Request, SPANS};
use serde_json::json;
use tokio::task::JoinSet;

/// Requests come all the while, the configuration is replaced time and again: none fails, no span is lost, and the last one counts.
#[tokio::test]
async fn a_configuration_that_is_replaced_under_load_loses_nothing() {
    let mut gateway = Gateway::builder()
        .await
        .config(json!({"release": "first"}))
        .with_listener_file()
        .concurrency(2)
        .start()
        .await;
    let (address, end) = (
        gateway.envoy.address(),
        Instant::now() + Duration::from_secs(3),
    );
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut requests = 0_u64;
            while Instant::now() < end {
                let response = Request::get("/api/1").send(address).await;
                assert_eq!(response.expect("a response").status, 200);
                requests += 1;
            }
            requests
        });
    }
    // A new one every now and then, before the old one is gone.
    let mut pace = tokio::time::interval(Duration::from_millis(400));
    for round in 0..5 {
        pace.tick().await;
        gateway.reconfigure(json!({"release": format!("round {round}")}));
    }
    let requests: u64 = clients.join_all().await.into_iter().sum();
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == requests * SPANS)
        .await;
    assert!(account.discarded.is_empty(), "{account}");
    let segments = gateway.sentry.wait_for_segments(1).await;
    let releases: std::collections::BTreeSet<_> = segments
        .iter()
        .filter_map(|segment| segment.server.release.clone())
        .collect();
    assert!(
        releases.contains("first") && releases.contains("round 4"),
        "{releases:?}"
    );
}

/// The order of a clean stop: no new connections, one flush, then the signal.
#[tokio::test]
async fn a_gateway_that_is_drained_first_loses_nothing() {
    let mut gateway = Gateway::start(json!({"transport": {"flush_interval_ms": 300}})).await;
    gateway.burst(20).await;
    gateway.envoy.command("/healthcheck/fail").await;
    gateway.envoy.command("/drain_listeners?graceful").await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent == 20 * SPANS)
        .await;
    gateway.envoy.terminate().await;
    assert_eq!(gateway.sentry.wait_for_segments(20).await.len(), 20);
}

/// Without that what waits is lost: what ended since the last flush, and no more.
#[tokio::test]
async fn a_gateway_that_is_stopped_at_once_loses_one_interval() {
    let mut gateway = Gateway::start(json!({"transport": {"flush_interval_ms": 500}})).await;
    gateway.burst(20).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent == 20 * SPANS)
        .await;
    gateway.burst(3).await;
    gateway.envoy.terminate().await;
    let arrived = gateway.sentry.wait_for_segments(20).await.len();
    println!("{} of 23 requests lost", 23 - arrived);
    assert!((20..=23).contains(&arrived), "{arrived}");
}
