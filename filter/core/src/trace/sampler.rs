//! The decision itself: whether a trace goes on or begins, whether it is sampled, and the ids of
//! what is recorded (filter.md §3).

use std::borrow::Cow;

use super::baggage::{Baggage, Change, SentryMembers};
use super::continuation::{self, RestartReason};
use super::dsc::{Dsc, Head, Labels};
use super::propagation::{Extracted, Format};
use super::redirect::Carried;
use super::sampling_decision::{SamplingDecision, SetBy};
use super::sentry_trace::SentryTrace;
use super::{Before, Limits, SpanContext, TraceOptions, TraceOrigin};
use crate::attribute::Attribute;
use crate::dsn::normalize_org_id;
use crate::headers::Headers;
use crate::host::HostCalls;
use crate::id::{SpanId, TraceId};
use crate::method::Method;
use crate::project::{ProjectError, ProjectId};
use crate::route::TransactionName;
use crate::route_metadata::RouteMetadata;
use crate::rules::Settings;
use crate::sampling::{bool_str, SampleRand, SampleRate};

/// A decision before it is written into headers.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) origin: TraceOrigin,
    /// What the upstream is to read in `sentry-trace`, but for the span's id if a call to it is
    /// recorded.
    pub(super) context: Option<SentryTrace>,
    /// What it is to read in the `sentry-` members of `baggage`.
    pub(super) members: SentryMembers,
    pub(super) span: Option<SpanContext>,
    pub(super) transaction: Option<TransactionName>,
    pub(super) limit: Option<Limit>,
}

/// What a span is left out for that would else be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// `max_traces_per_second`.
    TracesPerSecond,
    /// `max_live_bytes`.
    LiveBytes,
}

/// Everything that a decision depends on.
pub(super) struct Sampler<'a, 's> {
    pub(super) options: &'a TraceOptions,
    pub(super) settings: Settings,
    /// Whether callers decide about no trace: `incoming.trace` is `restart`.
    pub(super) restarts: bool,
    /// Whether callers do not decide what is sampled: `incoming.sampled` is `ignore`.
    pub(super) ignores_sampled: bool,
    pub(super) headers: &'a Headers,
    pub(super) baggage: &'a Baggage<'a>,
    /// Whether a trace may begin and a span be recorded, if there is a project. Whether callers are
    /// trusted does not depend on it.
    pub(super) may_start: bool,
    pub(super) limits: Limits<'a>,
    pub(super) calls: &'a mut HostCalls<'s>,
    /// Asked for at most once, and only where it decides something.
    pub(super) metadata: Option<RouteMetadata>,
    /// The project that the request belongs to, once that was asked.
    pub(super) project: Option<Option<ProjectId>>,
    /// Why the project that its route names cannot be used.
    pub(super) wrong_project: Option<ProjectError>,
    /// What was decided from, where something was.
    pub(super) why: Option<SamplingDecision>,
}

/// Whether a span is recorded, and what the head of a trace says about it.
#[derive(Debug, Clone, Copy)]
struct Sampling {
    /// `None` in deferred mode.
    rate: Option<SampleRate>,
    rand: SampleRand,
    sampled: Option<bool>,
    limit: Option<Limit>,
}

