//! Why there are no spans in Sentry: what a running Envoy says about the filter, from the chain to
//! the receiver, in the order in which a request goes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::admin::Admin;
use crate::check::{check, Report};
use crate::find::Inputs;
use crate::found::Found;

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
pub struct Symptom {
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub what: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Perhaps not as it should be.
    Warning,
    /// No span can arrive, or some do not.
    Problem,
}

/// What a doctor says.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Where Envoy was asked.
    pub admin: String,
    /// Everything that was looked at, in the order of a request's way.
    pub symptoms: Vec<Symptom>,
    /// In one sentence.
    pub verdict: String,
}

impl Diagnosis {
    /// Whether something keeps spans from Sentry.
    pub fn has_problem(&self) -> bool {
        self.worst() == Some(State::Problem)
    }

    /// Whether something may be wrong.
    pub fn has_warning(&self) -> bool {
        self.symptoms
            .iter()
            .any(|symptom| symptom.state == State::Warning)
    }

    fn worst(&self) -> Option<State> {
        let is = |state| self.symptoms.iter().any(|symptom| symptom.state == state);
        is(State::Problem).then_some(State::Problem)
    }
}

#[derive(Debug, Default)]
struct Notes(Vec<Symptom>);

impl Notes {
    fn add(&mut self, state: State, what: impl Into<String>, advice: &str) {
        self.0.push(Symptom {
            state,
            what: what.into(),
            advice: (!advice.is_empty()).then(|| advice.to_owned()),
        });
    }
}

/// Asks an Envoy.
///
/// # Errors
/// Why it does not answer.
pub fn diagnose(admin: &Admin, variables: &BTreeMap<String, String>) -> Result<Diagnosis, String> {
    let dump = admin.config_dump()?;
    let clusters = admin.clusters()?;
    let stats = admin.stats()?;
    let info = admin.server_info()?;
    let mut notes = Notes::default();
    server(&info, &mut notes);
    let mut inputs = Inputs::default();
    inputs.add_config_dump(dump);
    let all = inputs.find();
    let mut names = Vec::new();
    for found in &all {
        let (report, config) = check(found, variables);
        configuration(found, &report, &mut notes);
        if let Some(config) = config {
            let projects = config.trace.projects.iter();
            names.extend(projects.map(|(_, project)| project.cluster.to_string()));
            if config.trace.projects.is_empty() {
                names.push(config.transport.cluster);
            }
        }
    }
    chain(&all, &stats, &mut notes);
    names.sort();
    names.dedup();
    for name in &names {
        cluster(name, &clusters, &mut notes);
    }
    if !all.is_empty() {
        counters(&stats, &mut notes);
    }
    let verdict = verdict(&notes.0);
    Ok(Diagnosis {
        admin: admin.url().to_owned(),
        symptoms: notes.0,
        verdict,
    })
}

fn verdict(symptoms: &[Symptom]) -> String {
    let first = |state| symptoms.iter().find(|symptom| symptom.state == state);
    match (first(State::Problem), first(State::Warning)) {
        (Some(symptom), _) => symptom.what.clone(),
        (None, Some(symptom)) => format!(
            "nothing keeps spans from Sentry for certain, but: {}",
            symptom.what
        ),
        (None, None) => "the filter works, and Sentry takes its spans".to_owned(),
    }
}

fn server(info: &Value, notes: &mut Notes) {
    let version = info["version"].as_str().unwrap_or_default();
    let version = version.split('/').nth(1).unwrap_or(version);
    let state = info["state"].as_str().unwrap_or("in an unknown state");
    let what = format!("Envoy {version} is {state}");
    match state {
        "LIVE" => notes.add(State::Ok, what, ""),
        "DRAINING" => notes.add(State::Warning, what, "it takes no new connections, and ends"),
        _ => notes.add(State::Warning, what, "its log says what it waits for; a listener whose module is still fetched is not there yet"),
    }
}

