//! The body of a callout, read as a Sentry envelope.
//!
//! ```text
//! {"event_id":"…","dsn":"…","trace":{…}}
//! {"type":"transaction","length":123}
//! {…123 bytes…}
//! ```

use serde_json::Value;

/// An envelope.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The first line.
    pub header: Value,
    /// Its items.
    pub items: Vec<Item>,
}

/// An item of an envelope.
#[derive(Clone, Debug)]
pub struct Item {
    /// The line before the payload.
    pub header: Value,
    /// The payload.
    pub payload: Value,
}

impl Envelope {
    /// Reads an envelope. Panics where a receiver would refuse it.
    pub fn parse(bytes: &[u8]) -> Self {
        let (header, mut rest) = line(bytes);
        let header = json(header, "envelope header");
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (item_header, after) = line(rest);
            let item_header = json(item_header, "item header");
            let len = match item_header.get("length").and_then(Value::as_u64) {
                Some(len) => usize::try_from(len).expect("a length"),
                None => line(after).0.len(),
            };
            let (payload, after) = after
                .split_at_checked(len)
                .expect("as many bytes as `length` says");
            rest = match after.split_first() {
                None => after,
                Some((b'\n', after)) => after,
                Some(_) => panic!("`length` ends within the payload"),
            };
            items.push(Item {
                header: item_header,
                payload: json(payload, "payload"),
            });
        }
        Self { header, items }
    }

    /// The payload of the only item, which must be a transaction.
    pub fn transaction(&self) -> &Value {
        match &self.items[..] {
            [item] if item.header["type"] == "transaction" => &item.payload,
            other => panic!("not one transaction: {other:#?}"),
        }
    }
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn json(bytes: &[u8], what: &str) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{what} is no JSON ({error}): {}", crate::text(bytes)))
}

#[cfg(test)]
mod tests {
    use super::Envelope;

    #[test]
    fn an_item_is_as_long_as_it_says() {
        let envelope = Envelope::parse(b"{\"a\":1}\n{\"type\":\"transaction\",\"length\":2}\n{}\n");
        assert_eq!(envelope.header["a"], 1);
        assert!(envelope.transaction().is_object());
    }

    #[test]
    #[should_panic(expected = "ends within the payload")]
    fn a_wrong_length_is_refused() {
        Envelope::parse(b"{}\n{\"type\":\"transaction\",\"length\":2}\n{}{}\n");
    }
}
