//! What becomes of spans when a configuration is replaced, and when Envoy ends.

use std::time::{Duration, Instant};

use e2e::{
    door,
    envoy::{cluster_at, http2_cluster_at, Bootstrap},
    eventually, Account, Answer, Door, Gateway, GatewayBuilder, Request, Step, Upstream, SPANS,
};
use serde_json::{json, Value};
use tokio::task::JoinSet;

/// Requests come all the while, the configuration is replaced time and again: none fails, no span
/// is lost, and the last one counts.
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

/// Two filters of one module share a VM on each worker, and nothing else: each has its
/// configuration, its queue and its spans, one below the other. The main thread's VM has both of
/// them, too, and sends nothing.
#[tokio::test]
async fn filters_that_share_a_vm_share_no_state() {
    if door() != Door::Wasm {
        return; // A dynamic module has no VM.
    }
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

/// Without that what waits is lost: what ended since the last flush, and no more. The signal comes
/// right after one; on a busy machine another one may come between the last requests.
#[tokio::test]
async fn a_gateway_that_is_stopped_at_once_loses_one_interval() {
    let mut gateway = Gateway::start(json!({"transport": {"flush_interval_ms": 1_000}})).await;
    gateway.burst(20).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent == 20 * SPANS)
        .await;
    for lost in ["/lost/1", "/lost/2", "/lost/3"] {
        gateway.pass(&Request::get(lost)).await;
    }
    gateway.envoy.terminate().await;
    let arrived = gateway.sentry.wait_for_segments(20).await;
    let names = arrived.iter().map(|segment| segment.server.name.as_str());
    let lost: Vec<_> = names.filter(|name| name.starts_with("/lost")).collect();
    assert_eq!(
        arrived.len() - lost.len(),
        20,
        "what was flushed has arrived"
    );
    match door() {
        Door::Wasm => assert!(lost.len() < 3, "{lost:?}"),
        // Envoy waits for its last POST.
        Door::Native => assert_eq!(lost.len(), 3, "{lost:?}"),
    }
    assert_eq!(gateway.sentry.requests().len(), arrived.len());
}

/// A cluster whose host takes POSTs to `/hang` and never answers.
async fn hanging() -> (Upstream, Value) {
    let receiver = Upstream::start().await;
    receiver.script("POST", "/hang", vec![Step::Hang]);
    let cluster = cluster_at("receiver", Some(receiver.address()));
    (receiver, cluster)
}

fn held(account: &Account) -> u64 {
    account.queued + account.in_flight
}

