//! The whole line in any order: requests, ends of streams, callouts that the host takes or does
//! not, answers of any kind, clocks that jump.
//!
//! ```text
//! byte 0    the configuration
//! then      operations: a byte each, with what it needs behind it
//! ```

use std::sync::OnceLock;

use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::envelope::{Category, EncodedSegment, Format};
use sentry_filter_core::export::callout::Callout;
use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::export::metrics::{Metric, MetricKind};
use sentry_filter_core::export::shared_limit::SharedLimit;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::HostError;
use sentry_filter_core::project::ProjectId;
use sentry_filter_core::span::{StreamInfo, UpstreamInfo};
use sentry_filter_core::trace::sentry_trace::SentryTrace;
use sentry_filter_core::tracer::LiveRequest;
use sentry_filter_core::worker::Worker;

use super::host::Host;
use super::input::{self, Bytes};
use super::strict;

const NS_PER_S: u64 = 1_000_000_000;
/// How many streams are open at most, so that an input costs what it is long.
const MAX_STREAMS: usize = 16;

const CONFIGURATIONS: [&str; 8] = [
    r#""transport": {"max_queue_bytes": 3000, "max_in_flight": 2}"#,
    r#""transport": {"max_queue_bytes": 1024, "max_in_flight": 1}"#,
    r#""transport": {"max_queue_bytes": 6000, "max_in_flight": 3, "timeout_ms": 600000}"#,
    r#""max_traces_per_second": 2, "transport": {"max_in_flight": 1, "timeout_ms": 1}"#,
    r#""transport": {"max_queue_bytes": 9000, "max_in_flight": 2, "format": "span_v2"}"#,
    r#""transport": {"max_queue_bytes": 6000, "max_in_flight": 2, "format": "otlp"}"#,
    r#""upstream_spans": false, "trace_ignore_status_codes": [[400, 599]], "transport": {"format": "otlp"}"#,
    // Several projects: requests are told apart by the length of their paths.
    r#""transport": {"max_queue_bytes": 6000, "max_in_flight": 1}, "rules": [
        {"match": {"path": "^/x{64}"}, "dsn": ""},
        {"match": {"path": "^/x{16}"}, "dsn": "https://shop@o7.ingest.sentry.io/7"},
        {"match": {"path": "^/x{4}"}, "dsn": "https://blog@o8.ingest.sentry.io/8", "transport": {"cluster": "eu"}}]"#,
];

/// Whether everything holds after each operation.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut worker = Driven::new(bytes.byte());
    while let Some(operation) = bytes.take() {
        worker.step(operation, &mut bytes);
        worker.balance();
    }
    worker.finish();
}

/// One worker with what its host knows.
struct Driven {
    config: &'static FilterConfig,
    worker: Worker,
    host: Host,
    now_ns: u64,
    next_token: u32,
    /// Streams whose span is open.
    streams: Vec<LiveRequest>,
    /// A callout that was made and neither taken nor refused yet.
    held: Option<Callout>,
    /// The tokens that were given out.
    tokens: Vec<u32>,
    /// Every metric as the host would show it.
    stats: Vec<(Metric, i64)>,
}

impl Driven {
    fn new(configuration: u8) -> Self {
        static ALL: OnceLock<Vec<FilterConfig>> = OnceLock::new();
        let all = ALL.get_or_init(|| CONFIGURATIONS.iter().map(|more| read(more)).collect());
        let config = &all[usize::from(configuration) % all.len()];
        Self {
            config,
            worker: Worker::alone(config.clone()),
            host: Host::new(0),
            now_ns: 1_787_306_400 * NS_PER_S,
            next_token: 1,
            streams: Vec::new(),
            held: None,
            tokens: Vec::new(),
            stats: Metric::all().map(|metric| (metric, 0)).collect(),
        }
    }

