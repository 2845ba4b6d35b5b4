//! What Envoy refuses for reasons of its own. A request that came to the filter has its segment,
//! one that never did has none.

use e2e::{
    ended::{none, only, told},
    envoy::cluster_at,
    eventually,
    peers::curl,
    Gateway, Request, Route, Step,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const FAULT: &str = "envoy.filters.http.fault";

/// What Envoy answers to exactly these bytes, until it closes the connection.
async fn answer_to(gateway: &Gateway, bytes: &str) -> String {
    let mut stream = TcpStream::connect(gateway.envoy.address())
        .await
        .expect("a connection to Envoy");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(e2e::DEADLINE, stream.read_to_end(&mut answer)).await;
    read.expect("an end").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn impatient() -> Gateway {
    Gateway::builder()
        .await
        .config(json!({}))
        .connection_manager("request_timeout", json!("0.2s"))
        .start()
        .await
}

#[tokio::test]
async fn what_is_no_request_leaves_no_span() {
    let gateway = impatient().await;
    let long = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    for (bytes, code) in [
        ("BROKEN\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nno-host: x\r\nconnection: close\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nhost: x\r\n", 408),
        (&long, 431),
    ] {
        let answer = answer_to(&gateway, bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
    none(&gateway).await;
}

#[tokio::test]
async fn a_body_that_takes_too_long() {
    let gateway = impatient().await;
    gateway.upstream.script("POST", "/post", vec![Step::Hang]);
    let begins = "POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello";
    let answer = answer_to(&gateway, begins).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let segment = only(&gateway).await;
    let told = told(&segment);
    assert!(told.starts_with("invalid_argument 408 | "), "{told}");
}

#[tokio::test]
async fn a_body_that_is_none() {
    let gateway = Gateway::start(json!({})).await;
    let broken = "POST /post HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello";
    let answer = answer_to(&gateway, broken).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let segment = only(&gateway).await;
    let told = told(&segment);
    assert!(told.starts_with("invalid_argument 400 DPE | "), "{told}");
}

#[tokio::test]
async fn an_answer_that_is_none() {
    let gateway = Gateway::start(json!({})).await;
    let broken = Step::Send(b"HTTP/1.1 OK what\r\n\r\n".to_vec());
    let steps = vec![broken, Step::Hang];
    gateway.upstream.script("GET", "/broken", steps);
    let exchange = gateway.send(&Request::get("/broken")).await;
    assert_eq!(exchange.response.status, 502);
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "internal_error 502 UPE | internal_error -");
}

/// Where an answer says nothing about its length, its end is the end of the connection, however
/// that comes.
#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let gateway = Gateway::start(json!({})).await;
    let begins = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello".to_vec();
    let steps = vec![Step::Send(begins), Step::Reset];
    gateway.upstream.script("GET", "/page", steps);
    gateway.pass(&Request::get("/page")).await;
    assert_eq!(told(&only(&gateway).await), "ok 200 | ok 200");
}

#[tokio::test]
async fn a_fault_that_is_injected_behind_ours() {
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let percentage = json!({"numerator": 100});
    let abort = json!({"@type": fault, "abort": {"http_status": 503, "percentage": percentage}});
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .behind(FAULT, json!({"@type": fault}))
        .route(Route::new("aborted", "/aborted").filter(FAULT, abort))
        .start()
        .await;
    let exchange = gateway.send(&Request::get("/aborted")).await;
    exchange.assert_answered_by_gateway(503);
    assert_eq!(told(&only(&gateway).await), "unavailable 503 FI");
}

#[tokio::test]
async fn a_queue_that_is_full() {
    let builder = Gateway::builder().await.config(json!({}));
    let mut full = cluster_at("full", Some(builder.upstream().address()));
    let limits = json!({"max_connections": 1, "max_pending_requests": 1});
    full["circuit_breakers"] = json!({"thresholds": [limits]});
    let action = json!({"route": {"cluster": "full", "timeout": "0s"}});
    let gateway = builder
        .cluster(full)
        .route(Route::new("/full", "/full/.*").action(action))
        .start()
        .await;
    gateway
        .upstream
        .script("GET", "/full/first", vec![Step::Hang]);
    let busy = async |path: &str| {
        let target = format!("http://{}{path}", gateway.envoy.address());
        curl(&["--max-time", "1.5", &target]).await;
    };
    let refused = async {
        let is_full = eventually(async || {
            let stats = gateway.envoy.admin("/stats?filter=cluster.full").await;
            let queued = "upstream_rq_pending_active: 1";
            let busy = "upstream_rq_active: 1";
            (stats.contains(queued) && stats.contains(busy)).then_some(())
        });
        assert!(is_full.await.is_some(), "the queue is not full");
        let exchange = gateway.send(&Request::get("/full/third")).await;
        exchange.assert_answered_by_gateway(503);
    };
    let second = async {
        let is_busy = eventually(async || {
            let stats = gateway.envoy.admin("/stats?filter=cluster.full").await;
            stats.contains("upstream_rq_active: 1").then_some(())
        });
        assert!(is_busy.await.is_some(), "the connection is not busy");
        busy("/full/second").await;
    };
    tokio::join!(busy("/full/first"), second, refused);
    let segments = gateway.sentry.wait_for_segments(3).await;
    let third = segments
        .iter()
        .find(|segment| segment.server.text("url.path") == "/full/third")
        .expect("the refused one");
    assert_eq!(told(third), "unavailable 503 UO");
    gateway.pass(&Request::get("/afterwards")).await;
    assert_eq!(gateway.sentry.wait_for_segments(4).await.len(), 4);
}
