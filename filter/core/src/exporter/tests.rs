//! Time, limits, pauses, generations, and the end of a configuration.

mod failures;
mod projects;

use super::*;
use crate::fixtures::{config, encoded, segment};
use crate::quantity::Quantity;
use crate::span::StreamInfo;
use crate::tracer::tests::{Gateway, NS_PER_S};
use crate::tracer::Recorded;
use crate::worker::{Identity, Worker};

const LIMIT: &[(&str, &str)] = &[(":status", "429"), ("retry-after", "60")];
const SPANS: LimitKey = (ProjectId::FIRST, Category::Spans);
const HOUR_NS: u64 = 3_600 * NS_PER_S;

fn limited_by(answer: &[(&str, &str)]) -> Gateway {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, answer);
    gateway
}

/// A tick at each second of the host's clock.
fn pass(gateway: &mut Gateway, seconds: u64) {
    for _ in 0..seconds {
        gateway.now_ns += NS_PER_S;
        gateway.tick_at(gateway.now_ns);
        gateway.check();
    }
}

#[test]
fn a_limit_of_another_workers_counts_for_as_long_as_was_said() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    let now_ns = gateway.now_ns;
    for unlikely in [0, 1, now_ns, now_ns + 60 * NS_PER_S] {
        gateway
            .worker
            .exporter()
            .on_shared_limit(SPANS, unlikely, now_ns);
        gateway.tick_at(now_ns);
        gateway.check();
        assert_eq!(gateway.stat("workers_rate_limited"), 0, "{unlikely}");
    }
    let limit = SharedLimit::new(now_ns, 1);
    gateway
        .worker
        .exporter()
        .on_shared_limit(SPANS, limit.number(), now_ns);
    gateway.tick_at(now_ns);
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.ratelimit_backoff"), 1);
    assert_eq!(gateway.stat("workers_rate_limited"), 1);
    gateway.tick_at(now_ns + NS_PER_S);
    gateway.check();
    assert_eq!(gateway.stat("workers_rate_limited"), 0);
}

#[test]
fn a_limit_that_is_told_again_counts_once() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    let limit = SharedLimit::new(gateway.now_ns, 3_600);
    gateway
        .worker
        .exporter()
        .on_shared_limit(SPANS, limit.number(), gateway.now_ns);
    // Back by half an hour, and by hours: the number stays where it is.
    for back_ns in [HOUR_NS / 2, 5 * HOUR_NS] {
        gateway.now_ns -= back_ns;
        gateway
            .worker
            .exporter()
            .on_shared_limit(SPANS, limit.number(), gateway.now_ns);
    }
    for _ in 0..3_600 {
        pass(&mut gateway, 1);
        gateway
            .worker
            .exporter()
            .on_shared_limit(SPANS, limit.number(), gateway.now_ns);
    }
    assert_eq!(gateway.stat("workers_rate_limited"), 0);
}

/// Whatever the clock does after it was said, a limit of a minute is over after a minute, and
/// before that only if the clock was set forward.
#[test]
fn a_limit_does_not_outlast_a_clock_that_was_set_back() {
    for back_ns in [1, NS_PER_S, 5 * HOUR_NS, 1_787_306_400 * NS_PER_S] {
        let mut gateway = limited_by(LIMIT);
        pass(&mut gateway, 1);
        gateway.now_ns = gateway.now_ns.saturating_sub(back_ns).max(1);
        pass(&mut gateway, 57);
        gateway.request("/b");
        assert_eq!(gateway.stat("workers_rate_limited"), 1, "{back_ns}");
        assert_eq!(
            gateway.stat("spans_discarded.ratelimit_backoff"),
            2,
            "{back_ns}"
        );
        pass(&mut gateway, 3);
        assert_eq!(gateway.stat("workers_rate_limited"), 0, "{back_ns}");
        gateway.request("/c");
        assert_eq!(gateway.flush(), [2], "{back_ns}");
    }
    let mut gateway = limited_by(LIMIT);
    gateway.now_ns += 5 * HOUR_NS;
    gateway.request("/b");
    assert_eq!(gateway.flush(), [2], "set forward");
}

#[test]
fn a_clock_that_cannot_be_read_for_once_changes_nothing() {
    let mut gateway = limited_by(LIMIT);
    pass(&mut gateway, 1);
    gateway.tick_at(0);
    pass(&mut gateway, 1);
    assert_eq!(gateway.stat("workers_rate_limited"), 1);
}

