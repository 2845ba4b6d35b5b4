//! The command as an operator runs it.

mod run;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use run::{check, ROOT};
use sentry_filter_cli::find::find;
use serde_json::Value;

/// All YAML files below a folder.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files
}

/// The files in `envoy/` that have the filter in them, with their text.
fn shipped_files() -> Vec<(PathBuf, String)> {
    let has_filter = [
        "builtin/wasm",
        "http.wasm.v3.Wasm",
        "DynamicModuleFilter",
        "kind: WasmPlugin",
        "kind: TrafficExtension",
        "kind: EnvoyExtensionPolicy",
    ];
    let files = yaml_files(&Path::new(ROOT).join("envoy")).into_iter();
    let files = files.map(|path| {
        let text = fs::read_to_string(&path).expect("a file");
        (path, text)
    });
    files
        .filter(|(_, text)| has_filter.iter().any(|mark| text.contains(mark)))
        .collect()
}

#[test]
fn every_file_that_is_shipped_passes_without_a_warning_about_its_traffic() {
    for (file, _) in shipped_files() {
        let (code, printed) = check("", &[file.to_str().expect("a path")]);
        assert_eq!(code, 0, "{}\n{printed}", file.display());
        for warning in ["FAIL_RELOAD", "failOpen", "behind", "no such cluster"] {
            assert!(!printed.contains(warning), "{}\n{printed}", file.display());
        }
    }
}

