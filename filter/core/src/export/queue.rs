//! What waits to be sent: bounded by bytes, the oldest trace goes first when it is full, whole. It
//! knows nothing of formats.
//!
//! The generations of a configuration have a queue each, since they may send to different
//! receivers, and one bound: an update of the configuration must not double what a worker keeps.
//! What the oldest one holds goes first.

mod lane;

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use crate::envelope::{BatchScope, EncodedSegment};
use crate::quantity::Quantity;
use lane::Lane;

/// How many spans one POST may carry: Sentry takes no more of them in one item.
const MAX_SPANS: u32 = 1_000;
/// How many bytes of spans one POST may carry: Sentry takes 1 MiB an item, and something is around
/// them.
const MAX_BYTES: usize = 1_000_000;

/// How many segments that each go alone are a full batch.
const FULL_ALONE: usize = 64;
/// A full queue makes room for this part of itself at once: to find what else is of a trace takes a
/// look at all that waits.
const ROOM: usize = 16;

/// The queues of all generations of a configuration in one VM, the oldest first.
#[derive(Debug, Default, Clone)]
pub struct Generations(Arc<Mutex<Vec<Lane>>>);

/// A queue of encoded segments. What was taken and may come back still counts.
#[derive(Debug)]
pub struct Queue {
    generations: Generations,
    /// The name of its lane.
    lane: u32,
    max_bytes: usize,
}

/// Whether so many segments with so many spans are a full batch.
pub(crate) fn is_enough(scope: BatchScope, segments: usize, spans: u32) -> bool {
    match scope {
        BatchScope::Segment => segments >= FULL_ALONE,
        BatchScope::Trace | BatchScope::Any => spans >= MAX_SPANS,
    }
}

impl Queue {
    /// An empty queue, that of the newest generation. It holds at most `max_bytes` bytes, and so do
    /// all of them together.
    pub fn new(max_bytes: usize, generations: Generations) -> Self {
        let generation = generations.next();
        Self::in_generation(generation, max_bytes, generations)
    }

    /// Another one of a generation: each project has its own.
    pub fn in_generation(generation: u32, max_bytes: usize, generations: Generations) -> Self {
        let lane = generations.with(|lanes| {
            let id = lanes.iter().map(|lane| lane.id).max();
            let id = id.map_or(0, |id| id.wrapping_add(1));
            lanes.push(Lane::new(id, generation));
            id
        });
        Self {
            generations,
            lane,
            max_bytes,
        }
    }

    /// Sets how many bytes it holds at most.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Those that it is one of.
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Adds the newest segment and returns how much had to go for it: the oldest traces, with all
    /// that waits of them, of older generations first, then of the project of which most waits: see
    /// [`Self::take_lost`]. If there is no room even then, it is itself what goes.
    #[must_use]
    pub fn push(&mut self, segment: EncodedSegment) -> Quantity {
        let (id, max_bytes) = (self.lane, self.max_bytes);
        self.generations.with(|lanes| {
            let sum = |sum: usize, bytes: usize| sum.saturating_add(bytes);
            let lent = lanes.iter().map(|lane| lane.lent).fold(0, sum);
            let waiting = lanes.iter().map(|lane| lane.bytes).fold(0, sum);
            let needed = lent.saturating_add(segment.weight());
            if needed > max_bytes {
                return segment.quantity();
            }
            let mut excess = waiting.saturating_add(needed).saturating_sub(max_bytes);
            if excess > 0 {
                excess = excess.max(max_bytes.div_euclid(ROOM));
            }
            let own = lanes.iter().find(|lane| lane.id == id);
            let own = own.map(|lane| lane.generation);
            let mut lost = Quantity::default();
            while excess > 0 {
                let full = lanes.iter_mut().filter(|lane| lane.bytes > 0);
                let first = full.min_by_key(|lane| (lane.generation, Reverse(lane.bytes)));
                let Some(lane) = first else {
                    break;
                };
                let before = lane.bytes;
                let gone = lane.make_room(excess);
                // Nothing is in it, whatever was counted: no other would be looked at again.
                if lane.bytes == before {
                    break;
                }
                match lane.id != id && Some(lane.generation) == own {
                    true => lane.lost = lane.lost.plus(gone),
                    false => lost = lost.plus(gone),
                }
                excess = excess.saturating_sub(before.saturating_sub(lane.bytes));
            }
            match lanes.iter_mut().find(|lane| lane.id == id) {
                Some(lane) => {
                    lane.push_back(segment);
                    lost
                }
                None => lost.plus(segment.quantity()),
            }
        })
    }

