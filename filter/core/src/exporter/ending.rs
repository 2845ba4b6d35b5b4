//! How a configuration ends, and a host that cannot send.

use log::Level;

use super::Exporter;
use crate::export::delivery::DiscardReason;

/// How long an old configuration may still send what waits.
const MAX_ENDING_NS: u64 = 60_000_000_000;

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

impl Exporter {
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.set_limited(false);
        if let Some(transport) = &mut self.transport {
            transport.forget_failures();
        }
        self.flushes = true;
        self.tells_metrics = true;
    }

    /// What an old configuration could not send in its time is discarded.
    pub(super) fn give_up_late(&mut self, now_ns: u64) {
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
}
