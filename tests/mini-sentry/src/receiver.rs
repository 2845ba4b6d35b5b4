//! The receiver on a socket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::panicking,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    client_report::Discarded,
    event::ErrorEvent,
    server,
    span::{Segment, Span},
    tls::Certificate,
    transaction::Transaction,
    validator::{Expected, ReceivedRequest, Validator},
};

/// How long anything may take before its test fails. Far above what is ever needed, so that only a
/// real fault meets it.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// The project that every [`MiniSentry`] knows.
pub const PROJECT: &str = "7";
/// The public key that it knows.
pub const PUBLIC_KEY: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";

/// A running receiver; it ends when dropped, and fails the test if it saw a violation.
#[derive(Debug)]
pub struct MiniSentry {
    address: SocketAddr,
    dsn: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

/// How it answers an envelope that it has no complaint about.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status with header lines, after a delay.
    Status {
        /// The status code; anything but 200 means that the envelope does not count as received.
        status: u16,
        /// Header lines besides Sentry's own.
        headers: Vec<(&'static str, &'static str)>,
        /// How long the answer takes.
        delay: Duration,
    },
    /// The connection ends without an answer.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts up with every request, so that a waiting test looks again.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    validator: Validator,
    answer: Answer,
    transactions: Vec<Transaction>,
    errors: Vec<ErrorEvent>,
    spans: Vec<Span>,
    discarded: Vec<Discarded>,
    requests: Vec<ReceivedRequest>,
    violations: Vec<String>,
}

impl Answer {
    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            headers: Vec::new(),
            delay: Duration::ZERO,
        }
    }

    /// A status with header lines.
    pub fn with_headers(status: u16, headers: &[(&'static str, &'static str)]) -> Self {
        Self::Status {
            status,
            headers: headers.to_vec(),
            delay: Duration::ZERO,
        }
    }

    /// 200, but late.
    pub fn after(delay: Duration) -> Self {
        Self::Status {
            status: 200,
            headers: Vec::new(),
            delay,
        }
    }
}

