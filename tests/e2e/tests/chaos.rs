//! The receiver on its worst days, with two workers under load: no request of a client's fails, and
//! every span is accounted for.
//!
//! `make chaos` gives each fault more requests and prints the table; `make test` gives it a moment.

use std::{env, net::SocketAddr, time::Duration};

use e2e::{
    door, envoy::cluster_at, eventually, trap, Account, Door, Gateway, GatewayBuilder, Load, Reply,
    Request, Step, TrappedModule, Upstream, SPANS,
};
use serde_json::{json, Value};

/// How many clients send at once, over HTTP/1.1 connections that they keep.
const CLIENTS: u64 = 8;
const ENDPOINT: &str = "/api/7/envelope/";

/// What a receiver does with a POST.
type Receiver = fn() -> Vec<Step>;

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

fn answer(reply: Reply) -> Vec<Step> {
    vec![Step::Send(reply.to_bytes("POST"))]
}

/// A receiver at which each POST is answered so.
const FAULTS: [(&str, Receiver); 14] = [
    ("healthy", || answer(Reply::status(200))),
    ("answers 500", || answer(Reply::status(500))),
    ("answers 503", || answer(Reply::status(503))),
    ("answers 413", || answer(Reply::status(413))),
    ("answers 429 with nothing else", || {
        answer(Reply::status(429))
    }),
    ("answers 429 with Retry-After", || {
        answer(Reply::status(429).header("retry-after", "1"))
    }),
    ("answers 429 with X-Sentry-Rate-Limits", || {
        answer(Reply::status(429).header("x-sentry-rate-limits", "1:transaction;span:key"))
    }),
    ("never answers", || vec![Step::Hang]),
    ("resets", || vec![Step::Reset]),
    ("resets in the middle of its answer", || {
        vec![
            send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
            Step::Reset,
        ]
    }),
    ("answers garbage", || {
        vec![send("\0\u{1}garbage\r\n\r\n"), Step::Reset]
    }),
    ("answers with megabytes", || {
        answer(Reply::status(200).body("text/plain", vec![b'x'; 4 << 20]))
    }),
    ("answers with a hundred headers", || {
        let long = "v".repeat(100);
        let reply = (0..100).fold(Reply::status(200), |reply, index| {
            reply.header(&format!("x-{index}"), &long)
        });
        answer(reply)
    }),
    ("answers a byte at a time", || {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let slowly = |byte: &u8| {
            [
                Step::Send(vec![*byte]),
                Step::Pause(Duration::from_millis(20)),
            ]
        };
        bytes.iter().flat_map(slowly).collect()
    }),
];

/// How many requests each fault gets.
fn requests() -> u64 {
    number("CHAOS_REQUESTS").unwrap_or(2_000)
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// A gateway with two workers, whose spans go to a cluster that is yet to be added.
async fn builder(more: Value) -> GatewayBuilder {
    let mut transport = json!({"cluster": "receiver", "timeout_ms": 300, "max_in_flight": 4});
    for (key, value) in more.as_object().into_iter().flatten() {
        transport[key] = value.clone();
    }
    let config = json!({"transport": transport});
    Gateway::builder().await.config(config).concurrency(2)
}

async fn gateway(receiver: SocketAddr) -> Gateway {
    let cluster = cluster_at("receiver", Some(receiver));
    builder(json!({})).await.cluster(cluster).start().await
}

async fn load(gateway: &Gateway, requests: u64) -> Load {
    Load::send(gateway.envoy.address(), "/api/1", requests, CLIENTS).await
}

/// Waits until nothing more is recorded, prints a line of the table, and checks it.
async fn report(fault: &str, gateway: &Gateway, load: Load) {
    let account = settled(fault, gateway, load, load.requests * SPANS).await;
    assert_eq!(load.failed, 0, "{fault}: {account}");
}

/// The same without a word on requests that failed.
async fn settled(fault: &str, gateway: &Gateway, load: Load, spans: u64) -> Account {
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == spans)
        .await;
    let lost: u64 = account.discarded.values().sum();
    let waiting = account.queued + account.in_flight;
    let unaccounted = account.recorded as i64 - (account.sent + lost + waiting) as i64;
    let by_reason: Vec<_> = account
        .discarded
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let Load {
        requests,
        failed,
        p99,
    } = load;
    println!(
        "| {fault} | {requests} | {failed} | {:.1} ms | {spans} | {} | {waiting} | {} | {unaccounted} |",
        p99.as_secs_f64() * 1_000.0,
        account.sent,
        by_reason.join(", ")
    );
    assert_eq!(unaccounted, 0, "{fault}: {account}");
    let alive = gateway.pass(&Request::get("/afterwards")).await;
    assert!(
        alive.sentry_trace().sampled.is_some(),
        "{fault}: the filter is alive"
    );
    account
}

