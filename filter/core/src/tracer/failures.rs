//! What a stream's end becomes if it is a failure (filter.md §13): an error event beside the span,
//! or without one.

use super::Tracer;
use crate::envelope::event;
use crate::export::delivery::DiscardReason;
use crate::export::metrics::Metric;
use crate::failure::{code, name, Failure, FailureOptions, Watched};
use crate::headers::PATH;
use crate::host::HostCalls;
use crate::id::EventId;
use crate::project::ProjectId;
use crate::quantity::Quantity;
use crate::route::TransactionName;
use crate::rules::Settings;
use crate::span::{OpenSpan, Request, StreamInfo};
use crate::trace::dsc::Dsc;
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::SpanContext;

/// Where Envoy's router keeps the path that it has written another one for.
const ORIGINAL_PATH: &str = "x-envoy-original-path";

/// One error event.
const ONE: Quantity = Quantity {
    segments: 0,
    spans: 0,
    events: 1,
};

impl Tracer {
    /// The stream of a request has ended that has a span.
    pub(super) fn capture_recorded(
        &mut self,
        watched: Watched,
        span: &OpenSpan,
        end: &StreamInfo,
        calls: &mut HostCalls<'_>,
    ) {
        let Some(options) = &self.config.capture_failures else {
            return;
        };
        if end.is_tunnel(&span.request) {
            return;
        }
        let Some(kind) = options.kind(end, watched) else {
            return;
        };
        let name = name(kind, end, watched.is_grpc);
        let Some(event_id) = self.admit(span.context.project, end, &name, calls) else {
            return;
        };
        let transaction = span.name(end);
        self.capture(&Failure {
            event_id,
            context: &span.context,
            request: &span.request,
            transaction: &transaction.name,
            end,
            name: &name,
        });
    }

    /// The stream of a request has ended that has none. Nothing is known but its place in the trace:
    /// what else the event says is asked for now, once it is one.
    #[inline(never)]
    pub(super) fn capture_unrecorded(
        &mut self,
        watched: Watched,
        context: Option<SentryTrace>,
        calls: &mut HostCalls<'_>,
    ) {
        let (Some(options), Some(context)) = (&self.config.capture_failures, context) else {
            return;
        };
        let Some(end) = read_end(options, watched, calls) else {
            return;
        };
        let Some(kind) = options.kind(&end, watched) else {
            return;
        };
        let metadata = calls.route_metadata();
        if metadata.ignore.or(watched.is_ignored) == Some(true) {
            return;
        }
        let name = name(kind, &end, watched.is_grpc);
        let Some(event_id) = self.admit(watched.project, &end, &name, calls) else {
            return;
        };
        // The path that the client asked for, where Envoy's router has written another one.
        let mut headers = calls.request_headers().unwrap_or_default();
        headers.copy_value(ORIGINAL_PATH, PATH);
        let request = Request::read(&headers, &self.config.data);
        let from_route = || TransactionName::from_route(end.route_name.as_deref()?);
        let transaction = metadata
            .transaction
            .or_else(|| Settings::new(&self.config.trace.rules, &headers, calls).transaction)
            .or_else(from_route)
            .unwrap_or_else(|| request.name());
        let context = SpanContext {
            project: watched.project,
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_span_id: None,
            upstream_span_id: None,
            link: None,
            dsc: Dsc::default(),
        };
        self.capture(&Failure {
            event_id,
            context: &context,
            request: &request,
            transaction: &transaction.name,
            end: &end,
            name: &name,
        });
    }

    /// The id of the event, unless there were too many of its kind. Counts the failure.
    fn admit(
        &mut self,
        project: ProjectId,
        end: &StreamInfo,
        name: &str,
        calls: &mut HostCalls<'_>,
    ) -> Option<EventId> {
        let max_per_minute = self.config.capture_failures.as_ref()?.max_per_minute;
        self.recorded.metrics.add(Metric::EventsRecorded, 1);
        let cluster = end.cluster_name.as_deref().unwrap_or_default();
        let route = end.route_name.as_deref().unwrap_or_default();
        let place = [project.place()];
        let fingerprint = [name.as_bytes(), cluster.as_bytes(), route, &place];
        if !self
            .failures
            .admit(fingerprint, max_per_minute, calls.now_ns())
        {
            self.discard(project, DiscardReason::MaxPerMinute, ONE);
            return None;
        }
        let mut bytes = [0; 16];
        let event_id = calls
            .fill_random(&mut bytes)
            .then(|| EventId::from_bytes(bytes));
        let event_id = event_id.flatten();
        if event_id.is_none() {
            self.discard(project, DiscardReason::InternalSdkError, ONE);
        }
        event_id
    }

    fn capture(&mut self, failure: &Failure<'_>) {
        let Self {
            config, buffers, ..
        } = self;
        let project = failure.context.project;
        let resource = config.resource_of(project);
        match resource.and_then(|resource| event::encode(failure, resource, buffers)) {
            Some(event) => {
                self.recorded.ended_ns = failure.end.times().end_ns;
                let max_bytes = self.config.transport.max_queue_bytes;
                let lost = self.recorded.push(event, max_bytes);
                self.discard(project, DiscardReason::QueueOverflow, lost);
            }
            None => self.discard(project, DiscardReason::InternalSdkError, ONE),
        }
    }
}

/// How a stream without a span has ended, if that may be a failure; for any other one attribute is
/// asked for.
fn read_end(
    options: &FailureOptions,
    watched: Watched,
    calls: &mut HostCalls<'_>,
) -> Option<StreamInfo> {
    let mut end = StreamInfo::read_code(calls);
    if watched.is_grpc {
        end.read_grpc_status(calls);
    }
    if !options.includes(code(&end, watched.is_grpc)?) {
        return None;
    }
    end.read_failure(calls);
    Some(end)
}
