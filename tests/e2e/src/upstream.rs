//! The service behind the gateway: records every request byte by byte and answers as it was told to
//! for the path; else 200, or the status that the path asks for: `/status/503`, `/api/status/404`.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mini_sentry::Headers;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use vectors::{Baggage, SentryTrace};

use crate::wire::Reader;

/// A running upstream; it ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    recorded: Mutex<Vec<RecordedRequest>>,
    /// By method and path, the next one first; the last one stays.
    replies: Mutex<HashMap<(String, String), VecDeque<Script>>>,
}

/// What the upstream does with one request.
pub type Script = Vec<Step>;

/// A part of what the upstream does with a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// It sends these bytes.
    Send(Vec<u8>),
    /// It takes its time.
    Pause(Duration),
    /// It breaks the connection.
    Reset,
    /// It does nothing until the other side leaves.
    Hang,
}

/// An answer to be given.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
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
        let state = Arc::new(State::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, state.clone()));
        Self {
            address,
            state,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers so from now on, to that method and path, whatever the query.
    pub fn reply(&self, method: &str, path: &str, reply: Reply) {
        self.replies(method, path, vec![vec![Step::Send(reply.to_bytes(method))]]);
    }

    /// Does so from now on, step by step.
    pub fn script(&self, method: &str, path: &str, steps: Script) {
        self.replies(method, path, vec![steps]);
    }

    /// Does one after the other, request by request; the last one from then on.
    pub fn replies(&self, method: &str, path: &str, scripts: Vec<Script>) {
        let key = (method.to_owned(), path.to_owned());
        lock(&self.state.replies).insert(key, scripts.into());
    }

    /// Takes out the requests recorded so far whose path, with its query, is this one.
    pub fn take(&self, path: &[u8]) -> Vec<RecordedRequest> {
        self.take_if(|request| request.path.as_bytes() == path)
    }

    /// Takes out the requests recorded so far that are of interest.
    pub fn take_if(&self, is_wanted: impl Fn(&RecordedRequest) -> bool) -> Vec<RecordedRequest> {
        let mut recorded = lock(&self.state.recorded);
        let (taken, kept) = recorded.drain(..).partition(is_wanted);
        *recorded = kept;
        taken
    }
}

impl Reply {
    /// An answer without headers or body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Headers::default(),
            body: Vec::new(),
        }
    }

    /// The same with one more header line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// The same with a body of that type.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// The answer's bytes, to a request with that method.
    pub fn to_bytes(&self, method: &str) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} by-path\r\n", self.status).into_bytes();
        for (name, value) in self.headers.iter() {
            bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        // These have no body, and a length would be taken for that of one.
        if !matches!(self.status, 204 | 304) {
            let length = format!("content-length: {}\r\n", self.body.len());
            bytes.extend_from_slice(length.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
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

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, state.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut reader = Reader::new(stream);
    while let Ok(Some((head, body))) = reader.request().await {
        let path = head.path.split('?').next().unwrap_or_default().to_owned();
        let steps = state.next_steps(&head.method, &path).unwrap_or_else(|| {
            let reply = Reply::status(status_asked_for(&path));
            vec![Step::Send(reply.to_bytes(&head.method))]
        });
        lock(&state.recorded).push(RecordedRequest {
            method: head.method,
            path: head.path,
            headers: head.headers,
            body,
        });
        for step in steps {
            let done = match step {
                Step::Send(bytes) => reader.stream().write_all(&bytes).await,
                Step::Pause(pause) => {
                    sleep(pause).await;
                    Ok(())
                }
                Step::Reset => {
                    // With nothing to linger for, closing resets.
                    let _set = reader.stream().set_zero_linger();
                    return;
                }
                Step::Hang => reader.closed().await,
            };
            if done.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn next_steps(&self, method: &str, path: &str) -> Option<Script> {
        let mut replies = lock(&self.replies);
        let scripts = replies.get_mut(&(method.to_owned(), path.to_owned()))?;
        match scripts.len() {
            0 | 1 => scripts.front().cloned(),
            _ => scripts.pop_front(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status_asked_for(path: &str) -> u16 {
    path.split_once("/status/")
        .and_then(|(_, status)| status.parse().ok())
        .unwrap_or(200)
}
