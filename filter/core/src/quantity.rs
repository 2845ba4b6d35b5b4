//! How much is sent or lost, in Sentry's word for it (client reports).

use std::iter::Sum;

/// How much is sent or lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// Segments: transactions, where that is the format.
    pub segments: u32,
    /// Spans, those of the segments themselves among them.
    pub spans: u32,
    /// Error events.
    pub events: u32,
}

impl Quantity {
    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        Self {
            segments: self.segments.saturating_add(more.segments),
            spans: self.spans.saturating_add(more.spans),
            events: self.events.saturating_add(more.events),
        }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}
