//! What the upstream gets to see of a decision: as few header changes as that takes.

use super::baggage::{Baggage, SentryMembers};
use super::sentry_trace::SentryTrace;
use super::traceparent::Traceparent;
use super::{tracestate, HeaderRejections};
use crate::headers::{HeaderMutation, Headers, BAGGAGE, SENTRY_TRACE, TRACEPARENT, TRACESTATE};

/// Names that services behind a CGI-like interface cannot tell from `sentry-trace`: there a dash is
/// an underscore (RFC 3875, §4.1.18), and for PHP a dot is one, too.
const MERGE_WITH_SENTRY_TRACE: [&str; 2] = ["sentry_trace", "sentry.trace"];

/// The request as it arrived, and who is to see the decision.
pub(super) struct Injector<'a> {
    pub(super) headers: &'a Headers,
    pub(super) baggage: &'a Baggage<'a>,
    pub(super) incoming_traceparent: Option<Traceparent>,
    /// Whether the `sentry-trace` that arrived is one line in its canonical form.
    pub(super) is_canonical: bool,
    /// Whether the upstream is to get the trace.
    pub(super) is_target: bool,
    /// Whether `traceparent` is ours to write.
    pub(super) writes_traceparent: bool,
    /// Whether a `traceparent` and a `tracestate` that are not written anew are removed.
    pub(super) drops_w3c: bool,
}

impl Injector<'_> {
    /// The changes that make the request say `context` and `members`.
    /// What does not fit into `baggage`, or is no member of it, is noted.
    pub(super) fn mutations(
        &self,
        context: Option<SentryTrace>,
        members: &SentryMembers,
        rejections: &mut HeaderRejections,
    ) -> Vec<HeaderMutation> {
        let mut mutations = Vec::new();
        let context = context.filter(|_| self.is_target);
        mutations.extend(self.sentry_trace(context));
        mutations.extend(self.merging());
        mutations.extend(match self.is_target {
            true => self.baggage(members, rejections),
            false => self.baggage(&SentryMembers::Replaced(Vec::new()), rejections),
        });
        match context.filter(|_| self.writes_traceparent) {
            Some(context) => self.w3c(context, &mut mutations),
            None if self.drops_w3c => {
                let arrived = [TRACEPARENT, TRACESTATE].into_iter();
                let arrived = arrived.filter(|name| self.headers.value(name).is_some());
                mutations.extend(arrived.map(|name| HeaderMutation::Remove { name }));
            }
            None => {}
        }
        mutations
    }

    /// The `sentry-` members as one list, without those of others.
    pub(super) fn members_alone(&self, members: &SentryMembers) -> Vec<u8> {
        self.baggage.write_sentry(members)
    }

    fn sentry_trace(&self, context: Option<SentryTrace>) -> Option<HeaderMutation> {
        let arrived = self.headers.value(SENTRY_TRACE);
        match context.map(SentryTrace::to_value) {
            Some(value) if self.is_canonical && arrived == Some(&value) => None,
            Some(value) => Some(set(SENTRY_TRACE, value)),
            None => arrived.map(|_| HeaderMutation::Remove { name: SENTRY_TRACE }),
        }
    }

    /// Headers that CGI, WSGI and PHP give to a service as `HTTP_SENTRY_TRACE`, in the place of
    /// ours.
    fn merging(&self) -> impl Iterator<Item = HeaderMutation> + '_ {
        let arrived = MERGE_WITH_SENTRY_TRACE.into_iter();
        let arrived = arrived.filter(|name| self.headers.value(name).is_some());
        arrived.map(|name| HeaderMutation::Remove { name })
    }

    fn baggage(
        &self,
        members: &SentryMembers,
        rejections: &mut HeaderRejections,
    ) -> Option<HeaderMutation> {
        let changes = match members {
            SentryMembers::Kept => false,
            SentryMembers::Changed(_) => true,
            SentryMembers::Replaced(members) => self.baggage.has_sentry() || !members.is_empty(),
        };
        if !changes && !self.baggage.is_over_limits() && !self.baggage.is_ambiguous() {
            return None;
        }
        let written = self.baggage.write(members);
        rejections.malformed_members = self.baggage.malformed();
        rejections.dropped_members = written.too_many;
        Some(match written.value {
            Some(value) => set(BAGGAGE, value),
            None => HeaderMutation::Remove { name: BAGGAGE },
        })
    }

    /// `traceparent` agrees with `sentry-trace`; a `tracestate` goes on only beside the trace it
    /// came with (sentry-protocol.md §5.4).
    fn w3c(&self, context: SentryTrace, mutations: &mut Vec<HeaderMutation>) {
        let same_trace = self
            .incoming_traceparent
            .filter(|incoming| incoming.trace_id == context.trace_id);
        let value = Traceparent {
            random: same_trace.is_some_and(|incoming| incoming.random),
            ..Traceparent::from(context)
        }
        .to_value();
        let arrived = self.headers.values(TRACEPARENT);
        if !arrived.eq([value.as_slice()]) {
            mutations.push(set(TRACEPARENT, value));
        }
        let states = self.headers.values(TRACESTATE);
        let keeps = same_trace.is_some() && tracestate::is_valid(states.clone());
        if !keeps && states.count() > 0 {
            mutations.push(HeaderMutation::Remove { name: TRACESTATE });
        }
    }
}

fn set(name: &'static str, value: Vec<u8>) -> HeaderMutation {
    HeaderMutation::Set { name, value }
}