    /// What had to go for the segments of other projects, since the last time.
    #[must_use]
    pub fn take_lost(&mut self) -> Quantity {
        self.with(|lane| std::mem::take(&mut lane.lost))
    }

    /// Puts back what was taken and could not be sent, as the oldest.
    pub fn put_back(&mut self, segments: Vec<EncodedSegment>) {
        self.with(|lane| lane.put_back(segments));
    }

    /// What was taken will not come back.
    pub fn release(&mut self, segments: &[EncodedSegment]) {
        self.with(|lane| lane.release(segments));
    }

    /// Takes the oldest segment, and those that may go with it as far as there is room in one POST.
    /// None if nothing waits. To be followed by [`Self::put_back`] or [`Self::release`].
    pub fn take(&mut self, scope: BatchScope) -> Vec<EncodedSegment> {
        self.with(|lane| lane.take(scope))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.with(|lane| lane.segments.len()) == 0
    }

    /// Whether so much waits that it is worth more than to wait for a tick.
    pub fn is_full_batch(&self, scope: BatchScope) -> bool {
        let max_bytes = self.max_bytes;
        self.with(|lane| {
            let enough = is_enough(scope, lane.segments.len(), lane.spans);
            enough || lane.bytes.saturating_mul(2) > max_bytes
        })
    }

    /// Empties the queue and returns how much was in it.
    #[must_use]
    pub fn clear(&mut self) -> Quantity {
        self.with(|lane| lane.make_room(usize::MAX))
    }

    /// Notes how many POSTs of this generation are under way.
    pub fn set_posts(&mut self, posts: usize) {
        self.with(|lane| lane.posts = posts);
    }

    /// Whether another POST may be made where so many may be under way at once. All generations
    /// together have so many, and the newest one is let in as long as it has fewer itself: the
    /// POSTs of an old one, whose receiver may hang, must not keep the new one from sending, and
    /// twice as many are the most. For the same reason a project of the newest one may have one POST
    /// under way whatever the others have.
    pub fn has_slot(&self, max_posts: usize) -> bool {
        let id = self.lane;
        self.generations.with(|lanes| {
            let sum = |sum: usize, lane: &Lane| sum.saturating_add(lane.posts);
            let all = lanes.iter().fold(0, sum);
            let newest = lanes.iter().map(|lane| lane.generation).max();
            let own = lanes.iter().find(|lane| lane.id == id);
            match own.filter(|own| Some(own.generation) == newest) {
                Some(own) => {
                    let of_newest = lanes.iter().filter(|lane| Some(lane.generation) == newest);
                    let posts = of_newest.clone().fold(0, sum);
                    let is_alone = of_newest.count() == 1;
                    (posts < max_posts && all < max_posts.saturating_mul(2))
                        || (!is_alone && own.posts == 0)
                }
                None => all < max_posts,
            }
        })
    }

    fn with<T: Default>(&self, act: impl FnOnce(&mut Lane) -> T) -> T {
        let id = self.lane;
        self.generations.with(|lanes| {
            let lane = lanes.iter_mut().find(|lane| lane.id == id);
            lane.map(act).unwrap_or_default()
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let id = self.lane;
        self.generations
            .with(|lanes| lanes.retain(|lane| lane.id != id));
    }
}

impl Generations {
    /// The name of a generation that begins.
    pub fn next(&self) -> u32 {
        let newest = self.with(|lanes| lanes.iter().map(|lane| lane.generation).max());
        newest.map_or(0, |newest| newest.wrapping_add(1))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Lane>) -> T) -> T {
        // Whoever panicked with the lock has left the lanes as they were: nothing here panics.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
