//! What the upstream gets to see of a decision: as few header changes as that takes.

use super::baggage::{Baggage, SentryMembers};
use super::propagation::{Extracted, Format, Formats};
use super::sentry_trace::SentryTrace;
use super::{tracestate, HeaderRejections};
use crate::headers::{HeaderMutation, Headers, BAGGAGE, TRACESTATE};

/// Names that services behind a CGI-like interface cannot tell from `sentry-trace`: there a dash is
/// an underscore (RFC 3875, §4.1.18), and for PHP a dot is one, too.
const MERGE_WITH_SENTRY_TRACE: [&str; 2] = ["sentry_trace", "sentry.trace"];

/// The request as it arrived, and who is to see the decision.
pub(super) struct Injector<'a> {
    pub(super) headers: &'a Headers,
    pub(super) baggage: &'a Baggage<'a>,
    pub(super) traceparent: Option<Extracted>,
    /// Whether the upstream is to get the trace.
    pub(super) is_target: bool,
    /// The formats that are ours to write.
    pub(super) written: Formats,
    /// Of the others, those that are removed.
    pub(super) dropped: Formats,
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
        for format in Format::ALL {
            let written = context.filter(|_| self.written.contain(format));
            match written {
                Some(context) => mutations.extend(self.context(format, context)),
                None if self.dropped.contain(format) => {
                    mutations.extend(self.without(format.name()))
                }
                None => {}
            }
            match format {
                Format::SentryTrace => {
                    mutations.extend(
                        MERGE_WITH_SENTRY_TRACE
                            .iter()
                            .filter_map(|name| self.without(name)),
                    );
                    mutations.extend(match self.is_target {
                        true => self.baggage(members, rejections),
                        false => self.baggage(&SentryMembers::Replaced(Vec::new()), rejections),
                    });
                }
                Format::Traceparent => mutations.extend(self.tracestate(written)),
            }
        }
        mutations
    }

    /// The `sentry-` members as one list, without those of others.
    pub(super) fn members_alone(&self, members: &SentryMembers) -> Vec<u8> {
        self.baggage.write_sentry(members)
    }

    /// The header of a format, unless it arrived as one line that says so.
    fn context(&self, format: Format, context: SentryTrace) -> Option<HeaderMutation> {
        let is_random = self.same_trace(context).is_some_and(|it| it.is_random);
        let value = format.inject(context, is_random);
        let arrived = self.headers.values(format.name());
        (!arrived.eq([value.as_slice()])).then(|| set(format.name(), value))
    }

    /// The `traceparent` that arrived, if it is one of the same trace.
    fn same_trace(&self, context: SentryTrace) -> Option<Extracted> {
        self.traceparent
            .filter(|arrived| arrived.context.trace_id == context.trace_id)
    }

    fn without(&self, name: &'static str) -> Option<HeaderMutation> {
        let arrived = self.headers.value(name);
        arrived.map(|_| HeaderMutation::Remove { name })
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

    /// A `tracestate` goes on only beside a `traceparent` of the trace it came with
    /// (sentry-protocol.md §5.4).
    fn tracestate(&self, written: Option<SentryTrace>) -> Option<HeaderMutation> {
        let keeps = match written {
            Some(context) => {
                self.same_trace(context).is_some()
                    && tracestate::is_valid(self.headers.values(TRACESTATE))
            }
            None => !self.dropped.contain(Format::Traceparent),
        };
        match keeps {
            true => None,
            false => self.without(TRACESTATE),
        }
    }
}

fn set(name: &'static str, value: Vec<u8>) -> HeaderMutation {
    HeaderMutation::Set { name, value }
}
