//! Failures, captured whatever becomes of the span.

use super::*;
use crate::attribute::Attribute;
use crate::fixtures::Value;
use crate::tracer::StreamState;

/// How a request ends that finds nobody.
const REFUSED: [(Attribute, i64); 2] = [
    (Attribute::ResponseCode, 503),
    (Attribute::ResponseFlags, 1 << 5),
];

impl Gateway {
    /// A request to its end, asked of the host.
    fn fails(&mut self, lines: &[(&str, &str)]) {
        let outcome = self.outcome(lines);
        self.host.now_ns = self.now_ns;
        self.host.request = Some(Headers::from_pairs(
            lines
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        ));
        let mut state = StreamState::Live(outcome.request);
        self.worker.on_end(&mut state, &mut self.host);
        self.worker.collect();
        self.count();
    }

    fn attributes(&mut self, texts: &[(Attribute, &str)]) {
        let numbers = REFUSED
            .iter()
            .map(|(attribute, number)| (*attribute, Value::from(*number)));
        let texts = texts
            .iter()
            .map(|(attribute, text)| (*attribute, Value::from(*text)));
        self.host.attributes = numbers.chain(texts).collect();
    }

    fn events(&self, name: &str) -> i64 {
        let name = format!("sentry_filter.events_{name}");
        self.stats.get(&name).copied().unwrap_or_default()
    }
}

const GET: [(&str, &str); 3] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/a?b=c"),
];

#[test]
fn a_request_that_does_not_fail_costs_one_attribute() {
    let mut kept = Vec::new();
    for (more, asked) in [
        (r#""traces_sample_rate": 0,"#, 1),
        (r#""traces_sample_rate": 0, "capture_failures": {},"#, 2),
    ] {
        let mut gateway = Gateway::with(more);
        gateway.host.attributes = vec![(Attribute::ResponseCode, Value::from(200))];
        let outcome = gateway.outcome(&GET);
        kept.push(gateway.worker.tracer().live_bytes());
        let mut state = StreamState::Live(outcome.request);
        gateway.host.asked = 0;
        gateway.worker.on_end(&mut state, &mut gateway.host);
        // The explanation is asked for in any case, for redirects.
        assert_eq!(gateway.host.asked, asked, "{more}");
        assert_eq!(gateway.events("recorded"), 0);
    }
    assert_eq!(kept[0], kept[1], "nothing is kept for it");
}

#[test]
fn a_failure_is_captured_whatever_is_sampled() {
    let capture = r#""capture_failures": {},"#;
    for more in [
        r#""traces_sample_rate": 0,"#,
        r#""traces_sample_rate": 1,"#,
        "",
        r#""traces_sample_rate": 1, "max_traces_per_second": 0.000001,"#,
        r#""traces_sample_rate": 1, "max_live_bytes": 1024,"#,
    ] {
        let mut gateway = Gateway::with(&format!("{more} {capture}"));
        gateway.attributes(&[(Attribute::ClusterName, "shop")]);
        gateway.fails(&GET);
        gateway.fails(&GET);
        assert_eq!(
            (gateway.events("recorded"), gateway.events("queued")),
            (2, 2),
            "{more}"
        );
        let mut bodies = Vec::new();
        while let Some(callout) = gateway.next_callout() {
            bodies.push(String::from_utf8(callout.body).unwrap());
        }
        let events: Vec<_> = bodies
            .iter()
            .filter(|body| body.contains(r#""level":"error""#))
            .collect();
        assert_eq!(events.len(), 2, "{more}");
        assert!(
            events[0].contains(r#""query_string":"b=[Filtered]""#),
            "{}",
            events[0]
        );
        assert_ne!(events[0].lines().next(), events[1].lines().next());
    }
}

#[test]
fn what_takes_no_part_makes_no_event() {
    let more = r#""traces_sample_rate": 0, "capture_failures": {"origin": "any"}, "rules": [{"match": {"path": "^/ignored"}, "ignore": true}],"#;
    let mut gateway = Gateway::with(more);
    gateway.attributes(&[]);
    gateway.fails(&[(":method", "OPTIONS"), (":path", "/")]);
    gateway.fails(&[(":method", "GET"), (":path", "/ignored")]);
    gateway.fails(&[
        (":method", "POST"),
        (":authority", "o1.ingest.sentry.io"),
        (":path", "/api/42/envelope/"),
    ]);
    assert_eq!(gateway.events("recorded"), 0);
    gateway.host.metadata.ignore = Some(true);
    gateway.fails(&GET);
    assert_eq!(gateway.events("recorded"), 0);
    gateway.host.metadata.ignore = Some(false);
    gateway.fails(&[(":method", "GET"), (":path", "/ignored")]);
    assert_eq!(
        gateway.events("recorded"),
        1,
        "the route comes before the rule"
    );
    let mut off = Gateway::with(r#""traces_sample_rate": 1,"#);
    off.attributes(&[]);
    off.fails(&GET);
    assert_eq!(off.events("recorded"), 0);
}

/// Ten thousand a second: as many as configured, nothing kept for the rest, all accounted for.
#[test]
fn a_storm_is_bounded_and_accounted_for() {
    let mut gateway =
        Gateway::with(r#""traces_sample_rate": 0, "capture_failures": {"max_per_minute": 5},"#);
    gateway.attributes(&[(Attribute::ClusterName, "shop")]);
    for _ in 0..10_000 {
        gateway.fails(&GET);
    }
    let told = ["recorded", "queued", "discarded.max_per_minute"].map(|name| gateway.events(name));
    assert_eq!(told, [10_000, 5, 9_995]);
    gateway.flush();
    assert_eq!(gateway.events("in_flight"), 5);
    for token in 1..=5 {
        gateway.answer(token, &[(":status", "200")]);
    }
    gateway.count();
    let told = ["recorded", "sent", "queued", "in_flight"].map(|name| gateway.events(name));
    assert_eq!(told, [10_000, 5, 0, 0]);
    // Another minute.
    gateway.now_ns += 60 * NS_PER_S;
    gateway.fails(&GET);
    assert_eq!(gateway.events("queued"), 1);
}

/// The name that the operator has given, and the path that the client asked for.
#[test]
fn an_unrecorded_request_has_the_name_of_a_recorded_one() {
    let more = r#""capture_failures": {}, "rules": [{"match": {"path": "^/shops/([^/]+)/"}, "transaction": "/shops/$1/{id}"}],"#;
    let lines = [
        (":method", "GET"),
        (":path", "/internal"),
        ("x-envoy-original-path", "/shops/a/7"),
    ];
    let mut gateway = Gateway::with(more);
    gateway.attributes(&[]);
    gateway.fails(&lines);
    let body = String::from_utf8(gateway.next_callout().unwrap().body).unwrap();
    assert!(
        body.contains(r#""transaction":"GET /shops/a/{id}""#),
        "{body}"
    );
}

#[test]
fn a_limit_of_errors_leaves_spans_alone() {
    let mut gateway = Gateway::with(r#""traces_sample_rate": 1, "capture_failures": {},"#);
    gateway.attributes(&[]);
    gateway.fails(&GET);
    gateway.flush();
    gateway.answer(
        1,
        &[(":status", "200"), ("x-sentry-rate-limits", "60:error")],
    );
    gateway.answer(2, &[(":status", "200")]);
    gateway.fails(&GET);
    assert_eq!(gateway.events("discarded.ratelimit_backoff"), 1);
    assert_eq!((gateway.events("sent"), gateway.events("queued")), (1, 0));
    let waiting = gateway.next_callout().unwrap();
    assert_eq!(waiting.quantity().events, 0, "the spans go on");
}
