//! The dashboard and the alert rules ask for what Envoy really shows, in PromQL that Prometheus
//! evaluates. What it makes of them is in `prometheus.rs`.

use std::{collections::BTreeSet, fs};

use e2e::{envoy::workspace, oracles::ask, Gateway, Request};
use serde_json::{json, Value};

const PREFIX: &str = "sentry_filter_";

/// The names of all metrics that Envoy shows to Prometheus.
async fn shown() -> BTreeSet<String> {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::get("/api/1")).await;
    gateway.envoy.wait_for_stat("spans_sent", e2e::SPANS).await;
    let page = gateway.envoy.admin("/stats/prometheus").await;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let is_name = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    let names = lines.filter_map(|line| line.split(|character| !is_name(character)).next());
    names.map(str::to_owned).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(workspace("envoy/monitoring").join(name)).expect(name)
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

/// The expressions of the dashboard, as Grafana sends them.
fn dashboard() -> Vec<String> {
    let targets = panels()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets").clone())
        .collect::<Vec<_>>();
    let texts = targets
        .iter()
        .map(|target| target["expr"].as_str().expect("an expression"));
    texts
        .map(|text| {
            let text = text.replace("$__rate_interval", "5m");
            let variables = ["$job", "$namespace", "$instance", "$cluster"];
            variables
                .iter()
                .fold(text, |text, variable| text.replace(variable, ".*"))
        })
        .collect()
}

/// The alert rules, and those that they are made of.
fn rules() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(&read("alerts.yaml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules").clone());
    rules.collect()
}

/// The metrics that each selector of an expression asks for.
fn selected(expressions: &[String], metrics: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let questions: Vec<String> = expressions
        .iter()
        .map(|expression| json!({"expression": expression, "metrics": metrics}).to_string())
        .collect();
    let mut selectors = Vec::new();
    for (verdict, expression) in ask("read_promql.py", &questions).iter().zip(expressions) {
        assert_eq!(verdict["error"], Value::Null, "{expression}");
        let selected: Vec<BTreeSet<String>> =
            serde_json::from_value(verdict["selected"].clone()).expect("lists of names");
        assert!(!selected.is_empty(), "{expression} asks for nothing");
        for names in &selected {
            assert!(!names.is_empty(), "{expression}: Envoy shows nothing of it");
        }
        selectors.extend(selected);
    }
    selectors
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_what_there_is_and_the_dashboard_for_all() {
    let mut shown = shown().await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rules = rules();
    let recorded = rules.iter().filter(|rule| rule["record"].is_string());
    shown.extend(recorded.map(|rule| text(&rule["record"])));
    let alerts: Vec<String> = rules.iter().map(|rule| text(&rule["expr"])).collect();
    assert!(!selected(&alerts, &shown).is_empty());

    let on_dashboard = selected(&dashboard(), &shown).into_iter().flatten();
    let is_ours = |name: &String| name.starts_with(PREFIX);
    let on_dashboard: BTreeSet<String> = on_dashboard.filter(is_ours).collect();
    let ours: BTreeSet<String> = shown.into_iter().filter(is_ours).collect();
    assert!(ours.len() > 40, "{ours:#?}");
    assert_eq!(on_dashboard, ours, "what the dashboard shows");
}

/// The oracle would notice.
#[test]
fn what_prometheus_does_not_evaluate_is_noticed() {
    let metrics = ["a_one", "a_two"];
    for (expression, is_right) in [
        (r#"sum(rate(a_one[5m]))"#, true),
        (r#"sum({__name__=~"a_.+"})"#, true),
        (r#"sum(rate({__name__=~"a_o.+"}[5m]))"#, true),
        (
            r#"rate(label_replace({__name__=~"a_.+"}, "of", "$1", "__name__", "(.+)")[5m:15s])"#,
            true,
        ),
        (r#"sum by (__name__) (rate({__name__=~"a_.+"}[5m]))"#, false),
        (r#"rate({__name__=~"a_.+"}[5m:15s])"#, false),
        ("sum(rate(a_one[5m]", false),
        ("sum(rate(a_one))", false),
        ("(sum]", false),
    ] {
        let question = json!({"expression": expression, "metrics": metrics}).to_string();
        let verdict = &ask("read_promql.py", &[question])[0];
        assert_eq!(
            verdict["error"].is_null(),
            is_right,
            "{expression}: {verdict}"
        );
    }
}

#[test]
fn the_dashboard_is_one() {
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        assert!(!panel["title"].as_str().unwrap_or_default().is_empty());
        let place = &panel["gridPos"];
        let place = [&place["x"], &place["y"]].map(|each| each.as_u64().expect("a place"));
        assert!(places.insert(place), "two panels at {place:?}");
        let targets = panel["targets"].as_array().expect("targets").clone();
        assert!(!targets.is_empty(), "{panel}");
        let letters: BTreeSet<_> = targets
            .iter()
            .map(|target| target["refId"].as_str())
            .collect();
        assert_eq!(letters.len(), targets.len(), "a refId twice: {panel}");
    }
}
