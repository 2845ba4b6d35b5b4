//! A header map, as the ABI serialises it:
//!
//! ```text
//! count         u32, little-endian
//! the lengths   of each name and value, u32 each
//! the lines     each name and each value, followed by a NUL
//! ```

use sentry_filter_core::headers::{Headers, Line};

/// The buffer does not have the form that the ABI describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHeaderMap;

impl std::fmt::Display for MalformedHeaderMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a header map that is shorter than its own lengths say")
    }
}

impl std::error::Error for MalformedHeaderMap {}

/// Reads a map. The values are not copied. An empty buffer is an empty map.
///
/// # Errors
/// A buffer that is shorter than its own lengths say.
pub fn read(buffer: Vec<u8>) -> Result<Headers, MalformedHeaderMap> {
    let lines = read_lines(&buffer).ok_or(MalformedHeaderMap)?;
    Ok(Headers::from_lines(buffer, lines))
}

fn read_lines(buffer: &[u8]) -> Option<Vec<Line>> {
    if buffer.is_empty() {
        return Some(Vec::new());
    }
    let (count, mut lengths) = read_u32(buffer)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    // Checked before anything is allocated: a count that lies asks for no memory.
    if at > buffer.len() {
        return None;
    }
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_length, rest) = read_u32(lengths)?;
        let (value_length, rest) = read_u32(rest)?;
        lengths = rest;
        let name = at..at.checked_add(name_length)?;
        let value_start = name.end.checked_add(1)?;
        let value = value_start..value_start.checked_add(value_length)?;
        at = value.end.checked_add(1)?;
        if value.end > buffer.len() {
            return None;
        }
        lines.push(Line { name, value });
    }
    Some(lines)
}

fn read_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Writes pairs in the form that [`read`] reads.
pub fn write<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend_from_slice(&length(pairs.clone().count()));
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(&length(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&[u8], &[u8]); 3] = [
        (b"baggage", b"a=b"),
        (b"x-bytes", b"\xff\xfe"),
        (b"Baggage", b""),
    ];

    #[test]
    fn a_map_reads_back_with_its_bytes_and_order() {
        let headers = read(write(PAIRS.into_iter())).unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), PAIRS);
    }

    #[test]
    fn every_truncated_map_is_refused() {
        let whole = write(PAIRS.into_iter());
        // The last NUL is the only byte that can go missing without losing a value.
        for end in 1..whole.len() - 1 {
            assert_eq!(
                read(whole[..end].to_vec()),
                Err(MalformedHeaderMap),
                "{end} bytes"
            );
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_before_memory_is_asked_for() {
        let lies: [&[u8]; 3] = [
            &[0xff; 4],
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, b'a'],
            &[1, 0, 0],
        ];
        for lie in lies {
            assert_eq!(read(lie.to_vec()), Err(MalformedHeaderMap));
        }
    }
}
