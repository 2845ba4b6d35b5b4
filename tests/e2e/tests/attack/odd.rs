//! Requests that are odd rather than long, by HTTP/1.x and by HTTP/2: what becomes of each with the
//! filter is what becomes of it without.

use std::{io, net::SocketAddr, sync::Arc};

use e2e::{
    attacker::{Block, Connection, Outcomes},
    eventually, Gateway, GatewayBuilder, Request, DEADLINE,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, LocalSet},
    time::timeout,
};

use super::loads::SAMPLED;

/// How often each is sent.
const TIMES: usize = 3;

/// Whole requests by HTTP/1.x, after which the client says no more.
fn requests() -> Vec<(&'static str, String)> {
    let host = "host: gateway.test\r\n";
    let sampled = format!("sentry-trace: {SAMPLED}\r\n");
    let get = |lines: &str| format!("GET /api/1 HTTP/1.1\r\n{host}{sampled}{lines}\r\n");
    let first = |line: &str| format!("{line}\r\n{host}{sampled}\r\n");
    let post = |lines: &str, body: &str| {
        format!("POST /api/1 HTTP/1.1\r\n{host}{sampled}{lines}\r\n{body}")
    };
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    vec![
        ("HTTP/1.0", format!("GET /api/1 HTTP/1.0\r\n{sampled}\r\n")),
        ("HTTP/1.0 with a host", first("GET /api/1 HTTP/1.0")),
        ("HTTP/0.9", "GET /api/1\r\n".to_owned()),
        ("HTTP/3.0 by name", first("GET /api/1 HTTP/3.0")),
        ("an absolute target", first("GET http://gateway.test/api/1 HTTP/1.1")),
        ("an absolute target of another host", first("GET http://other.test/api/1 HTTP/1.1")),
        ("an absolute target without a path", first("GET http://gateway.test HTTP/1.1")),
        ("a target with credentials", first("GET http://u:p@gateway.test/api/1 HTTP/1.1")),
        ("a target of another scheme", first("GET ftp://gateway.test/api/1 HTTP/1.1")),
        ("an asterisk", first("OPTIONS * HTTP/1.1")),
        ("an asterisk that is got", first("GET * HTTP/1.1")),
        ("an empty target", first("GET  HTTP/1.1")),
        ("a target that is a query", first("GET ?a=b HTTP/1.1")),
        ("a fragment", first("GET /api/1#fragment HTTP/1.1")),
        ("a target that is not UTF-8", first("GET /api/\u{1}\u{7f} HTTP/1.1")),
        ("CONNECT", first("CONNECT gateway.test:443 HTTP/1.1")),
        ("CONNECT of a path", first("CONNECT /api/1 HTTP/1.1")),
        ("TRACE", first("TRACE /api/1 HTTP/1.1")),
        ("an invented method", first("SENTRY /api/1 HTTP/1.1")),
        ("a method in small letters", first("get /api/1 HTTP/1.1")),
        ("a long method", first(&format!("{} /api/1 HTTP/1.1", "M".repeat(4_000)))),
        ("no host", format!("GET /api/1 HTTP/1.1\r\n{sampled}\r\n")),
        ("an empty host", format!("GET /api/1 HTTP/1.1\r\nhost:\r\n{sampled}\r\n")),
        ("two hosts", get("host: other.test\r\n")),
        ("a host with a path", format!("GET /api/1 HTTP/1.1\r\nhost: gateway.test/a\r\n{sampled}\r\n")),
        ("names in odd case", get("BaGGage: a=b\r\nSENTRY-TRACE: 1\r\nTraceParent: 00\r\n")),
        ("names with an underscore", get("sentry_trace: 1\r\nbag_gage: 1\r\n")),
        ("an empty name", get(": value\r\n")),
        ("a name with a space", get("baggage : a=b\r\n")),
        ("a folded line", get("baggage: a=b\r\n ,c=d\r\n")),
        ("a value of control characters", get("baggage: a=\u{1}\u{2}\r\n")),
        ("a value that is not ASCII", get("baggage: a=\u{e9}\u{ff}\r\nx: \u{1f600}\r\n")),
        ("lines that hop", get("connection: sentry-trace, baggage, close\r\n")),
        ("lines of the proxy's", get("x-envoy-original-path: /a\r\nx-envoy-retry-on: 5xx\r\n")),
        ("lines of a status", get(":status: 200\r\n:path: /other\r\n")),
        ("100-continue", post("expect: 100-continue\r\ncontent-length: 4\r\n", "body")),
        ("another expectation", post("expect: 200-ok\r\ncontent-length: 4\r\n", "body")),
        ("100-continue without a body", get("expect: 100-continue\r\n")),
        ("trailers", post(chunked, &format!("4\r\nbody\r\n0\r\n{sampled}baggage: a=b\r\n\r\n"))),
        ("trailers that are announced", post(&format!("{chunked}trailer: baggage\r\n"), "0\r\nbaggage: a=b\r\n\r\n")),
        ("a chunk's extension", post(chunked, "4;a=b\r\nbody\r\n0\r\n\r\n")),
        ("a chunk of no size", post(chunked, "x\r\nbody\r\n0\r\n\r\n")),
        ("a body that is too short", post("content-length: 9\r\n", "body")),
        ("a body that is too long", post("content-length: 2\r\n", "body")),
        ("two lengths", post("content-length: 4\r\ncontent-length: 5\r\n", "body")),
        ("a length and chunks", post(&format!("content-length: 4\r\n{chunked}"), "0\r\n\r\n")),
        ("a body of a GET", get("content-length: 4\r\n") + "body"),
        ("a WebSocket that nobody takes", get(websocket)),
        ("an upgrade to h2c", get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n")),
        ("an upgrade to nothing", get("connection: upgrade\r\nupgrade: \r\n")),
        ("gRPC without HTTP/2", post("content-type: application/grpc\r\nte: trailers\r\ncontent-length: 5\r\n", "\0\0\0\0\0")),
        ("gRPC-Web", post("content-type: application/grpc-web-text\r\ncontent-length: 4\r\n", "AAAA")),
        ("a redirect of our own", get("x-sentry-redirect: 1\r\n")),
        ("two requests at once", get("") + &get("connection: close\r\n")),
        ("50 requests at once", get("").repeat(49) + &get("connection: close\r\n")),
        ("half a request", "GET /api/1 HTTP/1.1\r\nhost: gate".to_owned()),
        ("no request", "\r\n\r\n\r\n".to_owned()),
        ("bytes", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned()),
    ]
}

/// Header blocks by HTTP/2, and the trailers after them.
fn blocks() -> Vec<(&'static str, Block, Option<Block>)> {
    let get = || Block::get("/api/1").line("sentry-trace", SAMPLED);
    let pseudo = |lines: &[(&str, &str)]| {
        lines
            .iter()
            .fold(Block::new(), |block, (name, value)| block.line(name, value))
    };
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (path, authority) = ((":path", "/api/1"), (":authority", "gateway.test"));
    let connect = [(":method", "CONNECT"), authority];
    let websocket = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        scheme,
        path,
        authority,
    ];
    let grpc = Block::request("POST", "/shop.Shop/Buy", "gateway.test")
        .line("content-type", "application/grpc")
        .line("te", "trailers");
    vec![
        ("h2", get(), None),
        (
            "h2 with trailers",
            get(),
            Some(Block::new().line("baggage", "a=b")),
        ),
        (
            "h2 with our trailers",
            get(),
            Some(Block::new().line("sentry-trace", SAMPLED)),
        ),
        (
            "h2 with trailers of a path",
            get(),
            Some(Block::new().line(":path", "/")),
        ),
        (
            "h2 without an authority",
            pseudo(&[method, scheme, path]),
            None,
        ),
        (
            "h2 with an empty authority",
            Block::request("GET", "/api/1", ""),
            None,
        ),
        (
            "h2 with an empty path",
            Block::request("GET", "", "gateway.test"),
            None,
        ),
        (
            "h2 with an empty method",
            Block::request("", "/api/1", "gateway.test"),
            None,
        ),
        (
            "h2 without a path",
            pseudo(&[method, scheme, authority]),
            None,
        ),
        (
            "h2 without a method",
            pseudo(&[scheme, path, authority]),
            None,
        ),
        (
            "h2 without a scheme",
            pseudo(&[method, path, authority]),
            None,
        ),
        (
            "h2 with two paths",
            pseudo(&[method, scheme, path, path, authority]),
            None,
        ),
        (
            "h2 with two authorities",
            pseudo(&[method, scheme, path, authority, authority]),
            None,
        ),
        (
            "h2 with an authority and a host",
            get().line("host", "other.test"),
            None,
        ),
        (
            "h2 with a late path",
            pseudo(&[method, scheme, authority])
                .line("a", "b")
                .line(":path", "/"),
            None,
        ),
        (
            "h2 with a status",
            pseudo(&[method, scheme, path, authority, (":status", "200")]),
            None,
        ),
        (
            "h2 with an unknown pseudo header",
            pseudo(&[method, scheme, path, authority, (":x", "y")]),
            None,
        ),
        (
            "h2 with a scheme of its own",
            pseudo(&[method, (":scheme", "ftp"), path, authority]),
            None,
        ),
        ("h2 with capitals", get().line("Baggage", "a=b"), None),
        (
            "h2 with a line that hops",
            get().line("connection", "close"),
            None,
        ),
        (
            "h2 with a control character",
            get().line("baggage", "a=\u{1}"),
            None,
        ),
        (
            "h2 with a line break",
            get().line("baggage", "a=b\r\nx: y"),
            None,
        ),
        ("h2 with a null", get().line("baggage", "a=\0"), None),
        (
            "h2 with what is no UTF-8",
            get().line("baggage", "a=\u{e9}"),
            None,
        ),
        ("h2 with an empty name", get().line("", "value"), None),
        ("h2 CONNECT", pseudo(&connect), None),
        ("h2 WebSocket", pseudo(&websocket), None),
        ("h2 gRPC", grpc, None),
    ]
}