#[test]
fn a_pause_does_not_outlast_a_clock_that_was_set_back() {
    let mut gateway = Gateway::new("");
    gateway.body = "reset reason: remote connection failure";
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "503")]);
    gateway.now_ns -= 5 * HOUR_NS;
    assert_eq!(gateway.flush().len(), 0, "no reason to try at once");
    pass(&mut gateway, 1);
    assert_eq!(gateway.flush(), [2]);
}

#[test]
fn callouts_are_given_up_after_their_time_whatever_the_clock_does() {
    let patience_s = 15;
    for (name, change_ns) in [
        ("set back", -5 * HOUR_NS as i64),
        ("set forward", 5 * HOUR_NS as i64),
    ] {
        let mut gateway = Gateway::new("");
        gateway.request("/a");
        gateway.flush();
        pass(&mut gateway, 2);
        gateway.now_ns = gateway.now_ns.saturating_add_signed(change_ns);
        pass(&mut gateway, patience_s - 4);
        assert_eq!(gateway.stat("spans_in_flight"), 1, "{name}");
        pass(&mut gateway, 4);
        assert_eq!(
            gateway.stat("spans_discarded.network_error"),
            1,
            "{name}: given up"
        );
    }
}

#[test]
fn reports_and_redirects_do_not_wait_for_a_clock_that_was_set_back() {
    let quiet = r#""rules": [{"match": {"path": "^/no"}, "traces_sample_rate": 0}],"#;
    let mut gateway = Gateway::new(quiet);
    gateway.outcome(&[(":path", "/no")]);
    assert!(gateway.next_callout().is_none());
    gateway.now_ns -= 5 * HOUR_NS;
    // The second in which it was set back is none.
    pass(&mut gateway, 61);
    assert!(gateway.next_callout().is_some());

    let mut gateway = Gateway::new("");
    let request = gateway.outcome(&[]).request;
    let end = StreamInfo {
        start_ns: Some(gateway.now_ns),
        duration_ns: Some(0),
        response_code_details: Some("internal_redirect".to_owned()),
        ..StreamInfo::default()
    };
    gateway.close(request, end);
    gateway.now_ns -= 5 * HOUR_NS;
    pass(&mut gateway, 1);
    assert_eq!(gateway.stat("spans_recorded"), 1);
}

/// Whatever a receiver answers, the next POST is not a matter of the next request alone.
#[test]
fn no_answer_leads_to_a_post_for_each_request() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, usize);
    let rows: [Row; 10] = [
        (&[(":status", "429"), ("retry-after", "0")], "", 11),
        (&[(":status", "429"), ("retry-after", "0.0")], "", 11),
        (
            &[(":status", "429"), ("x-sentry-rate-limits", "0::key")],
            "",
            11,
        ),
        (
            &[
                (":status", "429"),
                ("x-sentry-rate-limits", "0:transaction"),
            ],
            "",
            11,
        ),
        // Not about us, but refused all the same: one round of sixteen, and then a pause.
        (
            &[(":status", "429"), ("x-sentry-rate-limits", "60:error")],
            "",
            161,
        ),
        (
            &[(":status", "429"), ("x-sentry-rate-limits", "60:foo;bar")],
            "",
            161,
        ),
        (&[(":status", "500")], "", 400),
        (
            &[(":status", "503"), ("x-envoy-upstream-service-time", "0")],
            "",
            400,
        ),
        (&[], "", 400),
        (
            &[(":status", "503")],
            "reset reason: remote connection failure",
            100,
        ),
    ];
    for (answer, body, most) in rows {
        let mut gateway = Gateway::new("");
        gateway.body = body;
        let mut posts = 0;
        // A hundred requests a second, each answered at once, for ten seconds.
        for _ in 0..1_000 {
            gateway.now_ns += NS_PER_S / 100;
            gateway.request("/");
            if gateway.now_ns.is_multiple_of(NS_PER_S) {
                gateway.tick_at(gateway.now_ns);
            }
            let mut tokens = gateway.flush();
            while let Some(token) = tokens.pop() {
                posts += 1;
                gateway.answer(token, answer);
                if gateway.worker.exporter().follows_responses() {
                    tokens.extend(gateway.flush());
                }
            }
        }
        assert!(posts > 0 && posts <= most, "{answer:?}: {posts} POSTs");
    }
}

