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
        .with_files()
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

/// Two filters of one module share a VM on each worker, and nothing else: each has its configuration, its queue and its spans, one below the other. The
/// main thread's VM has both of them, too, and sends nothing.
#[tokio::test]
async fn filters_that_share_a_vm_share_no_state() {
    let alone = Gateway::builder().await.config(json!({}));
    let alone = alone.concurrency(2).start().await;
    let both = Gateway::builder()
        .await
        .config(json!({"release": "first", "transport": {"flush_interval_ms": 20}}))
        .with_second_filter(json!({"release": "second", "response_headers": []}))
        .concurrency(2)
        .start()
        .await;
    let vms = async |gateway: &Gateway| {
        let stats = gateway.envoy.admin("/stats?filter=runtime.v8.active").await;
        let (_, count) = stats.trim().rsplit_once(' ').expect("a stat");
        count.parse::<u64>().expect("a number")
    };
    assert_eq!(vms(&both).await, vms(&alone).await, "VMs");

    both.burst(40).await;
    let segments = both.sentry.wait_for_segments(80).await;
    let of = |release: &str| -> Vec<_> {
        let is_of = |segment: &&e2e::Segment| segment.server.release.as_deref() == Some(release);
        segments.iter().filter(is_of).collect()
    };
    let (first, second) = (of("first"), of("second"));
    assert_eq!((first.len(), second.len()), (40, 40));
    for segment in second {
        let parent = segment.server.parent_span_id.as_ref();
        let calls = first.iter().flat_map(|segment| &segment.calls);
        let calls: Vec<_> = calls.filter(|call| Some(&call.span_id) == parent).collect();
        assert_eq!(
            calls.len(),
            1,
            "the first one's call above the second one's span"
        );
    }
    let spans = 2 * 40 * SPANS;
    let account = both
        .envoy
        .wait_for_account(|account| account.sent == spans)
        .await;
    assert_eq!(account.recorded, spans);
    assert_eq!(
        both.sentry.requests().len(),
        80,
        "one a segment, and no other"
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
