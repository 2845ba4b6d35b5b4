//! The straight line itself: request in, span out, callout out, answer in. Every method takes values and returns values; the plugin fetches the former
//! from the host and carries out the latter.

use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::cors::CorsRequest;
use crate::envelope::transaction;
use crate::headers::{HeaderAddition, HeaderMutation, Headers};
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
    queue: Queue,
    transport: Option<Transport>,
    metrics: Metrics,
}

/// What is done about a request.
#[derive(Debug, PartialEq, Eq)]
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
        let decision = trace::decide(headers, &self.config, self.throttle.as_mut(), sources);
        self.count(&decision);
        let log = self.config.debug.then(|| format!("sentry: {decision}"));
        let response = PendingResponse::of(headers, &decision, &self.config).map(Box::new);
        let TraceDecision {
            context,
            span,
            transaction,
            mutations,
            ..
        } = decision;
        let span = span.map(|context| {
            Box::new(OpenSpan {
                context,
                transaction,
                request: Request::read(headers),
            })
        });
        RequestOutcome {
            mutations,
            span,
            response,
            context,
            log,
        }
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

    /// A stream with a span has ended. `now_ns` is only looked at where Envoy does not tell the times itself.
    pub fn on_stream_end(&mut self, span: OpenSpan, end: StreamEnd, now_ns: u64) {
        let span = span.finish(end, now_ns);
        let end_ns = span.end_ns;
        self.metrics.add(Metric::SpansRecorded, 1);
        let Some(envelope) = transaction::encode(&span, &self.config) else {
            return self.lose(Loss::InternalSdkError, 1);
        };
        let spans = envelope.spans();
        if self.is_closed(end_ns) {
            return self.lose(Loss::RatelimitBackoff, spans);
        }
        self.metrics.add(Metric::SpansQueued, spans.into());
        let lost = self.queue.push(envelope);
        self.lose_queued(Loss::QueueOverflow, lost);
    }

    /// The next thing to post, if anything waits and there is room for it. To be answered with [`Self::on_dispatched`] or [`Self::on_not_dispatched`].
    pub fn next_callout(&mut self, now_ns: u64) -> Option<Callout> {
        let transport = self.transport.as_ref()?;
        if !transport.has_room() || transport.is_closed(now_ns) {
            return None;
        }
        Some(transport.callout(self.queue.pop()?, now_ns))
    }

    /// The host took a callout.
    pub fn on_dispatched(&mut self, callout: &Callout, token: u32, now_ns: u64) {
        let spans = callout.envelope.spans();
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        if let Some(transport) = &mut self.transport {
            transport.dispatched(token, spans, now_ns);
        }
    }

    /// The host did not take a callout: it has provably not left, and waits for the next flush.
    pub fn on_not_dispatched(&mut self, callout: Callout) {
        let lost = self.queue.push_front(callout.envelope);
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
