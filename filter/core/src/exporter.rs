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

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use log::Level;

use crate::clock::Clock;
use crate::config::FilterConfig;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{BatchScope, EncodedSegment};
use crate::export::callout::Callout;
use crate::export::delivery::{CalloutResponse, Delivery, DiscardReason};
use crate::export::failure::{Failure, FailureLog};
use crate::export::in_flight::CompletedCallout;
use crate::export::metrics::{Metric, Metrics};
use crate::export::queue::{Generations, Queue};
use crate::export::shared_limit::SharedLimit;
use crate::export::transport::Transport;
use crate::host::HostError;
use crate::quantity::Quantity;
use crate::tracer::Recorded;

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
    SharedLimit(u64),
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
    ShareLimit(SharedLimit),
    /// Change the metric with this index in [`Metric::all`].
    ChangeMetric(usize, i64),
    /// Write a line into the log.
    Log(Level, Cow<'static, str>),
    /// What [`Event::Shutdown`] has left is done: see [`Exporter::set_awaited`].
    Finished,
}

/// How a configuration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// What it holds is sent, and the responses are awaited.
    Waits {
        /// When what has not left by then is given up; 0 until the first tick.
        until_ns: u64,
    },
    /// Nobody will be there for a response.
    Last,
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
    shared_limit: Option<SharedLimit>,
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
        let transport = dsn.map(|dsn| Transport::new(dsn, &config.transport));
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
            shared_limit: None,
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

    /// Under which name workers share a limit: those with the same receiver and key, and the same
    /// kind of data.
    pub fn limit_key(&self) -> Option<String> {
        let (dsn, format) = (
            self.config.trace.dsn.as_ref()?,
            self.config.transport.format,
        );
        let (key, authority) = (dsn.public_key(), dsn.authority());
        Some(format!(
            "sentry-filter limit 2 {} {key} {authority}",
            format.category()
        ))
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
        if self.is_closed(self.ended_ns) {
            return self.discard(DiscardReason::RatelimitBackoff, quantity);
        }
        self.metrics.add(Metric::SpansQueued, quantity.spans.into());
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
            Event::SharedLimit(number) => self.on_shared_limit(number, host_ns),
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
        if let Some(limit) = self.limit_to_share(host_ns) {
            return Some(Command::ShareLimit(limit));
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

    fn is_ready(&self, now_ns: u64) -> bool {
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
        let body = format.body(&segments, report.as_ref(), &self.config.resource, host_ns);
        let transport = self.transport.as_ref()?;
        Some(transport.callout(segments, report, body))
    }

    pub(crate) fn on_posted(&mut self, callout: Callout, token: u32, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let spans = callout.quantity().spans;
        self.metrics.subtract(Metric::SpansQueued, spans.into());
        self.metrics.add(Metric::SpansInFlight, spans.into());
        let replaced = match &mut self.transport {
            Some(transport) => transport.posted(token, callout, now_ns),
            None => Vec::new(),
        };
        self.complete_all(replaced);
    }

    fn on_not_posted(&mut self, callout: Callout, error: HostError, host_ns: u64) {
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

    fn obey_limit(&mut self, now_ns: u64) {
        if self.is_closed(now_ns) {
            self.discard_waiting(DiscardReason::RatelimitBackoff);
        }
    }

    fn complete_all(&mut self, completed: Vec<CompletedCallout>) {
        for completed in completed {
            self.complete(completed);
        }
        self.note_posts();
    }

    /// Tells the other generations how many POSTs are under way.
    fn note_posts(&mut self) {
        let posts = self.transport.as_ref().map_or(0, Transport::in_flight);
        self.queue.set_posts(posts);
    }

    fn complete(&mut self, completed: CompletedCallout) {
        let now_ns = self.clock.last();
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
    fn say_failure(&mut self, failure: Failure, now_ns: u64) {
        let is_otlp =
            self.config.transport.path.is_none() && !self.config.transport.format.carries_reports();
        if let Some(line) = self.failures.line(failure, is_otlp, now_ns) {
            self.log.push_back((Level::Warn, line.into()));
        }
    }

    /// Once, when it is over.
    fn say_works(&mut self, now_ns: u64) {
        if let Some(line) = self.failures.works_line(now_ns) {
            self.log.push_back((Level::Warn, line.into()));
        }
    }

    fn settle(&mut self, completed: CompletedCallout) {
        let CompletedCallout {
            segments,
            report,
            delivery,
            rejected,
            ..
        } = completed;
        let quantity: Quantity = segments.iter().map(EncodedSegment::quantity).sum();
        let spans = i64::from(quantity.spans);
        self.metrics.subtract(Metric::SpansInFlight, spans);
        self.metrics.add(Metric::Callouts(delivery), 1);
        if delivery != Delivery::Accepted {
            self.report.merge(report.unwrap_or_default());
        }
        match (delivery, delivery.discard_reason()) {
            (Delivery::Accepted, _) => {
                self.queue.release(&segments);
                let rejected = Quantity {
                    segments: 0,
                    spans: rejected,
                };
                self.metrics.add(
                    Metric::SpansSent,
                    spans.saturating_sub(rejected.spans.into()),
                );
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
                self.metrics.add(Metric::SpansQueued, spans);
                self.queue.put_back(segments);
            }
        }
    }

    /// The limit that the last response has set, for the other workers, once.
    fn limit_to_share(&mut self, host_ns: u64) -> Option<SharedLimit> {
        let seconds = self.transport.as_mut()?.take_said_s()?;
        let limit = SharedLimit::new(host_ns, seconds);
        self.shared_limit = Some(limit);
        Some(limit)
    }

    /// What was told before counts once: it is told again when the clock was set back.
    pub(crate) fn on_shared_limit(&mut self, number: u64, host_ns: u64) {
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

    fn on_refused(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        self.metrics.add(Metric::HostCallsRefused, count.into());
        if !std::mem::replace(&mut self.has_logged_refused, true) {
            self.log.push_back((Level::Warn, CALLS_REFUSED.into()));
        }
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
        self.set_limited(is_worker && self.is_closed(now_ns));
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

    fn set_limited(&mut self, is_limited: bool) {
        let change = i64::from(is_limited).saturating_sub(self.is_limited.into());
        let change = change.saturating_mul(self.workers);
        self.metrics.add(Metric::WorkersRateLimited, change);
        self.is_limited = is_limited;
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.set_limited(false);
        if let Some(transport) = &mut self.transport {
            transport.forget_failures();
        }
        self.flushes = true;
        self.tells_metrics = true;
    }

    /// What an old configuration could not send in its time is discarded.
    fn give_up_late(&mut self, now_ns: u64) {
        if let Some(Ending::Waits { until_ns }) = &mut self.ending {
            if *until_ns == 0 {
                *until_ns = now_ns.saturating_add(MAX_ENDING_NS);
            } else if *until_ns <= now_ns {
                self.discard_waiting(DiscardReason::NetworkError);
            }
        }
    }

    pub(crate) fn abandon(&mut self) {
        self.discard_waiting(DiscardReason::NetworkError);
        let lost = match &mut self.transport {
            Some(transport) => transport.abandon(),
            None => Vec::new(),
        };
        self.complete_all(lost);
        self.set_limited(false);
    }

    /// A host without callouts, or without a timer to make them by, is one for trace headers only.
    pub(crate) fn degrade(&mut self, line: &'static str) {
        if self.can_send() {
            self.abandon();
            self.transport = None;
            self.log.push_back((Level::Warn, line.into()));
        }
    }

    fn is_closed(&self, now_ns: u64) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.is_closed(now_ns))
    }

    fn discard_waiting(&mut self, reason: DiscardReason) {
        let lost = self.queue.clear();
        self.discard_queued(reason, lost);
    }

    fn discard_queued(&mut self, reason: DiscardReason, lost: Quantity) {
        self.metrics
            .subtract(Metric::SpansQueued, lost.spans.into());
        self.discard(reason, lost);
    }

    /// Counts what is lost, here and for Sentry.
    fn discard(&mut self, reason: DiscardReason, lost: Quantity) {
        self.count_discarded(reason, lost);
        if self.config.transport.client_reports {
            let format = self.config.transport.format;
            self.report.add(reason.report_reason(), lost, format);
        }
    }

    fn count_discarded(&mut self, reason: DiscardReason, lost: Quantity) {
        self.failures.lost(lost.spans);
        self.metrics
            .add(Metric::SpansDiscarded(reason), lost.spans.into());
    }

    /// SplitMix64: numbers that differ from worker to worker are all that is asked of it.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed.wrapping_shr(31)
    }
}

const CALLS_REFUSED: &str = "sentry: a host call failed; its value is treated as missing (logged once, see host_calls_refused)";
const NO_CALLOUTS: &str = "sentry: the host has no callouts: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";
const NO_TIMER: &str = "sentry: the host has no timer: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";

#[cfg(test)]
mod tests;
