//! The root context: one plugin configuration on one worker. It fetches values for the core's
//! [`Worker`] and carries out its commands.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use log::{error, log};
use sentry_filter_codec::attributes::{self, PrefetchedAttributes};
use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::export::metrics::Metric;
use sentry_filter_core::export::shared_limit::SharedNumber;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::host::HostError;
use sentry_filter_core::worker::{Identity, Worker};

use crate::host;

/// The root context, shared with its streams.
pub type SharedRoot = Rc<RefCell<Root>>;

/// The root context.
pub struct Root {
    /// The host's number of it.
    id: u32,
    /// Absent until a configuration was accepted.
    pub configured: Option<Configured>,
}

/// A configuration that was accepted.
pub struct Configured {
    /// What decides.
    pub worker: Worker,
    /// What gives the attributes of a stream's end at once, on a host that can.
    pub expression: Option<host::Expression>,
    /// The property with the token of a request that was redirected internally: a name of this
    /// context's own, since a chain may have several of these filters.
    pub redirect_state: String,
    /// The host's numbers of the metrics, in the order of `Metric::all`; absent where the host
    /// refused one.
    metrics: Vec<Option<u32>>,
    /// The host's number of the root context.
    root_id: u32,
}

impl Root {
    /// The root context that the host calls by a number.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            configured: None,
        }
    }
}

/// Whether the plugin configuration is taken. `others` are all other root contexts, the oldest
/// first.
pub fn on_configure(root: &SharedRoot, others: &[SharedRoot]) -> bool {
    let json = match host::plugin_configuration() {
        Ok(json) => json,
        Err(error) => {
            error!("sentry: configuration refused: the host does not give it: {error}");
            return false;
        }
    };
    let mut log = |level, line: std::fmt::Arguments<'_>| log!(level, "{line}");
    let Some(config) = FilterConfig::load(&json, &host::env_defaults(), &mut log) else {
        return false;
    };
    let Ok(mut root) = root.try_borrow_mut() else {
        return false;
    };
    // One that is replaced in its place has no other end.
    if let Some(replaced) = &mut root.configured {
        replaced.handle(Event::Abandoned);
        replaced.delete_expression();
    }
    let id = root.id;
    let others = borrowed(others);
    let others = others.iter().filter_map(|other| other.configured.as_ref());
    let others = others.map(|other| &other.worker);
    root.configured = Some(Configured::new(id, config, json, others));
    true
}

/// A tick, as often as was asked for.
pub fn on_tick(root: &SharedRoot) {
    with(root, |configured| {
        configured.learn_limit();
        configured.handle(Event::Tick);
    });
}

/// A callout was answered, or has failed.
pub fn on_http_call_response(root: &SharedRoot, token: u32) {
    with(root, |configured| {
        // No headers are a response, too: none came.
        let headers = configured.accept(host::callout_response_headers());
        let headers = headers.unwrap_or_default();
        let mut body =
            || host::callout_response_body(CalloutResponse::MAX_BODY).unwrap_or_default();
        let response = CalloutResponse::new(&headers, &mut body);
        configured.handle(Event::Response(token, response));
    });
}

/// Whether the configuration has ended: see [`Worker::begin_shutdown`].
pub fn on_done(root: &SharedRoot, others: &[SharedRoot]) -> bool {
    let Ok(mut root) = root.try_borrow_mut() else {
        return true;
    };
    let Some(configured) = &mut root.configured else {
        return true;
    };
    // A stream that is still there asks one by one.
    configured.delete_expression();
    let now_ns = configured.now_ns();
    let mut others = borrowed(others);
    let mut others: Vec<&mut Configured> = others
        .iter_mut()
        .filter_map(|other| other.configured.as_mut())
        .collect();
    let is_last = {
        let workers: Vec<&mut Worker> = others.iter_mut().map(|other| &mut other.worker).collect();
        configured.worker.begin_shutdown(&workers, now_ns)
    };
    configured.run(now_ns);
    let is_idle = {
        let mut workers: Vec<&mut Worker> =
            others.iter_mut().map(|other| &mut other.worker).collect();
        let worker = &mut configured.worker;
        worker.shut_down(&mut workers, is_last, now_ns)
    };
    others.iter_mut().for_each(|other| other.run(now_ns));
    configured.run(now_ns);
    is_idle
}

/// Lets a configuration act, if there is one that is not at work.
fn with(root: &SharedRoot, act: impl FnOnce(&mut Configured)) {
    if let Ok(mut root) = root.try_borrow_mut() {
        root.configured.as_mut().map(act);
    }
}

/// Those roots that are not at work.
fn borrowed(roots: &[SharedRoot]) -> Vec<RefMut<'_, Root>> {
    let roots = roots.iter();
    roots
        .filter_map(|root| root.try_borrow_mut().ok())
        .collect()
}

