//! Hostile load on the module in real Envoy, beside the same load on the same Envoy without it: the
//! VM lives, memory is bounded, no request fails that does not fail without the filter, and every
//! span is accounted for all along.
//!
//! `make attack` prints the table; `make test` sends less (ATTACK_STREAMS). The processor's time is
//! compared with that of the control, never with a clock.

mod blocks;
mod loads;
mod odd;
mod scene;

use std::{env, slice};

use e2e::{attacker::Block, Reply, Step};
use serde_json::{json, Value};

use self::{
    blocks::{floods, long, preflights, LONGEST},
    loads::{hold, reset, send, Phase, SAMPLED},
    scene::{Place, Scene},
};

/// How many requests are live at once in the scenes that keep them; without it, what `make test`
/// has time for.
fn streams() -> u64 {
    let number = env::var("ATTACK_STREAMS").ok();
    number.and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

/// One line of 3.5 kB, 15 times, through the table of HPACK: 53 kB of headers for 15 bytes.
#[tokio::test]
async fn a_line_that_hpack_repeats() {
    let long = "v".repeat(3_500);
    let request = || Block::get("/held").line("sentry-trace", SAMPLED);
    let blocks = [
        request().kept_line("x-long", &long).again(14),
        request().again(15),
    ];
    let config = json!({"capture_request_headers": ["x-long"], "traces_sample_rate": 0.01});
    let attack = async |place: &Place| hold(place, streams(), &blocks[..1], &blocks[1..]).await;
    let scene = Scene::new("live: a captured line of 3.5 kB, 15 times by HPACK", config);
    scene.run(attack).await;
}

#[tokio::test]
async fn a_giant_origin() {
    let block = [Block::get("/held").line("origin", &"o".repeat(LONGEST))];
    let attack = async |place: &Place| hold(place, streams(), &block, &block).await;
    Scene::new("live: `Origin` of 57 kB", json!({}))
        .run(attack)
        .await;
}

/// Whatever is recorded of a request, as long as Envoy lets it be.
#[tokio::test]
async fn everything_that_can_be_long() {
    let names = [
        "user-agent",
        "referer",
        "x-forwarded-for",
        "x-captured",
        "x-request-id",
    ];
    let config = json!({
        "send_default_pii": true,
        "capture_request_headers": names,
        "propagate_traceparent": true,
        "server_timing": true,
        "request_start_header": true,
    });
    let blocks = long();
    let attack = async |place: &Place| hold(place, streams() / 2, &blocks, &blocks).await;
    Scene::new("live: everything 57 kB long, everything recorded", config)
        .run(attack)
        .await;
}

/// What a service answers can be long, too, and is live as long as its body comes.
#[tokio::test]
async fn answers_that_are_long() {
    let config = json!({"send_default_pii": true, "capture_response_headers": ["x-long"]});
    let block = [Block::get("/answers").line("sentry-trace", SAMPLED)];
    let attack = async |place: &Place| hold(place, streams() / 5, &block, &block).await;
    Scene::new("live: answers with a captured header of 57 kB", config)
        .run(attack)
        .await;
}

#[tokio::test]
async fn a_small_budget() {
    let config = json!({"max_live_bytes": 1_048_576});
    let block = [Block::get("/held").line("sentry-trace", SAMPLED)];
    let attack = async |place: &Place| hold(place, streams(), &block, &block).await;
    let scene = Scene::new("live: small requests, `max_live_bytes` of 1 MiB", config);
    let endured = scene.run(attack).await;
    assert!(endured.over_budget > 0, "{endured:?}");
}

#[tokio::test]
async fn resets_in_each_phase() {
    let attack = async |place: &Place| {
        for phase in Phase::ALL {
            reset(place, streams() / 20, phase).await;
        }
    };
    Scene::new("resets in each phase", json!({}))
        .run(attack)
        .await;
}

#[tokio::test]
async fn floods_of_headers() {
    flood("flood", json!({"propagate_traceparent": true}), floods()).await;
}

#[tokio::test]
async fn floods_of_preflights() {
    flood(
        "preflights",
        json!({"propagate_traceparent": true}),
        preflights(),
    )
    .await;
}

/// Rules and targets that match nowhere, so that all of them are tried all along the text.
#[tokio::test]
async fn rules_times_long_texts() {
    let pattern = |index| format!("[a-z]+x{index}y[0-9]+$");
    let by_path = |index| json!({"match": {"path": pattern(index)}, "transaction": "/x"});
    let by_header =
        |index| json!({"match": {"header": {"x-long": pattern(index)}}, "transaction": "/x"});
    let rules = |rule: &dyn Fn(u64) -> Value| -> Vec<Value> { (0..200).map(rule).collect() };
    let texts: Vec<String> = (0..50)
        .map(|index| format!("service-{index}.internal"))
        .collect();
    let expressions: Vec<Value> = (0..20)
        .map(|index| json!({"regex": pattern(index)}))
        .collect();
    let long = "a".repeat(LONGEST);
    let path = vec![Block::get(&format!("/local/{long}"))];
    let header = vec![Block::get("/local").line("x-long", &long)];
    // The automaton of these has a state for each of the last ten letters, and every path needs
    // others.
    let explode =
        |index| json!({"match": {"path": format!("a[ab]{{10}}c{index}$")}, "ignore": true});
    let differing = differing_paths();
    for (name, config, blocks) in [
        ("200 path rules", json!({"rules": rules(&by_path)}), &path),
        (
            "200 header rules",
            json!({"rules": rules(&by_header)}),
            &header,
        ),
        (
            "50 text targets",
            json!({"trace_propagation_targets": texts}),
            &path,
        ),
        (
            "20 regex targets",
            json!({"trace_propagation_targets": expressions}),
            &path,
        ),
        (
            "20 path rules that explode",
            json!({"rules": (0..20).map(explode).collect::<Vec<_>>()}),
            &differing,
        ),
    ] {
        let attack = async |place: &Place| send(place, streams() / 100, blocks).await;
        Scene::new(format!("{name}, 57 kB each"), config)
            .max_cpu(40.0)
            .run(attack)
            .await;
    }
}

/// Long paths of two letters, no two alike.
fn differing_paths() -> Vec<Block> {
    let mut state = 1_u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        if state >> 63 == 0 {
            'a'
        } else {
            'b'
        }
    };
    let mut path = || -> String { (0..LONGEST).map(|_| letter()).collect() };
    (0..50)
        .map(|_| Block::get(&format!("/local/{}", path())))
        .collect()
}

