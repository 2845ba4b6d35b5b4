//! What the host knows and remembers: contexts, header maps, properties, metrics, callouts, and the
//! plan of what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use wasmi::{Memory, TypedFunc};

use crate::expressions::Expression;
use crate::maps::HeaderMap;

/// Status words of the ABI that this host answers with.
pub mod status {
    #![allow(missing_docs)]
    pub const OK: u32 = 0;
    pub const NOT_FOUND: u32 = 1;
    pub const BAD_ARGUMENT: u32 = 2;
    pub const INVALID_MEMORY_ACCESS: u32 = 6;
    pub const CAS_MISMATCH: u32 = 8;
    pub const INTERNAL_FAILURE: u32 = 10;
    pub const BROKEN_CONNECTION: u32 = 11;
    pub const UNIMPLEMENTED: u32 = 12;
}

/// Numbers of the header maps in the ABI.
pub mod map {
    #![allow(missing_docs)]
    pub const REQUEST_HEADERS: u32 = 0;
    pub const REQUEST_TRAILERS: u32 = 1;
    pub const RESPONSE_HEADERS: u32 = 2;
    pub const RESPONSE_TRAILERS: u32 = 3;
    pub const CALL_RESPONSE_HEADERS: u32 = 6;
    pub const CALL_RESPONSE_TRAILERS: u32 = 7;
    pub const MAX: u32 = 7;
}

/// When a refusal or a twist applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From the first instruction of the module on.
    Always,
    /// From the first `proxy_on_configure` on, that call included.
    FromConfiguration,
    /// Once a first `proxy_on_configure` has returned.
    AfterConfiguration,
    /// From the nth call of that import on, counted from 1 over the life of the VM.
    FromCall(u64),
    /// Only while that callback runs.
    During(&'static str),
}

/// A legal but unusual answer of an import that returns bytes.
#[derive(Clone, Debug)]
pub enum Twist {
    /// `Ok` with a null pointer and size 0.
    Null,
    /// `Ok` with size 0 behind a pointer that the module allocated.
    Empty,
    /// `Ok` with exactly these bytes, whatever the import means.
    Bytes(Vec<u8>),
}

/// How the host treats callouts to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Accepts them; the test answers.
    Accepts,
    /// `InternalFailure`, and no answer ever: measured on Envoy 1.40.
    NoHealthyHost,
}

/// A line the module logged, by `proxy_log` or by stdout or stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical.
    pub level: u32,
    /// What it says.
    pub message: String,
}

/// A callout that the host accepted.
#[derive(Clone, Debug)]
pub struct Callout {
    /// What the answer refers to.
    pub token: u32,
    /// The root context that gets the answer.
    pub root: u32,
    /// The cluster.
    pub cluster: String,
    /// Request headers, pseudo headers included.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Vec<u8>,
    /// Request trailers.
    pub trailers: HeaderMap,
    /// Timeout; 0 is none.
    pub timeout_ms: u32,
    /// Whether the answer was delivered.
    pub answered: bool,
}

/// A change of a header map that the host accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderWrite {
    /// The import that made it.
    pub import: &'static str,
    /// The map, by number.
    pub map: u32,
    /// The header.
    pub name: Vec<u8>,
    /// The new value; empty for a removal.
    pub value: Vec<u8>,
}

/// What one callback did to the host.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The callback.
    pub callback: &'static str,
    /// Its context.
    pub context: u32,
    /// Fuel it burned, about one a Wasm instruction.
    pub fuel: u64,
    /// Every import it called, in order, WASI included.
    pub host_calls: Vec<&'static str>,
    /// Every header it changed.
    pub writes: Vec<HeaderWrite>,
}

impl Record {
    /// How often it called that import.
    pub fn count(&self, import: &str) -> usize {
        self.host_calls
            .iter()
            .filter(|name| **name == import)
            .count()
    }
}

/// A context of the module: a root (a configuration) or a stream.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The root of a stream.
    pub parent: Option<u32>,
    pub maps: BTreeMap<u32, HeaderMap>,
    pub buffers: BTreeMap<u32, Vec<u8>>,
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub tick_period_ms: Option<u32>,
    /// `proxy_on_done` answered false, `proxy_done` is awaited.
    pub done_pending: bool,
}

#[derive(Debug)]
pub(crate) struct Metric {
    pub kind: u32,
    pub name: String,
}

#[derive(Debug)]
pub(crate) struct Refusal {
    pub import: String,
    pub status: u32,
    pub when: When,
}

impl Refusal {
    pub fn new(import: &str, status: u32, when: When) -> Self {
        Self {
            import: import.to_owned(),
            status,
            when,
        }
    }
}

/// The ABI's form of a property path.
pub(crate) fn path_key(path: &[&str]) -> Vec<u8> {
    path.join("\0").into_bytes()
}

/// Everything behind the imports.
pub(crate) struct State {
    pub memory: Option<Memory>,
    pub allocate: Option<TypedFunc<u32, u32>>,
    /// While `_initialize` runs, Envoy lets nothing through but logs and WASI.
    pub starting: bool,

    pub contexts: BTreeMap<u32, Context>,
    pub current: u32,
    pub effective: u32,
    pub deletions: Vec<u32>,
    pub done_calls: Vec<u32>,

    pub refusals: Vec<Refusal>,
    pub twists: Vec<(String, When, Twist)>,
    pub configuring: bool,
    pub configured: bool,
    pub calls: BTreeMap<&'static str, u64>,
    pub refused: u64,
    pub record: Record,

