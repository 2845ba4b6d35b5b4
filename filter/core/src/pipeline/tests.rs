use std::collections::BTreeMap;

use super::*;
use crate::fixtures::{config, Host};
use crate::metrics::Kind;

const NS_PER_S: u64 = 1_000_000_000;

/// A pipeline with its own clock, a host that can refuse callouts, and the metrics as the host would show them.
struct Gateway {
    pipeline: Pipeline,
    now_ns: u64,
    next_token: u32,
    host: Host,
    stats: BTreeMap<String, i64>,
}

impl Gateway {
    fn new(more: &str) -> Self {
        Self {
            pipeline: Pipeline::new(config(&format!(r#""traces_sample_rate": 1, {more}"#))),
            now_ns: 1_787_306_400 * NS_PER_S,
            next_token: 1,
            host: Host::default(),
            stats: BTreeMap::new(),
        }
    }

    fn request(&mut self, path: &str) {
        let headers =
            Headers::from_pairs([(b":path".as_slice(), path.as_bytes()), (b":method", b"GET")]);
        let pipeline = &mut self.pipeline;
        let outcome = self
            .host
            .serve(|sources| pipeline.on_request_headers(&headers, sources));
        // As from Envoy, which tells the times: the clock is not asked.
        let end = StreamEnd {
            start_ns: Some(self.now_ns),
            duration_ns: Some(0),
            ..StreamEnd::default()
        };
        self.pipeline
            .on_stream_end(outcome.span.unwrap(), end, || None);
        self.check();
    }

    /// Posts what may be posted and returns the tokens.
    fn flush(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        while let Some(callout) = self.pipeline.next_callout(self.now_ns) {
            self.pipeline
                .on_dispatched(&callout, self.next_token, self.now_ns);
            tokens.push(self.next_token);
            self.next_token += 1;
        }
        self.check();
        tokens
    }

    fn answer(&mut self, token: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        self.pipeline
            .on_answer(token, &Headers::from_pairs(headers), self.now_ns);
        self.check();
    }

    fn stat(&self, name: &str) -> i64 {
        self.stats
            .get(&format!("sentry_filter.{name}"))
            .copied()
            .unwrap_or(0)
    }

    /// Every span is accounted for, at any moment.
    fn check(&mut self) {
        let metrics: Vec<_> = Metric::all().collect();
        for (index, change) in self.pipeline.metrics().take() {
            let metric = metrics[index];
            assert!(
                change > 0 || metric.kind() == Kind::Gauge,
                "{metric:?} {change}"
            );
            *self.stats.entry(metric.name()).or_default() += change;
        }
        let discarded: i64 = self
            .stats
            .iter()
            .filter(|(name, _)| name.starts_with("sentry_filter.spans_discarded."))
            .map(|(_, value)| value)
            .sum();
        let accounted = self.stat("spans_sent")
            + discarded
            + self.stat("spans_queued")
            + self.stat("spans_in_flight");
        assert_eq!(self.stat("spans_recorded"), accounted, "{:?}", self.stats);
    }
}

#[test]
fn a_request_becomes_a_callout_and_its_answer_a_sent_span() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    assert!(!gateway.pipeline.is_idle());
    assert_eq!(gateway.flush(), [1]);
    assert_eq!(
        (
            gateway.stat("spans_queued"),
            gateway.stat("spans_in_flight")
        ),
        (0, 1)
    );
    gateway.answer(1, &[(":status", "200")]);
    assert_eq!(
        (gateway.stat("spans_sent"), gateway.stat("spans_in_flight")),
        (1, 0)
    );
    assert!(gateway.pipeline.is_idle());
}

#[test]
fn no_more_callouts_are_under_way_than_configured() {
    let mut gateway = Gateway::new(r#""transport": {"max_in_flight": 2},"#);
    for path in ["/a", "/b", "/c"] {
        gateway.request(path);
    }
    assert_eq!(gateway.flush(), [1, 2]);
    gateway.answer(1, &[(":status", "200")]);
    assert_eq!(gateway.flush(), [3]);
}

#[test]
fn what_the_host_does_not_take_waits_for_the_next_flush() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.request("/b");
    let callout = gateway.pipeline.next_callout(gateway.now_ns).unwrap();
    gateway.pipeline.on_not_dispatched(callout);
    gateway.check();
    assert_eq!(gateway.stat("spans_queued"), 2);
    let callout = gateway.pipeline.next_callout(gateway.now_ns).unwrap();
    assert!(String::from_utf8(callout.body)
        .unwrap()
        .contains(r#""transaction":"/a""#));
}

#[test]
fn losses_have_their_reason() {
    let rows: [(&[(&str, &str)], &str); 3] = [
        (&[], "spans_discarded.network_error"),
        (&[(":status", "500")], "spans_discarded.send_error"),
        (&[(":status", "garbage")], "spans_discarded.network_error"),
    ];
    for (answer, stat) in rows {
        let mut gateway = Gateway::new("");
        gateway.request("/a");
        gateway.flush();
        gateway.answer(1, answer);
        assert_eq!(gateway.stat(stat), 1, "{answer:?}");
    }
}

#[test]
fn a_rate_limit_discards_until_it_is_over() {
    let mut gateway = Gateway::new(r#""transport": {"max_in_flight": 1},"#);
    gateway.request("/a");
    gateway.request("/b");
    gateway.flush();
    gateway.answer(1, &[(":status", "429"), ("retry-after", "5")]);
    gateway.request("/c");
    assert_eq!(gateway.stat("spans_discarded.ratelimit_backoff"), 3);
    assert!(gateway.flush().is_empty());
    gateway.now_ns += 5 * NS_PER_S;
    gateway.request("/d");
    assert_eq!(gateway.flush(), [2]);
}

#[test]
fn what_waits_can_be_given_up() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.pipeline.give_up();
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 1);
    assert!(gateway.pipeline.is_idle());
}

#[test]
fn a_full_queue_discards_the_oldest() {
    let mut gateway = Gateway::new(r#""transport": {"max_queue_bytes": 3000},"#);
    for _ in 0..10 {
        gateway.request("/a");
    }
    let (queued, lost) = (
        gateway.stat("spans_queued"),
        gateway.stat("spans_discarded.queue_overflow"),
    );
    assert!(queued > 0 && lost > 0, "{queued} {lost}");
    assert_eq!(queued + lost, 10);
}

#[test]
fn a_callout_that_is_never_answered_frees_its_place() {
    let mut gateway = Gateway::new(r#""transport": {"max_in_flight": 1},"#);
    gateway.request("/a");
    gateway.flush();
    gateway.now_ns += 60 * NS_PER_S;
    gateway.pipeline.on_tick(gateway.now_ns);
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 1);
    assert!(gateway.pipeline.is_idle());
    gateway.answer(1, &[(":status", "200")]);
    assert_eq!(
        gateway.stat("spans_sent"),
        0,
        "an answer that comes too late counts no more"
    );
}