fn configuration(found: &Found, report: &Report, notes: &mut Notes) {
    let place = &found.place;
    if report.problems.is_empty() {
        notes.add(
            State::Ok,
            format!("{place} is in the configuration that runs"),
            "",
        );
    }
    for problem in &report.problems {
        let what = match problem.path.as_str() {
            "" => format!("{place}: {}", problem.message),
            path => format!("{place}: {path}: {}", problem.message),
        };
        notes.add(
            State::Problem,
            what,
            "the log has the same as `configuration refused`",
        );
    }
    for warning in &report.warnings {
        // A host's variable is known to the module, and the counters tell what came of it.
        let is_unknown = warning.contains("comes from the host's variable");
        let state = if is_unknown {
            State::Ok
        } else {
            State::Warning
        };
        notes.add(state, format!("{place}: {warning}"), "");
    }
}

fn chain(all: &[Found], stats: &BTreeMap<String, u64>, notes: &mut Notes) {
    if all.is_empty() {
        notes.add(State::Problem, "no listener has the filter", "put it into http_filters of the listener that the requests come to; in Kubernetes see whether the resource was accepted (kubectl get … --output yaml), and whether its selector or targetRefs name this proxy");
    }
    let number = |name: &str| stats.get(name).copied().unwrap_or_default();
    let failures = number("wasm.remote_load_fetch_failures");
    if failures > 0 {
        notes.add(State::Problem, format!("the module could not be fetched {failures} times (wasm.remote_load_fetch_failures)"), "compare the URL and the sha256; where the filter fails open, requests pass without it and nothing else tells");
    }
    let active = stats
        .iter()
        .find(|(name, _)| name.starts_with("wasm.") && name.ends_with(".active"));
    match active {
        Some((_, 0)) if !all.is_empty() => notes.add(
            State::Problem,
            "no Wasm VM is running",
            "the module crashed or did not load: Envoy's log says which",
        ),
        _ => {}
    }
}

fn cluster(name: &str, clusters: &Value, notes: &mut Notes) {
    let statuses = clusters["cluster_statuses"].as_array();
    let status = statuses
        .into_iter()
        .flatten()
        .find(|status| status["name"] == name);
    let Some(status) = status else {
        notes.add(State::Problem, format!("there is no cluster {name:?}, which transport.cluster names"), "add it; in Istio a ServiceEntry makes it, and a Sidecar resource or PILOT_FILTER_GATEWAY_CLUSTER_CONFIG can hide it");
        return;
    };
    let hosts = status["host_statuses"]
        .as_array()
        .map_or(&[] as &[_], Vec::as_slice);
    if hosts.is_empty() {
        notes.add(
            State::Problem,
            format!("the cluster {name:?} has no host"),
            "its name was not resolved (DNS from where the proxy runs), or its endpoints are empty",
        );
        return;
    }
    let is_healthy = |host: &Value| {
        let health = &host["health_status"];
        let eds = health["eds_health_status"].as_str().unwrap_or("HEALTHY");
        let failed = [
            "failed_active_health_check",
            "failed_outlier_check",
            "failed_active_degraded_check",
            "pending_dynamic_removal",
            "excluded_via_immediate_hc_fail",
        ];
        matches!(eds, "HEALTHY" | "UNKNOWN" | "DEGRADED")
            && !failed.iter().any(|key| health[*key] == true)
    };
    let healthy = hosts.iter().filter(|host| is_healthy(host)).count();
    let sum = |stat: &str| {
        let stats = hosts
            .iter()
            .flat_map(|host| host["stats"].as_array().into_iter().flatten());
        let values = stats.filter(|found| found["name"] == stat);
        // Numbers of 64 bits are texts in the JSON of protobuf.
        let values = values.filter_map(|found| match &found["value"] {
            Value::String(text) => text.parse::<u64>().ok(),
            other => other.as_u64(),
        });
        values.sum::<u64>()
    };
    let fails = sum("cx_connect_fail");
    let connected = sum("cx_total").saturating_sub(fails);
    let of = hosts.len();
    match (healthy, fails) {
        (0, _) => notes.add(State::Problem, format!("the cluster {name:?} has {of} hosts, and none is healthy"), "health checks or outlier detection took them out"),
        (_, 0) => notes.add(State::Ok, format!("the cluster {name:?} has {healthy} healthy hosts of {of}"), ""),
        (_, fails) if connected == 0 => notes.add(State::Problem, format!("no connection to the cluster {name:?} ever stood: {fails} failed"), "nothing listens there, a firewall, or the TLS handshake: compare SNI, certificate authority and port"),
        (_, fails) => notes.add(State::Warning, format!("the cluster {name:?} has {healthy} healthy hosts of {of}; {fails} connections failed, {connected} stood"), ""),
    }
}

