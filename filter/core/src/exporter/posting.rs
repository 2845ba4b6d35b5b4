//! What is posted when, and what comes back.

use super::ending::Ending;
use super::Exporter;
use crate::envelope::{BatchScope, Category, EncodedSegment};
use crate::export::callout::Callout;
use crate::export::delivery::{CalloutResponse, Delivery, DiscardReason};
use crate::export::failure::Failure;
use crate::export::metrics::Metric;
use crate::export::shared_limit::SharedLimit;
use crate::export::transport::Transport;
use crate::host::HostError;

/// How long a report waits for something to ride on.
const REPORT_INTERVAL_NS: u64 = 60_000_000_000;
/// How many POSTs may be under way when nothing is left to wait for: as many as
/// `transport.max_in_flight` can be.
const MAX_LAST_POSTS: usize = 1_024;

impl Exporter {
    /// Whether enough waits to be sent without waiting for a tick, and could be sent as of the last
    /// stream's end.
    pub(crate) fn is_full_batch(&self) -> bool {
        let scope = self.config.transport.format.batch_scope();
        self.queue.is_full_batch(scope) && self.is_ready(self.ended_ns)
    }

    /// Whether what waits goes on its way as soon as a response has made room. What goes together
    /// waits for a tick or a full batch instead: a receiver that answers quickly would otherwise
    /// get many small POSTs, which cost more than the spans in them.
    pub(crate) fn follows_responses(&self) -> bool {
        let scope = self.config.transport.format.batch_scope();
        self.ending.is_some() || scope != BatchScope::Any || self.is_full_batch()
    }

    pub(super) fn is_ready(&self, now_ns: u64) -> bool {
        let Some(transport) = &self.transport else {
            return false;
        };
        let has_slot = match self.ending {
            Some(Ending::Last) => transport.in_flight() < MAX_LAST_POSTS,
            _ => self.queue.has_slot(self.max_in_flight),
        };
        has_slot && transport.is_ready(now_ns)
    }

    /// The next thing to post, if anything waits and there is room for it.
    pub(crate) fn next_callout(&mut self, host_ns: u64) -> Option<Callout> {
        let now_ns = self.clock.advance(host_ns);
        if !self.is_ready(now_ns) {
            return None;
        }
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
        let body = format.body(&segments, report.as_ref(), &self.config.resource, host_ns);
        let transport = self.transport.as_ref()?;
        Some(transport.callout(segments, report, body))
    }

    pub(crate) fn on_posted(&mut self, callout: Callout, token: u32, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let quantity = callout.quantity();
        self.change([Metric::SpansQueued, Metric::EventsQueued], quantity, -1);
        self.change([Metric::SpansInFlight, Metric::EventsInFlight], quantity, 1);
        let replaced = match &mut self.transport {
            Some(transport) => transport.posted(token, callout, now_ns),
            None => Vec::new(),
        };
        self.complete_all(replaced);
    }

    pub(super) fn on_not_posted(&mut self, callout: Callout, error: HostError, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        self.on_refused(1);
        if error != HostError::Unavailable {
            self.failures.failed(now_ns);
            self.say_failure(Failure::not_posted(error), now_ns);
        }
        self.metrics.add(Metric::Callouts(Delivery::NotTaken), 1);
        self.queue.put_back(callout.segments);
        self.report.merge(callout.report.unwrap_or_default());
        let random = self.next_random();
        if let Some(transport) = &mut self.transport {
            transport.not_posted(now_ns, random);
        }
        if self.ending.is_some() {
            self.discard_waiting(DiscardReason::NetworkError);
        }
    }

    pub(crate) fn on_response(
        &mut self,
        token: u32,
        response: &mut CalloutResponse<'_>,
        host_ns: u64,
    ) {
        let now_ns = self.clock.advance(host_ns);
        let random = self.next_random();
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(completed) = transport.completed(token, response, host_ns, now_ns, random) else {
            return;
        };
        self.complete(completed);
        self.note_posts();
        self.obey_limit(now_ns);
    }

    /// Whether the receiver gets envelopes, be it those of error events alone.
    fn sends_envelopes(&self) -> bool {
        self.config.transport.format.carries_reports() || self.config.capture_failures.is_some()
    }

    pub(super) fn obey_limit(&mut self, now_ns: u64) {
        let categories = self.transport.as_ref().map(Transport::categories);
        let mut categories = categories.into_iter().flatten();
        // What is of one category is discarded when its turn comes.
        if categories.all(|category| self.is_closed(*category, now_ns)) {
            self.discard_waiting(DiscardReason::RatelimitBackoff);
        }
    }

    /// The next that may go together and of which the receiver wants some.
    fn take_wanted(&mut self, now_ns: u64) -> Vec<EncodedSegment> {
        loop {
            let segments = self.queue.take(self.config.transport.format.batch_scope());
            let category = segments.first().map(EncodedSegment::category);
            if !category.is_some_and(|category| self.is_closed(category, now_ns)) {
                return segments;
            }
            self.queue.release(&segments);
            let lost = segments.iter().map(EncodedSegment::quantity).sum();
            self.discard_queued(DiscardReason::RatelimitBackoff, lost);
        }
    }

    /// The limit that the last response has set, for the other workers, once.
    pub(super) fn limit_to_share(&mut self, host_ns: u64) -> Option<(Category, SharedLimit)> {
        let (category, seconds) = self.transport.as_mut()?.take_said_s()?;
        let limit = SharedLimit::new(host_ns, seconds);
        if let Some(shared) = self.shared_limits.get_mut(category as usize) {
            *shared = Some(limit);
        }
        Some((category, limit))
    }

    /// What was told before counts once: it is told again when the clock was set back.
    pub(crate) fn on_shared_limit(&mut self, category: Category, number: u64, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let limit = SharedLimit::told(number);
        let left_ns = limit.left_ns(host_ns);
        let Some(transport) = self.transport.as_mut().filter(|_| left_ns > 0) else {
            return;
        };
        let known = self.shared_limits.get_mut(category as usize);
        if known.is_some_and(|known| known.replace(limit) != Some(limit)) {
            transport.close_until(category, now_ns.saturating_add(left_ns));
            self.obey_limit(now_ns);
        }
    }

    /// SplitMix64: numbers that differ from worker to worker are all that is asked of it.
    pub(super) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed.wrapping_shr(31)
    }

    pub(super) fn is_closed(&self, category: Category, now_ns: u64) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.is_closed(category, now_ns))
    }

    /// Whether something of what is sent has to wait.
    pub(super) fn is_limited_at(&self, now_ns: u64) -> bool {
        let categories = self.transport.as_ref().map(Transport::categories);
        let mut categories = categories.into_iter().flatten();
        categories.any(|category| self.is_closed(*category, now_ns))
    }
}