async fn updates(gateway: &Gateway) -> u64 {
    let path = "/stats?filter=listener_manager.lds.update_success";
    let stats = gateway.envoy.admin(path).await;
    let count = stats.trim().rsplit_once(' ');
    count.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// Twelve updates while the receiver hangs: all generations together keep what one may keep, and
/// have no more POSTs under way than two.
#[tokio::test]
async fn old_generations_have_the_bounds_of_one() {
    let (_receiver, cluster) = hanging().await;
    let config = |round: u64| {
        json!({"release": format!("round {round}"), "transport": {
            "cluster": "receiver", "path": "/hang", "timeout_ms": 60_000, "max_queue_bytes": 65_536, "max_in_flight": 4,
        }})
    };
    let builder = Gateway::builder().await.config(config(0));
    let mut gateway = builder.cluster(cluster).with_files().start().await;
    let full = async |gateway: &Gateway, rounds: u64| {
        gateway.burst(100).await;
        let recorded = rounds * 100 * SPANS;
        let is_full = |account: &Account| account.recorded == recorded && account.in_flight > 0;
        gateway.envoy.wait_for_account(is_full).await
    };
    let alone = full(&gateway, 1).await;
    let mut account = alone.clone();
    for round in 1..=12 {
        let before = updates(&gateway).await;
        gateway.reconfigure(config(round));
        let updated = async || (updates(&gateway).await > before).then_some(());
        eventually(updated).await.expect("the update");
        account = full(&gateway, round + 1).await;
    }
    println!("one generation: {alone}\nafter twelve updates: {account}");
    // One may have a few shorter traces than another.
    assert!(held(&account) <= held(&alone) + 4 * SPANS, "{account}");
    assert!(account.in_flight <= 8 * SPANS, "{account}");
}

type Change = fn(&mut Bootstrap);

/// What makes Envoy drop the VM and make another one.
const OTHER_VMS: [(&str, Change); 2] = [
    ("variable", |bootstrap| {
        bootstrap.vm_environment = vec![("A".to_owned(), "2".to_owned())];
    }),
    ("vm_id", |bootstrap| bootstrap.vm_id = "other".to_owned()),
];

async fn with_files(builder: GatewayBuilder) -> Gateway {
    builder.vm_environment("A", "1").with_files().start().await
}

/// The old VM goes with what it holds, so nothing waits for the end of a long flush interval when
/// the traffic has stopped.
#[tokio::test]
async fn a_long_flush_interval_loses_nothing_with_the_vm() {
    for (name, change) in OTHER_VMS {
        let config = json!({"transport": {"flush_interval_ms": 30_000}});
        let mut gateway = with_files(Gateway::builder().await.config(config)).await;
        gateway.burst(31).await;
        gateway.replace_listener(change);
        let sent = |account: &Account| account.sent == 31 * SPANS;
        gateway.envoy.wait_for_account(sent).await;
        assert_eq!(
            gateway.sentry.wait_for_segments(31).await.len(),
            31,
            "{name}"
        );
    }
    let config = json!({"transport": {"flush_interval_ms": 30_000}});
    let mut gateway = with_files(Gateway::builder().await.config(config)).await;
    gateway.burst(31).await;
    gateway.remove_listener();
    assert_eq!(gateway.sentry.wait_for_segments(31).await.len(), 31);
}

/// What could not be sent before the VM went is lost, and counted so: nobody is left to take it out
/// of a gauge.
#[tokio::test]
async fn no_gauge_is_stuck_when_the_vm_goes() {
    if door() != Door::Wasm {
        return; // A dynamic module has no VM.
    }
    for (name, change) in OTHER_VMS {
        let (_receiver, cluster) = hanging().await;
        let transport = json!({"cluster": "receiver", "path": "/hang", "timeout_ms": 60_000});
        let builder = Gateway::builder().await.cluster(cluster);
        let builder = builder.config(json!({"transport": transport}));
        let mut gateway = with_files(builder.concurrency(2)).await;
        gateway.burst(60).await;
        let all = |account: &Account| held(account) == 60 * SPANS && account.in_flight > 0;
        gateway.envoy.wait_for_account(all).await;
        gateway.replace_listener(change);
        let lost = |account: &Account| account.discarded_for("network_error") == 60 * SPANS;
        let account = gateway.envoy.wait_for_account(lost).await;
        assert_eq!(held(&account), 0, "{name}: {account}");
    }
}

/// What waits is posted while the VM goes, beyond `max_in_flight`. Over HTTP/2 Envoy writes it
/// before it resets the streams, so that it often arrives; nobody is there for the answer, so all
/// of it counts as lost.
#[tokio::test]
async fn what_waits_when_the_vm_goes_is_posted_and_counted_as_lost() {
    if door() != Door::Wasm {
        return; // A dynamic module has no VM.
    }
    let builder = Gateway::builder().await;
    let cluster = http2_cluster_at("receiver", builder.sentry_address());
    let transport = json!({"cluster": "receiver", "max_in_flight": 2, "timeout_ms": 60_000});
    let builder = builder.config(json!({"transport": transport}));
    let mut gateway = with_files(builder.cluster(cluster)).await;
    gateway.pass(&Request::get("/first")).await;
    gateway.sentry.wait_for_requests(1).await;
    gateway
        .sentry
        .answer(Answer::after(Duration::from_secs(60)));
    gateway.burst(31).await;
    gateway.sentry.wait_for_requests(3).await;
    let (_, change) = OTHER_VMS[0];
    gateway.replace_listener(change);
    gateway.envoy.wait_for_stat("callouts.lost", 31).await;
    let lost = |account: &Account| account.discarded_for("network_error") == 31 * SPANS;
    let account = gateway.envoy.wait_for_account(lost).await;
    assert_eq!((account.sent, held(&account)), (SPANS, 0), "{account}");
}

/// A limit is over for a worker whose configuration is: the gauge does not stay up, however often
/// it is replaced.
#[tokio::test]
async fn a_limit_is_nobodys_after_its_configuration() {
    let config = |round: u32| json!({"release": format!("round {round}")});
    let mut gateway = with_files(Gateway::builder().await.config(config(0))).await;
    gateway
        .sentry
        .answer(Answer::with_headers(429, &[("retry-after", "8")]));
    gateway.pass(&Request::get("/first")).await;
    gateway.envoy.wait_for_stat("workers_rate_limited", 1).await;
    for round in 1..=3 {
        gateway.reconfigure(config(round));
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.burst(1).await;
    }
    gateway.replace_listener(OTHER_VMS[0].1);
    gateway.envoy.wait_for_stat("workers_rate_limited", 0).await;
    assert_eq!(gateway.sentry.requests().len(), 1, "obeyed by all of them");
}
