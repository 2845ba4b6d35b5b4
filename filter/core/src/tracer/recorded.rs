//! What a tracer hands over to the exporter.

use std::collections::VecDeque;

use crate::envelope::client_report::ClientReport;
use crate::envelope::EncodedSegment;
use crate::export::metrics::Metrics;

/// Segments that have ended, and what was counted, since the last time. It can be sent to another
/// thread.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The segments, the oldest first.
    pub segments: VecDeque<EncodedSegment>,
    /// When the last one ended, by the host's clock, in nanoseconds since the epoch; 0 if none has.
    pub ended_ns: u64,
    /// What has been counted.
    pub metrics: Metrics,
    /// What was discarded, for Sentry.
    pub report: ClientReport,
    /// How many calls the host has refused.
    pub refused: u32,
}
