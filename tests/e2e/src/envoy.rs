//! The real Envoy as a child process: found, started, awaited, read, and killed when dropped.

mod bootstrap;
mod stats;

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread::panicking,
};

use serde_json::Value;
use tempfile::TempDir;

pub use self::{
    bootstrap::{cluster_at, http2_cluster_at, Bootstrap, Route},
    stats::Account,
};

use crate::{client::Request, polling::eventually};

/// The listener whose port a started [`Envoy`] reports.
pub const LISTENER: &str = "gateway";

/// An Envoy to be started: a bootstrap and the circumstances of the process.
#[derive(Debug)]
pub struct Launch {
    yaml: String,
    environment: Vec<(String, String)>,
    concurrency: u32,
}

/// A running Envoy; dropping it kills the process, and shows its log if the test is failing.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listener: SocketAddr,
}

#[derive(Debug)]
struct Process {
    child: Child,
    files: TempDir,
}

/// The built module.
///
/// # Panics
/// If it has not been built.
pub fn module() -> PathBuf {
    existing(
        "SENTRY_FILTER_WASM",
        "target/wasm32-wasip1/release/sentry_filter.wasm",
        "make wasm",
    )
}

/// A file or folder of the workspace; an absolute path stays what it is.
pub fn workspace(path: &str) -> PathBuf {
    // Cargo says where the crate is now; the compiler only where it was.
    let compiled_in = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(compiled_in, PathBuf::from);
    // tests/e2e, two below the workspace.
    here.ancestors().nth(2).unwrap_or(&here).join(path)
}

impl Launch {
    /// Starts from the text of a bootstrap.
    pub fn bootstrap(yaml: String) -> Self {
        Self {
            yaml,
            environment: Vec::new(),
            concurrency: 1,
        }
    }

    /// Starts from a file that we ship in `envoy/`.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn shipped(name: &str) -> Self {
        let path = workspace("envoy").join(name);
        Self::bootstrap(
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    }

    /// Puts another text in the place of one that must occur exactly once, so that a shipped file
    /// cannot drift away from what is said about changing it.
    ///
    /// # Panics
    /// If the text does not occur exactly once.
    #[track_caller]
    pub fn replace(mut self, text: &str, with: &str) -> Self {
        let count = self.yaml.matches(text).count();
        assert_eq!(count, 1, "occurrences of {text:?} in the bootstrap");
        self.yaml = self.yaml.replace(text, with);
        self
    }

    /// The text as it is by now.
    pub fn text(&self) -> &str {
        &self.yaml
    }

    /// Sets a variable in Envoy's own environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The number of workers; one unless it is said otherwise.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Starts Envoy and waits until it takes requests.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; its log is shown.
    pub async fn start(self) -> Envoy {
        let mut process = Process::spawn(&self);
        let admin = process.admin_address().await;
        let ready = eventually(async || {
            process.assert_running();
            let response = Request::get("/ready").send(admin).await.ok()?;
            (response.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "Envoy was not ready in time");
        let listener = listener_address(admin).await;
        Envoy {
            process,
            admin,
            listener,
        }
    }

    /// Starts an Envoy that must not come up, waits for its end, and returns its log.
    ///
    /// # Panics
    /// If it stays up, or ends as if nothing were wrong.
    pub async fn expect_refused(self) -> String {
        let mut process = Process::spawn(&self);
        let status = eventually(async || process.exit_status()).await;
        let status = status.expect("Envoy came up with what it should have refused");
        assert!(!status.success(), "Envoy ended with {status}");
        process.log()
    }
}

impl Envoy {
    /// Where it takes requests.
    pub fn address(&self) -> SocketAddr {
        self.listener
    }

    /// Where its admin interface is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The memory of the process that is in use, in bytes.
    ///
    /// # Panics
    /// If the system does not tell, as on others than Linux.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = fs::read_to_string(path).expect("the state of Envoy's process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("VmRSS") * 1_024
    }

    /// The time that the process has had of all cores so far, in the system's ticks: to be
    /// compared, never to be taken for seconds.
    ///
    /// # Panics
    /// If the system does not tell, as on others than Linux.
    pub fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.process.child.id());
        let stat = fs::read_to_string(path).expect("the state of Envoy's process");
        // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th
        // after it.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let times = after_name.split(' ').skip(11).take(2);
        times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }

    /// Tells it to end, as a process manager would, and waits until it has.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn terminate(&mut self) {
        let id = self.process.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("kill").success(), "Envoy could not be told");
        let ended = eventually(async || self.process.exit_status()).await;
        let status = ended.expect("Envoy did not end");
        assert!(status.success(), "Envoy ended with {status}");
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }

    /// The body of a `POST` to its admin interface.
    ///
    /// # Panics
    /// If it does not answer with 200.
    pub async fn command(&self, path: &str) {
        let response = Request::new("POST", path).send(self.admin).await;
        let response = response.expect("an answer of Envoy's admin interface");
        assert_eq!(response.status, 200, "status of {path}");
    }

    /// The body of a `GET` of its admin interface.
    ///
    /// # Panics
    /// If it does not answer with 200.
    pub async fn admin(&self, path: &str) -> String {
        let response = Request::get(path)
            .send(self.admin)
            .await
            .expect("an answer of Envoy's admin interface");
        assert_eq!(
            response.status, 200,
            "status of {path} at Envoy's admin interface"
        );
        String::from_utf8(response.body).expect("text from Envoy's admin interface")
    }
}

