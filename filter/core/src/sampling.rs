//! Rates, the number they are compared with, and who decides: sentry-protocol.md §3.

use std::borrow::Cow;
use std::fmt;

use super::id::TraceId;
use crate::decimal::{number, text, Decimal};

/// How many steps a [`SampleRand`] can have: six digits after the point.
const STEPS: u32 = 1_000_000;

/// The share of traces that are sampled, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct SampleRate(f64);

impl SampleRate {
    /// Nothing is sampled.
    pub const ZERO: Self = Self(0.0);

    /// A rate; `None` outside `0..=1` or for something that is not a number.
    pub fn new(rate: f64) -> Option<Self> {
        // Adding zero turns -0, which would be written as `-0`, into 0.
        (0.0..=1.0).contains(&rate).then_some(Self(rate + 0.0))
    }

    /// A rate that arrives as text; `None` as above, and for anything that is no number.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(number(text)?)
    }

    /// The rate as a text.
    pub fn text(self) -> Cow<'static, str> {
        match self.0 {
            rate if rate >= 1.0 => "1".into(),
            rate if rate <= 0.0 => "0".into(),
            rate => text(rate).into(),
        }
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A decision as the word for it.
pub fn bool_str(sampled: bool) -> &'static str {
    match sampled {
        true => "true",
        false => "false",
    }
}

/// The number in `[0, 1)` with six digits that is one for a whole trace, so that the same rate
/// decides alike in every service (§3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleRand(u32);

impl SampleRand {
    /// The largest there is: sampled at no rate but 1.
    pub const MAX: Self = Self(STEPS - 1);

    /// The number of a trace that has none: derived from its id, so that a retried request gets the
    /// same answer.
    pub fn from_trace_id(trace_id: TraceId) -> Self {
        let [_, _, _, _, _, _, _, _, low @ ..] = *trace_id.as_bytes();
        Self::from_random(low)
    }

    /// A number from random bytes.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        // The upper half of the product is `bytes * STEPS / 2^64`: uniform, rounded down, never
        // STEPS.
        let product = u128::from(u64::from_be_bytes(bytes)).wrapping_mul(u128::from(STEPS));
        Self(u32::try_from(product >> 64).unwrap_or(0))
    }

    /// Reads `sentry-sample_rand`: a decimal number in
    /// `[0, 1)` with any number of digits, of which six count. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let Decimal { whole, fraction } = Decimal::parse(text)?;
        if whole.bytes().any(|digit| digit != b'0') {
            return None;
        }
        let steps = fraction
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(6)
            .fold(0_u32, |sum, digit| {
                sum.saturating_mul(10)
                    .saturating_add(u32::from(digit.wrapping_sub(b'0')))
            });
        Some(Self(steps))
    }

    /// The number as a text: six digits after the point.
    pub fn ascii(self) -> [u8; 8] {
        const PLACES: [u32; 6] = [100_000, 10_000, 1_000, 100, 10, 1];
        let digit = |place| u8::try_from(self.0.div_euclid(place).rem_euclid(10)).unwrap_or(0);
        let [a, b, c, d, e, f] = PLACES.map(|place| b'0'.saturating_add(digit(place)));
        [b'0', b'.', a, b, c, d, e, f]
    }

    /// The same.
    pub fn text(self) -> String {
        self.ascii().into_iter().map(char::from).collect()
    }

    /// Whether a trace with this number is sampled at a rate.
    pub fn is_sampled_at(self, rate: SampleRate) -> bool {
        f64::from(self.0) / f64::from(STEPS) < rate.0
    }
}

impl fmt::Display for SampleRand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_trace_never_reaches_one() {
        let rand =
            |hex: &[u8]| SampleRand::from_trace_id(TraceId::from_hex(hex).unwrap()).to_string();
        assert_eq!(rand(b"ffffffffffffffffffffffffffffffff"), "0.999999");
        assert_eq!(rand(b"ffffffffffffffff0000000000000001"), "0.000000");
        assert_eq!(rand(b"00000000000000008000000000000000"), "0.500000");
    }

    #[test]
    fn a_number_that_arrives_is_cut_to_six_digits() {
        let rows = [
            ("0", Some("0.000000")),
            ("0.42", Some("0.420000")),
            ("0.9999999999", Some("0.999999")),
            ("1", None),
            ("1.0", None),
            ("-0.1", None),
            ("1e-3", None),
            ("foo", None),
            ("", None),
            (".", None),
        ];
        for (text, expected) in rows {
            let parsed = SampleRand::parse(text).map(|rand| rand.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn rates_outside_zero_to_one_do_not_exist() {
        for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(SampleRate::new(rate), None);
        }
        let written = |rate| SampleRate::new(rate).unwrap().to_string();
        assert_eq!(
            [written(-0.0), written(1.0), written(0.000_000_1)],
            ["0", "1", "0.0000001"]
        );
    }
}
