//! What became of what was recorded: in the metrics, in the client report and in the log.

use log::Level;

use super::destination::Destination;
use crate::envelope::EncodedSegment;
use crate::export::delivery::{Delivery, DiscardReason};
use crate::export::failure::Failure;
use crate::export::in_flight::CompletedCallout;
use crate::export::metrics::Metric;
use crate::project::Project;
use crate::quantity::Quantity;

impl Destination {
    pub(super) fn complete_all(&mut self, completed: Vec<CompletedCallout>, now_ns: u64) {
        for completed in completed {
            self.complete(completed, now_ns);
        }
        self.note_posts();
    }

    /// Tells the other generations how many POSTs are under way.
    pub(super) fn note_posts(&mut self) {
        self.queue.set_posts(self.transport.in_flight());
    }

    pub(super) fn complete(&mut self, completed: CompletedCallout, now_ns: u64) {
        let failure = completed.failure;
        match (failure, completed.delivery) {
            (Some(_), _) => self.failures.failed(now_ns),
            (None, Delivery::Accepted) => self.failures.works(now_ns),
            _ => {}
        }
        self.settle(completed);
        match failure {
            Some(failure) => self.say_failure(failure, now_ns),
            None => self.say_works(now_ns),
        }
    }

    /// Once, when it begins.
    #[cold]
    pub(super) fn say_failure(&mut self, failure: Failure, now_ns: u64) {
        let is_otlp =
            self.config.transport.path.is_none() && !self.config.transport.format.carries_reports();
        if let Some(line) = self.failures.line(failure, is_otlp, now_ns) {
            self.say(line);
        }
    }

    /// Once, when it is over.
    pub(super) fn say_works(&mut self, now_ns: u64) {
        if let Some(line) = self.failures.works_line(now_ns) {
            self.say(line);
        }
    }

    #[cold]
    fn say(&mut self, mut line: String) {
        if let Some(Project { dsn, .. }) = self.name() {
            line.push_str(&format!("; this is about {dsn}"));
        }
        self.log.push((Level::Warn, line.into()));
    }

    pub(super) fn settle(&mut self, completed: CompletedCallout) {
        let CompletedCallout {
            segments,
            report,
            delivery,
            rejected,
            ..
        } = completed;
        let quantity: Quantity = segments.iter().map(EncodedSegment::quantity).sum();
        self.change(
            [Metric::SpansInFlight, Metric::EventsInFlight],
            quantity,
            -1,
        );
        self.metrics.add(Metric::Callouts(delivery), 1);
        if delivery != Delivery::Accepted {
            self.report.merge(report.unwrap_or_default());
        }
        match (delivery, delivery.discard_reason()) {
            (Delivery::Accepted, _) => {
                self.queue.release(&segments);
                let rejected = Quantity {
                    spans: rejected,
                    ..Quantity::default()
                };
                let sent = Quantity {
                    spans: quantity.spans.saturating_sub(rejected.spans),
                    ..quantity
                };
                self.change([Metric::SpansSent, Metric::EventsSent], sent, 1);
                self.discard(DiscardReason::SendError, rejected);
            }
            // What Sentry refused with 429 it has counted itself.
            (Delivery::RateLimited, Some(reason)) => {
                self.queue.release(&segments);
                self.count_discarded(reason, quantity);
            }
            (_, Some(reason)) => {
                self.queue.release(&segments);
                self.discard(reason, quantity);
            }
            (_, None) if self.ending.is_some() => {
                self.queue.release(&segments);
                self.discard(DiscardReason::NetworkError, quantity);
            }
            (_, None) => {
                self.change([Metric::SpansQueued, Metric::EventsQueued], quantity, 1);
                self.queue.put_back(segments);
            }
        }
    }

    pub(super) fn discard_waiting(&mut self, reason: DiscardReason) {
        let lost = self.queue.clear();
        self.discard_queued(reason, lost);
    }

    pub(super) fn discard_queued(&mut self, reason: DiscardReason, lost: Quantity) {
        self.change([Metric::SpansQueued, Metric::EventsQueued], lost, -1);
        self.discard(reason, lost);
    }

    /// Counts what is lost, here and for Sentry.
    pub(super) fn discard(&mut self, reason: DiscardReason, lost: Quantity) {
        self.count_discarded(reason, lost);
        if self.config.transport.client_reports {
            let format = self.config.transport.format;
            self.report.add(reason.report_reason(), lost, format);
        }
    }

    pub(super) fn count_discarded(&mut self, reason: DiscardReason, lost: Quantity) {
        self.failures.lost(lost.spans);
        let metrics = [
            Metric::SpansDiscarded(reason),
            Metric::EventsDiscarded(reason),
        ];
        self.change(metrics, lost, 1);
    }

    /// Adds spans to the first metric and error events to the second, or takes them away.
    pub(super) fn change(&mut self, metrics: [Metric; 2], quantity: Quantity, sign: i64) {
        for (metric, count) in metrics.into_iter().zip([quantity.spans, quantity.events]) {
            let change = i64::from(count).saturating_mul(sign);
            self.metrics.add(metric, change);
        }
    }
}