/// Ten thousand failures: as many are told as are configured, and the others cost next to nothing.
/// Every answer counts as one here, so that nothing but the filter limits how fast they come.
#[tokio::test]
async fn a_storm_of_failures() {
    let capture = json!({"origin": "any", "status_codes": [[200, 599]], "max_per_minute": 7});
    let config = json!({"traces_sample_rate": 0, "capture_failures": capture});
    let paths = (0..100).map(|index| Block::get(&format!("/local/{index}?token={index}")));
    let paths: Vec<_> = paths.collect();
    let requests = streams() * 2;
    let attack = async |place: &Place| send(place, requests, &paths).await;
    let endured = Scene::new("a storm of failures", config).run(attack).await;
    let events = &endured.events;
    // One fingerprint of the attacker's, and those of everybody else's requests.
    assert!(events.recorded >= requests * 2, "{events}");
    let told = events.recorded - events.discarded_for("max_per_minute");
    assert!((7..=7 * 8).contains(&told), "{events}");
}

/// A receiver that never does the same thing twice.
#[tokio::test]
async fn a_receiver_that_flaps() {
    let answer = |reply: Reply| vec![Step::Send(reply.to_bytes("POST"))];
    let limited = |after: &str| answer(Reply::status(429).header("retry-after", after));
    let scripts = [
        answer(Reply::status(200)),
        vec![Step::Reset],
        limited("0"),
        answer(Reply::status(503)),
        vec![Step::Hang],
        answer(Reply::status(200).header("x-sentry-rate-limits", "0:transaction:key")),
        vec![Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), Step::Reset],
        answer(Reply::status(200).header("x-sentry-rate-limits", "0:a;b;c:key, ".repeat(4_000))),
        answer(Reply::status(200).body("text/plain", vec![b'x'; 1 << 20])),
    ];
    let config = json!({"transport": {"timeout_ms": 300, "max_in_flight": 4}});
    let block = Block::get("/local").line("sentry-trace", SAMPLED);
    let attack = async |place: &Place| send(place, streams(), slice::from_ref(&block)).await;
    let scene = Scene::new("a receiver that flaps", config).workers(2);
    let scripts = scripts.iter().cycle().take(5_000).cloned();
    scene.receiver(scripts.collect()).run(attack).await;
}

/// "Too many", and "try again now": it is not taken at its word.
#[tokio::test]
async fn a_receiver_that_asks_for_no_pause() {
    let reply = Reply::status(429).header("retry-after", "0");
    let scripts = vec![vec![Step::Send(reply.to_bytes("POST"))]];
    let block = Block::get("/local").line("sentry-trace", SAMPLED);
    let attack = async |place: &Place| send(place, streams(), slice::from_ref(&block)).await;
    let scene = Scene::new("429 with `Retry-After: 0`", json!({})).receiver(scripts);
    let endured = scene.run(attack).await;
    let (posts, requests) = (endured.posts, endured.counts.sent);
    assert!(
        posts * 10 <= requests,
        "{posts} POSTs for {requests} requests"
    );
}

#[tokio::test]
async fn odd_requests() {
    odd::compare().await;
}

/// Sends each of these in a scene of its own, or all in one if there is little time.
async fn flood(name: &str, config: Value, blocks: Vec<(&str, Block)>) {
    if env::var_os("ATTACK_STREAMS").is_none() {
        let attack = async |place: &Place| {
            for (_, block) in &blocks {
                send(place, streams() / 100, slice::from_ref(block)).await;
            }
        };
        return drop(
            Scene::new(format!("{name}, {} kinds", blocks.len()), config)
                .run(attack)
                .await,
        );
    }
    for (kind, block) in &blocks {
        let attack =
            async |place: &Place| send(place, streams() / 20, slice::from_ref(block)).await;
        Scene::new(format!("{name}: {kind}"), config.clone())
            .run(attack)
            .await;
    }
}
