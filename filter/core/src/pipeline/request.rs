//! The request's half of the pipeline: from request headers to the end of the stream.

use super::{Pipeline, RequestOutcome};
use crate::attribute::Attribute;
use crate::cors::{request_headers, CorsRequest};
use crate::envelope::Quantity;
use crate::headers::{HeaderAddition, HeaderMutation, Headers, X_REQUEST_START};
use crate::live::{HeapBytes, LiveBytes};
use crate::metrics::Metric;
use crate::response::{Answer, PendingResponse};
use crate::span::{OpenSpan, Request, StreamInfo};
use crate::trace::redirect::{Carried, Redirected};
use crate::trace::{self, Before, HeaderRejections, Limits, Sources, TraceDecision, TraceOrigin};

/// What is kept for a request while it is under way. Everything in it is bounded, and counts
/// towards `max_live_bytes` until it is dropped.
#[derive(Debug)]
pub struct LiveRequest {
    /// The span to close at the end of the stream.
    pub span: Option<Box<OpenSpan>>,
    /// What the answer depends on, if anything is done about it.
    pub response: Option<Box<PendingResponse>>,
    carried: Carried,
    was_answered: bool,
    bytes: LiveBytes,
}

impl LiveRequest {
    /// Notes that the headers of its answer have come by.
    pub fn set_answered(&mut self) {
        self.was_answered = true;
    }

    /// Whether the end of the stream has to be looked at although no span is recorded: an answer
    /// that Envoy follows itself never comes by.
    pub fn may_be_redirected(&self) -> bool {
        self.span.is_none() && !self.was_answered
    }
}

impl Pipeline {
    /// Request headers have arrived.
    pub fn on_request_headers(
        &mut self,
        headers: &Headers,
        sources: &mut Sources<'_>,
    ) -> RequestOutcome {
        let before = self.take_redirected(sources);
        let limits = Limits {
            throttle: self.throttle.as_mut(),
            has_room: self.live.has_room(),
            can_send: self.transport.is_some(),
        };
        let known = before.as_ref().map(|before| Before {
            carried: &before.carried,
            span: before.span_context(),
        });
        let decision = trace::decide(headers, &self.config, limits, known, sources);
        let is_first = before.is_none();
        if is_first {
            self.count(&decision);
        }
        let log = self.config.debug.then(|| format!("sentry: {decision}"));
        let response = PendingResponse::new(headers, &decision, &self.config).map(Box::new);
        let TraceDecision {
            context,
            carried,
            is_untrusted,
            span,
            transaction,
            mut mutations,
            ..
        } = decision;
        if is_first {
            mutations.extend(self.request_start(headers, is_untrusted, sources));
        }
        mutations.extend(request_headers::without_ours(headers, &self.config));
        let (redirected, bytes) = match before {
            Some(before) => (before.span, Some(before.bytes)),
            None => (None, None),
        };
        let span = span.map(|context| {
            let request = Request::read(headers, &self.config.data);
            let mut span = match redirected {
                Some((span, _)) => span.resume(context, request),
                None => OpenSpan::new(context, transaction, request),
            };
            // Only the call's own span needs it.
            let is_called = span.context.upstream_span_id.is_some();
            span.sent_ns = is_called.then(|| (sources.now_ns)());
            Box::new(span)
        });
        let request = self.keep(span, response, carried);
        drop(bytes);
        RequestOutcome {
            mutations,
            request,
            context,
            log,
        }
    }

    fn keep(
        &self,
        span: Option<Box<OpenSpan>>,
        response: Option<Box<PendingResponse>>,
        carried: Carried,
    ) -> LiveRequest {
        let of_span = |span: &OpenSpan| size_of::<OpenSpan>().saturating_add(span.heap_bytes());
        let of_response = |response: &PendingResponse| {
            size_of::<PendingResponse>().saturating_add(response.heap_bytes())
        };
        let bytes = [
            span.as_deref().map_or(0, of_span),
            response.as_deref().map_or(0, of_response),
            carried.heap_bytes(),
        ];
        LiveRequest {
            bytes: self.live.hold(crate::live::sum(bytes.into_iter(), 0)),
            span,
            response,
            carried,
            was_answered: false,
        }
    }

    /// The request that Envoy has turned into this one, if it has.
    fn take_redirected(&mut self, sources: &mut Sources<'_>) -> Option<Redirected> {
        if self.redirects.is_empty() {
            return None;
        }
        let mut before = self.redirects.take((sources.redirect_token)()?)?;
        if let Some((span, end)) = &mut before.span {
            span.redirect(end);
        }
        Some(before)
    }

