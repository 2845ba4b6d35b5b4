//! How a configuration ends.

use super::destination::{Destination, Ending};
use crate::export::delivery::DiscardReason;

/// How long an old configuration may still send what waits.
const MAX_ENDING_NS: u64 = 60_000_000_000;

impl Destination {
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.transport.forget_failures();
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

    pub(super) fn abandon(&mut self, now_ns: u64) {
        self.discard_waiting(DiscardReason::NetworkError);
        let lost = self.transport.abandon();
        self.complete_all(lost, now_ns);
    }
}
