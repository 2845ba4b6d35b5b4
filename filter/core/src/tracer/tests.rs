use std::collections::BTreeMap;

mod failures;
mod redirects;
mod strangers;

use super::*;
use crate::export::callout::Callout;
use crate::export::delivery::CalloutResponse;
use crate::export::metrics::MetricKind;
use crate::fixtures::{config, Host};
use crate::headers::{BAGGAGE, SENTRY_TRACE};
use crate::host::HostError;
use crate::span::UpstreamInfo;
use crate::worker::Worker;

pub(crate) const NS_PER_S: u64 = 1_000_000_000;

/// A worker with its own clock, a host that can refuse callouts, and the metrics as the host would
/// show them.
pub(crate) struct Gateway {
    pub(crate) worker: Worker,
    pub(crate) now_ns: u64,
    pub(crate) next_token: u32,
    pub(crate) host: Host,
    /// The text of Envoy's own responses.
    pub(crate) body: &'static str,
    pub(crate) stats: BTreeMap<String, i64>,
}

impl Gateway {
    pub(crate) fn new(more: &str) -> Self {
        Self::with(&format!(r#""traces_sample_rate": 1, {more}"#))
    }

    /// The same, without a rate.
    fn with(more: &str) -> Self {
        Self::of_worker(Worker::alone(config(more)))
    }

    /// A gateway that is one worker.
    pub(crate) fn of_worker(worker: Worker) -> Self {
        Self {
            worker,
            now_ns: 1_787_306_400 * NS_PER_S,
            next_token: 1,
            host: Host::default(),
            body: "",
            stats: BTreeMap::new(),
        }
    }

    pub(crate) fn request(&mut self, path: &str) {
        self.request_with(&[(":path", path), (":method", "GET")], |_| {});
    }

    /// The same where only several workers together account for every span.
    pub(crate) fn request_unchecked(&mut self, path: &str) {
        self.serve(&[(":path", path), (":method", "GET")], |_| {});
        self.count();
    }

    /// A request whose headers have arrived.
    pub(crate) fn outcome(&mut self, lines: &[(&str, &str)]) -> RequestOutcome {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        self.worker
            .on_request(&Headers::from_pairs(lines), &mut self.host)
    }

    /// A request from its headers to its end, in no time.
    pub(crate) fn request_with(
        &mut self,
        lines: &[(&str, &str)],
        change: impl FnOnce(&mut StreamInfo),
    ) {
        self.serve(lines, change);
        self.check();
    }

    fn serve(&mut self, lines: &[(&str, &str)], change: impl FnOnce(&mut StreamInfo)) {
        let outcome = self.outcome(lines);
        // As from Envoy, which tells the times: the clock is not asked.
        let mut info = StreamInfo {
            start_ns: Some(self.now_ns),
            duration_ns: Some(0),
            ..StreamInfo::default()
        };
        change(&mut info);
        self.close(outcome.request, info);
    }

    /// The stream of a request has ended.
    pub(crate) fn close(&mut self, request: LiveRequest, info: StreamInfo) -> Option<u64> {
        let token = self.worker.tracer().on_stream_info(request, info, || None);
        self.worker.collect();
        token
    }

    pub(crate) fn tick_at(&mut self, now_ns: u64) {
        self.worker.tracer().on_tick(now_ns);
        self.worker.collect();
        self.worker.exporter().on_tick(now_ns);
    }

    /// The configuration is replaced.
    pub(crate) fn end(&mut self) {
        let others: [&mut Worker; 0] = [];
        let is_last = self.worker.begin_shutdown(&others, self.now_ns);
        assert!(!is_last, "it is no Envoy");
    }

    /// The same, and its VM goes with it.
    pub(crate) fn end_last(&mut self) {
        self.worker.tracer().end();
        let now_ns = self.now_ns;
        self.worker
            .handle(crate::exporter::Event::LastShutdown, now_ns);
    }

    /// The next thing to post.
    pub(crate) fn next_callout(&mut self) -> Option<Callout> {
        self.worker.collect();
        self.worker.exporter().next_callout(self.now_ns)
    }

    /// The host took a callout.
    pub(crate) fn posted(&mut self, callout: Callout, token: u32) {
        self.worker
            .exporter()
            .on_posted(callout, token, self.now_ns);
    }

    /// The host did not take a callout.
    pub(crate) fn not_posted(&mut self, callout: Callout) {
        let event = crate::exporter::Event::NotPosted(callout, HostError::Refused(2));
        self.worker.handle(event, self.now_ns);
    }

    /// Posts what may be posted and returns the tokens.
    pub(crate) fn flush(&mut self) -> Vec<u32> {
        let tokens = self.flush_unchecked();
        self.check();
        tokens
    }

    /// The same where only several workers together account for every span.
    pub(crate) fn flush_unchecked(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        while let Some(callout) = self.next_callout() {
            self.posted(callout, self.next_token);
            tokens.push(self.next_token);
            self.next_token += 1;
        }
        self.count();
        tokens
    }

    pub(crate) fn answer(&mut self, token: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = Headers::from_pairs(headers);
        let mut body = || self.body.as_bytes().to_vec();
        let mut response = CalloutResponse::new(&headers, &mut body);
        let exporter = self.worker.exporter();
        exporter.on_response(token, &mut response, self.now_ns);
        self.check();
    }

    pub(crate) fn stat(&self, name: &str) -> i64 {
        self.stats
            .get(&format!("sentry_filter.{name}"))
            .copied()
            .unwrap_or(0)
    }

    /// Every span is accounted for, at any moment.
    pub(crate) fn check(&mut self) {
        self.count();
        let discarded = self.discarded();
        let accounted = self.stat("spans_sent")
            + discarded
            + self.stat("spans_queued")
            + self.stat("spans_in_flight");
        assert_eq!(self.stat("spans_recorded"), accounted, "{:?}", self.stats);
    }

    fn count(&mut self) {
        let metrics: Vec<_> = Metric::all().collect();
        self.worker.collect();
        while let Some((index, change)) = self.worker.exporter().next_change() {
            let metric = metrics[index];
            assert!(
                change > 0 || metric.kind() == MetricKind::Gauge,
                "{metric:?} {change}"
            );
            *self.stats.entry(metric.name()).or_default() += change;
        }
    }

    fn discarded(&self) -> i64 {
        self.stats
            .iter()
            .filter(|(name, _)| name.starts_with("sentry_filter.spans_discarded."))
            .map(|(_, value)| value)
            .sum()
    }
}

#[test]
fn a_request_becomes_a_callout_and_its_answer_a_sent_span() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    assert!(!gateway.worker.exporter().is_idle());
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
    assert!(gateway.worker.exporter().is_idle());
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
    let callout = gateway.next_callout().unwrap();
    gateway.not_posted(callout);
    gateway.check();
    assert_eq!(gateway.stat("spans_queued"), 2);
    assert_eq!(gateway.stat("callouts.not_taken"), 1);
    assert!(gateway.flush().is_empty(), "not at once");
    gateway.now_ns += NS_PER_S;
    let callout = gateway.next_callout().unwrap();
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
fn a_configuration_that_ends_tries_once() {
    let mut gateway = Gateway::new("");
    gateway.body = "reset reason: remote connection failure";
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "503")]);
    gateway.request("/b");
    assert!(gateway.flush().is_empty(), "not at once");
    gateway.end();
    assert_eq!(gateway.flush(), [2, 3]);
    gateway.answer(2, &[(":status", "503")]);
    gateway.answer(3, &[(":status", "200")]);
    assert_eq!(gateway.stat("spans_discarded.network_error"), 1);
    assert_eq!(gateway.stat("spans_sent"), 1);
    assert!(gateway.worker.exporter().is_idle());
}

