//! Receivers that nobody here wrote, as programs (`tests/receivers`), and a look at their pages.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{client::Request, envoy::workspace, polling::eventually_within};

/// How long one may take until it is ready: up to 20 seconds, on a machine with nothing else to do.
const START: Duration = Duration::from_secs(120);

/// A receiver that runs. It ends when its standard input closes, and takes its own programs and its
/// files with it.
#[derive(Debug)]
pub struct Running {
    _process: Child,
}

impl Running {
    /// Starts `run_<name>.py` in the environment of that name, and returns what it says when it is
    /// ready.
    ///
    /// # Panics
    /// If it is not installed, or says nothing.
    pub async fn start(name: &str) -> (Value, Self) {
        let python = format!(".tools/receivers/{name}/bin/python");
        let mut process = Command::new(workspace(&python))
            .arg(workspace("tests/receivers").join(format!("run_{name}.py")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}: run `make receivers`"));
        let output = process.stdout.take().expect("the receiver's output");
        let line = timeout(START, BufReader::new(output).lines().next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let line = line.unwrap_or_else(|| panic!("{name} does not get ready"));
        let told = serde_json::from_str(&line).expect("JSON of the receiver");
        (told, Self { _process: process })
    }
}

/// The version of a package in the environment of that name.
///
/// # Panics
/// If it is not installed.
pub fn version_of(name: &str, package: &str) -> String {
    let pinned = workspace(&format!(".tools/receivers/{name}/.installed"));
    let pinned = std::fs::read_to_string(pinned).expect("the receiver: run `make receivers`");
    let prefix = format!("{package}==");
    let mut versions = pinned.lines().filter_map(|line| line.strip_prefix(&prefix));
    let version = versions.next().and_then(|rest| rest.split(' ').next());
    version.expect("the version of the receiver").to_owned()
}

/// Phoenix, which takes OpenTelemetry's spans at `/v1/traces`.
#[derive(Debug)]
pub struct Phoenix {
    address: SocketAddr,
    _process: Running,
}

impl Phoenix {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// If it is not installed, or does not say where it listens.
    pub async fn start() -> Self {
        let (told, process) = Running::start("phoenix").await;
        let address = told["address"].as_str().and_then(|text| text.parse().ok());
        Self {
            address: address.expect("an address"),
            _process: process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All spans that it has: `context`, `parent_id`, `name`, `status_code`, `attributes`, …
    ///
    /// # Panics
    /// If it does not answer as it should.
    pub async fn spans(&self) -> Vec<Value> {
        let mut page = self.ask("/v1/projects/default/spans?limit=1000").await;
        match page["data"].take() {
            Value::Array(spans) => spans,
            // Before the first span there is no project.
            _ => Vec::new(),
        }
    }

    /// The address of the page of a trace.
    ///
    /// # Panics
    /// If it does not answer as it should.
    pub async fn page(&self, trace_id: &str) -> String {
        let project = self.ask("/v1/projects/default").await;
        let project = project["data"]["id"].as_str().expect("a project");
        format!(
            "http://{}/projects/{project}/traces/{trace_id}",
            self.address
        )
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = Request::get(path).send(self.address).await;
        let answer = answer.expect("an answer of Phoenix");
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

/// Spotlight, with its viewer.
#[derive(Debug)]
pub struct Spotlight {
    address: SocketAddr,
    _process: Child,
}

impl Spotlight {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// If it is not installed, or does not get ready.
    pub async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
        let address = free.expect("a free port");
        let process = Command::new("node")
            .arg(workspace("tests/scene/spotlight.mjs"))
            .arg(workspace(
                ".tools/scene/node_modules/@spotlightjs/spotlight",
            ))
            .arg(address.port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Spotlight: run `make scene`");
        let ready = eventually_within(START, async || {
            let answer = Request::get("/health").send(address).await.ok()?;
            (answer.status == 200).then_some(())
        });
        ready.await.expect("Spotlight that is ready");
        Self {
            address,
            _process: process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a page of its viewer, such as `traces`.
    pub fn page(&self, name: &str) -> String {
        format!("http://localhost:{}/telemetry/{name}", self.address.port())
    }

    /// Its version.
    ///
    /// # Panics
    /// If it is not installed.
    pub fn version() -> String {
        let package = ".tools/scene/node_modules/@spotlightjs/spotlight/package.json";
        let text = std::fs::read_to_string(workspace(package)).expect("Spotlight's package");
        let package: Value = serde_json::from_str(&text).expect("JSON of npm");
        package["version"].as_str().expect("a version").to_owned()
    }
}

/// Whether a page, complete when it has the text `last`, has these texts, too; a picture is taken
/// of it if it has a name.
///
/// # Panics
/// If `last` does not appear, or there is no Chromium.
pub async fn look(page: &str, last: &str, texts: &[&str], picture: Option<&Path>) -> Vec<bool> {
    let mut command = Command::new("node");
    command
        .arg(workspace("tests/receivers/look.mjs"))
        .arg(workspace(".tools/scene"))
        .args([page, last])
        .args(texts);
    if let Some(picture) = picture {
        command.env("PICTURE", picture);
    }
    let output = command.output().await.expect("Node.js");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{page}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON of the browser")
}
