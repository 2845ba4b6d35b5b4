//! Every protocol that a client may speak: versions of HTTP, methods, TLS, tunnels and upgrades.

mod snapshot;

use std::time::Duration;

use e2e::{
    ended::{only, told},
    envoy::cluster_at,
    peers::{curl, talk, Peer},
    Gateway, GatewayBuilder, Reply, Request, Route, Step,
};
use mini_sentry::Certificate;
use serde_json::json;

/// Everything that a segment says is as it was when somebody looked at it last (`tests/snapshots`;
/// `INSTA_UPDATE=always` writes them anew).
macro_rules! assert_whole {
    ($segment:expr) => {
        let _comparison = snapshot::compare();
        insta::assert_snapshot!($segment.whole());
    };
}

async fn gateway() -> GatewayBuilder {
    Gateway::builder().await.config(json!({}))
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.envoy.address())
}

fn ms(milliseconds: u64) -> Step {
    Step::Pause(Duration::from_millis(milliseconds))
}

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

#[tokio::test]
async fn every_version_of_http_and_every_method_is_told() {
    let gateway = gateway()
        .await
        .connection_manager("http_protocol_options", json!({"accept_http_10": true}))
        .start()
        .await;
    let target = url(&gateway, "/page");
    let early = send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    let reply = Step::Send(Reply::status(200).to_bytes("GET"));
    gateway
        .upstream
        .script("GET", "/hints", vec![early, ms(20), reply]);
    let hints = url(&gateway, "/hints");
    let post = url(&gateway, "/post");
    let rows: [(&[&str], &str, &str, &str); 6] = [
        (&["--http1.0", &target], "1.0", "GET", "ok 200 | ok 200"),
        (&["--http1.1", &target], "1.1", "GET", "ok 200 | ok 200"),
        (
            &["--http2-prior-knowledge", &target],
            "2",
            "GET",
            "ok 200 | ok 200",
        ),
        (&["--head", &target], "1.1", "HEAD", "ok 200 | ok 200"),
        (&["--http1.1", &hints], "1.1", "GET", "ok 200 | ok 200"),
        (
            &[
                "--http1.1",
                "--header",
                "expect: 100-continue",
                "--data",
                "12345",
                &post,
            ],
            "1.1",
            "POST",
            "ok 200 | ok 200",
        ),
    ];
    for (index, (arguments, version, method, expected)) in rows.iter().enumerate() {
        let (done, answer) = curl(arguments).await;
        assert!(done, "{arguments:?}: {answer}");
        let segments = gateway.sentry.wait_for_segments(index + 1).await;
        assert_eq!(segments.len(), index + 1, "{arguments:?}");
        let segment = &segments[index];
        assert_whole!(segment);
        assert_eq!(told(segment), *expected, "{arguments:?}");
        let server = &segment.server;
        let found = (
            server.text("network.protocol.version"),
            server.text("http.request.method"),
        );
        assert_eq!(found, (*version, *method), "{arguments:?}");
        if *method == "POST" {
            assert_eq!(server.number("http.request.body.size"), 5.0);
        }
    }
}

#[tokio::test]
async fn a_connection_with_tls_is_told_with_its_version() {
    let certificate = Certificate::for_name("gateway.test");
    let gateway = gateway().await.with_tls(&certificate).start().await;
    let port = gateway.envoy.address().port();
    let resolve = format!("gateway.test:{port}:127.0.0.1");
    let target = format!("https://gateway.test:{port}/secure");
    let options = ["--insecure", "--http2", "--tls-max", "1.2", "--resolve"];
    let (done, answer) = curl(&[&options[..], &[&resolve, &target]].concat()).await;
    assert!(done && answer.starts_with("HTTP/2 200"), "{answer}");
    let segment = gateway.sentry.only_segment().await;
    let server = &segment.server;
    assert_eq!(server.text("tls.protocol.version"), "1.2");
    assert_eq!(server.text("url.scheme"), "https");
    assert_eq!(server.text("url.full"), target);
    assert_eq!(
        segment.call().attribute("tls.protocol.version"),
        None,
        "plain text behind"
    );
}

#[tokio::test]
async fn a_tunnel_that_is_refused() {
    let gateway = gateway().await.start().await;
    let request = Request::new("CONNECT", "elsewhere.test:80").host("elsewhere.test:80");
    gateway.send(&request).await.assert_answered_by_gateway(404);
    let segment = only(&gateway).await;
    assert_whole!(segment);
    assert_eq!(told(&segment), "not_found 404 NR");
    let server = &segment.server;
    assert_eq!(server.text("http.request.method"), "CONNECT");
    assert_eq!(server.text("server.address"), "elsewhere.test");
}

#[tokio::test]
async fn an_upgraded_connection_is_one_span_however_it_ends() {
    let peer = Peer::serve("websocket_peer.py").await;
    let route = Route::new("/socket", "/socket").action(json!({"route": {"cluster": "websocket"}}));
    let gateway = gateway()
        .await
        .cluster(cluster_at("websocket", Some(peer.address())))
        .route(route)
        .connection_manager("upgrade_configs", json!([{"upgrade_type": "websocket"}]))
        .start()
        .await;
    let port = gateway.envoy.address().port().to_string();
    for (index, end) in ["close", "vanish"].into_iter().enumerate() {
        assert_eq!(
            talk("websocket_peer.py", &["talk", &port, end]).await,
            "hello\n"
        );
        let segment = gateway
            .sentry
            .wait_for_segments(index + 1)
            .await
            .remove(index);
        if end == "vanish" {
            // After a goodbye it is chance who closes first.
            assert_whole!(segment);
        }
        let (server, call) = (&segment.server, segment.call());
        assert_eq!(
            (server.status.as_str(), call.status.as_str()),
            ("ok", "ok"),
            "{end}"
        );
        assert_eq!(server.number("http.response.status_code"), 101.0);
    }
}
