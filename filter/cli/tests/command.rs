//! The command's own words: what it takes, and what its exit codes say.

mod run;

use std::fs;
use std::path::Path;

use run::{check, run, ROOT};
use serde_json::Value;

const FINE: &str =
    r#"{"dsn": "https://4d7f1b3c@o4507.ingest.sentry.io/4508", "traces_sample_rate": 0.1}"#;
const DEFERRED: &str = r#"{"dsn": "https://4d7f1b3c@o4507.ingest.sentry.io/4508"}"#;
const WRONG: &str = r#"{"traces_sample_rat": 0.1}"#;

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn several_files_and_folders_are_checked_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let fine = write(folder.path(), "a/fine.json", FINE);
    let wrong = write(
        folder.path(),
        "a/b/wrong.yaml",
        "traces_sample_rat: 0.1\ndsn: \"\"\n",
    );
    write(folder.path(), "a/values.yaml", "image: x\nreplicas: 3\n");
    write(
        folder.path(),
        "a/dashboard.json",
        r#"{"panels": [], "title": "x"}"#,
    );
    write(folder.path(), "a/README.md", "# no configuration");
    write(folder.path(), "a/.hidden/x.json", WRONG);
    write(
        folder.path(),
        "a/templates/x.yaml",
        "name: {{ .Values.name }}\n",
    );
    let all = folder.path().join("a");
    let all = all.to_str().expect("a path");
    let (code, out, err) = run("", &["check", all]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(
        out.contains(&format!("{wrong}:1: configuration\n")),
        "{out}"
    );
    assert!(
        out.contains(&format!("did you mean traces_sample_rate? ({wrong}:1)")),
        "{out}"
    );
    assert!(out.contains(&format!("{fine}:1: configuration\n")), "{out}");
    assert!(
        out.ends_with("2 configurations: 1 problems, 0 warnings\n"),
        "{out}"
    );
    let (code, out, _) = run("", &["check", &fine, &wrong, "--output", "json"]);
    let reports: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 1);
    assert_eq!(reports[0]["file"], fine);
    assert_eq!(reports[1]["problems"][0]["line"], 1);
    // One that cannot be read is said, and the others are checked all the same.
    let (code, out, err) = run("", &["check", "/no/such/file", &wrong]);
    assert_eq!(code, 2);
    assert!(err.contains("/no/such/file: "), "{err}");
    assert!(out.contains("unknown key"), "{out}");
    // A template that has to do with the filter is not passed over.
    write(
        folder.path(),
        "a/templates/y.yaml",
        "sentry: {{ .Values.name }}\n",
    );
    let (code, _, err) = run("", &["check", all]);
    assert_eq!(code, 2);
    assert!(err.contains("has to be rendered first"), "{err}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let (code, _, err) = run("", &["check", empty.to_str().expect("a path")]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn clusters_may_be_in_another_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file =
        |name: &str| fs::read_to_string(Path::new(ROOT).join("envoy/xds").join(name)).expect(name);
    let real = |text: &str| {
        text.replace("00000000000000000000000000000001@o0.", "4d7f1b3c@o4507.")
            .replace("o0.ingest.sentry.io", "o4507.ingest.sentry.io")
    };
    let listeners = write(
        folder.path(),
        "listeners.yaml",
        &real(&file("listeners.yaml")),
    );
    let clusters = write(
        folder.path(),
        "clusters.yaml",
        &real(&file("clusters.yaml")),
    );
    let strict = |arguments: &[&str]| run("", &[&["check", "--strict", "-q"], arguments].concat());
    assert_eq!(strict(&[&listeners, &clusters]).0, 0);
    assert_eq!(
        strict(&[&listeners]).0,
        0,
        "nothing is known of its clusters"
    );
    let other = real(&file("clusters.yaml")).replace("name: sentry", "name: glitchtip");
    let other = write(folder.path(), "clusters.yaml", &other);
    let (code, out, _) = strict(&[&listeners, &other]);
    assert_eq!(code, 1);
    assert!(out.contains("no such cluster"), "{out}");
}

