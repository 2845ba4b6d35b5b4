//! `sentry-filter doctor` beside a real Envoy: each reason for "no spans in Sentry" is its verdict.
//! And what `check` calls a problem of Envoy's is one.

use std::collections::BTreeMap;

use e2e::{Answer, Gateway, Launch, Request, SPANS};
use sentry_filter_cli::admin::Admin;
use sentry_filter_cli::check::check;
use sentry_filter_cli::doctor::{diagnose, Diagnosis, State};
use sentry_filter_cli::find::{find, Inputs};
use sentry_filter_cli::finding::Level;
use serde_json::json;

/// Asks in a thread of its own: the command waits for its answers.
async fn examine(gateway: &Gateway) -> Diagnosis {
    let admin = format!("http://{}", gateway.envoy.admin_address());
    let asked = tokio::task::spawn_blocking(move || {
        let admin = Admin::new(&admin)?;
        diagnose(&admin, &BTreeMap::new())
    });
    asked.await.expect("a thread").expect("a diagnosis")
}

/// Waits until a counter has counted something.
async fn counted(gateway: &Gateway, name: &str) {
    let seen = e2e::eventually(async || {
        let stat = gateway.envoy.stat(name).await;
        (stat > 0).then_some(())
    });
    assert!(seen.await.is_some(), "{name} stayed at 0");
}

#[track_caller]
fn assert_verdict(diagnosis: &Diagnosis, verdict: &str) {
    assert!(
        diagnosis.has_problem() && diagnosis.verdict.contains(verdict),
        "expected {verdict:?}: {diagnosis:#?}"
    );
}

