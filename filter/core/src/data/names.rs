//! What the name of a value, or the value itself, says about it: whether it may be a secret.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Parts of names whose values never leave, compared without case: Sentry's list, with `cookie` of
/// its SDK for JavaScript and `symfony` of the one for Python, and with what signed URLs and
/// certificates have. They also hit harmless names, which is meant to be so.
const SENSITIVE: &str = "auth token secret password passwd pwd key jwt bearer sso saml csrf xsrf \
    credential session sid identity cookie symfony passphrase signature cert";
/// How long the name of a parameter may be; what is longer is no name.
const MAX_PARAMETER: usize = 64;
/// How many times a value may be percent-encoded and still be understood.
const MAX_ENCODED: usize = 3;

// The functions below are called from many places: inlined into each they are 2 kB more.

/// Calls back with every part of a text and the separator behind it, which is empty at the end.
/// Separators are ASCII characters.
#[inline(never)]
pub(crate) fn each(text: &str, separators: &[u8], part: &mut dyn FnMut(&str, &str)) {
    let mut rest = text;
    loop {
        let (before, behind) = cut(rest, separators);
        let (separator, more) = behind.split_at_checked(1).unwrap_or_default();
        part(before, separator);
        if separator.is_empty() {
            return;
        }
        rest = more;
    }
}

/// Whether a word is one of those between commas and spaces.
pub(crate) fn has_word(words: &str, wanted: &str) -> bool {
    let mut has = false;
    each(words, b", ", &mut |word, _| has |= word == wanted);
    has
}

/// A text up to the first of some ASCII characters, and from there on.
#[inline(never)]
pub(crate) fn cut<'t>(text: &'t str, separators: &[u8]) -> (&'t str, &'t str) {
    let at = text.bytes().position(|byte| separators.contains(&byte));
    text.split_at_checked(at.unwrap_or(text.len()))
        .unwrap_or_default()
}

/// A text up to the last of some ASCII characters, and behind it, if it is there.
#[inline(never)]
pub(super) fn cut_last<'t>(text: &'t str, separators: &[u8]) -> (&'t str, Option<&'t str>) {
    let at = text.bytes().rposition(|byte| separators.contains(&byte));
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (text, None),
    }
}

#[inline(never)]
pub(super) fn has(text: &str, bytes: &[u8]) -> bool {
    text.bytes().any(|byte| bytes.contains(&byte))
}

/// Whether a name is one whose value must not leave; `more` are further parts of such names.
#[inline(never)]
pub(super) fn is_sensitive(name: &str, more: &str) -> bool {
    let name = decoded(name).to_ascii_lowercase();
    // Names that are too short to be looked for as parts.
    matches!(name.as_str(), "sig" | "pass" | "pin" | "otp" | "hmac")
        || has_part(&name, SENSITIVE)
        || has_part(&name, more)
}

/// Whether one of some words is a part of a name.
#[inline(never)]
pub(super) fn has_part(name: &str, words: &str) -> bool {
    let mut has_part = false;
    each(words, b" ", &mut |word, _| {
        has_part |= !word.is_empty() && name.contains(word)
    });
    has_part
}

/// Whether a value has names of its own, and a sensitive one among them, or credentials: it is a
/// URL, a form, a list or JSON. `ends` are the characters that end a name.
#[inline(never)]
pub(super) fn hides_secret(value: &str, ends: &[u8]) -> bool {
    if !has(value, b"=:%@<") {
        return false;
    }
    let value = decoded(value);
    if has(&value, b"{<") || value.contains("\":") {
        return is_sensitive(&value, "");
    }
    let (mut is_secret, mut slashes) = (false, 0_u8);
    each(&value, b"&;?#,/ ", &mut |part, separator| {
        // The name is all in front of the last of them.
        let (name, value) = cut_last(part, ends);
        let name = value.map_or("", |_| name);
        is_secret |= is_sensitive(name, "") || (slashes > 1 && has(part, b"@"));
        slashes = match (part, separator) {
            ("", "/") => slashes.saturating_add(1),
            (_, "/") => 1,
            _ => 0,
        };
    });
    is_secret
}

/// Whether the text in front of `=` is a name, and not a value that has such a character in it.
pub(super) fn is_name(name: &str) -> bool {
    let is_short = (1..=MAX_PARAMETER).contains(&name.len());
    is_short && !has(&decoded(name), b"=&;?#/\"{<")
}

/// Whether what seems to be the end of a name is the padding of Base64. A single `=` is one only
/// behind as many characters as Base64 has, and as few names do.
pub(super) fn is_padding(parameter: &str, value: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    let is_long = parameter.len() >= 16 && parameter.len().is_multiple_of(4);
    match value {
        "" => is_long && parameter.bytes().all(is_digit),
        _ => value.bytes().all(|byte| byte == b'='),
    }
}

/// A text without its percent-encoding, however often it was encoded.
#[inline(never)]
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_ENCODED {
        if !text.contains('%') {
            break;
        }
        let next = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        text = Cow::Owned(next);
    }
    text
}
