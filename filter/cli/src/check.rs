//! Checks one configuration: its problems, or what it comes to.

use std::collections::BTreeMap;

use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use serde::Serialize;
use serde_json::{json, Value};

use crate::find::Found;
use crate::schema::Document;

/// What is wrong with a key.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// The key, or the environment variable.
    pub path: String,
    /// What would be right, and what was found.
    pub message: String,
}

/// What a check comes to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the configuration stands.
    pub place: String,
    /// Every problem; none if the filter takes the configuration.
    pub problems: Vec<Problem>,
    /// What works and will be regretted.
    pub warnings: Vec<String>,
    /// Every option with its value, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Value>,
    /// Which requests get no span whatever the rates and rules say; none without a DSN.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_traced: Vec<String>,
    /// What is decided about a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<crate::explain::Explanation>,
    /// What became of a test span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<crate::send_test::Test>,
}

/// Checks a configuration. `variables` are the VM's, and win over those of the file.
pub fn check(
    found: &Found,
    variables: &BTreeMap<String, String>,
) -> (Report, Option<FilterConfig>) {
    let variable = |name: &str| variables.get(name).or(found.variables.get(name)).cloned();
    let env = EnvDefaults {
        dsn: variable("SENTRY_DSN"),
        environment: variable("SENTRY_ENVIRONMENT"),
        release: variable("SENTRY_RELEASE"),
        traces_sample_rate: variable("SENTRY_TRACES_SAMPLE_RATE"),
        node_id: None,
    };
    let mut report = Report {
        place: found.place.clone(),
        problems: Vec::new(),
        warnings: found.warnings.clone(),
        effective: None,
        not_traced: Vec::new(),
        explanation: None,
        test: None,
    };
    let config = FilterConfig::parse(&found.bytes, &env);
    match &config {
        Ok(config) => {
            report.warnings.extend(warnings(found, config, variables));
            report.not_traced = not_traced(config);
            report.effective = Some(effective(found, config, env.traces_sample_rate.as_deref()));
        }
        Err(problems) => {
            report.problems = problems
                .iter()
                .map(|problem| Problem {
                    path: problem.path.clone(),
                    message: problem.message.clone(),
                })
                .collect();
        }
    }
    (report, config.ok())
}

fn warnings(
    found: &Found,
    config: &FilterConfig,
    variables: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_set = |key: &str| {
        found
            .document
            .as_ref()
            .is_some_and(|document| document.get(key).is_some_and(|value| !value.is_null()))
    };
    // Without the other two spans are as good.
    for key in ["dsn", "traces_sample_rate"] {
        let variable = format!("SENTRY_{}", key.to_uppercase());
        if found.host_variables.contains(&variable)
            && !is_set(key)
            && !variables.contains_key(&variable)
        {
            warnings.push(format!("{key} comes from the host's variable {variable}, which is not known here: give it with --env {variable}=…"));
        }
    }
    let cluster = &config.transport.cluster;
    if config.dsn.is_some()
        && found
            .clusters
            .as_ref()
            .is_some_and(|clusters| !clusters.contains(cluster))
    {
        warnings.push(format!("transport.cluster is {cluster:?}, and the file has no such cluster: spans would wait, and be lost when the queue is full"));
    }
    let decides_by_path = config.rules.rules().iter().position(|rule| {
        let trusts = rule.incoming_trace.is_some()
            || rule.incoming_sampled.is_some()
            || rule.propagate.is_some();
        rule.matching.path.is_some() && trusts
    });
    if let (Some(rule), Some(false)) = (decides_by_path, found.normalizes_path) {
        warnings.push(format!("rules[{rule}] decides by the path what callers may decide, or whether the upstream gets the trace, and the listener has no normalize_path: true, so Envoy routes /x/../public and /%70ublic as they are spelled. Such a rule counts for every spelling where it trusts callers less, and for none but the plain one where it trusts them more; with normalize_path, merge_slashes and path_with_escaped_slashes_action all agree"));
    }
    let pattern_with_port = config.rules.rules().iter().position(|rule| {
        let host = rule.matching.host.as_ref();
        host.is_some_and(|host| has_port(host.as_str()))
    });
    if let Some(rule) = pattern_with_port {
        warnings.push(format!(
            "rules[{rule}].match.host seems to ask for a port: hosts are matched without it"
        ));
    }
    if config.dsn.is_some() && config.traces_sample_rate.is_none() && warnings.is_empty() {
        warnings.push("traces_sample_rate is not set: traces are started and passed on without a decision, and nothing is recorded where no rule sets a rate".to_owned());
    }
    warnings
}

/// What never has a span.
fn not_traced(config: &FilterConfig) -> Vec<String> {
    let Some(dsn) = &config.dsn else {
        return Vec::new();
    };
    let host = dsn.authority();
    let mut left_out = vec![
        "requests with the method OPTIONS".to_owned(),
        format!(
            "requests to {host}{}… (the DSN's own receiver; the rest of {host} is traced)",
            dsn.api_path()
        ),
    ];
    if let Some(path) = &config.transport.path {
        left_out.push(format!("requests to {host}{path} (transport.path)"));
    }
    left_out
}

/// Whether a pattern for hosts asks for a port: a colon that is no group's, and not one of several
/// as in IPv6 addresses.
fn has_port(pattern: &str) -> bool {
    pattern.replace("(?:", "").matches(':').count() == 1
}

/// The defaults, with what was written over them, with what the filter made of that.
fn effective(found: &Found, config: &FilterConfig, rate: Option<&str>) -> Value {
    let mut effective = json!(Document::default());
    for (key, value) in found
        .document
        .iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
    {
        match (effective[key].as_object_mut(), value.as_object()) {
            (Some(section), Some(values)) => {
                let values = values.iter().filter(|(_, value)| !value.is_null());
                section.extend(values.map(|(key, value)| (key.clone(), value.clone())));
            }
            _ => effective[key] = value.clone(),
        }
    }
    effective["dsn"] = json!(config.dsn.as_ref().map(ToString::to_string));
    effective["environment"] = json!(&*config.environment);
    effective["release"] = json!(config.release.as_deref());
    effective["server_name"] = json!(config.server_name);
    effective["org_id"] = json!(config.org_id.as_deref());
    if effective["traces_sample_rate"].is_null() {
        effective["traces_sample_rate"] =
            json!(rate.and_then(|rate| rate.trim().parse::<f64>().ok()));
    }
    let transport = &config.transport;
    let path = transport.path.clone();
    let path = path.or_else(|| Some(transport.format.path(config.dsn.as_ref()?)));
    effective["transport"]["path"] = json!(path);
    effective
}