#[tokio::test]
async fn a_filter_that_works_is_well() {
    let gateway = Gateway::start(json!({})).await;
    gateway.pass(&Request::get("/api/1")).await;
    gateway.envoy.wait_for_stat("spans_sent", SPANS).await;
    let diagnosis = examine(&gateway).await;
    assert!(!diagnosis.has_problem(), "{diagnosis:#?}");
    assert!(!diagnosis.has_warning(), "{diagnosis:#?}");
    assert_eq!(
        diagnosis.verdict,
        "the filter works, and Sentry takes its spans"
    );
    // The dump of a running Envoy is a file like any other.
    let dump = gateway.envoy.admin("/config_dump").await;
    let found = find(&dump).expect("a configuration");
    assert_eq!(found.len(), 1, "the bootstrap repeats it");
    let (report, _) = check(&found[0], &BTreeMap::new());
    assert!(
        report.problems.is_empty() && report.warnings.is_empty(),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_filter_without_requests_a_dsn_or_a_rate_records_nothing() {
    let gateway = Gateway::start(json!({})).await;
    assert_verdict(&examine(&gateway).await, "saw no request");

    for (config, advice) in [
        (json!({"dsn": ""}), "there is no dsn"),
        (json!({"traces_sample_rate": null}), "nothing is sampled"),
    ] {
        let gateway = Gateway::start(config).await;
        gateway.pass(&Request::get("/")).await;
        counted(&gateway, "requests").await;
        let diagnosis = examine(&gateway).await;
        assert_verdict(&diagnosis, "");
        let found = diagnosis
            .symptoms
            .iter()
            .find(|symptom| symptom.what.contains("no span was recorded"));
        let told = found.and_then(|symptom| symptom.advice.as_deref());
        assert!(
            told.is_some_and(|told| told.contains(advice)),
            "{diagnosis:#?}"
        );
    }
}

#[tokio::test]
async fn no_filter_in_the_chain_is_the_first_thing_to_know() {
    let gateway = Gateway::builder().await.without_filter().start().await;
    assert_verdict(&examine(&gateway).await, "no listener has the filter");
}

#[tokio::test]
async fn the_way_to_sentry_is_looked_at() {
    let gateway = Gateway::start(json!({"transport": {"cluster": "sentri"}})).await;
    gateway.pass(&Request::get("/")).await;
    counted(&gateway, "callouts.not_taken").await;
    assert_verdict(&examine(&gateway).await, "\"sentri\"");

    let gateway = Gateway::builder()
        .await
        .with_sentry_down()
        .config(json!({}))
        .start()
        .await;
    gateway.pass(&Request::get("/")).await;
    counted(&gateway, "callouts.not_arrived").await;
    let diagnosis = examine(&gateway).await;
    assert_verdict(
        &diagnosis,
        "no connection to the cluster \"sentry\" ever stood",
    );

    for (status, name) in [(401, "callouts.refused"), (429, "callouts.rate_limited")] {
        let gateway = Gateway::start(json!({})).await;
        gateway.sentry.answer(Answer::status(status));
        gateway.pass(&Request::get("/")).await;
        counted(&gateway, name).await;
        assert_verdict(&examine(&gateway).await, name);
    }
}

/// A refused update shows only in the log and in the dump: what runs is the old one.
#[tokio::test]
async fn an_update_that_envoy_refused_is_told() {
    let mut gateway = Gateway::builder()
        .await
        .with_files()
        .config(json!({}))
        .start()
        .await;
    gateway.reconfigure(json!({"traces_sample_rat": 1}));
    let told = e2e::eventually(async || {
        let dump = gateway.envoy.admin("/config_dump").await;
        dump.contains("error_state").then_some(())
    });
    assert!(told.await.is_some(), "no error state");
    let diagnosis = examine(&gateway).await;
    let is_told = |symptom: &sentry_filter_cli::doctor::Symptom| {
        symptom.state == State::Problem && symptom.what.contains("Envoy refused this update")
    };
    assert!(diagnosis.symptoms.iter().any(is_told), "{diagnosis:#?}");
}

/// What `check` calls a problem around the filter keeps Envoy from starting.
#[tokio::test]
async fn problems_of_the_chain_are_envoys_own() {
    let whole = Launch::shipped("envoy-local.yaml");
    let text = whole
        .replace(
            "target/wasm32-wasip1/release/sentry_filter.wasm",
            e2e::envoy::module().to_str().expect("a path"),
        )
        .text()
        .to_owned();
    let start = text.find("          - name: sentry\n").expect("the filter");
    let router = text
        .find("          - name: envoy.filters.http.router")
        .expect("the router");
    let end = text
        .find("          route_config:")
        .expect("the end of the chain");
    let (filter, rest) = (&text[start..router], &text[router..end]);
    let chain = |chain: String| format!("{}{chain}{}", &text[..start], &text[end..]);
    let rows = [
        chain(format!("{rest}{filter}")),
        text.replace("envoy.wasm.runtime.v8", "envoy.wasm.runtime.wamr"),
        text.replace("envoy.wasm.runtime.v8", "envoy.wasm.runtime.wasmtime"),
        text.replace("envoy.wasm.runtime.v8", "envoy.wasm.runtime.null"),
        text.replace("envoy.wasm.runtime.v8", "v8"),
        text.replace(
            "address: 127.0.0.1, port_value: 8969",
            "address: localhost, port_value: 8969",
        ),
    ];
    for row in rows {
        assert_ne!(row, text);
        let mut inputs = Inputs::default();
        inputs.add(None, &row, false).expect("YAML");
        let found = inputs.find().into_iter().next().expect("one");
        let (report, _) = check(&found, &BTreeMap::new());
        let is_said = !report.problems.is_empty()
            || report.warnings.iter().any(|warning| {
                warning.contains("released binaries") || warning.contains("Envoy refuses it")
            });
        assert!(is_said, "{report:#?}");
        assert!(
            found
                .findings
                .iter()
                .all(|finding| finding.level == Level::Problem
                    || finding.message.contains("released")),
            "{found:#?}"
        );
        Launch::bootstrap(row).expect_refused().await;
    }
}
