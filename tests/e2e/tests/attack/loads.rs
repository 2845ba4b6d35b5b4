//! What attackers do.

use std::{io, time::Duration};

use e2e::{
    attacker::{Block, Connection, STREAMS},
    eventually_within,
};

use super::scene::Place;

/// How long a load may take until it counts as one that never ends.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How many requests of a connection wait for their answers at a time.
const BATCH: u64 = 50;

/// Envoy's gauge of the requests that have not ended.
const LIVE: &str = "http.gateway.downstream_rq_active";
/// A caller that decides to be recorded.
pub const SAMPLED: &str = "d4cda95b652f4a1592b449d5929fda1b-6e0c63257de34c92-1";

/// In which phase of a request its client resets it.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// The headers are not all there; HTTP/2 knows no way to go on but to close the connection.
    WithinHeaders,
    /// At once after the headers.
    AfterHeaders,
    /// The body is not all there.
    WithinBody,
    /// Envoy waits for the answer.
    BeforeAnswer,
    /// The answer's body is not all there.
    WithinAnswer,
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::WithinHeaders,
        Self::AfterHeaders,
        Self::WithinBody,
        Self::BeforeAnswer,
        Self::WithinAnswer,
    ];
}

/// Keeps so many requests open at once, one block after the other over and over again, and then
/// leaves. What must come first on a connection stands before them.
pub async fn hold(place: &Place, streams: u64, first: &[Block], blocks: &[Block]) {
    let before = place.outcomes.counts();
    let mut connections = Vec::new();
    let mut left = streams;
    while left > 0 {
        let mut connection = connect(place).await;
        let count = left.min(STREAMS);
        let all = first.iter().chain(blocks.iter().cycle());
        for (_, block) in (0..count).zip(all) {
            if connection.request(block, true).await.is_err() {
                break;
            }
        }
        left -= count;
        connections.push(connection);
    }
    let come = eventually_within(PATIENCE, async || {
        // What has been answered is no longer live: that it should not be is for the comparison to
        // find.
        let answered = place.outcomes.counts().settled() - before.settled();
        (answered + read(place, LIVE).await >= streams).then_some(())
    });
    come.await.expect("as many live requests as were sent");
    drop(connections);
    nobody_left(place).await;
}

/// Sends so many requests, one block after the other over and over again, and waits for their
/// answers.
pub async fn send(place: &Place, requests: u64, blocks: &[Block]) {
    let mut blocks = blocks.iter().cycle();
    let mut connection = connect(place).await;
    let mut left = requests;
    while left > 0 {
        let batch = left.min(BATCH);
        for block in blocks.by_ref().take(batch as usize) {
            if connection.request(block, true).await.is_err() {
                break;
            }
        }
        left -= batch;
        answered(&connection).await;
        if connection.waiting().is_none() {
            connection = connect(place).await;
        }
    }
}

/// Resets so many requests in that phase, a batch at a time, each on a connection of its own.
pub async fn reset(place: &Place, requests: u64, phase: Phase) {
    let batch = match phase {
        Phase::WithinHeaders => 1,
        _ => BATCH,
    };
    for _ in 0..requests / batch {
        let mut connection = connect(place).await;
        // Errors are connections that Envoy closes, as it does with clients that reset too much.
        let _left = reset_batch(place, &mut connection, batch, phase).await;
        drop(connection);
    }
    nobody_left(place).await;
}

async fn reset_batch(
    place: &Place,
    connection: &mut Connection,
    batch: u64,
    phase: Phase,
) -> io::Result<()> {
    let (method, path) = match phase {
        Phase::WithinBody => ("POST", "/never"),
        Phase::WithinAnswer => ("GET", "/half"),
        _ => ("GET", "/never"),
    };
    let block = Block::request(method, path, "gateway.test").line("sentry-trace", SAMPLED);
    let mut streams = Vec::new();
    for _ in 0..batch {
        match phase {
            Phase::WithinHeaders => return connection.half_a_request(&block).await,
            Phase::WithinBody => {
                let id = connection.request(&block, false).await?;
                connection.body(id, b"half").await?;
                connection.reset(id).await?;
            }
            Phase::AfterHeaders => {
                let id = connection.request(&block, true).await?;
                connection.reset(id).await?;
            }
            Phase::BeforeAnswer | Phase::WithinAnswer => {
                streams.push(connection.request(&block, true).await?);
            }
        }
    }
    match phase {
        Phase::BeforeAnswer => until(place, "cluster.upstream.upstream_rq_active", batch).await,
        Phase::WithinAnswer => answered(connection).await,
        _ => (),
    }
    for id in streams {
        connection.reset(id).await?;
    }
    Ok(())
}

async fn connect(place: &Place) -> Connection {
    let address = place.gateway.envoy.address();
    let connection = Connection::open(address, &place.outcomes).await;
    connection.expect("a connection to Envoy")
}

/// Waits until nothing is missing any more, or the connection has ended.
async fn answered(connection: &Connection) {
    let done = eventually_within(PATIENCE, async || {
        matches!(connection.waiting(), Some(0) | None).then_some(())
    });
    done.await.expect("an answer to each request");
}

/// Waits until a gauge of Envoy's has come that far.
async fn until(place: &Place, gauge: &str, count: u64) {
    let come = eventually_within(PATIENCE, async || {
        let is_over = place.outcomes.counts().failed() > 0;
        (is_over || read(place, gauge).await >= count).then_some(())
    });
    come.await.expect("as many live requests as were sent");
}

async fn nobody_left(place: &Place) {
    let gone = eventually_within(PATIENCE, async || {
        (read(place, LIVE).await == 0).then_some(())
    });
    gone.await
        .expect("no live requests once their client has left");
}

async fn read(place: &Place, gauge: &str) -> u64 {
    let text = place
        .gateway
        .envoy
        .admin(&format!("/stats?filter=^{gauge}$"))
        .await;
    let number = text
        .trim()
        .rsplit(": ")
        .next()
        .and_then(|text| text.parse().ok());
    number.unwrap_or_default()
}
