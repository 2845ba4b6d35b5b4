//! The first machine: from the headers of a request to the encoded segment of its stream.
//!
//! ```text
//! request headers  -> on_request   header mutations, and what is kept until the stream ends
//! response headers -> on_response  header additions
//! end of stream    -> on_end       an encoded segment waits for the exporter, counts add up
//! ```
//! There is one for each worker. It never waits for anything and never sends anything:
//! [`crate::exporter::Exporter::collect`] takes what it has recorded.

mod failures;
mod live_request;
mod recorded;
mod redirects;

use std::sync::Arc;

use crate::attribute::Attribute;
use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::cors::{request_headers, CorsRequest};
use crate::envelope::EncodeBuffers;
use crate::export::delivery::DiscardReason;
use crate::export::metrics::Metric;
use crate::failure::budget::Budget;
use crate::failure::Watched;
use crate::headers::{HeaderAddition, HeaderMutation, Headers, X_REQUEST_START};
use crate::host::{Entropy, HostCalls, RequestHost};
use crate::live::{HeapBytes, LiveBudget};
use crate::project::{ProjectError, ProjectId};
use crate::quantity::Quantity;
use crate::response::{PendingResponse, ResponseReader};
use crate::span::{request::is_grpc, OpenSpan, Request, StreamInfo};
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::trace::{self, Before, HeaderRejections, Limits, TraceDecision, TraceOrigin};

pub use live_request::{LiveRequest, StreamState};
pub use recorded::Recorded;
use redirects::{Redirected, Redirects};

/// What is done about a request.
#[derive(Debug)]
pub struct RequestOutcome {
    /// The headers to change.
    pub mutations: Vec<HeaderMutation>,
    /// What is to be kept until the stream ends.
    pub request: LiveRequest,
    /// The context that the request has from here on, for the filter state.
    pub context: Option<SentryTrace>,
    /// A warning for the log.
    pub warning: Option<&'static str>,
    /// A line for the log, if `debug` is on.
    pub log: Option<String>,
}

/// What is done at the end of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EndOutcome {
    /// What is to be left with the request where Envoy turns it into another one: see
    /// [`RequestHost::redirect_token`].
    pub redirect_token: Option<u64>,
    /// A warning for the log.
    pub warning: Option<&'static str>,
}

/// What one worker knows of its requests.
#[derive(Debug)]
pub struct Tracer {
    config: Arc<FilterConfig>,
    throttle: Option<Throttle>,
    filter_order: FilterOrder,
    redirects: Redirects,
    live: LiveBudget,
    /// What was captured of failures.
    failures: Budget,
    entropy: Entropy,
    buffers: EncodeBuffers,
    /// Whether what is recorded can be sent: the host can make callouts.
    can_send: bool,
    /// Whether the log has a line about a route's DSN that is none, and one about a project too
    /// many.
    has_said: (bool, bool),
    /// What the exporter has not taken yet.
    recorded: Recorded,
}

const WRONG_DSN: &str = "sentry: the metadata of a route has a dsn that is none: its requests are not recorded (logged once a worker)";
const TOO_MANY_PROJECTS: &str = "sentry: the metadata of a route names a 17th project: its requests are not recorded (logged once a worker)";

impl Tracer {
    /// A tracer that has seen nothing.
    pub fn new(config: Arc<FilterConfig>) -> Self {
        Self {
            throttle: config.trace.max_traces_per_second.map(Throttle::new),
            filter_order: FilterOrder::default(),
            redirects: Redirects::default(),
            live: LiveBudget::new(config.max_live_bytes),
            failures: Budget::default(),
            entropy: Entropy::default(),
            buffers: EncodeBuffers::default(),
            can_send: true,
            has_said: (false, false),
            recorded: Recorded::default(),
            config,
        }
    }

    /// The configuration it works by.
    pub fn config(&self) -> &FilterConfig {
        &self.config
    }

    /// What all live requests keep together, in bytes.
    pub fn live_bytes(&self) -> usize {
        self.live.used()
    }

