//! Clients that leave while something else is going on: wherever the request is, it is one segment,
//! and nobody's fault.

use std::time::Duration;

use e2e::{
    ended::{only, told},
    envoy::{cluster_at, http2_cluster_at},
    eventually,
    peers::{curl, talk, Peer},
    Gateway, Reply, Request, Route, Step,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

async fn gateway_with(route: Route) -> Gateway {
    let builder = Gateway::builder().await.config(json!({}));
    builder.route(route).start().await
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.envoy.address())
}

/// A client that waits for a moment and leaves without its answer.
async fn leave(gateway: &Gateway, path: &str, options: &[&str]) {
    let target = url(gateway, path);
    let arguments = [&["--max-time", "0.3"], options, &[target.as_str()]].concat();
    let (done, _) = curl(&arguments).await;
    assert!(!done, "there was an answer");
}

/// Waits until Envoy says so in its stats.
async fn until(gateway: &Gateway, stat: &str) {
    let name = stat.split(':').next().unwrap_or(stat);
    let path = format!("/stats?filter={name}");
    let said = eventually(async || {
        gateway
            .envoy
            .admin(&path)
            .await
            .contains(stat)
            .then_some(())
    });
    assert!(said.await.is_some(), "Envoy never said {stat}");
}

/// Sends these bytes, waits until the upstream is in it, and breaks the connection.
async fn break_off(gateway: &Gateway, bytes: &str) {
    let mut stream = TcpStream::connect(gateway.envoy.address())
        .await
        .expect("a connection to Envoy");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    until(gateway, "cluster.upstream.upstream_rq_active: 1").await;
    stream.set_zero_linger().expect("a reset");
}

#[tokio::test]
async fn before_the_answer() {
    for protocol in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let gateway = Gateway::builder()
            .await
            .config(json!({}))
            .connection_manager("http_protocol_options", json!({"accept_http_10": true}))
            .start()
            .await;
        gateway.upstream.script("GET", "/hang", vec![Step::Hang]);
        leave(&gateway, "/hang", &[protocol]).await;
        let told = told(&only(&gateway).await);
        assert_eq!(told, "cancelled - DC | cancelled -", "{protocol}");
    }
}

#[tokio::test]
async fn by_breaking_the_connection() {
    let gateway = Gateway::start(json!({})).await;
    gateway.upstream.script("GET", "/hang", vec![Step::Hang]);
    break_off(&gateway, "GET /hang HTTP/1.1\r\nhost: gateway.test\r\n\r\n").await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DC | cancelled -");
}

#[tokio::test]
async fn in_the_middle_of_an_upload() {
    let gateway = Gateway::start(json!({})).await;
    let begins = "POST /post HTTP/1.1\r\nhost: gateway.test\r\ncontent-length: 100\r\n\r\nhello";
    break_off(&gateway, begins).await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DC | cancelled -");
    // Envoy takes the client's word for it, where there is one.
    assert_eq!(segment.server.number("http.request.body.size"), 100.0);
}

/// On HTTP/2 one stream of a connection can be given up, and the connection stays.
#[tokio::test]
async fn an_event_stream_over_http_2() {
    let gateway = Gateway::start(json!({})).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut steps = vec![Step::Send(head.into())];
    for _ in 0..100 {
        steps.push(Step::Send(b"9\r\ndata: x\n\n\r\n".to_vec()));
        steps.push(Step::Pause(Duration::from_millis(20)));
    }
    gateway.upstream.script("GET", "/events", steps);
    leave(
        &gateway,
        "/events",
        &["--no-buffer", "--http2-prior-knowledge"],
    )
    .await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled 200 DC | cancelled 200");
}

#[tokio::test]
async fn in_a_filter_behind_ours() {
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let delay = json!({
        "@type": fault,
        "delay": {"fixed_delay": "60s", "percentage": {"numerator": 100}},
    });
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .behind("envoy.filters.http.fault", json!({"@type": fault}))
        .route(Route::new("held", "/held").filter("envoy.filters.http.fault", delay))
        .start()
        .await;
    leave(&gateway, "/held", &[]).await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DI,DC");
}

#[tokio::test]
async fn between_two_attempts() {
    let back_off = json!({"base_interval": "60s", "max_interval": "60s"});
    let retry = json!({"retry_on": "5xx", "num_retries": 3, "retry_back_off": back_off});
    let action = json!({"route": {"cluster": "upstream", "timeout": "0s", "retry_policy": retry}});
    let gateway = gateway_with(Route::new("/flaky", "/flaky").action(action)).await;
    gateway.upstream.reply("GET", "/flaky", Reply::status(503));
    leave(&gateway, "/flaky", &[]).await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DC | cancelled -");
    assert_eq!(gateway.upstream.take(b"/flaky").len(), 1);
}

#[tokio::test]
async fn in_the_queue_for_a_connection() {
    let builder = Gateway::builder().await.config(json!({}));
    let mut narrow = cluster_at("narrow", Some(builder.upstream().address()));
    narrow["circuit_breakers"] = json!({"thresholds": [{"max_connections": 1}]});
    let action = json!({"route": {"cluster": "narrow", "timeout": "0s"}});
    let gateway = builder
        .cluster(narrow)
        .route(Route::new("/narrow", "/narrow/.*").action(action))
        .start()
        .await;
    gateway
        .upstream
        .script("GET", "/narrow/first", vec![Step::Hang]);
    let busy = async {
        curl(&["--max-time", "1.5", &url(&gateway, "/narrow/first")]).await;
    };
    let queued = async {
        until(&gateway, "cluster.narrow.upstream_rq_active: 1").await;
        leave(&gateway, "/narrow/second", &[]).await;
    };
    tokio::join!(busy, queued);
    gateway.pass(&Request::get("/afterwards")).await;
    let segments = gateway.sentry.wait_for_segments(3).await;
    let all: Vec<_> = segments.iter().map(told).collect();
    let left = "cancelled - DC | cancelled -";
    assert_eq!(all, [left, left, "ok 200 | ok 200"]);
    assert!(gateway.upstream.take(b"/narrow/second").is_empty());
}

#[tokio::test]
async fn a_call_of_grpc_before_any_answer() {
    let peer = Peer::serve("grpc_peer.py").await;
    let cluster = http2_cluster_at("grpc", peer.address());
    let action = json!({"route": {"cluster": "grpc", "timeout": "0s"}});
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .cluster(cluster)
        .route(Route::new("grpc", "/shop\\.v1\\.Cart/.*").action(action))
        .start()
        .await;
    let port = gateway.envoy.address().port().to_string();
    let said = talk("grpc_peer.py", &["call", &port, "Stall", "give-up"]).await;
    assert_eq!(said.trim(), "CANCELLED 0");
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "cancelled - DR | cancelled -");
    let server = &segment.server;
    assert_eq!(server.text("rpc.method"), "shop.v1.Cart/Stall");
    assert_eq!(server.attribute("rpc.response.status_code"), None);
}
