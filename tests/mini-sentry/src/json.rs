//! JSON as a strict receiver reads it: compact, and no key twice.
//!
//! serde_json takes the last of two equal keys; Relay rejects an envelope header with two
//! `sent_at`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses one compact JSON object without repeated keys.
pub(super) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if has_padding(bytes) {
        return Err("white space between JSON tokens".to_owned());
    }
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

fn has_padding(bytes: &[u8]) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\r' | b'\n' if !in_string => return true,
            _ => {}
        }
    }
    false
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, _>()? {
            if object.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("key {key:?} twice")));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_padding_repeated_keys_and_what_is_no_object() {
        assert!(parse_object(br#"{"a":"b c\" d","e":[1,2.5,-3,null,true,{}]}"#).is_ok());
        for (bytes, reason) in [
            (&br#"{"a": 1}"#[..], "white space"),
            (b"{}\r", "white space"),
            (br#"{"a":1,"a":1}"#, "twice"),
            (br#"{"a":{"b":1,"b":2}}"#, "twice"),
            (b"[]", "not a JSON object"),
            (b"", "not JSON"),
            (b"{\"a\":\"\xff\"}", "not JSON"),
        ] {
            let refused = parse_object(bytes).unwrap_err();
            assert!(
                refused.contains(reason),
                "{refused:?} for {}",
                bytes.escape_ascii()
            );
        }
    }
}
