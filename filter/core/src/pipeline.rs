//! The straight line itself: request in, span out, callout out, answer in. Every method takes values and returns values; the plugin fetches the former
//! from the host and carries out the latter.

use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{Amount, Desk, Sharing};
use crate::headers::HeaderMutation;
use crate::live::LiveBudget;
use crate::metrics::{CalloutOutcome, Loss, Metric, Metrics};
use crate::queue::Queue;
use crate::trace::redirect::Redirects;
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::transport::{Answer as CalloutAnswer, Callout, Fate, Outcome, Transport};

mod request;

pub use request::LiveRequest;

/// The state of one root context: one plugin configuration on one worker.
#[derive(Debug)]
pub struct Pipeline {
    config: FilterConfig,
    throttle: Option<Throttle>,
    filter_order: FilterOrder,
    redirects: Redirects,
    live: LiveBudget,
    desk: Desk,
    queue: Queue,
    transport: Option<Transport>,
    /// What Sentry is to be told of what was lost.
    report: ClientReport,
    /// When it is told although nothing else is sent, in nanoseconds since the epoch.
    report_due_ns: u64,
    /// When the last stream with a span ended, in nanoseconds since the epoch.
    ended_ns: u64,
    /// Whether there will be no other time.
    is_ending: bool,
    /// Whether this worker counts among those that wait for the receiver.
    is_limited: bool,
    metrics: Metrics,
}

/// How long a report waits for something to ride on.
const REPORT_INTERVAL_NS: u64 = 60_000_000_000;
/// No limit lasts longer: a day (filter.md §11).
const MAX_LIMIT_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// What is done about a request.
#[derive(Debug)]
pub struct RequestOutcome {
    /// The headers to change.
    pub mutations: Vec<HeaderMutation>,
    /// What is to be kept until the stream ends.
    pub request: LiveRequest,
    /// The context that the request has from here on, for the filter state.
    pub context: Option<SentryTrace>,
    /// A line for the log, if `debug` is on.
    pub log: Option<String>,
}

impl Pipeline {
    /// A pipeline with nothing in it.
    pub fn new(config: FilterConfig) -> Self {
        let transport = config.dsn.as_ref().map(|dsn| Transport::new(dsn, &config));
        Self {
            throttle: config.max_traces_per_second.map(Throttle::new),
            filter_order: FilterOrder::default(),
            redirects: Redirects::default(),
            live: LiveBudget::new(config.max_live_bytes),
            desk: Desk::default(),
            queue: Queue::new(config.transport.max_queue_bytes),
            transport,
            report: ClientReport::default(),
            report_due_ns: 0,
            ended_ns: 0,
            is_ending: false,
            is_limited: false,
            config,
            metrics: Metrics::default(),
        }
    }

    /// The configuration it works by.
    pub fn config(&self) -> &FilterConfig {
        &self.config
    }

    /// What all live requests keep together, in bytes.
    pub fn live_bytes(&self) -> usize {
        self.live.used()
    }

    /// What has been counted and not been told to the host.
    pub fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// Whether enough waits to be sent without waiting for a tick, and could be sent as of the last stream's end.
    pub fn is_full_batch(&self) -> bool {
        let sharing = self.config.transport.format.sharing();
        let transport = self.transport.as_ref();
        self.queue.is_full_batch(sharing)
            && transport.is_some_and(|transport| transport.is_ready(self.ended_ns))
    }

    /// Whether what waits goes on its way as soon as an answer has made room. What goes together waits for a tick or a full batch instead: a receiver that
    /// answers quickly would otherwise get many small POSTs, which cost more than the spans in them.
    pub fn follows_answers(&self) -> bool {
        let sharing = self.config.transport.format.sharing();
        self.is_ending || sharing != Sharing::Any || self.is_full_batch()
    }

