//! Load on a gateway, by h2load.

use std::{env, fs, net::SocketAddr, time::Duration};

use tempfile::NamedTempFile;
use tokio::process::Command;

/// What became of the requests of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many there were.
    pub requests: u64,
    /// How many of them were not answered with 200.
    pub failed: u64,
    /// What 99 of 100 were faster than.
    pub p99: Duration,
}

impl Load {
    /// Sends so many requests for a path over HTTP/1.1, from so many clients at once that keep
    /// their connections.
    ///
    /// # Panics
    /// If there is no h2load, or it does not do so.
    pub async fn send(address: SocketAddr, path: &str, requests: u64, clients: u64) -> Self {
        let log = NamedTempFile::new().expect("a file for the times of the requests");
        let h2load = env::var("H2LOAD").unwrap_or_else(|_| "h2load".to_owned());
        let output = Command::new(h2load)
            .args(["--h1", "--requests", &requests.to_string()])
            .args(["--clients", &clients.to_string()])
            .args(["--log-file".as_ref(), log.path().as_os_str()])
            .arg(format!("http://{address}{path}"))
            .kill_on_drop(true)
            .output()
            .await
            .expect("h2load (on Debian, apt-get install nghttp2-client)");
        assert!(output.status.success(), "h2load: {output:?}");
        // Lines of start, status and duration in microseconds.
        let log = fs::read_to_string(log.path()).expect("the times of the requests");
        let number = |column: Option<&str>| column.and_then(|text| text.parse::<u64>().ok());
        let (mut answered, mut times) = (0, Vec::new());
        for line in log.lines() {
            let mut columns = line.split_ascii_whitespace().skip(1);
            if number(columns.next()) == Some(200) {
                answered += 1;
                times.extend(number(columns.next()));
            }
        }
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).copied();
        Self {
            requests,
            failed: requests - answered,
            p99: Duration::from_micros(p99.unwrap_or_default()),
        }
    }

    /// One after the other.
    pub fn then(self, later: Self) -> Self {
        Self {
            requests: self.requests + later.requests,
            failed: self.failed + later.failed,
            p99: self.p99.max(later.p99),
        }
    }
}
