//! `google.protobuf.Struct`, the form in which Envoy hands a `Struct` configuration to a module:
//! not as JSON, as its documentation says, but as the message's own bytes (seen on 1.40; only
//! `StringValue` and `BytesValue` are unwrapped).
//!
//! ```text
//! Struct    { fields: 1 = map entry { key: 1 = text, value: 2 = Value } … }
//! Value     { 1 = null, 2 = double, 3 = text, 4 = bool, 5 = Struct, 6 = ListValue }
//! ListValue { values: 1 = Value … }
//! 0a 0e 0a 05 64 65 62 75 67 12 05 …       a field of 14 bytes: key "debug", then its value
//! ```

use serde_json::{Map, Number, Value};

use crate::protobuf::{Fields, Wire};

/// How deep values may be nested, as in serde_json.
const MAX_DEPTH: u32 = 128;

/// Reads a message as the JSON object it stands for; `None` if it is no such message.
pub(super) fn parse(message: &[u8]) -> Option<Map<String, Value>> {
    parse_struct(message, MAX_DEPTH)
}

fn parse_struct(message: &[u8], depth: u32) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for field in Fields::new(message) {
        let (1, Wire::Bytes(entry)) = field? else {
            return None;
        };
        let (mut key, mut value) = (String::new(), Value::Null);
        for field in Fields::new(entry) {
            match field? {
                (1, Wire::Bytes(text)) => key = String::from_utf8(text.to_vec()).ok()?,
                (2, Wire::Bytes(message)) => value = parse_value(message, depth)?,
                _ => return None,
            }
        }
        object.insert(key, value);
    }
    Some(object)
}

fn parse_value(message: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut value = Value::Null;
    for field in Fields::new(message) {
        value = match field? {
            (1, Wire::Varint(_)) => Value::Null,
            (2, Wire::Fixed64(bits)) => Value::Number(number(f64::from_bits(bits))?),
            (3, Wire::Bytes(text)) => Value::String(String::from_utf8(text.to_vec()).ok()?),
            (4, Wire::Varint(flag)) => Value::Bool(flag != 0),
            (5, Wire::Bytes(message)) => Value::Object(parse_struct(message, depth)?),
            (6, Wire::Bytes(message)) => Value::Array(
                Fields::new(message)
                    .map(|field| match field? {
                        (1, Wire::Bytes(message)) => parse_value(message, depth),
                        _ => None,
                    })
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        };
    }
    Some(value)
}

/// A `Struct` has only doubles; a whole one is shown as the whole number that somebody wrote.
fn number(double: f64) -> Option<Number> {
    let whole = double as i64;
    if whole as f64 == double && whole.unsigned_abs() < 1 << 53 {
        return Some(whole.into());
    }
    Number::from_f64(double)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
            bytes,
        ]
        .concat()
    }

    fn entry(key: &str, value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, key.as_bytes()), field(2, value)].concat())
    }

    fn double(number: f64) -> Vec<u8> {
        [&[0x11], number.to_le_bytes().as_slice()].concat()
    }

    #[test]
    fn a_message_is_the_object_it_stands_for() {
        let list = field(6, &[field(1, &double(1.5)), field(1, &[0x08, 0])].concat());
        let message = [
            entry("dsn", &field(3, "https://ä".as_bytes())),
            entry("rate", &double(0.25)),
            entry("whole", &double(5_000.0)),
            entry("debug", &[0x20, 1]),
            entry("list", &list),
            entry(
                "transport",
                &field(5, &entry("cluster", &field(3, b"sentry"))),
            ),
        ]
        .concat();
        let expected = serde_json::json!({
            "dsn": "https://ä", "rate": 0.25, "whole": 5000, "debug": true, "list": [1.5, null], "transport": {"cluster": "sentry"},
        });
        assert_eq!(parse(&message).map(Value::Object), Some(expected));
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_refused() {
        let message = entry("dsn", &field(3, b"x"));
        for end in 1..message.len() {
            assert_eq!(parse(&message[..end]), None, "{end} bytes");
        }
        for other in [
            b"\n{\"dsn\":1}".as_slice(),
            b"{}",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        // Lengths are two bytes wide here, which `field` does not write.
        let deep = (0..200).fold(vec![0x08, 0], |value: Vec<u8>, _| {
            let wrap = |tag: u8, bytes: &[u8]| {
                let length = u16::try_from(bytes.len()).unwrap();
                let varint = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
                [&[tag], varint.as_slice(), bytes].concat()
            };
            wrap(0x32, &wrap(0x0a, &value))
        });
        assert_eq!(parse_value(&deep, MAX_DEPTH), None);
        assert!(parse_value(&deep, 201).is_some());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_a_struct_or_not(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
