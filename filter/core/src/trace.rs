//! The trace context of one request: what arrived, what is decided about it, and what goes on to
//! the upstream (filter.md §3).

pub mod baggage;
pub mod continuation;
pub mod dsc;
pub mod header;
pub mod propagation;
pub mod redirect;
pub mod request_start;
pub mod sampling_decision;
pub mod sentry_trace;
pub mod throttle;
pub mod traceparent;
pub mod tracestate;

mod injector;
pub mod labels;
mod sampler;

use std::fmt;
use std::sync::Arc;

use crate::dsn::Dsn;
use crate::headers::{HeaderMutation, Headers, BAGGAGE};
use crate::host::HostCalls;
use crate::id::{SpanId, TraceId};
use crate::live::HeapBytes;
use crate::project::{Project, ProjectError, ProjectId, Projects};
use crate::route::{self, Naming, Targets, TransactionName};
use crate::rules::{IncomingSampled, IncomingTrace, RuleSet, Settings};
use crate::sampling::SampleRate;
use baggage::Baggage;
use continuation::RestartReason;
use dsc::Dsc;
use header::HeaderError;
use injector::Injector;
use labels::LabelsByProject;
use propagation::{ByFormat, Format, Formats};
use redirect::Carried;
use sampler::{Limit, Sampler};
use sampling_decision::SamplingDecision;
use sentry_trace::SentryTrace;
use throttle::Throttle;

/// What decides about traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOptions {
    /// Where spans go; without any the filter only validates, repairs and forwards.
    pub projects: Arc<Projects>,
    /// The path that spans are posted to, if it is not the DSN's: `transport.path`.
    pub receiver_path: Option<String>,
    /// What all traces have in common that begin here.
    pub labels: LabelsByProject,
    /// The share of new traces that is sampled; `None` is deferred mode, which is not the same
    /// as 0.
    pub traces_sample_rate: Option<SampleRate>,
    /// Whether traces are continued only if the organisation is known on both sides or on none.
    pub strict_trace_continuation: bool,
    /// Whether outside callers decide about the trace.
    pub incoming_trace: IncomingTrace,
    /// Whether outside callers decide about sampling.
    pub incoming_sampled: IncomingSampled,
    /// How many traces are recorded in a second, per worker; `None` is any number.
    pub max_traces_per_second: Option<f64>,
    /// The formats in which a trace is continued.
    pub continued: Formats,
    /// The formats in which it goes on.
    pub propagated: Formats,
    /// The URLs whose upstream gets the trace; `None` is all.
    pub trace_propagation_targets: Option<Targets>,
    /// What differs from request to request, the first first.
    pub rules: RuleSet,
    /// Whether documents tell the browser their trace, unless a rule says otherwise.
    pub server_timing: bool,
    /// Whether the client gets `baggage`.
    pub tells_baggage: bool,
    /// Whether the upstream learns when the gateway got the request.
    pub request_start_header: bool,
    /// Whether the call to the upstream has a span of its own.
    pub upstream_spans: bool,
    /// What the transaction is called, as the format of the spans has it.
    pub naming: Naming,
}

impl TraceOptions {
    /// Where spans go that no rule and no route has another project for.
    pub fn own_project(&self) -> Option<&Project> {
        self.projects.get(self.projects.own()?)
    }

    /// Its DSN.
    pub fn dsn(&self) -> Option<&Dsn> {
        self.own_project().map(|project| &*project.dsn)
    }

    /// The formats that are looked at. Those that are written are, too: they have to agree.
    fn reads(&self) -> Formats {
        self.continued.union(self.propagated)
    }
}

