//! Header maps: lines of bytes in order, and the form in which they cross the ABI.
//!
//! ```text
//! u32 number of lines | each u32 length of name, u32 of value | each name, NUL, value, NUL
//! ```
//!
//! All numbers are little-endian.

use std::fmt;

/// Lines of a header or trailer map, in order. Names and values are bytes, as on the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap {
    lines: Vec<(Vec<u8>, Vec<u8>)>,
}

impl HeaderMap {
    /// A map without lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same map with one more line.
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.add(name, value);
        self
    }

    /// Adds a line at the end.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.lines
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
    }

    /// Leaves exactly one line of that name, as Envoy's `setCopy` does.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Changes the value of the line of that name where it stands.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let line = self.lines.iter_mut().find(|(own, _)| own == name);
        line.expect("a line of that name").1 = value.to_vec();
    }

    /// Drops all lines of that name.
    pub fn remove(&mut self, name: &[u8]) {
        self.lines
            .retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }

    /// The values of all lines of that name, in order.
    pub fn values(&self, name: impl AsRef<[u8]>) -> Vec<&[u8]> {
        let name = name.as_ref();
        self.lines
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    /// The value of the only line of that name, as text. Panics on none, several or other bytes
    /// than UTF-8.
    pub fn only(&self, name: &str) -> &str {
        match self.values(name)[..] {
            [value] => std::str::from_utf8(value).expect("a header value in UTF-8"),
            _ => panic!("not exactly one {name} in {self:?}"),
        }
    }

    /// The map without the lines of these names: what is left must be what came.
    pub fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        for name in names {
            rest.remove(name.as_bytes());
        }
        rest
    }

    /// All lines, in order.
    pub fn lines(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.lines
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The ABI's form. An empty map is an empty value there, not a zero count.
    pub fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut bytes = word(self.lines.len()).to_vec();
        for (name, value) in &self.lines {
            bytes.extend(word(name.len()));
            bytes.extend(word(value.len()));
        }
        for (name, value) in &self.lines {
            bytes.extend(name);
            bytes.push(0);
            bytes.extend(value);
            bytes.push(0);
        }
        bytes
    }

    /// Reads the ABI's form. As in Envoy, a wrong shape reads as an empty map.
    pub fn decode(bytes: &[u8]) -> Self {
        Self::decode_strict(bytes).unwrap_or_default()
    }

    fn decode_strict(bytes: &[u8]) -> Option<Self> {
        let (count, mut sizes) = split_word(bytes)?;
        let mut texts = sizes.get(count.checked_mul(8)?..)?;
        let mut map = Self::new();
        for _ in 0..count {
            let (name_len, rest) = split_word(sizes)?;
            let (value_len, rest) = split_word(rest)?;
            sizes = rest;
            let (name, rest) = split_text(texts, name_len)?;
            let (value, rest) = split_text(rest, value_len)?;
            texts = rest;
            map.add(name, value);
        }
        texts.is_empty().then_some(map)
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.lines
                    .iter()
                    .map(|(name, value)| (text(name), text(value))),
            )
            .finish()
    }
}

/// Bytes for a message: as text, cut when long.
pub fn text(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut text = shown.escape_ascii().to_string();
    if shown.len() < bytes.len() {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

fn word(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("a length below 4 GiB")
        .to_le_bytes()
}

fn split_word(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word) as usize, rest))
}

/// Takes `len` bytes and the NUL behind them.
fn split_text(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((text, rest.strip_prefix(&[0])?))
}

#[cfg(test)]
mod tests {
    use super::HeaderMap;

    #[test]
    fn what_is_encoded_decodes_to_the_same_lines() {
        let map = HeaderMap::new()
            .with("a", "1")
            .with("", "")
            .with("a", b"\xff\x00");
        assert_eq!(HeaderMap::decode(&map.encode()), map);
        assert_eq!(
            HeaderMap::new().with("k", "vv").encode(),
            b"\x01\0\0\0\x01\0\0\0\x02\0\0\0k\0vv\0"
        );
    }

    #[test]
    fn a_wrong_shape_reads_as_an_empty_map() {
        let good = HeaderMap::new().with("name", "value").encode();
        for len in 0..good.len() {
            assert!(HeaderMap::decode(&good[..len]).is_empty(), "cut at {len}");
        }
        assert!(HeaderMap::decode(&[good, vec![0]].concat()).is_empty());
        assert!(HeaderMap::decode(b"\xff\xff\xff\xff\0\0\0\0").is_empty());
    }
}
