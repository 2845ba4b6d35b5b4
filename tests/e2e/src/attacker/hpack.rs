//! Header blocks (RFC 7541), written without Huffman codes.

/// The first entry of the dynamic table, as a line (section 6.1): 62, after the static ones.
const NEWEST: u8 = 0x80 | 62;

/// A header block.
#[derive(Clone, Debug, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// Nothing yet: also what trailers begin with.
    pub fn new() -> Self {
        Self::default()
    }

    /// A `GET` of that path.
    pub fn get(path: &str) -> Self {
        Self::request("GET", path, "gateway.test")
    }

    /// A request without further lines.
    pub fn request(method: &str, path: &str, authority: &str) -> Self {
        Self::new()
            .line(":method", method)
            .line(":scheme", "http")
            .line(":authority", authority)
            .line(":path", path)
    }

    /// One more line, which the receiver's table does not keep.
    pub fn line(self, name: &str, value: &str) -> Self {
        self.literal(0x00, name, value)
    }

    /// One more line, which the receiver's table keeps: it must fit there.
    pub fn kept_line(self, name: &str, value: &str) -> Self {
        self.literal(0x40, name, value)
    }

    /// The line that the receiver's table keeps, so many times: a byte each.
    pub fn again(mut self, times: usize) -> Self {
        self.0.resize(self.0.len() + times, NEWEST);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn literal(mut self, kind: u8, name: &str, value: &str) -> Self {
        self.0.push(kind);
        for text in [name, value] {
            self.length(text.len());
            self.0.extend_from_slice(text.as_bytes());
        }
        self
    }

    /// A length of 7 bits and more (section 5.1).
    fn length(&mut self, length: usize) {
        let Some(mut rest) = length.checked_sub(0x7f) else {
            return self.0.push(length as u8);
        };
        self.0.push(0x7f);
        while rest >= 0x80 {
            self.0.push((rest % 0x80) as u8 | 0x80);
            rest /= 0x80;
        }
        self.0.push(rest as u8);
    }
}

/// Whether an answer's block begins with `:status: 200`, after a change of the table's size.
pub(super) fn is_200(block: &[u8]) -> bool {
    let is_size = |byte: &&u8| **byte & 0xe0 == 0x20;
    block.iter().find(|byte| !is_size(byte)) == Some(&0x88)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_the_rfc() {
        let mut block = Block::new();
        for length in [10, 126, 127, 1_337] {
            block.length(length);
        }
        // 1337 with a prefix of 7 bits: 127, then 1210 as 0b1001_1010 and 0b1001.
        let expected = [10, 126, 0x7f, 0, 0x7f, 0xba, 0x09];
        assert_eq!(block.as_bytes(), expected);
    }

    #[test]
    fn a_line_again_is_a_byte() {
        let block = Block::new().kept_line("a", "b").again(2);
        assert_eq!(block.as_bytes(), b"\x40\x01a\x01b\xbe\xbe");
    }

    #[test]
    fn the_status_is_looked_for_behind_the_tables_size() {
        assert!(is_200(&[0x20, 0x88, 0x0f]));
        assert!(!is_200(&[0x08, 0x03, b'5', b'0', b'3']));
    }
}