/// What is decided about a request's trace.
#[derive(Debug, PartialEq)]
pub struct TraceDecision {
    /// Where the trace comes from.
    pub origin: TraceOrigin,
    /// The context that the request has from here on.
    pub context: Option<SentryTrace>,
    /// The context that the upstream gets.
    pub sent: Option<SentryTrace>,
    /// The `sentry-` members that belong to it, if the response may tell them.
    pub members: Vec<u8>,
    /// What holds if Envoy turns the request into another one.
    pub carried: Carried,
    /// Whether the caller decides neither the trace nor whether it is sampled.
    pub is_untrusted: bool,
    /// The span to record, if this gateway records one.
    pub span: Option<SpanContext>,
    /// The span's name, as far as it is known without the end of the stream.
    pub transaction: Option<TransactionName>,
    /// Whether there would be a span if `max_traces_per_second` were higher.
    pub throttled: bool,
    /// Whether there would be a span if `max_live_bytes` were higher.
    pub left_out: bool,
    /// Whether more would be kept of the request if it were: a span, or what its response tells.
    pub over_budget: bool,
    /// Whether there would be a span if the trace were sampled.
    pub unsampled: bool,
    /// Why the trace is sampled or not; `None` where there is none, and after an internal redirect.
    pub sampling: Option<SamplingDecision>,
    /// The project of a request that may have a span at all: not `OPTIONS`, not one to a receiver.
    pub project: Option<ProjectId>,
    /// Why the project that a route names cannot be used.
    pub wrong_project: Option<ProjectError>,
    /// What rules say about recording it.
    pub is_ignored: Option<bool>,
    /// What was wrong with the headers that arrived.
    pub rejections: HeaderRejections,
    /// What to change so that the upstream sees the decision.
    pub mutations: Vec<HeaderMutation>,
}

/// Where the trace of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOrigin {
    /// There is none, and none was started.
    None,
    /// It arrived, in this format.
    Continued(Format),
    /// It begins here, since none arrived.
    Started,
    /// It begins here, although one arrived.
    Restarted(RestartReason),
    /// It is that of the request that Envoy has redirected internally.
    Redirected,
}

/// What was wrong with the headers of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRejections {
    /// Why the header of a format was refused.
    pub refused: ByFormat<Option<HeaderError>>,
    /// How many `baggage` members were none, and were left out when the header was written.
    pub malformed_members: u32,
    /// How many `baggage` members were too many, or too long together.
    pub dropped_members: u32,
}

/// The ids of a span that is recorded, and the DSC of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The project that the span goes to.
    pub project: ProjectId,
    /// The trace.
    pub trace_id: TraceId,
    /// The gateway's span.
    pub span_id: SpanId,
    /// The span that sent the request.
    pub parent_span_id: Option<SpanId>,
    /// The span of the call to the upstream, a child of the gateway's; `None` if there shall be
    /// none.
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

impl HeapBytes for SpanContext {
    fn heap_bytes(&self) -> usize {
        let Self {
            project: _,
            trace_id: _,
            span_id: _,
            parent_span_id: _,
            upstream_span_id: _,
            link: _,
            dsc,
        } = self;
        dsc.heap_bytes()
    }
}

/// What limits how many requests are recorded.
#[derive(Debug)]
pub struct Limits<'a> {
    /// `max_traces_per_second`.
    pub throttle: Option<&'a mut Throttle>,
    /// Whether live requests keep less than `max_live_bytes`.
    pub has_room: bool,
    /// Whether the host can send what is recorded.
    pub can_send: bool,
}

impl Limits<'_> {
    /// No limits.
    pub const NONE: Self = Self {
        throttle: None,
        has_room: true,
        can_send: true,
    };
}

/// What was decided about a request before an internal redirect made it this one.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// What holds for it.
    pub carried: &'a Carried,
    /// The place of its span, if one is recorded.
    pub span: Option<&'a SpanContext>,
}