    fn step(&mut self, operation: u8, bytes: &mut Bytes<'_>) {
        match operation % 16 {
            0 | 1 => self.request(bytes.byte()),
            2 | 3 => self.end_stream(bytes.byte(), bytes.byte()),
            4 | 5 => {
                if self.held.is_none() {
                    self.held = self.next_callout();
                }
                if let Some(callout) = &self.held {
                    self.reads(callout);
                }
            }
            6 => {
                if let Some(callout) = self.held.take() {
                    self.posted(callout);
                }
            }
            7 => {
                if let Some(callout) = self.held.take() {
                    let error = HostError::Refused(u32::from(bytes.byte()));
                    self.handle(Event::NotPosted(callout, error));
                }
            }
            8 => self.answer(bytes.byte(), &[(b":status".to_vec(), b"200".to_vec())]),
            9 => {
                let (token, headers) = (bytes.byte(), input::headers(bytes.text()));
                self.answer(token, &headers);
            }
            10 => self.now_ns = self.now_ns.saturating_add(jump(bytes.byte())),
            11 => self.now_ns = self.now_ns.saturating_sub(jump(bytes.byte())),
            12 => self.handle(Event::Tick),
            13 => {
                let others: [&mut Worker; 0] = [];
                self.worker.begin_shutdown(&others, self.now_ns);
            }
            // A stream that the host forgets without a word.
            14 => drop(self.streams.pop()),
            // As the door does on a tick; sometimes another worker knows more.
            _ => {
                let limit = bytes.byte();
                if limit > 200 {
                    let limit = match limit % 2 {
                        0 => SharedLimit::new(self.now_ns, jump(limit) / 1_000_000_000).number(),
                        _ => jump(limit),
                    };
                    self.handle(Event::SharedLimit(
                        (ProjectId::FIRST, Category::Spans),
                        limit,
                    ));
                }
                self.handle(Event::Tick);
                while let Some(callout) = self.next_callout() {
                    self.posted(callout);
                }
            }
        }
    }

    fn handle(&mut self, event: Event<'_>) {
        self.worker.handle(event, self.now_ns);
    }

    /// Carries out commands until one is a callout.
    fn next_callout(&mut self) -> Option<Callout> {
        self.worker.exporter().flush();
        loop {
            match self.worker.exporter().poll(self.now_ns)? {
                Command::Post(callout) => return Some(callout),
                Command::ChangeMetric(index, change) => self.count(index, change),
                Command::ShareLimit(..) | Command::Log(..) | Command::Finished => {}
            }
        }
    }

    fn count(&mut self, index: usize, change: i64) {
        let (metric, value) = &mut self.stats[index];
        assert!(
            change > 0 || metric.kind() == MetricKind::Gauge,
            "{metric:?} {change}"
        );
        *value += change;
    }

    fn request(&mut self, length: u8) {
        if self.streams.len() >= MAX_STREAMS {
            return;
        }
        let path = format!("/{}", "x".repeat(usize::from(length)));
        let headers =
            Headers::from_pairs([(b":path".as_slice(), path.as_bytes()), (b":method", b"GET")]);
        let outcome = self.worker.on_request(&headers, &mut self.host);
        if outcome.request.span.is_some() {
            self.streams.push(outcome.request);
        }
    }

    fn end_stream(&mut self, index: u8, times: u8) {
        let open = self.streams.len();
        if open == 0 {
            return;
        }
        let request = self.streams.swap_remove(usize::from(index) % open);
        let end = StreamInfo {
            start_ns: match times % 4 {
                0 => None,
                1 => Some(0),
                2 => Some(u64::MAX),
                _ => Some(self.now_ns),
            },
            duration_ns: match times / 4 % 4 {
                0 => None,
                1 => Some(u64::MAX),
                _ => Some(jump(times / 16)),
            },
            response_code: Some(u16::from(times) * 4),
            response_size: Some(u64::MAX),
            response_code_details: (times == 3).then(|| "internal_redirect".to_owned()),
            upstream: (times % 2 == 1).then(|| UpstreamInfo {
                address: "10.0.0.7:80".to_owned(),
                attempts: u64::from(times) % 3,
                pool_wait_ns: Some(jump(times)),
                latency_ns: (times % 8 < 4).then(|| jump(times / 4)),
                ..UpstreamInfo::default()
            }),
            now_ns: self.now_ns,
            ..StreamInfo::default()
        };
        let span = request.span.as_ref().expect("it is recorded");
        let sent = SentryTrace {
            trace_id: span.context.trace_id,
            span_id: span.context.upstream_parent(),
            sampled: Some(true),
        };
        let tracer = self.worker.tracer();
        let token = tracer.on_stream_info(request, end, || None);
        self.worker.collect();
        if token.is_some() {
            // Envoy runs the filters for the next request at once.
            let value = sent.to_value();
            let headers = Headers::from_pairs([(b"sentry-trace".as_slice(), value.as_slice())]);
            self.host.redirect_token = token;
            let outcome = self.worker.on_request(&headers, &mut self.host);
            let resumed = outcome.request.span.as_ref().expect("the span goes on");
            assert_eq!(resumed.context.trace_id, sent.trace_id);
            self.streams.push(outcome.request);
        }
    }

