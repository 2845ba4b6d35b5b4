//! The second half of the line: from a segment that has ended to the answer of the receiver, and to
//! the end of the configuration.

use std::ops::Range;

use super::Pipeline;
use crate::envelope::{BatchScope, Quantity};
use crate::headers::Headers;
use crate::metrics::{CalloutOutcome, DiscardReason, Metric};
use crate::queue::{Generations, Queue};
use crate::span::{OpenSpan, StreamInfo};
use crate::transport::shared_limit::SharedLimit;
use crate::transport::{Answer, Callout, Fate, Outcome, Transport};

/// How long a report waits for something to ride on.
const REPORT_INTERVAL_NS: u64 = 60_000_000_000;
/// How long an old configuration may still send what waits.
const MAX_ENDING_NS: u64 = 60_000_000_000;
/// How often there is a tick at least, in milliseconds, so that what waits for a long flush
/// interval leaves when the traffic stops.
const QUIET_TICK_MS: u32 = 250;
/// The longest flush interval that has a tick of its own, in milliseconds.
const MAX_TICK_MS: u32 = 1_000;
/// How many POSTs may be under way when nothing is left to wait for: as many as
/// `transport.max_in_flight` can be.
const MAX_LAST_POSTS: usize = 1_024;
/// A tick that comes so late says that the host's clock was set forward, or that the worker stood
/// still: by ten seconds, up to a century.
const LATE_NS: Range<u64> = 10_000_000_000..3_200_000_000_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// How a configuration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// What it holds is sent, and its answers are awaited.
    Waits {
        /// When what has not left by then is given up; 0 until the first tick.
        until_ns: u64,
    },
    /// Its VM ends with it, and nobody will be there for an answer.
    WithVm,
}

impl Pipeline {
    /// Shares the bounds of the queue and of the POSTs under way with the older generations of the
    /// configuration. To be called before anything is recorded.
    pub fn share_bounds(&mut self, generations: &Generations) {
        let max_bytes = self.config.transport.max_queue_bytes;
        self.queue = Queue::new(max_bytes, generations.clone());
    }

    /// What those share that share its bounds.
    pub fn generations(&self) -> &Generations {
        self.queue.generations()
    }

    pub(super) fn record(&mut self, span: OpenSpan, end: StreamInfo, answer: &Headers) {
        let data = &self.config.data;
        let response_headers = data.capture(&data.capture_response_headers, answer);
        let name = span.name(&end);
        let segment = span.finish(&end, &name, &response_headers);
        let quantity = segment.quantity();
        self.ended_ns = self.clock.at(segment.server.times.end_ns);
        self.metrics
            .add(Metric::SpansRecorded, quantity.spans.into());
        let code = segment.response_code;
        let mut ignored = self.config.trace_ignore_status_codes.iter();
        if code.is_some_and(|code| ignored.any(|codes| codes.contains(&code))) {
            return self.lose(DiscardReason::Ignored, quantity);
        }
        if self.is_closed(self.ended_ns) {
            return self.lose(DiscardReason::RatelimitBackoff, quantity);
        }
        let Self {
            config, buffers, ..
        } = self;
        let Some(segment) = config.transport.format.encode(&segment, config, buffers) else {
            return self.lose(DiscardReason::InternalSdkError, quantity);
        };
        self.metrics.add(Metric::SpansQueued, quantity.spans.into());
        self.is_quiet = false;
        let lost = self.queue.push(segment);
        self.lose_queued(DiscardReason::QueueOverflow, lost);
    }

    /// Whether enough waits to be sent without waiting for a tick, and could be sent as of the last
    /// stream's end.
    pub fn is_full_batch(&self) -> bool {
        let scope = self.config.transport.format.batch_scope();
        self.queue.is_full_batch(scope) && self.is_ready(self.ended_ns)
    }