/// Decides about one request. `before` is what was decided on an earlier trip of it.
///
/// Without a DSN, for `OPTIONS` and for the DSN's own receiver nothing begins and nothing is
/// recorded. What callers may not decide they may not decide there either. A gateway that records
/// nothing forwards a context that it continues as it is.
pub fn decide(
    headers: &Headers,
    options: &TraceOptions,
    limits: Limits<'_>,
    before: Option<Before<'_>>,
    calls: &mut HostCalls<'_>,
) -> TraceDecision {
    let baggage = Baggage::read(headers.values(BAGGAGE));
    let mut rejections = HeaderRejections::default();
    let mut extracted = ByFormat::default();
    for format in Format::ALL {
        if options.reads().contain(format) {
            match format.extract(headers) {
                Ok(Some(context)) => extracted.set(format, context),
                Ok(None) => {}
                Err(error) => rejections.refused.set(format, error),
            }
        }
    }
    let arrived = extracted
        .iter()
        .map(|(_, context)| context)
        .find(|context| options.continued.contain(context.format));
    let settings = Settings::new(&options.rules, headers, calls);
    let path = options.receiver_path.as_deref();
    let may_start = |dsn: &Dsn| route::may_start(headers, dsn, path);
    let may_start = limits.can_send
        && options
            .projects
            .iter()
            .all(|(_, project)| may_start(&project.dsn));
    let targets = options.trace_propagation_targets.as_ref();
    let is_target =
        settings.propagate != Some(false) && targets.is_none_or(|targets| targets.include(headers));
    let server_timing = match before {
        Some(before) => before.carried.server_timing,
        None => settings.server_timing.unwrap_or(options.server_timing),
    };
    let restarts =
        settings.incoming_trace.unwrap_or(options.incoming_trace) == IncomingTrace::Restart;
    let ignores_sampled = settings
        .incoming_sampled
        .unwrap_or(options.incoming_sampled)
        == IncomingSampled::Ignore;
    let has_room = limits.has_room;
    let is_ignored = settings.ignore;

    let mut sampler = Sampler {
        options,
        settings,
        restarts,
        ignores_sampled,
        headers,
        baggage: &baggage,
        may_start,
        limits,
        calls,
        metadata: None,
        project: None,
        wrong_project: None,
        why: None,
    };
    let decided = match before {
        Some(before) => sampler.resume(before),
        None => sampler.decide(
            arrived,
            rejections.refused.get(Format::SentryTrace).is_some(),
        ),
    };
    let project = match before {
        Some(before) => before.carried.project,
        None => sampler.starts().map(|(id, _)| id),
    };
    let (why, wrong_project) = (sampler.why, sampler.wrong_project);
    let injector = Injector {
        headers,
        baggage: &baggage,
        traceparent: extracted.get(Format::Traceparent),
        is_target,
        written: options.propagated,
        // Where there is none to write, a `sentry-trace` that arrived is none of the trace.
        dropped: Formats::SENTRY.union(match before {
            // The first trip has taken the caller's away; what stands there now is this filter's own.
            Some(_) if is_target => Formats::default(),
            Some(_) => options.propagated,
            None if restarts => Formats::ALL,
            None => Formats::default(),
        }),
    };
    // The upstream's parent is the call to it, the client's response tells the gateway's own span.
    let sent = decided.context.map(|context| SentryTrace {
        span_id: match &decided.span {
            Some(span) => span.upstream_parent(),
            None => context.span_id,
        },
        ..context
    });
    let mutations = injector.mutations(sent, &decided.members, &mut rejections);
    let tells_members = decided.context.is_some() && (server_timing || options.tells_baggage);
    let withholds = decided.context.is_some() && !is_target;
    TraceDecision {
        origin: decided.origin,
        context: decided.context,
        sent: sent.filter(|_| is_target),
        members: match tells_members && has_room {
            true => injector.members_alone(&decided.members),
            false => Vec::new(),
        },
        carried: Carried {
            context: decided.context,
            withheld: (withholds && has_room).then(|| {
                let mut members = injector.members_alone(&decided.members);
                members.shrink_to_fit();
                members
            }),
            server_timing,
            project,
        },
        is_untrusted: restarts || ignores_sampled,
        span: decided.span,
        transaction: decided.transaction,
        throttled: decided.limit == Some(Limit::TracesPerSecond),
        left_out: decided.limit == Some(Limit::LiveBytes),
        over_budget: decided.limit == Some(Limit::LiveBytes)
            || (!has_room && (tells_members || withholds)),
        unsampled: project.is_some()
            && decided.limit.is_none()
            && decided
                .context
                .is_some_and(|context| context.sampled == Some(false)),
        sampling: why,
        project,
        wrong_project,
        is_ignored,
        rejections,
        mutations,
    }
}

/// The decision as a line for the log.
impl fmt::Display for TraceDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            TraceOrigin::None => f.write_str("no trace")?,
            TraceOrigin::Continued(format) => write!(f, "trace continued from {}", format.name())?,
            TraceOrigin::Started => f.write_str("trace started")?,
            TraceOrigin::Restarted(restart) => write!(f, "trace restarted ({})", restart.reason())?,
            TraceOrigin::Redirected => f.write_str("trace of the request before the redirect")?,
        }
        for (format, error) in self.rejections.refused.iter() {
            write!(f, ", {} refused ({error})", format.name())?;
        }
        match self.sent {
            Some(sent) => write!(
                f,
                ", upstream gets {}",
                String::from_utf8_lossy(&sent.to_value())
            )?,
            None => f.write_str(", upstream gets none")?,
        }
        f.write_str(match (&self.span, self.throttled, self.left_out) {
            (Some(_), ..) => ", span recorded",
            (None, true, _) => ", span left out by max_traces_per_second",
            (None, _, true) => ", span left out by max_live_bytes",
            (None, false, false) => ", no span",
        })
    }
}

#[cfg(test)]
mod tests;
