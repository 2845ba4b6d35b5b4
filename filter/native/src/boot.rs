//! The bootstrap extension: what lives as long as the process. Its callouts survive the
//! configurations they are made for, and Envoy waits for it before it ends.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sentry_filter_core::export::metrics::{Metric, MetricKind};
use sentry_filter_core::host::HostError;

use crate::abi::level;
use crate::guard::guard;
use crate::host::{self, Bootstrap, Callout, CompletionCallback, MetricIds, Scheduler};
use crate::inbox::{lock, CalloutAnswer};
use crate::ticker::Ticker;

/// How often those are looked at whose configuration has gone.
const TICK: Duration = Duration::from_millis(250);

/// Longer than exporters wait: Envoy is let go whatever keeps one of them.
const LONGEST_NS: u64 = 65_000_000_000;

static CURRENT: Mutex<Option<Arc<Boot>>> = Mutex::new(None);
static HAS_SAID_MISSING: AtomicBool = AtomicBool::new(false);

/// The extension, if the operator has it.
pub fn current() -> Option<Arc<Boot>> {
    lock(&CURRENT).clone()
}

/// Says that the operator does not have it, once.
pub fn say_missing() {
    if !HAS_SAID_MISSING.swap(true, Ordering::Relaxed) {
        host::log(level::WARN, "sentry: bootstrap_extensions has no envoy.bootstrap.dynamic_modules for this module: what ended since the last flush is lost when Envoy ends and when a listener is replaced");
    }
}

/// A configuration, as far as the extension has to do with it.
pub trait Resident: Debug + Send + Sync {
    /// Sends what it holds and waits for the responses; on the main thread.
    fn shut_down(&self);
    /// The same as soon as the main thread looks at it.
    fn shut_down_later(&self);
    /// Some time has passed; on the main thread.
    fn tick(&self);
    /// One of its callouts has ended; on the main thread.
    fn on_callout_done(&self, callout: u64, answer: CalloutAnswer);
    /// Nothing will be sent or answered any more; on the main thread.
    fn abandon(&self);
    /// Whether it holds nothing and waits for nothing.
    fn is_idle(&self) -> bool;
}

/// The extension.
#[derive(Debug)]
pub struct Boot {
    /// Envoy's side of it; `None` once it is destroyed.
    handle: Mutex<Option<Bootstrap>>,
    metrics: MetricIds,
    scheduler: Mutex<Option<Arc<Scheduler>>>,
    /// Whether Envoy has been let go: nothing that is sent from here on would arrive.
    is_over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All configurations that Envoy has.
    configurations: Vec<Weak<dyn Resident>>,
    /// Those that it has destroyed, and that wait for responses.
    adopted: Vec<Arc<dyn Resident>>,
    /// Whose callouts they are.
    callouts: HashMap<u64, Weak<dyn Resident>>,
    /// Whose callout is being begun, and which ones were answered meanwhile.
    beginning: Option<(Weak<dyn Resident>, Vec<u64>)>,
    ticker: Option<Ticker>,
    completion: Option<CompletionCallback>,
    /// When Envoy has asked for its end.
    since_ns: Option<u64>,
}

impl Boot {
    /// Starts it, and lets Envoy go on with its own start.
    pub fn start(handle: Bootstrap) -> Arc<Self> {
        let define = |metric: Metric| {
            let is_gauge = metric.kind() == MetricKind::Gauge;
            handle.define(&metric.name(), is_gauge)
        };
        let boot = Arc::new(Self {
            metrics: Metric::all().map(define).collect(),
            scheduler: Mutex::new(handle.scheduler().map(Arc::new)),
            handle: Mutex::new(Some(handle)),
            is_over: AtomicBool::new(false),
            state: Mutex::default(),
        });
        // The first one counts where an operator has several.
        lock(&CURRENT).get_or_insert_with(|| Arc::clone(&boot));
        handle.signal_init_complete();
        boot
    }

    /// Whether it can still send something.
    pub fn is_there(&self) -> bool {
        !self.is_over.load(Ordering::Acquire) && lock(&self.handle).is_some()
    }

    /// A configuration begins.
    pub fn add(&self, configuration: Weak<dyn Resident>) {
        let mut state = lock(&self.state);
        state
            .configurations
            .retain(|known| known.strong_count() > 0);
        state.configurations.push(configuration);
    }

    /// Sees to it that what a configuration holds is sent although it has gone, from whichever
    /// thread.
    pub fn adopt(&self, configuration: Arc<dyn Resident>) {
        lock(&self.state).adopted.push(Arc::clone(&configuration));
        if host::is_main_thread() {
            configuration.shut_down();
            self.tidy();
        } else {
            configuration.shut_down_later();
            if let Some(scheduler) = lock(&self.scheduler).as_ref() {
                scheduler.commit(0);
            }
        }
    }

