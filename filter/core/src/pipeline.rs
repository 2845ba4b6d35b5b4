//! The straight line itself: request in, span out, callout out, answer in. Every method takes
//! values and returns values; the plugin fetches the former from the host and carries out the
//! latter.

mod export;
mod request;

use crate::clock::Clock;
use crate::config::FilterConfig;
use crate::cors::filter_order::FilterOrder;
use crate::envelope::client_report::ClientReport;
use crate::envelope::EncodeBuffers;
use crate::headers::HeaderMutation;
use crate::live::LiveBudget;
use crate::metrics::Metrics;
use crate::queue::{Generations, Queue};
use crate::trace::redirect::Redirects;
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::throttle::Throttle;
use crate::transport::shared_limit::SharedLimit;
use crate::transport::Transport;
use export::Ending;

pub use request::LiveRequest;

/// The state of one root context: one plugin configuration on one worker.
#[derive(Debug)]
pub struct Pipeline {
    config: FilterConfig,
    throttle: Option<Throttle>,
    filter_order: FilterOrder,
    redirects: Redirects,
    live: LiveBudget,
    buffers: EncodeBuffers,
    queue: Queue,
    transport: Option<Transport>,
    /// What every duration here is measured on.
    clock: Clock,
    /// What Sentry is to be told of what was lost.
    report: ClientReport,
    /// When it is told although nothing else is sent.
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
}

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
            buffers: EncodeBuffers::default(),
            queue: Queue::new(config.transport.max_queue_bytes, Generations::default()),
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
        }
    }

    /// The configuration it works by.
    pub fn config(&self) -> &FilterConfig {
        &self.config
    }

    /// What has been counted and not been told to the host.
    pub fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// What all live requests keep together, in bytes.
    pub fn live_bytes(&self) -> usize {
        self.live.used()
    }
}

#[cfg(test)]
mod tests;
