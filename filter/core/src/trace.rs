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

mod outgoing;

use std::fmt;

use crate::attribute::Attribute;
use crate::config::FilterConfig;
use crate::dsn::{normalize_org_id, Dsn};
use crate::headers::{HeaderMutation, Headers, BAGGAGE, SENTRY_TRACE, TRACEPARENT};
use crate::route::{self, TransactionName};
use crate::rules::{IncomingSampled, IncomingTrace, RouteMetadata, Settings};
use baggage::Baggage;
use continuation::Restart;
use dsc::{Dsc, Head};
use id::{SpanId, TraceId};
use outgoing::{Members, Outgoing};
use sampling::{SampleRand, SampleRate};
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
    /// Whether the upstream gets it.
    pub is_propagated: bool,
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
    /// The gateway's span, the parent of what the upstream does.
    pub span_id: SpanId,
    /// The span that sent the request.
    pub parent_span_id: Option<SpanId>,
    /// What the head of the trace said about it; empty if it said nothing.
    pub dsc: Dsc,
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

/// Decides about one request.
///
/// Without a DSN, for `OPTIONS` and for the DSN's own host nothing begins and nothing is recorded. Sampling follows sentry-protocol.md §3.2; a gateway
/// that records nothing forwards the context as it is (filter.md §3.5).
pub fn decide(
    headers: &Headers,
    config: &FilterConfig,
    throttle: Option<&mut Throttle>,
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
    let is_target = settings.propagate != Some(false)
        && route::is_target(headers, config.trace_propagation_targets.as_deref());
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
    let decided = decider.decide(arrived, damage.sentry_trace.is_some());
    let outgoing = Outgoing {
        headers,
        baggage: &baggage,
        incoming_traceparent: traceparent,
        is_canonical: sentry_trace.is_some_and(|received| received.canonical),
        is_target,
        writes_traceparent: config.propagate_traceparent,
    };
    let mutations = outgoing.mutations(decided.context, &decided.members, &mut damage);
    let tells_members = server_timing || config.response_headers.baggage;
    TraceDecision {
        origin: decided.origin,
        context: decided.context,
        is_propagated: is_target,
        members: match tells_members && decided.context.is_some() {
            true => outgoing.members_alone(&decided.members),
            false => Vec::new(),
        },
        server_timing,
        span: decided.span,
        transaction: decided.transaction,
        throttled: decided.throttled,
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
        match self.context.filter(|_| self.is_propagated) {
            Some(context) => write!(
                f,
                ", upstream gets {}",
                String::from_utf8_lossy(&context.to_value())
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

/// The context that arrived and may be continued.
#[derive(Debug, Clone, Copy)]
enum Arrived {
    SentryTrace(SentryTrace),
    Traceparent(Traceparent),
}

/// A decision before it is written into headers.
#[derive(Debug)]
struct Decided {
    origin: TraceOrigin,
    /// What the upstream is to read in `sentry-trace`.
    context: Option<SentryTrace>,
    /// What it is to read in the `sentry-` members of `baggage`.
    members: Members,
    span: Option<SpanContext>,
    transaction: Option<TransactionName>,
    throttled: bool,
}

struct Decider<'a, 's> {
    config: &'a FilterConfig,
    settings: Settings,
    baggage: &'a Baggage<'a>,
    dsn: Option<&'a Dsn>,
    throttle: Option<&'a mut Throttle>,
    sources: &'a mut Sources<'s>,
    /// Asked for at most once, and only where it decides something.
    metadata: Option<RouteMetadata>,
}

/// Whether a span is recorded, and what the head of a trace says about it.
#[derive(Debug, Clone, Copy)]
struct Sampling {
    /// `None` in deferred mode.
    rate: Option<SampleRate>,
    rand: SampleRand,
    sampled: Option<bool>,
    throttled: bool,
}

impl Decider<'_, '_> {
    fn decide(mut self, arrived: Option<Arrived>, was_refused: bool) -> Decided {
        let refused = was_refused.then_some(Restart::Refused);
        let decided = match (arrived, self.restart(arrived)) {
            (Some(Arrived::SentryTrace(value)), None) => Some(self.continue_trace(value)),
            (Some(Arrived::Traceparent(value)), None) => self.adopt(value),
            (_, restart) => self.start(restart.or(refused)),
        };
        // No trace arrived, and none begins: `sentry-` members count only with the context they belong to (filter.md §3.3).
        decided.unwrap_or(Decided {
            origin: TraceOrigin::None,
            context: None,
            members: Members::Replaced(Vec::new()),
            span: None,
            transaction: None,
            throttled: false,
        })
    }

    /// Why a context that arrived is not continued. A gateway that starts no traces has no say in it.
    fn restart(&self, arrived: Option<Arrived>) -> Option<Restart> {
        let (arrived, _) = (arrived?, self.dsn?);
        if self
            .settings
            .incoming_trace
            .unwrap_or(self.config.incoming_trace)
            == IncomingTrace::Restart
        {
            return Some(Restart::Configured);
        }
        let org_id = match arrived {
            Arrived::SentryTrace(_) => self
                .sentry_member("org_id")
                .map(|org_id| normalize_org_id(org_id).unwrap_or(org_id)),
            // The members belong to no context.
            Arrived::Traceparent(_) => None,
        };
        let continues = continuation::continues(
            org_id,
            self.config.org_id.as_deref(),
            self.config.strict_trace_continuation,
        );
        (!continues).then_some(Restart::Organisation)
    }

    fn continue_trace(&mut self, value: SentryTrace) -> Decided {
        let belongs = self.belongs_to(value.trace_id);
        let mut dsc = match belongs {
            true => Dsc::frozen(self.baggage.sentry()),
            false => Dsc::default(),
        };
        let mut members = match belongs {
            true => Members::Kept,
            false => Members::Replaced(Vec::new()),
        };
        let mut context = value;
        let ignores = self.dsn.is_some()
            && self
                .settings
                .incoming_sampled
                .unwrap_or(self.config.incoming_sampled)
                == IncomingSampled::Ignore;
        let sampling = if ignores {
            // Not derived from the trace id, which the caller has chosen.
            let rand = self.random_sample_rand();
            let sampling = self.sample(None, rand);
            let changes = sampling.changes();
            if !dsc.is_empty() && belongs {
                dsc.change(&changes);
                members = Members::Changed(changes);
            }
            context.sampled = sampling.sampled;
            sampling
        } else {
            let rand = dsc
                .get("sample_rand")
                .and_then(SampleRand::parse)
                .unwrap_or_else(|| SampleRand::of(value.trace_id));
            let sampling = self.sample(value.sampled, rand);
            // A decision that was ours to take, and that we could not afford to be a yes.
            if value.sampled.is_none() && sampling.throttled {
                context.sampled = Some(false);
            }
            sampling
        };
        let span = self.record(sampling, value.trace_id, Some(value.span_id), dsc);
        if let Some(span) = &span {
            context.span_id = span.span_id;
            context.sampled = Some(true);
        }
        Decided {
            origin: TraceOrigin::SentryTrace,
            context: Some(context),
            members,
            transaction: span.is_some().then(|| self.transaction()).flatten(),
            span,
            throttled: sampling.throttled,
        }
    }

    /// Continues a trace of others': its ids and, if it says that it is sampled, its decision. For Sentry the trace begins here, since nobody has
    /// written a DSC (sentry-protocol.md §2.7, first row).
    fn adopt(&mut self, value: Traceparent) -> Option<Decided> {
        let dsn = self.dsn?;
        let inherits = self
            .settings
            .incoming_sampled
            .unwrap_or(self.config.incoming_sampled)
            == IncomingSampled::Inherit;
        let incoming = (value.sampled && inherits).then_some(true);
        let rand = match inherits {
            true => SampleRand::of(value.trace_id),
            false => self.random_sample_rand(),
        };
        let sampling = self.sample(incoming, rand);
        let sampled = incoming.or(sampling.sampled);
        let transaction = sampled.and_then(|_| self.transaction());
        let dsc = self.head(
            dsn,
            value.trace_id,
            sampling,
            incoming,
            transaction.as_ref(),
        );
        let span = self.record(sampling, value.trace_id, Some(value.parent_id), dsc.clone());
        Some(Decided {
            origin: TraceOrigin::Traceparent,
            context: Some(SentryTrace {
                trace_id: value.trace_id,
                span_id: span.as_ref().map_or(value.parent_id, |span| span.span_id),
                sampled,
            }),
            members: Members::Replaced(dsc.to_members()),
            span,
            transaction,
            throttled: sampling.throttled,
        })
    }

    /// `None` if there is no DSN, or no randomness to make ids of.
    fn start(&mut self, restart: Option<Restart>) -> Option<Decided> {
        let dsn = self.dsn?;
        let mut bytes = [0; 16];
        let trace_id = (self.sources.entropy)(&mut bytes).then(|| TraceId::from_bytes(bytes))??;
        let span_id = self.new_span_id()?;
        let sampling = self.sample(None, SampleRand::of(trace_id));
        // In deferred mode there is no transaction to name (sentry-protocol.md §3.4).
        let transaction = sampling.sampled.and_then(|_| self.transaction());
        let dsc = self.head(dsn, trace_id, sampling, None, transaction.as_ref());
        let members = Members::Replaced(dsc.to_members());
        let span = (sampling.sampled == Some(true)).then_some(SpanContext {
            trace_id,
            span_id,
            parent_span_id: None,
            dsc,
        });
        Some(Decided {
            origin: restart.map_or(TraceOrigin::Started, TraceOrigin::Restarted),
            context: Some(SentryTrace {
                trace_id,
                span_id,
                sampled: sampling.sampled,
            }),
            members,
            span,
            transaction,
            throttled: sampling.throttled,
        })
    }

    /// The matrix of sentry-protocol.md §3.2. An incoming decision wins over the rate, even over a rate of 0; without a rate (deferred mode) nothing is
    /// recorded.
    fn sample(&mut self, incoming: Option<bool>, rand: SampleRand) -> Sampling {
        let mut sampling = Sampling {
            rate: None,
            rand,
            sampled: None,
            throttled: false,
        };
        if self.dsn.is_none() || incoming == Some(false) {
            return sampling;
        }
        let metadata = self.metadata();
        let (metadata_rate, metadata_ignore) = (metadata.traces_sample_rate, metadata.ignore);
        let rate = metadata_rate
            .or(self.settings.traces_sample_rate)
            .or(self.config.traces_sample_rate);
        let Some(rate) = rate else {
            return sampling;
        };
        let is_ignored = metadata_ignore.or(self.settings.ignore) == Some(true);
        let wanted = !is_ignored && incoming.unwrap_or_else(|| rand.is_sampled_at(rate));
        let admitted = wanted && self.admits();
        sampling.throttled = wanted && !admitted;
        sampling.sampled = Some(admitted);
        // What is left out for another reason than the rate was sampled at a rate of nothing, or `sample_rand < sample_rate` would say something else
        // than `sampled`.
        sampling.rate = Some(if is_ignored || sampling.throttled {
            SampleRate::ZERO
        } else {
            rate
        });
        sampling
    }

    fn admits(&mut self) -> bool {
        match &mut self.throttle {
            None => true,
            Some(throttle) => throttle.admit((self.sources.now_ns)()),
        }
    }

    fn record(
        &mut self,
        sampling: Sampling,
        trace_id: TraceId,
        parent_span_id: Option<SpanId>,
        dsc: Dsc,
    ) -> Option<SpanContext> {
        let span_id = (sampling.sampled == Some(true)).then(|| self.new_span_id())??;
        Some(SpanContext {
            trace_id,
            span_id,
            parent_span_id,
            dsc,
        })
    }

    /// The DSC of a trace that begins here, as far as Sentry is concerned. `inherited` is a decision that others took, at a rate that nobody knows.
    fn head(
        &self,
        dsn: &Dsn,
        trace_id: TraceId,
        sampling: Sampling,
        inherited: Option<bool>,
        transaction: Option<&TransactionName>,
    ) -> Dsc {
        let sampled = inherited.or(sampling.sampled);
        Dsc::head(&Head {
            trace_id,
            public_key: dsn.public_key(),
            sample_rand: sampling.rand,
            sample_rate: sampling.rate.filter(|_| inherited.is_none()),
            sampled,
            environment: &self.config.environment,
            release: self.config.release.as_deref(),
            org_id: self.config.org_id.as_deref(),
            transaction: transaction.map(|transaction| transaction.name.as_str()),
        })
    }

    /// The name that the route's metadata, a rule or the route itself gives; never the path.
    fn transaction(&mut self) -> Option<TransactionName> {
        self.metadata()
            .transaction
            .clone()
            .or_else(|| self.settings.transaction.clone())
            .or_else(|| {
                TransactionName::from_route(&(self.sources.attribute)(Attribute::RouteName)?)
            })
    }

    fn metadata(&mut self) -> &RouteMetadata {
        let attribute = &mut self.sources.attribute;
        self.metadata
            .get_or_insert_with(|| RouteMetadata::read(attribute(Attribute::RouteMetadata)))
    }

    /// Whether the `sentry-` members are those of this trace. Without a `trace_id` of their own they are taken as such (filter.md §11).
    fn belongs_to(&self, trace_id: TraceId) -> bool {
        self.baggage
            .sentry()
            .filter(|(key, _)| *key == "trace_id")
            .all(|(_, value)| TraceId::from_hex(value.as_bytes()) == Ok(trace_id))
    }

    fn sentry_member(&self, name: &str) -> Option<&str> {
        self.baggage
            .sentry()
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
            .last()
    }

    fn random_sample_rand(&mut self) -> SampleRand {
        let mut bytes = [0; 8];
        // Without random bytes the number that is sampled least: what cannot be drawn must not cost quota.
        match (self.sources.entropy)(&mut bytes) {
            true => SampleRand::from_random(bytes),
            false => SampleRand::MAX,
        }
    }

    fn new_span_id(&mut self) -> Option<SpanId> {
        let mut bytes = [0; 8];
        (self.sources.entropy)(&mut bytes).then(|| SpanId::from_bytes(bytes))?
    }
}

impl Sampling {
    /// What becomes ours in a DSC whose decision does not count.
    fn changes(self) -> [(&'static str, Option<String>); 3] {
        [
            ("sampled", self.sampled.map(|sampled| sampled.to_string())),
            ("sample_rate", self.rate.map(|rate| rate.to_string())),
            ("sample_rand", Some(self.rand.to_string())),
        ]
    }
}

#[cfg(test)]
mod tests;
