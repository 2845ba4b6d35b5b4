//! The callouts that are under way.

use super::callout::Callout;
use super::delivery::Delivery;
use super::failure::Failure;
use crate::envelope::client_report::ClientReport;
use crate::envelope::EncodedSegment;

/// How long after its own timeout a response is still expected, in milliseconds. A host that never
/// answers must not keep a place for ever.
const GRACE_MS: u64 = 10_000;

const NS_PER_MS: u64 = 1_000_000;

/// A callout that has come to its end, and what it carried.
#[derive(Debug, PartialEq, Eq)]
pub struct CompletedCallout {
    /// What it carried.
    pub segments: Vec<EncodedSegment>,
    /// The report that rode on it.
    pub report: Option<ClientReport>,
    /// What became of it.
    pub delivery: Delivery,
    /// Why it has failed, where an operator can do something about it.
    pub failure: Option<Failure>,
    /// How many of its spans the receiver refused although it took the rest.
    pub rejected: u32,
}

/// The callouts that wait for their responses, by the tokens that the host gave them.
#[derive(Debug, Default)]
pub(super) struct InFlight(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    token: u32,
    segments: Vec<EncodedSegment>,
    report: Option<ClientReport>,
    expires_ns: u64,
}

impl InFlight {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is one with a token.
    pub(super) fn has(&self, token: u32) -> bool {
        self.0.iter().any(|waiting| waiting.token == token)
    }

    /// Adds one. One with the same token will not be answered any more, and is returned.
    pub(super) fn add(
        &mut self,
        token: u32,
        callout: Callout,
        now_ns: u64,
    ) -> Vec<CompletedCallout> {
        let replaced = self.take_if(|waiting| waiting.token == token);
        let patience_ms = u64::from(callout.timeout_ms).saturating_add(GRACE_MS);
        self.0.push(Waiting {
            token,
            segments: callout.segments,
            report: callout.report,
            expires_ns: now_ns.saturating_add(patience_ms.saturating_mul(NS_PER_MS)),
        });
        replaced
    }

    /// The one with a token, which was answered; as lost, until the response has been read.
    pub(super) fn take(&mut self, token: u32) -> Option<CompletedCallout> {
        self.take_if(|waiting| waiting.token == token).pop()
    }

    /// Those that the host should have answered long ago.
    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<CompletedCallout> {
        let mut late = self.take_if(|waiting| waiting.expires_ns <= now_ns);
        for completed in &mut late {
            completed.failure = Some(Failure::NoResponse);
        }
        late
    }

    /// All of them: none will be answered any more.
    pub(super) fn abandon(&mut self) -> Vec<CompletedCallout> {
        self.take_if(|_| true)
    }

    /// The clock was set forward, or stood still for the worker: they had no time to be answered
    /// in.
    pub(super) fn delay_expiry(&mut self, by_ns: u64) {
        for waiting in &mut self.0 {
            waiting.expires_ns = waiting.expires_ns.saturating_add(by_ns);
        }
    }

    fn take_if(&mut self, is_over: impl Fn(&Waiting) -> bool) -> Vec<CompletedCallout> {
        self.0
            .extract_if(.., |waiting| is_over(waiting))
            .map(|waiting| CompletedCallout {
                segments: waiting.segments,
                report: waiting.report,
                delivery: Delivery::Lost,
                failure: None,
                rejected: 0,
            })
            .collect()
    }
}
