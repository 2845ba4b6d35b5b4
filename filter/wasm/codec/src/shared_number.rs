//! A number in the host's shared data: 8 bytes, little-endian.

/// The number, if the bytes are one.
pub fn read(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The bytes of a number.
pub fn write(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_eight_bytes() {
        assert_eq!(
            read(&write(0x0102_0304_0506_0708)),
            Some(0x0102_0304_0506_0708)
        );
        assert_eq!(write(1), [1, 0, 0, 0, 0, 0, 0, 0]);
        for bytes in [&b""[..], b"1234567", b"123456789"] {
            assert_eq!(read(bytes), None);
        }
    }
}
