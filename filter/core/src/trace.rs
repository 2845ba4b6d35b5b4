//! The trace context of one request: what arrived, what is decided about it, and what goes on to the upstream (filter.md §3).

pub mod baggage;
pub mod continuation;
pub mod dsc;
pub mod id;
pub mod sampling;
pub mod sentry_trace;

use crate::config::FilterConfig;
use crate::dsn::Dsn;
use crate::headers::{HeaderMutation, Headers, BAGGAGE, SENTRY_TRACE};
use baggage::Baggage;
use dsc::{Dsc, Head};
use id::{SpanId, TraceId};
use sampling::{records, SampleRand};
use sentry_trace::{Received, SentryTrace, SentryTraceError};

/// Fills a buffer with random bytes; `false` if there are none to be had.
pub type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]) -> bool;

/// What is decided about a request's trace.
#[derive(Debug, PartialEq, Eq)]
pub struct TraceDecision {
    /// Where the trace comes from.
    pub origin: TraceOrigin,
    /// Why the `sentry-trace` that arrived was refused, if it was.
    pub refused: Option<SentryTraceError>,
    /// The span to record, if this gateway records one.
    pub span: Option<SpanContext>,
    /// What to change so that the upstream sees the decision.
    pub mutations: Vec<HeaderMutation>,
}

/// Where the trace of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOrigin {
    /// There is none, and none was started.
    None,
    /// It arrived with the request.
    Continued,
    /// It begins here.
    Started,
}

/// The ids of a span that is recorded, and the DSC of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The gateway's span, the parent of what the upstream does.
    pub span_id: SpanId,
    /// The span that sent the request.
    pub parent_span_id: Option<SpanId>,
    /// What the head of the trace said about it; empty if it said nothing.
    pub dsc: Dsc,
}

/// What a decision may use besides the headers. Both are asked for only if needed, since the host charges for them.
pub struct Sources<'a> {
    /// Random bytes for ids.
    pub entropy: Entropy<'a>,
    /// The transaction's name for the DSC of a new trace, `None` if it is only a path.
    pub transaction: &'a mut dyn FnMut() -> Option<String>,
}

/// Decides about one request.
///
/// `may_start` is whether a trace may begin and a span be recorded with this request (see [`crate::route`]). Without a DSN nothing begins, whatever it
/// says. Sampling follows sentry-protocol.md §3.2; a gateway that records nothing forwards the context as it is (filter.md §3.5).
pub fn decide(
    headers: &Headers,
    config: &FilterConfig,
    may_start: bool,
    sources: &mut Sources<'_>,
) -> TraceDecision {
    let (received, refused) = match SentryTrace::read(headers.values(SENTRY_TRACE)) {
        Ok(received) => (received, None),
        Err(refused) => (None, Some(refused)),
    };
    let baggage = Baggage::read(headers.values(BAGGAGE));
    let dsn = config.dsn.as_ref().filter(|_| may_start);

    let mut decision = match (received, dsn) {
        (Some(received), _) if !is_foreign(&baggage, config, dsn) => {
            continue_trace(received, &baggage, config, dsn.is_some(), sources)
        }
        (_, Some(dsn)) => start_trace(&baggage, config, dsn, sources),
        (_, None) => None,
    }
    .unwrap_or_else(|| forward_without_trace(headers, &baggage));
    decision.refused = refused;
    decision
}

/// Whether another organisation's trace arrived. A gateway that starts no traces has no say in it.
fn is_foreign(baggage: &Baggage<'_>, config: &FilterConfig, dsn: Option<&Dsn>) -> bool {
    let incoming = baggage
        .sentry()
        .iter()
        .rfind(|(key, value)| key == "org_id" && !value.trim().is_empty())
        .map(|(_, value)| value.trim());
    dsn.is_some()
        && !continuation::continues(
            incoming,
            config.org_id.as_deref(),
            config.strict_trace_continuation,
        )
}

