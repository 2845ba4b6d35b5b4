//! Limits of receivers, which all configurations of the process share: what one is told counts for
//! the others with the same receiver.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sentry_filter_core::export::shared_limit::{SharedLimit, SharedNumber};
use sentry_filter_core::host::HostError;

use crate::inbox::lock;

/// More receivers than any Envoy has. With that many the limits begin anew.
const MAX_RECEIVERS: usize = 1_024;

static LIMITS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// The number of the limit that is known for a receiver.
pub fn known(key: &str) -> Option<u64> {
    lock(&LIMITS).get(key).copied()
}

/// Tells of a limit, unless a longer one is known.
pub fn share(key: &str, limit: SharedLimit) {
    // Nothing here refuses.
    let _ = limit.publish(&mut Shared(key));
}

/// The limit of one receiver. Only the main thread sets limits, so that none has versions.
struct Shared<'a>(&'a str);

impl SharedNumber for Shared<'_> {
    fn get(&mut self) -> Result<Option<(u64, u32)>, HostError> {
        Ok(known(self.0).map(|number| (number, 1)))
    }

    fn set(&mut self, number: u64, _version: u32) -> Result<bool, HostError> {
        let mut limits = lock(&LIMITS);
        if limits.len() >= MAX_RECEIVERS && !limits.contains_key(self.0) {
            limits.clear();
        }
        limits.insert(self.0.to_owned(), number);
        Ok(true)
    }
}
