//! What is posted when, and what comes back.

use super::destination::{Destination, Ending};
use crate::envelope::{Category, EncodedSegment};
use crate::export::callout::Callout;
use crate::export::delivery::{CalloutResponse, Delivery, DiscardReason};
use crate::export::failure::Failure;
use crate::export::metrics::Metric;
use crate::export::shared_limit::SharedLimit;
use crate::host::HostError;

/// How long a report waits for something to ride on.
const REPORT_INTERVAL_NS: u64 = 60_000_000_000;
/// How many POSTs may be under way when nothing is left to wait for: as many as
/// `transport.max_in_flight` can be.
const MAX_LAST_POSTS: usize = 1_024;

impl Destination {
    /// Whether enough waits to be sent without waiting for a tick.
    pub(super) fn is_full_batch(&self) -> bool {
        self.queue.is_full_batch(self.scope())
    }

    /// Whether a POST may be made of what waits, where so many may be under way.
    pub(super) fn is_ready(&self, max_in_flight: usize, now_ns: u64) -> bool {
        let has_slot = match self.ending {
            Some(Ending::Last) => self.transport.in_flight() < MAX_LAST_POSTS,
            _ => self.queue.has_slot(max_in_flight),
        };
        has_slot && self.transport.is_ready(now_ns)
    }

    /// The next thing to post, if anything waits and there is room for it.
    pub(super) fn next_callout(&mut self, now_ns: u64, host_ns: u64) -> Option<Callout> {
        if self.report_due_ns == 0 {
            self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        }
        let format = self.config.transport.format;
        let segments = self.take_wanted(now_ns);
        let is_due = now_ns >= self.report_due_ns;
        if segments.is_empty() && !is_due {
            return None;
        }
        // Where spans are no envelopes, error events and what comes alone still are.
        let is_envelope = match segments.first() {
            Some(segment) => segment.is_event() || format.carries_reports(),
            None => self.sends_envelopes(),
        };
        let report = is_envelope.then(|| self.report.take()).flatten();
        if segments.is_empty() && report.is_none() {
            return None;
        }
        self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        let body = format.body(&segments, report.as_ref(), self.resource()?, host_ns);
        Some(self.transport.callout(segments, report, body))
    }

    pub(super) fn on_posted(&mut self, callout: Callout, token: u32, now_ns: u64) {
        let quantity = callout.quantity();
        self.change([Metric::SpansQueued, Metric::EventsQueued], quantity, -1);
        self.change([Metric::SpansInFlight, Metric::EventsInFlight], quantity, 1);
        let replaced = self.transport.posted(token, callout, now_ns);
        self.complete_all(replaced, now_ns);
    }

    /// `random` spreads the next tries of the workers.
    pub(super) fn on_not_posted(
        &mut self,
        callout: Callout,
        error: HostError,
        now_ns: u64,
        random: u64,
    ) {
        if error != HostError::Unavailable {
            self.failures.failed(now_ns);
            self.say_failure(Failure::not_posted(error), now_ns);
        }
        self.metrics.add(Metric::Callouts(Delivery::NotTaken), 1);
        self.queue.put_back(callout.segments);
        self.report.merge(callout.report.unwrap_or_default());
        self.transport.not_posted(now_ns, random);
        if self.ending.is_some() {
            self.discard_waiting(DiscardReason::NetworkError);
        }
    }

    pub(super) fn on_response(
        &mut self,
        token: u32,
        response: &mut CalloutResponse<'_>,
        host_ns: u64,
        now_ns: u64,
        random: u64,
    ) {
        let transport = &mut self.transport;
        let completed = transport.completed(token, response, host_ns, now_ns, random);
        if let Some(completed) = completed {
            self.complete(completed, now_ns);
            self.note_posts();
            self.obey_limit(now_ns);
        }
    }

    /// Whether the receiver gets envelopes, be it those of error events alone.
    fn sends_envelopes(&self) -> bool {
        self.config.transport.format.carries_reports() || self.config.capture_failures.is_some()
    }

    fn obey_limit(&mut self, now_ns: u64) {
        let mut categories = self.transport.categories().iter();
        // What is of one category is discarded when its turn comes.
        if categories.all(|category| self.transport.is_closed(*category, now_ns)) {
            self.discard_waiting(DiscardReason::RatelimitBackoff);
        }
    }

    /// The next that may go together and of which the receiver wants some.
    fn take_wanted(&mut self, now_ns: u64) -> Vec<EncodedSegment> {
        loop {
            let segments = self.queue.take(self.scope());
            let category = segments.first().map(EncodedSegment::category);
            if !category.is_some_and(|category| self.transport.is_closed(category, now_ns)) {
                return segments;
            }
            self.queue.release(&segments);
            let lost = segments.iter().map(EncodedSegment::quantity).sum();
            self.discard_queued(DiscardReason::RatelimitBackoff, lost);
        }
    }

    /// The limit that the last response has set, for the other workers, once.
    pub(super) fn limit_to_share(&mut self, host_ns: u64) -> Option<(Category, SharedLimit)> {
        let (category, seconds) = self.transport.take_said_s()?;
        let limit = SharedLimit::new(host_ns, seconds);
        if let Some(shared) = self.shared_limits.get_mut(category as usize) {
            *shared = Some(limit);
        }
        Some((category, limit))
    }

    /// What was told before counts once: it is told again when the clock was set back.
    pub(super) fn on_shared_limit(
        &mut self,
        category: Category,
        number: u64,
        host_ns: u64,
        now_ns: u64,
    ) {
        let limit = SharedLimit::told(number);
        let left_ns = limit.left_ns(host_ns);
        if left_ns == 0 {
            return;
        }
        let known = self.shared_limits.get_mut(category as usize);
        if known.is_some_and(|known| known.replace(limit) != Some(limit)) {
            self.transport
                .close_until(category, now_ns.saturating_add(left_ns));
            self.obey_limit(now_ns);
        }
    }

    /// Whether something of what is sent has to wait.
    pub(super) fn is_limited_at(&self, now_ns: u64) -> bool {
        let mut categories = self.transport.categories().iter();
        categories.any(|category| self.transport.is_closed(*category, now_ns))
    }
}