fn continue_trace(
    received: Received,
    baggage: &Baggage<'_>,
    config: &FilterConfig,
    may_record: bool,
    sources: &mut Sources<'_>,
) -> Option<TraceDecision> {
    let Received { value, canonical } = received;
    let belongs = belongs_to(baggage, value.trace_id);
    let dsc = if belongs {
        Dsc::frozen(baggage.sentry())
    } else {
        Dsc::default()
    };
    let rand = dsc
        .get("sample_rand")
        .and_then(SampleRand::parse)
        .unwrap_or_else(|| SampleRand::of(value.trace_id));
    let span_id = (may_record && records(value.sampled, config.traces_sample_rate, rand))
        .then(|| new_span_id(sources.entropy))
        .flatten();

    let mut mutations = Vec::new();
    match span_id {
        Some(span_id) => mutations.push(set_sentry_trace(SentryTrace {
            span_id,
            sampled: Some(true),
            ..value
        })),
        None if !canonical => mutations.push(set_sentry_trace(value)),
        None => {}
    }
    if !belongs {
        mutations.push(set_baggage(baggage.write(&[])));
    }
    Some(TraceDecision {
        origin: TraceOrigin::Continued,
        refused: None,
        span: span_id.map(|span_id| SpanContext {
            trace_id: value.trace_id,
            span_id,
            parent_span_id: Some(value.span_id),
            dsc,
        }),
        mutations,
    })
}

/// `None` if there is no randomness to make ids of.
fn start_trace(
    baggage: &Baggage<'_>,
    config: &FilterConfig,
    dsn: &Dsn,
    sources: &mut Sources<'_>,
) -> Option<TraceDecision> {
    let mut bytes = [0; 16];
    let trace_id = (sources.entropy)(&mut bytes).then(|| TraceId::from_bytes(bytes))??;
    let span_id = new_span_id(sources.entropy)?;
    let sample_rand = SampleRand::of(trace_id);
    let decision = config
        .traces_sample_rate
        .map(|rate| (rate, records(None, Some(rate), sample_rand)));
    let sampled = decision.map(|(_, sampled)| sampled);
    // In deferred mode there is no transaction to name (sentry-protocol.md §3.4).
    let transaction = decision.and_then(|_| (sources.transaction)());
    let dsc = Dsc::head(&Head {
        trace_id,
        public_key: dsn.public_key(),
        sample_rand,
        decision,
        environment: &config.environment,
        release: config.release.as_deref(),
        org_id: config.org_id.as_deref(),
        transaction: transaction.as_deref(),
    });
    let mutations = vec![
        set_sentry_trace(SentryTrace {
            trace_id,
            span_id,
            sampled,
        }),
        set_baggage(baggage.write(&dsc.to_members())),
    ];
    Some(TraceDecision {
        origin: TraceOrigin::Started,
        refused: None,
        span: (sampled == Some(true)).then_some(SpanContext {
            trace_id,
            span_id,
            parent_span_id: None,
            dsc,
        }),
        mutations,
    })
}

/// No trace arrived and none begins: a refused header goes, and so do `sentry-` members, which count only with the context they belong to
/// (filter.md §3.3).
fn forward_without_trace(headers: &Headers, baggage: &Baggage<'_>) -> TraceDecision {
    let mut mutations = Vec::new();
    if headers.value(SENTRY_TRACE).is_some() {
        mutations.push(HeaderMutation::Remove { name: SENTRY_TRACE });
    }
    if baggage.has_sentry() {
        mutations.push(set_baggage(baggage.write(&[])));
    }
    TraceDecision {
        origin: TraceOrigin::None,
        refused: None,
        span: None,
        mutations,
    }
}

/// Whether the `sentry-` members are those of this trace. Without a `trace_id` of their own they are taken as such (filter.md §11).
fn belongs_to(baggage: &Baggage<'_>, trace_id: TraceId) -> bool {
    baggage
        .sentry()
        .iter()
        .filter(|(key, _)| key == "trace_id")
        .all(|(_, value)| TraceId::from_hex(value.as_bytes()) == Ok(trace_id))
}

fn new_span_id(entropy: Entropy<'_>) -> Option<SpanId> {
    let mut bytes = [0; 8];
    entropy(&mut bytes).then(|| SpanId::from_bytes(bytes))?
}

fn set_sentry_trace(value: SentryTrace) -> HeaderMutation {
    HeaderMutation::Set {
        name: SENTRY_TRACE,
        value: value.to_value(),
    }
}

fn set_baggage(value: Option<Vec<u8>>) -> HeaderMutation {
    match value {
        Some(value) => HeaderMutation::Set {
            name: BAGGAGE,
            value,
        },
        None => HeaderMutation::Remove { name: BAGGAGE },
    }
}

#[cfg(test)]
mod tests;