    /// What was scheduled has come to the main thread.
    pub fn drive(&self) {
        let adopted = lock(&self.state).adopted.clone();
        for configuration in adopted {
            guard("bootstrap_extension_config_scheduled", (), || {
                configuration.tick()
            });
        }
        self.tidy();
    }

    /// Begins a callout for a configuration.
    pub fn post(
        &self,
        configuration: Weak<dyn Resident>,
        callout: &Callout<'_>,
    ) -> Result<u64, HostError> {
        let handle = *lock(&self.handle);
        let handle = handle.ok_or(HostError::Refused(0))?;
        let owner = configuration;
        lock(&self.state).beginning = Some((Weak::clone(&owner), Vec::new()));
        // No lock is held: Envoy may answer before it returns.
        let result = handle.post(callout);
        let mut state = lock(&self.state);
        let beginning = state.beginning.take();
        if let (Ok(id), Some((_, answered))) = (&result, beginning) {
            if !answered.contains(id) {
                state.callouts.insert(*id, owner);
            }
        }
        result
    }

    /// A callout has ended.
    pub fn on_callout_done(&self, callout: u64, answer: CalloutAnswer) {
        let owner = {
            let mut state = lock(&self.state);
            match (state.callouts.remove(&callout), &mut state.beginning) {
                (Some(owner), _) => Some(owner),
                (None, Some((owner, answered))) => {
                    answered.push(callout);
                    Some(Weak::clone(owner))
                }
                (None, None) => None,
            }
        };
        if let Some(configuration) = owner.and_then(|owner| owner.upgrade()) {
            configuration.on_callout_done(callout, answer);
        }
        self.tidy();
    }

    /// Changes a metric for a configuration that has gone; `false` if Envoy refuses.
    pub fn change_metric(&self, index: usize, change: i64) -> bool {
        match (*lock(&self.handle), self.metrics.get(index)) {
            (Some(handle), Some(Some(metric))) => handle.change(*metric, change),
            _ => true,
        }
    }

    /// Envoy ends as soon as everything is sent.
    pub fn on_shutdown(&self, completion: CompletionCallback) {
        let configurations = {
            let mut state = lock(&self.state);
            state.completion = Some(completion);
            state.since_ns = Some(host::now_ns());
            state.configurations.clone()
        };
        for configuration in configurations.iter().filter_map(Weak::upgrade) {
            // What is wrong with one does not keep Envoy, nor the others.
            guard("bootstrap_extension_shutdown", (), || {
                configuration.shut_down()
            });
        }
        self.tidy();
    }

    /// Envoy does not wait any more.
    pub fn give_up(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Forgets those that are done, looks at the others from time to time, and lets Envoy go when
    /// there are none.
    fn tidy(&self) {
        let mut state = lock(&self.state);
        state
            .adopted
            .retain(|configuration| !configuration.is_idle());
        let waits = !state.adopted.is_empty() || state.completion.is_some();
        let is_done = |known: &Weak<dyn Resident>| {
            let configuration = known.upgrade();
            configuration.is_none_or(|configuration| configuration.is_idle())
        };
        let all_done = state.adopted.is_empty() && state.configurations.iter().all(is_done);
        let passed_ns = |since_ns: u64| host::now_ns().saturating_sub(since_ns);
        let is_late = state
            .since_ns
            .is_some_and(|since_ns| passed_ns(since_ns) > LONGEST_NS);
        let completion = match all_done || is_late {
            true => state.completion.take(),
            false => None,
        };
        if completion.is_some() {
            self.is_over.store(true, Ordering::Release);
        }
        let ticker = match waits && completion.is_none() {
            true if state.ticker.is_none() => {
                state.ticker = self.ticker();
                None
            }
            true => None,
            false => state.ticker.take(),
        };
        // Both are done without the lock: the one waits for a thread, the other calls Envoy.
        drop(state);
        drop(ticker);
        drop(completion);
    }

    fn ticker(&self) -> Option<Ticker> {
        let scheduler = lock(&self.scheduler).clone()?;
        Ticker::start(TICK, move || scheduler.commit(0)).ok()
    }

    /// Envoy takes its side of it away.
    pub fn retire(self: &Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        let mut current = lock(&CURRENT);
        if current
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, self))
        {
            *current = None;
        }
        drop(current);
        lock(&self.handle).take();
    }

    /// The process ends.
    pub fn end(&self) {
        let State {
            adopted,
            ticker,
            completion,
            ..
        } = std::mem::take(&mut *lock(&self.state));
        drop((ticker, completion));
        for configuration in adopted {
            configuration.abandon();
        }
        lock(&self.scheduler).take();
    }
}