    /// Whether what waits goes on its way as soon as an answer has made room. What goes together
    /// waits for a tick or a full batch instead: a receiver that answers quickly would otherwise
    /// get many small POSTs, which cost more than the spans in them.
    pub fn follows_answers(&self) -> bool {
        let scope = self.config.transport.format.batch_scope();
        self.ending.is_some() || scope != BatchScope::Any || self.is_full_batch()
    }

    fn is_ready(&self, now_ns: u64) -> bool {
        let Some(transport) = &self.transport else {
            return false;
        };
        let has_slot = match self.ending {
            Some(Ending::WithVm) => transport.in_flight() < MAX_LAST_POSTS,
            _ => self.queue.has_slot(self.config.transport.max_in_flight),
        };
        has_slot && transport.is_ready(now_ns)
    }

    /// The next thing to post, if anything waits and there is room for it. To be answered with
    /// [`Self::on_dispatched`] or [`Self::on_not_dispatched`].
    pub fn next_callout(&mut self, host_ns: u64) -> Option<Callout> {
        let now_ns = self.clock.advance(host_ns);
        if !self.is_ready(now_ns) {
            return None;
        }
        if self.report_due_ns == 0 {
            self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        }
        let format = self.config.transport.format;
        let segments = self.queue.take(format.batch_scope());
        let is_due = now_ns >= self.report_due_ns;
        if segments.is_empty() && !is_due {
            return None;
        }
        let carries = format.carries_reports();
        let report = carries.then(|| self.report.take()).flatten();
        if segments.is_empty() && report.is_none() {
            return None;
        }
        self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        let body = format.body(&segments, report.as_ref(), &self.config, host_ns);
        let transport = self.transport.as_ref()?;
        Some(transport.callout(segments, report, body))
    }

    /// The host took a callout.
    pub fn on_dispatched(&mut self, callout: Callout, token: u32, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let spans = callout.quantity().spans;
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        let replaced = match &mut self.transport {
            Some(transport) => transport.dispatched(token, callout, now_ns),
            None => Vec::new(),
        };
        self.settle_all(replaced);
    }

    /// The host did not take a callout: it has provably not left, and waits for another try.
    /// `random` spreads the workers.
    pub fn on_not_dispatched(&mut self, callout: Callout, host_ns: u64, random: u64) {
        let now_ns = self.clock.advance(host_ns);
        self.metrics
            .add(Metric::Callouts(CalloutOutcome::NotTaken), 1);
        self.queue.put_back(callout.segments);
        self.report.merge(callout.report.unwrap_or_default());
        if let Some(transport) = &mut self.transport {
            transport.not_dispatched(now_ns, random);
        }
        if self.ending.is_some() {
            self.lose_waiting(DiscardReason::NetworkError);
        }
    }

    /// A callout was answered; its headers are empty if it failed. `random` spreads the workers.
    pub fn on_answer(&mut self, token: u32, answer: &mut Answer<'_>, host_ns: u64, random: u64) {
        let now_ns = self.clock.advance(host_ns);
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(outcome) = transport.answered(token, answer, host_ns, now_ns, random) else {
            return;
        };
        self.settle(outcome);
        self.synchronize();
        self.obey_limit(now_ns);
    }

    /// What a receiver has limited is discarded, not queued, as Sentry's SDKs do.
    fn obey_limit(&mut self, now_ns: u64) {
        if self.is_closed(now_ns) {
            self.lose_waiting(DiscardReason::RatelimitBackoff);
        }
    }

