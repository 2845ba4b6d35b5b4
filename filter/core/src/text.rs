//! Texts are cut to what Relay leaves of them.

use std::borrow::Cow;

/// How long one text may be, in bytes; what is longer is cut and ends in `...`.
pub const MAX_TEXT: usize = 1_024;
/// How long a span's name may be, in bytes (sentry-protocol.md §9.1).
pub const MAX_NAME: usize = 200;

/// A text of at most `max` bytes.
pub fn shortened<'t>(text: impl Into<Cow<'t, str>>, max: usize) -> Cow<'t, str> {
    const ELLIPSIS: &str = "...";
    let text = text.into();
    if text.len() <= max {
        return text;
    }
    let end = text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len()));
    let (head, _) = text.split_at_checked(end).unwrap_or_default();
    Cow::Owned([head, ELLIPSIS].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abc...");
        assert_eq!(shortened("ab\u{1F980}\u{1F980}", 8), "ab...");
    }
}
