//! Services that nobody here wrote the telling part of: the library that answers CORS
//! (`tests/services`), or Sentry's SDK (`tests/sdks`).

use std::{env, net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    browser::Sdk,
    envoy::{cluster_at, workspace},
    gateway::GatewayBuilder,
    polling::DEADLINE,
    Route,
};

/// The library that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Starlette's middleware, which is FastAPI's as well.
    Starlette,
    /// Flask-CORS.
    FlaskCors,
    /// aiohttp-cors.
    AiohttpCors,
    /// cors from npm, which Express and others use.
    NpmCors,
    /// What hapi has of its own.
    Hapi,
    /// rack-cors, which Rails uses.
    RackCors,
}

/// One of Sentry's SDKs for services, and how it sends its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrumented {
    /// Python's, with transactions.
    Python,
    /// Python's, with streamed spans.
    PythonStreaming,
    /// The one for Node, with streamed spans, which is its default.
    Node,
}

/// A running service: a `PUT` says which trace it was called with.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    _process: Child,
}

impl Library {
    /// Those that need no Ruby.
    pub const WITHOUT_RUBY: [Self; 5] = [
        Self::Starlette,
        Self::FlaskCors,
        Self::AiohttpCors,
        Self::NpmCors,
        Self::Hapi,
    ];

    /// Starts a service that lets in one origin, with these request headers: a list, or `*`.
    ///
    /// # Panics
    /// If it does not say where it listens.
    pub async fn serve(self, origin: &str, names: &str) -> Service {
        let mut command = match self {
            Self::Starlette => python("starlette"),
            Self::FlaskCors => python("flask"),
            Self::AiohttpCors => python("aiohttp"),
            Self::NpmCors => node("cors"),
            Self::Hapi => node("hapi"),
            Self::RackCors => puma(),
        };
        match self {
            Self::RackCors => command.envs([("ORIGIN", origin), ("NAMES", names)]),
            _ => command.args([origin, names]),
        };
        Service::start(command).await
    }
}

impl Instrumented {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::PythonStreaming, Self::Node];

    /// A short name of its own, for paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::PythonStreaming => "python-streaming",
            Self::Node => "node",
        }
    }

    /// The SDK, as its registry knows it.
    pub const fn sdk(self) -> &'static str {
        match self {
            Self::Python | Self::PythonStreaming => "`sentry-sdk`",
            Self::Node => "`@sentry/node`",
        }
    }

    /// Whether it sends streamed spans, and not transactions.
    pub const fn streams(self) -> bool {
        matches!(self, Self::PythonStreaming | Self::Node)
    }

    /// The version that is installed.
    ///
    /// # Panics
    /// If none is.
    pub fn version(self) -> String {
        if self == Self::Node {
            let sdk = Sdk {
                tools: "sdks",
                package: "@sentry/node",
            };
            return sdk.version();
        }
        let pinned = workspace(".tools/scene/python/.installed");
        let pinned = std::fs::read_to_string(pinned).expect("the SDK: run `make scene`");
        let mut versions = pinned
            .lines()
            .filter_map(|line| line.strip_prefix("sentry-sdk=="));
        let version = versions.next().and_then(|rest| rest.split(' ').next());
        version.expect("the version of the SDK").to_owned()
    }

    /// Starts a service that lets in one origin, and whose SDK reports there.
    ///
    /// # Panics
    /// If it does not say where it listens.
    pub async fn serve(self, origin: &str, dsn: &str) -> Service {
        let sdks = workspace("tests/sdks");
        let mut command = match self {
            Self::Node => {
                let mut command = Command::new("node");
                command
                    .arg("--import")
                    .arg(sdks.join("instrument.mjs"))
                    .arg(sdks.join("service.mjs"))
                    .arg(origin)
                    .env("SDKS", workspace(".tools/sdks"));
                command
            }
            Self::Python | Self::PythonStreaming => {
                let mut command = Command::new(workspace(".tools/scene/python/bin/python"));
                command.arg(sdks.join("service.py")).arg(origin);
                command.arg(match self {
                    Self::PythonStreaming => "stream",
                    _ => "static",
                });
                command
            }
        };
        command.env("SENTRY_DSN", dsn);
        Service::start(command).await
    }
}

impl Service {
    /// Starts a program that says at which port it listens.
    async fn start(mut command: Command) -> Self {
        let mut process = command
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service: run `make services scene`");
        let output = process.stdout.take().expect("the service's output");
        let mut lines = BufReader::new(output).lines();
        let port = async {
            while let Ok(Some(line)) = lines.next_line().await {
                let end = line.rsplit(':').next().unwrap_or_default();
                if let Ok(port) = end.parse() {
                    return Some(port);
                }
            }
            None
        };
        let port = timeout(DEADLINE, port).await.ok().flatten();
        Self {
            address: ([127, 0, 0, 1], port.expect("the service's port")).into(),
            _process: process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has a gateway send `/api` here.
    pub fn behind(&self, builder: GatewayBuilder) -> GatewayBuilder {
        let action = serde_json::json!({"route": {"cluster": "service"}});
        builder
            .cluster(cluster_at("service", Some(self.address)))
            .route(Route::new("service", "/api").action(action))
    }
}

fn python(library: &str) -> Command {
    let mut command = Command::new(workspace(".tools/services/python/bin/python"));
    command
        .arg(workspace("tests/services/service.py"))
        .arg(library);
    command
}

fn node(library: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(workspace("tests/services/service.mjs"))
        .arg(workspace(".tools/services"))
        .arg(library);
    command
}

fn puma() -> Command {
    let program = env::var("PUMA").unwrap_or_else(|_| "/usr/bin/puma".to_owned());
    let mut command = Command::new(program);
    command
        .args(["--bind", "tcp://127.0.0.1:0"])
        .arg(workspace("tests/services/service.ru"));
    command
}