    fn settle_all(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.settle(outcome);
        }
        self.synchronize();
    }

    /// Tells the other generations how many POSTs are under way.
    fn synchronize(&mut self) {
        let posts = self.transport.as_ref().map_or(0, Transport::in_flight);
        self.queue.set_posts(posts);
    }

    /// A callout has come to its end.
    fn settle(&mut self, outcome: Outcome) {
        let Outcome {
            segments,
            report,
            fate,
            rejected,
        } = outcome;
        let quantity = Quantity::total(&segments);
        let spans = i64::from(quantity.spans);
        self.metrics.subtract(Metric::SpansInFlight, spans);
        let outcome = match fate {
            Fate::Accepted => CalloutOutcome::Accepted,
            Fate::NotArrived => CalloutOutcome::NotArrived,
            Fate::Lost(DiscardReason::RatelimitBackoff) => CalloutOutcome::RateLimited,
            Fate::Lost(DiscardReason::SendError) => CalloutOutcome::Refused,
            Fate::Lost(_) => CalloutOutcome::Lost,
        };
        self.metrics.add(Metric::Callouts(outcome), 1);
        if fate != Fate::Accepted {
            self.report.merge(report.unwrap_or_default());
        }
        match fate {
            Fate::NotArrived if self.ending.is_some() => {
                self.queue.settle(&segments);
                self.lose(DiscardReason::NetworkError, quantity);
            }
            Fate::NotArrived => {
                self.metrics.add(Metric::SpansQueued, spans);
                self.queue.put_back(segments);
            }
            Fate::Accepted => {
                self.queue.settle(&segments);
                let rejected = Quantity {
                    segments: 0,
                    spans: rejected,
                };
                self.metrics.add(
                    Metric::SpansSent,
                    spans.saturating_sub(rejected.spans.into()),
                );
                self.lose(DiscardReason::SendError, rejected);
            }
            Fate::Lost(loss) => {
                self.queue.settle(&segments);
                // What Sentry refused with 429 it has counted itself.
                match loss {
                    DiscardReason::RatelimitBackoff => self.count_lost(loss, quantity),
                    _ => self.lose(loss, quantity),
                }
            }
        }
    }

    /// The limit that the last answer has set, for the other workers, once.
    pub fn limit_to_share(&mut self, host_ns: u64) -> Option<SharedLimit> {
        let seconds = self.transport.as_mut()?.take_said_s()?;
        let limit = SharedLimit::new(host_ns, seconds);
        self.shared_limit = Some(limit);
        Some(limit)
    }

    /// Another worker has told the number of a [`SharedLimit`]. What was told before counts once:
    /// it is told again when the clock was set back.
    pub fn on_shared_limit(&mut self, number: u64, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let limit = SharedLimit::told(number);
        let left_ns = limit.left_ns(host_ns);
        let Some(transport) = self.transport.as_mut().filter(|_| left_ns > 0) else {
            return;
        };
        if self.shared_limit.replace(limit) != Some(limit) {
            transport.close_until(now_ns.saturating_add(left_ns));
            self.obey_limit(now_ns);
        }
    }

    /// Under which name workers share the limit: those with the same receiver and key, and the same
    /// kind of data.
    pub fn limit_key(&self) -> Option<String> {
        let (dsn, format) = (self.config.dsn.as_ref()?, self.config.transport.format);
        let (key, authority) = (dsn.public_key(), dsn.authority());
        Some(format!(
            "sentry-filter limit 2 {} {key} {authority}",
            format.category()
        ))
    }

    /// How often it wants a tick, in milliseconds.
    pub fn tick_period_ms(&self) -> u32 {
        match self.config.transport.flush_interval_ms {
            long if long > MAX_TICK_MS => QUIET_TICK_MS,
            interval => interval,
        }
    }

    /// A tick: gives up on callouts that the host will not answer any more, and is interested in
    /// CORS answers again.
    pub fn on_tick(&mut self, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let step_ns = now_ns.saturating_sub(std::mem::replace(&mut self.ticked_ns, now_ns));
        self.filter_order.flushed();
        let over = self.redirects.take_over(host_ns);
        self.record_redirected(over);
        let is_late = LATE_NS.contains(&step_ns) && step_ns < now_ns;
        let lost = match &mut self.transport {
            Some(transport) => {
                if is_late {
                    transport.delay_expiry(step_ns);
                }
                transport.expire(now_ns)
            }
            None => Vec::new(),
        };
        self.settle_all(lost);
        self.give_up_late(now_ns);
        // The main thread's VM, which never sees a stream, is no worker.
        let is_worker = self.ended_ns > 0 && self.ending.is_none();
        self.set_limited(is_worker && self.is_closed(now_ns));
    }

    /// Whether the last tick is one for a flush: the flush interval is over, or nothing was queued
    /// since the tick before it.
    pub fn is_flush_due(&mut self) -> bool {
        let now_ns = self.ticked_ns;
        let interval_ms = self.config.transport.flush_interval_ms;
        let is_each = interval_ms == self.tick_period_ms();
        let interval_ns = u64::from(interval_ms).saturating_mul(NS_PER_MS);
        let passed_ns = now_ns.saturating_sub(self.flushed_ns);
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        let is_due = is_each || was_quiet || passed_ns >= interval_ns;
        if is_due {
            self.flushed_ns = now_ns;
        }
        is_due
    }

    fn set_limited(&mut self, is_limited: bool) {
        let change = i64::from(is_limited).saturating_sub(self.is_limited.into());
        self.metrics.add(Metric::WorkersRateLimited, change);
        self.is_limited = is_limited;
    }

    /// The configuration is being replaced: what waits is tried at once, and once.
    pub fn end(&mut self) {
        self.ending = Some(Ending::Waits { until_ns: 0 });
        let redirected = self.redirects.take_all();
        self.record_redirected(redirected);
        self.set_limited(false);
        if let Some(transport) = &mut self.transport {
            transport.forget_failures();
        }
    }

    /// The same, but its VM ends with it. All that waits is posted now, whatever is under way: over
    /// HTTP/2 Envoy may still send that. To be followed by [`Self::abandon`].
    pub fn end_with_vm(&mut self) {
        self.end();
        self.ending = Some(Ending::WithVm);
    }

    /// What an old configuration could not send in its time is lost.
    fn give_up_late(&mut self, now_ns: u64) {
        if let Some(Ending::Waits { until_ns }) = &mut self.ending {
            if *until_ns == 0 {
                *until_ns = now_ns.saturating_add(MAX_ENDING_NS);
            } else if *until_ns <= now_ns {
                self.lose_waiting(DiscardReason::NetworkError);
            }
        }
    }

    /// Nothing can be sent any more, and no answer will come: what waits and what is under way
    /// counts as lost, and leaves the gauges.
    pub fn abandon(&mut self) {
        self.lose_waiting(DiscardReason::NetworkError);
        let lost = match &mut self.transport {
            Some(transport) => transport.abandon(),
            None => Vec::new(),
        };
        self.settle_all(lost);
        self.set_limited(false);
    }

    /// Whether spans are recorded and sent: there is a DSN, and the host can make callouts.
    pub fn can_send(&self) -> bool {
        self.transport.is_some()
    }

    /// The host cannot make callouts: from here on no trace is started and nothing is recorded, and
    /// what waits is lost.
    pub fn only_propagate(&mut self) {
        self.abandon();
        self.transport = None;
    }

    /// Whether nothing waits and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.transport.as_ref().is_none_or(Transport::is_idle)
    }

    fn is_closed(&self, now_ns: u64) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.is_closed(now_ns))
    }

    fn lose_waiting(&mut self, loss: DiscardReason) {
        let lost = self.queue.clear();
        self.lose_queued(loss, lost);
    }

    fn lose_queued(&mut self, loss: DiscardReason, lost: Quantity) {
        self.metrics
            .subtract(Metric::SpansQueued, lost.spans.into());
        self.lose(loss, lost);
    }

    /// Counts what is lost, here and for Sentry.
    fn lose(&mut self, loss: DiscardReason, lost: Quantity) {
        self.count_lost(loss, lost);
        self.report_lost(loss.report_reason(), lost);
    }

    fn count_lost(&mut self, loss: DiscardReason, lost: Quantity) {
        self.metrics
            .add(Metric::SpansDiscarded(loss), lost.spans.into());
    }

    pub(super) fn report_lost(&mut self, reason: &'static str, lost: Quantity) {
        if self.config.client_reports {
            self.report.add(reason, lost, self.config.transport.format);
        }
    }
}

#[cfg(test)]
mod tests;
