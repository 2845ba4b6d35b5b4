//! The queue of one generation.

use std::collections::{BinaryHeap, VecDeque};

use super::{FULL_ALONE, MAX_BYTES, MAX_SPANS};
use crate::envelope::{Amount, Parcel, Sharing};
use crate::trace::id::TraceId;

/// Which part of the queue is put in order at once, so that a POST finds its trace in one piece:
/// each parcel is looked at a few times on its way out, however many wait.
const PART: usize = 4;

/// What waits of one generation, in the order in which it ended, but for what is in order by trace
/// already.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its name among the others.
    pub(super) id: u32,
    pub(super) parcels: VecDeque<Parcel>,
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
    /// How many parcels were looked at to put them in order.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Lane {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            parcels: VecDeque::new(),
            grouped: 0,
            bytes: 0,
            spans: 0,
            lent: 0,
            posts: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    pub(super) fn push_back(&mut self, parcel: Parcel) {
        self.count(&parcel);
        self.parcels.push_back(parcel);
    }

    pub(super) fn put_back(&mut self, parcels: Vec<Parcel>) {
        self.settle(&parcels);
        self.grouped = self.grouped.saturating_add(parcels.len());
        for parcel in parcels.into_iter().rev() {
            self.count(&parcel);
            self.parcels.push_front(parcel);
        }
    }

    pub(super) fn settle(&mut self, parcels: &[Parcel]) {
        self.lent = self.lent.saturating_sub(weight(parcels));
    }

    pub(super) fn take(&mut self, sharing: Sharing) -> Vec<Parcel> {
        if sharing == Sharing::Trace && self.grouped == 0 {
            let part = self.parcels.len().div_euclid(PART).max(FULL_ALONE);
            let oldest = self.gather(part);
            self.grouped = oldest.len();
            for parcel in oldest.into_iter().rev() {
                self.parcels.push_front(parcel);
            }
        }
        let Some(first) = self.pop() else {
            return Vec::new();
        };
        let (trace_id, mut spans, mut bytes) =
            (first.trace_id(), first.amount().spans, first.len());
        let mut taken = vec![first];
        let mut goes_along = |parcel: &Parcel| {
            spans = spans.saturating_add(parcel.amount().spans);
            bytes = bytes.saturating_add(parcel.len());
            let may = match sharing {
                Sharing::Alone => false,
                Sharing::Trace => parcel.trace_id() == trace_id,
                Sharing::Any => true,
            };
            may && spans <= MAX_SPANS && bytes <= MAX_BYTES
        };
        while self.parcels.front().is_some_and(&mut goes_along) {
            taken.extend(self.pop());
        }
        self.lent = self.lent.saturating_add(weight(&taken));
        taken
    }

    /// Loses the oldest traces until so many bytes are free, or all of them.
    pub(super) fn make_room(&mut self, bytes: usize) -> Amount {
        let mut freed: usize = 0;
        let mut is_enough = |parcel: &Parcel| {
            let enough = freed >= bytes;
            freed = freed.saturating_add(parcel.weight());
            enough
        };
        let oldest = self.parcels.iter().position(&mut is_enough);
        let oldest = oldest.unwrap_or(self.parcels.len());
        if oldest == 0 {
            return Amount::default();
        }
        let lost = self.gather(oldest);
        for parcel in &lost {
            self.forget(parcel);
        }
        Amount::of(&lost)
    }

    /// Takes so many of the oldest parcels out of the line, with all that is of the same traces:
    /// trace by trace, the oldest first, each in its order. They still count as waiting.
    fn gather(&mut self, oldest: usize) -> Vec<Parcel> {
        let oldest = self.parcels.iter().take(oldest);
        // A heap sorts as well as `sort_unstable`, and is a tenth of it in the module.
        let traces: BinaryHeap<TraceId> = oldest.map(Parcel::trace_id).collect();
        let mut traces = traces.into_sorted_vec();
        traces.dedup();
        let mut groups: Vec<Vec<Parcel>> = traces.iter().map(|_| Vec::new()).collect();
        let mut order = Vec::with_capacity(traces.len());
        for _ in 0..self.parcels.len() {
            let Some(parcel) = self.parcels.pop_front() else {
                break;
            };
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            let place = traces.binary_search(&parcel.trace_id()).ok();
            match place.and_then(|place| Some((place, groups.get_mut(place)?))) {
                Some((place, group)) => {
                    if group.is_empty() {
                        order.push(place);
                    }
                    group.push(parcel);
                }
                None => self.parcels.push_back(parcel),
            }
        }
        self.grouped = 0;
        let mut gathered = Vec::new();
        for place in order {
            gathered.append(groups.get_mut(place).unwrap_or(&mut Vec::new()));
        }
        gathered
    }

    fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.grouped = self.grouped.saturating_sub(1);
        self.forget(&parcel);
        Some(parcel)
    }

    fn count(&mut self, parcel: &Parcel) {
        self.bytes = self.bytes.saturating_add(parcel.weight());
        self.spans = self.spans.saturating_add(parcel.amount().spans);
    }

    fn forget(&mut self, parcel: &Parcel) {
        self.bytes = self.bytes.saturating_sub(parcel.weight());
        self.spans = self.spans.saturating_sub(parcel.amount().spans);
    }
}

fn weight(parcels: &[Parcel]) -> usize {
    parcels
        .iter()
        .fold(0, |sum, parcel| sum.saturating_add(parcel.weight()))
}
