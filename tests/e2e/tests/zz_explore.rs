use e2e::{
    ended::{only, told},
    envoy::cluster_at,
    http2::{open, Service},
    peers::{curl, talk, Peer},
    Gateway, GatewayBuilder, Reply, Request, Route, Step,
};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

#[tokio::test]
async fn interim() {
    for (name, text) in [
        ("100", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("102", "HTTP/1.1 102 Processing\r\n\r\n"),
        ("103", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ] {
        for end in [Step::Reset, Step::Hang] {
            let route = Route::new("/late", "/late")
                .action(json!({"route": {"cluster": "upstream", "timeout": "0.4s"}}));
            let gateway = Gateway::builder()
                .await
                .config(json!({}))
                .route(route)
                .connection_manager("proxy_100_continue", json!(true))
                .start()
                .await;
            gateway.upstream.script(
                "GET",
                "/late",
                vec![
                    send(text),
                    Step::Pause(Duration::from_millis(50)),
                    end.clone(),
                ],
            );
            let (done, answer) = curl(&[
                "--http1.1",
                "-H",
                "expect: 100-continue",
                &format!("http://{}/late", gateway.envoy.address()),
            ])
            .await;
            println!("== {name} {end:?} {done} {answer:?}");
            let segment = only(&gateway).await;
            println!("{}\n{}", told(&segment), segment.whole());
        }
    }
}

async fn echo() -> std::net::SocketAddr {
    let l = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let a = l.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut s, _) = l.accept().await.unwrap();
            tokio::spawn(async move {
                let mut b = [0; 1024];
                loop {
                    match s.read(&mut b).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) => {
                            if b[..n].starts_with(b"bye") {
                                break;
                            }
                            if b[..n].starts_with(b"rst") {
                                let _ = s.set_zero_linger();
                                break;
                            }
                            s.write_all(&b[..n]).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    a
}

async fn gw(action: serde_json::Value, to: std::net::SocketAddr) -> Gateway {
    Gateway::builder().await.config(json!({}))
      .cluster(cluster_at("echo", Some(to)))
      .route(Route::connect("tunnel").action(action))
      .connection_manager("upgrade_configs", json!([{"upgrade_type": "CONNECT"},{"upgrade_type":"websocket"},{"upgrade_type":"CONNECT-UDP"}]))
      .connection_manager("http2_protocol_options", json!({"allow_connect": true}))
      .start().await
}

#[tokio::test]
async fn connect_h1() {
    for end in ["close", "vanish", "bye", "rst"] {
        let to = echo().await;
        let g = gw(json!({"route": {"cluster": "echo", "upgrade_configs": [{"upgrade_type":"CONNECT","connect_config":{}}]}}), to).await;
        let mut s = TcpStream::connect(g.envoy.address()).await.unwrap();
        s.write_all(b"CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n")
            .await
            .unwrap();
        let mut b = [0; 4096];
        let n = s.read(&mut b).await.unwrap();
        println!("== h1 {end} {:?}", String::from_utf8_lossy(&b[..n]));
        s.write_all(b"hello").await.unwrap();
        let n = s.read(&mut b).await.unwrap();
        println!("{:?}", String::from_utf8_lossy(&b[..n]));
        match end {
            "close" => {
                s.shutdown().await.unwrap();
                let _ = s.read(&mut b).await;
            }
            "vanish" => {
                let _ = s.set_zero_linger();
                drop(s);
            }
            "bye" => {
                s.write_all(b"bye").await.unwrap();
                let _ = s.read(&mut b).await;
            }
            _ => {
                s.write_all(b"rst").await.unwrap();
                let _ = s.read(&mut b).await;
            }
        }
        let segment = only(&g).await;
        println!("{}\n{}", told(&segment), segment.whole());
    }
}

#[tokio::test]
async fn connect_h2() {
    for end in ["close", "vanish", "reset", "bye", "rst"] {
        let to = echo().await;
        let g = gw(json!({"route": {"cluster": "echo", "upgrade_configs": [{"upgrade_type":"CONNECT","connect_config":{}}]}}), to).await;
        let mut s = open(g.envoy.address(), "CONNECT", "target.test:443", None).await;
        println!("== h2 {end} {}", s.status);
        s.echo(b"hello").await;
        match end {
            "close" => s.close().await,
            "vanish" => s.vanish().await,
            "reset" => s.reset(),
            "bye" => {
                s.send
                    .send_data(bytes::Bytes::from_static(b"bye"), false)
                    .unwrap();
                s.close().await
            }
            _ => {
                s.send
                    .send_data(bytes::Bytes::from_static(b"rst"), false)
                    .unwrap();
                while let Some(Ok(_)) = s.receive.data().await {}
            }
        }
        let segment = only(&g).await;
        println!("{}\n{}", told(&segment), segment.whole());
    }
}

#[tokio::test]
async fn connect_forwarded() {
    for end in ["close", "vanish"] {
        let to = echo().await;
        let g = gw(json!({"route": {"cluster": "upstream", "upgrade_configs": [{"upgrade_type":"CONNECT"}]}}), to).await;
        g.upstream.script(
            "CONNECT",
            "target.test:443",
            vec![send("HTTP/1.1 200 OK\r\n\r\nhello"), Step::Hang],
        );
        let mut s = TcpStream::connect(g.envoy.address()).await.unwrap();
        s.write_all(b"CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n")
            .await
            .unwrap();
        let mut b = [0; 4096];
        let n = s.read(&mut b).await.unwrap();
        println!("== fwd {end} {:?}", String::from_utf8_lossy(&b[..n]));
        match end {
            "close" => {
                s.shutdown().await.unwrap();
                let _ = s.read(&mut b).await;
            }
            _ => {
                let _ = s.set_zero_linger();
                drop(s);
            }
        }
        println!("{:?}", g.upstream.take_if(|_| true));
        let segment = only(&g).await;
        println!("{}\n{}", told(&segment), segment.whole());
    }
    for (n, script) in [
        (
            "403",
            vec![send("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")],
        ),
        ("reset", vec![Step::Reset]),
    ] {
        let to = echo().await;
        let g = gw(json!({"route": {"cluster": "upstream", "upgrade_configs": [{"upgrade_type":"CONNECT"}]}}), to).await;
        g.upstream.script("CONNECT", "target.test:443", script);
        let mut s = TcpStream::connect(g.envoy.address()).await.unwrap();
        s.write_all(b"CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n")
            .await
            .unwrap();
        let mut b = [0; 4096];
        let k = s.read(&mut b).await.unwrap();
        println!("== fwd refused {n} {:?}", String::from_utf8_lossy(&b[..k]));
        let segment = only(&g).await;
        println!("{}\n{}", told(&segment), segment.whole());
    }
    // refused TCP
    let g = gw(json!({"route": {"cluster": "refused", "upgrade_configs": [{"upgrade_type":"CONNECT","connect_config":{}}]}}), echo().await).await;
    let s = open(g.envoy.address(), "CONNECT", "target.test:443", None).await;
    println!("== h2 refused {}", s.status);
    let segment = only(&g).await;
    println!("{}\n{}", told(&segment), segment.whole());
}

#[tokio::test]
async fn extended() {
    let peer = Peer::serve("websocket_peer.py").await;
    let to = peer.address();
    for (proto, path) in [
        ("websocket", "/socket"),
        ("connect-udp", "/.well-known/masque/udp/127.0.0.1/53/"),
        ("bytestream", "/b"),
    ] {
        for end in ["close", "vanish"] {
            let g = Gateway::builder().await.config(json!({}))
          .cluster(cluster_at("ws", Some(to)))
          .route(Route::new("socket", "/socket").action(json!({"route": {"cluster": "ws"}})))
          .route(Route::connect("tunnel").action(json!({"route": {"cluster": "ws", "upgrade_configs": [{"upgrade_type":"CONNECT-UDP","connect_config":{}},{"upgrade_type":"CONNECT","connect_config":{}}]}})))
          .connection_manager("upgrade_configs", json!([{"upgrade_type": "CONNECT"},{"upgrade_type":"websocket"},{"upgrade_type":"CONNECT-UDP"}]))
          .connection_manager("http2_protocol_options", json!({"allow_connect": true}))
          .start().await;
            let uri = format!("http://gateway.test{path}");
            let s = tokio::time::timeout(
                Duration::from_secs(3),
                open(g.envoy.address(), "CONNECT", &uri, Some(proto)),
            )
            .await;
            let Ok(s) = s else {
                println!("== ext {proto} timeout");
                continue;
            };
            println!("== ext {proto} {end} {}", s.status);
            match end {
                "close" => s.close().await,
                _ => s.vanish().await,
            }
            let segment = only(&g).await;
            println!("{}\n{}", told(&segment), segment.whole());
        }
    }
}

#[tokio::test]
async fn grpc() {
    for (h, t) in [
        ("0", Some("0")),
        ("", Some("100")),
        ("", Some("17")),
        ("", Some("-1")),
        ("", Some("abc")),
        ("", Some("05")),
        ("", Some("")),
        ("", Some("+5")),
        ("", Some("2")),
        ("", None),
        ("100", None),
        ("5", None),
        ("-1", None),
    ] {
        let mut headers = vec![("content-type", "application/grpc")];
        if !h.is_empty() && t.is_none() {
            headers.push(("grpc-status", h));
        }
        let trailers = t.map(|t| {
            if t.is_empty() {
                vec![("x-a", "1")]
            } else {
                vec![("grpc-status", t)]
            }
        });
        let svc = Service::start(&headers, trailers.as_deref()).await;
        let mut cluster = cluster_at("grpc", Some(svc.address()));
        cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config": {"http2_protocol_options": {}}}});
        let g = Gateway::builder()
            .await
            .config(json!({}))
            .cluster(cluster)
            .route(
                Route::new("grpc", "/shop\\.v1\\.Cart/.*")
                    .action(json!({"route": {"cluster": "grpc", "timeout": "0s"}})),
            )
            .start()
            .await;
        let port = g.envoy.address().port().to_string();
        let said = talk("grpc_peer.py", &["call", &port, "Add"]).await;
        let segment = only(&g).await;
        println!(
            "== grpc {h:?} {t:?} {} {} {:?}",
            said.trim(),
            told(&segment),
            segment.server.text("rpc.response.status_code")
        );
    }
}
