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
mod destination;
mod ending;
mod posting;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use log::Level;

use crate::clock::Clock;
use crate::config::FilterConfig;
use crate::envelope::{BatchScope, Category, EncodedSegment};
use crate::export::callout::Callout;
use crate::export::delivery::{CalloutResponse, DiscardReason};
use crate::export::metrics::{Metric, Metrics};
use crate::export::queue::{Generations, Queue};
use crate::export::shared_limit::SharedLimit;
use crate::host::HostError;
use crate::project::ProjectId;
use crate::tracer::Recorded;
use destination::{Destination, Ending};

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
    SharedLimit(LimitKey, u64),
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
    ShareLimit(LimitKey, SharedLimit),
    /// Change the metric with this index in [`Metric::all`].
    ChangeMetric(usize, i64),
    /// Write a line into the log.
    Log(Level, Cow<'static, str>),
    /// What [`Event::Shutdown`] has left is done: see [`Exporter::set_awaited`].
    Finished,
}

/// What a limit is about.
pub type LimitKey = (ProjectId, Category);

/// The queues of one configuration, and their way to Sentry: one for each worker where workers share
/// nothing, else one for all of them.
#[derive(Debug)]
pub struct Exporter {
    config: Arc<FilterConfig>,
    /// The projects that are sent to so far.
    destinations: Vec<Destination>,
    /// Whose turn it is to post.
    turn: usize,
    generations: Generations,
    /// Its place among them.
    generation: u32,
    /// What its queues hold together, in bytes.
    max_queue_bytes: usize,
    /// How many POSTs may be under way at once.
    max_in_flight: usize,
    /// How many workers it has.
    workers: i64,
    /// Whether the host can send.
    can_send: bool,
    /// Under which names workers share limits.
    limit_names: Vec<(LimitKey, Arc<str>)>,
    /// What every duration here is measured on.
    clock: Clock,
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
    /// The next lines for the log.
    log: VecDeque<(Level, Cow<'static, str>)>,
}

impl Exporter {
    /// An exporter with nothing in it, whose queue shares the bounds of `generations`: what older
    /// generations of the configuration hold counts towards them. `seed` is a random number.
    pub fn new(config: Arc<FilterConfig>, generations: &Generations, seed: u64) -> Self {
        let mut exporter = Self {
            destinations: Vec::new(),
            turn: 0,
            generation: generations.next(),
            generations: generations.clone(),
            max_queue_bytes: config.transport.max_queue_bytes,
            max_in_flight: config.transport.max_in_flight,
            workers: 1,
            can_send: true,
            limit_names: Vec::new(),
            clock: Clock::default(),
            ended_ns: 0,
            ticked_ns: 0,
            flushed_ns: 0,
            is_quiet: true,
            ending: None,
            is_limited: false,
            metrics: Metrics::default(),
            random: seed,
            flushes: false,
            tells_metrics: false,
            is_awaited: false,
            has_logged_refused: false,
            log: VecDeque::new(),
            config: Arc::clone(&config),
        };
        for (id, _) in config.trace.projects.iter() {
            exporter.destination(id);
        }
        exporter
    }

    /// The same for so many workers, each of which has the bounds that the configuration names.
    pub fn for_workers(mut self, workers: usize) -> Self {
        let transport = &self.config.transport;
        self.workers = i64::try_from(workers).unwrap_or(i64::MAX);
        self.max_in_flight = transport.max_in_flight.saturating_mul(workers);
        self.max_queue_bytes = transport.max_queue_bytes.saturating_mul(workers);
        for destination in &mut self.destinations {
            destination.queue.set_max_bytes(self.max_queue_bytes);
        }
        self
    }

    /// The generations whose bounds it shares.
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// How often it wants a tick, in milliseconds.
    pub fn tick_period_ms(&self) -> u32 {
        match self.config.transport.flush_interval_ms {
            long if long > MAX_TICK_MS => QUIET_TICK_MS,
            interval => interval,
        }
    }

    /// Under which names workers share limits, each with what it is about: those with the same
    /// receiver and key, and the same kind of data. More of them come with projects of routes.
    pub fn limit_names(&self) -> &[(LimitKey, Arc<str>)] {
        &self.limit_names
    }

