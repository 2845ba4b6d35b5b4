//! A real browser: Chromium with a page that has one of Sentry's SDKs in it (`tests/browser`).
//!
//! ```text
//! Site ──page──► Chromium ──fetch, from another origin──► Envoy ──► Upstream
//!                    └──────envelopes──► Site             what the SDK reports
//! ```

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::{Command, Output},
};

use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    envoy::workspace,
    reports::{envelope_path, reported, Reported, ENVELOPE_PATH},
    upstream::{RecordedRequest, Reply, Upstream},
};

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
    /// The page load, as the SDK reported it.
    pub page_load: Reported,
    /// What came to the place where the SDK reports.
    pub reports: Vec<RecordedRequest>,
}

/// What the browser says of a page.
#[derive(Debug, Deserialize)]
pub struct Seen {
    /// What came of each request of the page.
    pub outcomes: Vec<Value>,
    /// What the browser complained of.
    pub console: Vec<String>,
    /// The header `baggage` of each request, by its address.
    pub sent: HashMap<String, Option<String>>,
}

/// One of Sentry's SDKs for pages, as npm knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdk {
    /// The folder with its `node_modules`, below `.tools`.
    pub tools: &'static str,
    /// Its name there.
    pub package: &'static str,
}

impl Sdk {
    /// The newest for pages.
    pub const NEWEST: Self = Self {
        tools: "sdks",
        package: "browser-11",
    };

    /// The version that is installed.
    ///
    /// # Panics
    /// If none is.
    pub fn version(&self) -> String {
        let package = format!(".tools/{}/node_modules/{}", self.tools, self.package);
        let text = std::fs::read_to_string(workspace(&package).join("package.json"));
        let text = text.expect("the SDK: run `make scene`");
        let package: Value = serde_json::from_str(&text).expect("JSON of npm");
        package["version"].as_str().expect("a version").to_owned()
    }

    async fn bundle(&self) -> Vec<u8> {
        let packages = workspace(".tools").join(self.tools);
        let packages = packages.to_string_lossy().into_owned();
        node("bundle.mjs", &[packages, self.package.to_owned()])
            .await
            .stdout
    }
}

impl Site {
    /// Starts on a free port of the loopback, an origin of its own.
    pub async fn start() -> Self {
        let server = Upstream::start().await;
        serve_page(&server, Reply::status(200)).await;
        let site = Self { server };
        site.dsn();
        site
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
        self.dsn_below("")
    }

    /// Where an SDK reports, of a page or of a service, that is to be told from others by its name.
    pub fn dsn_of(&self, reporter: &str) -> String {
        self.dsn_below(&format!("/{reporter}"))
    }

    fn dsn_below(&self, path: &str) -> String {
        let answer = Reply::status(200).header("access-control-allow-origin", "*");
        let answer = answer.body("application/json", "{}");
        self.server.reply("POST", &envelope_path(path), answer);
        format!(
            "http://{}@{}{path}/1",
            "b".repeat(32),
            self.server.address()
        )
    }

    /// Takes out what SDKs have reported, whatever their project.
    pub fn take_reports(&self) -> Vec<RecordedRequest> {
        self.server
            .take_if(|request| request.method == "POST" && request.path.contains(ENVELOPE_PATH))
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
        let query: Vec<_> = std::iter::once(&("dsn", dsn.as_str()))
            .chain(query)
            .copied()
            .collect();
        let mut seen = open(&[address(&format!("{origin}/page"), &query)]).await;
        let seen = seen.remove(0);
        let reports = self.take_reports();
        let mut page_loads = reported(&reports);
        page_loads.retain(|span| span.is_segment && span.op == "pageload");
        assert_eq!(page_loads.len(), 1, "of {} envelopes", reports.len());
        Visit {
            outcome: seen.outcomes.into_iter().next().unwrap_or_default(),
            console: seen.console,
            page_load: page_loads.remove(0),
            reports,
        }
    }
}

impl Visit {
    /// The trace that the page belongs to.
    pub fn trace_id(&self) -> &str {
        &self.page_load.trace_id
    }

    /// The span that the page load continues.
    pub fn parent_span_id(&self) -> Option<&str> {
        self.page_load.parent_span_id.as_deref()
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

/// Has a server give out the page with the newest SDK, in an answer with those headers.
pub async fn serve_page(server: &Upstream, answer: Reply) {
    static SCRIPT: OnceCell<Vec<u8>> = OnceCell::const_new();
    let script = SCRIPT.get_or_init(|| Sdk::NEWEST.bundle()).await;
    serve(server, "page", script.clone(), answer);
}

/// Has a server give out, at `/<name>`, the page with an SDK.
pub async fn serve_page_with(server: &Upstream, name: &str, sdk: Sdk, answer: Reply) {
    serve(server, name, sdk.bundle().await, answer);
}

fn serve(server: &Upstream, name: &str, script: Vec<u8>, answer: Reply) {
    let page = format!(
        "<!doctype html><title>page</title><body><script type=\"module\" src=\"/{name}.js\"></script>"
    );
    let answer = answer.body("text/html; charset=utf-8", page);
    server.reply("GET", &format!("/{name}"), answer);
    let answer = Reply::status(200).body("text/javascript", script);
    server.reply("GET", &format!("/{name}.js"), answer);
}

/// An address with a query.
pub fn address(base: &str, query: &[(&str, &str)]) -> String {
    let pairs = query
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    format!("{base}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// Opens pages in one browser, one after the other.
///
/// # Panics
/// If the browser cannot be driven.
pub async fn open(addresses: &[String]) -> Vec<Seen> {
    let said = node("visit.mjs", addresses).await;
    let said = String::from_utf8(said.stdout).expect("text of the browser");
    said.lines()
        .map(|line| serde_json::from_str(line).expect("JSON of a visit"))
        .collect()
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
