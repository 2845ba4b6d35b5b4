//! The command as an operator runs it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use assert_cmd::Command;
use sentry_filter_cli::find::find;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs `sentry-filter check`; its exit code, and what it printed.
fn check(stdin: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    let output = command
        .current_dir(ROOT)
        .arg("check")
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("a run");
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(printed).expect("text");
    (output.status.code().expect("an exit code"), text)
}

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
        "http.wasm.v3.Wasm",
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
    assert_eq!(checked.len(), 12, "{checked:#?}");
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

/// A trace that arrives, and what is said about it.
const TRACE: &str = "bc6d53f15eb88f4320054569b8c553d4-b72fa28504b07285";

#[test]
fn decisions_are_explained() {
    let dsn = r#""dsn": "https://key@o1.ingest.sentry.io/1""#;
    let rate = r#""traces_sample_rate": 0.5"#;
    let arrived = format!("GET https://shop.example/api/7\nsentry-trace: {TRACE}");
    let rows: [(&str, String, String, &[&str]); 11] = [
        ("no DSN", "{}".to_owned(), format!("{arrived}-1"), &["trace: continued", "there is no DSN"]),
        ("no DSN, no trace", "{}".to_owned(), "GET /".to_owned(), &["trace: none: there is no DSN"]),
        ("kept yes", format!("{{{dsn}, {rate}}}"), format!("{arrived}-1"), &["continued from sentry-trace", "sampled: the decision arrived", "span: http.server /api/7"]),
        ("kept no", format!("{{{dsn}, {rate}}}"), format!("{arrived}-0"), &["not sampled: the decision arrived", "span: none", "as it is"]),
        ("yes without a rate", format!("{{{dsn}}}"), format!("{arrived}-1"), &["no span is recorded, since traces_sample_rate is not set"]),
        ("deferred", format!("{{{dsn}}}"), "GET /".to_owned(), &["trace: started", "deferred"]),
        ("ours", format!("{{{dsn}, {rate}}}"), arrived.clone(), &["sampled: no decision arrived, so we decide: the trace's number 0.125080 is below traces_sample_rate 0.5"]),
        ("refused", format!("{{{dsn}, {rate}}}"), format!("sentry-trace: {TRACE}-x"), &["restarted (refused)", "refused: sentry-trace (malformed_sampled): the sender"]),
        ("another's", format!("{{{dsn}, {rate}}}"), format!("{arrived}-1\nbaggage: sentry-org_id=2,sentry-trace_id={}", &TRACE[..32]), &["restarted (organisation)"]),
        ("a rule", format!("{{{dsn}, \"rules\": [{{\"match\": {{\"path\": \"^/api/\"}}, \"traces_sample_rate\": 1, \"transaction\": \"/api/{{id}}\"}}]}}"), arrived.clone(), &["is below a rule's traces_sample_rate 1", "span: http.server /api/{id} (source custom)"]),
        ("OPTIONS", format!("{{{dsn}, {rate}}}"), "OPTIONS /".to_owned(), &["trace: none: with OPTIONS"]),
    ];
    for (name, config, request, expected) in rows {
        let (code, printed) = check(&config, &["-", "--explain", &request]);
        assert_eq!(code, 0, "{name}: {printed}");
        for part in expected {
            assert!(printed.contains(part), "{name}: no {part:?} in\n{printed}");
        }
    }
}

#[test]
fn the_metadata_of_the_route_comes_before_rules_and_these_before_the_top_level() {
    let rule = r#"{"traces_sample_rate": 0.1, "transaction": "/rule", "ignore": true}"#;
    let config = |rules: &str| {
        format!(
            r#"{{"dsn": "https://key@o1.ingest.sentry.io/1", "traces_sample_rate": 0.125, "rules": [{rules}]}}"#
        )
    };
    let tell_rate = r#"{"ignore": false, "traces_sample_rate": 0.5, "transaction": "/checkout"}"#;
    let arrived = format!("GET /api/7\nsentry-trace: {TRACE}");
    let kept = format!("{arrived}-1");
    let rows: [(&str, &str, &str, &[&str]); 8] = [
        ("", "{}", &arrived, &["not sampled: no decision arrived, so we decide: the trace's number 0.125080 is not below traces_sample_rate 0.125\n", "span: none"]),
        (r#"{"traces_sample_rate": 1}"#, "{}", &arrived, &["is below a rule's traces_sample_rate 1 (which comes before traces_sample_rate 0.125)\n"]),
        (rule, "{}", &arrived, &["not sampled: a rule ignores the request", "span: none"]),
        (rule, tell_rate, &arrived, &[
            "0.125080 is below the route's traces_sample_rate 0.5 (which comes before a rule's traces_sample_rate 0.1, and traces_sample_rate 0.125)\n",
            "span: http.server /checkout (source route)",
        ]),
        // As people write it in YAML; numbers and flags in quotes count, too, and what the filter
        // does not know does not.
        (rule, "{ignore: 'false', traces_sample_rate: '1', other: [1], transaction: 7}", &arrived, &["is below the route's traces_sample_rate 1 (", "/rule (source custom)"]),
        ("", "ignore: true", &arrived, &["not sampled: the route ignores the request"]),
        ("", r#"{"ignore": true}"#, &kept, &["is kept; no span is recorded, since the route ignores the request"]),
        (rule, r#"{"ignore": false}"#, &kept, &["is kept; a span is recorded", "/rule (source custom)"]),
    ];
    for (rules, metadata, request, expected) in rows {
        let arguments = ["-", "--explain", request, "--route-metadata", metadata];
        let (code, printed) = check(&config(rules), &arguments);
        assert_eq!(code, 0, "{printed}");
        for part in expected {
            assert!(
                printed.contains(part),
                "{metadata}: no {part:?} in\n{printed}"
            );
        }
    }
}

/// Answers one POST, and returns what it was.
fn receiver(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let posted = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let len = head.lines().find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                });
                if body.len() >= len.expect("a length") {
                    break;
                }
            }
            let read = stream.read(&mut buffer).expect("a request");
            request.extend_from_slice(&buffer[..read]);
        }
        let (status, headers) = answer.split_once('\n').unwrap_or((answer, ""));
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: 4\r\nconnection: close\r\n\r\nwhy?"
        );
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8_lossy(&request).into_owned()
    });
    (port, posted)
}

