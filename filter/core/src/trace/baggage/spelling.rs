//! The one spelling of a `sentry-` member that all of Sentry's SDKs read alike.
//!
//! ```text
//! sentry-release=shop%401.2      stays as it came
//! sentry-release = "1";p=1       becomes sentry-release=%221%22
//! sentry-%74race_id=771a…        becomes sentry-trace_id=771a…
//! sentry-user-id=1               is left out: in the SDKs for Python and Ruby its key is `user`
//! ```

use std::borrow::Cow;

use percent_encoding::{percent_decode, utf8_percent_encode};

use super::super::dsc::ENCODED;
use super::{Member, PREFIX};

/// The longest member that the SDK for Go reads; a longer one costs it the whole header.
const MAX_BYTES: usize = 4_096;

/// Whether a member is longer than every SDK takes it.
pub(super) fn is_too_long(member: &[u8]) -> bool {
    member.len() > MAX_BYTES
}

/// A `sentry-` member with its key and value decoded, spelled so that all SDKs agree; as it came, if
/// they already do. Escapes that are no UTF-8 become U+FFFD, as the W3C text says.
///
/// `None` if there is no such spelling: an empty key or value is absent for some SDKs and a text for
/// others; a key with a dash is cut there by some, one with a plus sign or an escape is decoded by some.
pub(super) fn read<'a>(raw: &'a [u8], key: &[u8], value: &[u8]) -> Option<Member<'a>> {
    let decode = |bytes: &[u8]| percent_decode(bytes).decode_utf8_lossy().into_owned();
    // Servers make other text of each byte that is no UTF-8.
    std::str::from_utf8(value).ok()?;
    let name = decode(key.strip_prefix(PREFIX)?);
    let decoded = decode(value);
    // In JavaScript no property of an object can have this name.
    if name.is_empty() || !name.bytes().all(is_plain) || name == "__proto__" || decoded.is_empty() {
        return None;
    }
    let is_bare = raw.len() == key.len().saturating_add(value.len()).saturating_add(1)
        && key.get(PREFIX.len()..) == Some(name.as_bytes());
    let raw = match is_bare && is_encoded(value) {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(spell(&name, value)),
    };
    Some(Member {
        raw,
        sentry: Some((name, decoded)),
    })
}

/// What a token may consist of (RFC 9110, §5.6.2), but for `-`, `+` and `%`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'*.^_`|~".contains(&byte)
}

/// Whether a value holds only what W3C Baggage allows unencoded, no `=`, at which the SDK for Ruby cuts it, and only
/// escapes that are UTF-8.
fn is_encoded(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\",;\\=".contains(byte);
    let mut parts = value.split(|byte| *byte == b'%');
    let is_text = parts.next().is_some();
    let is_escape =
        |part: &[u8]| matches!(part, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    is_text
        && value.iter().all(is_allowed)
        && parts.all(is_escape)
        && percent_decode(value).decode_utf8().is_ok()
}

fn spell(name: &str, value: &[u8]) -> Vec<u8> {
    let mut member = [PREFIX, name.as_bytes(), b"="].concat();
    // A plus sign stays: what it stands for is known to its sender only.
    for (place, part) in value.split(|byte| *byte == b'+').enumerate() {
        if place > 0 {
            member.push(b'+');
        }
        let text = percent_decode(part).decode_utf8_lossy();
        for part in utf8_percent_encode(&text, ENCODED) {
            member.extend_from_slice(part.as_bytes());
        }
    }
    member
}