    /// The next thing to post, if anything waits and there is room for it. To be answered with [`Self::on_dispatched`] or [`Self::on_not_dispatched`].
    pub fn next_callout(&mut self, now_ns: u64) -> Option<Callout> {
        let transport = self.transport.as_ref()?;
        if !transport.is_ready(now_ns) {
            return None;
        }
        if self.report_due_ns == 0 {
            self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        }
        let format = self.config.transport.format;
        let parcels = self.queue.take(format.sharing());
        let is_due = now_ns >= self.report_due_ns;
        if parcels.is_empty() && !is_due {
            return None;
        }
        let carries = format.carries_reports();
        let report = carries.then(|| self.report.take()).flatten();
        if parcels.is_empty() && report.is_none() {
            return None;
        }
        self.report_due_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
        let body = format.body(&parcels, report.as_ref(), &self.config, now_ns);
        Some(transport.callout(parcels, report, body))
    }

    /// The host took a callout.
    pub fn on_dispatched(&mut self, callout: Callout, token: u32, now_ns: u64) {
        let spans = callout.amount().spans;
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        let replaced = match &mut self.transport {
            Some(transport) => transport.dispatched(token, callout, now_ns),
            None => Vec::new(),
        };
        self.settle_all(replaced);
    }

    /// The host did not take a callout: it has provably not left, and waits for another try. `random` spreads the workers.
    pub fn on_not_dispatched(&mut self, callout: Callout, now_ns: u64, random: u64) {
        self.metrics
            .add(Metric::Callouts(CalloutOutcome::NotTaken), 1);
        self.queue.put_back(callout.parcels);
        self.report.merge(callout.report.unwrap_or_default());
        if let Some(transport) = &mut self.transport {
            transport.not_dispatched(now_ns, random);
        }
        if self.is_ending {
            let lost = self.queue.clear();
            self.lose_queued(Loss::NetworkError, lost);
        }
    }