#[test]
fn a_configuration_that_ends_does_not_wait_for_a_host_that_takes_nothing() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.request("/b");
    gateway.end();
    let callout = gateway.next_callout().unwrap();
    gateway.not_posted(callout);
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 2);
    assert!(gateway.worker.exporter().is_idle());
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
    gateway.tick_at(gateway.now_ns);
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 1);
    assert!(gateway.worker.exporter().is_idle());
    gateway.answer(1, &[(":status", "200")]);
    assert_eq!(
        gateway.stat("spans_sent"),
        0,
        "an answer that comes too late counts no more"
    );
}

#[test]
fn a_code_that_is_to_be_ignored_is_discarded_with_its_reason() {
    let mut gateway = Gateway::new(r#""trace_ignore_status_codes": [404, [500, 599]],"#);
    for (code, ignored) in [(200, 0), (404, 1), (403, 1), (503, 2), (499, 2)] {
        gateway.request_with(&[], |end| end.response_code = Some(code));
        assert_eq!(gateway.stat("spans_discarded.ignored"), ignored, "{code}");
    }
    gateway.request_with(&[], |end| end.response_code = None);
    assert_eq!(gateway.stat("spans_queued"), 4);
}

/// The items of a callout's envelope that are reports.
fn reports(callout: &Callout) -> Vec<serde_json::Value> {
    let text = String::from_utf8(callout.body.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_report = |line: &&str| line.contains(r#""type":"client_report""#);
    lines
        .iter()
        .zip(lines.iter().skip(1))
        .filter(|(item, _)| is_report(item))
        .map(|(_, payload)| serde_json::from_str(payload).unwrap())
        .collect()
}

#[test]
fn what_was_lost_is_told_with_the_next_envelope() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "500")]);
    assert!(gateway.next_callout().is_none());
    gateway.request("/b");
    let callout = gateway.next_callout().unwrap();
    let [report] = &reports(&callout)[..] else {
        panic!("one report");
    };
    assert_eq!(
        report["discarded_events"],
        serde_json::json!([
            {"reason": "send_error", "category": "transaction", "quantity": 1},
            {"reason": "send_error", "category": "span", "quantity": 1},
        ])
    );
    // It did not arrive, so it is told again, with what was lost meanwhile.
    gateway.posted(callout, 2);
    gateway.answer(2, &[(":status", "500")]);
    gateway.request("/c");
    let callout = gateway.next_callout().unwrap();
    let report = &reports(&callout)[0];
    assert_eq!(report["discarded_events"][0]["quantity"], 2);
    gateway.posted(callout, 3);
    gateway.answer(3, &[(":status", "200")]);
    gateway.request("/d");
    let callout = gateway.next_callout().unwrap();
    assert_eq!(reports(&callout).len(), 0);
}

