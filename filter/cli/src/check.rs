//! Checks one configuration: its problems, or what it comes to.

use std::collections::BTreeMap;

use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::data::FILTERED;
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::failure::Origin;
use sentry_filter_core::project::Project;
use serde::Serialize;
use serde_json::{json, Value};

use crate::document::ReadError;
use crate::finding::{location, Finding, Level};
use crate::found::Found;
use crate::lint::lint;
use crate::schema;
use crate::suggest;

/// What is wrong with a key, or with what stands around the filter.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// The key, or the environment variable; empty if it is about none.
    pub path: String,
    /// What would be right, and what was found.
    pub message: String,
    /// The line it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// What a check comes to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the configuration stands.
    pub place: String,
    /// The file, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line on which it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Every problem; none if the filter takes the configuration, and Envoy what stands around it.
    pub problems: Vec<Problem>,
    /// What is valid and probably a mistake, with its place.
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
    /// What became of one to each project that rules name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests_of_rules: Vec<crate::send_test::Test>,
    /// What became of a test span in each format.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<crate::formats::FormatTest>,
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
        quotes_numbers: false,
    };
    let mut report = Report::new(found.place.clone(), found.file.as_deref(), found.line);
    for finding in &found.findings {
        report.add(found, finding);
    }
    let config = FilterConfig::parse(&found.bytes, &env);
    match &config {
        Ok(config) => {
            for finding in warnings(found, config, variables) {
                report.add(found, &finding);
            }
            for finding in lint(found, config, variables) {
                report.add(found, &finding);
            }
            report.not_traced = not_traced(config);
            report.effective = Some(effective(found, config, env.traces_sample_rate.as_deref()));
        }
        Err(problems) => {
            for problem in problems {
                let path = problem.path.clone();
                let value = found.document.as_ref();
                let value = value.and_then(|document| document.get(&path)?.as_str());
                let message = suggest::better(&path, &problem.message, value);
                let line = found.line_of(&path);
                report.problems.push(Problem::new(path, message, line));
            }
        }
    }
    (report, config.ok())
}

impl Problem {
    fn new(path: String, message: String, line: usize) -> Self {
        let line = (line > 0).then_some(line);
        Self {
            path,
            message,
            line,
        }
    }
}

impl Report {
    fn new(place: String, file: Option<&str>, line: usize) -> Self {
        Self {
            place,
            file: file.map(str::to_owned),
            line: (line > 0).then_some(line),
            problems: Vec::new(),
            warnings: Vec::new(),
            effective: None,
            not_traced: Vec::new(),
            explanation: None,
            test: None,
            tests_of_rules: Vec::new(),
            formats: Vec::new(),
        }
    }

    /// Whether something is wrong, or seems to be.
    pub fn is_bad(&self) -> bool {
        !self.problems.is_empty()
            || !self.warnings.is_empty()
            || self.explanation.is_some()
            || self.is_not_taken()
    }

    /// Whether a test span in the configured format was sent to a project, and not taken.
    pub fn is_not_taken(&self) -> bool {
        let configured = self.formats.iter().filter(|one| one.is_configured);
        let tests = self.test.iter().chain(&self.tests_of_rules);
        let mut tests = tests.chain(configured.map(|one| &one.test));
        tests.any(|test| !test.accepted)
    }

    /// A file that could not be read.
    pub fn unreadable(file: Option<&str>, error: &ReadError) -> Self {
        let place = file.unwrap_or("standard input").to_owned();
        let mut report = Self::new(place, file, 0);
        let problem = Problem::new(String::new(), error.message.clone(), error.line);
        report.problems.push(problem);
        report
    }

    fn add(&mut self, found: &Found, finding: &Finding) {
        match finding.level {
            Level::Problem => {
                let path = finding.path.clone().unwrap_or_default();
                let message = finding.message.clone();
                self.problems
                    .push(Problem::new(path, message, finding.line));
            }
            Level::Warning => {
                let place = location(found.file.as_ref(), finding.line);
                self.warnings.push(format!("{}{place}", finding.message));
            }
        }
    }
}

