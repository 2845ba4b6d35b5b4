//! Envelopes, the format that Sentry takes: sentry-protocol.md §8.
//!
//! ```text
//! {"event_id":"…","dsn":"…","sdk":{…},"trace":{…},"sent_at":"…"}    one line: the envelope header
//! {"type":"transaction","length":512}                              one line: the item header
//! {"type":"transaction",…}                                         512 bytes
//! ```
//! A finished span is encoded when its stream ends, so that a queued span costs what it weighs. Only `sent_at` is written when it leaves.

pub mod transaction;

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::config::FilterConfig;
use crate::trace::dsc::Dsc;
use crate::trace::id::EventId;

/// `sdk.name` of everything this filter sends.
pub const SDK_NAME: &str = "sentry-filter.rust.proxy-wasm";
/// `sdk.version` of everything this filter sends.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// One trace's part of what is sent, ready but for `sent_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The envelope header without its closing brace.
    header: Vec<u8>,
    /// The items, framed.
    items: Vec<u8>,
    /// How many spans are in it.
    spans: u32,
}

/// The `sdk` object.
#[derive(Debug, Serialize)]
pub(crate) struct Sdk {
    name: &'static str,
    version: &'static str,
}

/// The one there is.
pub(crate) const SDK: Sdk = Sdk {
    name: SDK_NAME,
    version: SDK_VERSION,
};

#[derive(Serialize)]
struct Header<'a> {
    event_id: EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsn: Option<String>,
    sdk: Sdk,
    /// Absent for a trace whose head said too little: Relay would discard it (§2.2), a frozen DSC is never filled (§2.7), and a transaction may do
    /// without.
    #[serde(skip_serializing_if = "Dsc::is_unreadable")]
    trace: &'a Dsc,
}

#[derive(Serialize)]
struct ItemHeader {
    r#type: &'static str,
    length: usize,
}

impl Envelope {
    /// An envelope of one item. `None` if a value cannot be written as JSON.
    fn of_item(
        config: &FilterConfig,
        event_id: EventId,
        dsc: &Dsc,
        item_type: &'static str,
        payload: &[u8],
        spans: u32,
    ) -> Option<Self> {
        let mut header = serde_json::to_vec(&Header {
            event_id,
            dsn: config.dsn.as_ref().map(ToString::to_string),
            sdk: SDK,
            trace: dsc,
        })
        .ok()?;
        header.pop();
        let mut items = serde_json::to_vec(&ItemHeader {
            r#type: item_type,
            length: payload.len(),
        })
        .ok()?;
        items.reserve_exact(payload.len().saturating_add(2));
        items.push(b'\n');
        items.extend_from_slice(payload);
        items.push(b'\n');
        Some(Self {
            header,
            items,
            spans,
        })
    }

    /// How many spans are lost if it is.
    pub fn spans(&self) -> u32 {
        self.spans
    }

    /// The memory it holds, in bytes.
    pub fn weight(&self) -> usize {
        self.header
            .capacity()
            .saturating_add(self.items.capacity())
            .saturating_add(size_of::<Self>())
    }

    /// The bytes to post. `sent_at` is now, in nanoseconds since the epoch.
    pub fn to_bytes(&self, now_ns: u64) -> Vec<u8> {
        let tail = format!(",\"sent_at\":\"{}\"}}\n", timestamp(now_ns));
        [self.header.as_slice(), tail.as_bytes(), &self.items].concat()
    }
}

/// Nanoseconds since the epoch as RFC 3339 text with microseconds: the one form of time that every reader takes (the Rust SDK's types take no number in
/// an event's `timestamp`).
pub(crate) fn timestamp(ns: u64) -> String {
    let time = UNIX_EPOCH
        .checked_add(Duration::from_nanos(ns))
        .unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_micros(time).to_string()
}
