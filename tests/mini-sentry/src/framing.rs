//! The envelope's framing, read by the letter (sentry-protocol.md §8.1).
//!
//! ```text
//! {"event_id":"…","sent_at":"…"}⏎          envelope header: one line of compact JSON
//! {"type":"transaction","length":1234}⏎    item header: `length` required, exact
//! {"type":"transaction",…}⏎                payload; its newline may be missing; nothing follows
//! ```

use serde_json::{Map, Value};

use super::json::parse_object;

/// An envelope taken apart.
#[derive(Debug)]
pub struct Envelope {
    /// Its first line.
    pub header: Map<String, Value>,
    /// What it carries.
    pub items: Vec<Item>,
}

/// One item, its payload still as bytes.
#[derive(Debug)]
pub struct Item {
    /// The line before the payload.
    pub header: Map<String, Value>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Reads a whole body.
///
/// # Errors
/// What a strict receiver would refuse.
pub fn parse(body: &[u8]) -> Result<Envelope, String> {
    let (line, mut rest) = split_line(body);
    let header = parse_object(line).map_err(|error| format!("envelope header: {error}"))?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, behind) =
            parse_item(rest).map_err(|error| format!("item {}: {error}", items.len()))?;
        items.push(item);
        rest = behind;
    }
    Ok(Envelope { header, items })
}

fn parse_item(bytes: &[u8]) -> Result<(Item, &[u8]), String> {
    let (line, rest) = split_line(bytes);
    let header = parse_object(line).map_err(|error| format!("header: {error}"))?;
    let length = header
        .get("length")
        .and_then(Value::as_u64)
        .ok_or("no length in the header")?;
    let split = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length));
    let (payload, behind) =
        split.ok_or_else(|| format!("length {length}, but only {} bytes follow", rest.len()))?;
    let behind = match behind {
        [] => behind,
        [b'\n', behind @ ..] => behind,
        _ => return Err(format!("no newline after {length} bytes of payload")),
    };
    Ok((
        Item {
            header,
            payload: payload.to_vec(),
        },
        behind,
    ))
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_items_by_their_length() {
        for body in [
            "{}\n{\"type\":\"x\",\"length\":3}\na\nb",
            "{}\n{\"type\":\"x\",\"length\":3}\na\nb\n",
        ] {
            let envelope = parse(body.as_bytes()).unwrap();
            assert_eq!(envelope.items.len(), 1);
            assert_eq!(envelope.items[0].payload, b"a\nb");
        }
    }

    #[test]
    fn refuses_every_other_framing() {
        for (body, reason) in [
            ("", "envelope header: not JSON"),
            ("\n{}", "envelope header: not JSON"),
            ("{ }\n", "envelope header: white space"),
            ("{}\r\n", "envelope header: white space"),
            ("{}\n{\"type\":\"x\"}\n{}", "item 0: no length"),
            ("{}\n{\"length\":\"2\"}\n{}", "item 0: no length"),
            (
                "{}\n{\"length\":3}\n{}",
                "item 0: length 3, but only 2 bytes",
            ),
            ("{}\n{\"length\":1}\n{}", "item 0: no newline after 1"),
            ("{}\n{\"length\":2}\n{}\n\n", "item 1: header: not JSON"),
            ("{}\n\n{\"length\":2}\n{}", "item 0: header: not JSON"),
            (
                "{}\n{\"length\":2}\n{}\n{\"length\":2}",
                "item 1: length 2, but only 0 bytes",
            ),
        ] {
            let refused = parse(body.as_bytes()).unwrap_err();
            assert!(refused.starts_with(reason), "{refused:?} for {body:?}");
        }
    }
}
