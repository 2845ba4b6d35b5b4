//! All patterns of one kind of text, searched for in one pass.
//!
//! The search is a DFA whose states are built when a text first needs them (see [`super::cache`]),
//! so a text costs one table look-up a byte, however many patterns there are. Two bounds hold for
//! texts that somebody made to be expensive: no more than [`MAX_TEXT`] bytes are looked at, and no
//! more than so many steps are spent on new states ([`WORK`]). A pattern that a bound has kept from
//! being decided is neither matched nor not matched; it is told as undecided.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use regex_automata::nfa::thompson::{State, NFA};
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::{Hir, Look};

use super::bits::Bits;
use super::cache::{Cache, Machine, MAX_TEXT};
use super::groups::{self, Groups};
use super::{compile, Pattern};

/// How many steps one request may spend on states that no request before it has needed, and on the
/// groups of matches. A step is some 10 ns in the module; 100,000 of them are a millisecond.
pub const WORK: u32 = 100_000;
/// How large the automaton of one set may be, in bytes.
const MAX_SIZE: usize = 16 * 1024 * 1024;

/// Patterns that are searched for together. They are told apart by their place.
pub struct PatternSet {
    machine: Machine,
    /// The patterns that begin with `^`.
    anchored: Bits,
    /// A worker has a copy of its own, so nobody waits.
    cache: Mutex<Cache>,
}

/// What a search has found out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// The patterns that match.
    pub matched: Bits,
    /// The patterns of which nobody knows: the text is too long, or took too much work.
    pub undecided: Bits,
}

impl PatternSet {
    /// A set of patterns, whose states may take so many bytes.
    ///
    /// # Errors
    /// That they are too many or too large together, on one line.
    pub fn new<'p>(
        patterns: impl Iterator<Item = &'p Pattern>,
        max_states: usize,
    ) -> Result<Self, String> {
        let all: Vec<&Hir> = patterns.map(|pattern| &pattern.hir).collect();
        let nfa = compile(&all, MAX_SIZE).map_err(|error| match error.size_limit() {
            Some(limit) => format!("the patterns need more than {limit} bytes together"),
            None => error.to_string(),
        })?;
        let mut anchored = Bits::new(all.len());
        for (index, hir) in all.iter().enumerate() {
            if hir.properties().look_set_prefix().contains(Look::Start) {
                anchored.add(index);
            }
        }
        Ok(Self {
            anchored,
            machine: Machine::new(nfa),
            cache: Mutex::new(Cache::new(max_states)),
        })
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.machine.nfa.pattern_len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which patterns match a text anywhere. `work` is what may be spent, and gets less.
    pub fn search(&self, text: &[u8], work: &mut u32) -> Found {
        self.search_until(self.len(), text, work)
    }

    /// Whether some pattern is known to match a text.
    pub fn matches_any(&self, text: &[u8], work: &mut u32) -> bool {
        let found = self.search_until(1, text, work);
        !found.matched.is_empty()
    }

    /// Stops where so many patterns match.
    fn search_until(&self, enough: usize, text: &[u8], work: &mut u32) -> Found {
        let mut found = Found {
            matched: Bits::new(self.len()),
            undecided: Bits::new(self.len()),
        };
        let mut cache = self.cache();
        cache.begin(&self.machine);
        if let Some(stopped) = self.run(&mut cache, enough, text, work, &mut found.matched) {
            self.leave_undecided(cache.key(stopped), &mut found);
        }
        found
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what matches, and returns the state in which the search had to stop, if it had to.
    fn run(
        &self,
        cache: &mut Cache,
        enough: usize,
        text: &[u8],
        work: &mut u32,
        matched: &mut Bits,
    ) -> Option<u16> {
        let machine = &self.machine;
        let is_cut = text.len() > MAX_TEXT;
        // A state knows the matches that end in front of the byte that led to it, so one byte more
        // is read than may be matched.
        let text = text.get(..=MAX_TEXT).unwrap_or(text);
        let mut missing = enough;
        let mut at = cache.start(machine);
        for byte in text {
            let class = machine.class(*byte);
            let next = match cache.next(at, class) {
                Some(next) => next,
                None => match cache.build(machine, at, class, Some(*byte), work) {
                    Some(next) => next,
                    None => return Some(at),
                },
            };
            at = next;
            if Cache::is_notable(at) {
                missing = missing.saturating_sub(cache.collect(at, matched));
                if missing == 0 || cache.is_dead(machine, at) {
                    return None;
                }
            }
        }
        if is_cut {
            return Some(at);
        }
        let class = machine.end_class();
        let end = cache.next(at, class);
        let Some(end) = end.or_else(|| cache.build(machine, at, class, None, work)) else {
            return Some(at);
        };
        if Cache::is_notable(end) {
            cache.collect(end, matched);
        }
        None
    }

    /// A pattern that did not match may match later if it can begin anywhere, or has begun.
    fn leave_undecided(&self, key: &[u32], found: &mut Found) {
        let machine = &self.machine;
        let is_at_start = machine.is_at_start(key);
        for pattern in 0..self.len() {
            if (is_at_start || !self.anchored.has(pattern)) && !found.matched.has(pattern) {
                found.undecided.add(pattern);
            }
        }
        for pattern in machine.owners(key) {
            if !found.matched.has(pattern) {
                found.undecided.add(pattern);
            }
        }
    }

    /// The groups of a pattern's first match, if it can be found with the work that is left.
    pub fn groups<'t>(&self, pattern: usize, text: &'t [u8], work: &mut u32) -> Option<Groups<'t>> {
        groups::find(&self.machine, pattern, text, work)
    }
}

impl Machine {
    fn new(nfa: NFA) -> Self {
        let mut owners = vec![u32::MAX; nfa.states().len()];
        let mut open = Vec::new();
        for pattern in nfa.patterns() {
            open.extend(nfa.start_pattern(pattern));
            while let Some(id) = open.pop() {
                let Some(owner) = owners.get_mut(id.as_usize()) else {
                    continue;
                };
                if *owner != u32::MAX {
                    continue;
                }
                *owner = pattern.as_u32();
                successors(nfa.state(id), &mut open);
            }
        }
        let looks = nfa.look_set_any();
        let anchors = [
            regex_automata::util::look::Look::Start,
            regex_automata::util::look::Look::End,
        ];
        let others = anchors
            .iter()
            .fold(looks, |looks, look| looks.remove(*look));
        Self {
            owners,
            classes: *nfa.byte_classes(),
            looks_behind: !others.is_empty(),
            is_anchored: nfa.is_always_start_anchored(),
            nfa,
        }
    }
}

/// Every state that a state of the automaton leads to.
fn successors(state: &State, into: &mut Vec<StateID>) {
    match state {
        State::ByteRange { trans } => into.push(trans.next),
        State::Sparse(sparse) => {
            into.extend(sparse.transitions.iter().map(|transition| transition.next));
        }
        State::Dense(dense) => into.extend(dense.transitions.iter()),
        State::Look { next, .. } | State::Capture { next, .. } => into.push(*next),
        State::Union { alternates } => into.extend(alternates.iter()),
        State::BinaryUnion { alt1, alt2 } => into.extend([*alt1, *alt2]),
        State::Fail | State::Match { .. } => {}
    }
}

/// States are built anew for a copy.
impl Clone for PatternSet {
    fn clone(&self) -> Self {
        let max_states = self.cache().max_bytes();
        Self {
            machine: self.machine.clone(),
            anchored: self.anchored.clone(),
            cache: Mutex::new(Cache::new(max_states)),
        }
    }
}

impl fmt::Debug for PatternSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PatternSet({} patterns)", self.len())
    }
}