    /// Whether the host can make callouts.
    pub fn can_send(&self) -> bool {
        self.can_send
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.destinations.iter().all(Destination::is_idle)
    }

    /// What there is of a project, which begins with the first time that it is asked for. `None` on
    /// a host that cannot send.
    fn destination(&mut self, id: ProjectId) -> Option<&mut Destination> {
        let mut known = self.destinations.iter();
        let place = known.position(|known| known.id == id);
        let place = place.or_else(|| self.begin(id))?;
        self.destinations.get_mut(place)
    }

    /// Begins to send to a project.
    #[cold]
    fn begin(&mut self, id: ProjectId) -> Option<usize> {
        let config = Arc::clone(&self.config);
        let project = config.trace.projects.get(id).filter(|_| self.can_send)?;
        let generations = self.generations.clone();
        let queue = Queue::in_generation(self.generation, self.max_queue_bytes, generations);
        let mut new = Destination::new(id, project, Arc::clone(&config), queue);
        if let Some(ending) = self.ending {
            new.end(ending);
        }
        for category in new.transport.categories() {
            let parts = [
                "sentry-filter limit 2",
                config.transport.format.category_of(*category),
                project.dsn.public_key(),
                project.dsn.authority(),
            ];
            let name = ((id, *category), parts.join(" ").into());
            self.limit_names.push(name);
        }
        self.destinations.push(new);
        self.destinations.len().checked_sub(1)
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
        let change = self.metrics.next_change();
        change.or_else(|| {
            self.gather();
            self.metrics.next_change()
        })
    }

    /// Takes what was counted and said of each project.
    fn gather(&mut self) {
        for destination in &mut self.destinations {
            self.metrics.absorb(&mut destination.metrics);
            self.log.extend(std::mem::take(&mut destination.log));
        }
    }

