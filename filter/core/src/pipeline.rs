//! The straight line itself: request in, span out, callout out, answer in. Every method takes values and returns values; the plugin fetches the former
//! from the host and carries out the latter.

use crate::attribute::Attribute;
use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::cors::CorsRequest;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{Amount, Desk, Sharing};
use crate::headers::{HeaderAddition, HeaderMutation, Headers, SENTRY_TRACE, X_REQUEST_START};
use crate::metrics::{CalloutOutcome, Loss, Metric, Metrics};
use crate::queue::Queue;
use crate::response::{Answer, PendingResponse};
use crate::span::{OpenSpan, Request, StreamEnd};
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::trace::{self, Damage, Sources, TraceDecision, TraceOrigin};
use crate::transport::{Answer as CalloutAnswer, Callout, Fate, Outcome, Transport};

/// The state of one root context: one plugin configuration on one worker.
#[derive(Debug)]
pub struct Pipeline {
    config: FilterConfig,
    throttle: Option<Throttle>,
    filter_order: FilterOrder,
    /// The spans whose requests Envoy has turned into other ones. It runs the filters for those at once, unless one in front holds them up.
    redirected: Vec<(OpenSpan, StreamEnd)>,
    desk: Desk,
    queue: Queue,
    transport: Option<Transport>,
    /// What Sentry is to be told of what was lost.
    report: ClientReport,
    /// When it is told although nothing else is sent, in nanoseconds since the epoch.
    report_due_ns: u64,
    /// When the last stream with a span ended, in nanoseconds since the epoch.
    ended_ns: u64,
    /// Whether there will be no other time.
    is_ending: bool,
    /// Whether this worker counts among those that wait for the receiver.
    is_limited: bool,
    metrics: Metrics,
}

/// How many requests may be on their way back from a redirect.
const MAX_REDIRECTED: usize = 64;
/// How long one may take, in nanoseconds.
const MAX_HELD_NS: u64 = 5_000_000_000;
/// How long a report waits for something to ride on.
const REPORT_INTERVAL_NS: u64 = 60_000_000_000;
/// No limit lasts longer: a day (filter.md §11).
const MAX_LIMIT_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// What is done about a request.
#[derive(Debug, PartialEq)]
pub struct RequestOutcome {
    /// The headers to change.
    pub mutations: Vec<HeaderMutation>,
    /// The span to close at the end of the stream.
    pub span: Option<Box<OpenSpan>>,
    /// What the answer depends on, if anything is done about it.
    pub response: Option<Box<PendingResponse>>,
    /// The context that the request has from here on, for the filter state.
    pub context: Option<SentryTrace>,
    /// A line for the log, if `debug` is on.
    pub log: Option<String>,
}

impl Pipeline {
    /// A pipeline with nothing in it.
    pub fn new(config: FilterConfig) -> Self {
        let transport = config.dsn.as_ref().map(|dsn| Transport::new(dsn, &config));
        Self {
            throttle: config.max_traces_per_second.map(Throttle::new),
            filter_order: FilterOrder::default(),
            redirected: Vec::new(),
            desk: Desk::default(),
            queue: Queue::new(config.transport.max_queue_bytes),
            transport,
            report: ClientReport::default(),
            report_due_ns: 0,
            ended_ns: 0,
            is_ending: false,
            is_limited: false,
            config,
            metrics: Metrics::default(),
        }
    }

    /// The configuration it works by.
    pub fn config(&self) -> &FilterConfig {
        &self.config
    }

