//! An HTTP/2 client that sends what no library would: frames and header blocks written by hand.
//!
//! The `h2` crate never puts a line of more than three quarters of the table into it, encodes each
//! block anew, and refuses blocks that are not well-formed. An attacker does none of that: one
//! block is made once and sent on thousands of streams.

mod frames;
mod hpack;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        TcpStream,
    },
    task::JoinHandle,
};

use self::frames::{frame, header_frames, Flags, Kind, PREFACE};
pub use self::hpack::Block;

/// How many streams one connection may have open, below Envoy's default of 1,024.
pub const STREAMS: u64 = 1_000;

/// What became of streams; all connections of an attacker count together.
#[derive(Debug, Default)]
pub struct Outcomes {
    sent: AtomicU64,
    ok: AtomicU64,
    other: AtomicU64,
    reset: AtomicU64,
    lost: AtomicU64,
    given_up: AtomicU64,
}

/// The counts of [`Outcomes`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams that were opened.
    pub sent: u64,
    /// Those answered with 200.
    pub ok: u64,
    /// Those answered otherwise.
    pub other: u64,
    /// Those that Envoy reset.
    pub reset: u64,
    /// Those whose connection ended without an answer.
    pub lost: u64,
    /// Those that the attacker itself has given up.
    pub given_up: u64,
}

/// A connection that lives until it is dropped.
#[derive(Debug)]
pub struct Connection {
    writer: OwnedWriteHalf,
    reader: JoinHandle<()>,
    streams: Arc<Mutex<Streams>>,
    outcomes: Arc<Outcomes>,
    next: u32,
}

/// The streams of one connection that have neither been answered nor given up.
#[derive(Debug, Default)]
struct Streams {
    waiting: HashSet<u32>,
    answered: Vec<u32>,
    has_ended: bool,
}

impl Outcomes {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.sent),
            ok: read(&self.ok),
            other: read(&self.other),
            reset: read(&self.reset),
            lost: read(&self.lost),
            given_up: read(&self.given_up),
        }
    }
}

impl Counts {
    /// Streams that were answered with something else than 200, or not at all.
    pub fn failed(&self) -> u64 {
        self.other + self.reset + self.lost
    }

    /// Streams of which something has become.
    pub fn settled(&self) -> u64 {
        self.ok + self.failed() + self.given_up
    }
}

impl Connection {
    /// Connects, and exchanges settings.
    ///
    /// # Errors
    /// If the gateway does not want to talk.
    pub async fn open(address: SocketAddr, outcomes: &Arc<Outcomes>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(PREFACE).await?;
        frames::until_settings(&mut stream).await?;
        stream
            .write_all(&frame(Kind::Settings, Flags::ACK, 0, &[]))
            .await?;
        let (reader, writer) = stream.into_split();
        let streams = Arc::new(Mutex::new(Streams::default()));
        let reader = tokio::spawn(read(reader, streams.clone(), outcomes.clone()));
        Ok(Self {
            writer,
            reader,
            streams,
            outcomes: outcomes.clone(),
            next: 1,
        })
    }

    /// Sends a request's headers, and says whether that was all of it.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn request(&mut self, block: &Block, is_all: bool) -> io::Result<u32> {
        let id = self.next;
        self.next += 2;
        let bytes = header_frames(id, block.as_bytes(), is_all);
        self.outcomes.sent.fetch_add(1, Ordering::Relaxed);
        lock(&self.streams).waiting.insert(id);
        self.writer.write_all(&bytes).await?;
        Ok(id)
    }

    /// Sends some bytes of a request's body; there is more to come.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn body(&mut self, id: u32, bytes: &[u8]) -> io::Result<()> {
        self.writer
            .write_all(&frame(Kind::Data, Flags::NONE, id, bytes))
            .await
    }

    /// Sends the lines that end a request after its body.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn trailers(&mut self, id: u32, block: &Block) -> io::Result<()> {
        let bytes = header_frames(id, block.as_bytes(), true);
        self.writer.write_all(&bytes).await
    }

    /// Sends the beginning of a request's headers, and never their end.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn half_a_request(&mut self, block: &Block) -> io::Result<()> {
        let bytes = frame(Kind::Headers, Flags::NONE, self.next, block.as_bytes());
        self.writer.write_all(&bytes).await
    }

    /// Resets a stream.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn reset(&mut self, id: u32) -> io::Result<()> {
        if lock(&self.streams).waiting.remove(&id) {
            self.outcomes.given_up.fetch_add(1, Ordering::Relaxed);
        }
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        self.writer
            .write_all(&frame(Kind::RstStream, Flags::NONE, id, &CANCEL))
            .await
    }

    /// Takes out the streams that have been answered.
    pub fn answered(&self) -> Vec<u32> {
        std::mem::take(&mut lock(&self.streams).answered)
    }

    /// How many streams still wait; `None` if the connection has ended.
    pub fn waiting(&self) -> Option<usize> {
        let streams = lock(&self.streams);
        (!streams.has_ended).then_some(streams.waiting.len())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        let waiting = std::mem::take(&mut lock(&self.streams).waiting).len();
        self.outcomes
            .given_up
            .fetch_add(waiting as u64, Ordering::Relaxed);
    }
}

async fn read(mut stream: OwnedReadHalf, streams: Arc<Mutex<Streams>>, outcomes: Arc<Outcomes>) {
    let mut payload = Vec::new();
    while let Ok((kind, id, length)) = frames::head(&mut stream).await {
        payload.resize(length, 0);
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        let outcome = match kind {
            Kind::HEADERS if hpack::is_200(&payload) => &outcomes.ok,
            Kind::HEADERS => &outcomes.other,
            Kind::RST_STREAM => &outcomes.reset,
            _ => continue,
        };
        let mut streams = lock(&streams);
        if streams.waiting.remove(&id) {
            outcome.fetch_add(1, Ordering::Relaxed);
            streams.answered.push(id);
        }
    }
    let mut streams = lock(&streams);
    streams.has_ended = true;
    let lost = std::mem::take(&mut streams.waiting).len();
    outcomes.lost.fetch_add(lost as u64, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
