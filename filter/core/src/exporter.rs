//! The second machine: from an encoded segment to the response of the receiver, and to the end of
//! the configuration.
//!
//! ```text
//! Tracer -> collect(Recorded)    a segment waits in the queue, counts add up
//! door   -> handle(Event, now)   a tick, a response, a limit of another worker, the end
//! poll(now) -> door              the next Command: a POST, a metric, a log line
//! ```
//! A door that has called [`Exporter::handle`] carries out what [`Exporter::poll`] gives until that
//! is nothing.

mod accounting;
mod ending;
mod posting;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use log::Level;

use crate::clock::Clock;
use crate::config::FilterConfig;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{Category, EncodedSegment};
use crate::export::callout::Callout;
use crate::export::delivery::{CalloutResponse, DiscardReason};
use crate::export::failure::FailureLog;
use crate::export::metrics::{Metric, Metrics};
use crate::export::queue::{Generations, Queue};
use crate::export::shared_limit::SharedLimit;
use crate::export::transport::Transport;
use crate::host::HostError;
use crate::tracer::Recorded;
use ending::Ending;

/// How often there is a tick at least, in milliseconds, so that what waits for a long flush
/// interval leaves when the traffic stops.
const QUIET_TICK_MS: u32 = 250;
/// The longest flush interval that has a tick of its own, in milliseconds.
const MAX_TICK_MS: u32 = 1_000;
/// A tick that comes so late says that the host's clock was set forward, or that the worker stood
/// still: by ten seconds, up to a century.
const LATE_NS: Range<u64> = 10_000_000_000..3_200_000_000_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// What happens to an exporter.
pub enum Event<'a> {
    /// The time has come that [`Exporter::tick_period_ms`] asks for.
    Tick,
    /// The host took a callout, and will answer it by this token.
    Posted(Callout, u32),
    /// The host did not take a callout: it has provably not left.
    NotPosted(Callout, HostError),
    /// A callout was answered, or has failed: then the response has no headers.
    Response(u32, CalloutResponse<'a>),
    /// Another worker has told a limit of the receiver's: the number of a [`SharedLimit`].
    SharedLimit(Category, u64),
    /// The host refused so many calls.
    CallsRefused(u32),
    /// The host has no timer.
    NoTimer,
    /// The configuration is being replaced: what waits is tried at once, and once, and the
    /// responses are awaited ([`Command::Finished`]).
    Shutdown,
    /// The same, but nobody will be there for a response: all that waits is posted now, whatever is
    /// under way. Over HTTP/2 Envoy may still send that.
    LastShutdown,
    /// Nothing can be sent any more and no response will come: what waits and what is under way is
    /// discarded.
    Abandoned,
}