/// What the filter counted, in the order of docs/troubleshooting.md.
fn counters(stats: &BTreeMap<String, u64>, notes: &mut Notes) {
    const PREFIX: &str = "wasmcustom.sentry_filter.";
    let get = |name: &str| stats.get(&format!("{PREFIX}{name}")).copied();
    let number = |name: &str| get(name).unwrap_or_default();
    let Some(requests) = get("requests") else {
        notes.add(State::Problem, "the filter has no counters", "its configuration was refused, its module did not load (the log says which), or stats_matcher leaves out wasmcustom");
        return;
    };
    if requests == 0 {
        notes.add(State::Problem, "the filter saw no request (requests: 0)", "send one; if there were some, they came to another listener, or a filter in front answers them");
        return;
    }
    let [continued, started, restarted] =
        ["traces_continued", "traces_started", "traces_restarted."].map(|name| {
            let names = stats.iter().filter(|(full, _)| {
                full.strip_prefix(PREFIX)
                    .is_some_and(|rest| rest.starts_with(name))
            });
            names.map(|(_, value)| value).sum::<u64>()
        });
    notes.add(State::Ok, format!("the filter saw {requests} requests: {continued} traces continued, {started} started, {restarted} restarted"), "");
    for (name, advice) in [
        (
            "host_calls_refused",
            "a host without callouts or a timer records nothing; the log names the call",
        ),
        (
            "requests_over_budget",
            "all live requests together came to max_live_bytes",
        ),
        ("traces_throttled", "max_traces_per_second is reached"),
    ] {
        if number(name) > 0 {
            notes.add(
                State::Warning,
                format!("{name} is {}", number(name)),
                advice,
            );
        }
    }
    let recorded = number("spans_recorded");
    if recorded == 0 {
        let advice = match started + continued + restarted {
            0 => "there is no dsn, so the filter only forwards headers",
            _ => "nothing is sampled: no traces_sample_rate, callers that decide with -0, a rule with ignore, or simply few requests at a low rate; `sentry-filter check --explain` says which",
        };
        notes.add(
            State::Problem,
            "no span was recorded (spans_recorded: 0)",
            advice,
        );
        return;
    }
    let sent = number("spans_sent");
    let waiting = number("spans_queued") + number("spans_in_flight");
    let what = format!("{recorded} spans recorded, {sent} taken by the receiver, {waiting} waiting or on their way");
    let state = if sent == 0 { State::Problem } else { State::Ok };
    let before = notes.0.len();
    for (name, state, advice) in [
        ("callouts.not_taken", State::Problem, "Envoy has no cluster of the name in transport.cluster, no healthy host in it, or a circuit breaker is open"),
        ("callouts.not_arrived", State::Problem, "the connection is refused, or the TLS handshake fails: compare the cluster's host, SNI and certificate authority"),
        ("callouts.refused", State::Problem, "the receiver answers with no success: `sentry-filter check FILE --send-test` explains its answer"),
        ("callouts.lost", State::Problem, "no answer within transport.timeout_ms, or the connection broke"),
        ("callouts.rate_limited", State::Problem, "the quota is spent, or the rate too high: lower traces_sample_rate, or see the project's quota"),
        ("spans_discarded.queue_overflow", State::Problem, "the receiver is slower than the gateway: format otlp, HTTP/2, more max_in_flight, or a lower rate"),
        ("spans_discarded.ignored", State::Ok, "trace_ignore_status_codes leaves them out"),
    ] {
        let accepted = number("callouts.accepted");
        let state = match (state, accepted) {
            (State::Problem, accepted) if accepted > number(name) => State::Warning,
            (state, _) => state,
        };
        if number(name) > 0 {
            notes.add(state, format!("{name} is {}", number(name)), advice);
        }
    }
    let advice = match (sent, notes.0.len() - before) {
        (0, 0) => "they were recorded just now, or wait for the next flush: ask again in some seconds",
        (0, _) => "see what became of the POSTs, above",
        _ => "if Sentry still shows nothing: another project or environment, or the receiver drops them after its 200 (its Stats page tells)",
    };
    let state = if sent == 0 && notes.0.len() == before {
        State::Warning
    } else {
        state
    };
    notes.add(state, what, advice);
}