fn warnings(
    found: &Found,
    config: &FilterConfig,
    variables: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let is_set = |key: &str| {
        found
            .document
            .as_ref()
            .is_some_and(|document| document.get(key).is_some_and(|value| !value.is_null()))
    };
    let mut comes_later = false;
    // Without the other two spans are as good.
    for key in ["dsn", "traces_sample_rate"] {
        let variable = format!("SENTRY_{}", key.to_uppercase());
        if found.host_variables.contains(&variable)
            && !is_set(key)
            && !variables.contains_key(&variable)
        {
            comes_later = true;
            let message = format!("{key} comes from the host's variable {variable}, which is not known here: give it with --env {variable}=…");
            warnings.push(Finding::warning(message, found.line));
        }
    }
    let decides_by_path = config.trace.rules.rules().iter().position(|rule| {
        let trusts = rule.incoming_trace.is_some()
            || rule.incoming_sampled.is_some()
            || rule.propagate.is_some();
        rule.matching.path.is_some() && trusts
    });
    if let (Some(rule), Some(false)) = (decides_by_path, found.normalizes_path) {
        let message = format!("rules[{rule}] decides by the path what callers may decide, or whether the upstream gets the trace, and the listener has no normalize_path: true, so Envoy routes /x/../public and /%70ublic as they are spelled. Such a rule counts for every spelling where it trusts callers less, and for none but the plain one where it trusts them more; with normalize_path, merge_slashes and path_with_escaped_slashes_action all agree");
        warnings.push(Finding::warning(
            message,
            found.line_of(&format!("rules[{rule}]")),
        ));
    }
    let pattern_with_port = config.trace.rules.rules().iter().position(|rule| {
        let host = rule.matching.host.as_ref();
        host.is_some_and(|host| has_port(host.as_str()))
    });
    if let Some(rule) = pattern_with_port {
        let path = format!("rules[{rule}].match.host");
        let message = format!("{path} seems to ask for a port: hosts are matched without it");
        warnings.push(Finding::warning(message, found.line_of(&path)));
    }
    if !config.trace.projects.is_empty()
        && config.trace.traces_sample_rate.is_none()
        && !comes_later
    {
        let message = "traces_sample_rate is not set: traces are started and passed on without a decision, and nothing is recorded where no rule sets a rate";
        warnings.push(Finding::warning(message, found.line));
    }
    warnings
}

/// What never has a span.
fn not_traced(config: &FilterConfig) -> Vec<String> {
    if config.trace.projects.is_empty() {
        return Vec::new();
    }
    let mut left_out = vec!["requests with the method OPTIONS".to_owned()];
    for (_, Project { dsn, .. }) in config.trace.projects.iter() {
        let host = dsn.authority();
        let of_receiver = format!(
            "requests to {host}{}… (the DSN's own receiver; the rest of {host} is traced)",
            dsn.api_path()
        );
        let of_path = config.transport.path.as_ref();
        let of_path = of_path.map(|path| format!("requests to {host}{path} (transport.path)"));
        for line in [Some(of_receiver), of_path].into_iter().flatten() {
            if !left_out.contains(&line) {
                left_out.push(line);
            }
        }
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
    let mut effective = schema::defaults();
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
    effective["dsn"] = json!(config.trace.dsn().map(ToString::to_string));
    effective["environment"] = json!(&*config.resource.environment);
    effective["release"] = json!(config.resource.release.as_deref());
    effective["server_name"] = json!(config.resource.server_name);
    if let Some(own) = config.trace.own_project() {
        effective["org_id"] = json!(own.org_id.as_deref());
    }
    // Without their secrets.
    for rule in effective["rules"].as_array_mut().into_iter().flatten() {
        let dsn = rule["dsn"].as_str().and_then(|dsn| Dsn::parse(dsn).ok());
        if let (Some(dsn), Some(rule)) = (dsn, rule.as_object_mut()) {
            rule.insert("dsn".to_owned(), json!(dsn.to_string()));
        }
    }
    if effective["traces_sample_rate"].is_null() {
        effective["traces_sample_rate"] =
            json!(rate.and_then(|rate| rate.trim().parse::<f64>().ok()));
    }
    let transport = &config.transport;
    let path = transport.path.clone();
    let path = path.or_else(|| Some(transport.format.path(config.trace.dsn()?)));
    effective["transport"]["path"] = json!(path);
    effective["capture_failures"] = match &config.capture_failures {
        Some(failures) => json!({
            "status_codes": failures.status_codes.iter().map(|codes| [codes.start(), codes.end()]).collect::<Vec<_>>(),
            "origin": if failures.origin == Origin::Any { "any" } else { "gateway" },
            "max_per_minute": failures.max_per_minute,
        }),
        None => Value::Null,
    };
    // Their values are secrets.
    let headers = transport.headers.iter();
    let headers: BTreeMap<_, _> = headers.map(|(name, _)| (name, FILTERED)).collect();
    effective["transport"]["headers"] = match headers.is_empty() {
        true => Value::Null,
        false => json!(headers),
    };
    effective
}