impl<'a> Sampler<'a, '_> {
    /// What becomes of a request with the context that arrived.
    pub(super) fn decide(&mut self, arrived: Option<Extracted>, was_refused: bool) -> Decided {
        let refused = was_refused.then_some(RestartReason::Refused);
        let decided = match (arrived, self.restart(arrived)) {
            (Some(arrived), None) => match arrived.format {
                Format::SentryTrace => Some(self.continue_trace(arrived.context)),
                Format::Traceparent => self.adopt(arrived),
            },
            (arrived, restart) => self.start(restart.or(refused), arrived),
        };
        // No trace arrived, and none begins: `sentry-` members count only with the context they
        // belong to (filter.md §3.3).
        decided.unwrap_or(Decided {
            origin: TraceOrigin::None,
            context: None,
            members: SentryMembers::Replaced(Vec::new()),
            span: None,
            transaction: None,
            limit: None,
        })
    }

    /// The request is one that an internal redirect has made: it was decided about before.
    pub(super) fn resume(&mut self, before: Before<'_>) -> Decided {
        let Carried {
            context,
            withheld,
            server_timing: _,
            project: _,
        } = before.carried;
        let members = match (context, withheld) {
            (None, _) => SentryMembers::Replaced(Vec::new()),
            (Some(_), Some(members)) => SentryMembers::Replaced(members.clone()),
            // The request carries them.
            (Some(_), None) => SentryMembers::Kept,
        };
        Decided {
            origin: TraceOrigin::Redirected,
            context: *context,
            members,
            span: before.span.map(|span| SpanContext {
                upstream_span_id: self.upstream_span_id(span.span_id),
                ..span.clone()
            }),
            transaction: None,
            limit: None,
        }
    }

    /// Why a context that arrived is not continued, also where no trace begins in its place.
    fn restart(&mut self, arrived: Option<Extracted>) -> Option<RestartReason> {
        let arrived = arrived?;
        if self.restarts {
            return Some(RestartReason::Configured);
        }
        // Without a project the request belongs to no organisation.
        let own = self.project().map(|(id, _)| id);
        let baggage = self.baggage;
        let org_id = match arrived.format {
            Format::SentryTrace => sentry_member(baggage, "org_id")
                .map(|org_id| normalize_org_id(org_id).unwrap_or(org_id)),
            // The members belong to no context.
            Format::Traceparent => None,
        };
        let options = self.options;
        let is_strict = options.strict_trace_continuation;
        let continues = |id: ProjectId| {
            let project = options.projects.get(id);
            let org_id_of_project = project.and_then(|project| project.org_id.as_deref());
            continuation::continues(org_id, org_id_of_project, is_strict)
        };
        // By the way in which they spell a path callers must not choose whose traces are continued.
        let by_rules = self.metadata.as_ref().is_none_or(|it| it.project.is_none());
        let possible = self.settings.possible_projects.iter().filter(|_| by_rules);
        let mut possible = possible.filter_map(|id| id.unwrap_or(options.projects.own()));
        let all_continue = own.is_none_or(continues) && possible.all(continues);
        (!all_continue).then_some(RestartReason::Organisation)
    }

    fn continue_trace(&mut self, value: SentryTrace) -> Decided {
        let belongs = self.belongs_to(value.trace_id);
        let mut dsc = match belongs {
            true => Dsc::frozen(self.baggage.sentry()),
            false => Dsc::default(),
        };
        let mut context = value;
        let (sampling, changes) = if self.ignores_sampled {
            // Not derived from the trace id, which the caller has chosen.
            let rand = self.random_sample_rand();
            let sampling = self.sample(None, rand);
            context.sampled = sampling.sampled;
            (sampling, sampling.changes())
        } else {
            let rand = dsc
                .get("sample_rand")
                .and_then(SampleRand::parse)
                .unwrap_or_else(|| SampleRand::from_trace_id(value.trace_id));
            let sampling = match self.starts() {
                Some(_) => self.sample(value.sampled, rand),
                None => Sampling::deferred(rand),
            };
            let changes = match value.sampled {
                // The head of the trace left the decision to others, so nobody knows their rate.
                None => sampling.applied_rate(),
                Some(_) => Vec::new(),
            };
            // A decision that was ours to take, and that we could not afford to be a yes.
            if value.sampled.is_none() && sampling.limit.is_some() {
                context.sampled = Some(false);
            }
            (sampling, changes)
        };
        let changes = match dsc.is_empty() {
            true => Vec::new(),
            false => changes,
        };
        dsc.change(&changes);
        let span = self.record(sampling, value.trace_id, Some(value.span_id), || dsc);
        if let Some(span) = &span {
            context.span_id = span.span_id;
            context.sampled = Some(true);
        }
        Decided {
            origin: TraceOrigin::Continued(Format::SentryTrace),
            // Without a change of the flag it goes on as it came.
            members: match belongs {
                false => SentryMembers::Replaced(Vec::new()),
                true if changes.is_empty()
                    || context.sampled == value.sampled && !self.ignores_sampled =>
                {
                    SentryMembers::Kept
                }
                true => SentryMembers::Changed(changes),
            },
            context: Some(context),
            transaction: span.is_some().then(|| self.transaction(true)).flatten(),
            span,
            limit: sampling.limit,
        }
    }

    /// Continues a trace of others': its ids and, if it says that it is sampled, its decision. For
    /// Sentry the trace begins here, since nobody has written a DSC (sentry-protocol.md §2.7, first
    /// row).
    fn adopt(&mut self, arrived: Extracted) -> Option<Decided> {
        let (_, labels) = self.starts()?;
        let value = arrived.context;
        let inherits = !self.ignores_sampled;
        let incoming = value.sampled.filter(|_| inherits);
        let rand = match inherits {
            true => SampleRand::from_trace_id(value.trace_id),
            false => self.random_sample_rand(),
        };
        let sampling = self.sample(incoming, rand);
        let sampled = incoming.or(sampling.sampled);
        let transaction = sampled.and_then(|sampled| self.transaction(sampled));
        let name = transaction.as_ref().map(|it| self.segment_name(it));
        let head = Self::head(labels, value.trace_id, sampling, incoming, name);
        let (members, dsc) = (head.to_members(), || Dsc::head(&head));
        let span = self.record(sampling, value.trace_id, Some(value.span_id), dsc);
        Some(Decided {
            origin: TraceOrigin::Continued(arrived.format),
            context: Some(SentryTrace {
                trace_id: value.trace_id,
                span_id: span.as_ref().map_or(value.span_id, |span| span.span_id),
                sampled,
            }),
            members: SentryMembers::Replaced(members),
            span,
            transaction,
            limit: sampling.limit,
        })
    }

    /// `None` if there is no DSN, or no randomness to make ids of.
    fn start(
        &mut self,
        restart: Option<RestartReason>,
        arrived: Option<Extracted>,
    ) -> Option<Decided> {
        let (project, labels) = self.starts()?;
        let mut bytes = [0; 16];
        let trace_id = self
            .calls
            .fill_random(&mut bytes)
            .then(|| TraceId::from_bytes(bytes))??;
        let span_id = self.new_span_id()?;
        let sampling = self.sample(None, SampleRand::from_trace_id(trace_id));
        // In deferred mode there is no transaction to name (sentry-protocol.md §3.4).
        let sampled = sampling.sampled;
        let transaction = sampled.and_then(|sampled| self.transaction(sampled));
        let name = transaction.as_ref().map(|it| self.segment_name(it));
        let head = Self::head(labels, trace_id, sampling, None, name);
        let members = SentryMembers::Replaced(head.to_members());
        let span = (sampling.sampled == Some(true)).then(|| SpanContext {
            project,
            trace_id,
            span_id,
            parent_span_id: None,
            upstream_span_id: self.upstream_span_id(span_id),
            link: arrived.map(|arrived| arrived.context),
            dsc: Dsc::head(&head),
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
            limit: sampling.limit,
        })
    }

    /// The matrix of sentry-protocol.md §3.2. An incoming decision wins over the rate, even over a
    /// rate of 0; without a rate (deferred mode) nothing is recorded.
    fn sample(&mut self, incoming: Option<bool>, rand: SampleRand) -> Sampling {
        let mut sampling = Sampling::deferred(rand);
        let why = self.why.insert(SamplingDecision {
            inherited: incoming,
            ignores_incoming: self.ignores_sampled,
            sample_rand: rand,
            rates: [None; SetBy::ALL.len()],
            ignored_by: None,
        });
        if incoming == Some(false) {
            return sampling;
        }
        let calls = &mut self.calls;
        let metadata = self.metadata.get_or_insert_with(|| calls.route_metadata());
        why.ignored_by = match (metadata.ignore, self.settings.ignore) {
            (Some(true), _) => Some(SetBy::Route),
            (None, Some(true)) => Some(SetBy::Rule),
            _ => None,
        };
        why.rates = [
            metadata.traces_sample_rate,
            self.settings.traces_sample_rate,
            self.options.traces_sample_rate,
        ];
        let [route, rule, top_level] = why.rates;
        let Some(rate) = route.or(rule).or(top_level) else {
            return sampling;
        };
        let is_ignored = why.ignored_by.is_some();
        let wanted = !is_ignored && incoming.unwrap_or_else(|| rand.is_sampled_at(rate));
        // Limits are for what is recorded here.
        if wanted && self.starts().is_some() {
            sampling.limit = self.limit();
        }
        sampling.sampled = Some(wanted && sampling.limit.is_none());
        // What is left out for another reason than the rate was sampled at a rate of nothing, or
        // `sample_rand < sample_rate` would say something else than `sampled`.
        sampling.rate = Some(if is_ignored || sampling.limit.is_some() {
            SampleRate::ZERO
        } else {
            rate
        });
        sampling
    }

    /// Which limit another recorded request would exceed.
    fn limit(&mut self) -> Option<Limit> {
        if !self.limits.has_room {
            return Some(Limit::LiveBytes);
        }
        let throttle = self.limits.throttle.as_mut()?;
        let is_admitted = throttle.admit(self.calls.now_ns());
        (!is_admitted).then_some(Limit::TracesPerSecond)
    }

    fn record(
        &mut self,
        sampling: Sampling,
        trace_id: TraceId,
        parent_span_id: Option<SpanId>,
        dsc: impl FnOnce() -> Dsc,
    ) -> Option<SpanContext> {
        let (project, _) = self.starts()?;
        let span_id = (sampling.sampled == Some(true)).then(|| self.new_span_id())??;
        Some(SpanContext {
            project,
            trace_id,
            span_id,
            parent_span_id,
            upstream_span_id: self.upstream_span_id(span_id),
            link: None,
            dsc: dsc(),
        })
    }

    /// The id of the call to the upstream, if such calls are recorded. A host whose random bytes
    /// are always the same gets no second span.
    fn upstream_span_id(&mut self, span_id: SpanId) -> Option<SpanId> {
        let id = self.options.upstream_spans.then(|| self.new_span_id())?;
        id.filter(|id| *id != span_id)
    }

    /// The DSC of a trace that begins here, as far as Sentry is concerned. `inherited` is a
    /// decision that others took, at a rate that nobody knows.
    fn head<'h>(
        labels: &'h Labels,
        trace_id: TraceId,
        sampling: Sampling,
        inherited: Option<bool>,
        transaction: Option<Cow<'h, str>>,
    ) -> Head<'h> {
        let sampled = inherited.or(sampling.sampled);
        Head {
            trace_id,
            labels,
            sample_rand: sampling.rand,
            sample_rate: sampling.rate.filter(|_| inherited.is_none()),
            sampled,
            transaction,
        }
    }

    /// What the segment will be called.
    fn segment_name<'t>(&self, transaction: &'t TransactionName) -> Cow<'t, str> {
        transaction.of_segment(self.options.naming, Method::read(self.headers))
    }

    /// The name that the route's metadata, a rule or the route itself gives; never the path. The
    /// route is asked only for what is sampled: it costs a call to the host, and the name of
    /// nothing is read by nobody.
    fn transaction(&mut self, is_sampled: bool) -> Option<TransactionName> {
        let name = self.metadata().transaction.clone();
        let name = name.or_else(|| self.settings.transaction.clone());
        match is_sampled {
            true => name
                .or_else(|| TransactionName::from_route(&self.calls.text(Attribute::RouteName)?)),
            false => name,
        }
    }

    /// The project, if a trace may begin and a span be recorded.
    pub(super) fn starts(&mut self) -> Option<(ProjectId, &'a Labels)> {
        match self.may_start {
            true => self.project(),
            false => None,
        }
    }

    /// The project that the request belongs to: its route's, else that of the first rule that names
    /// one, else the configuration's own.
    fn project(&mut self) -> Option<(ProjectId, &'a Labels)> {
        let projects = &self.options.projects;
        if projects.is_empty() {
            return None;
        }
        let id = match self.project {
            Some(known) => known,
            None => {
                let found = match &self.metadata().project {
                    Some(name) => projects.find(name),
                    None => Ok(self.settings.project.unwrap_or(projects.own())),
                };
                self.wrong_project = found.err();
                *self.project.insert(found.unwrap_or_default())
            }
        }?;
        let labels = self.options.labels.of(id, projects.get(id)?)?;
        Some((id, labels))
    }

    fn metadata(&mut self) -> &RouteMetadata {
        let calls = &mut self.calls;
        self.metadata.get_or_insert_with(|| calls.route_metadata())
    }

    /// Whether the `sentry-` members are those of this trace. Without a `trace_id` of their own
    /// they are taken as such (filter.md §11).
    fn belongs_to(&self, trace_id: TraceId) -> bool {
        self.baggage
            .sentry()
            .filter(|(key, _)| *key == "trace_id")
            .all(|(_, value)| TraceId::from_hex(value.as_bytes()) == Ok(trace_id))
    }

    fn random_sample_rand(&mut self) -> SampleRand {
        let mut bytes = [0; 8];
        // Without random bytes the number that is sampled least: what cannot be drawn must not cost
        // quota.
        match self.calls.fill_random(&mut bytes) {
            true => SampleRand::from_random(bytes),
            false => SampleRand::MAX,
        }
    }

    fn new_span_id(&mut self) -> Option<SpanId> {
        let mut bytes = [0; 8];
        self.calls
            .fill_random(&mut bytes)
            .then(|| SpanId::from_bytes(bytes))?
    }
}

fn sentry_member<'b>(baggage: &'b Baggage<'_>, name: &str) -> Option<&'b str> {
    baggage
        .sentry()
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .last()
}

impl Sampling {
    /// The decision is left to others.
    fn deferred(rand: SampleRand) -> Self {
        Self {
            rate: None,
            rand,
            sampled: None,
            limit: None,
        }
    }

    /// The rate that a DSC lacks whose trace came without a decision.
    fn applied_rate(self) -> Vec<Change> {
        let rate = self.rate.map(SampleRate::text);
        rate.map(|rate| ("sample_rate", Some(rate)))
            .into_iter()
            .collect()
    }

    /// What becomes ours in a DSC whose decision does not count.
    fn changes(self) -> Vec<Change> {
        vec![
            (
                "sampled",
                self.sampled.map(|sampled| bool_str(sampled).into()),
            ),
            ("sample_rate", self.rate.map(SampleRate::text)),
            ("sample_rand", Some(self.rand.text().into())),
        ]
    }
}
