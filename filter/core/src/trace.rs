//! The trace context of one request: what arrived, what is decided about it, and what goes on to the upstream (filter.md §3).

pub mod baggage;
pub mod continuation;
pub mod dsc;
pub mod id;
pub mod sampling;
pub mod sentry_trace;
pub mod throttle;
pub mod traceparent;
pub mod tracestate;

mod decider;
mod outgoing;

use std::fmt;

use crate::attribute::Attribute;
use crate::config::FilterConfig;
use crate::headers::{HeaderMutation, Headers, BAGGAGE, SENTRY_TRACE, TRACEPARENT};
use crate::route::{self, TransactionName};
use crate::rules::Settings;
use baggage::Baggage;
use continuation::Restart;
use decider::{Arrived, Decider};
use dsc::Dsc;
use id::{SpanId, TraceId};
use outgoing::Outgoing;
use sentry_trace::{SentryTrace, SentryTraceError};
use throttle::Throttle;
use traceparent::{Traceparent, TraceparentError};

/// What is decided about a request's trace.
#[derive(Debug, PartialEq, Eq)]
pub struct TraceDecision {
    /// Where the trace comes from.
    pub origin: TraceOrigin,
    /// The context that the request has from here on.
    pub context: Option<SentryTrace>,
    /// The context that the upstream gets.
    pub sent: Option<SentryTrace>,
    /// The `sentry-` members that belong to it, if the answer may tell them.
    pub members: Vec<u8>,
    /// Whether a document tells the browser its trace.
    pub server_timing: bool,
    /// The span to record, if this gateway records one.
    pub span: Option<SpanContext>,
    /// The span's name, as far as it is known without the end of the stream.
    pub transaction: Option<TransactionName>,
    /// Whether there would be a span if `max_traces_per_second` were higher.
    pub throttled: bool,
    /// Whether there would be a span if the trace were sampled.
    pub unsampled: bool,
    /// What was wrong with the headers that arrived.
    pub damage: Damage,
    /// What to change so that the upstream sees the decision.
    pub mutations: Vec<HeaderMutation>,
}

/// Where the trace of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOrigin {
    /// There is none, and none was started.
    None,
    /// It arrived in `sentry-trace`.
    SentryTrace,
    /// It arrived in `traceparent`.
    Traceparent,
    /// It begins here, since none arrived.
    Started,
    /// It begins here, although one arrived.
    Restarted(Restart),
}

/// What was wrong with the headers of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Why `sentry-trace` was refused.
    pub sentry_trace: Option<SentryTraceError>,
    /// Why `traceparent` was refused.
    pub traceparent: Option<TraceparentError>,
    /// How many `baggage` members were none, and were left out when the header was written.
    pub malformed_members: u32,
    /// How many `baggage` members were too many, or too long together.
    pub dropped_members: u32,
}

/// The ids of a span that is recorded, and the DSC of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The gateway's span.
    pub span_id: SpanId,
    /// The span that sent the request.
    pub parent_span_id: Option<SpanId>,
    /// The span of the call to the upstream, a child of the gateway's; `None` if there shall be none.
    pub upstream_span_id: Option<SpanId>,
    /// The context that arrived and was not continued.
    pub link: Option<SentryTrace>,
    /// What the head of the trace said about it; empty if it said nothing.
    pub dsc: Dsc,
}

impl SpanContext {
    /// The span that is the parent of what the upstream does.
    pub fn upstream_parent(&self) -> SpanId {
        self.upstream_span_id.unwrap_or(self.span_id)
    }

    /// Whether a request that arrived with this context is the one that this span has sent on.
    pub fn has_sent(&self, arrived: SentryTrace) -> bool {
        arrived.trace_id == self.trace_id && arrived.span_id == self.upstream_parent()
    }
}

/// What a decision may use besides the headers. Each is asked for only if it is needed, since the host charges for it.
pub struct Sources<'a> {
    /// Fills a buffer with random bytes; `false` if there are none to be had.
    pub entropy: &'a mut dyn FnMut(&mut [u8]) -> bool,
    /// The time in nanoseconds since the epoch.
    pub now_ns: &'a mut dyn FnMut() -> u64,
    /// An attribute of the request.
    pub attribute: &'a mut dyn FnMut(Attribute) -> Option<Vec<u8>>,
}