#[test]
fn a_receiver_that_refuses_now_and_then_is_not_held_up() {
    let mut gateway = Gateway::new("");
    for round in 0..100 {
        gateway.request("/");
        let tokens = gateway.flush();
        assert_eq!(tokens.len(), 1, "{round}");
        let status = if round % 3 == 0 { "200" } else { "500" };
        gateway.answer(tokens[0], &[(":status", status)]);
    }
}

#[test]
fn zero_seconds_on_a_success_are_no_limit() {
    let mut gateway = limited_by(&[
        (":status", "200"),
        ("x-sentry-rate-limits", "0:transaction"),
    ]);
    gateway.request("/b");
    assert_eq!(gateway.flush(), [2]);
}

fn generations(count: usize, more: &str) -> Vec<Gateway> {
    let mut all: Vec<Gateway> = Vec::new();
    for _ in 0..count {
        let config = config(&format!(r#""traces_sample_rate": 1, {more}"#));
        let others = all.iter().map(|gateway| &gateway.worker);
        let worker = Worker::new(config, Identity::default(), others, 0);
        let mut next = Gateway::of_worker(worker);
        if !all.is_empty() {
            next.next_token = 1_000 * all.len() as u32;
        }
        all.push(next);
    }
    all
}

fn sum(all: &[Gateway], stat: &str) -> i64 {
    all.iter().map(|gateway| gateway.stat(stat)).sum()
}

#[test]
fn generations_have_one_bound_together() {
    let bounds = r#""transport": {"max_queue_bytes": 20000, "max_in_flight": 4},"#;
    let mut alone = generations(1, bounds);
    for _ in 0..100 {
        alone[0].request("/");
    }
    let most = alone[0].stat("spans_queued");

    let mut all = generations(12, bounds);
    for gateway in &mut all {
        for _ in 0..100 {
            gateway.request_unchecked("/");
        }
        gateway.flush_unchecked();
        // Its configuration is replaced, and the receiver does not answer.
        gateway.end();
        gateway.flush_unchecked();
    }
    let (queued, posts) = (sum(&all, "spans_queued"), sum(&all, "spans_in_flight"));
    assert!(queued + posts <= most, "{queued} and {posts} of {most}");
    assert!((4..=8).contains(&posts), "{posts}");
    let recorded = sum(&all, "spans_recorded");
    let lost = sum(&all, "spans_discarded.queue_overflow");
    assert_eq!(recorded, 1_200);
    assert_eq!(recorded, queued + posts + lost);

    // The first one is gone, and so is what it held.
    let held = all[0].stat("spans_in_flight");
    all[0] = Gateway::new(bounds);
    let newest = all.last_mut().unwrap();
    for _ in 0..100 {
        newest.request_unchecked("/");
    }
    let queued = sum(&all, "spans_queued") + sum(&all, "spans_in_flight");
    assert!(held > 0 && queued <= most, "{queued}");
}

#[test]
fn the_newest_generation_sends_while_an_old_one_hangs() {
    let mut all = generations(3, r#""transport": {"max_in_flight": 4},"#);
    for gateway in &mut all {
        for _ in 0..10 {
            gateway.request("/");
        }
    }
    assert_eq!(all[0].flush(), [1, 2, 3, 4], "there is room for all");
    assert_eq!(all[0].flush().len(), 0);
    assert_eq!(all[1].flush().len(), 0, "no more for those that are old");
    assert_eq!(all[2].flush().len(), 4, "but for the newest");
    assert_eq!(all[2].flush().len(), 0, "which has no more than its own");
    all[2].answer(2_000, &[(":status", "200")]);
    assert_eq!(all[2].flush().len(), 1);
    // The newest is gone, and the one before it is the newest again.
    all.pop();
    assert_eq!(all[1].flush().len(), 4);
}

#[test]
fn an_old_configuration_gives_up_after_a_minute() {
    let mut gateway = Gateway::new(r#""transport": {"max_in_flight": 1, "timeout_ms": 600000},"#);
    for _ in 0..3 {
        gateway.request("/");
    }
    gateway.end();
    gateway.flush();
    pass(&mut gateway, 60);
    assert_eq!(gateway.stat("spans_queued"), 2);
    pass(&mut gateway, 1);
    assert_eq!(gateway.stat("spans_queued"), 0);
    assert_eq!(gateway.stat("spans_discarded.network_error"), 2);
    assert_eq!(gateway.stat("spans_in_flight"), 1, "until its time is over");
    pass(&mut gateway, 600);
    assert!(gateway.worker.exporter().is_idle());
}

/// Every gauge is 0 when its context ends, whatever it was.
#[test]
fn no_gauge_is_left_behind() {
    let gauges = ["spans_queued", "spans_in_flight", "workers_rate_limited"];
    type End = (&'static str, fn(&mut Gateway));
    let ends: [End; 3] = [
        ("replaced", |gateway| {
            gateway.end();
            pass(gateway, 80);
        }),
        ("with its VM", |gateway| {
            gateway.end_last();
            gateway.flush();
            gateway.worker.exporter().abandon();
        }),
        ("no callouts", |gateway| {
            gateway.worker.exporter().degrade(NO_CALLOUTS)
        }),
    ];
    for (end, act) in ends {
        let mut limited = limited_by(LIMIT);
        pass(&mut limited, 1);
        assert_eq!(limited.stat("workers_rate_limited"), 1);
        let mut busy = Gateway::new(r#""transport": {"max_in_flight": 2},"#);
        for _ in 0..5 {
            busy.request("/");
        }
        busy.flush();
        assert_eq!(busy.stat("spans_in_flight"), 2);
        for mut gateway in [limited, busy] {
            act(&mut gateway);
            // A limit that goes on is nobody's any more.
            pass(&mut gateway, 1);
            assert_eq!(gauges.map(|gauge| gateway.stat(gauge)), [0; 3], "{end}");
            assert!(gateway.worker.exporter().is_idle());
        }
    }
}

#[test]
fn all_leaves_at_once_when_the_vm_goes() {
    let mut gateway = Gateway::new(r#""transport": {"max_in_flight": 2},"#);
    gateway.body = "reset reason: remote connection failure";
    for _ in 0..20 {
        gateway.request("/");
    }
    gateway.flush();
    gateway.answer(1, &[(":status", "503")]);
    gateway.end_last();
    assert_eq!(gateway.flush().len(), 19, "no slot and no pause is kept");
    gateway.worker.exporter().abandon();
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 20);
}

#[test]
fn what_waits_for_a_long_interval_leaves_when_the_traffic_stops() {
    let transport = |ms: u32| {
        let transport = format!(r#""transport": {{"flush_interval_ms": {ms}}},"#);
        Worker::alone(config(&transport))
            .exporter()
            .tick_period_ms()
    };
    assert_eq!([10, 50, 1_000].map(transport), [10, 50, 1_000]);
    assert_eq!([1_001, 30_000, 60_000].map(transport), [250; 3]);

    let mut gateway = Gateway::new(r#""transport": {"flush_interval_ms": 30000},"#);
    let tick = |gateway: &mut Gateway| {
        gateway.now_ns += NS_PER_S / 4;
        gateway.tick_at(gateway.now_ns);
        gateway.worker.exporter().is_flush_due()
    };
    tick(&mut gateway);
    let mut flushes = 0;
    for _ in 0..240 {
        gateway.request("/");
        flushes += u32::from(tick(&mut gateway));
    }
    assert_eq!(flushes, 2, "a minute of traffic");
    gateway.request("/");
    assert!(!tick(&mut gateway));
    assert!(tick(&mut gateway), "it has stopped");
}

/// Where one exporter serves several workers, each of them has its share.
#[test]
fn several_workers_have_the_bounds_of_each() {
    let config = Arc::new(config(
        r#""transport": {"max_queue_bytes": 8192, "max_in_flight": 1},"#,
    ));
    let posts = |workers: usize| {
        let exporter = Exporter::new(Arc::clone(&config), &Generations::default(), 0);
        let mut exporter = exporter.for_workers(workers);
        let mut recorded = Recorded::default();
        for _ in 0..8 {
            let segment = encoded(&segment("/a"), config.transport.format, &config);
            assert_eq!(recorded.push(segment, usize::MAX), Quantity::default());
        }
        exporter.collect(&mut recorded);
        exporter.flush();
        let mut posts = 0;
        while let Some(command) = exporter.poll(NS_PER_S) {
            if let Command::Post(callout) = command {
                posts += 1;
                exporter.handle(Event::Posted(callout, posts), NS_PER_S);
            }
        }
        (posts, exporter.destinations[0].queue.clear().segments)
    };
    // All are of one trace, so that a queue that overflows is left with the newest.
    let (one, three) = (posts(1), posts(3));
    assert_eq!((one.0, three.0), (1, 3), "POSTs under way");
    assert!(one.1 < three.1, "what waits: {one:?} {three:?}");
}
