//! gRPC's own client and service through the gateway: the status of the call counts, and is in the
//! span.

mod snapshot;

use e2e::{
    envoy::http2_cluster_at,
    peers::{talk, Peer},
    Gateway, Route,
};
use serde_json::json;

async fn gateway(peer: &Peer) -> Gateway {
    let cluster = http2_cluster_at("grpc", peer.address());
    let route = Route::new("grpc", "/shop\\.v1\\.Cart/.*")
        .action(json!({"route": {"cluster": "grpc", "timeout": "0s"}}));
    Gateway::builder()
        .await
        .config(json!({}))
        .cluster(cluster)
        .route(route)
        .start()
        .await
}

#[tokio::test]
async fn every_call_has_its_own_status() {
    let peer = Peer::serve("grpc_peer.py").await;
    let gateway = gateway(&peer).await;
    let port = gateway.envoy.address().port().to_string();
    // What the client is asked to do; what it saw; the span's status, and that of the call.
    let rows: [(&[&str], &str, &str, &str); 6] = [
        (&["Add"], "OK 1", "ok", "OK"),
        (&["List"], "OK 3", "ok", "OK"),
        (&["Fail"], "NOT_FOUND 0", "not_found", "NOT_FOUND"),
        (
            &["Refuse"],
            "PERMISSION_DENIED 0",
            "permission_denied",
            "PERMISSION_DENIED",
        ),
        (
            &["Nothing"],
            "UNIMPLEMENTED 0",
            "unimplemented",
            "UNIMPLEMENTED",
        ),
        (&["Hang", "cancel"], "CANCELLED 1", "cancelled", ""),
    ];
    for (index, (what, seen, status, word)) in rows.iter().enumerate() {
        let arguments = [&["call", port.as_str()], *what].concat();
        assert_eq!(
            talk("grpc_peer.py", &arguments).await.trim(),
            *seen,
            "{what:?}"
        );
        let segments = gateway.sentry.wait_for_segments(index + 1).await;
        assert_eq!(segments.len(), index + 1, "{what:?}");
        let _comparison = snapshot::compare();
        insta::assert_snapshot!(segments[index].whole());
        let (server, call) = (&segments[index].server, segments[index].call());
        for span in [server, call] {
            assert_eq!(span.status, *status, "{what:?} {span:#?}");
            assert_eq!(span.text("rpc.system.name"), "grpc");
            assert_eq!(span.text("rpc.service"), "shop.v1.Cart");
            assert_eq!(span.text("rpc.method"), format!("shop.v1.Cart/{}", what[0]));
            assert_eq!(span.text("rpc.response.status_code"), *word, "{what:?}");
            assert_eq!(span.number("http.response.status_code"), 200.0);
        }
        assert_eq!(server.text("network.protocol.version"), "2");
        // HTTP/2 has a way to give up one stream.
        let flags = if *status == "cancelled" { "DR" } else { "" };
        assert_eq!(server.text("envoy.response_flags"), flags, "{what:?}");
    }
}

#[tokio::test]
async fn a_deadline_of_the_clients_ends_the_call() {
    let peer = Peer::serve("grpc_peer.py").await;
    let gateway = gateway(&peer).await;
    let port = gateway.envoy.address().port().to_string();
    let said = talk("grpc_peer.py", &["call", &port, "Hang", "0.4"]).await;
    assert_eq!(said.trim(), "DEADLINE_EXCEEDED 1");
    let segment = gateway.sentry.only_segment().await;
    // The service knows the deadline, too: who is first, the client that leaves or the service that
    // gives up, is chance. Each says so in its way.
    let server = &segment.server;
    let told = ["rpc.response.status_code", "envoy.response_flags"].map(|name| server.text(name));
    let expected = match server.status.as_str() {
        "cancelled" => ["", "DR"],
        _ => ["DEADLINE_EXCEEDED", ""],
    };
    assert_eq!(told, expected, "{segment:#?}");
    let word = expected[0].to_lowercase();
    let is_word = server.status == word || server.status == "cancelled";
    assert!(is_word, "{segment:#?}");
    assert!(segment.call().duration_ms() > 300.0);
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable() {
    let peer = Peer::serve("grpc_peer.py").await;
    let gateway = gateway(&peer).await;
    drop(peer);
    let port = gateway.envoy.address().port().to_string();
    let said = talk("grpc_peer.py", &["call", &port, "Add"]).await;
    assert_eq!(said.trim(), "UNAVAILABLE 0");
    let segment = gateway.sentry.only_segment().await;
    let _comparison = snapshot::compare();
    insta::assert_snapshot!(segment.whole());
    // Envoy answers a gRPC client in gRPC: 200, and the status in the headers.
    assert_eq!(segment.server.status, "unavailable", "{segment:#?}");
    assert_eq!(
        segment.server.text("rpc.response.status_code"),
        "UNAVAILABLE"
    );
    assert_eq!(segment.call().status, "internal_error");
    assert_eq!(segment.call().attribute("rpc.response.status_code"), None);
}
