//! The frames of HTTP/2 (RFC 9113, section 4), as far as an attacker needs them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The preface, settings that keep the answers' header table empty and take bodies of any length,
/// and a window for the connection that never fills.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x12\x04\x00\x00\x00\x00\x00\
    \x00\x01\x00\x00\x00\x00\
    \x00\x02\x00\x00\x00\x00\
    \x00\x04\x7f\xff\xff\xff\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00";

/// The longest payload that a receiver must take unless it says otherwise.
const MAX_PAYLOAD: usize = 16_384;

/// What a frame is; those that are received are compared by number.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Data = 0,
    Headers = 1,
    RstStream = 3,
    Settings = 4,
    Continuation = 9,
}

impl Kind {
    pub(super) const HEADERS: u8 = Self::Headers as u8;
    pub(super) const RST_STREAM: u8 = Self::RstStream as u8;
}

/// The flags of a frame.
#[derive(Clone, Copy)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ACK: Self = Self(1);
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
}

/// A frame.
pub(super) fn frame(kind: Kind, flags: Flags, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    push(&mut bytes, kind, flags, stream, payload);
    bytes
}

/// A header block in as many frames as it takes.
pub(super) fn header_frames(stream: u32, block: &[u8], ends_stream: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.len() + 64);
    let count = block.len().div_ceil(MAX_PAYLOAD);
    for (index, payload) in block.chunks(MAX_PAYLOAD).enumerate() {
        let (kind, first) = match index {
            0 => (Kind::Headers, u8::from(ends_stream) * Flags::END_STREAM),
            _ => (Kind::Continuation, 0),
        };
        let last = u8::from(index + 1 == count) * Flags::END_HEADERS;
        push(&mut bytes, kind, Flags(first | last), stream, payload);
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, kind: Kind, flags: Flags, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload of 24 bits");
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind as u8, flags.0]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// The kind, the stream and the length of the next frame.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, u32, usize)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [a, b, c, kind, _flags, s, t, u, v] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    let id = u32::from_be_bytes([s & 0x7f, t, u, v]);
    Ok((kind, id, length as usize))
}

/// Reads until the other side has sent its settings.
pub(super) async fn until_settings(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    loop {
        let (kind, _, length) = head(stream).await?;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        if kind == Kind::Settings as u8 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        let frames = header_frames(5, &[b'x'; 20_000], true);
        assert_eq!(frames.len(), 20_000 + 18);
        assert_eq!(frames[..9], [0, 0x40, 0, 1, 1, 0, 0, 0, 5]);
        let second = &frames[9 + MAX_PAYLOAD..];
        assert_eq!(second[..9], [0, 0x0e, 0x20, 9, 4, 0, 0, 0, 5]);
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let bytes = frame(Kind::RstStream, Flags::NONE, 7, &[0, 0, 0, 8]);
        let read = head(&mut bytes.as_slice()).await;
        assert_eq!(read.ok(), Some((Kind::RST_STREAM, 7, 4)));
    }
}
