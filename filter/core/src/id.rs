//! Trace and span ids: 16 and 8 bytes, never zero, lower-case hex on the wire.

use std::error::Error;
use std::fmt;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseIdError {
    /// Not exactly twice as many hex digits as the id has bytes.
    Malformed,
    /// Only zeros, which stand for "no id" in every format (sentry-protocol.md §1.4).
    Zero,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not as many hex digits as the id has",
            Self::Zero => "an id of zeros",
        })
    }
}

impl Error for ParseIdError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $digits:literal) => {
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

            /// The id in lower-case hex digits.
            pub fn hex(&self) -> Hex<$digits> {
                Hex::new(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.hex().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.hex().as_str())
            }
        }
    };
}

id!(
    /// The 128-bit id that all spans of a trace share.
    TraceId,
    16,
    32
);
id!(
    /// The 64-bit id of one span.
    SpanId,
    8,
    16
);
id!(
    /// The 128-bit id of one event, here of one transaction.
    EventId,
    16,
    32
);

impl EventId {
    /// The id of the event that carries a span. A span is carried by one event only, so its ids
    /// make one that is as random as they are.
    pub fn new(trace_id: TraceId, span_id: SpanId) -> Self {
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

/// Lower-case hex digits, two for each byte. They need no memory of their own: ids are written
/// several times for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex<const DIGITS: usize>([u8; DIGITS]);

impl<const DIGITS: usize> Hex<DIGITS> {
    fn new(bytes: &[u8]) -> Self {
        let mut digits = [b'0'; DIGITS];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(bytes) {
            *pair = [nibble(byte >> 4), nibble(byte & 15)];
        }
        Self(digits)
    }

    /// The digits as a text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The digits as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn nibble(number: u8) -> u8 {
    match number {
        0..10 => number.wrapping_add(b'0'),
        _ => number.wrapping_add(b'a').wrapping_sub(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_and_writes_back_in_lower_case() {
        let id = TraceId::from_hex(b"0123456789ABCDEFfedcba9876543210").unwrap();
        assert_eq!(id.hex().as_bytes(), b"0123456789abcdeffedcba9876543210");
        assert_eq!(id.to_string(), id.hex().as_str());
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
