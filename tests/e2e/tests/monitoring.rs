//! The dashboard and the alert rules ask for what Envoy really shows.

use std::{collections::BTreeSet, fs};

use e2e::{envoy::workspace, Gateway, Request};
use serde_json::{json, Value};

const PREFIX: &str = "sentry_filter_";

/// The names that a text asks for; `…_` is the beginning of several.
fn asked(text: &str) -> BTreeSet<String> {
    text.split(PREFIX)
        .skip(1)
        .map(|rest| {
            let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
            rest.chars()
                .take_while(|character| is_name(*character))
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
}

/// The names that Envoy shows to Prometheus.
async fn shown() -> BTreeSet<String> {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::get("/api/1")).await;
    gateway.envoy.wait_for_stat("spans_sent", e2e::SPANS).await;
    asked(
        &gateway
            .envoy
            .admin("/stats/prometheus?filter=sentry_filter")
            .await,
    )
}

fn read(name: &str) -> String {
    fs::read_to_string(workspace("envoy/monitoring").join(name)).expect(name)
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_what_there_is_and_the_dashboard_for_all() {
    let shown = shown().await;
    let dashboard = asked(&read("dashboard.json"));
    for (file, names) in [
        ("dashboard", &dashboard),
        ("alerts", &asked(&read("alerts.yaml"))),
    ] {
        assert!(!names.is_empty());
        for name in names {
            let is_there = shown.contains(name)
                || (name.ends_with('_') && shown.iter().any(|other| other.starts_with(name)));
            assert!(is_there, "{file}: Envoy does not show {name}: {shown:#?}");
        }
    }
    // Regular expressions stand for the reasons of refused headers and of lost spans.
    let by_pattern = ["sentry_trace_refused_", "traceparent_refused_"];
    let elsewhere = [
        "requests",
        "baggage_members_dropped_malformed",
        "baggage_members_dropped_limit",
    ];
    for name in &shown {
        let is_shown = dashboard.contains(name)
            || by_pattern.iter().any(|prefix| name.starts_with(prefix))
            || elsewhere.contains(&name.as_str());
        assert!(is_shown, "the dashboard does not show {name}");
    }
}

#[test]
fn the_dashboard_is_one() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "an id twice");
        assert!(!panel["title"].as_str().unwrap_or_default().is_empty());
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().unwrap_or_default();
            let count = |character| expression.matches(character).count();
            assert!(
                count('(') == count(')') && count('{') == count('}'),
                "{expression}"
            );
        }
    }
}
