//! A connection that is upgraded to a WebSocket: one span from the handshake to the end, whoever
//! ends it and how; and upgrades that do not come about.

use e2e::{
    ended::{none, only, told},
    envoy::cluster_at,
    peers::{talk, Peer},
    Gateway, Reply, Request, Route, Step,
};
use serde_json::{json, Value};

async fn gateway(peer: &Peer) -> Gateway {
    let upgrades = json!([{"upgrade_type": "websocket"}]);
    let to = |cluster: &str| json!({"route": {"cluster": cluster, "upgrade_configs": upgrades}});
    Gateway::builder()
        .await
        .config(json!({}))
        .cluster(cluster_at("websocket", Some(peer.address())))
        .route(Route::new("/socket", "/socket").action(to("websocket")))
        .route(Route::new("/refuses", "/refuses").action(to("upstream")))
        .start()
        .await
}

/// Says hello over a WebSocket and hears it back; then it ends that way.
async fn speak(gateway: &Gateway, end: &str) {
    let port = gateway.envoy.address().port().to_string();
    let said = talk("websocket_peer.py", &["talk", &port, end]).await;
    assert_eq!(said, "hello\n");
}

fn handshake(path: &str) -> Request {
    Request::get(path)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn whoever_ends_it_and_how_it_is_one_span() {
    let peer = Peer::serve("websocket_peer.py").await;
    for end in ["close", "vanish", "closed", "lost"] {
        let gateway = gateway(&peer).await;
        speak(&gateway, end).await;
        let segment = only(&gateway).await;
        let (server, call) = (&segment.server, segment.call());
        let code = |span: &e2e::Span| span.attribute("http.response.status_code").cloned();
        assert_eq!(code(server), Some(Value::from(101)), "{end}");
        assert_eq!(code(call), Some(Value::from(101)), "{end}");
        let statuses = (server.status.as_str(), call.status.as_str());
        assert_eq!(statuses, ("ok", "ok"), "{end}");
        let took = server.duration_ms();
        assert!((0.0..5000.0).contains(&took), "{end}: {took} ms");
    }
}

#[tokio::test]
async fn a_service_that_dies_ends_it() {
    let peer = Peer::serve("websocket_peer.py").await;
    let gateway = gateway(&peer).await;
    speak(&gateway, "dies").await;
    let segment = only(&gateway).await;
    assert_eq!(told(&segment), "ok 101 UC | ok 101");
}

#[tokio::test]
async fn a_service_that_refuses_answers_as_to_any_request() {
    let peer = Peer::serve("websocket_peer.py").await;
    let gateway = gateway(&peer).await;
    let refusal = Step::Send(Reply::status(403).to_bytes("GET"));
    gateway.upstream.script("GET", "/refuses", vec![refusal]);
    let exchange = gateway.send(&handshake("/refuses")).await;
    assert_eq!(exchange.response.status, 403);
    let segment = only(&gateway).await;
    assert_eq!(
        told(&segment),
        "permission_denied 403 | permission_denied 403"
    );
}

/// Envoy answers before it makes a chain of filters.
#[tokio::test]
async fn an_upgrade_that_is_not_enabled_leaves_no_span() {
    let peer = Peer::serve("websocket_peer.py").await;
    let gateway = gateway(&peer).await;
    let exchange = gateway.send(&handshake("/elsewhere")).await;
    exchange.assert_answered_by_gateway(403);
    none(&gateway).await;
}
