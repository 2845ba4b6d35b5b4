//! Services whose CORS is answered by a library that nobody here wrote (`tests/services`).

use std::{env, net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
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

/// A running service: `PUT /api` says which trace it was called with.
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
        let mut process = command
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service: run `make services`");
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
        Service {
            address: ([127, 0, 0, 1], port.expect("the service's port")).into(),
            _process: process,
        }
    }
}

impl Service {
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