#[test]
fn each_answer_to_the_test_span_is_explained() {
    let rows = [
        ("200 OK", 0, "the receiver took the span"),
        ("302 Found\nlocation: /x\r\n", 3, "a redirect"),
        ("400 Bad Request", 3, "could not read"),
        ("401 Unauthorized", 3, "does not know the key"),
        ("403 Forbidden", 3, "It says: why?"),
        (
            "404 Not Found",
            3,
            "the project id, or transport.path, is wrong",
        ),
        ("413 Payload Too Large", 3, "too large"),
        (
            "429 Too Many Requests\nretry-after: 17\r\n",
            3,
            "asks for a pause of 17 s",
        ),
        (
            "429 Too Many Requests\nx-sentry-rate-limits: 23:transaction:key\r\n",
            3,
            "asks for a pause of 23 s",
        ),
        ("503 Service Unavailable", 3, "is failing"),
    ];
    for (answer, code, expected) in rows {
        let (port, posted) = receiver(answer);
        // What would leave the span out of production does not leave it out here.
        let config = format!(
            r#"{{"dsn": "http://key:hush@127.0.0.1:{port}/1", "traces_sample_rate": 0, "rules": [{{"ignore": true}}], "trace_ignore_status_codes": [200]}}"#
        );
        let (found, printed) = check(&config, &["-", "--send-test"]);
        assert_eq!(found, code, "{answer}: {printed}");
        assert!(printed.contains(expected), "{answer}: {printed}");
        assert!(!printed.contains("hush"), "{printed}");
        let posted = posted.join().expect("a request");
        assert!(posted.starts_with("POST /api/1/envelope/ "), "{posted}");
        assert!(posted.contains("sentry_key=key"), "{posted}");
        assert!(posted.contains(r#""type":"transaction""#), "{posted}");
    }
}

/// Answers a handshake with something else.
fn no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut hello = [0; 64];
        let _ = stream.read(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Not closed before all is read, or a reset would overtake the answer.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

#[test]
fn no_answer_to_the_test_span_is_explained() {
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = no_tls();
    let silent_port = silent.local_addr().expect("an address").port();
    let rows = [
        (
            format!("http://key@127.0.0.1:{free}/1"),
            "the connection was refused",
        ),
        (
            format!("http://key@127.0.0.1:{silent_port}/1"),
            "no answer within transport.timeout_ms (300)",
        ),
        (format!("https://key@127.0.0.1:{plain}/1"), "TLS"),
        ("http://key@sentry.invalid/1".to_owned(), "has no address"),
        (String::new(), "there is no DSN"),
    ];
    for (dsn, expected) in rows {
        // Only the one that never answers is not waited for.
        let timeout_ms = if expected.contains("300") {
            300
        } else {
            20_000
        };
        let config = format!(r#"{{"dsn": "{dsn}", "transport": {{"timeout_ms": {timeout_ms}}}}}"#);
        let (code, printed) = check(&config, &["-", "--send-test"]);
        assert_eq!(code, 3, "{printed}");
        assert!(printed.contains(expected), "{dsn}: {printed}");
    }
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

/// The documented table of refused headers and the command say the same.
#[test]
fn the_advice_is_the_documented_one() {
    let page = include_str!("../../../docs/propagation.md");
    let (_, table) = page
        .split_once("\n## Refused headers\n")
        .expect("the chapter");
    let mut count = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [reasons, _, todo] = cells.as_slice() else {
            panic!("{row}");
        };
        for reason in reasons.split('`').skip(1).step_by(2) {
            let told = sentry_filter_cli::explain::advice(reason);
            assert_eq!(told, todo.trim_end_matches(" |"), "{reason}");
            count += 1;
        }
    }
    assert_eq!(count, 14, "a row for every reason");
}