    pub clock_ns: u64,
    pub random: Rng,
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    pub vm_configuration: Vec<u8>,
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub expressions: BTreeMap<u32, Expression>,
    pub next_expression: u32,
    pub log_level: u32,
    pub logs: Vec<LogLine>,

    pub metric_ids: BTreeMap<u32, Metric>,
    pub metric_values: BTreeMap<String, u64>,
    pub shared_data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    pub next_cas: u32,

    pub clusters: BTreeMap<String, Cluster>,
    pub callouts: Vec<Callout>,
    pub next_token: u32,
    pub call_status: (u32, &'static str),
}

impl State {
    /// An attribute as the current context sees it.
    pub fn attribute(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let own = self.context().and_then(|context| {
            let written = context.filter_state.get(path);
            written.or_else(|| context.properties.get(path)).cloned()
        });
        own.or_else(|| self.properties.get(path).cloned())
    }

    /// A host at start-up: one healthy cluster `sentry`, no configuration, no context.
    pub fn new() -> Self {
        Self {
            memory: None,
            allocate: None,
            starting: true,
            contexts: BTreeMap::new(),
            current: 0,
            effective: 0,
            deletions: Vec::new(),
            done_calls: Vec::new(),
            refusals: Vec::new(),
            twists: Vec::new(),
            configuring: false,
            configured: false,
            calls: BTreeMap::new(),
            refused: 0,
            record: Record::default(),
            clock_ns: 1_700_000_000_000_000_000,
            random: Rng::new(1),
            environment: Vec::new(),
            vm_configuration: Vec::new(),
            properties: BTreeMap::new(),
            expressions: BTreeMap::new(),
            next_expression: 1,
            log_level: 0,
            logs: Vec::new(),
            metric_ids: BTreeMap::new(),
            metric_values: BTreeMap::new(),
            shared_data: BTreeMap::new(),
            next_cas: 1,
            clusters: BTreeMap::from([("sentry".to_owned(), Cluster::Accepts)]),
            callouts: Vec::new(),
            next_token: 1,
            call_status: (0, ""),
        }
    }

    /// The effective context if it exists, else the one that was called.
    pub fn context_id(&self) -> u32 {
        if self.effective != 0 && self.contexts.contains_key(&self.effective) {
            self.effective
        } else {
            self.current
        }
    }

    /// That context; none only where a test calls back for an id that the host never made.
    pub fn context(&mut self) -> Option<&mut Context> {
        self.contexts.get_mut(&self.context_id())
    }

    /// The root of the context: where callouts, ticks and their answers belong.
    pub fn root_id(&self) -> u32 {
        let id = self.context_id();
        let parent = self.contexts.get(&id).and_then(|context| context.parent);
        parent.unwrap_or(id)
    }

    /// The header map, if it may be read now. A map is readable in its own phase and in
    /// `proxy_on_log`.
    pub fn readable_map(&self, map: u32) -> Option<&HeaderMap> {
        let owner = match (self.record.callback, map) {
            ("proxy_on_request_headers", map::REQUEST_HEADERS)
            | ("proxy_on_request_trailers", map::REQUEST_TRAILERS)
            | ("proxy_on_response_headers", map::RESPONSE_HEADERS)
            | ("proxy_on_response_trailers", map::RESPONSE_TRAILERS)
            | (
                "proxy_on_log",
                map::REQUEST_HEADERS | map::RESPONSE_HEADERS | map::RESPONSE_TRAILERS,
            ) => self.context_id(),
            (
                "proxy_on_http_call_response",
                map::CALL_RESPONSE_HEADERS | map::CALL_RESPONSE_TRAILERS,
            ) => self.root_id(),
            _ => return None,
        };
        // Only the stream whose callback runs has its maps; an effective context of another stream
        // has none.
        if owner != self.current {
            return None;
        }
        self.contexts.get(&owner)?.maps.get(&map)
    }

    /// The header map, if it may be changed now: in its own phase, and never in `proxy_on_log`.
    pub fn writable_map(&mut self, map: u32) -> Option<&mut HeaderMap> {
        if self.record.callback == "proxy_on_log" || map > map::RESPONSE_TRAILERS {
            return None;
        }
        self.readable_map(map)?;
        self.contexts.get_mut(&self.current)?.maps.get_mut(&map)
    }

    /// Counts the call, and answers the status if the plan refuses it.
    pub fn refusal(&mut self, import: &'static str) -> Option<u32> {
        let nth = self.calls.entry(import).or_default();
        *nth += 1;
        let nth = *nth;
        self.record.host_calls.push(import);
        let status = self
            .refusals
            .iter()
            .find(|refusal| refusal.import == import && self.applies(refusal.when, nth))
            .map(|refusal| refusal.status)?;
        self.refused += 1;
        Some(status)
    }

    /// The twist for the bytes that this import is about to return.
    pub fn twist(&self, import: &'static str) -> Option<Twist> {
        let nth = self.calls.get(import).copied().unwrap_or_default();
        self.twists
            .iter()
            .find(|(name, when, _)| name == import && self.applies(*when, nth))
            .map(|(_, _, twist)| twist.clone())
    }

    fn applies(&self, when: When, nth: u64) -> bool {
        match when {
            When::Always => true,
            When::FromConfiguration => self.configuring || self.configured,
            When::AfterConfiguration => self.configured,
            When::FromCall(first) => nth >= first,
            When::During(callback) => self.record.callback == callback,
        }
    }

    /// The names of imports that were called at least once.
    pub fn called(&self) -> BTreeSet<&'static str> {
        self.calls.keys().copied().collect()
    }
}

/// A small seeded generator (SplitMix64), for the module's `random_get` and for tests.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound.max(1) as u64).unwrap_or_default()
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Fills the bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.number().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