/// A rule's project needs a cluster of its own as much as the top level's does.
#[test]
fn the_clusters_of_rules_are_looked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = fs::read_to_string(Path::new(ROOT).join("envoy/envoy.yaml")).expect("a file");
    let with = |rule: &str| {
        let file = file.replace("00000000000000000000000000000001@o0.", "4d7f1b3c@o4507.");
        let file = file.replace("o0.ingest.sentry.io", "o4507.ingest.sentry.io");
        let marked = file.replacen(
            "\"traces_sample_rate\":",
            &format!("\"rules\": [{rule}], \"traces_sample_rate\":"),
            1,
        );
        assert_ne!(marked, file, "a place for rules");
        write(folder.path(), "envoy.yaml", &marked)
    };
    let rows = [
        (r#"{"dsn": "https://4d7f@o4507.ingest.sentry.io/2"}"#, None),
        (
            r#"{"dsn": "https://4d7f@o4507.ingest.sentry.io/2", "transport": {"cluster": "eu"}}"#,
            Some("no such cluster"),
        ),
        (
            r#"{"dsn": "https://4d7f@o9.ingest.de.sentry.io/2"}"#,
            Some("o9.ingest.de.sentry.io"),
        ),
        (
            r#"{"dsn": "https://00000000000000000000000000000001@o0.ingest.sentry.io/1", "transport": {"cluster": "eu"}}"#,
            Some("placeholder"),
        ),
    ];
    for (rule, expected) in rows {
        let (_, out) = check("", &["--strict", "-q", &with(rule)]);
        match expected {
            Some(expected) => assert!(out.contains(expected), "{rule}: {out}"),
            None => assert_eq!(out, "", "{rule}"),
        }
    }
}

#[test]
fn strict_makes_problems_of_warnings_and_quiet_says_what_is_wrong_alone() {
    let rows: [(&str, &[&str], i32, bool); 7] = [
        (FINE, &["--strict", "--quiet"], 0, false),
        (DEFERRED, &[], 0, true),
        (DEFERRED, &["--strict"], 1, true),
        (DEFERRED, &["--quiet"], 0, true),
        (WRONG, &["-q"], 1, true),
        (FINE, &["--quiet"], 0, false),
        (FINE, &[], 0, true),
    ];
    for (config, arguments, expected, has_words) in rows {
        let (code, out, _) = run(config, &[&["check", "-"], arguments].concat());
        assert_eq!(code, expected, "{arguments:?}: {out}");
        assert_eq!(!out.is_empty(), has_words, "{arguments:?}: {out}");
        let is_quiet = arguments.iter().any(|argument| argument.contains('q'));
        assert_eq!(
            out.contains("in effect"),
            !is_quiet && config != WRONG,
            "{out}"
        );
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let rows = [
        ("dsn: \"\"\ntraces_sample_rate: 0.1\ntraces_sample_rate: 1\n", 3),
        ("{\"debug\": true,\n\"debug\": false}", 2),
        ("static_resources:\n  clusters: []\n  listeners: []\n  clusters: []\n", 4),
        ("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n  pluginConfig:\n    debug: true\n    debug: false\n", 6),
    ];
    for (text, line) in rows {
        let (code, out, err) = run(text, &["check", "-"]);
        assert_eq!(code, 1, "{text}: {out}{err}");
        assert!(out.contains("is there twice"), "{out}{err}");
        assert!(out.contains(&format!("(line {line})")), "{out}");
    }
    // In the text that a bootstrap hands over, too, which the filter would read without a word.
    let file = fs::read_to_string(Path::new(ROOT).join("envoy/envoy.yaml")).expect("a file");
    let from = "\"environment\": \"production\",\n";
    assert!(file.contains(from));
    let twice = file.replace(from, &format!("{from}                      {from}"));
    let number = 2 + file
        .lines()
        .position(|line| line.contains(from.trim()))
        .expect("a line");
    let (code, out, _) = run(&twice, &["check", "-"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(&format!("\"environment\" is there twice, first in line 3: only one of them would count (line {number})")), "{out}");
}

#[test]
fn a_request_that_is_none_is_refused() {
    let rows = [
        "nonsense",
        "GET nonsense",
        "two words more and more",
        "GET",
        "G=T /",
        "get /api",
        "GET shop.example/api",
        "GET ftp://shop.example/",
        "GET https:///api",
        "GET https://user@shop.example/",
    ];
    for request in rows {
        let (code, out, err) = run(FINE, &["check", "-", "--explain", request]);
        assert_eq!(code, 2, "{request}: {out}");
        assert!(
            err.contains("--explain: expected METHOD URL"),
            "{request}: {err}"
        );
    }
    let (_, _, err) = run(FINE, &["check", "-", "--explain", "GET shop.example/api"]);
    assert!(
        err.contains("did you mean \"GET https://shop.example/api\"?"),
        "{err}"
    );
    let rows = [
        ("/api/7", "http.server /api/7"),
        ("GET /api/7 HTTP/1.1", "http.server /api/7"),
        ("https://shop.example/api/7", "http.server /api/7"),
        (
            "DELETE HTTPS://shop.example/api/7?x=1#y",
            "http.server /api/7",
        ),
        ("PATCH https://shop.example:8443", "http.server /"),
        (
            "sentry-trace: bc6d53f15eb88f4320054569b8c553d4-b72fa28504b07285-1",
            "http.server /",
        ),
    ];
    for (request, span) in rows {
        let config = FINE.replace("0.1", "1");
        let (code, out, err) = run(&config, &["check", "-", "--explain", request]);
        assert_eq!(code, 0, "{request}: {err}");
        assert!(out.contains(&format!("span: {span} ")), "{request}: {out}");
    }
}

#[test]
fn headers_that_go_on_as_they_came_are_shown() {
    let trace = "bc6d53f15eb88f4320054569b8c553d4";
    let request = format!("GET /\nsentry-trace: {trace}-b72fa28504b07285-0\nbaggage: a=b,sentry-trace_id={trace}\ntraceparent: 00-{trace}-b72fa28504b07285-00");
    let (_, out, _) = run(FINE, &["check", "-", "--explain", &request]);
    for line in request.lines().skip(1) {
        assert!(
            out.contains(&format!("  upstream gets, as it came: {line}\n")),
            "{out}"
        );
    }
    let kept = request.replace("-0\n", "-1\n");
    let (_, out, _) = run(FINE, &["check", "-", "--explain", &kept]);
    assert!(out.contains("  upstream gets: sentry-trace: "), "{out}");
    assert!(
        out.contains(&format!(
            "  upstream gets, as it came: baggage: a=b,sentry-trace_id={trace}\n"
        )),
        "{out}"
    );
    assert!(!out.contains("as it came: sentry-trace"), "{out}");
}

#[test]
fn a_config_dump_is_read_as_what_runs() {
    let listener = |name: &str, config: &str| {
        serde_json::json!({"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": name, "filter_chains": [{"filters": [{"typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "http_filters": [{"name": "sentry", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": {
                "name": "sentry", "failure_policy": "FAIL_RELOAD",
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config}}}}]}}]}]})
    };
    let running = listener("gateway", FINE);
    let dump = serde_json::json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"static_resources": {"listeners": [running]}}},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "sentry", "type": "LOGICAL_DNS", "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "o4507.ingest.sentry.io", "port_value": 443}}}}]}]}}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "static_listeners": [{"listener": running}],
            "dynamic_listeners": [{"name": "edge", "active_state": {"listener": listener("edge", FINE)}, "draining_state": {"listener": listener("edge", WRONG)},
                "error_state": {"failed_configuration": listener("edge", WRONG), "details": "Wasm: no"}}]},
    ]});
    let (code, out, _) = run(&dump.to_string(), &["check", "-", "--output", "json"]);
    let reports: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 1, "{out}");
    assert_eq!(reports.as_array().map(Vec::len), Some(3), "{out}");
    let (refused, running): (Vec<_>, Vec<_>) = reports
        .as_array()
        .into_iter()
        .flatten()
        .partition(|report| report["problems"] != serde_json::json!([]));
    assert_eq!((refused.len(), running.len()), (1, 2), "{out}");
    assert_eq!(
        refused[0]["problems"][0]["message"],
        "Envoy refused this update and keeps what it had: Wasm: no"
    );
    for report in running {
        let warning = report["warnings"][0].as_str().expect("a warning");
        let expected = "the DSN is https, and the cluster \"sentry\" has no TLS";
        assert!(warning.starts_with(expected), "{out}");
    }
}