    /// Request headers have arrived.
    pub fn on_request(&mut self, headers: &Headers, host: &mut dyn RequestHost) -> RequestOutcome {
        let mut entropy = std::mem::take(&mut self.entropy);
        let mut calls = HostCalls::new(host, &mut entropy);
        let outcome = self.decide(headers, &mut calls);
        let refused = calls.refused();
        self.count_refused(refused);
        self.entropy = entropy;
        outcome
    }

    #[inline(never)]
    fn decide(&mut self, headers: &Headers, calls: &mut HostCalls<'_>) -> RequestOutcome {
        let before = self.take_redirected(calls);
        let limits = Limits {
            throttle: self.throttle.as_mut(),
            has_room: self.live.has_room(),
            can_send: self.can_send,
        };
        let known = before.as_ref().map(|before| Before {
            carried: &before.carried,
            span: before.span_context(),
        });
        let decision = trace::decide(headers, &self.config.trace, limits, known, calls);
        let is_first = before.is_none();
        if is_first {
            self.count(&decision);
        }
        let warning = decision
            .wrong_project
            .and_then(|error| self.wrong_project(error));
        let log = self.config.debug.then(|| format!("sentry: {decision}"));
        let response = PendingResponse::new(headers, &decision, self.config.response).map(Box::new);
        // One that is none of the receiver's, of a trace that is known.
        let captures = self.config.capture_failures.is_some();
        let project = decision.project.filter(|_| captures);
        let watched = project.map(|project| Watched {
            project,
            is_grpc: is_grpc(headers),
            is_ignored: decision.is_ignored,
        });
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
            mutations.extend(self.request_start(headers, is_untrusted, calls));
        }
        mutations.extend(request_headers::without_ours(
            headers,
            self.config.response.cors,
        ));
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
            span.sent_ns = is_called.then(|| calls.now_ns());
            Box::new(span)
        });
        let request = LiveRequest::new(span, response, watched, carried, &self.live);
        drop(bytes);
        RequestOutcome {
            mutations,
            request,
            context,
            warning,
            log,
        }
    }

    /// Says once of each kind why the requests of a route are not recorded.
    #[cold]
    fn wrong_project(&mut self, error: ProjectError) -> Option<&'static str> {
        let (said, line) = match error {
            ProjectError::Dsn(_) => (&mut self.has_said.0, WRONG_DSN),
            ProjectError::TooMany => (&mut self.has_said.1, TOO_MANY_PROJECTS),
        };
        (!std::mem::replace(said, true)).then_some(line)
    }

    /// The request that Envoy has turned into this one, if it has.
    fn take_redirected(&mut self, calls: &mut HostCalls<'_>) -> Option<Redirected> {
        if self.redirects.is_empty() {
            return None;
        }
        let mut before = self.redirects.take(calls.redirect_token()?)?;
        if let Some((span, end)) = &mut before.span {
            span.redirect(end, self.config.trace.naming);
        }
        Some(before)
    }

    /// `X-Request-Start`, unless a proxy further outside that is trusted has said it already.
    fn request_start(
        &self,
        headers: &Headers,
        is_untrusted: bool,
        calls: &mut HostCalls<'_>,
    ) -> Option<HeaderMutation> {
        let has_arrived = headers.value(X_REQUEST_START).is_some();
        if !self.config.trace.request_start_header || (has_arrived && !is_untrusted) {
            return None;
        }
        let time = calls.number(Attribute::RequestTime);
        trace::request_start::mutation(time.unwrap_or_else(|| calls.now_ns()), has_arrived)
    }

    /// Response headers have arrived; says what to add to them.
    pub fn on_response(
        &mut self,
        state: &mut StreamState,
        host: &mut dyn RequestHost,
    ) -> Vec<HeaderAddition> {
        let StreamState::Live(request) = state else {
            return Vec::new();
        };
        request.set_answered();
        let mut calls = HostCalls::new(host, &mut self.entropy);
        let additions = match &request.response {
            Some(response) => {
                response.additions(&mut ResponseReader::new(&mut calls), self.config.response)
            }
            None => Vec::new(),
        };
        if let Some(span) = &mut request.span {
            span.answered_ns = span.sent_ns.map(|_| calls.now_ns());
            if span.wants_passing_code() {
                let code = calls.number(Attribute::ResponseCode);
                span.passing_code = code.and_then(|code| u16::try_from(code).ok());
            }
        }
        let refused = calls.refused();
        self.count_refused(refused);
        additions
    }

    /// A stream has ended.
    pub fn on_end(&mut self, state: &mut StreamState, host: &mut dyn RequestHost) -> EndOutcome {
        let mut entropy = std::mem::take(&mut self.entropy);
        let mut calls = HostCalls::new(host, &mut entropy);
        let outcome = EndOutcome {
            warning: self.filter_order_warning(state, &mut calls),
            redirect_token: match state.needs_closing() {
                true => self.close(state.take(), &mut calls),
                false => None,
            },
        };
        let refused = calls.refused();
        self.count_refused(refused);
        self.entropy = entropy;
        outcome
    }

    /// Looks now and then whether a filter in front of this one undoes what it does.
    #[inline(never)]
    fn filter_order_warning(
        &mut self,
        state: &StreamState,
        calls: &mut HostCalls<'_>,
    ) -> Option<&'static str> {
        let cors = match state {
            StreamState::Unseen => None,
            StreamState::Unread => return None,
            StreamState::Live(request) => Some(&request.response.as_ref()?.cors),
        };
        let options = self.config.response.cors;
        if !self.filter_order.is_due(cors, options) {
            return None;
        }
        let read = match cors {
            Some(_) => None,
            None => Some(CorsRequest::read(&calls.request_headers()?)),
        };
        let (cors, response) = (cors.or(read.as_ref())?, calls.response_headers()?);
        let is_wrong = self.filter_order.look(cors, &response, options);
        is_wrong.then_some(FilterOrder::WARNING)
    }

    #[inline(never)]
    fn close(&mut self, request: Option<LiveRequest>, calls: &mut HostCalls<'_>) -> Option<u64> {
        let request = request?;
        match &request.span {
            Some(span) => {
                let info = StreamInfo::read(span, self.config.data.user_info, calls);
                if let Some(watched) = request.watched {
                    self.capture_recorded(watched, span, &info, calls);
                }
                self.on_stream_info(request, info, || calls.response_headers())
            }
            None => {
                if let Some(watched) = request.watched {
                    self.capture_unrecorded(watched, request.carried.context, calls);
                }
                if !request.may_be_redirected() {
                    return None;
                }
                let details = calls.text(Attribute::ResponseCodeDetails);
                self.on_unrecorded_end(request, details.as_deref(), calls.now_ns())
            }
        }
    }

    /// The stream of a request has ended that is recorded, as `info` says. `response` reads the
    /// response's headers and is asked only if some of them are recorded. A token is to be left
    /// with the request where Envoy turns it into another one.
    pub fn on_stream_info(
        &mut self,
        request: LiveRequest,
        info: StreamInfo,
        response: impl FnOnce() -> Option<Headers>,
    ) -> Option<u64> {
        let LiveRequest {
            span,
            carried,
            mut bytes,
            ..
        } = request;
        let span = span?;
        if span.goes_on(&info) && self.redirects.has_room() && self.live.has_room() {
            // The call that ended stays with the span.
            bytes.grow(size_of::<StreamInfo>().saturating_add(info.heap_bytes()));
            let ended_ns = info.times().end_ns;
            let span = Some((span, info));
            return Some(self.redirects.wait(carried, span, bytes, ended_ns));
        }
        let reads = self.config.data.reads_response();
        let response = reads.then(response).flatten().unwrap_or_default();
        self.record(&span, &info, &response);
        None
    }

    /// The stream of a request has ended that is not recorded, and whose response never came by;
    /// `details` are Envoy's explanation of its response. A token is as above.
    pub(crate) fn on_unrecorded_end(
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

    /// Some time has passed: closes the spans of redirects that do not come back, and re-arms the
    /// check of the filter order.
    pub fn on_tick(&mut self, now_ns: u64) {
        self.filter_order.flushed();
        let over = self.redirects.take_over(now_ns);
        self.record_redirected(over);
    }

    /// The configuration is being replaced: no redirect comes back to it.
    pub fn end(&mut self) {
        let redirected = self.redirects.take_all();
        self.record_redirected(redirected);
    }

    /// Whether what is recorded from here on can be sent. Where it cannot, no trace is started and
    /// nothing is recorded.
    pub fn set_can_send(&mut self, can_send: bool) {
        self.can_send = can_send;
    }

    /// Whether so much waits that the exporter should not wait for a tick.
    pub fn is_full_batch(&self) -> bool {
        let transport = &self.config.transport;
        let scope = transport.format.batch_scope();
        self.recorded
            .is_full_batch(scope, transport.max_queue_bytes)
    }

    /// What the exporter has not taken yet.
    pub fn recorded(&mut self) -> &mut Recorded {
        &mut self.recorded
    }

    fn record_redirected(&mut self, ended: Vec<Redirected>) {
        for Redirected { span, .. } in ended {
            if let Some((span, info)) = span {
                self.record(&span, &info, &Headers::default());
            }
        }
    }

    fn record(&mut self, span: &OpenSpan, info: &StreamInfo, response: &Headers) {
        let response_headers = self.config.data.capture_response(response);
        let name = span.name(info);
        let segment = span.finish(info, self.config.trace.naming, &name, &response_headers);
        let (project, quantity) = (segment.context.project, segment.quantity());
        self.recorded.ended_ns = segment.server.times.end_ns;
        self.recorded
            .metrics
            .add(Metric::SpansRecorded, quantity.spans.into());
        let code = segment.response_code;
        let mut ignored = self.config.trace_ignore_status_codes.iter();
        if code.is_some_and(|code| ignored.any(|codes| codes.contains(&code))) {
            return self.discard(project, DiscardReason::Ignored, quantity);
        }
        let Self {
            config, buffers, ..
        } = self;
        let format = config.transport.format;
        let resource = config.resource_of(project);
        match resource.and_then(|resource| format.encode(&segment, resource, buffers)) {
            Some(segment) => {
                let max_bytes = config.transport.max_queue_bytes;
                let lost = self.recorded.push(segment, max_bytes);
                self.discard(project, DiscardReason::QueueOverflow, lost);
            }
            None => self.discard(project, DiscardReason::InternalSdkError, quantity),
        }
    }

    fn count(&mut self, decision: &TraceDecision) {
        let metrics = &mut self.recorded.metrics;
        metrics.add(Metric::Requests, 1);
        match decision.origin {
            TraceOrigin::None | TraceOrigin::Redirected => {}
            TraceOrigin::Continued(_) => metrics.add(Metric::TracesContinued, 1),
            TraceOrigin::Started => metrics.add(Metric::TracesStarted, 1),
            TraceOrigin::Restarted(reason) => metrics.add(Metric::TracesRestarted(reason), 1),
        }
        metrics.add(Metric::TracesThrottled, decision.throttled.into());
        metrics.add(Metric::RequestsOverBudget, decision.over_budget.into());
        // What a span that was never opened would have had below it nobody knows.
        let one = Quantity {
            segments: 1,
            spans: 1,
            events: 0,
        };
        if let Some(project) = decision.project {
            if decision.throttled || decision.unsampled {
                self.report_discarded(project, "sample_rate", one);
            } else if decision.left_out {
                self.report_discarded(project, "backpressure", one);
            }
        }
        let metrics = &mut self.recorded.metrics;
        let HeaderRejections {
            refused,
            malformed_members,
            dropped_members,
        } = decision.rejections;
        for (format, error) in refused.iter() {
            metrics.add(Metric::HeadersRefused(format, error), 1);
        }
        metrics.add(Metric::BaggageMalformed, malformed_members.into());
        metrics.add(Metric::BaggageLimit, dropped_members.into());
    }

    /// Counts calls that the host has refused to the door.
    pub fn count_refused(&mut self, count: u32) {
        self.recorded.refused = self.recorded.refused.saturating_add(count);
    }

    fn discard(&mut self, project: ProjectId, reason: DiscardReason, lost: Quantity) {
        let metrics = &mut self.recorded.metrics;
        metrics.add(Metric::SpansDiscarded(reason), lost.spans.into());
        metrics.add(Metric::EventsDiscarded(reason), lost.events.into());
        self.report_discarded(project, reason.report_reason(), lost);
    }

    fn report_discarded(&mut self, project: ProjectId, reason: &'static str, lost: Quantity) {
        if self.config.transport.client_reports {
            let format = self.config.transport.format;
            self.recorded.report(project, reason, lost, format);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
