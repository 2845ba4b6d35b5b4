//! The queue of one project of one generation.

use std::collections::{BinaryHeap, VecDeque};

use super::{FULL_ALONE, MAX_BYTES, MAX_SPANS};
use crate::envelope::{BatchScope, EncodedSegment};
use crate::id::TraceId;
use crate::quantity::Quantity;

/// Which part of the queue is put in order at once, so that a POST finds its trace in one piece:
/// each segment is looked at a few times on its way out, however many wait.
const PART: usize = 4;

/// What waits of one project, in the order in which it ended, but for what is in order by trace
/// already.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its name among the others.
    pub(super) id: u32,
    /// The name of its generation.
    pub(super) generation: u32,
    pub(super) segments: VecDeque<EncodedSegment>,
    /// How many of the oldest have been put together by trace.
    grouped: usize,
    /// What waits, in bytes.
    pub(super) bytes: usize,
    /// How many spans wait.
    pub(super) spans: u32,
    /// What was taken, in bytes.
    pub(super) lent: usize,
    /// How many POSTs are under way.
    pub(super) posts: usize,
    /// What had to go for other lanes, and was not counted yet.
    pub(super) lost: Quantity,
    /// How many segments were looked at to put them in order.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Lane {
    pub(super) fn new(id: u32, generation: u32) -> Self {
        Self {
            id,
            generation,
            segments: VecDeque::new(),
            grouped: 0,
            bytes: 0,
            spans: 0,
            lent: 0,
            posts: 0,
            lost: Quantity::default(),
            #[cfg(test)]
            looked_at: 0,
        }
    }

    pub(super) fn push_back(&mut self, segment: EncodedSegment) {
        self.count(&segment);
        self.segments.push_back(segment);
    }

    pub(super) fn put_back(&mut self, segments: Vec<EncodedSegment>) {
        self.release(&segments);
        self.grouped = self.grouped.saturating_add(segments.len());
        for segment in segments.into_iter().rev() {
            self.count(&segment);
            self.segments.push_front(segment);
        }
    }

    pub(super) fn release(&mut self, segments: &[EncodedSegment]) {
        self.lent = self.lent.saturating_sub(weight(segments));
    }

    pub(super) fn take(&mut self, scope: BatchScope) -> Vec<EncodedSegment> {
        if scope == BatchScope::Trace && self.grouped == 0 {
            let part = self.segments.len().div_euclid(PART).max(FULL_ALONE);
            let oldest = self.gather(part);
            self.grouped = oldest.len();
            for segment in oldest.into_iter().rev() {
                self.segments.push_front(segment);
            }
        }
        let Some(first) = self.pop() else {
            return Vec::new();
        };
        let (trace_id, mut spans, mut bytes) =
            (first.trace_id(), first.quantity().spans, first.len());
        let mut taken = vec![first];
        // An error event goes alone, whatever spans do.
        let scope = match taken.first() {
            Some(first) if first.is_event() => BatchScope::Segment,
            _ => scope,
        };
        let mut goes_along = |segment: &EncodedSegment| {
            spans = spans.saturating_add(segment.quantity().spans);
            bytes = bytes.saturating_add(segment.len());
            let may = match scope {
                BatchScope::Segment => false,
                BatchScope::Trace => segment.trace_id() == trace_id,
                BatchScope::Any => true,
            };
            may && !segment.is_event() && spans <= MAX_SPANS && bytes <= MAX_BYTES
        };
        while self.segments.front().is_some_and(&mut goes_along) {
            taken.extend(self.pop());
        }
        self.lent = self.lent.saturating_add(weight(&taken));
        taken
    }

    /// Loses the oldest traces until so many bytes are free, or all of them.
    pub(super) fn make_room(&mut self, bytes: usize) -> Quantity {
        let mut freed: usize = 0;
        let mut is_enough = |segment: &EncodedSegment| {
            let enough = freed >= bytes;
            freed = freed.saturating_add(segment.weight());
            enough
        };
        let oldest = self.segments.iter().position(&mut is_enough);
        let oldest = oldest.unwrap_or(self.segments.len());
        if oldest == 0 {
            return Quantity::default();
        }
        let lost = self.gather(oldest);
        for segment in &lost {
            self.forget(segment);
        }
        lost.iter().map(EncodedSegment::quantity).sum()
    }

    /// Takes so many of the oldest segments out of the line, with all that is of the same traces:
    /// trace by trace, the oldest first, each in its order. They still count as waiting.
    fn gather(&mut self, oldest: usize) -> Vec<EncodedSegment> {
        let oldest = self.segments.iter().take(oldest);
        // A heap sorts as well as `sort_unstable`, and is a tenth of it in the module.
        let traces: BinaryHeap<TraceId> = oldest.map(EncodedSegment::trace_id).collect();
        let mut traces = traces.into_sorted_vec();
        traces.dedup();
        let mut groups: Vec<Vec<EncodedSegment>> = traces.iter().map(|_| Vec::new()).collect();
        let mut order = Vec::with_capacity(traces.len());
        for _ in 0..self.segments.len() {
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            let place = traces.binary_search(&segment.trace_id()).ok();
            match place.and_then(|place| Some((place, groups.get_mut(place)?))) {
                Some((place, group)) => {
                    if group.is_empty() {
                        order.push(place);
                    }
                    group.push(segment);
                }
                None => self.segments.push_back(segment),
            }
        }
        self.grouped = 0;
        let mut gathered = Vec::new();
        for place in order {
            gathered.append(groups.get_mut(place).unwrap_or(&mut Vec::new()));
        }
        gathered
    }

    fn pop(&mut self) -> Option<EncodedSegment> {
        let segment = self.segments.pop_front()?;
        self.grouped = self.grouped.saturating_sub(1);
        self.forget(&segment);
        Some(segment)
    }

    fn count(&mut self, segment: &EncodedSegment) {
        self.bytes = self.bytes.saturating_add(segment.weight());
        self.spans = self.spans.saturating_add(segment.quantity().spans);
    }

    fn forget(&mut self, segment: &EncodedSegment) {
        self.bytes = self.bytes.saturating_sub(segment.weight());
        self.spans = self.spans.saturating_sub(segment.quantity().spans);
    }
}

fn weight(segments: &[EncodedSegment]) -> usize {
    segments
        .iter()
        .fold(0, |sum, segment| sum.saturating_add(segment.weight()))
}
