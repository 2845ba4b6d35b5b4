//! The dynamic sampling context in an envelope's header (sentry-protocol.md §2.2).

use serde_json::{Map, Value};

use crate::validator::Complaints;

/// Complains about what Relay would not read.
pub(super) fn check(header: &Map<String, Value>, trace_id: &str, complaints: &mut Complaints) {
    let Some(dsc) = header.get("trace") else {
        return;
    };
    let Some(dsc) = dsc.as_object() else {
        return complaints.add("trace", "not an object");
    };
    for (key, value) in dsc {
        let text = value.as_str().unwrap_or_default();
        complaints.unless(
            !text.is_empty(),
            "trace",
            format_args!("{key} is not a text that says anything"),
        );
    }
    let text = |key: &str| dsc.get(key).and_then(Value::as_str);
    let same = text("trace_id") == Some(trace_id);
    complaints.unless(same, "trace.trace_id", "not that of its spans");
    let key = text("public_key").unwrap_or_default();
    let is_key = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    complaints.unless(is_key, "trace.public_key", "not 32 hex digits");
    // Relay reads numbers as JSON.
    let json = |text: &str| serde_json::from_str(text).unwrap_or(f64::NAN);
    let number = |key: &str| text(key).map(json);
    let rate_fits = number("sample_rate").is_none_or(|rate: f64| (0.0..=1.0).contains(&rate));
    complaints.unless(rate_fits, "trace.sample_rate", "not a number from 0 to 1");
    let rand_fits = number("sample_rand").is_none_or(|rand: f64| (0.0..1.0).contains(&rand));
    complaints.unless(
        rand_fits,
        "trace.sample_rand",
        "not a number from 0 to below 1",
    );
    let is_uuid = |text: &str| {
        let digits = text.replace('-', "");
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex && digits.len() == 32 && matches!(text.len(), 32 | 36)
    };
    let replay_fits = text("replay_id").is_none_or(is_uuid);
    complaints.unless(replay_fits, "trace.replay_id", "not a UUID");
    complaints.unless(text("user").is_none(), "trace.user", "not a map");
    let is_one = text("transaction").and(text("segment_name")).is_none();
    complaints.unless(is_one, "trace.segment_name", "duplicate of transaction");
    let sampled_fits = text("sampled").is_none_or(|sampled| ["true", "false"].contains(&sampled));
    complaints.unless(sampled_fits, "trace.sampled", "neither true nor false");
}