async fn endure(fault: &str, gateway: &Gateway) {
    let load = load(gateway, requests()).await;
    report(fault, gateway, load).await;
    let log = gateway.envoy.log();
    assert!(!log.contains("panicked"), "{fault}: {log}");
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

#[tokio::test]
async fn no_request_fails_and_every_span_is_accounted_for() {
    println!(
        "| fault | requests | failed | p99 | spans recorded | sent | waiting or under way | discarded | unaccounted |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (fault, receiver) in FAULTS {
        let upstream = Upstream::start().await;
        upstream.script("POST", ENDPOINT, receiver());
        endure(fault, &gateway(upstream.address()).await).await;
    }
    endure("refuses connections", &gateway(nowhere()).await).await;
    let missing = builder(json!({})).await.start().await;
    endure("no such cluster", &missing).await;
    let small = builder(json!({"max_queue_bytes": 65_536})).await;
    let small = small.cluster(cluster_at("receiver", Some(nowhere())));
    let small = small.start().await;
    endure("refuses connections, with a queue of 64 KiB", &small).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let mut cluster = cluster_at("receiver", Some(nowhere()));
    cluster["type"] = "STRICT_DNS".into();
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        ["socket_address"]["address"] = "receiver.invalid".into();
    let gateway = builder(json!({})).await.cluster(cluster).start().await;
    endure("name does not resolve", &gateway).await;
    assert!(gateway.envoy.stat("callouts.not_taken").await > 0);
}

#[tokio::test]
async fn a_receiver_that_dies_and_returns() {
    let upstream = Upstream::start().await;
    let accepts = answer(Reply::status(200));
    let dies = vec![Step::Reset];
    let scripts = [vec![accepts.clone(); 3], vec![dies; 20], vec![accepts]].concat();
    upstream.replies("POST", ENDPOINT, scripts);
    let gateway = gateway(upstream.address()).await;
    endure("dies and returns", &gateway).await;
    let sent = gateway.envoy.account().await.sent;
    gateway.pass(&Request::get("/api/2")).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent > sent)
        .await;
}

/// Until Envoy is told of the cluster spans wait; then all of them leave that still wait.
#[tokio::test]
async fn a_cluster_that_comes_later() {
    let upstream = Upstream::start().await;
    upstream.reply("POST", ENDPOINT, Reply::status(200));
    let gateway = builder(json!({})).await.with_files().start().await;
    let without = load(&gateway, requests() / 2).await;
    gateway
        .envoy
        .wait_for_account(|account| account.recorded == without.requests * SPANS)
        .await;
    assert_eq!(gateway.envoy.account().await.sent, 0);
    gateway.set_clusters(&[cluster_at("receiver", Some(upstream.address()))]);
    let with = load(&gateway, requests() / 2).await;
    report("cluster is added later", &gateway, without.then(with)).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent > 0 && account.queued + account.in_flight == 0)
        .await;
}

