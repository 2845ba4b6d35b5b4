//! The generations of a configuration: those with the same filter name, which follow one another
//! and share the bounds of their queues.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sentry_filter_core::export::queue::Generations;

use crate::inbox::lock;

static GENERATIONS: Mutex<BTreeMap<Vec<u8>, Generations>> = Mutex::new(BTreeMap::new());

/// Those of a filter name. They are kept: an operator has few names.
pub fn of(name: &[u8]) -> Generations {
    let mut generations = lock(&GENERATIONS);
    generations.entry(name.to_vec()).or_default().clone()
}