/// What becomes of everything, in the order of the tables.
async fn outcomes(gateway: &Gateway) -> Vec<String> {
    let address = gateway.envoy.address();
    let mut tasks = JoinSet::new();
    for (at, (name, request)) in requests().into_iter().enumerate() {
        for _ in 0..TIMES {
            let request = request.clone();
            tasks.spawn(async move { (at, name, by_http_1(address, &request).await) });
        }
    }
    for (at, (name, block, trailers)) in blocks().into_iter().enumerate() {
        for _ in 0..TIMES {
            let (block, trailers) = (block.clone(), trailers.clone());
            tasks.spawn_local(async move {
                let outcome = by_http_2(address, &block, trailers.as_ref()).await;
                (1_000 + at, name, outcome)
            });
        }
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort();
    outcomes
        .into_iter()
        .map(|(_, name, outcome)| format!("{name}: {outcome}"))
        .collect()
}

/// The first lines of all answers. Envoy ends the connection, at the latest when it is idle.
async fn by_http_1(address: SocketAddr, request: &str) -> String {
    let answers = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        // A reset after the answers is a way to end, too.
        let _end = stream.read_to_end(&mut bytes).await;
        io::Result::Ok(bytes)
    };
    let bytes = timeout(DEADLINE, answers)
        .await
        .expect("an end of the connection");
    let bytes = bytes.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text
        .split("\r\n")
        .filter(|line| line.starts_with("HTTP/1."));
    lines.collect::<Vec<_>>().join(", ")
}

