//! The groups of a match: a backtracking search that visits no place twice.

use regex_automata::nfa::thompson::State;
use regex_automata::util::primitives::StateID;

use super::bits::Bits;
use super::cache::{after, pattern_id, Machine, MAX_TEXT};

/// How many pairs of a place in the pattern and one in the text may be told apart: 256 KiB of bits.
const MAX_VISITED: usize = 2 * 1024 * 1024;

/// The groups of a pattern's first match in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Groups<'t> {
    text: &'t [u8],
    /// Begin and end of each group.
    slots: Vec<Option<usize>>,
}

impl<'t> Groups<'t> {
    /// What a group matched; empty if it took no part.
    pub fn get(&self, group: usize) -> &'t [u8] {
        let slot = |at: usize| self.slots.get(at).copied().flatten();
        let begin = group.saturating_mul(2);
        let part = slot(begin)
            .zip(slot(begin.saturating_add(1)))
            .and_then(|(begin, end)| self.text.get(begin..end));
        part.unwrap_or_default()
    }
}

/// What is still to be tried.
enum Todo {
    Visit(StateID, usize),
    /// A group's place is what it was before a branch that failed.
    Restore(usize, Option<usize>),
}

/// The first match, as Perl's rules have it. `None` if there is none, or if it takes too much work.
pub(super) fn find<'t>(
    machine: &Machine,
    pattern: usize,
    text: &'t [u8],
    work: &mut u32,
) -> Option<Groups<'t>> {
    let nfa = &machine.nfa;
    let pattern = pattern_id(pattern)?;
    let begin = nfa.start_pattern(pattern)?;
    let is_own = |owner: &u32| *owner == pattern.as_u32();
    // A pattern's places lie together.
    let first = machine.owners.iter().position(is_own)?;
    let last = machine.owners.iter().rposition(is_own)?;
    let places = last.checked_sub(first)?.checked_add(1)?;
    let end = text.len().min(MAX_TEXT);
    let pairs = places.checked_mul(end.checked_add(1)?)?;
    if pairs > MAX_VISITED {
        return None;
    }
    let mut visited = Bits::new(pairs);
    let mut slots = vec![None; nfa.group_info().group_len(pattern).checked_mul(2)?];
    let mut todo = Vec::new();
    for start in 0..=end {
        todo.push(Todo::Visit(begin, start));
        while let Some(next) = todo.pop() {
            let (mut id, mut at) = match next {
                Todo::Visit(id, at) => (id, at),
                Todo::Restore(slot, old) => {
                    if let Some(place) = slots.get_mut(slot) {
                        *place = old;
                    }
                    continue;
                }
            };
            // Along one branch, until it fails.
            loop {
                *work = work.checked_sub(1)?;
                let place = id.as_usize().checked_sub(first)?;
                if !visited.add(at.checked_mul(places)?.checked_add(place)?) {
                    break;
                }
                match nfa.state(id) {
                    State::Look { look, next } => {
                        if !nfa.look_matcher().matches(*look, text, at) {
                            break;
                        }
                        id = *next;
                    }
                    State::Union { alternates } => {
                        let (first, others) = alternates.split_first()?;
                        todo.extend(others.iter().rev().map(|other| Todo::Visit(*other, at)));
                        id = *first;
                    }
                    State::BinaryUnion { alt1, alt2 } => {
                        todo.push(Todo::Visit(*alt2, at));
                        id = *alt1;
                    }
                    State::Capture {
                        next,
                        group_index,
                        slot,
                        ..
                    } => {
                        // Begins have even numbers, ends odd ones.
                        let is_end = slot.as_usize() % 2;
                        let own = group_index.as_usize().checked_mul(2)?.checked_add(is_end)?;
                        if let Some(place) = slots.get_mut(own) {
                            todo.push(Todo::Restore(own, place.replace(at)));
                        }
                        id = *next;
                    }
                    State::Match { .. } => return Some(Groups { text, slots }),
                    State::Fail => break,
                    state => {
                        let byte = text.get(at).filter(|_| at < end);
                        let Some(next) = byte.and_then(|byte| after(state, *byte)) else {
                            break;
                        };
                        id = next;
                        at = at.checked_add(1)?;
                    }
                }
            }
        }
    }
    None
}
