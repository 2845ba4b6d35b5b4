//! The sockets of the receiver: plain or TLS, HTTP/1.1 or HTTP/2.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn, Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    headers::Headers,
    receiver::{Answer, Shared},
    validator::ReceivedRequest,
};

pub(super) async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port for mini_sentry");
    let address = listener.local_addr().expect("mini_sentry's address");
    (listener, address)
}

pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, tls.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let Some(tls) = tls else {
        return serve(stream, None, shared).await;
    };
    // A handshake that the client breaks off is its verdict on our certificate, and no violation of
    // ours to report.
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    serve(stream, sni, shared).await;
}

async fn serve<S>(stream: S, sni: Option<String>, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| respond(request, sni.clone(), shared.clone()));
    // An error here is a connection that ended; what was wrong with a request has been recorded by
    // then.
    let _ended = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    sni: Option<String>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let Some(request) = received(request, sni).await else {
        shared.violation("request: the body broke off".to_owned());
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    match shared.receive(request) {
        Answer::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        Answer::Status {
            status,
            headers,
            delay,
        } => {
            if delay > Duration::ZERO {
                sleep(delay).await;
            }
            let mut response = Response::builder()
                .status(status)
                .header("content-type", "application/json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Full::from("{}")).map_err(io::Error::other)
        }
    }
}

async fn received(request: Request<Incoming>, sni: Option<String>) -> Option<ReceivedRequest> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes().to_vec();
    let mut headers = Headers::default();
    for (name, value) in &parts.headers {
        headers.push(name.as_str(), value.as_bytes());
    }
    let host = || {
        parts
            .headers
            .get("host")
            .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
    };
    Some(ReceivedRequest {
        method: parts.method.to_string(),
        path: parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        authority: parts
            .uri
            .authority()
            .map(ToString::to_string)
            .or_else(host)
            .unwrap_or_default(),
        version: format!("{:?}", parts.version),
        sni,
        headers,
        body,
        received_at: SystemTime::now(),
    })
}
