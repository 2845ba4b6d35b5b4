//! The attributes of spans are those of sentry-conventions, as their own package has them.

use e2e::oracles::ask_javascript;
use sentry_filter_core::span::catalogue::{Convention, Type, PROTOCOL, SPAN};
use serde_json::{json, Value};

fn ask(names: &[&str]) -> Vec<Value> {
    let lines: Vec<String> = names.iter().map(|name| json!(name).to_string()).collect();
    ask_javascript("read_conventions.mjs", ".tools/sdks", &lines)
}

/// What is wrong with an attribute of ours, by what the conventions say of its name.
fn complaint(name: &str, r#type: Type, convention: Convention, says: &Value) -> Option<String> {
    let is_envoys = name.starts_with("envoy.");
    let fits = match convention {
        Convention::Sentry => says["type"] == r#type.as_str() && says["deprecated"].is_null(),
        // One that the conventions have by now is to be theirs.
        Convention::OpenTelemetry => !is_envoys && says["type"].is_null(),
        Convention::Envoy => is_envoys && says["type"].is_null(),
    };
    (!fits).then(|| format!("{name}, {} of {convention:?}: {says}", r#type.as_str()))
}

#[test]
fn every_attribute_is_one_of_the_conventions_and_not_deprecated() {
    let of_spans = SPAN.map(|row| (row.attribute.as_str(), row.value, row.convention));
    let of_protocol = PROTOCOL.map(|row| (row.attribute.as_str(), Type::Text, row.convention));
    let all: Vec<_> = of_spans.into_iter().chain(of_protocol).collect();
    let names: Vec<_> = all.iter().map(|(name, ..)| *name).collect();
    let complaints: Vec<_> = all
        .iter()
        .zip(ask(&names))
        .filter_map(|((name, r#type, convention), says)| {
            complaint(name, *r#type, *convention, &says)
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The oracle would notice.
#[test]
fn a_name_that_is_none_or_is_no_longer_one_is_found() {
    let rows = [
        ("http.route", Type::Text, Convention::Sentry, true),
        ("http.route", Type::Integer, Convention::Sentry, false),
        (
            "http.request.header.",
            Type::Texts,
            Convention::Sentry,
            true,
        ),
        // Deprecated.
        ("http.url", Type::Text, Convention::Sentry, false),
        (
            "http.request_content_length",
            Type::Integer,
            Convention::Sentry,
            false,
        ),
        // Nobody's.
        ("http.rout", Type::Text, Convention::Sentry, false),
        ("http.route", Type::Text, Convention::OpenTelemetry, false),
        ("envoy.cluster", Type::Text, Convention::Envoy, true),
        ("cluster", Type::Text, Convention::Envoy, false),
    ];
    let says = ask(&rows.map(|(name, ..)| name));
    for ((name, r#type, convention, fits), says) in rows.into_iter().zip(says) {
        let complaint = complaint(name, r#type, convention, &says);
        assert_eq!(complaint.is_none(), fits, "{name}: {says}");
    }
}
