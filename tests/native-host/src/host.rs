//! The process: its main thread, its log, its metrics, and what goes wrong in it.

use std::collections::HashMap;
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use sentry_filter::guard::failpoints;

use crate::callbacks;

/// What happens to a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out.
    Refuse,
    /// It is carried out, and what it gives is null.
    Null,
    /// It gives less than it said.
    Short,
    /// It gives more than anybody has.
    Huge,
}

/// What the process has.
#[derive(Default)]
pub(crate) struct Process {
    log: Mutex<Vec<(u32, String)>>,
    faults: Mutex<HashMap<String, Fault>>,
    violations: Mutex<Vec<String>>,
    metrics: Mutex<HashMap<String, i64>>,
}

type Job = Box<dyn FnOnce() + Send>;

static PROCESS: OnceLock<Process> = OnceLock::new();
static MAIN: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps something for ever, where a leak checker finds it.
pub(crate) fn keep<T: Send + Sync>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let kept: &'static T = Box::leak(Box::new(value));
    lock(&KEPT).push(std::ptr::from_ref(kept) as usize);
    kept
}

pub(crate) fn process() -> &'static Process {
    PROCESS.get_or_init(Process::default)
}

impl Process {
    pub(crate) fn log(&self, level: u32, line: String) {
        lock(&self.log).push((level, line));
    }

    pub(crate) fn fault(&self, callback: &str) -> Option<Fault> {
        let faults = lock(&self.faults);
        faults.get(callback).or_else(|| faults.get("*")).copied()
    }

    pub(crate) fn refuses(&self, callback: &str) -> bool {
        self.fault(callback) == Some(Fault::Refuse)
    }

    pub(crate) fn violation(&self, what: impl Into<String>) {
        lock(&self.violations).push(what.into());
    }

    pub(crate) fn change(&self, metric: &str, change: i64) {
        *lock(&self.metrics).entry(metric.to_owned()).or_default() += change;
    }
}

/// The process, for one test at a time.
pub struct Host {
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    /// A process without faults, and with an empty log.
    pub fn start() -> Self {
        let turn = lock(&ONE_AT_A_TIME);
        callbacks::install();
        let process = process();
        lock(&process.log).clear();
        lock(&process.faults).clear();
        lock(&process.violations).clear();
        lock(&process.metrics).clear();
        failpoints::disarm();
        Self { _turn: turn }
    }

    /// Runs something on the main thread, and waits for it.
    ///
    /// # Panics
    /// If it does.
    pub fn on_main<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let main = MAIN.get_or_init(|| {
            let (sender, jobs) = channel::<Job>();
            thread::spawn(move || jobs.into_iter().for_each(|job| job()));
            Mutex::new(sender)
        });
        let (sender, result) = channel();
        let job: Job = Box::new(move || {
            // Whoever asked has gone: nobody wants to know.
            let _ = sender.send(job());
        });
        lock(main).send(job).expect("the main thread");
        result.recv().expect("a job that does not panic")
    }

    /// From here on something happens to a callback, by the end of its name; `*` is all of them.
    pub fn fault(&self, callback: &str, fault: Fault) {
        lock(&process().faults).insert(callback.to_owned(), fault);
    }

    /// From here on nothing happens to callbacks.
    pub fn heal(&self) {
        lock(&process().faults).clear();
    }

    /// From here on a hook panics.
    pub fn panic_in(&self, hook: &str) {
        failpoints::arm(hook);
    }

    /// How many panics were caught, in all tests of this process.
    pub fn panics(&self) -> u32 {
        sentry_filter::guard::panics()
    }

    /// From here on no hook panics.
    pub fn panic_nowhere(&self) {
        failpoints::disarm();
    }

    /// The lines of the log.
    pub fn log(&self) -> Vec<(u32, String)> {
        lock(&process().log).clone()
    }

    /// How many lines of the log contain a text.
    pub fn logged(&self, text: &str) -> usize {
        let log = self.log();
        log.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// What a metric says, by its name below `sentry_filter.`.
    pub fn metric(&self, name: &str) -> i64 {
        let name = format!("sentry_filter.{name}");
        lock(&process().metrics)
            .get(&name)
            .copied()
            .unwrap_or_default()
    }

    /// What all metrics say that are not 0.
    pub fn metrics(&self) -> Vec<(String, i64)> {
        let metrics = lock(&process().metrics);
        let mut all: Vec<_> = metrics
            .iter()
            .filter(|(_, count)| **count != 0)
            .map(|(name, count)| (name.clone(), *count))
            .collect();
        all.sort();
        all
    }

    /// What the module has done that it must not.
    pub fn violations(&self) -> Vec<String> {
        lock(&process().violations).clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.violations(), Vec::<String>::new());
        }
    }
}