#[test]
fn every_configuration_that_is_shipped_is_as_the_schema_says() {
    let schema = include_str!("../../../envoy/config.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let mut checked = Vec::new();
    for (file, text) in shipped_files() {
        for found in find(&text).expect("a configuration") {
            let place = format!("{}: {}", file.display(), found.place);
            let document = Value::Object(found.document.expect(&place));
            let problems: Vec<_> = schema.iter_errors(&document).collect();
            assert!(problems.is_empty(), "{place}: {problems:?}");
            let mut wrong = document;
            wrong["traces_sample_rat"] = Value::from(1);
            assert!(!schema.is_valid(&wrong), "{place}");
            checked.push(place);
        }
    }
    assert_eq!(checked.len(), 21, "{checked:#?}");
}

#[test]
fn problems_are_named_with_their_paths_and_no_secret() {
    let (code, printed) = check(
        r#"{"dsn": "https://key:hush@host:99999/1", "traces_sample_rate": 2, "transport": {"retries": 3}}"#,
        &["-"],
    );
    assert_eq!(code, 1);
    insta::assert_snapshot!(printed);
}

#[test]
fn the_effective_configuration_has_no_secret() {
    let yaml = "dsn: https://key:hush@o7.ingest.sentry.io/42\ntransport: {format: otlp}\n";
    let (code, printed) = check(
        yaml,
        &[
            "-",
            "--env",
            "SENTRY_TRACES_SAMPLE_RATE=0.25",
            "--env",
            "SENTRY_RELEASE=1.2",
        ],
    );
    assert_eq!(code, 0);
    insta::assert_snapshot!(printed);
}

const BEHIND_CORS: &str = r#"
static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          http_filters:
          - name: cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: sentry
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: sentry
                vm_config:
                  environment_variables: {key_values: {SENTRY_DSN: "https://key@o1.ingest.sentry.io/1"}}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.Struct
                  value: {traces_sample_rate: "0.5", rules: [{ignore: true, match: {path: "^/health$"}}]}
  clusters: [{name: upstream}]
"#;

#[test]
fn a_struct_is_read_as_envoy_hands_it_over_and_what_will_be_regretted_is_said() {
    let (code, printed) = check(BEHIND_CORS, &["-"]);
    assert_eq!(code, 0, "{printed}");
    insta::assert_snapshot!(printed);
}

/// Rules as a trust boundary are only as good as the listener's reading of paths.
#[test]
fn a_rule_that_decides_by_the_path_wants_normalized_paths() {
    let with = |manager: &str, rule: &str| {
        let file = format!(
            r#"
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
filter_chains:
- filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      {manager}
      http_filters:
      - name: sentry
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          config:
            failure_policy: FAIL_RELOAD
            configuration:
              "@type": type.googleapis.com/google.protobuf.StringValue
              value: '{{"rules": [{{"match": {{"method": "x"}}}}, {rule}]}}'
"#
        );
        let (code, printed) = check(&file, &["-"]);
        assert_eq!(code, 0, "{printed}");
        printed
    };
    let decides = "warning: rules[1] decides by the path";
    let by_path = r#"{"match": {"path": "^/a"}, "incoming": {"trace": "restart"}}"#;
    assert!(with("", by_path).contains(decides));
    assert!(with("normalize_path: false", by_path).contains(decides));
    assert!(!with("normalize_path: true", by_path).contains(decides));
    for (rule, is_warned) in [
        (
            r#"{"match": {"path": "^/a"}, "incoming": {"sampled": "inherit"}}"#,
            true,
        ),
        (r#"{"match": {"path": "^/a"}, "propagate": false}"#, true),
        (r#"{"match": {"path": "^/a"}, "transaction": "a"}"#, false),
        (
            r#"{"match": {"host": "^a"}, "incoming": {"trace": "restart"}}"#,
            false,
        ),
    ] {
        assert_eq!(with("", rule).contains(decides), is_warned, "{rule}");
    }
    // What is not known is not said.
    let (_, printed) = check(&format!(r#"{{"rules": [{by_path}]}}"#), &["-"]);
    assert!(!printed.contains("decides by the path"), "{printed}");

    for (pattern, is_warned) in [
        (r"^a\\.example:8443$", true),
        ("^a(:443)?$", true),
        ("^(?:a|b)[.]example$", false),
        (r"^\\[2001:db8::", false),
    ] {
        let rule = format!(r#"{{"rules": [{{"match": {{"host": "{pattern}"}}}}]}}"#);
        let (_, printed) = check(&rule, &["-"]);
        let asks = printed.contains("rules[0].match.host seems to ask for a port");
        assert_eq!(asks, is_warned, "{printed}");
    }
}

#[test]
fn several_documents_of_kubernetes_are_checked_each() {
    let yaml = "
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: sentry}
spec:
  url: oci://r/sentry
  failStrategy: FAIL_RELOAD
  vmConfig: {env: [{name: SENTRY_DSN, value: \"https://k@h/1\"}]}
  pluginConfig: {traces_sample_rate: 0.5}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: sentry}
spec: {wasm: [{name: sentry, config: {trace_sample_rate: 1}}]}
";
    let (code, printed) = check(yaml, &["-", "--output", "json"]);
    assert_eq!(code, 1);
    let reports: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(reports[0]["problems"], serde_json::json!([]));
    assert_eq!(reports[0]["effective"]["dsn"], "https://k@h/1");
    assert_eq!(reports[1]["problems"][0]["path"], "trace_sample_rate");
    assert!(reports[1]["warnings"][0]
        .as_str()
        .expect("a warning")
        .contains("failOpen"));
}

#[test]
fn wrong_arguments_and_files_are_something_else_than_problems() {
    let rows: [(&str, &[&str]); 9] = [
        ("", &["/no/such/file"]),
        ("a: [", &["-"]),
        ("apiVersion: v1\nkind: Service\n", &["-"]),
        ("{}", &["-", "--env", "HOME=/"]),
        ("{}", &["-", "--explain", "GET /", "-H", "nothing"]),
        ("{}", &["-", "-H", "a: b"]),
        ("{}", &["-", "--route-metadata", "{}"]),
        (
            "{}",
            &["-", "--explain", "GET /", "--route-metadata", "ignore"],
        ),
        (
            "{}",
            &["-", "--explain", "GET /", "--route-metadata", "{ignore: }"],
        ),
    ];
    for (stdin, arguments) in rows {
        let (code, printed) = check(stdin, arguments);
        assert_eq!(code, 2, "{arguments:?}: {printed}");
    }
}

/// `sentry-filter schema | head -n 1`, with a `head` that has gone before the first line comes.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let program = assert_cmd::cargo::cargo_bin("sentry-filter");
    let output = std::process::Command::new(program)
        .arg("schema")
        .stdout(writer)
        .output()
        .expect("a run");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_documented_example_is_what_it_prints() {
    let page = include_str!("../../../docs/cli.md");
    let (_, chapter) = page
        .split_once("\n## Check a configuration\n")
        .expect("the chapter");
    let command = chapter
        .lines()
        .find(|line| line.starts_with("sentry-filter check "))
        .expect("a command");
    let (_, example) = chapter.split_once("```text\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let program = assert_cmd::cargo::cargo_bin("sentry-filter");
    let output = Command::new("/bin/sh")
        .current_dir(ROOT)
        .env("PATH", program.parent().expect("its folder"))
        .args(["-c", command])
        .output()
        .expect("a run");
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let shown: String = printed
        .lines()
        .filter(|line| !line.starts_with("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    let example: String = example
        .lines()
        .filter(|line| !line.starts_with("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(example, shown);
}

#[test]
fn the_values_of_posted_headers_are_shown_nowhere() {
    let config = r#"{"dsn": "https://00000000000000000000000000000001@o0.ingest.sentry.io/1", "transport": {"headers": {"Authorization": "Bearer hush"}}}"#;
    let explain = "GET /a";
    for arguments in [
        &["-"][..],
        &["-", "--output", "json"],
        &["-", "--explain", explain],
        &["-", "--explain", explain, "--output", "json"],
    ] {
        let (_, printed) = check(config, arguments);
        assert!(!printed.contains("hush"), "{arguments:?}: {printed}");
    }
    let (code, printed) = check(config, &["-", "--output", "json"]);
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(code, 0);
    assert_eq!(
        printed[0]["effective"]["transport"]["headers"],
        serde_json::json!({"authorization": "[Filtered]"})
    );
    let wrong = config.replace("Bearer hush", r"Bearer\nhush");
    let (code, printed) = check(&wrong, &["-"]);
    assert_eq!(code, 1);
    assert!(
        printed.contains("transport.headers.Authorization") && !printed.contains("hush"),
        "{printed}"
    );
}
