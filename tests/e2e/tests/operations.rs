//! Every command of docs/operations.md is run, in its order, beside a real Envoy and a strict fake
//! of Sentry, or says that it needs a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use e2e::{envoy::workspace, eventually, Gateway, Launch, Request, Route, Upstream};
use mini_sentry::MiniSentry;
use serde_json::{json, Value};
use tempfile::TempDir;

const FILE: &str = "envoy/envoy-local.yaml";

/// The command `sentry-filter`, built as the tests are.
fn sentry_filter() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own file");
    let folder = test.ancestors().nth(2).expect("the folder of programs");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let packages = [
        "sentry-filter-core",
        "sentry-filter-cli",
        "e2e",
        "wasm-host",
        "vectors",
        "mini-sentry",
    ];
    let mut build = Command::new(cargo);
    build.current_dir(workspace(".")).args([
        "build",
        "--quiet",
        "--locked",
        "--bin",
        "sentry-filter",
    ]);
    for package in packages {
        build.args(["-p", package]);
    }
    assert!(
        build.status().expect("cargo").success(),
        "sentry-filter was not built"
    );
    folder.join("sentry-filter")
}

/// The lines of the page's shell blocks.
fn commands() -> Vec<String> {
    let page = fs::read_to_string(workspace("docs/operations.md")).expect("the page");
    let blocks = page.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

fn run(command: &str, path: &Path) -> Output {
    let own = std::env::var("PATH").unwrap_or_default();
    Command::new("/bin/sh")
        .current_dir(workspace("."))
        .env(
            "PATH",
            format!(
                "{}:{}:{own}",
                path.display(),
                workspace(".tools/bin").display()
            ),
        )
        .args(["-c", command])
        .output()
        .expect("a shell")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_page_does_what_it_says() {
    let (sentry, upstream) = (MiniSentry::start().await, Upstream::start().await);
    let port = |port: u16| format!("port_value: {port}");
    let launch = Launch::shipped("envoy-local.yaml")
        .replace("port_value: 10000", "port_value: 0")
        .replace("port_value: 9901", "port_value: 0")
        .replace("port_value: 8081", &port(upstream.address().port()))
        .replace("port_value: 8969", &port(sentry.address().port()))
        .replace(
            "http://00000000000000000000000000000001@127.0.0.1:8969/1",
            sentry.dsn(),
        )
        .replace(
            "target/wasm32-wasip1/release/sentry_filter.wasm",
            &e2e::envoy::module().to_string_lossy(),
        );
    let files = TempDir::new().expect("a folder");
    let file = files.path().join("envoy.yaml");
    fs::write(&file, launch.text()).expect("the file");
    let envoy = launch.start().await;
    let program = sentry_filter();
    let programs = program.parent().expect("its folder").to_owned();
    let makefile = fs::read_to_string(workspace("Makefile")).expect("the Makefile");

    let (mut ran, mut others) = (Vec::new(), Vec::new());
    for line in commands() {
        let (command, comment) = line.split_once(" # ").unwrap_or((&line, ""));
        let command = command.trim();
        if comment.contains("needs a cluster") {
            assert!(command.starts_with("kubectl "), "{line}");
            others.push(line);
        } else if let Some(target) = command.strip_prefix("make ") {
            // CI runs it: every other test of this package needs it.
            assert!(makefile.contains(&format!("\n{target}: ")), "{line}");
            others.push(line);
        } else if command.starts_with("cargo install ") {
            // What it would build was built above.
            assert!(command.ends_with("--locked --path filter/cli"), "{line}");
            others.push(line);
        } else {
            let admin = envoy.admin_address().to_string();
            let command = command
                .replace(FILE, &file.to_string_lossy())
                .replace("127.0.0.1:9901", &admin)
                .replace("127.0.0.1:10000", &envoy.address().to_string());
            let folder = programs.clone();
            let output = tokio::task::spawn_blocking({
                let command = command.clone();
                move || run(&command, &folder)
            });
            let output = output.await.expect("a thread");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{line}: {output:?}");
            if line.contains("/api/1 ") {
                assert!(text.contains("sentry-trace: "), "{text}");
                envoy.wait_for_stat("spans_sent", e2e::SPANS).await;
            } else if line.contains("sentry_filter.spans") {
                assert!(
                    text.contains("wasmcustom.sentry_filter.spans_sent: 2"),
                    "{text}"
                );
            } else if line.contains("--send-test") {
                assert!(text.contains(": 200: the receiver took the span"), "{text}");
            } else if line.contains("doctor") {
                assert!(
                    text.ends_with("verdict: the filter works, and Sentry takes its spans\n"),
                    "{text}"
                );
            }
            ran.push(line);
        }
    }
    assert!(ran.len() >= 10, "{ran:#?}");
    assert!(others.len() >= 6, "{others:#?}");
}

/// A block of YAML of the page, after a text.
fn recipe(after: &str) -> Value {
    let page = fs::read_to_string(workspace("docs/operations.md")).expect("the page");
    let (_, rest) = page.split_once(after).expect(after);
    let block = rest.split("```yaml\n").nth(1).expect("a block");
    let block = block.split("```").next().expect("its end");
    serde_norway::from_str(block).expect("YAML")
}

#[tokio::test]
async fn a_route_without_the_filter_is_not_seen() {
    let recipe = recipe("**Not on this route.**");
    let disabled = recipe["typed_per_filter_config"]["sentry"].clone();
    let route = Route::new("/health", "/health").filter("sentry", disabled);
    let gateway = Gateway::builder().await.config(json!({})).route(route);
    let gateway = gateway.start().await;
    let seen = gateway.pass(&Request::get("/health")).await;
    assert_eq!(seen.headers.text("sentry-trace"), None);
    gateway.pass(&Request::get("/plain")).await;
    assert_eq!(gateway.sentry.only_transaction().await.name(), "/plain");
}

#[tokio::test]
async fn access_logs_are_posted_with_the_key_and_the_trace() {
    let text = recipe("**Access logs in Sentry.**")["access_log"].to_string();
    let text = text.replace("\"cluster\":\"sentry\"", "\"cluster\":\"upstream\"");
    let access_log: Value = serde_json::from_str(&text).expect("JSON");
    let gateway = Gateway::builder().await.config(json!({}));
    let gateway = gateway.connection_manager("access_log", access_log);
    let gateway = gateway.start().await;
    gateway.pass(&Request::get("/api/1")).await;
    let trace_id = gateway
        .sentry
        .only_transaction()
        .await
        .trace_id()
        .to_string();
    let path = b"/api/1/integration/otlp/v1/logs";
    let posted = eventually(async || gateway.upstream.take(path).pop()).await;
    let posted = posted.expect("the logs");
    let key = "sentry sentry_key=00000000000000000000000000000001";
    assert_eq!(posted.headers.text("x-sentry-auth"), Some(key));
    let has = |text: &str| {
        posted
            .body
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(
        has(&trace_id) && has("GET /api/1 200"),
        "{}",
        posted.body.escape_ascii()
    );
}
