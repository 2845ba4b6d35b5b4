//! The caller of the gateway: one request a connection, header lines exactly as the test wrote
//! them.

use std::{io, net::SocketAddr, time::Duration};

use mini_sentry::Headers;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{polling::DEADLINE, wire::Reader};

/// A request to be sent, written as a sentence: `Request::get("/api/1").header("baggage", "a=b")`.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: Vec<u8>,
    host: Vec<u8>,
    headers: Headers,
    body: Vec<u8>,
}

impl Request {
    /// A `GET` of that path.
    pub fn get(path: impl AsRef<[u8]>) -> Self {
        Self::new("GET", path)
    }

    /// A request with any method.
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.to_owned(),
            path: path.as_ref().to_vec(),
            host: b"gateway.test".to_vec(),
            headers: Headers::default(),
            body: Vec::new(),
        }
    }

    /// The `Host` to ask for instead of `gateway.test`.
    pub fn host(mut self, host: impl AsRef<[u8]>) -> Self {
        self.host = host.as_ref().to_vec();
        self
    }

    /// Adds a header line; the same name may be added again.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body, and adds its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("content-length", length)
    }

    /// The header lines added so far.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The path as it will be sent.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Sends the request and reads the response to its end.
    ///
    /// # Errors
    /// When the connection fails, ends without a response, or takes longer than [`DEADLINE`].
    pub async fn send(&self, to: SocketAddr) -> io::Result<Response> {
        self.send_within(DEADLINE, to).await
    }

    /// The same with another deadline.
    ///
    /// # Errors
    /// When the connection fails, ends without a response, or takes longer.
    pub async fn send_within(&self, deadline: Duration, to: SocketAddr) -> io::Result<Response> {
        timeout(deadline, self.send_without_deadline(to)).await?
    }

    async fn send_without_deadline(&self, to: SocketAddr) -> io::Result<Response> {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(&self.to_bytes()).await?;
        let (status, headers, body) = Reader::new(stream)
            .last_response(self.method != "HEAD")
            .await?;
        Ok(Response {
            status,
            headers,
            body,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(self.method.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(&self.path);
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        bytes.extend_from_slice(&self.host);
        bytes.extend_from_slice(b"\r\nconnection: close\r\n");
        for (name, value) in self.headers.iter() {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}
