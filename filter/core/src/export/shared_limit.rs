//! A limit as workers tell it to each other: one number in the host's shared data.
//!
//! It says until when and for how long, both by the host's clock. From one without the other nobody
//! could tell a long limit from one that was said before the clock was set back.

use crate::host::HostError;

/// How many bits say for how many seconds: enough for a day.
const BITS: u32 = 17;
/// No limit lasts longer, in seconds.
const MAX_S: u64 = 24 * 60 * 60;
/// How often a shared number is set anew when another worker was faster.
const MAX_TRIES: u32 = 4;
const NS_PER_MS: u64 = 1_000_000;
const MS_PER_S: u64 = 1_000;

/// A number that all workers share.
pub trait SharedNumber {
    /// The number, and which of its versions that is; `None` if nobody has set it.
    ///
    /// # Errors
    /// The host refused.
    fn get(&mut self) -> Result<Option<(u64, u32)>, HostError>;

    /// Sets it, unless it has another version by now: `false`. Version 0 is any.
    ///
    /// # Errors
    /// The host refused.
    fn set(&mut self, number: u64, version: u32) -> Result<bool, HostError>;
}

/// A limit that a receiver has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedLimit(u64);

impl SharedLimit {
    /// One that was said now, for so many seconds.
    pub fn new(now_ns: u64, seconds: u64) -> Self {
        let now_ms = now_ns.checked_div(NS_PER_MS).unwrap_or_default();
        let until_ms = now_ms.saturating_add(seconds.saturating_mul(MS_PER_S));
        Self(until_ms.wrapping_shl(BITS) | seconds.min(mask()))
    }

    /// One that another worker has told.
    pub fn told(number: u64) -> Self {
        Self(number)
    }

    /// The number to tell.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Tells the other workers, unless one of them knows of a longer limit.
    ///
    /// # Errors
    /// The host refused.
    pub fn publish(self, shared: &mut dyn SharedNumber) -> Result<(), HostError> {
        for _ in 0..MAX_TRIES {
            let (known, version) = shared.get()?.unwrap_or_default();
            if !self.outlasts(Self::told(known)) || shared.set(self.number(), version)? {
                break;
            }
            // Another worker was faster.
        }
        Ok(())
    }

    /// How long it still lasts, in nanoseconds: 0 if it is over, and if it is yet to be said, since
    /// then the clock was set back.
    pub fn left_ns(self, now_ns: u64) -> u64 {
        let now_ms = now_ns.checked_div(NS_PER_MS).unwrap_or_default();
        let left_ms = self.until_ms().saturating_sub(now_ms);
        match left_ms > self.ms() {
            true => 0,
            false => left_ms.saturating_mul(NS_PER_MS),
        }
    }

    /// Whether it lasts longer than another one that is known. One from before the clock was set
    /// back is not known.
    pub fn outlasts(self, known: Self) -> bool {
        let said_ms = self.until_ms().saturating_sub(self.ms());
        let known_left_ns = known.left_ns(said_ms.saturating_mul(NS_PER_MS));
        known_left_ns < self.ms().saturating_mul(NS_PER_MS)
    }

    fn until_ms(self) -> u64 {
        self.0.wrapping_shr(BITS)
    }

    fn ms(self) -> u64 {
        (self.0 & mask()).min(MAX_S).saturating_mul(MS_PER_S)
    }
}

const fn mask() -> u64 {
    1_u64.wrapping_shl(BITS).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_PER_S: u64 = 1_000_000_000;
    const NOW_NS: u64 = 1_787_306_400 * NS_PER_S;

    #[test]
    fn a_limit_lasts_as_long_as_was_said() {
        for seconds in [1, 60, 24 * 60 * 60] {
            let limit = SharedLimit::told(SharedLimit::new(NOW_NS, seconds).number());
            assert_eq!(limit.left_ns(NOW_NS), seconds * NS_PER_S);
            let later_ns = NOW_NS + seconds * NS_PER_S;
            assert_eq!(limit.left_ns(later_ns - NS_PER_MS), NS_PER_MS);
            for over_ns in [later_ns, later_ns + NS_PER_S, u64::MAX] {
                assert_eq!(limit.left_ns(over_ns), 0, "set forward, or over");
            }
            for back_ns in [NOW_NS - NS_PER_S, NOW_NS / 2, 0] {
                assert_eq!(limit.left_ns(back_ns), 0, "set back");
            }
        }
    }

    #[test]
    fn the_longer_one_is_told_unless_the_clock_was_set_back() {
        let of = |now_s: u64, seconds| SharedLimit::new(now_s * NS_PER_S, seconds);
        for (known, new, outlasts) in [
            (of(100, 60), of(100, 61), true),
            (of(100, 60), of(100, 60), false),
            (of(100, 60), of(150, 20), true),
            (of(100, 60), of(150, 5), false),
            (of(100, 60), of(200, 1), true),
            // An hour was said before the clock was set back by hours.
            (of(90_000, 3_600), of(100, 1), true),
            (SharedLimit::told(0), of(100, 1), true),
            (SharedLimit::told(u64::MAX), of(100, 1), true),
        ] {
            assert_eq!(new.outlasts(known), outlasts, "{known:?} {new:?}");
        }
    }

    #[test]
    fn a_number_that_no_worker_tells_limits_nothing_for_longer_than_a_day() {
        for number in [0, 1, u64::MAX, NOW_NS, NOW_NS << 4] {
            let left_ns = SharedLimit::told(number).left_ns(NOW_NS);
            assert!(left_ns <= MAX_S * NS_PER_S, "{number}");
        }
    }
}
