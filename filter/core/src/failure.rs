//! Which responses become error events in Sentry (filter.md §13): the gateway's own failures, which
//! no service behind it can report.
//!
//! ```text
//! end of a stream: 503, UF,URX, "upstream_reset_before_response_started{…}", cluster shop
//!   -> kind::of     UpstreamConnectionFailure, the gateway's
//!   -> budget       not more often than max_per_minute
//!   -> Failure      envelope::event
//! ```

pub mod budget;
pub mod kind;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::id::EventId;
use crate::project::ProjectId;
use crate::span::{Request, SpanStatus, StreamInfo};
use crate::text::{shortened, MAX_NAME};
use crate::trace::SpanContext;
use kind::Kind;

/// `capture_failures`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureOptions {
    /// The codes of responses that are failures.
    pub status_codes: Vec<RangeInclusive<u16>>,
    /// Whose failures are captured.
    pub origin: Origin,
    /// How many of a kind are captured in a minute, per worker.
    pub max_per_minute: u32,
}

/// Whose failures are captured.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The gateway's, and those of an upstream that broke.
    #[default]
    Gateway,
    /// Also what a service answered, and what the gateway was told to answer.
    Any,
}

impl FailureOptions {
    /// Whether a code is that of a failure.
    pub fn includes(&self, code: u16) -> bool {
        self.status_codes.iter().any(|codes| codes.contains(&code))
    }

    /// What kind of failure a stream's end is; `None` if it is none that is captured.
    pub fn kind(&self, end: &StreamInfo, request: Watched) -> Option<Kind> {
        let code = code(end, request.is_grpc)?;
        if !self.includes(code) || end.is_internal_redirect() {
            return None;
        }
        let kind = kind::of(end, code);
        (kind.is_gateways || self.origin == Origin::Any).then_some(kind)
    }
}

/// What is kept of a request whose failure would be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// The project that it belongs to.
    pub project: ProjectId,
    /// Whether it is a gRPC call.
    pub is_grpc: bool,
    /// Whether a rule says that nothing is recorded of it.
    pub is_ignored: Option<bool>,
}

/// The code of a response; that of a gRPC call, which is 200 also where the call failed, as the
/// call's status has it in HTTP. `None` if there was no response.
pub(crate) fn code(end: &StreamInfo, is_grpc: bool) -> Option<u16> {
    match (end.response_code?, end.grpc_status.filter(|_| is_grpc)) {
        (200, Some(status)) => Some(SpanStatus::http_of_grpc(status)),
        (code, _) => Some(code),
    }
}

/// A failure, with everything that its event says.
#[derive(Debug)]
pub struct Failure<'a> {
    /// The id of the event.
    pub event_id: EventId,
    /// Its place in the trace: the gateway's span, or without one the caller's.
    pub context: &'a SpanContext,
    /// The request.
    pub request: &'a Request,
    /// What the request is called.
    pub transaction: &'a str,
    /// How the stream ended.
    pub end: &'a StreamInfo,
    /// What went wrong: see [`name`].
    pub name: &'a str,
}

impl Failure<'_> {
    /// The method and what the request is called, as Sentry's SDKs name what begins with a path.
    pub fn transaction(&self) -> Cow<'_, str> {
        match self.transaction.starts_with('/') {
            true => shortened(
                [self.request.method.as_str(), " ", self.transaction].concat(),
                MAX_NAME,
            ),
            false => shortened(self.transaction, MAX_NAME),
        }
    }
}

/// The name of a failure, by which issues are told from each other: that of its kind, or for what
/// has none the code that the client got, or the status of the gRPC call.
pub fn name(kind: Kind, end: &StreamInfo, is_grpc: bool) -> String {
    let code = end.response_code.unwrap_or_default();
    let status = end.grpc_status.filter(|_| is_grpc && code == 200);
    let (before, word) = match (kind.name, status.map(SpanStatus::grpc_word)) {
        (Some(name), _) => return name.to_owned(),
        (None, Some(word)) => ("gRPC ", word.unwrap_or("UNKNOWN")),
        (None, None) => ("HTTP ", ""),
    };
    match word {
        "" => [before, &code.to_string()].concat(),
        word => [before, word].concat(),
    }
}

#[cfg(test)]
mod tests;
