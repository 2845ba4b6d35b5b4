//! What a test reads from the host.

use std::collections::{BTreeMap, BTreeSet};

use super::Host;
use crate::imports;
use crate::maps::HeaderMap;
use crate::state::{map, Callout, LogLine, Record};

impl Host {
    /// Nanoseconds since the epoch.
    pub fn now_ns(&self) -> u64 {
        self.store.data().clock_ns
    }

    /// The request headers as the filter left them.
    pub fn request_headers_of(&self, stream: u32) -> HeaderMap {
        self.map_of(stream, map::REQUEST_HEADERS)
    }

    /// The response headers as the filter left them.
    pub fn response_headers_of(&self, stream: u32) -> HeaderMap {
        self.map_of(stream, map::RESPONSE_HEADERS)
    }

    /// What the filter set with `proxy_set_property` on that stream.
    pub fn filter_state_of(&self, stream: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let context = self.store.data().contexts.get(&stream);
        context
            .map(|context| context.filter_state.clone())
            .unwrap_or_default()
    }

    /// What the last callback did.
    pub fn last(&self) -> &Record {
        &self.store.data().record
    }

    /// All log lines.
    pub fn logs(&self) -> &[LogLine] {
        &self.store.data().logs
    }

    /// All accepted callouts.
    pub fn callouts(&self) -> &[Callout] {
        &self.store.data().callouts
    }

    /// The tokens that wait for an answer.
    pub fn outstanding(&self) -> Vec<u32> {
        let open = self.callouts().iter().filter(|callout| !callout.answered);
        open.map(|callout| callout.token).collect()
    }

    /// The value of a metric; none if it was never defined.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.store.data().metric_values.get(name).copied()
    }

    /// All metrics.
    pub fn metrics(&self) -> &BTreeMap<String, u64> {
        &self.store.data().metric_values
    }

    /// The tick period that a root asked for.
    pub fn tick_period_ms(&self, root: u32) -> Option<u32> {
        self.store.data().contexts.get(&root)?.tick_period_ms
    }

    /// The contexts that called `proxy_done`, in order.
    pub fn done_calls(&self) -> &[u32] {
        &self.store.data().done_calls
    }

    /// Whether the host still has that context.
    pub fn has_context(&self, context: u32) -> bool {
        self.store.data().contexts.contains_key(&context)
    }

    /// How many expressions the host keeps for the module.
    pub fn expressions(&self) -> usize {
        self.store.data().expressions.len()
    }

    /// The imports that were called at least once.
    pub fn called(&self) -> BTreeSet<&'static str> {
        self.store.data().called()
    }

    /// The imports it called that a filter has no business with, whatever came back: they hold, end
    /// or rewrite.
    pub fn called_out_of_place(&self) -> Vec<&'static str> {
        let called = self.called().into_iter();
        called
            .filter(|name| imports::is_out_of_place(name))
            .collect()
    }

    /// How often an import was called over the life of the VM.
    pub fn calls(&self, import: &str) -> u64 {
        self.store
            .data()
            .calls
            .get(import)
            .copied()
            .unwrap_or_default()
    }

    /// How many calls were refused by plan.
    pub fn refused(&self) -> u64 {
        self.store.data().refused
    }

    /// The size of the module's memory, in pages of 64 KiB. It never shrinks.
    pub fn memory_pages(&self) -> u64 {
        let memory = self.instance.get_memory(&self.store, "memory");
        memory
            .map(|memory| memory.size(&self.store))
            .unwrap_or_default()
    }

    /// The callbacks that the module exports.
    pub fn exports(&self, callback: &str) -> bool {
        self.instance.get_func(&self.store, callback).is_some()
    }

    fn map_of(&self, context: u32, number: u32) -> HeaderMap {
        let context = self.store.data().contexts.get(&context);
        context
            .and_then(|context| context.maps.get(&number).cloned())
            .unwrap_or_default()
    }
}