#[tokio::test]
async fn configurations_that_are_replaced_all_the_time() {
    let mut gateway = builder(json!({"cluster": "sentry", "timeout_ms": 5_000}))
        .await
        .with_files()
        .start()
        .await;
    let address = gateway.envoy.address();
    let load = tokio::spawn(async move {
        let mut sum = Load::default();
        for _ in 0..4 {
            sum = sum.then(Load::send(address, "/api/1", requests() / 4, CLIENTS).await);
        }
        sum
    });
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    let mut round = 0;
    while !load.is_finished() {
        pace.tick().await;
        round += 1;
        gateway.reconfigure(json!({"release": format!("round {round}")}));
    }
    let load = load.await.expect("a load that ends");
    report("a new configuration every second", &gateway, load).await;
    let all_left = |account: &Account| account.queued + account.in_flight == 0;
    let account = gateway.envoy.wait_for_account(all_left).await;
    assert!(account.discarded.is_empty(), "{account}");
}

/// A crash costs what FAIL_RELOAD says that it costs: its worker answers 503 until there is a new
/// VM. What the old one held can be neither sent nor counted as lost by anybody: it stays in
/// `spans_queued` and `spans_in_flight`.
#[tokio::test]
async fn a_vm_that_dies_is_replaced() {
    if door() != Door::Wasm {
        return; // A dynamic module has no VM.
    }
    let upstream = Upstream::start().await;
    upstream.reply("POST", ENDPOINT, Reply::status(200));
    let trapped = TrappedModule::build();
    let gateway = builder(json!({}))
        .await
        .cluster(cluster_at("receiver", Some(upstream.address())))
        .module(trapped.path())
        .start()
        .await;
    let before = load(&gateway, requests() / 2).await;
    let healthy = |account: &Account| account.sent == before.requests * SPANS;
    gateway.envoy.wait_for_account(healthy).await;

    let deadly = (0..trap::LINES).fold(Request::get("/deadly"), |request, index| {
        request.header(&format!("x-{index}"), "")
    });
    assert_eq!(gateway.send(&deadly).await.response.status, 503);
    let log = gateway.envoy.log();
    assert!(
        log.contains("unreachable"),
        "the VM died of the trap: {log}"
    );
    // Several in a row, since each of them may be another worker's.
    let mut answered = 0;
    let back = eventually(async || {
        let response = gateway.send(&Request::get("/alive")).await.response;
        answered = if response.status == 200 {
            answered + 1
        } else {
            0
        };
        (answered == 20).then_some(())
    });
    back.await.expect("a new VM");

    let (known, after) = (
        gateway.envoy.account().await,
        load(&gateway, requests() / 2).await,
    );
    assert_eq!((before.failed, after.failed), (0, 0));
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent >= known.sent + after.requests * SPANS)
        .await;
    assert!(account.discarded.is_empty(), "{account}");
    let (load, recorded) = (before.then(after), account.recorded);
    settled(
        "a worker's VM dies and is replaced",
        &gateway,
        load,
        recorded,
    )
    .await;
}

/// A receiver that is dead for good: memory is flat once the queue is full.
#[tokio::test]
#[ignore = "takes minutes: make soak"]
async fn memory_is_flat_while_the_receiver_is_dead() {
    const MIB: u64 = 1 << 20;
    let million = number("SOAK_REQUESTS").unwrap_or(1_000_000);
    let gateway = gateway(nowhere()).await;
    let resident = || gateway.envoy.resident_bytes() / MIB;
    let (mut sum, mut warm) = (Load::default(), 0);
    for round in 0..20 {
        sum = sum.then(load(&gateway, million / 20).await);
        gateway.upstream.take_if(|_| true);
        println!("{} requests, {} MiB", sum.requests, resident());
        if round == 1 {
            warm = resident();
        }
    }
    let Load {
        requests, failed, ..
    } = sum;
    let recorded = |account: &Account| account.recorded == requests * SPANS;
    let account = gateway.envoy.wait_for_account(recorded).await;
    let last = resident();
    println!("{requests} requests, {failed} failed, {warm} MiB after a tenth, {last} MiB at the end; {account}");
    assert_eq!(failed, 0);
    // Two workers, and whatever Envoy's own allocator keeps.
    assert!(last <= warm + 16, "from {warm} to {last} MiB");
}
