//! HTTP/1.1 by hand, so that a test can send, and see, exactly the bytes and the header lines it
//! means.
//!
//! HTTP libraries normalise: they join lines, reorder names or refuse bytes above 0x7f. What is
//! under test here is whether the filter does.

use std::io;

use mini_sentry::Headers;
use tokio::{io::AsyncReadExt, net::TcpStream};

const MAX_HEADER_LINES: usize = 256;
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// The first line and the header lines of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Headers,
}

/// Reads messages off a connection, one after the other.
pub(crate) struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Waits until the other side has closed the connection, or broken it.
    pub(crate) async fn closed(&mut self) -> io::Result<()> {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }

    /// The next request with its body, or `None` when the peer closed between requests.
    pub(crate) async fn request(&mut self) -> io::Result<Option<(RequestHead, Vec<u8>)>> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
        let mut parsed = httparse::Request::new(&mut lines);
        parsed.parse(&head).map_err(io::Error::other)?;
        let head = RequestHead {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: parsed.path.unwrap_or_default().to_owned(),
            headers: header_lines(parsed.headers),
        };
        let body = self.framed_body(&head.headers).await?.unwrap_or_default();
        Ok(Some((head, body)))
    }

    /// A response to a request that asked for no other on this connection.
    pub(crate) async fn last_response(
        mut self,
        has_body: bool,
    ) -> io::Result<(u16, Headers, Vec<u8>)> {
        let head = self.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
        let mut parsed = httparse::Response::new(&mut lines);
        parsed.parse(&head).map_err(io::Error::other)?;
        let status = parsed.code.unwrap_or_default();
        let headers = header_lines(parsed.headers);
        if !has_body || matches!(status, 204 | 304) {
            return Ok((status, headers, Vec::new()));
        }
        let body = match self.framed_body(&headers).await? {
            Some(body) => body,
            None => {
                self.stream.read_to_end(&mut self.buffer).await?;
                self.buffer
            }
        };
        Ok((status, headers, body))
    }

    /// The body, if the headers say where it ends.
    async fn framed_body(&mut self, headers: &Headers) -> io::Result<Option<Vec<u8>>> {
        if headers.text("transfer-encoding").is_some() {
            return self.chunks().await.map(Some);
        }
        match headers.text("content-length").map(str::parse) {
            Some(Ok(length)) => self.exactly(length).await.map(Some),
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(None),
        }
    }

    /// The bytes up to and including the empty line.
    async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..at + 4).collect()));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("header section too large"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Err(_) => return Err(io::Error::other("chunk size is not a number")),
                Ok(httparse::Status::Partial) => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Ok(httparse::Status::Complete((start, length))) => {
                    self.exactly(start).await?;
                    let length = usize::try_from(length).map_err(io::Error::other)?;
                    let chunk = self.exactly(length + 2).await?;
                    if length == 0 {
                        return Ok(body);
                    }
                    body.extend_from_slice(&chunk[..length]);
                }
            }
        }
    }
}

fn header_lines(lines: &[httparse::Header<'_>]) -> Headers {
    let mut headers = Headers::default();
    for line in lines {
        headers.push(line.name, line.value);
    }
    headers
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
