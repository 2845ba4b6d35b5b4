//! What a tracer hands over to the exporter.

use std::collections::VecDeque;

use crate::envelope::client_report::ClientReport;
use crate::envelope::{BatchScope, EncodedSegment, Format};
use crate::export::metrics::Metrics;
use crate::export::queue;
use crate::project::ProjectId;
use crate::quantity::Quantity;

/// Segments that have ended, and what was counted, since the last time. It can be sent to another
/// thread.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The segments, the oldest first.
    segments: VecDeque<EncodedSegment>,
    /// What they weigh together, in bytes.
    bytes: usize,
    /// How many spans they have together.
    spans: u32,
    /// When the last one ended, by the host's clock, in nanoseconds since the epoch; 0 if none has.
    pub ended_ns: u64,
    /// What has been counted.
    pub metrics: Metrics,
    /// What was discarded, for each project.
    pub reports: Vec<(ProjectId, ClientReport)>,
    /// How many calls the host has refused.
    pub refused: u32,
}

impl Recorded {
    /// Adds a segment, unless all of them then weigh more than `max_bytes`: an exporter that does
    /// not come round must not cost memory without end. Returns how much was not taken.
    #[must_use]
    pub fn push(&mut self, segment: EncodedSegment, max_bytes: usize) -> Quantity {
        let bytes = self.bytes.saturating_add(segment.weight());
        if bytes > max_bytes {
            return segment.quantity();
        }
        self.bytes = bytes;
        self.spans = self.spans.saturating_add(segment.quantity().spans);
        self.segments.push_back(segment);
        Quantity::default()
    }

    /// Notes what was discarded, for the project.
    pub fn report(
        &mut self,
        project: ProjectId,
        reason: &'static str,
        lost: Quantity,
        format: Format,
    ) {
        let known = self.reports.iter_mut().find(|(known, _)| *known == project);
        match known {
            Some((_, report)) => report.add(reason, lost, format),
            None => {
                let mut report = ClientReport::default();
                report.add(reason, lost, format);
                self.reports.push((project, report));
            }
        }
    }

    /// Whether so much waits that the exporter should not wait for a tick.
    pub fn is_full_batch(&self, scope: BatchScope, max_bytes: usize) -> bool {
        let enough = queue::is_enough(scope, self.segments.len(), self.spans);
        enough || self.bytes.saturating_mul(2) > max_bytes
    }

    /// Whether there is no segment.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the oldest segment.
    pub fn pop(&mut self) -> Option<EncodedSegment> {
        let segment = self.segments.pop_front();
        if self.segments.is_empty() {
            (self.bytes, self.spans) = (0, 0);
        }
        segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{config, encoded, segment};

    /// An exporter that does not come round costs no memory without end.
    #[test]
    fn what_a_tracer_keeps_is_bounded() {
        let config = config("");
        let format = config.transport.format;
        let segment = || encoded(&segment("/a"), format, &config);
        let (weight, quantity) = (segment().weight(), segment().quantity());
        let mut recorded = Recorded::default();
        let max_bytes = 2 * weight + 1;
        let is_full = |recorded: &Recorded| recorded.is_full_batch(BatchScope::Any, max_bytes);
        assert_eq!(recorded.push(segment(), max_bytes), Quantity::default());
        assert!(!is_full(&recorded));
        assert_eq!(recorded.push(segment(), max_bytes), Quantity::default());
        assert!(
            is_full(&recorded),
            "more than half of what there is room for"
        );
        assert_eq!(recorded.push(segment(), max_bytes), quantity);
        assert!(recorded.pop().is_some() && recorded.pop().is_some());
        assert!(recorded.is_empty() && !is_full(&recorded));
        assert_eq!(recorded.push(segment(), max_bytes), Quantity::default());
    }
}
