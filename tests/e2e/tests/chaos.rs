//! The receiver on its worst days, with two workers under load: no request of a client's fails, and every span is accounted for.
//!
//! `make chaos` runs each fault for longer and prints the table; `make test` runs them for a moment.

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use e2e::{envoy::cluster_at, Gateway, Reply, Request, Step, Upstream};
use serde_json::{json, Value};
use tokio::task::JoinSet;

/// How many clients send at once.
const CLIENTS: usize = 8;
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

/// How long each fault lasts.
fn moment() -> Duration {
    let seconds = env::var("CHAOS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.4))
}

async fn gateway(receiver: Option<SocketAddr>, more: Value) -> Gateway {
    let builder = Gateway::builder().await;
    let mut transport = json!({"cluster": "receiver", "timeout_ms": 300, "max_in_flight": 4});
    for (key, value) in more.as_object().into_iter().flatten() {
        transport[key] = value.clone();
    }
    let builder = builder
        .config(json!({"transport": transport}))
        .concurrency(2);
    match receiver {
        Some(address) => builder.cluster(cluster_at("receiver", Some(address))),
        None => builder,
    }
    .start()
    .await
}

/// Sends as fast as the clients can for as long as a moment lasts. How many requests there were, and how many of them failed.
async fn load(gateway: &Gateway) -> (u64, u64) {
    let (address, end) = (gateway.envoy.address(), Instant::now() + moment());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let (mut requests, mut failed) = (0, 0);
            while Instant::now() < end {
                let response = Request::get("/api/1").send(address).await;
                requests += 1;
                failed += u64::from(!response.is_ok_and(|response| response.status == 200));
            }
            (requests, failed)
        });
    }
    let mut sum = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (requests, failed) = client.expect("a client that does not panic");
        sum = (sum.0 + requests, sum.1 + failed);
    }
    sum
}

/// Loads a gateway, waits until nothing is under way, prints a line of the table, and checks it.
async fn endure(fault: &str, gateway: &Gateway) {
    let (requests, failed) = load(gateway).await;
    let spans = requests * e2e::SPANS;
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
    println!(
        "| {fault} | {requests} | {failed} | {spans} | {} | {} | {} | {unaccounted} |",
        account.sent,
        waiting,
        by_reason.join(", ")
    );
    assert_eq!((failed, unaccounted), (0, 0), "{fault}: {account}");
    let alive = gateway.pass(&Request::get("/afterwards")).await;
    assert!(
        alive.sentry_trace().sampled.is_some(),
        "{fault}: the filter is alive"
    );
    let log = gateway.envoy.log();
    assert!(!log.contains("panicked"), "{fault}: {log}");
}

#[tokio::test]
async fn no_request_fails_and_every_span_is_accounted_for() {
    println!(
        "| fault | requests | failed | spans recorded | sent | waiting or under way | discarded | unaccounted |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (fault, receiver) in FAULTS {
        let upstream = Upstream::start().await;
        upstream.script("POST", ENDPOINT, receiver());
        let gateway = gateway(Some(upstream.address()), json!({})).await;
        endure(fault, &gateway).await;
    }

    let gateway_down = gateway(Some(([127, 0, 0, 1], 1).into()), json!({})).await;
    endure("refuses connections", &gateway_down).await;
    let missing = gateway(None, json!({})).await;
    endure("no such cluster", &missing).await;
    let small = json!({"max_queue_bytes": 65_536});
    let small = gateway(Some(([127, 0, 0, 1], 1).into()), small).await;
    endure("refuses connections, with a queue of 64 KiB", &small).await;
}

#[tokio::test]
async fn a_receiver_that_dies_and_returns() {
    let upstream = Upstream::start().await;
    let accepts = answer(Reply::status(200));
    let dies = vec![Step::Reset];
    let scripts = [vec![accepts.clone(); 3], vec![dies; 20], vec![accepts]].concat();
    upstream.replies("POST", ENDPOINT, scripts);
    let gateway = gateway(Some(upstream.address()), json!({})).await;
    endure("dies and returns", &gateway).await;
    let sent = gateway.envoy.account().await.sent;
    gateway.pass(&Request::get("/api/2")).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent > sent)
        .await;
}

/// A receiver that is dead for good: memory is flat once the queue is full.
#[tokio::test]
#[ignore = "takes minutes: make soak"]
async fn memory_is_flat_while_the_receiver_is_dead() {
    const MIB: u64 = 1 << 20;
    let asked = env::var("SOAK_REQUESTS").ok();
    let million = asked
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(1_000_000);
    let gateway = gateway(Some(([127, 0, 0, 1], 1).into()), json!({})).await;
    let (mut requests, mut failed, mut warm) = (0, 0, None);
    while requests < million {
        let (more, more_failed) = load(&gateway).await;
        (requests, failed) = (requests + more, failed + more_failed);
        let resident = gateway.envoy.resident_bytes() / MIB;
        println!("{requests} requests, {resident} MiB");
        if requests > million / 10 && warm.is_none() {
            warm = Some(resident);
        }
    }
    let (warm, last) = (
        warm.expect("more than one round"),
        gateway.envoy.resident_bytes() / MIB,
    );
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == requests * e2e::SPANS)
        .await;
    println!("{requests} requests, {failed} failed, {warm} MiB after a tenth, {last} MiB at the end; {account}");
    assert_eq!(failed, 0);
    // Two workers, and whatever Envoy's own allocator keeps.
    assert!(last <= warm + 16, "from {warm} to {last} MiB");
}
