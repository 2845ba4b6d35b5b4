//! HTTP/2 by the crate `h2`: requests that HTTP/1.1 has no words for, and a service that ends its
//! responses with any trailers.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{client, ext::Protocol, server, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::polling::DEADLINE;

/// A stream that was opened, with both of its ends. Its connection ends when it is dropped.
#[derive(Debug)]
pub struct Stream {
    /// The status of the response.
    pub status: u16,
    /// What goes to the gateway.
    pub send: SendStream<Bytes>,
    /// What comes back.
    pub receive: RecvStream,
    connection: JoinSet<()>,
}

/// Opens a stream: `CONNECT` without a protocol has no scheme and no path, with one it has both.
///
/// # Panics
/// If there is no response in time.
pub async fn open(
    gateway: SocketAddr,
    method: &str,
    uri: &str,
    protocol: Option<&str>,
    headers: &[(&'static str, &str)],
) -> Stream {
    let opening = async {
        let tcp = TcpStream::connect(gateway).await.expect("a connection");
        let (mut requests, mut io) = client::handshake(tcp).await.expect("HTTP/2");
        let mut connection = JoinSet::new();
        let mut pings = io.ping_pong().expect("pings");
        connection.spawn(async move {
            let _ended = io.await;
        });
        // The settings, in which a server says that it knows protocols, have come by then.
        pings
            .ping(h2::Ping::opaque())
            .await
            .expect("a ping's answer");
        let mut request = Request::builder().uri(uri);
        request = request.method(Method::from_bytes(method.as_bytes()).expect("a method"));
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from(protocol));
        }
        let mut request = request.body(()).expect("a request");
        *request.headers_mut() = map(headers);
        let has_body = method == "CONNECT";
        let (response, send) = requests
            .send_request(request, !has_body)
            .expect("a request that may be sent");
        let response = response.await.expect("a response");
        Stream {
            status: response.status().as_u16(),
            send,
            receive: response.into_body(),
            connection,
        }
    };
    timeout(DEADLINE, opening)
        .await
        .expect("a response in time")
}

impl Stream {
    /// Sends some bytes and waits for as many.
    ///
    /// # Panics
    /// If they do not come back.
    pub async fn echo(&mut self, bytes: &'static [u8]) {
        self.send
            .send_data(Bytes::from_static(bytes), false)
            .expect("bytes that may be sent");
        let back = timeout(DEADLINE, self.receive.data()).await;
        let back = back.expect("bytes in time").expect("bytes").expect("bytes");
        assert_eq!(&back[..], bytes);
    }

    /// Ends this side and waits for the end of the other one.
    pub async fn close(&mut self) {
        let _sent = self.send.send_data(Bytes::new(), true);
        self.drain().await;
    }

    /// Breaks the connection.
    pub async fn vanish(&mut self) {
        self.connection.shutdown().await;
    }

    /// Resets the stream.
    pub async fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
        self.drain().await;
    }

    /// Sends some bytes and waits for the end of the other side.
    ///
    /// # Panics
    /// If they cannot be sent.
    pub async fn say(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send.send_data(bytes, false).expect("bytes sent");
        self.drain().await;
    }

    /// Waits for the end of the other side.
    pub async fn drain(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.receive.data().await {} };
        let _ended = timeout(DEADLINE, rest).await;
    }
}

/// A service that answers every request in the same way; it ends when dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Service {
    /// Answers with these headers and, unless they end the response, with these trailers.
    pub async fn start(
        headers: &[(&'static str, &str)],
        trailers: Option<&[(&'static str, &str)]>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (headers, trailers) = (map(headers), trailers.map(map));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(answer(tcp, headers.clone(), trailers.clone()));
            }
        });
        Self {
            address,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer(tcp: TcpStream, mut headers: HeaderMap, trailers: Option<HeaderMap>) {
    let status = headers.remove("status");
    let status = status
        .and_then(|status| status.to_str().ok()?.parse().ok())
        .unwrap_or(200);
    let Ok(mut connection) = server::handshake(tcp).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut response = Response::builder()
            .status(status)
            .body(())
            .expect("a response");
        *response.headers_mut() = headers.clone();
        let Ok(mut stream) = respond.send_response(response, trailers.is_none()) else {
            continue;
        };
        if let Some(trailers) = &trailers {
            // A message of no bytes, as gRPC frames it.
            let _sent = stream.send_data(Bytes::from_static(&[0; 5]), false);
            let _sent = stream.send_trailers(trailers.clone());
        }
    }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        let name = http::HeaderName::from_static(name);
        (name, value.parse().expect("a value"))
    };
    lines.iter().map(line).collect()
}