/// What a door is to do.
#[derive(Debug)]
pub enum Command {
    /// Make a callout. To be followed by [`Event::Posted`] or [`Event::NotPosted`].
    Post(Callout),
    /// Tell the other workers of a limit, unless one of them knows of a longer one: see
    /// [`SharedLimit::publish`].
    ShareLimit(Category, SharedLimit),
    /// Change the metric with this index in [`Metric::all`].
    ChangeMetric(usize, i64),
    /// Write a line into the log.
    Log(Level, Cow<'static, str>),
    /// What [`Event::Shutdown`] has left is done: see [`Exporter::set_awaited`].
    Finished,
}

/// The queue of one configuration, and its way to Sentry: one for each worker where workers share
/// nothing, else one for all of them.
#[derive(Debug)]
pub struct Exporter {
    config: Arc<FilterConfig>,
    queue: Queue,
    /// How many POSTs may be under way at once.
    max_in_flight: usize,
    /// How many workers it has.
    workers: i64,
    /// Absent without a DSN, and on a host that cannot send.
    transport: Option<Transport>,
    /// What every duration here is measured on.
    clock: Clock,
    /// Discards not yet reported in a client report.
    report: ClientReport,
    /// When a report goes out although nothing else is sent.
    report_due_ns: u64,
    /// When the last stream with a span ended; 0 if none has.
    ended_ns: u64,
    /// When the last tick came; 0 if none has.
    ticked_ns: u64,
    /// When the last flush came.
    flushed_ns: u64,
    /// Whether nothing has been queued since the last tick.
    is_quiet: bool,
    /// How it ends, once it does.
    ending: Option<Ending>,
    /// What other workers have told last.
    shared_limits: [Option<SharedLimit>; Category::ALL.len()],
    /// Whether this worker counts among those that wait for the receiver.
    is_limited: bool,
    metrics: Metrics,
    /// The state of the generator that spreads the tries of the workers.
    random: u64,
    /// Whether POSTs are to be made until nothing may be posted.
    flushes: bool,
    /// Whether the host is to be told what was counted.
    tells_metrics: bool,
    /// Whether the host waits for [`Command::Finished`].
    is_awaited: bool,
    /// Whether the log has a line about refused calls.
    has_logged_refused: bool,
    /// What was said about POSTs that fail.
    failures: FailureLog,
    /// The next lines for the log.
    log: VecDeque<(Level, Cow<'static, str>)>,
}

impl Exporter {
    /// An exporter with nothing in it, whose queue shares the bounds of `generations`: what older
    /// generations of the configuration hold counts towards them. `seed` is a random number.
    pub fn new(config: Arc<FilterConfig>, generations: &Generations, seed: u64) -> Self {
        let dsn = config.trace.dsn.as_ref();
        let sends_errors = config.capture_failures.is_some();
        let transport = dsn.map(|dsn| Transport::new(dsn, &config.transport, sends_errors));
        let max_bytes = config.transport.max_queue_bytes;
        Self {
            queue: Queue::new(max_bytes, generations.clone()),
            max_in_flight: config.transport.max_in_flight,
            workers: 1,
            transport,
            clock: Clock::default(),
            report: ClientReport::default(),
            report_due_ns: 0,
            ended_ns: 0,
            ticked_ns: 0,
            flushed_ns: 0,
            is_quiet: true,
            ending: None,
            shared_limits: [None; Category::ALL.len()],
            is_limited: false,
            config,
            metrics: Metrics::default(),
            random: seed,
            flushes: false,
            tells_metrics: false,
            is_awaited: false,
            has_logged_refused: false,
            failures: FailureLog::default(),
            log: VecDeque::new(),
        }
    }

    /// The same for so many workers, each of which has the bounds that the configuration names.
    pub fn for_workers(mut self, workers: usize) -> Self {
        let transport = &self.config.transport;
        self.workers = i64::try_from(workers).unwrap_or(i64::MAX);
        self.max_in_flight = transport.max_in_flight.saturating_mul(workers);
        self.queue
            .set_max_bytes(transport.max_queue_bytes.saturating_mul(workers));
        self
    }

    /// The generations whose bounds it shares.
    pub fn generations(&self) -> &Generations {
        self.queue.generations()
    }

    /// How often it wants a tick, in milliseconds.
    pub fn tick_period_ms(&self) -> u32 {
        match self.config.transport.flush_interval_ms {
            long if long > MAX_TICK_MS => QUIET_TICK_MS,
            interval => interval,
        }
    }

    /// Under which names workers share limits, each with its category: those with the same receiver
    /// and key, and the same kind of data.
    pub fn limit_keys(&self) -> Vec<(Category, String)> {
        let mut keys = Vec::new();
        if let (Some(transport), Some(dsn)) = (&self.transport, &self.config.trace.dsn) {
            for category in transport.categories() {
                let name = self.config.transport.format.category_of(*category);
                let parts = [
                    "sentry-filter limit 2",
                    name,
                    dsn.public_key(),
                    dsn.authority(),
                ];
                keys.push((*category, parts.join(" ")));
            }
        }
        keys
    }

    /// Whether spans are sent: there is a DSN, and the host can make callouts.
    pub fn can_send(&self) -> bool {
        self.transport.is_some()
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.transport.as_ref().is_none_or(Transport::is_idle)
    }

    /// Makes [`Self::poll`] post what waits, without a tick.
    pub fn flush(&mut self) {
        self.flushes = true;
    }

    /// Whether [`Self::poll`] has POSTs to make, as far as is known without the time.
    pub fn is_flushing(&self) -> bool {
        self.flushes
    }

    /// Whether the host waits for [`Command::Finished`].
    pub fn set_awaited(&mut self, is_awaited: bool) {
        self.is_awaited = is_awaited;
    }

    /// The next change of a metric, with its index in [`Metric::all`].
    pub fn next_change(&mut self) -> Option<(usize, i64)> {
        self.metrics.next_change()
    }

    /// Takes what a tracer has recorded and counted.
    pub fn collect(&mut self, recorded: &mut Recorded) {
        self.collect_segments(recorded);
        self.metrics.absorb(&mut recorded.metrics);
        if let Some(report) = recorded.report.take() {
            self.report.merge(report);
        }
        self.on_refused(std::mem::take(&mut recorded.refused));
    }

