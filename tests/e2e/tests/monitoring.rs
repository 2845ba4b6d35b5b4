//! The dashboard and the alert rules ask for what Envoy really shows, in PromQL that Prometheus
//! evaluates.

use std::{collections::BTreeSet, fs};

use e2e::{envoy::workspace, oracles::ask, Gateway, Request};
use serde_json::{json, Value};

const PREFIX: &str = "sentry_filter_";

/// The names of the filter's metrics as Envoy shows them to Prometheus.
async fn shown() -> BTreeSet<String> {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::get("/api/1")).await;
    gateway.envoy.wait_for_stat("spans_sent", e2e::SPANS).await;
    let page = gateway
        .envoy
        .admin("/stats/prometheus?filter=sentry_filter")
        .await;
    let lines = page.lines().filter(|line| line.starts_with(PREFIX));
    let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
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
        .map(|text| text.replace("$__rate_interval", "5m"))
        .collect()
}

/// The expressions of the alert rules, and the names of what they record for each other.
fn alerts() -> (Vec<String>, Vec<String>) {
    let rules: Value = serde_norway::from_str(&read("alerts.yaml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    let rules: Vec<&Value> = rules.collect();
    let texts = |key: &str| -> Vec<String> {
        let texts = rules.iter().filter_map(|rule| rule[key].as_str());
        texts.map(str::to_owned).collect()
    };
    assert_eq!(texts("expr").len(), rules.len(), "each has an expression");
    (texts("expr"), texts("record"))
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
    let shown = shown().await;
    assert!(shown.len() > 40, "{shown:#?}");
    let (alerts, recorded) = alerts();
    let known = shown.iter().cloned().chain(recorded).collect();
    assert!(!selected(&alerts, &known).is_empty());
    let on_dashboard: BTreeSet<String> = selected(&dashboard(), &shown)
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(on_dashboard, shown, "what the dashboard shows");
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

/// Prometheus itself, with series of which each counts one a second.
#[cfg(feature = "prometheus")]
mod prometheus {
    use std::process::Command;

    use super::*;

    fn promtool(arguments: &[&str]) -> String {
        let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "/usr/bin/promtool".to_owned());
        let output = Command::new(program).args(arguments).output();
        let output = output.expect("promtool: run `make test-monitoring`");
        let told = [output.stdout, output.stderr].concat();
        String::from_utf8(told).expect("text")
    }

    #[tokio::test]
    async fn every_expression_has_a_value() {
        let shown = shown().await;
        let series = shown.iter().flat_map(|name| {
            ["a", "b"].map(|instance| {
                let series = format!("{name}{{instance=\"{instance}\"}}");
                json!({"series": series, "values": "0+60x60"})
            })
        });
        let series: Vec<Value> = series.collect();
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("test.yaml");
        for expression in dashboard() {
            // Nothing is expected, so what it is comes back as a failure.
            let question = json!({"expr": expression, "eval_time": "30m", "exp_samples": []});
            let tests = json!({"tests": [{
                "interval": "1m", "input_series": series, "promql_expr_test": [question],
            }]});
            fs::write(&file, tests.to_string()).expect("the file");
            let told = promtool(&["test", "rules", file.to_str().expect("a path")]);
            let (_, got) = told
                .split_once("got: ")
                .unwrap_or_else(|| panic!("{expression}: {told}"));
            assert!(!got.trim().starts_with("nil"), "{expression}: {told}");
        }
    }

    #[test]
    fn the_alert_rules_are_rules() {
        let file = workspace("envoy/monitoring/alerts.yaml");
        let told = promtool(&["check", "rules", file.to_str().expect("a path")]);
        assert!(told.contains("SUCCESS: 3 rules found"), "{told}");
    }
}