    /// What has been counted and not been told to the host.
    pub fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// Request headers have arrived.
    pub fn on_request_headers(
        &mut self,
        headers: &Headers,
        sources: &mut Sources<'_>,
    ) -> RequestOutcome {
        let redirected = self.take_redirected(headers);
        let before = redirected.as_ref().map(|span| &span.context);
        let throttle = self.throttle.as_mut();
        let decision = trace::decide(headers, &self.config, throttle, before, sources);
        if redirected.is_none() {
            self.count(&decision);
        }
        let log = self.config.debug.then(|| format!("sentry: {decision}"));
        let response = PendingResponse::of(headers, &decision, &self.config).map(Box::new);
        let TraceDecision {
            context,
            span,
            transaction,
            mut mutations,
            ..
        } = decision;
        mutations.extend(self.request_start(headers, sources));
        let span = span.map(|context| {
            let request = Request::read(headers, &self.config.data);
            let mut span = match redirected {
                Some(span) => span.resume(context, request),
                None => OpenSpan::new(context, transaction, request),
            };
            // Only the call's own span needs it.
            let is_called = span.context.upstream_span_id.is_some();
            span.sent_ns = is_called.then(|| (sources.now_ns)());
            Box::new(span)
        });
        RequestOutcome {
            mutations,
            span,
            response,
            context,
            log,
        }
    }

    /// The span that goes on with this request, if an internal redirect has made the request of another one.
    fn take_redirected(&mut self, headers: &Headers) -> Option<OpenSpan> {
        if self.redirected.is_empty() {
            return None;
        }
        let arrived = SentryTrace::read(headers.values(SENTRY_TRACE))
            .ok()
            .flatten()?;
        let goes_on = |(span, _): &mut (OpenSpan, StreamEnd)| span.context.has_sent(arrived.value);
        let (mut span, end) = self.redirected.extract_if(.., goes_on).next()?;
        span.redirect(&end);
        Some(span)
    }

