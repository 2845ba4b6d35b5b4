//! The root context: one plugin configuration on one worker. It owns the pipeline, flushes it and
//! reads Sentry's answers.

use std::cell::RefCell;
use std::rc::Rc;

use log::{error, info, warn};
use sentry_filter_core::attribute::{Attribute, PrefetchedAttributes};
use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::metrics::Metric;
use sentry_filter_core::pipeline::Pipeline;
use sentry_filter_core::transport::shared_limit::SharedLimit;
use sentry_filter_core::transport::Answer;

use crate::host;
use crate::stream::Stream;
use crate::workers;

/// What a root context and its streams share.
#[derive(Default)]
pub struct Worker {
    /// Absent until a configuration was accepted.
    pub pipeline: Option<Pipeline>,
    /// Random bytes in stock.
    pub entropy: host::Entropy,
    /// What tells the attributes of a stream's end at once, on a host that can.
    pub at_end: Option<host::Expression>,
    /// The host's names of the metrics, in the order of `Metric::all`; absent where the host
    /// refused one.
    metrics: Vec<Option<u32>>,
    /// Whether the configuration is being replaced: `on_done` has been called.
    is_ending: bool,
    /// Whether the log has a line about a refused call.
    has_said_refused: bool,
    /// The host's name of the root context.
    root_id: u32,
    /// What the workers share a limit of the receiver's under.
    limit_key: Option<String>,
    /// Where a request that is redirected internally says that it was: a name of this context's
    /// own, since a chain may have several of these filters.
    pub redirect_state: String,
    /// What the generations of a configuration have in common.
    plugin: Plugin,
    /// What tells one generation from the others.
    json: Vec<u8>,
    /// Whether the host is Envoy, which drops a VM with its last root context, and the callouts
    /// with it.
    drops_vm: bool,
}

/// A plugin as the host's configuration names it: its name and its `root_id`.
#[derive(Default, PartialEq)]
struct Plugin(Option<Vec<u8>>, Option<Vec<u8>>);

/// How often a shared number is set anew when another worker was faster.
const MAX_TRIES: u32 = 4;
/// How much of an answer is read to know why Envoy gave it, or what a receiver did not take, in
/// bytes.
const MAX_ANSWER: usize = 4_096;

/// The root context.
pub struct Root {
    worker: Rc<RefCell<Worker>>,
}

impl Root {
    /// The root context that the host calls by a number.
    pub fn new(root_id: u32) -> Self {
        let worker = Worker {
            root_id,
            ..Worker::default()
        };
        Self {
            worker: Rc::new(RefCell::new(worker)),
        }
    }

    /// A callout was answered, or has failed.
    pub fn on_http_call_response(&self, token: u32) {
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return;
        };
        worker.on_answer(token);
        worker.end_if_idle();
    }

    /// A configuration that is replaced sends what it holds and waits for the answers. In Envoy
    /// that is not possible for the last one in a VM, which is dropped as soon as this returns; nor
    /// for another one with the same configuration, in whose place Envoy now waits for this one.
    pub fn on_done(&self) -> bool {
        let others = workers::others(&self.worker);
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return true;
        };
        worker.is_ending = true;
        // A stream that is still there asks one by one.
        worker.delete_expression();
        let lives = |other: &Rc<RefCell<Worker>>| {
            let other = other.try_borrow();
            other.is_ok_and(|other| other.pipeline.is_some() && !other.is_ending)
        };
        let is_last = worker.drops_vm && !others.iter().any(lives);
        match &mut worker.pipeline {
            Some(pipeline) if is_last => pipeline.end_with_vm(),
            Some(pipeline) => pipeline.end(),
            None => {}
        }
        worker.flush();
        for mut other in others
            .iter()
            .filter_map(|other| other.try_borrow_mut().ok())
        {
            let is_displaced = other.plugin == worker.plugin && other.json == worker.json;
            if other.is_ending && (is_last || is_displaced) {
                other.abandon();
            }
        }
        if is_last {
            worker.abandon();
        }
        worker.report();
        worker.is_idle()
    }

    /// Whether the plugin configuration is taken.
    pub fn on_configure(&self) -> bool {
        workers::add(&self.worker);
        let others = workers::others(&self.worker);
        match self.worker.try_borrow_mut() {
            Ok(mut worker) => worker.configure(&others),
            Err(_) => false,
        }
    }

    /// A tick, as often as was asked for.
    pub fn on_tick(&self) {
        if let Ok(mut worker) = self.worker.try_borrow_mut() {
            worker.on_tick();
            worker.end_if_idle();
        }
    }

    /// A stream of this context's.
    pub fn stream(&self, id: u32) -> Stream {
        Stream::new(id, Rc::clone(&self.worker))
    }
}

