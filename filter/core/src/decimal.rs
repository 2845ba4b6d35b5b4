//! Numbers that arrive or leave as text. The standard library's reader of floats, with its tables,
//! is 11.7 kB of the module, gzipped; serde_json's writer of them is 3 kB.

/// Digits with at most one point, and a digit at least: no sign, no exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'t> {
    /// The digits before the point.
    pub whole: &'t str,
    /// Those behind it.
    pub fraction: &'t str,
}

impl<'t> Decimal<'t> {
    /// Reads a text that is nothing else.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut digits = whole.bytes().chain(fraction.bytes()).peekable();
        digits.peek()?;
        digits
            .all(|byte| byte.is_ascii_digit())
            .then_some(Self { whole, fraction })
    }

    /// The least whole number that is not below it, at most `u64::MAX`.
    pub fn ceil(self) -> u64 {
        let push = |sum: u64, digit: u8| {
            sum.saturating_mul(10)
                .saturating_add(digit.wrapping_sub(b'0').into())
        };
        let whole = self.whole.bytes().fold(0, push);
        let has_more = self.fraction.bytes().any(|digit| digit != b'0');
        whole.saturating_add(has_more.into())
    }
}

/// A number as JSON writes it, `1e-7` among them, and as people do: `.5`, `1.`.
pub fn number(text: &str) -> Option<f64> {
    // Behind an exponent a point is no number's.
    let text = match Decimal::parse(text) {
        Some(_) => text.strip_suffix('.').unwrap_or(text),
        None => text,
    };
    match text.strip_prefix('.') {
        Some(fraction) => json_number(&["0.", fraction].concat()),
        None => json_number(text),
    }
}

/// A number as JSON writes it, without white space around it.
pub fn json_number(text: &str) -> Option<f64> {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    text.bytes().all(is_part).then_some(())?;
    serde_json::from_str::<serde_json::Value>(text)
        .ok()?
        .as_f64()
}

/// A finite number as JSON has it, in its plainest form and without an exponent: with six decimals
/// from 1 on, and with fifteen below, which is more than a rate or a time has. What is too large for
/// that, from 18 trillion on, has no decimals, and nothing is larger than `u64::MAX`. Seconds since
/// the epoch are exact to the microsecond until 2106, as long as a double holds them so.
pub fn text(number: f64) -> String {
    const FINE: (f64, u64, usize) = (1e15, 1_000_000_000_000_000, 15);
    const USUAL: (f64, u64, usize) = (1e6, 1_000_000, 6);
    const COARSE: (f64, u64, usize) = (1.0, 1, 0);
    let size = number.abs();
    let (scale, one, places) = match size {
        _ if size < 1.0 => FINE,
        _ if size < 1.8e13 => USUAL,
        _ => COARSE,
    };
    // Saturates, and rounds half up.
    let steps = (size * scale + 0.5) as u64;
    let mut text = String::with_capacity(24);
    if number < 0.0 {
        text.push('-');
    }
    text.push_str(&steps.checked_div(one).unwrap_or_default().to_string());
    let mut rest = steps.checked_rem(one).unwrap_or_default();
    if rest != 0 {
        text.push('.');
    }
    let mut place = one;
    for _ in 0..places {
        if rest == 0 {
            break;
        }
        place = place.checked_div(10).unwrap_or(1);
        let digit = rest.checked_div(place).unwrap_or_default();
        rest = rest.checked_rem(place).unwrap_or_default();
        text.extend(
            u32::try_from(digit)
                .ok()
                .and_then(|digit| char::from_digit(digit, 10)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_plainly() {
        let rows = [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (0.25, "0.25"),
            (1e-7, "0.0000001"),
            (1.0 / 3.0, "0.333333333333333"),
            (0.999_999_999_999_999_9, "1"),
            (-0.5, "-0.5"),
            (2.5, "2.5"),
            (1_767_225_600.123_456, "1767225600.123456"),
            (12.005, "12.005"),
            (1e15, "1000000000000000"),
            (1e300, "18446744073709551615"),
        ];
        for (number, expected) in rows {
            assert_eq!(text(number), expected, "{number}");
        }
    }

    #[test]
    fn numbers_as_json_and_people_write_them() {
        let rows = [
            ("0", Some(0.0)),
            ("1.0", Some(1.0)),
            ("0.01337", Some(0.01337)),
            (".5", Some(0.5)),
            ("1.", Some(1.0)),
            ("1e-7", Some(1e-7)),
            ("-0.1", Some(-0.1)),
            ("", None),
            (".", None),
            ("..5", None),
            (".5.", None),
            ("0E0.", None),
            (" 1", None),
            ("1\n", None),
            ("nan", None),
            ("inf", None),
            ("0x1", None),
            ("\u{661}", None),
        ];
        for (text, expected) in rows {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_next_whole_number() {
        let rows = [
            ("0", Some(0)),
            ("0060", Some(60)),
            ("60.", Some(60)),
            ("60.000", Some(60)),
            ("60.001", Some(61)),
            (".5", Some(1)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1", None),
            ("1e3", None),
        ];
        for (text, expected) in rows {
            assert_eq!(
                Decimal::parse(text).map(Decimal::ceil),
                expected,
                "{text:?}"
            );
        }
    }

    proptest! {
        /// Times to the microsecond and rates read back as what they were. From 2^32 seconds on a
        /// double's steps are too wide for that.
        #[test]
        fn what_is_written_reads_back(us in 0_u64..(1_000_000 << 32), rate in 0.0..1.0_f64) {
            let seconds = us as f64 / 1e6;
            prop_assert_eq!((json_number(&text(seconds)).unwrap() * 1e6).round() as u64, us);
            prop_assert!((json_number(&text(rate)).unwrap() - rate).abs() <= 1e-15);
        }

        /// What is read here the standard library reads, and alike where a double is exact.
        #[test]
        fn the_standard_library_agrees(text in "[0-9.eE+-]{0,12}") {
            let theirs: Option<f64> = text.parse().ok();
            if let Some(ours) = number(&text) {
                let theirs = theirs.expect("a number");
                prop_assert!((ours - theirs).abs() <= theirs.abs() * f64::EPSILON, "{ours} {theirs}");
            }
            if let Some(ours) = Decimal::parse(&text) {
                prop_assert_eq!(ours.ceil() as f64, theirs.expect("a number").ceil());
            }
        }
    }
}
