//! Tunnels: `CONNECT` of HTTP/1.1 and HTTP/2, ended here or passed on, and upgrades of HTTP/2. One
//! span each, which is `ok` however it ends and whoever ends it; those that are refused are not.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use e2e::{
    ended::told, envoy::cluster_at, http2::open, peers::Peer, Gateway, GatewayBuilder, Route,
    Segment, Step,
};
use serde_json::{json, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const TARGET: &str = "target.test:443";
/// Port 1 is nobody's.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// A service that sends back what it gets; `bye` ends the connection, and `rst` breaks it.
async fn echo(services: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    services.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = tcp.read(&mut bytes).await {
                    match &bytes[..length] {
                        b"bye" => return,
                        b"rst" => {
                            let _set = tcp.set_zero_linger();
                            return;
                        }
                        bytes => tcp.write_all(bytes).await.expect("bytes sent back"),
                    }
                }
            });
        }
    });
    address
}

async fn gateway(cluster: &str, to: SocketAddr, is_ended: bool) -> GatewayBuilder {
    let upgrade = match is_ended {
        true => json!({"upgrade_type": "CONNECT", "connect_config": {}}),
        false => json!({"upgrade_type": "CONNECT"}),
    };
    let action = json!({"route": {"cluster": cluster, "upgrade_configs": [upgrade]}});
    let upgrades = ["CONNECT", "CONNECT-UDP", "websocket"];
    let upgrades = upgrades.map(|upgrade| json!({"upgrade_type": upgrade}));
    Gateway::builder()
        .await
        .config(json!({}))
        .cluster(cluster_at("echo", Some(to)))
        .route(Route::connect("tunnels").action(action))
        .connection_manager("upgrade_configs", json!(upgrades))
        .connection_manager("http2_protocol_options", json!({"allow_connect": true}))
}

