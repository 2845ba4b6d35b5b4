//! Trace and span ids: 16 and 8 bytes, never zero, lower-case hex on the wire.

use std::fmt;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseIdError {
    /// Not exactly twice as many hex digits as the id has bytes.
    Malformed,
    /// Only zeros, which stand for "no id" in every format (sentry-protocol.md §1.4).
    Zero,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// An id from random bytes; `None` for zeros.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// Reads hex digits of either case.
            ///
            /// # Errors
            /// Another length, another character, or only zeros.
            pub fn from_hex(text: &[u8]) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                let (pairs, rest) = text.as_chunks::<2>();
                if pairs.len() != bytes.len() || !rest.is_empty() {
                    return Err(ParseIdError::Malformed);
                }
                for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                    *byte = (digit(*high)? << 4) | digit(*low)?;
                }
                Self::from_bytes(bytes).ok_or(ParseIdError::Zero)
            }

            /// The bytes of the id.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Appends the id as lower-case hex.
            pub fn write_hex(&self, out: &mut Vec<u8>) {
                write_hex(&self.0, out);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

id!(
    /// The 128-bit id that all spans of a trace share.
    TraceId,
    16
);
id!(
    /// The 64-bit id of one span.
    SpanId,
    8
);
id!(
    /// The 128-bit id of one event, here of one transaction.
    EventId,
    16
);

impl EventId {
    /// The id of the event that carries a span. A span is carried by one event only, so its ids make one that is as random as they are.
    pub fn of(trace_id: TraceId, span_id: SpanId) -> Self {
        let [_, _, _, _, _, _, _, _, low @ ..] = trace_id.0;
        let (mut bytes, mut from) = ([0; 16], span_id.0.into_iter().chain(low));
        bytes.fill_with(|| from.next().unwrap_or_default());
        // Never zeros, since the span's id is not.
        Self(bytes)
    }
}

fn digit(character: u8) -> Result<u8, ParseIdError> {
    match character {
        b'0'..=b'9' => Ok(character.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(character.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Ok(character.wrapping_sub(b'A').wrapping_add(10)),
        _ => Err(ParseIdError::Malformed),
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let nibble = |n: u8| {
        if n < 10 {
            n.wrapping_add(b'0')
        } else {
            n.wrapping_add(b'a').wrapping_sub(10)
        }
    };
    for byte in bytes {
        out.push(nibble(byte >> 4));
        out.push(nibble(byte & 15));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_and_writes_back_in_lower_case() {
        let id = TraceId::from_hex(b"0123456789ABCDEFfedcba9876543210").unwrap();
        let mut hex = Vec::new();
        id.write_hex(&mut hex);
        assert_eq!(hex, b"0123456789abcdeffedcba9876543210");
        assert_eq!(id.to_string().as_bytes(), hex);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        let rows: [(&[u8], ParseIdError); 6] = [
            (b"", ParseIdError::Malformed),
            (b"0123456789abcde", ParseIdError::Malformed),
            (b"0123456789abcdef0", ParseIdError::Malformed),
            (b"0123456789abcdeg", ParseIdError::Malformed),
            // The integer parsers of the standard library would take the sign.
            (b"+123456789abcdef", ParseIdError::Malformed),
            (b"0000000000000000", ParseIdError::Zero),
        ];
        for (text, error) in rows {
            assert_eq!(SpanId::from_hex(text), Err(error), "{text:?}");
        }
    }
}
