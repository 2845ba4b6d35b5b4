//! A right configuration is taken by the real Envoy; a wrong one is refused, and the log says all
//! that is wrong with it.

use e2e::{envoy::workspace, Gateway, Request};
use serde_json::{json, Value};

#[tokio::test]
async fn every_wrong_value_is_refused_with_its_path() {
    for (configuration, paths) in [
        (r#"{"traces_sample_rat": 1}"#, &["traces_sample_rat"][..]),
        (
            r#"{"transport": {"colour": "blue"}}"#,
            &["transport.colour"],
        ),
        (
            r#"{"traces_sample_rate": "often"}"#,
            &["traces_sample_rate"],
        ),
        (r#"{"traces_sample_rate": 2}"#, &["traces_sample_rate"]),
        (r#"{"traces_sample_rate": -0.1}"#, &["traces_sample_rate"]),
        (r#"{"environment": 7}"#, &["environment"]),
        (
            r#"{"strict_trace_continuation": "yes"}"#,
            &["strict_trace_continuation"],
        ),
        (r#"{"transport": 1}"#, &["transport"]),
        (
            r#"{"transport": {"max_in_flight": 0}}"#,
            &["transport.max_in_flight"],
        ),
        (r#"{"dsn": "sentry.io"}"#, &["dsn"]),
        (r#"{"dsn": "ftp://key@sentry.io/1"}"#, &["dsn"]),
        (r#"{"dsn": "https://sentry.io/1"}"#, &["dsn"]),
        (r#"{"dsn": "https://key@sentry.io"}"#, &["dsn"]),
        (r#"{"dsn": "https://key@sentry.io:port/1"}"#, &["dsn"]),
    ] {
        let log = Gateway::builder()
            .await
            .configuration(configuration)
            .expect_refused()
            .await;
        assert_names(&log, configuration, paths);
    }
}

#[tokio::test]
async fn all_problems_are_named_at_once() {
    let configuration = json!({
        "dsn": "https://key@",
        "traces_sample_rate": 2,
        "enviroment": "typo",
        "debug": "very",
        "transport": {"timeout_ms": "soon", "max_queue": 1},
    });
    let log = Gateway::builder()
        .await
        .configuration(&configuration.to_string())
        .expect_refused()
        .await;
    let paths = [
        "dsn",
        "traces_sample_rate",
        "enviroment",
        "debug",
        "transport.timeout_ms",
        "transport.max_queue",
    ];
    assert_names(&log, "six problems", &paths);
    let rate = "refused: traces_sample_rate: expected a number from 0 to 1, found 2";
    let said = refusals(&log);
    assert!(said.iter().any(|line| line.ends_with(rate)), "{log}");
}

#[tokio::test]
async fn what_is_no_configuration_at_all_is_refused() {
    for configuration in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "42",
        "dsn: yaml",
        "{\"dsn\": \"\"} trailing",
    ] {
        let log = Gateway::builder()
            .await
            .configuration(configuration)
            .expect_refused()
            .await;
        assert!(
            !refusals(&log).is_empty(),
            "nothing said about {configuration:?} in:\n{log}"
        );
    }
    // No `configuration` in the bootstrap reaches the module as an empty one.
    let log = Gateway::builder().await.expect_refused().await;
    assert!(
        !refusals(&log).is_empty(),
        "nothing said about no configuration in:\n{log}"
    );
}

#[tokio::test]
async fn a_wrong_environment_is_refused_as_well() {
    let builder = Gateway::builder().await.configuration("{}");
    let log = builder
        .vm_environment("SENTRY_DSN", "https://key:hunter2@")
        .expect_refused()
        .await;
    assert!(
        refusals(&log)
            .iter()
            .any(|line| line.contains("refused: environment variable SENTRY_DSN: expected a DSN")),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");

    let builder = Gateway::builder().await.configuration("{}");
    let log = builder
        .vm_environment("SENTRY_TRACES_SAMPLE_RATE", "often")
        .expect_refused()
        .await;
    let named = |line: &&str| {
        line.ends_with(
            "refused: environment variable SENTRY_TRACES_SAMPLE_RATE: \
             expected a number from 0 to 1, found \"often\"",
        )
    };
    assert!(refusals(&log).iter().any(named), "{log}");
}

#[tokio::test]
async fn no_secret_is_echoed() {
    for configuration in [
        r#"{"dsn": "http://k3y:hunter2@sentry.test:port/1"}"#,
        r#"{"dsn": "http://k3y:hunter2@"}"#,
        r#"{"dsn": "k3y:hunter2"}"#,
        r#"{"dsn": "http://k3y:hunter2@sentry.test/1", "traces_sample_rate": 2}"#,
        r#"{"dsn": ["http://k3y:hunter2@sentry.test/1"]}"#,
        r#"{"dns": "http://k3y:hunter2@sentry.test/1"}"#,
        r#"{"dsn": "http://k3y:hunter2@sentry.test/1"#,
    ] {
        let log = Gateway::builder()
            .await
            .configuration(configuration)
            .expect_refused()
            .await;
        assert!(!refusals(&log).is_empty(), "{log}");
        let ours = refusals(&log).join("\n");
        assert!(
            !ours.contains("hunter2"),
            "{configuration} is echoed in {ours}"
        );
    }
}

/// The counterpart of all the above: nothing is refused for the sake of refusing. Every key of the
/// schema is set, to its default where it has one.
#[tokio::test]
async fn every_key_of_this_version_is_known() {
    let text = std::fs::read_to_string(workspace("envoy/config.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let builder = Gateway::builder().await;
    let mut config = sample(&schema, "");
    // The older word for `data_collection`, which is refused beside it.
    let old = config
        .as_object_mut()
        .expect("an object")
        .remove("send_default_pii");
    assert!(old.is_some());
    // What a schema cannot say: where this receiver is, and what makes a request a span.
    config["dsn"] = json!(builder.dsn());
    config["traces_sample_rate"] = json!(1);
    let written = config.to_string();
    let keys = |text: &str| text.matches("\":").count();
    assert!(keys(&written) >= 40, "{written}");

    let gateway = builder.configuration(&written).start().await;
    gateway.pass(&Request::get("/plain")).await;
    assert_eq!(gateway.sentry.only_transaction().await.name(), "/plain");
}

/// A value that a part of the schema takes, with every property that there is.
fn sample(part: &Value, key: &str) -> Value {
    // Texts with a form of their own.
    const TEXTS: [(&str, &str); 8] = [
        ("dsn", ""),
        ("environment", "test"),
        ("release", "gateway@1"),
        ("server_name", "edge-1"),
        ("org_id", "42"),
        ("path", "/api/7/envelope/"),
        ("capture_request_headers", "x-a"),
        ("capture_response_headers", "x-b"),
    ];
    if let Some(first) = part["anyOf"].get(0) {
        return sample(first, key);
    }
    if let Some(properties) = part["properties"].as_object() {
        let pairs = properties.iter();
        return pairs
            .map(|(name, part)| (name.clone(), sample(part, name)))
            .collect();
    }
    if let Some(value) = part["default"].as_object().map(|_| &part["default"]) {
        return value.clone();
    }
    if !part["default"].is_null() && part["default"] != json!([]) {
        return part["default"].clone();
    }
    if let Some(first) = part["enum"].get(0) {
        return first.clone();
    }
    let kinds = part["type"].as_array();
    match kinds.map_or(&part["type"], |kinds| &kinds[0]).as_str() {
        Some("array") => match part["prefixItems"].as_array() {
            Some(items) => items.iter().map(|item| sample(item, key)).collect(),
            None => json!([sample(&part["items"], key)]),
        },
        Some("object") => json!({"x-none": "^none$"}),
        Some("boolean") => json!(true),
        Some("integer" | "number") => part.get("minimum").cloned().unwrap_or(json!(1)),
        Some("string") => {
            let text = TEXTS.iter().find(|(name, _)| *name == key);
            json!(text.map_or("none", |(_, text)| text))
        }
        other => panic!("{key}: {other:?} in {part}"),
    }
}

/// Envoy hands a `Struct` to a module as raw protobuf, in which its YAML reader has made a text of
/// `1.0`.
#[tokio::test]
async fn a_struct_is_read_like_a_text() {
    let builder = Gateway::builder().await;
    let config = json!({
        "dsn": builder.dsn(),
        "traces_sample_rate": 1.0,
        "strict_trace_continuation": false,
        "transport": {"flush_interval_ms": 50},
    });
    let gateway = builder.configuration_struct(config).start().await;
    gateway.pass(&Request::get("/plain")).await;
    assert_eq!(gateway.sentry.only_transaction().await.name(), "/plain");

    let builder = Gateway::builder().await;
    let config = json!({"traces_sample_rate": 2.5, "transport": {"colour": "blue"}});
    let log = builder.configuration_struct(config).expect_refused().await;
    assert_names(
        &log,
        "a struct",
        &["traces_sample_rate", "transport.colour"],
    );
}

fn refusals(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("sentry: configuration refused:"))
        .collect()
}

#[track_caller]
fn assert_names(log: &str, configuration: &str, paths: &[&str]) {
    let refusals = refusals(log);
    for path in paths {
        let start = format!("sentry: configuration refused: {path}: ");
        let named = refusals.iter().filter(|line| line.contains(&start)).count();
        assert!(
            named > 0,
            "{path} of {configuration} is not named in:\n{}\n{log}",
            refusals.join("\n")
        );
    }
}