impl Process {
    fn spawn(launch: &Launch) -> Self {
        let binary = existing("ENVOY_BIN", ".tools/bin/envoy", "make envoy");
        let files = TempDir::new().expect("a folder for Envoy's files");
        let bootstrap = files.path().join("bootstrap.yaml");
        fs::write(&bootstrap, &launch.yaml).expect("the bootstrap written");
        let log = File::create(files.path().join("log")).expect("a file for Envoy's log");
        let mut command = Command::new(binary);
        command
            .args([
                // Several Envoys at once need either this or base ids of their own, and those leave
                // files in shared memory behind.
                "--disable-hot-restart",
                // What is replaced ends soon.
                "--drain-time-s",
                "1",
                "--drain-strategy",
                "immediate",
                "--log-level",
                "info",
                "--concurrency",
                &launch.concurrency.to_string(),
            ])
            .arg("--config-path")
            .arg(bootstrap)
            .arg("--admin-address-path")
            .arg(files.path().join("admin"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("Envoy's log twice"))
            .stderr(log);
        // What the developer has set for a Sentry of their own must not decide a test.
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SENTRY_"))
        {
            command.env_remove(name);
        }
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("Envoy started");
        Self { child, files }
    }

    async fn admin_address(&mut self) -> SocketAddr {
        let path = self.files.path().join("admin");
        let address = eventually(async || {
            self.assert_running();
            fs::read_to_string(&path).ok()?.trim().parse().ok()
        });
        address
            .await
            .expect("the address of Envoy's admin interface")
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("Envoy ended with {status}");
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of Envoy's process")
    }

    fn log(&self) -> String {
        let log = fs::read(self.files.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Failures to end a process that has ended already are no news.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if panicking() {
            eprintln!(
                "--- Envoy's log ---\n{}--- end of Envoy's log ---",
                self.log()
            );
        }
    }
}

async fn listener_address(admin: SocketAddr) -> SocketAddr {
    let address = eventually(async || {
        let response = Request::get("/listeners?format=json")
            .send(admin)
            .await
            .ok()?;
        let listeners: Value = serde_json::from_slice(&response.body).ok()?;
        let mut listeners = listeners["listener_statuses"].as_array()?.iter();
        let address = &listeners.find(|listener| listener["name"] == LISTENER)?["local_address"]
            ["socket_address"];
        let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    });
    address.await.expect("the address of Envoy's listener")
}

pub(crate) fn existing(variable: &str, default: &str, target: &str) -> PathBuf {
    let path = workspace(&env::var(variable).unwrap_or_else(|_| default.to_owned()));
    assert!(
        path.is_file(),
        "{} is not there: run `{target}`, or set {variable}",
        path.display()
    );
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_replaced_where_it_stands_once() {
        let launch = Launch::bootstrap("port: 1".to_owned()).replace("1", "2");
        assert_eq!(launch.yaml, "port: 2");
    }

    #[test]
    #[should_panic(expected = "occurrences of \"1\"")]
    fn a_text_that_stands_twice_is_not_replaced() {
        let _refused = Launch::bootstrap("port: 1 # not 1".to_owned()).replace("1", "2");
    }

    #[test]
    #[should_panic(expected = "occurrences of \"3\"")]
    fn a_text_that_is_not_there_is_not_replaced() {
        let _refused = Launch::bootstrap("port: 1".to_owned()).replace("3", "2");
    }

    #[test]
    #[should_panic(expected = "run `make nothing`, or set NO_SUCH_VARIABLE")]
    fn a_missing_file_names_the_target_that_makes_it() {
        existing("NO_SUCH_VARIABLE", "no/such/file", "make nothing");
    }
}