impl Worker {
    /// Takes a host call's result; a refusal counts and is as if there were nothing.
    pub fn accept<T>(&mut self, result: Result<T, host::HostError>) -> Option<T> {
        self.count_refused(result.is_err().into());
        result.ok()
    }

    /// Counts refused host calls, and says so once.
    pub fn count_refused(&mut self, count: i64) {
        let Some(pipeline) = self.pipeline.as_mut().filter(|_| count > 0) else {
            return;
        };
        pipeline.metrics().add(Metric::HostCallsRefused, count);
        if !std::mem::replace(&mut self.has_said_refused, true) {
            warn!("sentry: the host refuses calls: what they would have given counts as absent. Said once; host_calls_refused counts");
        }
    }

    /// A host without callouts, or without a timer to make them by, is one for trace headers only
    /// (filter.md §9).
    fn degrade(&mut self, what: &str) {
        let can_send = |pipeline: &&mut Pipeline| pipeline.can_send();
        if let Some(pipeline) = self.pipeline.as_mut().filter(can_send) {
            pipeline.only_propagate();
            warn!("sentry: the host has no {what}: nothing is started, recorded or sent; trace headers are validated, repaired and forwarded");
        }
    }

    /// The host's clock; the epoch if there is none.
    pub fn now_ns(&mut self) -> u64 {
        let now = host::now_ns();
        self.accept(now).unwrap_or_default()
    }

    fn configure(&mut self, others: &[Rc<RefCell<Self>>]) -> bool {
        let json = match host::plugin_configuration() {
            Ok(json) => json,
            Err(refused) => {
                error!("sentry: configuration refused: the host does not give it: {refused}");
                return false;
            }
        };
        let config = match FilterConfig::parse(&json, &host::env()) {
            Ok(config) => config,
            Err(problems) => {
                for problem in problems {
                    error!("sentry: configuration refused: {problem}");
                }
                return false;
            }
        };
        match &config.dsn {
            Some(dsn) => info!(
                "sentry: spans go to {dsn} through cluster {:?}",
                config.transport.cluster
            ),
            None => info!(
                "sentry: no DSN, trace headers are validated and forwarded, nothing is recorded"
            ),
        }
        // One that is replaced in its place has no other end.
        self.abandon();
        self.delete_expression();
        if config.dsn.is_some() {
            let created = host::Expression::create(&PrefetchedAttributes::expression());
            self.at_end = self.accept(created).flatten();
        }
        self.redirect_state = format!("sentry.redirect.{:016x}", host::random_number());
        let kept = host::keep_filter_state(&self.redirect_state);
        self.accept(kept);
        let attribute = |attribute| host::property(attribute).ok().flatten();
        self.plugin = Plugin(
            attribute(Attribute::PluginName),
            attribute(Attribute::PluginRootId),
        );
        self.drops_vm = attribute(Attribute::PluginVmId).is_some();
        self.json = json;
        let mut pipeline = Pipeline::new(config);
        for other in others.iter().filter_map(|other| other.try_borrow().ok()) {
            if let Some(older) = other
                .pipeline
                .as_ref()
                .filter(|_| other.plugin == self.plugin)
            {
                pipeline.share_bounds(older.generations());
            }
        }
        self.limit_key = pipeline.limit_key();
        let tick_period_ms = pipeline.tick_period_ms();
        self.pipeline = Some(pipeline);
        self.metrics = Metric::all()
            .map(|metric| {
                let defined = host::define_metric(&metric.name(), metric.kind());
                self.accept(defined)
            })
            .collect();
        // Also without a DSN: the tick tells the host what was counted.
        let set = host::set_tick_period_ms(tick_period_ms);
        if self.accept(set).is_none() {
            self.degrade("timer");
        }
        true
    }