    /// Takes what a tracer has recorded, and leaves the counts for another time.
    pub fn collect_segments(&mut self, recorded: &mut Recorded) {
        if recorded.is_empty() {
            return;
        }
        while let Some(segment) = recorded.pop() {
            self.accept(segment, recorded.ended_ns);
        }
        self.flushes |= self.is_full_batch();
    }

    /// Takes a segment whose stream ended at `ended_ns` by the host's clock. One that the receiver
    /// has asked to be spared is discarded, not queued, as Sentry's SDKs do.
    #[inline(never)]
    fn accept(&mut self, segment: EncodedSegment, ended_ns: u64) {
        self.ended_ns = self.clock.at(ended_ns);
        let quantity = segment.quantity();
        if self.is_closed(segment.category(), self.ended_ns) {
            return self.discard(DiscardReason::RatelimitBackoff, quantity);
        }
        self.change([Metric::SpansQueued, Metric::EventsQueued], quantity, 1);
        self.is_quiet = false;
        let lost = self.queue.push(segment);
        self.discard_queued(DiscardReason::QueueOverflow, lost);
    }

    /// Something has happened. `host_ns` is the time in nanoseconds since the epoch, 0 if the host
    /// has no clock. To be followed by [`Self::poll`] until that gives nothing.
    #[inline(never)]
    pub fn handle(&mut self, event: Event<'_>, host_ns: u64) {
        match event {
            Event::Tick => {
                self.on_tick(host_ns);
                self.flushes |= self.is_flush_due();
                self.tells_metrics = true;
            }
            Event::Posted(callout, token) => self.on_posted(callout, token, host_ns),
            Event::NotPosted(callout, error) => {
                self.on_not_posted(callout, error, host_ns);
                // The next one would fare no better; one that is tried later may.
                self.flushes = false;
                if error == HostError::Unavailable {
                    self.degrade(NO_CALLOUTS);
                }
            }
            Event::Response(token, mut response) => {
                self.on_response(token, &mut response, host_ns);
                self.flushes |= self.follows_responses();
                self.tells_metrics = true;
            }
            Event::SharedLimit(category, number) => {
                self.on_shared_limit(category, number, host_ns);
            }
            Event::CallsRefused(count) => self.on_refused(count),
            Event::NoTimer => self.degrade(NO_TIMER),
            Event::Shutdown => self.end(Ending::Waits { until_ns: 0 }),
            Event::LastShutdown => self.end(Ending::Last),
            Event::Abandoned => {
                self.abandon();
                self.tells_metrics = true;
            }
        }
    }

    /// The next thing to do, if there is any.
    #[inline(never)]
    pub fn poll(&mut self, host_ns: u64) -> Option<Command> {
        if self.flushes {
            if let Some(callout) = self.next_callout(host_ns) {
                return Some(Command::Post(callout));
            }
            self.flushes = false;
        }
        if let Some((category, limit)) = self.limit_to_share(host_ns) {
            return Some(Command::ShareLimit(category, limit));
        }
        if let Some((level, line)) = self.log.pop_front() {
            return Some(Command::Log(level, line));
        }
        if self.tells_metrics {
            if let Some((index, change)) = self.next_change() {
                return Some(Command::ChangeMetric(index, change));
            }
            self.tells_metrics = false;
        }
        if self.is_awaited && self.is_idle() {
            self.is_awaited = false;
            return Some(Command::Finished);
        }
        None
    }

    /// Expires overdue callouts, gives up what could not be sent in time, and counts whether this
    /// worker waits for the receiver.
    pub(crate) fn on_tick(&mut self, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let step_ns = now_ns.saturating_sub(std::mem::replace(&mut self.ticked_ns, now_ns));
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
        self.complete_all(lost);
        self.say_works(now_ns);
        self.give_up_late(now_ns);
        // The main thread's VM, which never sees a stream, is no worker.
        let is_worker = self.ended_ns > 0 && self.ending.is_none();
        self.set_limited(is_worker && self.is_limited_at(now_ns));
    }

    /// Whether the last tick is one for a flush: the flush interval is over, or nothing was queued
    /// since the tick before it.
    pub(crate) fn is_flush_due(&mut self) -> bool {
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
}

const NO_CALLOUTS: &str = "sentry: the host has no callouts: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";
const NO_TIMER: &str = "sentry: the host has no timer: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";

#[cfg(test)]
mod tests;
