//! One configuration of the filter: a worker for each of Envoy's, and the exporter, which only the
//! main thread works with.

use std::collections::HashMap;
use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Duration;

use log::Level;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::export::callout::Callout;
use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::export::metrics::{Metric, MetricKind};
use sentry_filter_core::exporter::{Command, Event, Exporter};
use sentry_filter_core::host::HostError;
use sentry_filter_core::tracer::Tracer;

use crate::abi::level;
use crate::boot::{self, Boot, Resident};
use crate::generations;
use crate::host::{self, ConfigHandle, MetricIds};
use crate::inbox::{lock, CalloutAnswer, Inbox, Incoming};
use crate::limits;
use crate::ticker::Ticker;
use crate::worker::{event, Waker, Worker};

/// More workers than any Envoy has.
const MAX_WORKERS: usize = 4_096;

/// What Envoy has of the module for one configuration.
#[derive(Debug)]
pub struct Configuration {
    /// Itself, for those who are to answer it.
    me: Weak<Self>,
    workers: Vec<Arc<Worker>>,
    /// For streams of the main thread, which has some of its own.
    main: Arc<Worker>,
    inbox: Inbox,
    /// Never locked but for as long as the main thread works with it.
    exporter: Mutex<Exporter>,
    /// Envoy's side of it, until it is destroyed.
    handle: Mutex<Option<ConfigHandle>>,
    metrics: MetricIds,
    /// What outlives it, if the operator has it.
    boot: Option<Arc<Boot>>,
    /// The callouts under way: Envoy's number and the exporter's.
    callouts: Mutex<HashMap<u64, u32>>,
    next_token: Mutex<u32>,
    waker: Arc<Waker>,
    ticker: Mutex<Option<Ticker>>,
    is_idle: AtomicBool,
}

/// The variables that the filter reads, of Envoy's own process.
fn env_defaults() -> EnvDefaults {
    let variable = |name: &str| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    // This ABI does not tell a configuration the node.
    EnvDefaults {
        quotes_numbers: true,
        ..EnvDefaults::read(variable, None)
    }
}

impl Resident for Configuration {
    fn tick(&self) {
        self.inbox.push(Incoming::Tick);
        self.drive();
    }

    fn on_callout_done(&self, callout: u64, answer: CalloutAnswer) {
        self.inbox.push(Incoming::Answer(callout, answer));
        self.drive();
    }

    fn shut_down(&self) {
        self.inbox.push(Incoming::Shutdown);
        self.drive();
    }

    fn abandon(&self) {
        self.inbox.push(Incoming::Abandoned);
        self.drive();
    }

    fn shut_down_later(&self) {
        self.inbox.push(Incoming::Shutdown);
        self.is_idle.store(false, Ordering::Release);
    }

    fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Acquire)
    }
}

