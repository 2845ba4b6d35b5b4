//! Reports of what was lost (sentry-protocol.md §11.3).

use serde_json::{Map, Value};

use super::validator::Complaints;

/// How long a report may be.
const MAX_BYTES: usize = 4 * 1024;
/// The reasons that Sentry knows.
const REASONS: [&str; 14] = [
    "queue_overflow",
    "cache_overflow",
    "ratelimit_backoff",
    "network_error",
    "sample_rate",
    "before_send",
    "event_processor",
    "send_error",
    "internal_sdk_error",
    "insufficient_data",
    "backpressure",
    "buffer_overflow",
    "ignored",
    "invalid",
];

/// Something that was lost, as often as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Why.
    pub reason: String,
    /// `transaction`, `span` or `error`.
    pub category: String,
    /// How often.
    pub quantity: u64,
}

/// Complains about a report that Sentry would not count.
pub(super) fn check(report: &Map<String, Value>, length: usize, complaints: &mut Complaints) {
    let at = "client_report";
    complaints.unless(length <= MAX_BYTES, at, "over 4 KiB");
    for key in report.keys() {
        let known = ["timestamp", "discarded_events"].contains(&key.as_str());
        complaints.unless(known, at, format_args!("unknown field {key}"));
    }
    let timestamp = report.get("timestamp").and_then(Value::as_str);
    let fits = timestamp.is_some_and(|text| humantime::parse_rfc3339(text).is_ok());
    complaints.unless(fits, at, format_args!("timestamp {timestamp:?}"));
    let said = report.get("discarded_events").and_then(Value::as_array);
    let said = said.map_or(0, Vec::len);
    complaints.unless(said > 0, at, "nothing is discarded");
    let read = read(report);
    complaints.unless(read.len() == said, at, "not a list of discarded events");
    for (index, one) in read.iter().enumerate() {
        let Discarded {
            reason,
            category,
            quantity,
        } = one;
        let fits = REASONS.contains(&reason.as_str())
            && ["transaction", "span", "error"].contains(&category.as_str())
            && *quantity > 0;
        complaints.unless(fits, at, format_args!("{one:?}"));
        let is_same = |other: &Discarded| other.reason == *reason && other.category == *category;
        let is_new = !read.iter().take(index).any(is_same);
        complaints.unless(is_new, at, format_args!("{reason} of {category} twice"));
    }
}

/// What a report says.
pub(super) fn read(report: &Map<String, Value>) -> Vec<Discarded> {
    let events = report.get("discarded_events").and_then(Value::as_array);
    let events = events.map(Vec::as_slice).unwrap_or_default();
    events
        .iter()
        .filter_map(|event| {
            Some(Discarded {
                reason: event.get("reason")?.as_str()?.to_owned(),
                category: event.get("category")?.as_str()?.to_owned(),
                quantity: event.get("quantity")?.as_u64()?,
            })
        })
        .collect()
}
