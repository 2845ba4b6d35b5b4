//! The `tracestate` header, W3C Trace Context. It belongs to the `traceparent` beside it; we pass
//! it on or drop it, and never write into it.
//!
//! ```text
//! tracestate: vendor=opaque,tenant@system=opaque
//! ```

use crate::headers::trim;

/// The most members a header may have (W3C Trace Context, "Tracestate Header Field Values").
const MAX_MEMBERS: usize = 32;
/// The longest key and the longest value.
const MAX_LENGTH: usize = 256;

/// Whether all lines together are a `tracestate` that may be passed on. One without a member is
/// not.
pub fn is_valid<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut members: usize = 0;
    let valid = lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(trim)
        .filter(|member| !member.is_empty())
        .all(|member| {
            members = members.saturating_add(1);
            members <= MAX_MEMBERS && is_member(member)
        });
    valid && members > 0
}

fn is_member(member: &[u8]) -> bool {
    let mut parts = member.splitn(2, |byte| *byte == b'=');
    match (parts.next(), parts.next()) {
        (Some(key), Some(value)) => is_key(key) && is_value(value),
        _ => false,
    }
}

fn is_key(key: &[u8]) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= MAX_LENGTH
        && key.first().is_some_and(is_start)
        && key
            .iter()
            .all(|byte| is_start(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@'))
}

fn is_value(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len() <= MAX_LENGTH
        && value
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_checked_one_by_one_and_together() {
        let long = "k".repeat(256);
        let rows: [(&[&str], bool); 19] = [
            (&["foo=1"], true),
            (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], true),
            (&["foo=1 \t , \t bar=2, "], true),
            (&["foo=1", ""], true),
            (&["fw529a3039@dt=1"], true),
            (&["0f=a b"], true),
            (&[&format!("{long}={long}")], true),
            (&[], false),
            (&["", " , "], false),
            (&["foo"], false),
            (&["foo="], false),
            (&["foo@=1@=2"], false),
            (&["=1"], false),
            (&["Foo=1"], false),
            (&["foo =1"], false),
            (&["foo=1=2"], false),
            (&["foo=\u{e9}"], false),
            (&[&format!("{long}k=1")], false),
            (&[&format!("k={long}v")], false),
        ];
        for (lines, valid) in rows {
            assert_eq!(
                is_valid(lines.iter().map(|line| line.as_bytes())),
                valid,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn there_are_at_most_32_members_over_all_lines() {
        let line = |count| {
            (0..count)
                .map(|n| format!("k{n}=1"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let (thirty, two, three) = (line(30), line(2), line(3));
        assert!(is_valid([thirty.as_bytes(), two.as_bytes()].into_iter()));
        assert!(!is_valid([thirty.as_bytes(), three.as_bytes()].into_iter()));
    }
}