    /// Takes what a tracer has recorded and counted.
    pub fn collect(&mut self, recorded: &mut Recorded) {
        self.collect_segments(recorded);
        self.metrics.absorb(&mut recorded.metrics);
        for (project, report) in std::mem::take(&mut recorded.reports) {
            if let Some(destination) = self.destination(project) {
                destination.report.merge(report);
            }
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

    /// Takes a segment whose stream ended at `ended_ns` by the host's clock.
    #[inline(never)]
    fn accept(&mut self, segment: EncodedSegment, ended_ns: u64) {
        let now_ns = self.clock.at(ended_ns);
        self.ended_ns = now_ns;
        self.is_quiet = false;
        let Some(destination) = self.destination(segment.project()) else {
            let lost = segment.quantity();
            let reason = DiscardReason::NetworkError;
            self.metrics
                .add(Metric::SpansDiscarded(reason), lost.spans.into());
            self.metrics
                .add(Metric::EventsDiscarded(reason), lost.events.into());
            return;
        };
        destination.accept(segment, now_ns);
        if self.destinations.len() > 1 {
            self.destinations
                .iter_mut()
                .for_each(Destination::settle_lost);
        }
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
            Event::SharedLimit(key, number) => self.on_shared_limit(key, number, host_ns),
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
        for destination in &mut self.destinations {
            if let Some((category, limit)) = destination.limit_to_share(host_ns) {
                return Some(Command::ShareLimit((destination.id, category), limit));
            }
            self.log.extend(std::mem::take(&mut destination.log));
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
        let mut is_limited = false;
        for destination in &mut self.destinations {
            if is_late {
                destination.transport.delay_expiry(step_ns);
            }
            let lost = destination.transport.expire(now_ns);
            destination.complete_all(lost, now_ns);
            destination.settle_lost();
            destination.say_works(now_ns);
            destination.give_up_late(now_ns);
            is_limited |= destination.is_limited_at(now_ns);
        }
        // The main thread's VM, which never sees a stream, is no worker.
        let is_worker = self.ended_ns > 0 && self.ending.is_none();
        self.set_limited(is_worker && is_limited);
    }

    fn set_limited(&mut self, is_limited: bool) {
        let change = i64::from(is_limited).saturating_sub(self.is_limited.into());
        let change = change.saturating_mul(self.workers);
        self.metrics.add(Metric::WorkersRateLimited, change);
        self.is_limited = is_limited;
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

    /// Whether enough waits to be sent without waiting for a tick, and could be sent as of the last
    /// stream's end.
    pub(crate) fn is_full_batch(&self) -> bool {
        let (max_in_flight, ended_ns) = (self.max_in_flight, self.ended_ns);
        let mut destinations = self.destinations.iter();
        destinations.any(|one| one.is_full_batch() && one.is_ready(max_in_flight, ended_ns))
    }

    /// Whether what waits goes on its way as soon as a response has made room. What goes together
    /// waits for a tick or a full batch instead: a receiver that answers quickly would otherwise
    /// get many small POSTs, which cost more than the spans in them.
    pub(crate) fn follows_responses(&self) -> bool {
        let scope = self.config.transport.format.batch_scope();
        self.ending.is_some() || scope != BatchScope::Any || self.is_full_batch()
    }

    /// The next thing to post, if anything waits and there is room for it: of one project after the
    /// other.
    pub(crate) fn next_callout(&mut self, host_ns: u64) -> Option<Callout> {
        let now_ns = self.clock.advance(host_ns);
        let max_in_flight = self.max_in_flight;
        let count = self.destinations.len();
        for _ in 0..count {
            let place = self.turn.checked_rem(count)?;
            self.turn = place.wrapping_add(1);
            let destination = self.destinations.get_mut(place)?;
            if destination.is_ready(max_in_flight, now_ns) {
                if let Some(callout) = destination.next_callout(now_ns, host_ns) {
                    return Some(callout);
                }
            }
        }
        None
    }

    pub(crate) fn on_posted(&mut self, callout: Callout, token: u32, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let id = callout.project;
        for other in self.destinations.iter_mut().filter(|other| other.id != id) {
            let replaced = other.transport.replaced(token).into_iter().collect();
            other.complete_all(replaced, now_ns);
        }
        if let Some(destination) = self.destination(id) {
            destination.on_posted(callout, token, now_ns);
        }
    }

    fn on_not_posted(&mut self, callout: Callout, error: HostError, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        self.on_refused(1);
        let random = self.next_random();
        if let Some(destination) = self.destination(callout.project) {
            destination.on_not_posted(callout, error, now_ns, random);
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
        let mut destinations = self.destinations.iter_mut();
        let destination = destinations.find(|one| one.transport.awaits(token));
        if let Some(destination) = destination {
            destination.on_response(token, response, host_ns, now_ns, random);
        }
    }

    pub(crate) fn on_shared_limit(&mut self, key: LimitKey, number: u64, host_ns: u64) {
        let now_ns = self.clock.advance(host_ns);
        let (project, category) = key;
        if let Some(destination) = self.destination(project) {
            destination.on_shared_limit(category, number, host_ns, now_ns);
        }
    }

    #[cold]
    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.set_limited(false);
        for destination in &mut self.destinations {
            destination.end(ending);
        }
        self.flushes = true;
        self.tells_metrics = true;
    }

    #[cold]
    pub(crate) fn abandon(&mut self) {
        let now_ns = self.clock.last();
        for destination in &mut self.destinations {
            destination.abandon(now_ns);
        }
        self.set_limited(false);
    }

    /// A host without callouts, or without a timer to make them by, is one for trace headers only.
    #[cold]
    pub(crate) fn degrade(&mut self, line: &'static str) {
        if self.can_send && !self.destinations.is_empty() {
            self.abandon();
            self.gather();
            self.destinations.clear();
            self.log.push_back((Level::Warn, line.into()));
        }
        self.can_send = false;
    }

    /// SplitMix64: numbers that differ from worker to worker are all that is asked of it.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed.wrapping_shr(31)
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

const CALLS_REFUSED: &str = "sentry: a host call failed; its value is treated as missing (logged once, see host_calls_refused)";
const NO_CALLOUTS: &str = "sentry: the host has no callouts: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";
const NO_TIMER: &str = "sentry: the host has no timer: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded";

#[cfg(test)]
mod tests;