impl Configured {
    fn new<'w>(
        root_id: u32,
        config: FilterConfig,
        configuration: Vec<u8>,
        others: impl Iterator<Item = &'w Worker>,
    ) -> Self {
        let has_dsn = !config.trace.projects.is_empty();
        let property = |path| host::property(path).ok().flatten();
        let identity = Identity {
            plugin: [attributes::PLUGIN_NAME, attributes::PLUGIN_ROOT_ID].map(property),
            configuration,
            drops_vm: property(attributes::PLUGIN_VM_ID).is_some(),
        };
        // Without random bytes two of these filters in one chain have the same name for it.
        let [seed, name] = [(), ()].map(|()| {
            let mut random = [0; 8];
            let _ = host::fill_random(&mut random);
            u64::from_le_bytes(random)
        });
        let mut worker = Worker::new(config, identity, others, seed);
        let exporter = worker.exporter();
        let tick_period_ms = exporter.tick_period_ms();
        let mut configured = Self {
            worker,
            expression: None,
            redirect_state: format!("sentry.redirect.{name:016x}"),
            metrics: Vec::new(),
            root_id,
        };
        if has_dsn {
            let created = host::Expression::create(&PrefetchedAttributes::expression());
            configured.expression = configured.accept(created).flatten();
        }
        configured.accept(host::keep_filter_state(&configured.redirect_state));
        configured.metrics = Metric::all()
            .map(|metric| configured.accept(host::define_metric(&metric.name(), metric.kind())))
            .collect();
        // Also without a DSN: the tick tells the host what was counted.
        if configured
            .accept(host::set_tick_period_ms(tick_period_ms))
            .is_none()
        {
            configured.handle(Event::NoTimer);
        }
        configured
    }

    /// Takes a host call's result; a refusal counts and is as if there were nothing.
    pub fn accept<T>(&mut self, result: Result<T, HostError>) -> Option<T> {
        let refused = result.is_err();
        self.worker.tracer().count_refused(refused.into());
        result.ok()
    }

    /// Makes what waits leave from the callback of a stream, if it is a full batch: it would be
    /// late, or too much, at the next tick.
    pub fn flush_full_batch(&mut self, stream_id: u32) {
        if !self.worker.exporter().is_flushing() {
            return;
        }
        // Callouts of the stream would be dropped with it.
        let entered = host::set_effective_context(self.root_id);
        if self.accept(entered).is_some() {
            let now_ns = self.now_ns();
            self.run(now_ns);
            let left = host::set_effective_context(stream_id);
            self.accept(left);
        }
    }

    fn handle(&mut self, event: Event<'_>) {
        let now_ns = self.now_ns();
        self.worker.handle(event, now_ns);
        self.run(now_ns);
    }

    /// Carries out what the core wants to be done.
    #[inline(never)]
    fn run(&mut self, now_ns: u64) {
        while let Some(command) = self.worker.exporter().poll(now_ns) {
            match command {
                Command::Post(callout) => {
                    let event = match host::dispatch(&callout) {
                        Ok(token) => Event::Posted(callout, token),
                        Err(error) => Event::NotPosted(callout, error),
                    };
                    self.worker.handle(event, now_ns);
                }
                Command::ShareLimit(key, limit) => {
                    let names = self.worker.exporter().limit_names().to_vec();
                    for (_, name) in names.iter().filter(|(known, _)| *known == key) {
                        self.accept(limit.publish(&mut SharedData(name)));
                    }
                }
                Command::ChangeMetric(index, change) => {
                    if let Some(Some(id)) = self.metrics.get(index).copied() {
                        self.accept(host::change_metric(id, change));
                    }
                }
                Command::Log(level, line) => log!(level, "{line}"),
                Command::Finished => {
                    self.accept(host::done());
                }
            }
        }
    }

    /// What another worker was told by the receiver counts for this one, too.
    fn learn_limit(&mut self) {
        for (key, name) in self.worker.exporter().limit_names().to_vec() {
            let number = SharedData(&name).get();
            if let Some((number, _)) = self.accept(number).flatten() {
                let now_ns = self.now_ns();
                self.worker.handle(Event::SharedLimit(key, number), now_ns);
            }
        }
    }

    fn now_ns(&mut self) -> u64 {
        let now_ns = host::now_ns();
        self.accept(now_ns).unwrap_or_default()
    }

    fn delete_expression(&mut self) {
        if let Some(expression) = self.expression.take() {
            expression.delete();
        }
    }
}

/// A number in the host's shared data.
struct SharedData<'a>(&'a str);

impl SharedNumber for SharedData<'_> {
    fn get(&mut self) -> Result<Option<(u64, u32)>, HostError> {
        host::shared_number(self.0)
    }

    fn set(&mut self, number: u64, version: u32) -> Result<bool, HostError> {
        host::set_shared_number(self.0, number, version)
    }
}