    fn flush(&mut self) {
        let now_ns = self.now_ns();
        loop {
            let Some(callout) = self
                .pipeline
                .as_mut()
                .and_then(|pipeline| pipeline.next_callout(now_ns))
            else {
                return;
            };
            let result = host::dispatch(&callout);
            let is_for_good = result.is_err_and(host::HostError::is_for_good);
            let token = self.accept(result);
            let Some(pipeline) = &mut self.pipeline else {
                return;
            };
            match token {
                Some(token) => pipeline.on_dispatched(callout, token, now_ns),
                // The next one would fare no better; one that is tried later may.
                None => {
                    pipeline.on_not_dispatched(callout, now_ns, self.entropy.number());
                    if is_for_good {
                        self.degrade("callouts");
                    }
                    return;
                }
            }
        }
    }

    /// Sends what waits from the callback of a stream, if it is a full batch: it would be late, or
    /// too much, at the next tick.
    pub fn flush_full_batch(&mut self, stream_id: u32) {
        if !self.pipeline.as_ref().is_some_and(Pipeline::is_full_batch) {
            return;
        }
        // Callouts of the stream would be dropped with it.
        let entered = host::set_effective_context(self.root_id);
        if self.accept(entered).is_some() {
            self.flush();
            let left = host::set_effective_context(stream_id);
            self.accept(left);
        }
    }

    fn on_tick(&mut self) {
        let now_ns = self.now_ns();
        self.learn_limit(now_ns);
        let is_due = self.pipeline.as_mut().is_some_and(|pipeline| {
            pipeline.on_tick(now_ns);
            pipeline.is_flush_due()
        });
        if is_due {
            self.flush();
        }
        self.report();
    }

    fn on_answer(&mut self, token: u32) {
        let now_ns = self.now_ns();
        let headers = host::callout_response_headers();
        // No headers are an answer, too: none came.
        let headers = self.accept(headers).unwrap_or_default();
        let random = self.entropy.number();
        if let Some(pipeline) = &mut self.pipeline {
            let mut body = || host::callout_response_body(MAX_ANSWER).unwrap_or_default();
            let mut answer = Answer::new(&headers, &mut body);
            pipeline.on_answer(token, &mut answer, now_ns, random);
            if let Some(limit) = pipeline.limit_to_share(now_ns) {
                self.share_limit(limit);
            }
        }
        if self
            .pipeline
            .as_ref()
            .is_some_and(Pipeline::follows_answers)
        {
            self.flush();
        }
        self.report();
    }

    /// What another worker was told by the receiver counts for this one, too.
    fn learn_limit(&mut self, now_ns: u64) {
        let Some(key) = self.limit_key.take() else {
            return;
        };
        let number = host::shared_number(&key);
        self.limit_key = Some(key);
        let number = self.accept(number).flatten();
        if let (Some(pipeline), Some((number, _))) = (&mut self.pipeline, number) {
            pipeline.on_shared_limit(number, now_ns);
        }
    }

    /// Tells the other workers, unless one of them knows of a longer limit.
    fn share_limit(&mut self, limit: SharedLimit) {
        let Some(key) = self.limit_key.take() else {
            return;
        };
        for _ in 0..MAX_TRIES {
            let number = host::shared_number(&key);
            let (known, version) = self.accept(number).flatten().unwrap_or_default();
            if !limit.outlasts(SharedLimit::told(known)) {
                break;
            }
            let set = host::set_shared_number(&key, limit.number(), version);
            // HostError, or done; else another worker was faster.
            if self.accept(set) != Some(false) {
                break;
            }
        }
        self.limit_key = Some(key);
    }

    /// Tells the host what was counted since the last time.
    fn report(&mut self) {
        let Some(pipeline) = &mut self.pipeline else {
            return;
        };
        let changes = pipeline.metrics().take();
        for (index, change) in changes {
            if let Some(Some(id)) = self.metrics.get(index).copied() {
                let result = host::change_metric(id, change);
                self.accept(result);
            }
        }
    }

    /// Ends a context that `on_done` kept alive, once the last answer has come.
    fn end_if_idle(&mut self) {
        if self.is_ending && self.is_idle() {
            let result = host::done();
            self.accept(result);
        }
    }

    /// What it holds is lost, and said so.
    fn abandon(&mut self) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.abandon();
        }
        self.report();
    }

    fn delete_expression(&mut self) {
        if let Some(expression) = self.at_end.take() {
            expression.delete();
        }
    }

    fn is_idle(&self) -> bool {
        self.pipeline.as_ref().is_none_or(Pipeline::is_idle)
    }
}
