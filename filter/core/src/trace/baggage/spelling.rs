//! The one spelling of a `sentry-` member that all of Sentry's SDKs read alike.
//!
//! ```text
//! sentry-release=shop%401.2      stays as it came
//! sentry-release = "1";p=1       becomes sentry-release=%221%22
//! sentry-%74race_id=771a…        becomes sentry-trace_id=771a…
//! sentry-user-id=1               is left out: in the SDKs for Python and Ruby its key is `user`
//! ```

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::super::dsc::encode;
use super::{Member, PREFIX};

/// The longest member that the SDK for Go reads; a longer one costs it the whole header.
const MAX_BYTES: usize = 4_096;

/// Whether a member is longer than every SDK takes it.
pub(super) fn is_too_long(member: &[u8]) -> bool {
    member.len() > MAX_BYTES
}

/// A `sentry-` member with its key and value decoded, spelled so that all SDKs agree; as it came,
/// if they already do. Escapes that are no UTF-8 become U+FFFD, as the W3C text says.
///
/// `None` if there is no such spelling: a key with a dash is cut there by some, one with a plus
/// sign or an escape is decoded by some. An empty value says nothing to anybody, and stays.
pub(super) fn read<'a>(raw: &'a [u8], key: &[u8], value: &[u8]) -> Option<Member<'a>> {
    let is_clean = value.iter().all(is_allowed);
    // Servers make other text of each byte that is no UTF-8.
    if !is_clean && std::str::from_utf8(value).is_err() {
        return None;
    }
    let (name, is_bare_name) = decode(key.strip_prefix(PREFIX)?);
    let (decoded, is_bare_value) = decode(value);
    // In JavaScript no property of an object can have this name.
    if name.is_empty() || !name.bytes().all(is_plain) || name == "__proto__" {
        return None;
    }
    let has_nothing_else = raw.len() == key.len().saturating_add(value.len()).saturating_add(1);
    let is_encoded = is_clean && (is_bare_value || is_percent_encoded(value));
    let raw = match has_nothing_else && is_bare_name && is_encoded {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(spell(&name, value)),
    };
    Some(Member {
        raw,
        sentry: Some((name, decoded)),
    })
}

/// A decoded text, and whether there was nothing to decode and no broken escape.
fn decode(text: &[u8]) -> (String, bool) {
    let is_bare = !text.contains(&b'%');
    let decoded = match is_bare {
        true => String::from_utf8_lossy(text),
        false => percent_decode(text).decode_utf8_lossy(),
    };
    (decoded.into_owned(), is_bare)
}

/// What a token may consist of (RFC 9110, §5.6.2), but for `-`, `+` and `%`.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What W3C Baggage allows unencoded in a value, but for `=`, at which the SDK for Ruby cuts it.
fn is_allowed(byte: &u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'+' | b'-'..=b':' | b'<' | b'>'..=b'[' | b']'..=b'~')
}

/// Whether each percent sign begins an escape, and the escapes are UTF-8.
fn is_percent_encoded(value: &[u8]) -> bool {
    let is_escape =
        |part: &[u8]| matches!(part, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    let mut escapes = value.split(|byte| *byte == b'%').skip(1);
    escapes.all(is_escape) && percent_decode(value).decode_utf8().is_ok()
}

fn spell(name: &str, value: &[u8]) -> Vec<u8> {
    let mut member = [PREFIX, name.as_bytes(), b"="].concat();
    // A plus sign stays: what it stands for is known to its sender only.
    for (place, part) in value.split(|byte| *byte == b'+').enumerate() {
        if place > 0 {
            member.push(b'+');
        }
        let text = percent_decode(part).decode_utf8_lossy();
        encode(&text, &mut member);
    }
    member
}