impl MiniSentry {
    /// Starts on a free port of the loopback: HTTP/1.1, and HTTP/2 for a client that knows.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts with TLS, offering HTTP/2 by ALPN, as a host of the certificate's name.
    pub async fn start_with_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate)).await
    }

    async fn start_with(certificate: Option<&Certificate>) -> Self {
        let (listener, address) = server::bind().await;
        let (scheme, host) = match certificate {
            Some(certificate) => ("https", certificate.name()),
            None => ("http", "127.0.0.1"),
        };
        let authority = format!("{host}:{}", address.port());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                validator: Validator::new(Expected::of(PROJECT, PUBLIC_KEY, &authority)),
                answer: Answer::status(200),
                transactions: Vec::new(),
                errors: Vec::new(),
                spans: Vec::new(),
                discarded: Vec::new(),
                requests: Vec::new(),
                violations: Vec::new(),
            }),
            changed: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(server::accept(
            listener,
            certificate.map(Certificate::acceptor),
            shared.clone(),
        ));
        Self {
            address,
            dsn: format!("{scheme}://{PUBLIC_KEY}@{authority}/{PROJECT}"),
            shared,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The DSN of the project that it knows.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// From now on every request must have this header with exactly this value.
    pub fn expect_header(&self, name: &str, value: &str) {
        self.state().validator.expect_header(name, value);
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// Waits until `count` transactions were accepted, and returns all of them, in the order of
    /// arrival.
    ///
    /// # Panics
    /// If fewer arrive within [`DEADLINE`], or there is a violation.
    pub async fn wait_for(&self, count: usize) -> Vec<Transaction> {
        self.wait_until(&format!("{count} transactions"), |state| {
            state.transactions.len() >= count
        })
        .await;
        self.state().transactions.clone()
    }

    /// Waits until exactly one transaction was accepted, and returns it.
    ///
    /// # Panics
    /// If none arrives within [`DEADLINE`], if there are more, or if there is a violation.
    pub async fn only_transaction(&self) -> Transaction {
        let mut transactions = self.wait_for(1).await;
        assert_eq!(
            transactions.len(),
            1,
            "transactions at mini_sentry: {transactions:#?}"
        );
        transactions.remove(0)
    }

    /// Waits until so many segments were accepted, in any format, and returns all of them, in the
    /// order in which they began.
    ///
    /// # Panics
    /// If fewer arrive within [`DEADLINE`], or there is a violation.
    pub async fn wait_for_segments(&self, count: usize) -> Vec<Segment> {
        self.wait_until(&format!("{count} segments"), |state| {
            let segments = state.spans.iter().filter(|span| span.is_segment);
            segments.count() >= count
        })
        .await;
        self.segments()
    }

    /// Waits until exactly one segment was accepted, and returns it.
    ///
    /// # Panics
    /// If none arrives within [`DEADLINE`], if there are more, or if there is a violation.
    pub async fn only_segment(&self) -> Segment {
        let mut segments = self.wait_for_segments(1).await;
        assert_eq!(segments.len(), 1, "segments at mini_sentry: {segments:#?}");
        segments.remove(0)
    }

    /// Waits until `count` error events were accepted, and returns all of them, in the order of
    /// arrival.
    ///
    /// # Panics
    /// If fewer arrive within [`DEADLINE`], or there is a violation.
    pub async fn wait_for_errors(&self, count: usize) -> Vec<ErrorEvent> {
        self.wait_until(&format!("{count} error events"), |state| {
            state.errors.len() >= count
        })
        .await;
        self.errors()
    }

    /// Waits until exactly one error event was accepted, and returns it.
    ///
    /// # Panics
    /// If none arrives within [`DEADLINE`], if there are more, or if there is a violation.
    pub async fn only_error(&self) -> ErrorEvent {
        let mut errors = self.wait_for_errors(1).await;
        assert_eq!(errors.len(), 1, "error events at mini_sentry: {errors:#?}");
        errors.remove(0)
    }

    /// The error events so far.
    pub fn errors(&self) -> Vec<ErrorEvent> {
        self.state().errors.clone()
    }

    /// How often something was lost for that reason, by all reports that were accepted.
    pub fn discarded(&self, reason: &str, category: &str) -> u64 {
        let state = self.state();
        let is_it = |one: &&Discarded| one.reason == reason && one.category == category;
        let found = state.discarded.iter().filter(is_it);
        found.map(|one| one.quantity).sum()
    }

    /// Waits until `count` requests came, whatever they were answered.
    ///
    /// # Panics
    /// If fewer come within [`DEADLINE`], or there is a violation.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.wait_until(&format!("{count} requests"), |state| {
            state.requests.len() >= count
        })
        .await;
        self.requests()
    }

    /// The requests so far, whatever they were answered.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state().requests.clone()
    }

    /// The segments so far, in the order in which they began.
    pub fn segments(&self) -> Vec<Segment> {
        let spans = self.state().spans.clone();
        Segment::gather(&spans)
    }

    /// Takes out the violations, which then no longer fail the test.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.state().violations)
    }

    async fn wait_until(&self, what: &str, mut is_so: impl FnMut(&State) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            loop {
                changed.borrow_and_update();
                {
                    let state = self.state();
                    if is_so(&state) || !state.violations.is_empty() {
                        return;
                    }
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let in_time = timeout(DEADLINE, reached).await.is_ok();
        self.fail_on_violations();
        let state = self.state();
        let (transactions, requests) = (state.transactions.len(), state.requests.len());
        drop(state);
        assert!(in_time, "mini_sentry waited for {what}; it has {transactions} transactions of {requests} requests");
    }

    fn fail_on_violations(&self) {
        let violations = self.take_violations();
        assert!(
            violations.is_empty(),
            "mini_sentry refused what it got:\n- {}",
            violations.join("\n- ")
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for MiniSentry {
    fn drop(&mut self) {
        if !panicking() {
            self.fail_on_violations();
        }
    }
}

impl Shared {
    /// Validates a request and says how to answer it.
    pub(crate) fn receive(&self, request: ReceivedRequest) -> Answer {
        let mut state = self.state();
        let verdict = state.validator.validate(&request);
        state.requests.push(request);
        let answer = match verdict {
            Ok(received) => {
                let answer = state.answer.clone();
                if matches!(answer, Answer::Status { status: 200, .. }) {
                    state.transactions.extend(received.transaction);
                    state.errors.extend(received.error);
                    state.spans.extend(received.spans);
                    state.discarded.extend(received.discarded);
                }
                answer
            }
            Err(violations) => {
                state.violations.extend(violations);
                Answer::status(400)
            }
        };
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    pub(crate) fn violation(&self, violation: String) {
        self.state().violations.push(violation);
        self.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    /// The status line of the answer to a request without headers.
    async fn send(sentry: &MiniSentry, request: &str) -> String {
        let mut stream = TcpStream::connect(sentry.address()).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    #[should_panic(expected = "no such endpoint")]
    async fn an_unknown_path_fails_a_test_that_asserts_nothing() {
        let sentry = MiniSentry::start().await;
        send(&sentry, "GET /api/7/store/").await;
    }

    #[tokio::test]
    async fn a_violation_is_answered_as_sentry_would() {
        let sentry = MiniSentry::start().await;
        let status = send(&sentry, "POST /api/7/envelope/").await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert!(!sentry.take_violations().is_empty());
    }
}