async fn by_http_2(address: SocketAddr, block: &Block, trailers: Option<&Block>) -> String {
    let outcomes: Arc<Outcomes> = Arc::default();
    let connection = Connection::open(address, &outcomes).await;
    let mut connection = connection.expect("a connection to Envoy");
    // Envoy may have ended the connection by the time that the trailers are sent.
    let _sent = match (
        connection.request(block, trailers.is_none()).await,
        trailers,
    ) {
        (Ok(id), Some(trailers)) => connection.trailers(id, trailers).await,
        (sent, _) => sent.map(drop),
    };
    let settled = eventually(async || (outcomes.counts().settled() > 0).then_some(()));
    settled.await.expect("an outcome");
    format!("{:?}", outcomes.counts())
}

/// Asks both gateways the same.
pub async fn compare() {
    let builder = async || -> GatewayBuilder {
        let config = json!({"transport": {"cluster": "nowhere"}, "propagate_traceparent": true});
        let idle = json!({"idle_timeout": "1s"});
        Gateway::builder()
            .await
            .config(config)
            .connection_manager(
                "http_protocol_options",
                json!({"accept_http_10": true, "enable_trailers": true}),
            )
            .connection_manager("http2_protocol_options", json!({"allow_connect": true}))
            .connection_manager("common_http_protocol_options", idle)
            .connection_manager("request_headers_timeout", json!("1s"))
            .connection_manager("stream_idle_timeout", json!("1s"))
    };
    let local = LocalSet::new();
    let gateway = builder().await.without_filter().start().await;
    let control = local.run_until(outcomes(&gateway)).await;
    let gateway = builder().await.start().await;
    let mine = local.run_until(outcomes(&gateway)).await;
    for (mine, control) in mine.iter().zip(&control) {
        if std::env::var_os("ATTACK_SHOW").is_some() {
            println!("{mine}");
        }
        assert_eq!(mine, control, "with the filter, and without");
    }
    assert_eq!(mine.len(), control.len());
    let log = gateway.envoy.log();
    assert!(!log.contains("[error][wasm]"), "{log}");
    gateway
        .pass(&Request::get("/afterwards"))
        .await
        .sentry_trace();
    gateway
        .envoy
        .wait_for_account(|account| account.recorded > 0)
        .await;
}
