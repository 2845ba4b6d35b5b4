//! The straight line itself: request in, span out, callout out, answer in. Every method takes values and returns values; the plugin fetches the former
//! from the host and carries out the latter.

use crate::attribute::Attribute;
use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::cors::CorsRequest;
use crate::headers::{HeaderAddition, HeaderMutation, Headers, SENTRY_TRACE, X_REQUEST_START};
use crate::metrics::{Loss, Metric, Metrics};
use crate::queue::Queue;
use crate::response::{Answer, PendingResponse};
use crate::span::{OpenSpan, Request, StreamEnd};
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::trace::{self, Damage, Sources, TraceDecision, TraceOrigin};
use crate::transport::{Callout, Transport};

/// The state of one root context: one plugin configuration on one worker.
#[derive(Debug)]
pub struct Pipeline {
    config: FilterConfig,
    throttle: Option<Throttle>,
    filter_order: FilterOrder,
    /// The span whose request Envoy has just turned into another one; it runs the filters for that one at once.
    redirected: Option<Box<(OpenSpan, StreamEnd)>>,
    queue: Queue,
    transport: Option<Transport>,
    metrics: Metrics,
}

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
            redirected: None,
            queue: Queue::new(config.transport.max_queue_bytes),
            transport,
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

    /// The span that goes on with this request, if an internal redirect has made the request of another one. One that does not go on has ended.
    fn take_redirected(&mut self, headers: &Headers) -> Option<OpenSpan> {
        let (mut span, end) = *self.redirected.take()?;
        let arrived = SentryTrace::read(headers.values(SENTRY_TRACE))
            .ok()
            .flatten();
        if arrived.is_some_and(|arrived| span.context.has_sent(arrived.value)) {
            span.redirect(&end);
            return Some(span);
        }
        self.record(span, end, &Headers::default());
        None
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
        if span.goes_on(&end) {
            self.end_redirected();
            self.redirected = Some(Box::new((span, end)));
            return;
        }
        let reads = !self.config.data.capture_response_headers.is_empty();
        let answer = reads.then(answer).flatten().unwrap_or_default();
        self.record(span, end, &answer);
    }

    /// A span whose request did not come back from its redirect has ended with it.
    fn end_redirected(&mut self) {
        if let Some((span, end)) = self.redirected.take().map(|ended| *ended) {
            self.record(span, end, &Headers::default());
        }
    }

    fn record(&mut self, span: OpenSpan, end: StreamEnd, answer: &Headers) {
        let segment = span.finish(end, answer, &self.config.data);
        let spans = segment.span_count();
        self.metrics.add(Metric::SpansRecorded, spans.into());
        let code = segment.response_code;
        let mut ignored = self.config.trace_ignore_status_codes.iter();
        if code.is_some_and(|code| ignored.any(|codes| codes.contains(&code))) {
            return self.lose(Loss::Ignored, spans);
        }
        if self.is_closed(segment.server.times.end_ns) {
            return self.lose(Loss::RatelimitBackoff, spans);
        }
        let Some(parcel) = self.config.transport.format.encode(&segment, &self.config) else {
            return self.lose(Loss::InternalSdkError, spans);
        };
        self.metrics.add(Metric::SpansQueued, spans.into());
        let lost = self.queue.push(parcel);
        self.lose_queued(Loss::QueueOverflow, lost);
    }

    /// The next thing to post, if anything waits and there is room for it. To be answered with [`Self::on_dispatched`] or [`Self::on_not_dispatched`].
    pub fn next_callout(&mut self, now_ns: u64) -> Option<Callout> {
        let transport = self.transport.as_ref()?;
        if !transport.has_room() || transport.is_closed(now_ns) {
            return None;
        }
        let format = self.config.transport.format;
        let parcels = self.queue.take(format.sharing());
        if parcels.is_empty() {
            return None;
        }
        let body = format.body(&parcels, &self.config, now_ns);
        Some(transport.callout(parcels, body))
    }

    /// The host took a callout.
    pub fn on_dispatched(&mut self, callout: &Callout, token: u32, now_ns: u64) {
        let spans = callout.spans();
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        if let Some(transport) = &mut self.transport {
            transport.dispatched(token, spans, now_ns);
        }
    }

    /// The host did not take a callout: it has provably not left, and waits for the next flush.
    pub fn on_not_dispatched(&mut self, callout: Callout) {
        let lost = self.queue.push_front(callout.parcels);
        self.lose_queued(Loss::QueueOverflow, lost);
    }

    /// A callout was answered; `headers` is empty if it failed.
    pub fn on_answer(&mut self, token: u32, headers: &Headers, now_ns: u64) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(outcome) = transport.answered(token, headers, now_ns) else {
            return;
        };
        self.metrics
            .subtract(Metric::SpansInFlight, outcome.spans.into());
        match outcome.loss {
            None => self.metrics.add(Metric::SpansSent, outcome.spans.into()),
            Some(loss) => self.lose(loss, outcome.spans),
        }
        // What a receiver has limited is discarded, not queued (sentry-protocol.md §11.1).
        if self.is_closed(now_ns) {
            let lost = self.queue.clear();
            self.lose_queued(Loss::RatelimitBackoff, lost);
        }
    }

    /// A tick: gives up on callouts that the host will not answer any more, and is interested in CORS answers again.
    pub fn on_tick(&mut self, now_ns: u64) {
        self.filter_order.flushed();
        self.end_redirected();
        let lost = self
            .transport
            .as_mut()
            .map_or(0, |transport| transport.expire(now_ns));
        self.metrics.subtract(Metric::SpansInFlight, lost.into());
        self.lose(Loss::NetworkError, lost);
    }

    /// Discards what waits: the host takes nothing, and there will be no other time.
    pub fn give_up(&mut self) {
        let lost = self.queue.clear();
        self.lose_queued(Loss::NetworkError, lost);
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

    fn lose_queued(&mut self, loss: Loss, spans: u32) {
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.lose(loss, spans);
    }

    fn lose(&mut self, loss: Loss, spans: u32) {
        self.metrics.add(Metric::SpansDiscarded(loss), spans.into());
    }
}

#[cfg(test)]
mod tests;
