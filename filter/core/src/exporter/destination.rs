//! What an exporter has of each project: what waits for it, the way to it and its account.

use std::borrow::Cow;
use std::sync::Arc;

use log::Level;

use crate::config::FilterConfig;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{BatchScope, Category, EncodedSegment, Resource};
use crate::export::delivery::DiscardReason;
use crate::export::failure::FailureLog;
use crate::export::metrics::{Metric, Metrics};
use crate::export::queue::Queue;
use crate::export::shared_limit::SharedLimit;
use crate::export::transport::Transport;
use crate::project::{Project, ProjectId};

/// How a configuration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// What it holds is sent, and the responses are awaited.
    Waits {
        /// When what has not left by then is given up; 0 until the first tick.
        until_ns: u64,
    },
    /// Nobody will be there for a response.
    Last,
}

/// One project, as far as it is sent to.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) id: ProjectId,
    pub(super) config: Arc<FilterConfig>,
    pub(super) queue: Queue,
    pub(super) transport: Transport,
    /// Discards not yet reported in a client report.
    pub(super) report: ClientReport,
    /// When a report goes out although nothing else is sent.
    pub(super) report_due_ns: u64,
    /// How it ends, once it does.
    pub(super) ending: Option<Ending>,
    /// What other workers have told last.
    pub(super) shared_limits: [Option<SharedLimit>; Category::ALL.len()],
    /// What was said about POSTs that fail.
    pub(super) failures: FailureLog,
    /// Changes that the exporter has not taken yet.
    pub(super) metrics: Metrics,
    /// Lines that it has not taken yet.
    pub(super) log: Vec<(Level, Cow<'static, str>)>,
}

impl Destination {
    pub(super) fn new(
        id: ProjectId,
        project: &Project,
        config: Arc<FilterConfig>,
        queue: Queue,
    ) -> Self {
        let sends_errors = config.capture_failures.is_some();
        Self {
            id,
            transport: Transport::new(id, project, &config.transport, sends_errors),
            queue,
            report: ClientReport::default(),
            report_due_ns: 0,
            ending: None,
            shared_limits: [None; Category::ALL.len()],
            failures: FailureLog::default(),
            metrics: Metrics::default(),
            log: Vec::new(),
            config,
        }
    }

    /// Takes a segment. One that the receiver has asked to be spared is discarded, not queued, as
    /// Sentry's SDKs do.
    pub(super) fn accept(&mut self, segment: EncodedSegment, now_ns: u64) {
        let quantity = segment.quantity();
        if self.transport.is_closed(segment.category(), now_ns) {
            return self.discard(DiscardReason::RatelimitBackoff, quantity);
        }
        self.change([Metric::SpansQueued, Metric::EventsQueued], quantity, 1);
        let lost = self.queue.push(segment);
        self.discard_queued(DiscardReason::QueueOverflow, lost);
    }

    /// Counts what had to go for other projects.
    pub(super) fn settle_lost(&mut self) {
        let lost = self.queue.take_lost();
        self.discard_queued(DiscardReason::QueueOverflow, lost);
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.transport.is_idle()
    }

    pub(super) fn scope(&self) -> BatchScope {
        self.config.transport.format.batch_scope()
    }

    pub(super) fn resource(&self) -> Option<&Resource> {
        self.config.resource_of(self.id)
    }

    /// What log lines say of it: nothing where there is no other.
    pub(super) fn name(&self) -> Option<&Project> {
        let projects = &self.config.trace.projects;
        let is_alone = projects.iter().nth(1).is_none();
        projects.get(self.id).filter(|_| !is_alone)
    }
}