/// Asks for a tunnel in HTTP/1.1 and returns the connection and the response's status.
async fn connect(gateway: &Gateway) -> (TcpStream, String) {
    let mut tcp = TcpStream::connect(gateway.envoy.address())
        .await
        .expect("a connection");
    let request = format!("CONNECT {TARGET} HTTP/1.1\r\nhost: {TARGET}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.expect("a response"));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    (tcp, head[9..12].to_owned())
}

#[track_caller]
fn assert_named(segment: &Segment) {
    let (server, name) = (&segment.server, format!("CONNECT {TARGET}"));
    assert_eq!(server.name, name);
    assert_eq!(server.source.as_deref(), Some("url"));
    for span in std::iter::once(server).chain(&segment.calls) {
        assert_eq!(span.text("http.request.method"), "CONNECT");
        // There is none.
        for absent in ["url.path", "url.full"] {
            assert_eq!(span.attribute(absent), None, "{absent}");
        }
    }
    assert_eq!(server.text("server.address"), "target.test");
    assert_eq!(server.number("server.port"), 443.0);
    for call in &segment.calls {
        assert_eq!(call.name, name);
    }
}

/// The segment of the last of so many requests.
async fn last(gateway: &Gateway, count: usize) -> Segment {
    let mut segments = gateway.sentry.wait_for_segments(count).await;
    assert_eq!(segments.len(), count, "{segments:#?}");
    segments.pop().expect("a segment")
}

#[tokio::test]
async fn a_tunnel_of_http_1_is_ok_however_it_ends() {
    let mut services = JoinSet::new();
    let to = echo(&mut services).await;
    let gateway = gateway("echo", to, true).await.start().await;
    let ends = [
        ("close", " DC"),
        ("vanish", " DC"),
        ("bye", ""),
        ("rst", " UC"),
    ];
    for (index, (end, flags)) in ends.into_iter().enumerate() {
        let (mut tcp, status) = connect(&gateway).await;
        assert_eq!(status, "200", "{end}");
        let mut back = [0; 5];
        tcp.write_all(b"hello").await.expect("bytes");
        tcp.read_exact(&mut back).await.expect("the same bytes");
        assert_eq!(&back, b"hello");
        match end {
            "close" => tcp.shutdown().await.expect("an end"),
            "vanish" => tcp.set_zero_linger().expect("no end"),
            end => tcp.write_all(end.as_bytes()).await.expect("bytes"),
        }
        if end != "vanish" {
            let _end = tcp.read(&mut back).await;
        }
        drop(tcp);
        let segment = last(&gateway, index + 1).await;
        assert_eq!(told(&segment), format!("ok 200{flags} | ok 200"), "{end}");
        assert_named(&segment);
    }
}

#[tokio::test]
async fn a_tunnel_of_http_2_is_ok_however_it_ends() {
    let mut services = JoinSet::new();
    let to = echo(&mut services).await;
    let gateway = gateway("echo", to, true).await.start().await;
    let ends = [
        ("close", ""),
        ("vanish", " DC"),
        ("reset", " DR"),
        ("bye", ""),
        ("rst", " UC"),
    ];
    for (index, (end, flags)) in ends.into_iter().enumerate() {
        let address = gateway.envoy.address();
        let mut stream = open(address, "CONNECT", TARGET, None, &[]).await;
        assert_eq!(stream.status, 200, "{end}");
        stream.echo(b"hello").await;
        match end {
            "close" => stream.close().await,
            "vanish" => stream.vanish().await,
            "reset" => stream.reset().await,
            end => stream.say(end.as_bytes()).await,
        }
        let segment = last(&gateway, index + 1).await;
        assert_eq!(told(&segment), format!("ok 200{flags} | ok 200"), "{end}");
        assert_named(&segment);
    }
}

#[tokio::test]
async fn a_tunnel_that_is_passed_on_is_ok_however_it_ends() {
    let gateway = gateway("upstream", NOWHERE, false).await.start().await;
    for (index, end) in ["close", "vanish"].into_iter().enumerate() {
        let answer = Step::Send(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec());
        let script = vec![answer, Step::Hang];
        gateway.upstream.script("CONNECT", TARGET, script);
        let (mut tcp, status) = connect(&gateway).await;
        assert_eq!(status, "200", "{end}");
        let mut hello = [0; 5];
        tcp.read_exact(&mut hello).await.expect("bytes");
        match end {
            "close" => tcp.shutdown().await.expect("an end"),
            _ => tcp.set_zero_linger().expect("no end"),
        }
        drop(tcp);
        let segment = last(&gateway, index + 1).await;
        assert_eq!(told(&segment), "ok 200 DC | ok 200", "{end}");
        assert_named(&segment);
    }
}

#[tokio::test]
async fn a_tunnel_that_is_refused_goes_by_its_code() {
    let no = |status: u16| {
        let answer = format!("HTTP/1.1 {status} no\r\ncontent-length: 0\r\n\r\n");
        vec![Step::Send(answer.into_bytes())]
    };
    let passes_on = gateway("upstream", NOWHERE, false).await.start().await;
    let rows = [
        (
            no(403),
            "403",
            "permission_denied 403 | permission_denied 403",
        ),
        (no(302), "302", "ok 302 | ok 302"),
        (
            no(504),
            "504",
            "deadline_exceeded 504 | deadline_exceeded 504",
        ),
        (
            vec![Step::Reset],
            "503",
            "unavailable 503 UC | internal_error -",
        ),
    ];
    for (index, (script, code, expected)) in rows.into_iter().enumerate() {
        passes_on.upstream.script("CONNECT", TARGET, script);
        let (tcp, status) = connect(&passes_on).await;
        assert_eq!(status, code);
        drop(tcp);
        let segment = last(&passes_on, index + 1).await;
        assert_eq!(told(&segment), expected);
        assert_named(&segment);
    }
    // Where the tunnel is to lead to, nobody is.
    let ends_here = gateway("echo", NOWHERE, true).await.start().await;
    let stream = open(ends_here.envoy.address(), "CONNECT", TARGET, None, &[]).await;
    assert_eq!(stream.status, 503);
    let segment = last(&ends_here, 1).await;
    assert_eq!(told(&segment), "unavailable 503 UF | internal_error -");
    assert_named(&segment);
}

/// Extended `CONNECT` (RFC 8441), of which Envoy makes an upgrade of a `GET`.
#[tokio::test]
async fn upgrades_of_http_2_are_ok_however_they_end() {
    let peer = Peer::serve("websocket_peer.py").await;
    let headers = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let udp = json!({"upgrade_type": "CONNECT-UDP", "connect_config": {}});
    let udp = json!({"route": {"cluster": "echo", "upgrade_configs": [udp]}});
    let socket = json!({"route": {"cluster": "echo"}});
    let masque = "/.well-known/masque/udp/127.0.0.1/53/";
    let gateway = gateway("echo", peer.address(), true)
        .await
        .route(Route::connect("datagrams").action(udp))
        .route(Route::new("socket", "/socket").action(socket))
        .start()
        .await;
    let mut count = 0;
    for (protocol, path, name, code) in [
        ("websocket", "/socket", "/socket", 101),
        ("connect-udp", masque, "CONNECT 127.0.0.1:53", 200),
    ] {
        for end in ["vanish", "reset"] {
            let uri = format!("http://gateway.test{path}");
            let address = gateway.envoy.address();
            let mut stream = open(address, "CONNECT", &uri, Some(protocol), &headers).await;
            // HTTP/2 has no 101.
            assert_eq!(stream.status, 200, "{protocol} {end}");
            match end {
                "vanish" => stream.vanish().await,
                _ => stream.reset().await,
            }
            count += 1;
            let segment = last(&gateway, count).await;
            let (server, call) = (&segment.server, segment.call());
            assert_eq!(server.status, "ok", "{protocol} {end}: {segment:#?}");
            assert_eq!(call.status, "ok", "{protocol} {end}");
            for span in [server, call] {
                let found = span.attribute("http.response.status_code");
                assert_eq!(found, Some(&Value::from(code)), "{protocol} {end}");
            }
            assert_eq!(server.name, name, "{protocol} {end}");
            assert_eq!(server.text("url.path"), path);
        }
    }
}