    /// `X-Request-Start`, unless a proxy further outside that is trusted has said it already.
    fn request_start(
        &self,
        headers: &Headers,
        is_untrusted: bool,
        sources: &mut Sources<'_>,
    ) -> Option<HeaderMutation> {
        let has_arrived = headers.value(X_REQUEST_START).is_some();
        if !self.config.request_start_header || (has_arrived && !is_untrusted) {
            return None;
        }
        let time = (sources.attribute)(Attribute::RequestTime)
            .and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)))
            .and_then(|time| u64::try_from(time).ok());
        let us = time
            .unwrap_or_else(|| (sources.now_ns)())
            .checked_div(1_000)
            .unwrap_or_default();
        let name = X_REQUEST_START;
        // A host without a clock.
        if us == 0 {
            return has_arrived.then_some(HeaderMutation::Remove { name });
        }
        let (seconds, rest) = (us.checked_div(1_000_000)?, us.checked_rem(1_000_000)?);
        let value = format!("t={seconds}.{rest:06}").into_bytes();
        Some(HeaderMutation::Set { name, value })
    }

    /// Response headers have arrived; says what to add to them.
    pub fn on_response_headers(
        &self,
        response: &PendingResponse,
        answer: &mut Answer<'_>,
    ) -> Vec<HeaderAddition> {
        response.additions(answer, &self.config)
    }

    /// A stream has ended. Whether the filters stand in the wrong order, if that is to be said now;
    /// `request` and `answer` read the headers as they are at the end, and are asked now and then
    /// only. `cors` is `None` if the request's headers never came here.
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
            TraceOrigin::None | TraceOrigin::Redirected => {}
            TraceOrigin::SentryTrace | TraceOrigin::Traceparent => {
                metrics.add(Metric::TracesContinued, 1)
            }
            TraceOrigin::Started => metrics.add(Metric::TracesStarted, 1),
            TraceOrigin::Restarted(restart) => metrics.add(Metric::TracesRestarted(restart), 1),
        }
        metrics.add(Metric::TracesThrottled, decision.throttled.into());
        metrics.add(Metric::RequestsOverBudget, decision.over_budget.into());
        // What a span that was never opened would have had below it nobody knows.
        let one = Quantity {
            segments: 1,
            spans: 1,
        };
        if decision.throttled || decision.unsampled {
            self.report_lost("sample_rate", one);
        } else if decision.left_out {
            self.report_lost("backpressure", one);
        }
        let metrics = &mut self.metrics;
        let HeaderRejections {
            sentry_trace,
            traceparent,
            malformed_members,
            dropped_members,
        } = decision.rejections;
        if let Some(error) = sentry_trace {
            metrics.add(Metric::SentryTraceRefused(error), 1);
        }
        if let Some(error) = traceparent {
            metrics.add(Metric::TraceparentRefused(error), 1);
        }
        metrics.add(Metric::BaggageMalformed, malformed_members.into());
        metrics.add(Metric::BaggageLimit, dropped_members.into());
    }

    /// The stream of a request has ended that is recorded. `answer` reads the response's headers
    /// and is asked only if some of them are recorded. A token is to be left with the request where
    /// Envoy turns it into another one: see [`Sources::redirect_token`].
    pub fn on_stream_end(
        &mut self,
        request: LiveRequest,
        end: StreamInfo,
        answer: impl FnOnce() -> Option<Headers>,
    ) -> Option<u64> {
        let LiveRequest {
            span,
            carried,
            mut bytes,
            ..
        } = request;
        let span = span?;
        if span.goes_on(&end) && self.redirects.has_room() && self.live.has_room() {
            // The call that ended stays with the span.
            bytes.grow(size_of::<StreamInfo>().saturating_add(end.heap_bytes()));
            let ended_ns = end.times().end_ns;
            let span = Some((span, end));
            return Some(self.redirects.wait(carried, span, bytes, ended_ns));
        }
        let reads = !self.config.data.capture_response_headers.is_empty();
        let answer = reads.then(answer).flatten().unwrap_or_default();
        self.record(*span, end, &answer);
        None
    }

    /// The stream of a request has ended that is not recorded, and whose answer never came by;
    /// `details` are Envoy's explanation of its response. A token is as above.
    pub fn on_unrecorded_end(
        &mut self,
        request: LiveRequest,
        details: Option<&[u8]>,
        now_ns: u64,
    ) -> Option<u64> {
        let is_redirected = StreamInfo::is_redirect(details.unwrap_or_default());
        if !is_redirected || !self.redirects.has_room() {
            return None;
        }
        let LiveRequest { carried, bytes, .. } = request;
        Some(self.redirects.wait(carried, None, bytes, now_ns))
    }

    /// A span whose request does not come back from its redirect has ended with it.
    pub(super) fn record_redirected(&mut self, ended: Vec<Redirected>) {
        for Redirected { span, .. } in ended {
            if let Some((span, end)) = span {
                self.record(*span, end, &Headers::default());
            }
        }
    }
}
