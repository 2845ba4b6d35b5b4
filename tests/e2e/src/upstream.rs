//! The service behind the gateway: records every request byte by byte and answers 200, or the status that the path asks
//! for: `/status/503`, `/api/status/404`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    context::{Baggage, SentryTrace},
    wire::{Headers, Reader},
};

/// A running upstream; it ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<RecordedRequest>>>,
    _accepting: JoinSet<()>,
}

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Every header line, in order.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Upstream {
    /// Starts on a free port of the loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port for the upstream");
        let address = listener.local_addr().expect("the upstream's address");
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, recorded.clone()));
        Self {
            address,
            recorded,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes out the requests recorded so far whose path, with its query, is this one.
    pub fn take(&self, path: &[u8]) -> Vec<RecordedRequest> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, kept) = recorded
            .drain(..)
            .partition(|request| request.path.as_bytes() == path);
        *recorded = kept;
        taken
    }
}

impl RecordedRequest {
    /// The one valid `sentry-trace` line.
    ///
    /// # Panics
    /// If there is no such line, more than one, or one that some Sentry SDK would refuse.
    pub fn sentry_trace(&self) -> SentryTrace {
        let text = self
            .headers
            .text("sentry-trace")
            .expect("a sentry-trace line at the upstream");
        SentryTrace::parse(text).unwrap_or_else(|| panic!("not a valid sentry-trace: {text:?}"))
    }

    /// The members of all `baggage` lines.
    ///
    /// # Panics
    /// If a line is not valid UTF-8.
    pub fn baggage(&self) -> Baggage {
        Baggage::from_lines(&self.headers.lines("baggage"))
    }

    /// Asserts that the lines of that name are exactly these, in this order.
    #[track_caller]
    pub fn assert_lines<T: AsRef<[u8]>>(&self, name: &str, expected: &[T]) {
        let printable = |value: &[u8]| value.escape_ascii().to_string();
        let got: Vec<String> = self
            .headers
            .lines(name)
            .into_iter()
            .map(printable)
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|value| printable(value.as_ref()))
            .collect();
        assert_eq!(got, expected, "lines of {name} at the upstream");
    }
}

async fn accept(listener: TcpListener, recorded: Arc<Mutex<Vec<RecordedRequest>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, recorded.clone()));
    }
}

async fn serve(stream: TcpStream, recorded: Arc<Mutex<Vec<RecordedRequest>>>) {
    let mut reader = Reader::new(stream);
    while let Ok(Some((head, body))) = reader.request().await {
        let answer = format!(
            "HTTP/1.1 {} by-path\r\ncontent-length: 0\r\n\r\n",
            status_asked_for(&head.path)
        );
        recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(RecordedRequest {
                method: head.method,
                path: head.path,
                headers: head.headers,
                body,
            });
        if reader.stream().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn status_asked_for(path: &str) -> u16 {
    let path = path.split('?').next().unwrap_or_default();
    path.split_once("/status/")
        .and_then(|(_, status)| status.parse().ok())
        .unwrap_or(200)
}