    /// A callout carries as many spans as it says, in a form that a strict reader takes.
    fn reads(&self, callout: &Callout) {
        let is_its = |segment: &EncodedSegment| segment.project() == callout.project;
        assert!(callout.segments.iter().all(is_its), "of one project");
        if callout.segments.is_empty() {
            let end = callout.body.iter().position(|byte| *byte == b'\n');
            return strict::reports(&callout.body[end.expect("a header") + 1..]);
        }
        let spans = match self.config.transport.format {
            Format::Transaction => {
                let (_, event) = strict::envelope(&callout.body);
                1 + event["spans"].as_array().expect("spans").len()
            }
            Format::SpanV2 => strict::streamed_spans(&callout.body),
            Format::Otlp => strict::otlp_spans(&callout.body),
        };
        assert_eq!(spans, callout.quantity().spans as usize);
    }

    fn posted(&mut self, callout: Callout) {
        self.handle(Event::Posted(callout, self.next_token));
        self.tokens.push(self.next_token);
        self.next_token += 1;
    }

    /// Answers a token: one that waits, one that was answered already, or one that never was.
    fn answer(&mut self, which: u8, headers: &[(Vec<u8>, Vec<u8>)]) {
        let token = match self.tokens.len() {
            0 => u32::from(which),
            given => self.tokens[given.saturating_sub(1 + usize::from(which % 8))],
        };
        let pairs = headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let headers = Headers::from_pairs(pairs);
        // As Envoy says it of a connection that was refused, or of one that broke.
        let reason = if which.is_multiple_of(2) {
            "remote connection failure"
        } else {
            "connection termination"
        };
        let mut body = || format!("reset reason: {reason}").into_bytes();
        self.handle(Event::Response(
            token,
            CalloutResponse::new(&headers, &mut body),
        ));
    }

    /// Every span is accounted for, at any moment.
    fn balance(&mut self) {
        self.worker.collect();
        while let Some((index, change)) = self.worker.exporter().next_change() {
            self.count(index, change);
        }
        let queued = self.stat(Metric::SpansQueued);
        let in_flight = self.stat(Metric::SpansInFlight);
        let recorded = self.stat(Metric::SpansRecorded);
        let sent = self.stat(Metric::SpansSent);
        assert_eq!(recorded, sent + self.discarded() + queued + in_flight);
        let held = self.held.as_ref().map_or(0, |held| held.quantity().spans);
        assert!(queued >= i64::from(held), "{queued} queued");
        assert!(in_flight >= 0, "{in_flight} in flight");
    }

    fn stat(&self, wanted: Metric) -> i64 {
        let mut stats = self.stats.iter();
        stats
            .find(|(metric, _)| *metric == wanted)
            .map_or(0, |(_, value)| *value)
    }

    fn discarded(&self) -> i64 {
        let is_loss = |metric: &Metric| matches!(metric, Metric::SpansDiscarded(_));
        let losses = self.stats.iter().filter(|(metric, _)| is_loss(metric));
        losses.map(|(_, value)| value).sum()
    }

    /// In the end everything leaves, and what had waited was no more than may wait.
    fn finish(mut self) {
        if let Some(callout) = self.held.take() {
            self.posted(callout);
        }
        self.now_ns = u64::MAX;
        self.handle(Event::Tick);
        let max_bytes = self.config.transport.max_queue_bytes;
        let mut bytes = 0;
        while let Some(callout) = self.next_callout() {
            self.reads(&callout);
            bytes += callout
                .segments
                .iter()
                .map(EncodedSegment::weight)
                .sum::<usize>();
            self.posted(callout);
            self.answer(0, &[(b":status".to_vec(), b"200".to_vec())]);
            self.balance();
        }
        assert!(bytes <= max_bytes, "{bytes} of {max_bytes} bytes");
        self.balance();
        assert!(self.worker.exporter().is_idle());
        let recorded = self.stat(Metric::SpansRecorded);
        assert_eq!(recorded, self.stat(Metric::SpansSent) + self.discarded());
    }
}

/// A configuration with a receiver.
fn read(more: &str) -> FilterConfig {
    let json = format!(
        r#"{{"dsn": "https://key@o1.ingest.sentry.io/42", "traces_sample_rate": 1, {more}}}"#
    );
    FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).expect("a configuration")
}

/// From nothing over nanoseconds and days to the end of time.
fn jump(byte: u8) -> u64 {
    match byte % 64 {
        0 => 0,
        63 => u64::MAX,
        n => 1_u64 << n,
    }
}