    /// A callout was answered; its headers are empty if it failed. `random` spreads the workers.
    pub fn on_answer(
        &mut self,
        token: u32,
        answer: &mut CalloutAnswer<'_>,
        now_ns: u64,
        random: u64,
    ) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(outcome) = transport.answered(token, answer, now_ns, random) else {
            return;
        };
        self.settle(outcome);
        self.obey_limit(now_ns);
    }

    /// What a receiver has limited is discarded, not queued (sentry-protocol.md §11.1).
    fn obey_limit(&mut self, now_ns: u64) {
        if self.is_closed(now_ns) {
            let lost = self.queue.clear();
            self.lose_queued(Loss::RatelimitBackoff, lost);
        }
    }

    fn settle_all(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.settle(outcome);
        }
    }

    /// A callout has come to its end.
    fn settle(&mut self, outcome: Outcome) {
        let Outcome {
            parcels,
            report,
            fate,
            rejected,
        } = outcome;
        let amount = Amount::of(&parcels);
        let spans = i64::from(amount.spans);
        self.metrics.subtract(Metric::SpansInFlight, spans);
        let outcome = match fate {
            Fate::Accepted => CalloutOutcome::Accepted,
            Fate::NotArrived => CalloutOutcome::NotArrived,
            Fate::Lost(Loss::RatelimitBackoff) => CalloutOutcome::RateLimited,
            Fate::Lost(Loss::SendError) => CalloutOutcome::Refused,
            Fate::Lost(_) => CalloutOutcome::Lost,
        };
        self.metrics.add(Metric::Callouts(outcome), 1);
        if fate != Fate::Accepted {
            self.report.merge(report.unwrap_or_default());
        }
        match fate {
            Fate::NotArrived if self.is_ending => {
                self.queue.settle(&parcels);
                self.lose(Loss::NetworkError, amount);
            }
            Fate::NotArrived => {
                self.metrics.add(Metric::SpansQueued, spans);
                self.queue.put_back(parcels);
            }
            Fate::Accepted => {
                self.queue.settle(&parcels);
                let rejected = Amount {
                    segments: 0,
                    spans: rejected,
                };
                self.metrics.add(
                    Metric::SpansSent,
                    spans.saturating_sub(rejected.spans.into()),
                );
                self.lose(Loss::SendError, rejected);
            }
            Fate::Lost(loss) => {
                self.queue.settle(&parcels);
                // What Sentry refused with 429 it has counted itself (sentry-protocol.md §11.2).
                match loss {
                    Loss::RatelimitBackoff => self.count_lost(loss, amount),
                    _ => self.lose(loss, amount),
                }
            }
        }
    }

    /// Until when the receiver wants nothing, for the other workers; in nanoseconds since the epoch, 0 if it never said so.
    pub fn limited_until_ns(&self) -> u64 {
        self.transport
            .as_ref()
            .map_or(0, Transport::closed_until_ns)
    }

    /// Another worker has been told until when the receiver wants nothing. A time that no limit can have is none.
    pub fn on_shared_limit(&mut self, until_ns: u64, now_ns: u64) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        if until_ns <= now_ns.saturating_add(MAX_LIMIT_NS) {
            transport.close_until(until_ns);
            self.obey_limit(now_ns);
        }
    }

    /// Under which name workers share the limit: those with the same receiver and key, and the same kind of data.
    pub fn limit_key(&self) -> Option<String> {
        let (dsn, format) = (self.config.dsn.as_ref()?, self.config.transport.format);
        let (key, authority) = (dsn.public_key(), dsn.authority());
        Some(format!(
            "sentry-filter limit {} {key} {authority}",
            format.category()
        ))
    }

    /// A tick: gives up on callouts that the host will not answer any more, and is interested in CORS answers again.
    pub fn on_tick(&mut self, now_ns: u64) {
        self.filter_order.flushed();
        let over = self.redirects.take_over(now_ns);
        self.record_redirected(over);
        let lost = match &mut self.transport {
            Some(transport) => transport.expire(now_ns),
            None => Vec::new(),
        };
        self.settle_all(lost);
        // The main thread's VM, which never sees a stream, is no worker.
        let is_limited = self.ended_ns > 0 && self.is_closed(now_ns);
        let change = i64::from(is_limited).saturating_sub(self.is_limited.into());
        self.metrics.add(Metric::WorkersRateLimited, change);
        self.is_limited = is_limited;
    }

    /// The configuration is being replaced: what waits is tried at once, and once.
    pub fn end(&mut self) {
        self.is_ending = true;
        let redirected = self.redirects.take_all();
        self.record_redirected(redirected);
        if let Some(transport) = &mut self.transport {
            transport.forget_failures();
        }
    }

    /// Whether spans are recorded and sent: there is a DSN, and the host can make callouts.
    pub fn can_send(&self) -> bool {
        self.transport.is_some()
    }

    /// The host cannot make callouts: from here on no trace is started and nothing is recorded, and
    /// what waits is lost.
    pub fn only_propagate(&mut self) {
        let lost = self.queue.clear();
        self.lose_queued(Loss::NetworkError, lost);
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

    fn lose_queued(&mut self, loss: Loss, lost: Amount) {
        self.metrics
            .subtract(Metric::SpansQueued, lost.spans.into());
        self.lose(loss, lost);
    }

    /// Counts what is lost, here and for Sentry.
    fn lose(&mut self, loss: Loss, lost: Amount) {
        self.count_lost(loss, lost);
        self.report_lost(loss.report_reason(), lost);
    }

    fn count_lost(&mut self, loss: Loss, lost: Amount) {
        self.metrics
            .add(Metric::SpansDiscarded(loss), lost.spans.into());
    }

    fn report_lost(&mut self, reason: &'static str, lost: Amount) {
        if self.config.client_reports {
            self.report.add(reason, lost, self.config.transport.format);
        }
    }
}

#[cfg(test)]
mod tests;