    /// `X-Request-Start`, unless a proxy further outside has said it already.
    fn request_start(
        &self,
        headers: &Headers,
        sources: &mut Sources<'_>,
    ) -> Option<HeaderMutation> {
        if !self.config.request_start_header || headers.value(X_REQUEST_START).is_some() {
            return None;
        }
        let time = (sources.attribute)(Attribute::RequestTime)
            .and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)))
            .and_then(|time| u64::try_from(time).ok());
        let us = time
            .unwrap_or_else(|| (sources.now_ns)())
            .checked_div(1_000)
            // A host without a clock.
            .filter(|us| *us > 0)?;
        let (seconds, rest) = (us.checked_div(1_000_000)?, us.checked_rem(1_000_000)?);
        Some(HeaderMutation::Set {
            name: X_REQUEST_START,
            value: format!("t={seconds}.{rest:06}").into_bytes(),
        })
    }

    /// Response headers have arrived; says what to add to them.
    pub fn on_response_headers(
        &self,
        response: &PendingResponse,
        answer: &mut Answer<'_>,
    ) -> Vec<HeaderAddition> {
        response.additions(answer, &self.config)
    }

    /// A stream has ended. Whether the filters stand in the wrong order, if that is to be said now; `request` and `answer` read the headers as they are
    /// at the end, and are asked now and then only. `cors` is `None` if the request's headers never came here.
    pub fn is_out_of_order(
        &mut self,
        cors: Option<&CorsRequest>,
        request: impl FnOnce() -> Option<Headers>,
        answer: impl FnOnce() -> Option<Headers>,
    ) -> bool {
        let lists = self.config.cors;
        if !self.filter_order.is_due(cors, lists) {
            return false;
        }
        let read = match cors {
            Some(_) => None,
            None => request().map(|headers| CorsRequest::read(&headers)),
        };
        match cors.or(read.as_ref()).zip(answer()) {
            Some((cors, answer)) => self.filter_order.look(cors, &answer, lists),
            None => false,
        }
    }

    fn count(&mut self, decision: &TraceDecision) {
        let metrics = &mut self.metrics;
        metrics.add(Metric::Requests, 1);
        match decision.origin {
            TraceOrigin::None => {}
            TraceOrigin::SentryTrace | TraceOrigin::Traceparent => {
                metrics.add(Metric::TracesContinued, 1)
            }
            TraceOrigin::Started => metrics.add(Metric::TracesStarted, 1),
            TraceOrigin::Restarted(restart) => metrics.add(Metric::TracesRestarted(restart), 1),
        }
        metrics.add(Metric::TracesThrottled, decision.throttled.into());
        // What a span that was never opened would have had below it nobody knows.
        if decision.throttled || decision.unsampled {
            let one = Amount {
                segments: 1,
                spans: 1,
            };
            self.report_lost("sample_rate", one);
        }
        let metrics = &mut self.metrics;
        let Damage {
            sentry_trace,
            traceparent,
            malformed_members,
            dropped_members,
        } = decision.damage;
        if let Some(error) = sentry_trace {
            metrics.add(Metric::SentryTraceRefused(error), 1);
        }
        if let Some(error) = traceparent {
            metrics.add(Metric::TraceparentRefused(error), 1);
        }
        metrics.add(Metric::BaggageMalformed, malformed_members.into());
        metrics.add(Metric::BaggageLimit, dropped_members.into());
    }

    /// A stream with a span has ended. `answer` reads the response's headers and is asked only if some of them are recorded.
    pub fn on_stream_end(
        &mut self,
        span: OpenSpan,
        end: StreamEnd,
        answer: impl FnOnce() -> Option<Headers>,
    ) {
        if span.goes_on(&end) && self.redirected.len() < MAX_REDIRECTED {
            self.redirected.push((span, end));
            return;
        }
        let reads = !self.config.data.capture_response_headers.is_empty();
        let answer = reads.then(answer).flatten().unwrap_or_default();
        self.record(span, end, &answer);
    }

    /// A span whose request does not come back from its redirect, because a filter in front answers it, has ended with it.
    fn end_redirected(&mut self, is_over: impl Fn(&StreamEnd) -> bool) {
        let over = |(_, end): &mut (OpenSpan, StreamEnd)| is_over(end);
        let ended: Vec<_> = self.redirected.extract_if(.., over).collect();
        for (span, end) in ended {
            self.record(span, end, &Headers::default());
        }
    }

    fn record(&mut self, span: OpenSpan, end: StreamEnd, answer: &Headers) {
        let data = &self.config.data;
        let response_headers = data.capture(&data.capture_response_headers, answer);
        let name = span.name(&end);
        let segment = span.finish(&end, &name, &response_headers);
        let amount = segment.amount();
        self.ended_ns = segment.server.times.end_ns;
        self.metrics.add(Metric::SpansRecorded, amount.spans.into());
        let code = segment.response_code;
        let mut ignored = self.config.trace_ignore_status_codes.iter();
        if code.is_some_and(|code| ignored.any(|codes| codes.contains(&code))) {
            return self.lose(Loss::Ignored, amount);
        }
        if self.is_closed(self.ended_ns) {
            return self.lose(Loss::RatelimitBackoff, amount);
        }
        let Self { config, desk, .. } = self;
        let Some(parcel) = config.transport.format.encode(&segment, config, desk) else {
            return self.lose(Loss::InternalSdkError, amount);
        };
        self.metrics.add(Metric::SpansQueued, amount.spans.into());
        let lost = self.queue.push(parcel);
        self.lose_queued(Loss::QueueOverflow, lost);
    }

    /// Whether enough waits to be sent without waiting for a tick, and could be sent as of the last stream's end.
    pub fn is_full_batch(&self) -> bool {
        let sharing = self.config.transport.format.sharing();
        let transport = self.transport.as_ref();
        self.queue.is_full_batch(sharing)
            && transport.is_some_and(|transport| transport.is_ready(self.ended_ns))
    }

    /// Whether what waits goes on its way as soon as an answer has made room. What goes together waits for a tick or a full batch instead: a receiver that
    /// answers quickly would otherwise get many small POSTs, which cost more than the spans in them.
    pub fn follows_answers(&self) -> bool {
        let sharing = self.config.transport.format.sharing();
        self.is_ending || sharing != Sharing::Any || self.is_full_batch()
    }

    /// The next thing to post, if anything waits and there is room for it. To be answered with [`Self::on_dispatched`] or [`Self::on_not_dispatched`].
    pub fn next_callout(&mut self, now_ns: u64) -> Option<Callout> {
        let transport = self.transport.as_ref()?;
        if !transport.is_ready(now_ns) {
            return None;
        }
        if self.report_due_ns == 0 {
            self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        }
        let format = self.config.transport.format;
        let parcels = self.queue.take(format.sharing());
        let is_due = now_ns >= self.report_due_ns;
        if parcels.is_empty() && !is_due {
            return None;
        }
        let carries = format.carries_reports();
        let report = carries.then(|| self.report.take()).flatten();
        if parcels.is_empty() && report.is_none() {
            return None;
        }
        self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        let body = format.body(&parcels, report.as_ref(), &self.config, now_ns);
        Some(transport.callout(parcels, report, body))
    }

    /// The host took a callout.
    pub fn on_dispatched(&mut self, callout: Callout, token: u32, now_ns: u64) {
        let spans = callout.amount().spans;
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        let replaced = match &mut self.transport {
            Some(transport) => transport.dispatched(token, callout, now_ns),
            None => Vec::new(),
        };
        self.settle_all(replaced);
    }

    /// The host did not take a callout: it has provably not left, and waits for another try. `random` spreads the workers.
    pub fn on_not_dispatched(&mut self, callout: Callout, now_ns: u64, random: u64) {
        self.metrics
            .add(Metric::Callouts(CalloutOutcome::NotTaken), 1);
        self.queue.put_back(callout.parcels);
        self.report.merge(callout.report.unwrap_or_default());
        if let Some(transport) = &mut self.transport {
            transport.not_dispatched(now_ns, random);
        }
        if self.is_ending {
            let lost = self.queue.clear();
            self.lose_queued(Loss::NetworkError, lost);
        }
    }

    /// A callout was answered; its headers are empty if it failed. `random` spreads the workers.
    pub fn on_answer(
        &mut self,
        token: u32,
        answer: &mut CalloutAnswer<'_>,
        now_ns: u64,
        random: u64,
    ) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(outcome) = transport.answered(token, answer, now_ns, random) else {
            return;
        };
        self.settle(outcome);
        self.obey_limit(now_ns);
    }

    /// What a receiver has limited is discarded, not queued (sentry-protocol.md §11.1).
    fn obey_limit(&mut self, now_ns: u64) {
        if self.is_closed(now_ns) {
            let lost = self.queue.clear();
            self.lose_queued(Loss::RatelimitBackoff, lost);
        }
    }

    fn settle_all(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.settle(outcome);
        }
    }

    /// A callout has come to its end.
    fn settle(&mut self, outcome: Outcome) {
        let Outcome {
            parcels,
            report,
            fate,
            rejected,
        } = outcome;
        let amount = Amount::of(&parcels);
        let spans = i64::from(amount.spans);
        self.metrics.subtract(Metric::SpansInFlight, spans);
        let outcome = match fate {
            Fate::Accepted => CalloutOutcome::Accepted,
            Fate::NotArrived => CalloutOutcome::NotArrived,
            Fate::Lost(Loss::RatelimitBackoff) => CalloutOutcome::RateLimited,
            Fate::Lost(Loss::SendError) => CalloutOutcome::Refused,
            Fate::Lost(_) => CalloutOutcome::Lost,
        };
        self.metrics.add(Metric::Callouts(outcome), 1);
        if fate != Fate::Accepted {
            self.report.merge(report.unwrap_or_default());
        }
        match fate {
            Fate::NotArrived if self.is_ending => {
                self.queue.settle(&parcels);
                self.lose(Loss::NetworkError, amount);
            }
            Fate::NotArrived => {
                self.metrics.add(Metric::SpansQueued, spans);
                self.queue.put_back(parcels);
            }
            Fate::Accepted => {
                self.queue.settle(&parcels);
                let rejected = Amount {
                    segments: 0,
                    spans: rejected,
                };
                self.metrics.add(
                    Metric::SpansSent,
                    spans.saturating_sub(rejected.spans.into()),
                );
                self.lose(Loss::SendError, rejected);
            }
            Fate::Lost(loss) => {
                self.queue.settle(&parcels);
                // What Sentry refused with 429 it has counted itself (sentry-protocol.md §11.2).
                match loss {
                    Loss::RatelimitBackoff => self.count_lost(loss, amount),
                    _ => self.lose(loss, amount),
                }
            }
        }
    }

    /// Until when the receiver wants nothing, for the other workers; in nanoseconds since the epoch, 0 if it never said so.
    pub fn limited_until_ns(&self) -> u64 {
        self.transport
            .as_ref()
            .map_or(0, Transport::closed_until_ns)
    }

    /// Another worker has been told until when the receiver wants nothing. A time that no limit can have is none.
    pub fn on_shared_limit(&mut self, until_ns: u64, now_ns: u64) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        if until_ns <= now_ns.saturating_add(MAX_LIMIT_NS) {
            transport.close_until(until_ns);
            self.obey_limit(now_ns);
        }
    }

    /// Under which name workers share the limit: those with the same receiver and key, and the same kind of data.
    pub fn limit_key(&self) -> Option<String> {
        let (dsn, format) = (self.config.dsn.as_ref()?, self.config.transport.format);
        let (key, authority) = (dsn.public_key(), dsn.authority());
        Some(format!(
            "sentry-filter limit {} {key} {authority}",
            format.category()
        ))
    }

    /// A tick: gives up on callouts that the host will not answer any more, and is interested in CORS answers again.
    pub fn on_tick(&mut self, now_ns: u64) {
        self.filter_order.flushed();
        self.end_redirected(|end| {
            let held_ns = end.times().end_ns.saturating_add(MAX_HELD_NS);
            held_ns <= now_ns
        });
        let lost = match &mut self.transport {
            Some(transport) => transport.expire(now_ns),
            None => Vec::new(),
        };
        self.settle_all(lost);
        // The main thread's VM, which never sees a stream, is no worker.
        let is_limited = self.ended_ns > 0 && self.is_closed(now_ns);
        let change = i64::from(is_limited).saturating_sub(self.is_limited.into());
        self.metrics.add(Metric::WorkersRateLimited, change);
        self.is_limited = is_limited;
    }

    /// The configuration is being replaced: what waits is tried at once, and once.
    pub fn end(&mut self) {
        self.is_ending = true;
        self.end_redirected(|_| true);
        if let Some(transport) = &mut self.transport {
            transport.forget_failures();
        }
    }

    /// The host cannot make callouts: from here on the filter does what it does without a DSN, and what waits is lost.
    pub fn only_propagate(&mut self) {
        let lost = self.queue.clear();
        self.lose_queued(Loss::NetworkError, lost);
        self.config.dsn = None;
        self.transport = None;
    }

    /// Whether nothing waits and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.transport.as_ref().is_none_or(Transport::is_idle)
    }

    fn is_closed(&self, now_ns: u64) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.is_closed(now_ns))
    }

    fn lose_queued(&mut self, loss: Loss, lost: Amount) {
        self.metrics
            .subtract(Metric::SpansQueued, lost.spans.into());
        self.lose(loss, lost);
    }

    /// Counts what is lost, here and for Sentry.
    fn lose(&mut self, loss: Loss, lost: Amount) {
        self.count_lost(loss, lost);
        self.report_lost(loss.report_reason(), lost);
    }

    fn count_lost(&mut self, loss: Loss, lost: Amount) {
        self.metrics
            .add(Metric::SpansDiscarded(loss), lost.spans.into());
    }

    fn report_lost(&mut self, reason: &'static str, lost: Amount) {
        if self.config.client_reports {
            self.report.add(reason, lost, self.config.transport.format);
        }
    }
}

#[cfg(test)]
mod tests;