#[test]
fn shells_manuals_and_bug_reports_have_what_they_need() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, _) = run("", &["completions", shell]);
        assert_eq!(code, 0);
        assert!(
            out.contains("doctor") && out.contains("strict"),
            "{shell}: {out}"
        );
    }
    let (code, out, _) = run("", &["man"]);
    assert_eq!(code, 0);
    for part in [
        ".TH sentry-filter 1",
        ".TH sentry-filter-check 1",
        ".TH sentry-filter-doctor 1",
        "send\\-test",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, out, _) = run("", &["--version"]);
    let commit = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(ROOT)
        .output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = env!("CARGO_PKG_VERSION");
    match commit.as_deref() {
        Ok("") | Err(_) => assert_eq!(out, format!("sentry-filter {version}\n")),
        Ok(commit) => assert_eq!(out, format!("sentry-filter {version} ({commit})\n")),
    }
}

#[test]
fn no_envoy_is_another_failure_than_a_sick_one() {
    for arguments in [
        ["doctor", "--admin", "http://127.0.0.1:1"],
        ["check", "--admin", "127.0.0.1:1"],
        ["doctor", "--admin", "ftp://127.0.0.1"],
    ] {
        let (code, _, err) = run("", &arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("127.0.0.1"), "{err}");
    }
    let (code, _, _) = run("", &["check"]);
    assert_eq!(code, 2);
}