/// Decides about one request. `redirected` is the span of the request that an internal redirect of Envoy's has made this one of: it goes on.
///
/// Without a DSN, for `OPTIONS` and for the DSN's own host nothing begins and nothing is recorded. Sampling follows sentry-protocol.md §3.2; a gateway
/// that records nothing forwards the context as it is (filter.md §3.5).
pub fn decide(
    headers: &Headers,
    config: &FilterConfig,
    throttle: Option<&mut Throttle>,
    redirected: Option<&SpanContext>,
    sources: &mut Sources<'_>,
) -> TraceDecision {
    let baggage = Baggage::read(headers.values(BAGGAGE));
    let mut damage = Damage::default();
    let sentry_trace = SentryTrace::read(headers.values(SENTRY_TRACE))
        .map_err(|error| damage.sentry_trace = Some(error))
        .unwrap_or_default();
    let reads_traceparent = config.continue_traceparent || config.propagate_traceparent;
    let traceparent = reads_traceparent
        .then(|| Traceparent::read(headers.values(TRACEPARENT)))
        .transpose()
        .map_err(|error| damage.traceparent = Some(error))
        .unwrap_or_default()
        .flatten();
    let settings = Settings::of(&config.rules, headers, sources.attribute);
    let dsn = config
        .dsn
        .as_ref()
        .filter(|dsn| route::may_start(headers, dsn));
    let targets = config.trace_propagation_targets.as_ref();
    let is_target =
        settings.propagate != Some(false) && targets.is_none_or(|targets| targets.include(headers));
    let server_timing = settings.server_timing.unwrap_or(config.server_timing);

    let decider = Decider {
        config,
        settings,
        baggage: &baggage,
        dsn,
        throttle,
        sources,
        metadata: None,
    };
    let arrived = match (sentry_trace, traceparent) {
        (Some(received), _) => Some(Arrived::SentryTrace(received.value)),
        (None, Some(traceparent)) if config.continue_traceparent && dsn.is_some() => {
            Some(Arrived::Traceparent(traceparent))
        }
        _ => None,
    };
    let decided = match redirected {
        Some(span) => decider.resume(span),
        None => decider.decide(arrived, damage.sentry_trace.is_some()),
    };
    let outgoing = Outgoing {
        headers,
        baggage: &baggage,
        incoming_traceparent: traceparent,
        is_canonical: sentry_trace.is_some_and(|received| received.canonical),
        is_target,
        writes_traceparent: config.propagate_traceparent,
    };
    // The upstream's parent is the call to it, the client's answer tells the gateway's own span.
    let sent = decided.context.map(|context| SentryTrace {
        span_id: match &decided.span {
            Some(span) => span.upstream_parent(),
            None => context.span_id,
        },
        ..context
    });
    let mutations = outgoing.mutations(sent, &decided.members, &mut damage);
    let tells_members = server_timing || config.response_headers.baggage;
    TraceDecision {
        origin: decided.origin,
        context: decided.context,
        sent: sent.filter(|_| is_target),
        members: match tells_members && decided.context.is_some() {
            true => outgoing.members_alone(&decided.members),
            false => Vec::new(),
        },
        server_timing,
        span: decided.span,
        transaction: decided.transaction,
        throttled: decided.throttled,
        unsampled: dsn.is_some()
            && !decided.throttled
            && decided
                .context
                .is_some_and(|context| context.sampled == Some(false)),
        damage,
        mutations,
    }
}

/// The decision as a line for the log.
impl fmt::Display for TraceDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            TraceOrigin::None => f.write_str("no trace")?,
            TraceOrigin::SentryTrace => f.write_str("trace continued from sentry-trace")?,
            TraceOrigin::Traceparent => f.write_str("trace continued from traceparent")?,
            TraceOrigin::Started => f.write_str("trace started")?,
            TraceOrigin::Restarted(restart) => write!(f, "trace restarted ({})", restart.reason())?,
        }
        if let Some(error) = self.damage.sentry_trace {
            write!(f, ", sentry-trace refused ({})", error.reason())?;
        }
        if let Some(error) = self.damage.traceparent {
            write!(f, ", traceparent refused ({})", error.reason())?;
        }
        match self.sent {
            Some(sent) => write!(
                f,
                ", upstream gets {}",
                String::from_utf8_lossy(&sent.to_value())
            )?,
            None => f.write_str(", upstream gets none")?,
        }
        f.write_str(match (&self.span, self.throttled) {
            (Some(_), _) => ", span recorded",
            (None, true) => ", span left out by max_traces_per_second",
            (None, false) => ", no span",
        })
    }
}

#[cfg(test)]
mod tests;
