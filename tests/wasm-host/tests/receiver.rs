//! What leaves for Sentry, what comes back, and how an old configuration ends: every span is
//! accounted for throughout.

use std::time::Duration;

use wasm_host::{config, Answer, Callout, Cluster, Exchange, Gateway, HeaderMap, Trap};

/// Of a request: the gateway's own, and that of the call to the upstream.
const SPANS: u64 = 2;

#[test]
fn what_was_sent_is_counted_when_the_answer_comes() {
    let mut gateway = Gateway::start(config::SAMPLED);
    for _ in 0..3 {
        gateway.serve(&Exchange::get("/"));
    }
    gateway.flush();
    assert_eq!(gateway.metric("requests"), 3);
    assert_eq!(gateway.metric("traces_started"), 3);
    assert_eq!(gateway.metric("spans_recorded"), 3 * SPANS);
    assert_eq!(gateway.metric("spans_in_flight"), 3 * SPANS);
    gateway.assert_every_span_is_accounted_for();
    gateway.answer_all(200);
    gateway.flush();
    assert_eq!(gateway.metric("spans_sent"), 3 * SPANS);
    assert_eq!(gateway.metric("spans_in_flight"), 0);
    gateway.assert_every_span_is_accounted_for();
}

#[test]
fn every_answer_of_a_sentry_is_accounted_for() {
    let answers = [
        Answer::status(200),
        Answer::status(200).with("x-sentry-rate-limits", "60:transaction:key"),
        Answer::status(202),
        Answer::status(400),
        Answer::status(413),
        Answer::status(429),
        Answer::status(429).with("retry-after", "120"),
        Answer::status(429).with("x-sentry-rate-limits", "1:error;transaction:organization:x"),
        Answer::status(500),
        Answer::status(503),
        Answer::failed(),
        Answer {
            headers: HeaderMap::new().with("server", "no status at all"),
            ..Answer::failed()
        },
    ];
    for answer in answers {
        let mut gateway = Gateway::start(config::SAMPLED);
        for round in 0..6 {
            gateway.serve(&Exchange::get("/"));
            gateway.flush();
            gateway.assert_every_span_is_accounted_for();
            for token in gateway.host.outstanding() {
                gateway
                    .host
                    .answer(token, &answer)
                    .unwrap_or_else(|trap| panic!("{trap}"));
            }
            gateway.flush();
            gateway.assert_every_span_is_accounted_for();
            assert_eq!(
                gateway.metric("spans_recorded"),
                (round + 1) * SPANS,
                "after {answer:?}"
            );
        }
    }
}

#[test]
fn a_rate_limit_is_obeyed_until_it_is_over() {
    let mut gateway = Gateway::start(config::SAMPLED);
    gateway.serve(&Exchange::get("/"));
    gateway.flush();
    let token = gateway.host.outstanding()[0];
    let limited = Answer::status(429).with("x-sentry-rate-limits", "60:transaction:key");
    gateway
        .host
        .answer(token, &limited)
        .unwrap_or_else(|trap| panic!("{trap}"));
    for _ in 0..50 {
        gateway.serve(&Exchange::get("/"));
        assert!(gateway.flush().is_empty(), "sent within the limit");
    }
    // The one that was refused, and all that came within the limit.
    let lost = gateway.metric("spans_discarded.ratelimit_backoff");
    assert_eq!(lost, 51 * SPANS);
    gateway.assert_every_span_is_accounted_for();
    gateway.host.advance(Duration::from_secs(15));
    gateway.serve(&Exchange::get("/"));
    assert!(!gateway.flush().is_empty(), "the limit is over");
}

/// A minute is a minute, whatever the clock shows: set back by a step, by hours, or to the epoch.
#[test]
fn a_rate_limit_does_not_outlast_a_clock_that_was_set_back() {
    let day = Duration::from_secs(24 * 60 * 60);
    for back in [Duration::from_secs(2), day / 5, day * 365 * 53] {
        let mut gateway = Gateway::start(config::SAMPLED);
        gateway.serve(&Exchange::get("/"));
        gateway.flush();
        let token = gateway.host.outstanding()[0];
        let limited = Answer::status(429).with("retry-after", "60");
        let answered = gateway.host.answer(token, &limited);
        answered.unwrap_or_else(|trap| panic!("{trap}"));
        let back = u64::try_from(back.as_nanos()).expect("some years");
        gateway.host.set_clock(gateway.host.now_ns() - back);
        for second in 0..57 {
            gateway.serve(&Exchange::get("/"));
            assert!(gateway.flush().is_empty(), "after {second} of 60 s");
        }
        assert_eq!(gateway.metric("workers_rate_limited"), 1);
        for _ in 0..5 {
            gateway.flush();
        }
        assert_eq!(gateway.metric("workers_rate_limited"), 0);
        gateway.serve(&Exchange::get("/"));
        assert!(!gateway.flush().is_empty(), "the limit is over");
    }
}

