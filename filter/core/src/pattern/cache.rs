//! The states of a search that texts have needed so far.
//!
//! A state is a set of places in the automaton, together with what it has to know about the byte
//! before it (for `\b` and `(?m)^`) and the patterns whose matches end before that byte. Places are
//! kept as they are before the empty transitions behind them are followed: those depend on the
//! next byte as well (`$`, `\b`), which is known when the next state is built.
//!
//! Since a pattern may begin anywhere, the beginnings of all patterns belong to every state. They
//! are not stored in it, and what comes of them is computed once for each byte, not for each state.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use regex_automata::nfa::thompson::{State, NFA};
use regex_automata::util::alphabet::ByteClasses;
use regex_automata::util::primitives::{PatternID, StateID};

use super::bits::Bits;

/// How much of a text is looked at, in bytes.
pub const MAX_TEXT: usize = 8_192;

/// A transition that nobody has needed yet.
const UNKNOWN: u16 = u16::MAX;
/// Marks a state in which patterns match, or from which none can.
const NOTABLE: u16 = 1 << 15;
/// The bytes of a transition.
const TRANSITION: usize = 2;
/// What a state costs besides its key and its transitions, roughly, in bytes.
const OVERHEAD: usize = 64;
/// What is charged for a new state, besides the steps that lead to it.
const STATE_WORK: u32 = 32;

/// What a key begins with: what stands before the state, and which patterns match there.
const HEADER: usize = 2;

/// What stands before a state. All bytes are the same to patterns without `\b` and `(?m)`.
const START: u32 = 0;
const BEHIND: [u8; 5] = [0, b'-', b'a', b'\n', b'\r'];

/// The automaton of a set, and what a search has to know about it.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) nfa: NFA,
    /// Bytes that no pattern tells apart are of one class.
    pub(super) classes: ByteClasses,
    /// The pattern that each of the automaton's states belongs to.
    pub(super) owners: Vec<u32>,
    /// Whether a pattern asks for the byte before it.
    pub(super) looks_behind: bool,
    /// Whether all patterns begin with `^`.
    pub(super) is_anchored: bool,
}

impl Machine {
    pub(super) fn class(&self, byte: u8) -> usize {
        self.classes.get(byte).into()
    }

    /// The class of a text's end.
    pub(super) fn end_class(&self) -> usize {
        self.stride().saturating_sub(1)
    }

    fn stride(&self) -> usize {
        self.classes.alphabet_len()
    }

    pub(super) fn is_at_start(&self, key: &[u32]) -> bool {
        key.first() == Some(&START)
    }

    /// The patterns that have begun in a state, some of them more than once.
    pub(super) fn owners<'s>(&'s self, key: &'s [u32]) -> impl Iterator<Item = usize> + 's {
        let places = key.get(HEADER..).unwrap_or_default();
        places.iter().filter_map(|place| {
            let owner = self.owners.get(usize::try_from(*place).ok()?)?;
            usize::try_from(*owner).ok()
        })
    }

    /// What the next state has to know about a byte.
    fn behind(&self, byte: Option<u8>) -> u32 {
        match byte {
            _ if !self.looks_behind => 1,
            Some(b'\n') => 3,
            Some(b'\r') => 4,
            Some(byte) if byte == b'_' || byte.is_ascii_alphanumeric() => 2,
            _ => 1,
        }
    }
}

/// What a byte leads to.
#[derive(Debug, Default, Clone)]
struct Step {
    places: Vec<u32>,
    /// The patterns that match before the byte.
    matches: Vec<u32>,
}

/// The numbers in order, each once. A heap sorts as well as `sort_unstable`, and is a fifth of it in
/// the module.
fn sorted(numbers: Vec<u32>) -> Vec<u32> {
    let mut numbers = BinaryHeap::from(numbers).into_sorted_vec();
    numbers.dedup();
    numbers
}

/// Lists, each of them once, by number.
#[derive(Debug, Default)]
struct Interner {
    numbers: BTreeMap<Arc<[u32]>, usize>,
    lists: Vec<Arc<[u32]>>,
}

impl Interner {
    /// The number of a list, and whether it is new.
    fn number(&mut self, list: &[u32]) -> (usize, bool) {
        if let Some(number) = self.numbers.get(list) {
            return (*number, false);
        }
        let number = self.lists.len();
        let list: Arc<[u32]> = list.into();
        self.lists.push(Arc::clone(&list));
        self.numbers.insert(list, number);
        (number, true)
    }

    fn get(&self, number: usize) -> &[u32] {
        self.lists.get(number).map_or(&[], |list| list)
    }
}

