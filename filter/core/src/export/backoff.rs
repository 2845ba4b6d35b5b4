//! How long to wait before the next POST when the last ones failed. Times are those of
//! `crate::clock::Clock`, which are never set back.
//!
//! | what happened | the pause | ends early with a POST that is taken |
//! |---|---|---|
//! | it did not arrive | twice as long each time, up to a minute, random for each worker | yes |
//! | the receiver refused 16 in a row, none taken between them | a flush interval | yes |
//! | 429, whatever it says | a flush interval, and at least a second | no |

/// No wait is longer, in nanoseconds.
const MAX_NS: u64 = 60_000_000_000;
/// How often the wait doubles, at most: beyond the longest one from the shortest interval.
const MAX_DOUBLINGS: u32 = 16;
/// The shortest pause after a 429, in nanoseconds.
const MIN_AFTER_429_NS: u64 = 1_000_000_000;
/// How many POSTs in a row may be refused without a pause.
const MAX_REFUSALS: u32 = 16;

const NS_PER_MS: u64 = 1_000_000;

/// The state of the tries.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The first wait, in nanoseconds.
    interval_ns: u64,
    failures: u32,
    refusals: u32,
    until_ns: u64,
    after_429_ns: u64,
}

impl Backoff {
    /// Nothing has failed yet. The first wait is a flush interval.
    pub(super) fn new(flush_interval_ms: u32) -> Self {
        Self {
            interval_ns: u64::from(flush_interval_ms).saturating_mul(NS_PER_MS),
            failures: 0,
            refusals: 0,
            until_ns: 0,
            after_429_ns: 0,
        }
    }

    /// Whether it is time for another try.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns.max(self.after_429_ns)
    }

    /// A try has not arrived. The wait is between half and all of what the number of failures makes
    /// it. Tries that were under way together are one.
    pub(super) fn failed(&mut self, now_ns: u64, random: u64) {
        if !self.is_over(now_ns) {
            return;
        }
        let doubled = 1_u64
            .checked_shl(self.failures.min(MAX_DOUBLINGS))
            .unwrap_or(1);
        let wait_ns = self.interval_ns.saturating_mul(doubled).min(MAX_NS);
        let half = wait_ns.checked_div(2).unwrap_or_default();
        let jitter = random.checked_rem(half.max(1)).unwrap_or_default();
        self.failures = self.failures.saturating_add(1);
        self.until_ns = now_ns.saturating_add(half).saturating_add(jitter);
    }

    /// The receiver was reached, and did not take it.
    pub(super) fn refused(&mut self, now_ns: u64) {
        self.failures = 0;
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals >= MAX_REFUSALS {
            self.until_ns = now_ns.saturating_add(self.interval_ns);
        }
    }

    /// The receiver wants less, and may have said for how long. That can be no time at all, or a
    /// time for other data: there is a pause all the same.
    pub(super) fn limited(&mut self, now_ns: u64) {
        self.failures = 0;
        let pause_ns = self.interval_ns.max(MIN_AFTER_429_NS);
        self.after_429_ns = now_ns.saturating_add(pause_ns);
    }

    /// The receiver took a POST.
    pub(super) fn accepted(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.until_ns = 0;
    }

    /// What failed before says nothing about the next try.
    pub(super) fn forget(&mut self) {
        self.accepted();
        self.after_429_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_PER_S: u64 = 1_000_000_000;

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let mut backoff = Backoff::new(1_000);
        let mut now_ns = 100 * NS_PER_S;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            backoff.failed(now_ns, u64::MAX);
            let longest = now_ns + seconds * NS_PER_S;
            assert!(
                !backoff.is_over(now_ns + seconds * NS_PER_S / 2 - 1),
                "{seconds}"
            );
            assert!(backoff.is_over(longest), "{seconds}");
            now_ns = longest;
        }
        backoff.accepted();
        assert!(backoff.is_over(now_ns));
        backoff.failed(now_ns, 0);
        assert!(backoff.is_over(now_ns + NS_PER_S / 2), "from the start");
    }

    #[test]
    fn failures_of_one_round_are_one() {
        let mut backoff = Backoff::new(1_000);
        for _ in 0..16 {
            backoff.failed(5 * NS_PER_S, 0);
        }
        assert_eq!(backoff.failures, 1);
    }

    #[test]
    fn a_receiver_that_only_refuses_gets_no_more_than_a_few_at_once() {
        let mut backoff = Backoff::new(50);
        let now_ns = 5 * NS_PER_S;
        for refusals in 1..MAX_REFUSALS {
            backoff.refused(now_ns);
            assert!(backoff.is_over(now_ns), "{refusals}");
        }
        backoff.refused(now_ns);
        assert!(!backoff.is_over(now_ns + 50 * NS_PER_MS - 1));
        assert!(backoff.is_over(now_ns + 50 * NS_PER_MS));
        backoff.refused(now_ns + NS_PER_S);
        assert!(!backoff.is_over(now_ns + NS_PER_S), "still no success");
        backoff.accepted();
        assert!(backoff.is_over(now_ns + NS_PER_S));
        backoff.refused(now_ns + NS_PER_S);
        assert!(backoff.is_over(now_ns + NS_PER_S), "one in a while");
    }

    #[test]
    fn a_429_is_a_pause_that_no_success_ends() {
        for (interval_ms, pause_s) in [(10, 1), (1_000, 1), (30_000, 30)] {
            let mut backoff = Backoff::new(interval_ms);
            backoff.limited(5 * NS_PER_S);
            backoff.accepted();
            let over_ns = (5 + pause_s) * NS_PER_S;
            assert!(!backoff.is_over(over_ns - 1), "{interval_ms}");
            assert!(backoff.is_over(over_ns), "{interval_ms}");
        }
    }
}
