//! A real browser: Chromium with a page that has Sentry's browser SDK in it (`tests/browser`).
//!
//! ```text
//! Site ──page──► Chromium ──fetch, from another origin──► Envoy ──► Upstream
//!                    └──────envelopes──► Site             what the SDK reports
//! ```

use std::{
    net::SocketAddr,
    process::{Command, Output},
};

use serde_json::Value;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    envoy::workspace,
    upstream::{RecordedRequest, Reply, Upstream},
};

/// The page, wherever it is served.
pub const PAGE: &str =
    "<!doctype html><title>page</title><script type=\"module\" src=\"/page.js\"></script>";

/// Where the page is served from, and where its SDK reports.
#[derive(Debug)]
pub struct Site {
    server: Upstream,
}

/// What came of a page load.
#[derive(Debug)]
pub struct Visit {
    /// What the page says of its request: `status` and what it could read, or `error`.
    pub outcome: Value,
    /// What the browser complained of.
    pub console: Vec<String>,
    /// The transaction of the page load, as the SDK reported it.
    pub page_load: Value,
    /// What came to the place where the SDK reports.
    pub reports: Vec<RecordedRequest>,
}

impl Site {
    /// Starts on a free port of the loopback, an origin of its own.
    pub async fn start() -> Self {
        let server = Upstream::start().await;
        serve_page(&server, Reply::status(200)).await;
        let answer = Reply::status(200).header("access-control-allow-origin", "*");
        server.reply(
            "POST",
            "/api/1/envelope/",
            answer.body("application/json", "{}"),
        );
        Self { server }
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the page's SDK reports.
    pub fn dsn(&self) -> String {
        format!("http://{}@{}/1", "b".repeat(32), self.server.address())
    }

    /// Opens the page of this site.
    pub async fn visit(&self, query: &[(&str, &str)]) -> Visit {
        self.visit_at(&self.origin(), query).await
    }

    /// Opens the page at another origin; its SDK reports here all the same.
    ///
    /// # Panics
    /// If the browser cannot be driven, or the SDK reports no page load.
    pub async fn visit_at(&self, origin: &str, query: &[(&str, &str)]) -> Visit {
        let dsn = self.dsn();
        let mut address = format!("{origin}/page?dsn={dsn}");
        for (name, value) in query {
            address.push_str(&format!("&{name}={value}"));
        }
        let said = node("visit.mjs", &[address]).await;
        let mut said: Value = serde_json::from_slice(&said.stdout).expect("JSON of the visit");
        let envelopes = self
            .server
            .take_if(|request| request.path.starts_with("/api/1/envelope/"));
        let page_loads: Vec<Value> = envelopes
            .iter()
            .flat_map(|request| request.body.split(|byte| *byte == b'\n'))
            .filter_map(|line| serde_json::from_slice(line).ok())
            .filter(|event: &Value| event["contexts"]["trace"]["op"] == "pageload")
            .collect();
        let [page_load] = &page_loads[..] else {
            panic!(
                "{} page loads, of {} envelopes",
                page_loads.len(),
                envelopes.len()
            );
        };
        Visit {
            outcome: said["outcome"].take(),
            console: serde_json::from_value(said["console"].take()).expect("texts"),
            page_load: page_load.clone(),
            reports: envelopes,
        }
    }
}

impl Visit {
    /// The trace that the page belongs to.
    pub fn trace_id(&self) -> &str {
        self.trace("trace_id").expect("the trace of a page load")
    }

    /// The span that the page load continues.
    pub fn parent_span_id(&self) -> Option<&str> {
        self.trace("parent_span_id")
    }

    fn trace(&self, key: &str) -> Option<&str> {
        self.page_load["contexts"]["trace"][key].as_str()
    }

    /// Asserts that the browser let the page have its answer.
    #[track_caller]
    pub fn assert_answered(&self, status: u16) {
        assert_eq!(self.outcome["status"], status, "{self:?}");
    }

    /// Asserts that the browser kept the request or its answer back, and says that CORS is why.
    #[track_caller]
    pub fn assert_blocked(&self) {
        assert!(self.outcome["error"].is_string(), "{self:?}");
        assert!(
            self.console.iter().any(|line| line.contains("CORS policy")),
            "{self:?}"
        );
    }
}

/// Has a server give out the page, in an answer with those headers.
pub async fn serve_page(server: &Upstream, answer: Reply) {
    static SCRIPT: OnceCell<Vec<u8>> = OnceCell::const_new();
    let script = SCRIPT
        .get_or_init(async || node("bundle.mjs", &[]).await.stdout)
        .await;
    server.reply(
        "GET",
        "/page",
        answer.body("text/html; charset=utf-8", PAGE),
    );
    let answer = Reply::status(200).body("text/javascript", script.clone());
    server.reply("GET", "/page.js", answer);
}

async fn node(script: &str, arguments: &[String]) -> Output {
    let mut command = Command::new("node");
    command
        .arg(workspace("tests/browser").join(script))
        .arg(workspace(".tools/scene"))
        .args(arguments);
    let output = spawn_blocking(move || command.output())
        .await
        .expect("a thread");
    let output = output.expect("Node.js, and what `make scene` installs");
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