#[test]
fn sentry_counts_its_own_refusals_and_we_what_we_hold_back() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "429"), ("retry-after", "5")]);
    gateway.request("/held/back");
    gateway.now_ns += 5 * NS_PER_S;
    gateway.request("/b");
    let callout = gateway.next_callout().unwrap();
    let report = &reports(&callout)[0]["discarded_events"];
    assert_eq!(report[0]["reason"], "ratelimit_backoff");
    assert_eq!(report[0]["quantity"], 1, "only the second");
}

#[test]
fn what_is_not_sampled_is_told_after_a_minute_even_alone() {
    let mut gateway =
        Gateway::new(r#""rules": [{"match": {"path": "^/no"}, "traces_sample_rate": 0}],"#);
    for _ in 0..3 {
        assert!(gateway.outcome(&[(":path", "/no")]).request.span.is_none());
    }
    // Nobody's business.
    gateway.outcome(&[(":path", "/no"), (":method", "OPTIONS")]);
    assert!(gateway.next_callout().is_none());
    gateway.now_ns += 60 * NS_PER_S;
    let callout = gateway.next_callout().unwrap();
    assert_eq!(callout.quantity(), Quantity::default());
    let report = &reports(&callout)[0]["discarded_events"];
    assert_eq!(
        *report,
        serde_json::json!([
            {"reason": "sample_rate", "category": "transaction", "quantity": 3},
            {"reason": "sample_rate", "category": "span", "quantity": 3},
        ])
    );
    let first = String::from_utf8(callout.body.clone()).unwrap();
    let header: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert!(header["sent_at"].is_string() && header.get("event_id").is_none());
}

#[test]
fn no_report_is_made_if_none_is_wanted() {
    let mut gateway = Gateway::new(r#""client_reports": false,"#);
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "500")]);
    gateway.request("/b");
    let callout = gateway.next_callout().unwrap();
    assert_eq!(reports(&callout).len(), 0);
}

#[test]
fn what_never_left_is_sent_again() {
    let mut gateway = Gateway::new("");
    gateway.body = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    gateway.request("/a");
    gateway.flush();
    gateway.answer(1, &[(":status", "503")]);
    assert_eq!(
        (
            gateway.stat("spans_queued"),
            gateway.stat("callouts.not_arrived")
        ),
        (1, 1)
    );
    assert!(gateway.flush().is_empty(), "not at once");
    gateway.now_ns += NS_PER_S;
    assert_eq!(gateway.flush(), [2]);
    gateway.answer(2, &[(":status", "200")]);
    assert_eq!(gateway.stat("spans_sent"), 1);
}
