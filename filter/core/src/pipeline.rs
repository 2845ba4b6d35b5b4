//! The straight line itself: request in, span out, callout out, answer in. Every method takes values and returns values; the plugin fetches the former
//! from the host and carries out the latter.

mod export;

use crate::attribute::Attribute;
use crate::clock::Clock;
use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::cors::CorsRequest;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{Amount, Desk};
use crate::headers::{HeaderAddition, HeaderMutation, Headers, SENTRY_TRACE, X_REQUEST_START};
use crate::metrics::{Metric, Metrics};
use crate::queue::{Generations, Queue};
use crate::response::{Answer, PendingResponse};
use crate::span::{OpenSpan, Request, StreamEnd};
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::trace::{self, Damage, Sources, TraceDecision, TraceOrigin};
use crate::transport::shared_limit::SharedLimit;
use crate::transport::Transport;
use export::Ending;

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
    /// What every duration here is measured on.
    clock: Clock,
    /// What Sentry is to be told of what was lost.
    report: ClientReport,
    /// When it is told although nothing else is sent.
    report_due_ns: u64,
    /// When the last stream with a span ended; 0 if none has.
    ended_ns: u64,
    /// When the last tick came; 0 if none has.
    ticked_ns: u64,
    /// When the last flush came.
    flushed_ns: u64,
    /// Whether nothing has been queued since the last tick.
    is_quiet: bool,
    /// How it ends, once it does.
    ending: Option<Ending>,
    /// What other workers have told last.
    shared_limit: Option<SharedLimit>,
    /// Whether this worker counts among those that wait for the receiver.
    is_limited: bool,
    metrics: Metrics,
}

/// How many requests may be on their way back from a redirect.
const MAX_REDIRECTED: usize = 64;
/// How long one may take, in nanoseconds.
const MAX_HELD_NS: u64 = 5_000_000_000;

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
            queue: Queue::new(config.transport.max_queue_bytes, Generations::default()),
            transport,
            clock: Clock::default(),
            report: ClientReport::default(),
            report_due_ns: 0,
            ended_ns: 0,
            ticked_ns: 0,
            flushed_ns: 0,
            is_quiet: true,
            ending: None,
            shared_limit: None,
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
}

#[cfg(test)]
mod tests;