impl Configuration {
    /// Reads a configuration; `None` refuses it, and the log says why.
    pub fn new(handle: ConfigHandle, name: &[u8], text: &[u8]) -> Option<Arc<Self>> {
        let missing = crate::abi::callbacks().missing();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            host::log(level::ERROR, &format!("sentry: configuration refused: this Envoy lacks {missing}. The dynamic module needs Envoy 1.39 or newer; the Wasm module runs on older ones"));
            return None;
        }
        let mut log = |severity: Level, line: Arguments<'_>| {
            host::log(host::level(severity), &line.to_string());
        };
        let config = FilterConfig::load(text, &env_defaults(), &mut log)?;
        let only_validates = host::only_validates();
        let boot = boot::current();
        if boot.is_none() && !config.trace.projects.is_empty() && !only_validates {
            boot::say_missing();
        }
        let configuration = Self::start(handle, name, config, boot, only_validates);
        if let Some(boot) = &configuration.boot {
            boot.add(configuration.me.clone());
        }
        Some(configuration)
    }

    fn start(
        handle: ConfigHandle,
        name: &[u8],
        config: FilterConfig,
        boot: Option<Arc<Boot>>,
        only_validates: bool,
    ) -> Arc<Self> {
        let scheduler = match only_validates {
            true => None,
            false => handle.scheduler(),
        };
        let has_scheduler = scheduler.is_some();
        let waker = Arc::new(Waker::new(scheduler));
        let count = host::concurrency().min(MAX_WORKERS);
        // Each has a copy of its own, whose patterns nobody else looks at.
        let worker = || {
            let config = Arc::new(config.clone());
            Arc::new(Worker::new(config, Arc::clone(&waker)))
        };
        let workers = (0..count).map(|_| worker()).collect();
        let main = worker();
        let exporter = Exporter::new(Arc::new(config), &generations::of(name), random());
        let exporter = exporter.for_workers(count);
        let period = Duration::from_millis(exporter.tick_period_ms().max(1).into());
        let define = |metric: Metric| {
            let is_gauge = metric.kind() == MetricKind::Gauge;
            handle.define(&metric.name(), is_gauge)
        };
        let metrics: MetricIds = Metric::all().map(define).collect();
        let refused = metrics.iter().filter(|metric| metric.is_none()).count();
        let configuration = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            workers,
            main,
            inbox: Inbox::default(),
            exporter: Mutex::new(exporter),
            handle: Mutex::new(Some(handle)),
            metrics,
            boot,
            callouts: Mutex::default(),
            next_token: Mutex::new(0),
            waker: Arc::clone(&waker),
            ticker: Mutex::new(None),
            is_idle: AtomicBool::new(true),
        });
        if refused > 0 {
            let count = u32::try_from(refused).unwrap_or(u32::MAX);
            configuration.tell(Event::CallsRefused(count));
        }
        if only_validates {
            return configuration;
        }
        let ticker = has_scheduler.then(|| Ticker::start(period, move || waker.tick()).ok());
        match ticker.flatten() {
            Some(ticker) => *lock(&configuration.ticker) = Some(ticker),
            None => configuration.tell(Event::NoTimer),
        }
        configuration
    }

    /// What a worker has of it.
    pub fn worker(&self, index: usize) -> Arc<Worker> {
        Arc::clone(self.workers.get(index).unwrap_or(&self.main))
    }

    /// What was scheduled has come to the main thread.
    pub fn on_scheduled(&self, scheduled: u64) {
        self.waker.answered();
        if scheduled == event::TICK {
            self.tick();
        } else {
            self.drive();
        }
    }

    /// Envoy destroys it: on the main thread, or on that of the worker that had it last.
    pub fn destroy(configuration: Arc<Self>) {
        // The thread has ended when this is done, and calls nobody any more.
        drop(lock(&configuration.ticker).take());
        let boot = configuration.boot.as_ref().filter(|boot| boot.is_there());
        match boot.cloned() {
            Some(boot) => {
                // From here on the extension speaks for it.
                lock(&configuration.handle).take();
                boot.adopt(configuration);
            }
            None => {
                configuration.abandon();
                lock(&configuration.handle).take();
            }
        }
    }

    fn tell(&self, event: Event<'_>) {
        if let Some(mut exporter) = self.exporter() {
            exporter.handle(event, host::now_ns());
            self.carry_out_all(&mut exporter);
        }
    }

    /// The exporter, unless it is at work further up the stack.
    fn exporter(&self) -> Option<MutexGuard<'_, Exporter>> {
        match self.exporter.try_lock() {
            Ok(exporter) => Some(exporter),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Collects what the workers have, and lets the exporter work on all that has happened. Where
    /// it is at work already, it sees what was added before it is done.
    pub fn drive(&self) {
        let Some(mut exporter) = self.exporter() else {
            return;
        };
        self.collect(&mut exporter, |_| {});
        self.carry_out_all(&mut exporter);
        while let Some(incoming) = self.inbox.pop() {
            self.handle(&mut exporter, incoming);
            self.carry_out_all(&mut exporter);
        }
        self.is_idle.store(exporter.is_idle(), Ordering::Release);
    }

    fn collect(&self, exporter: &mut Exporter, mut act: impl FnMut(&mut Tracer)) {
        let can_send = exporter.can_send();
        for worker in self.workers.iter().chain([&self.main]) {
            let mut recorded = worker.take(|tracer| {
                tracer.set_can_send(can_send);
                act(tracer);
            });
            exporter.collect(&mut recorded);
        }
    }

    fn handle(&self, exporter: &mut Exporter, incoming: Incoming) {
        let now_ns = host::now_ns();
        match incoming {
            Incoming::Tick => {
                self.collect(exporter, |tracer| tracer.on_tick(now_ns));
                for (key, name) in exporter.limit_names().to_vec() {
                    if let Some(number) = limits::known(&name) {
                        exporter.handle(Event::SharedLimit(key, number), now_ns);
                    }
                }
                exporter.handle(Event::Tick, now_ns);
            }
            Incoming::Answer(callout, answer) => {
                let Some(token) = lock(&self.callouts).remove(&callout) else {
                    return;
                };
                let CalloutAnswer { headers, body } = answer;
                let mut body = || body.clone();
                let response = CalloutResponse::new(&headers, &mut body);
                exporter.handle(Event::Response(token, response), now_ns);
            }
            Incoming::Shutdown => {
                self.collect(exporter, Tracer::end);
                exporter.handle(Event::Shutdown, now_ns);
            }
            Incoming::Abandoned => {
                self.collect(exporter, Tracer::end);
                exporter.handle(Event::Abandoned, now_ns);
            }
        }
    }

    fn carry_out_all(&self, exporter: &mut Exporter) {
        while let Some(command) = exporter.poll(host::now_ns()) {
            match command {
                Command::Post(callout) => {
                    let event = self.post(callout);
                    exporter.handle(event, host::now_ns());
                }
                Command::ShareLimit(key, limit) => {
                    let mut names = exporter.limit_names().iter();
                    if let Some((_, name)) = names.find(|(known, _)| *known == key) {
                        limits::share(name, limit);
                    }
                }
                Command::ChangeMetric(index, change) => {
                    if !self.change_metric(index, change) {
                        exporter.handle(Event::CallsRefused(1), host::now_ns());
                    }
                }
                Command::Log(severity, line) => host::log(host::level(severity), &line),
                // It is looked at when all is carried out.
                Command::Finished => {}
            }
        }
    }

    /// Makes a callout.
    fn post(&self, callout: Callout) -> Event<'static> {
        let headers: Vec<_> = callout
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let request = host::Callout {
            cluster: &callout.cluster,
            headers: &headers,
            body: &callout.body,
            timeout_ms: callout.timeout_ms,
        };
        let handle = *lock(&self.handle);
        let result = match (&self.boot, self.me.upgrade(), handle) {
            (Some(boot), Some(me), _) if boot.is_there() => {
                let me: Weak<Self> = Arc::downgrade(&me);
                boot.post(me, &request)
            }
            // One that is not told of the end of a callout must not make it.
            (None, _, Some(handle)) => handle.post(&request),
            _ => Err(HostError::Refused(0)),
        };
        match result {
            Ok(id) => {
                let mut next = lock(&self.next_token);
                *next = next.wrapping_add(1);
                lock(&self.callouts).insert(id, *next);
                Event::Posted(callout, *next)
            }
            Err(error) => Event::NotPosted(callout, error),
        }
    }

    /// Changes a metric; `false` if Envoy refuses.
    fn change_metric(&self, index: usize, change: i64) -> bool {
        let handle = *lock(&self.handle);
        match (handle, &self.boot) {
            (Some(handle), _) => match self.metrics.get(index) {
                Some(Some(metric)) => handle.change(*metric, change),
                // That it could not be defined was told.
                _ => true,
            },
            (None, Some(boot)) => boot.change_metric(index, change),
            (None, None) => true,
        }
    }
}

/// A random number; the time where there is none.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match host::fill_random(&mut bytes) {
        true => u64::from_le_bytes(bytes),
        false => host::now_ns(),
    }
}
