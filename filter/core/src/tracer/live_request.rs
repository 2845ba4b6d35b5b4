//! What is kept of a request while its stream is there.

use crate::failure::Watched;
use crate::live::{sum, HeapBytes, LiveBudget, LiveBytes};
use crate::response::PendingResponse;
use crate::span::OpenSpan;
use crate::trace::redirect::Carried;

/// What a tracer knows of one stream.
#[derive(Debug, Default)]
pub enum StreamState {
    /// The request's headers have not come by: a filter in front of this one may have answered.
    #[default]
    Unseen,
    /// They could not be read, so nothing is done about the request.
    Unread,
    /// They have been read.
    Live(LiveRequest),
}

impl StreamState {
    /// Whether the stream has a span.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Live(request) if request.span.is_some())
    }

    /// Whether the end of the stream has to be looked at: there is a span, its failure would be
    /// captured, or Envoy may have followed the response itself.
    pub(super) fn needs_closing(&self) -> bool {
        matches!(self, Self::Live(request)
            if request.span.is_some() || request.watched.is_some() || request.may_be_redirected())
    }

    /// The request, once.
    pub(super) fn take(&mut self) -> Option<LiveRequest> {
        match std::mem::replace(self, Self::Unread) {
            Self::Live(request) => Some(request),
            Self::Unseen | Self::Unread => None,
        }
    }
}

/// What is kept for a request while it is under way. Everything in it is bounded, and counts
/// towards `max_live_bytes` until it is dropped.
#[derive(Debug)]
pub struct LiveRequest {
    /// The span to close at the end of the stream.
    pub span: Option<Box<OpenSpan>>,
    /// What the response depends on, if anything is done about it.
    pub response: Option<Box<PendingResponse>>,
    /// Present if its failure would be captured.
    pub watched: Option<Watched>,
    pub(super) carried: Carried,
    was_answered: bool,
    pub(super) bytes: LiveBytes,
}

impl LiveRequest {
    pub(super) fn new(
        span: Option<Box<OpenSpan>>,
        response: Option<Box<PendingResponse>>,
        watched: Option<Watched>,
        carried: Carried,
        budget: &LiveBudget,
    ) -> Self {
        let of_span = |span: &OpenSpan| size_of::<OpenSpan>().saturating_add(span.heap_bytes());
        let of_response = |response: &PendingResponse| {
            size_of::<PendingResponse>().saturating_add(response.heap_bytes())
        };
        let bytes = [
            span.as_deref().map_or(0, of_span),
            response.as_deref().map_or(0, of_response),
            carried.heap_bytes(),
        ];
        Self {
            bytes: budget.hold(sum(bytes.into_iter(), 0)),
            span,
            response,
            watched,
            carried,
            was_answered: false,
        }
    }

    /// Notes that the headers of its response have come by.
    pub fn set_answered(&mut self) {
        self.was_answered = true;
    }

    /// Whether the end of the stream has to be looked at although no span is recorded: a response
    /// that Envoy follows itself never comes by.
    pub fn may_be_redirected(&self) -> bool {
        self.span.is_none() && !self.was_answered
    }
}