#[test]
fn no_more_callouts_are_under_way_than_the_configuration_allows() {
    let configuration = with_transport(r#""max_in_flight": 2"#);
    let mut gateway = Gateway::start(&configuration);
    for _ in 0..10 {
        gateway.serve(&Exchange::get("/"));
    }
    gateway.flush();
    assert_eq!(gateway.host.outstanding().len(), 2);
    assert_eq!(gateway.metric("spans_queued"), 8 * SPANS);
    for _ in 0..20 {
        gateway.answer_all(200);
        assert!(gateway.host.outstanding().len() <= 2);
        gateway.flush();
        gateway.assert_every_span_is_accounted_for();
    }
    assert_eq!(gateway.metric("spans_sent"), 10 * SPANS);
}

#[test]
fn the_transport_is_as_configured() {
    let configuration = with_transport(
        r#""cluster": "collector", "path": "/in?x=1", "timeout_ms": 1234, "flush_interval_ms": 250"#,
    );
    let mut gateway = Gateway::start(&configuration);
    gateway.host.set_cluster("collector", Cluster::Accepts);
    assert_eq!(gateway.host.tick_period_ms(gateway.root), Some(250));
    gateway.serve(&Exchange::get("/"));
    let callouts = gateway.flush();
    let callout = only(&callouts);
    assert_eq!(
        (callout.cluster.as_str(), callout.timeout_ms),
        ("collector", 1_234)
    );
    assert_eq!(callout.headers.only(":path"), "/in?x=1");
}

#[test]
fn an_old_configuration_waits_for_the_answers_to_what_it_held() -> Result<(), Trap> {
    let mut gateway = Gateway::start(config::SAMPLED);
    for _ in 0..3 {
        gateway.serve(&Exchange::get("/"));
    }
    assert!(!gateway.host.shut_down(gateway.root)?, "spans are queued");
    assert_eq!(gateway.host.outstanding().len(), 3);
    assert!(gateway.host.done_calls().is_empty());
    gateway.answer_all(200);
    assert_eq!(gateway.host.done_calls(), [gateway.root]);
    assert!(!gateway.host.has_context(gateway.root));
    assert_eq!(gateway.metric("spans_sent"), 3 * SPANS);
    gateway.assert_every_span_is_accounted_for();
    Ok(())
}

#[test]
fn an_old_configuration_with_nothing_to_send_is_done_at_once() -> Result<(), Trap> {
    for configuration in config::ALL {
        let mut gateway = Gateway::start(configuration);
        if !config::RECORDING.contains(&configuration) {
            gateway.serve(&Exchange::get("/"));
        }
        assert!(gateway.host.shut_down(gateway.root)?, "{configuration}");
        assert!(gateway.host.done_calls().is_empty());
    }
    let mut gateway = Gateway::start(config::SAMPLED);
    gateway.serve(&Exchange::get("/"));
    gateway.flush();
    gateway.answer_all(200);
    assert!(gateway.host.shut_down(gateway.root)?);
    Ok(())
}

/// How Sentry can be gone while an old configuration waits for it.
#[derive(Clone, Copy, Debug)]
enum Dead {
    NoCluster,
    NoHealthyHost,
    EveryCallFails,
    ConnectionsAreRefused,
    NothingIsAnswered,
}

#[test]
fn a_dead_sentry_does_not_keep_an_old_configuration_alive() -> Result<(), Trap> {
    for dead in [
        Dead::EveryCallFails,
        Dead::ConnectionsAreRefused,
        Dead::NothingIsAnswered,
        Dead::NoHealthyHost,
        Dead::NoCluster,
    ] {
        let mut gateway = Gateway::start(config::SAMPLED);
        match dead {
            Dead::NoCluster => gateway.host.remove_cluster("sentry"),
            Dead::NoHealthyHost => gateway.host.set_cluster("sentry", Cluster::NoHealthyHost),
            Dead::EveryCallFails | Dead::ConnectionsAreRefused | Dead::NothingIsAnswered => {}
        }
        for _ in 0..20 {
            gateway.serve(&Exchange::get("/"));
        }
        gateway.host.shut_down(gateway.root)?;
        // Two minutes, in which Envoy still ticks.
        for _ in 0..120 {
            let answer = match dead {
                Dead::EveryCallFails => Some(Answer::failed()),
                Dead::ConnectionsAreRefused => Some(Answer {
                    body: b"reset reason: remote connection failure".to_vec(),
                    ..Answer::status(503)
                }),
                _ => None,
            };
            for token in gateway.host.outstanding() {
                if let Some(answer) = &answer {
                    gateway.host.answer(token, answer)?;
                }
            }
            if !gateway.host.has_context(gateway.root) {
                break;
            }
            gateway.flush();
        }
        let alive = gateway.host.has_context(gateway.root);
        assert!(
            !alive,
            "the old configuration is still there with {dead:?}: `proxy_done` never came"
        );
        gateway.assert_every_span_is_accounted_for();
        assert_eq!(gateway.metric("spans_recorded"), 20 * SPANS);
        assert_eq!(gateway.spans_discarded(), 20 * SPANS);
    }
    Ok(())
}

fn with_transport(settings: &str) -> String {
    format!(
        r#"{{"dsn": "{}", "traces_sample_rate": 1.0, "transport": {{{settings}}}}}"#,
        config::DSN
    )
}

fn only(callouts: &[Callout]) -> &Callout {
    match callouts {
        [callout] => callout,
        _ => panic!("{} callouts, not one", callouts.len()),
    }
}