/// States, as far as texts have needed them. When they take too many bytes, they are forgotten.
#[derive(Debug)]
pub(super) struct Cache {
    keys: Interner,
    start: Option<u16>,
    /// A row of next states for each state, by class.
    transitions: Vec<u16>,
    stride: usize,
    matches: Interner,
    /// The searches in which each list of matches was collected last.
    collected: Vec<u32>,
    search: u32,
    /// What comes of the patterns' beginnings, by what stands before and the class behind.
    beginnings: Vec<Option<Step>>,
    bytes: usize,
    max_bytes: usize,
    /// The closures in which each place was visited last.
    visited: Vec<u32>,
    closure: u32,
    open: Vec<StateID>,
}

impl Cache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            keys: Interner::default(),
            start: None,
            transitions: Vec::new(),
            stride: 0,
            matches: Interner::default(),
            collected: Vec::new(),
            search: 0,
            beginnings: Vec::new(),
            bytes: 0,
            max_bytes,
            visited: Vec::new(),
            closure: 0,
            open: Vec::new(),
        }
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// A new search begins.
    pub(super) fn begin(&mut self, machine: &Machine) {
        self.stride = machine.stride();
        if self.matches.lists.is_empty() {
            self.forget();
        }
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.collected.fill(0);
            self.search = 1;
        }
    }

    pub(super) fn is_notable(state: u16) -> bool {
        state & NOTABLE != 0
    }

    pub(super) fn next(&self, at: u16, class: usize) -> Option<u16> {
        let row = usize::from(at & !NOTABLE).wrapping_mul(self.stride);
        let next = *self.transitions.get(row.wrapping_add(class))?;
        (next != UNKNOWN).then_some(next)
    }

    pub(super) fn key(&self, state: u16) -> &[u32] {
        self.keys.get(usize::from(state & !NOTABLE))
    }

    /// Whether nothing can match from a state on.
    pub(super) fn is_dead(&self, machine: &Machine, state: u16) -> bool {
        is_dead(machine, self.key(state))
    }

    /// Adds the patterns that match in a state, and returns how many of them are new.
    pub(super) fn collect(&mut self, state: u16, matched: &mut Bits) -> usize {
        let list = match self.key(state).get(1) {
            Some(list) => usize::try_from(*list).unwrap_or_default(),
            None => 0,
        };
        match self.collected.get_mut(list) {
            Some(search) if *search == self.search => return 0,
            Some(search) => *search = self.search,
            None => {}
        }
        let patterns = self.matches.get(list).iter();
        let is_new =
            |pattern: &&u32| usize::try_from(**pattern).is_ok_and(|pattern| matched.add(pattern));
        patterns.filter(is_new).count()
    }

    /// The state in front of a text.
    pub(super) fn start(&mut self, machine: &Machine) -> u16 {
        if let Some(start) = self.start {
            return start;
        }
        let start = self.state(machine, &[START, 0]);
        self.start = Some(start);
        start
    }

    /// Builds the state that a byte, or the end of a text, leads to. `None` if that is more work
    /// than is left.
    pub(super) fn build(
        &mut self,
        machine: &Machine,
        at: u16,
        class: usize,
        ahead: Option<u8>,
        work: &mut u32,
    ) -> Option<u16> {
        let key = Arc::clone(self.keys.lists.get(usize::from(at & !NOTABLE))?);
        let behind = *key.first()?;
        let places = key.get(HEADER..).unwrap_or_default();
        *work = work.checked_sub(STATE_WORK)?;
        let mut step = self.beginning(machine, behind, class, ahead, work)?;
        self.close(machine, places, behind, ahead, &mut step, work)?;
        let is_full = self.bytes > self.max_bytes || self.keys.lists.len() >= usize::from(NOTABLE);
        if is_full {
            self.forget();
        }
        let mut places = sorted(step.places);
        let matches = sorted(step.matches);
        let (list, is_new) = self.matches.number(&matches);
        if is_new {
            self.collected.push(0);
            self.bytes = self.bytes.saturating_add(size_of(&matches));
        }
        let list = u32::try_from(list).ok()?;
        places.splice(..0, [machine.behind(ahead), list]);
        let next = self.state(machine, &places);
        if !is_full {
            let row = usize::from(at & !NOTABLE).saturating_mul(self.stride);
            if let Some(transition) = self.transitions.get_mut(row.saturating_add(class)) {
                *transition = next;
            }
        }
        Some(next)
    }

    /// What comes of the beginnings of all patterns.
    fn beginning(
        &mut self,
        machine: &Machine,
        behind: u32,
        class: usize,
        ahead: Option<u8>,
        work: &mut u32,
    ) -> Option<Step> {
        let row = usize::try_from(behind).ok()?.saturating_mul(self.stride);
        let place = row.saturating_add(class);
        if let Some(Some(step)) = self.beginnings.get(place) {
            return Some(step.clone());
        }
        let mut step = Step::default();
        let start = machine.nfa.start_anchored().as_u32();
        self.close(machine, &[start], behind, ahead, &mut step, work)?;
        if self.beginnings.len() <= place {
            self.beginnings.resize(place.saturating_add(1), None);
        }
        if let Some(known) = self.beginnings.get_mut(place) {
            *known = Some(step.clone());
        }
        Some(step)
    }

    /// Follows the empty transitions from some places, with what stands before and behind them, and
    /// then the byte behind them.
    fn close(
        &mut self,
        machine: &Machine,
        places: &[u32],
        behind: u32,
        ahead: Option<u8>,
        step: &mut Step,
        work: &mut u32,
    ) -> Option<()> {
        let before = usize::try_from(behind).ok().and_then(|at| BEHIND.get(at));
        let before = before.filter(|_| behind != START);
        let around = [before.copied(), ahead];
        let around: Vec<u8> = around.into_iter().flatten().collect();
        let at = usize::from(before.is_some());
        self.visited.resize(machine.nfa.states().len(), 0);
        self.closure = self.closure.wrapping_add(1);
        if self.closure == 0 {
            self.visited.fill(0);
            self.closure = 1;
        }
        let ids = places.iter().filter_map(|place| {
            let place = usize::try_from(*place).ok()?;
            StateID::new(place).ok()
        });
        self.open.clear();
        self.open.extend(ids);
        while let Some(id) = self.open.pop() {
            let visited = self.visited.get_mut(id.as_usize())?;
            if std::mem::replace(visited, self.closure) == self.closure {
                continue;
            }
            *work = work.checked_sub(1)?;
            match machine.nfa.state(id) {
                State::Look { look, next } => {
                    if machine.nfa.look_matcher().matches(*look, &around, at) {
                        self.open.push(*next);
                    }
                }
                State::Capture { next, .. } => self.open.push(*next),
                State::Union { alternates } => self.open.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => self.open.extend([*alt1, *alt2]),
                State::Match { pattern_id } => step.matches.push(pattern_id.as_u32()),
                state => {
                    let next = ahead.and_then(|byte| after(state, byte));
                    step.places.extend(next.map(|next| next.as_u32()));
                }
            }
        }
        Some(())
    }

    /// Forgets all states, and knows the empty list of matches as the first.
    fn forget(&mut self) {
        self.keys = Interner::default();
        self.start = None;
        self.transitions.clear();
        self.matches = Interner::default();
        self.matches.number(&[]);
        self.collected.clear();
        self.collected.push(0);
        self.bytes = 0;
    }

    /// The state with a key.
    fn state(&mut self, machine: &Machine, key: &[u32]) -> u16 {
        let (number, is_new) = self.keys.number(key);
        if is_new {
            let row = self.stride.saturating_mul(TRANSITION);
            self.bytes = self.bytes.saturating_add(size_of(key)).saturating_add(row);
            let length = self.transitions.len().saturating_add(self.stride);
            self.transitions.resize(length, UNKNOWN);
        }
        let is_notable =
            key.get(1).is_some_and(|list| self.has_matches(*list)) || is_dead(machine, key);
        let flag = if is_notable { NOTABLE } else { 0 };
        u16::try_from(number).unwrap_or_default() | flag
    }

    fn has_matches(&self, list: u32) -> bool {
        let list = usize::try_from(list).unwrap_or_default();
        !self.matches.get(list).is_empty()
    }
}

/// Where a byte leads from a place.
pub(super) fn after(state: &State, byte: u8) -> Option<StateID> {
    match state {
        State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
        State::Sparse(sparse) => sparse.matches_byte(byte),
        State::Dense(dense) => dense.matches_byte(byte),
        _ => None,
    }
}

fn is_dead(machine: &Machine, key: &[u32]) -> bool {
    machine.is_anchored && key.len() == HEADER && key.first() != Some(&START)
}

fn size_of(list: &[u32]) -> usize {
    // Once in its own place, and twice in pointers.
    size_of_val(list).saturating_add(OVERHEAD)
}
/// The number of a pattern in the automaton.
pub(super) fn pattern_id(pattern: usize) -> Option<PatternID> {
    PatternID::new(pattern).ok()
}
