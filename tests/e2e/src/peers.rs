//! Clients and services that nobody here wrote: curl, gRPC's own implementation, a WebSocket
//! library. They run as processes and are ended with the test.

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{envoy::workspace, polling::DEADLINE};

/// A service of `tests/peers`, on a port of its own.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    _process: Child,
}

impl Peer {
    /// Starts the service of a script.
    ///
    /// # Panics
    /// If it does not say where it listens.
    pub async fn serve(script: &str) -> Self {
        let mut process = python(script)
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer: run `make oracles`");
        let output = process.stdout.take().expect("the peer's output");
        let line = timeout(DEADLINE, BufReader::new(output).lines().next_line()).await;
        let port = line.ok().and_then(Result::ok).flatten();
        let port = port.and_then(|port| port.parse().ok());
        Self {
            address: ([127, 0, 0, 1], port.expect("the peer's port")).into(),
            _process: process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Runs the client of a script and returns what it printed.
///
/// # Panics
/// If it fails, or takes longer than [`DEADLINE`].
pub async fn talk(script: &str, arguments: &[&str]) -> String {
    let mut client = python(script);
    client.args(arguments);
    let (is_success, output) = run(client).await;
    assert!(is_success, "{script} {arguments:?} failed: {output}");
    output
}

/// Runs curl with these arguments and returns its exit code and what it printed: the headers and
/// the body.
///
/// # Panics
/// If there is no curl, or it takes longer than [`DEADLINE`].
pub async fn curl(arguments: &[&str]) -> (bool, String) {
    let mut client = Command::new("curl");
    // Nothing of the developer's own settings.
    client.args(["--disable", "--silent", "--include", "--noproxy", "*"]);
    client.args(arguments);
    run(client).await
}

async fn run(mut client: Command) -> (bool, String) {
    let output = client.kill_on_drop(true).output();
    let output = timeout(DEADLINE, output).await.expect("a client that ends");
    let output = output.expect("a client that can be started (is curl installed?)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

fn python(script: &str) -> Command {
    let mut command = Command::new(workspace(".tools/peers/bin/python"));
    command
        .arg(workspace("tests/peers").join(script))
        .kill_on_drop(true);
    command
}
