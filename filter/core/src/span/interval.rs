//! A stretch of time.

/// From when to when, in nanoseconds since the epoch; never backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The beginning.
    pub start_ns: u64,
    /// The end.
    pub end_ns: u64,
}

impl Interval {
    /// Its length.
    pub fn length_ns(self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// The nearest time that is inside.
    pub(super) fn clamp(self, time_ns: u64) -> u64 {
        // Not `Ord::clamp`, which panics if the bounds are the wrong way round.
        time_ns.max(self.start_ns).min(self.end_ns)
    }
}
