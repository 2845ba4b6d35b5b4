//! Protobuf messages, as far as OTLP and Envoy's `Struct` need them. What is written has its fields
//! in ascending order, those with their default value left out; what is read may have them in any.
//!
//! ```text
//! 0a 03 61 62 63     field 1, 3 bytes: a text, bytes or a message
//! 10 96 01           field 2: the number 150
//! 39 …8 bytes…       field 7: a fixed 64-bit number or a double
//! 85 01 …4 bytes…    field 16: a fixed 32-bit number
//! ```
//! Measured in the optimized module: the encoder of [`crate::envelope::otlp`] with this adds 3,631
//! bytes (1,655 gzipped); with types derived by prost 11,191 (4,537), which would be more than half
//! of what the budget has left, for a format of which a handful of messages is used.

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// A message that is being written. Those inside of it are written in their place, so that nothing
/// is copied together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message that begins behind what is in a buffer.
    pub fn behind(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Text or bytes; also if there are none.
    pub fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.header(field, value.len());
        self.0.extend_from_slice(value);
        self
    }

    /// Another message.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.tag(field, LENGTH);
        let start = self.0.len();
        write(self);
        let end = self.0.len();
        // The length is known behind the message, and belongs in front of it.
        self.varint(end.saturating_sub(start) as u64);
        let len = self.0.len().saturating_sub(end);
        if let Some(written) = self.0.get_mut(start..) {
            written.rotate_right(len);
        }
        self
    }

    /// A number of any type that is written as a varint; negative ones as two's complement.
    pub fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.tag(field, VARINT);
        self.varint(value as u64);
        self
    }

    /// A fixed 64-bit number.
    pub fn fixed64(&mut self, field: u32, value: u64) -> &mut Self {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A message with a text or bytes (field 1) and a message (field 2) that has only one field,
    /// which is appended behind it and has this length: the entry of a map.
    pub fn entry(&mut self, field: u32, key: &[u8], value_len: usize) -> &mut Self {
        let len = bytes_len(key.len()).saturating_add(bytes_len(value_len));
        self.0.reserve(bytes_len(len));
        if let (Some(tag), Ok(len @ ..=0x7f)) = (short(field, LENGTH), u8::try_from(len)) {
            // What is in it is shorter still.
            let (key_len, value_len) = (key.len() as u8, value_len as u8);
            self.0.extend_from_slice(&[tag, len, 0x0a, key_len]);
            self.0.extend_from_slice(key);
            self.0.extend_from_slice(&[0x12, value_len]);
            return self;
        }
        self.header(field, len).bytes(1, key).header(2, value_len)
    }

    /// A double.
    pub fn double(&mut self, field: u32, value: f64) -> &mut Self {
        self.fixed64(field, value.to_bits())
    }

    /// A fixed 32-bit number.
    pub fn fixed32(&mut self, field: u32, value: u32) -> &mut Self {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// The head of a field of a length, for what follows to be appended to the message's bytes.
    pub fn header(&mut self, field: u32, len: usize) -> &mut Self {
        // Nearly all of them are two bytes, and are written as such.
        match (short(field, LENGTH), u8::try_from(len)) {
            (Some(tag), Ok(len @ ..=0x7f)) => self.0.extend_from_slice(&[tag, len]),
            _ => {
                self.tag(field, LENGTH);
                self.varint(len as u64);
            }
        }
        self
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from((field << 3) | wire));
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// How many bytes [`Message::bytes`] writes, for fields below 16: the tag, the length and the
/// value.
pub fn bytes_len(len: usize) -> usize {
    varint_len(len as u64).saturating_add(len).saturating_add(1)
}

/// How many bytes [`Message::number`] writes, for fields below 16.
pub fn number_len(value: i64) -> usize {
    varint_len(value as u64).saturating_add(1)
}

/// A tag that is one byte.
fn short(field: u32, wire: u32) -> Option<u8> {
    match field {
        0..=15 => u8::try_from((field << 3) | wire).ok(),
        _ => None,
    }
}

fn varint_len(value: u64) -> usize {
    if value <= 0x7f {
        return 1;
    }
    // Seven bits a byte, and one byte for nothing.
    let bits = u64::BITS.saturating_sub((value | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// The value of a field on the wire.
#[derive(Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// A number of any type that is written as a varint.
    Varint(u64),
    /// A fixed 64-bit number, or the bits of a double.
    Fixed64(u64),
    /// Text, bytes, or another message.
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number; `None`, and nothing after it, where the bytes are
/// none.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    /// Those of the message that these bytes are.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Wire::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf's own page on its encoding, and the ends of each type.
    #[test]
    fn fields_are_written_as_protobuf_describes_them() {
        type Write = fn(&mut Message) -> &mut Message;
        let rows: [(Write, &[u8]); 8] = [
            (|m| m.number(1, 150), b"\x08\x96\x01"),
            (|m| m.number(1, 0), b"\x08\x00"),
            (
                |m| m.number(1, -2),
                b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            ),
            (|m| m.bytes(2, b"testing"), b"\x12\x07testing"),
            (|m| m.bytes(2, b""), b"\x12\x00"),
            (|m| m.fixed64(7, 1), b"\x39\x01\0\0\0\0\0\0\0"),
            (|m| m.double(4, 1.0), b"\x21\0\0\0\0\0\0\xf0\x3f"),
            (|m| m.fixed32(16, 0x301), b"\x85\x01\x01\x03\0\0"),
        ];
        for (write, bytes) in rows {
            let mut message = Message::default();
            write(&mut message);
            assert_eq!(message.into_bytes(), bytes);
        }
        let mut outer = Message::behind(b"before".to_vec());
        outer.message(3, |inner| {
            inner.number(1, 150);
        });
        assert_eq!(outer.into_bytes(), b"before\x1a\x03\x08\x96\x01");
    }

    #[test]
    fn the_length_of_a_message_stands_in_front_of_it_and_is_known_before() {
        for len in [0, 1, 127, 128, 300, 16_383, 16_384] {
            let text = vec![b'x'; len];
            let mut outer = Message::default();
            outer.message(2, |inner| {
                inner.bytes(1, &text).number(3, len as i64);
            });
            let bytes = outer.into_bytes();
            let inner = bytes_len(len).saturating_add(number_len(len as i64));
            assert_eq!(bytes.len(), bytes_len(inner), "{len}");
            let read: Option<Vec<_>> = Fields::new(&bytes).collect();
            let [(2, Wire::Bytes(message))] = read.as_deref().unwrap() else {
                panic!("{read:?}");
            };
            let fields: Option<Vec<_>> = Fields::new(message).collect();
            let expected = vec![(1, Wire::Bytes(&text)), (3, Wire::Varint(len as u64))];
            assert_eq!(fields, Some(expected), "{len}");
        }
    }

    #[test]
    fn an_entry_is_a_message_of_a_key_and_a_value() {
        for (key_len, text_len) in [
            (0, 0),
            (4, 3),
            (4, 115),
            (4, 117),
            (4, 118),
            (130, 1),
            (9, 400),
        ] {
            let (key, text) = (vec![b'k'; key_len], vec![b't'; text_len]);
            let (mut entry, mut same) = (Message::default(), Message::default());
            entry.entry(9, &key, bytes_len(text_len)).bytes(1, &text);
            same.message(9, |entry| {
                entry.bytes(1, &key).message(2, |value| {
                    value.bytes(1, &text);
                });
            });
            assert_eq!(entry, same, "{key_len} {text_len}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut message = Message::default();
        message.number(1, 150).bytes(2, b"text").double(4, 1.0);
        let bytes = message.into_bytes();
        let read: Option<Vec<_>> = Fields::new(&bytes).collect();
        let expected = vec![
            (1, Wire::Varint(150)),
            (2, Wire::Bytes(b"text")),
            (4, Wire::Fixed64(1.0_f64.to_bits())),
        ];
        assert_eq!(read, Some(expected));
        let cut = bytes.split_last().unwrap().1;
        assert_eq!(Fields::new(cut).last(), Some(None));
    }
}
