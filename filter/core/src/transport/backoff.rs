//! How long to wait before what did not arrive is tried again: twice as long each time, up to a minute, and never the same for two workers.

/// No wait is longer, in nanoseconds.
const MAX_NS: u64 = 60_000_000_000;
/// How often the wait doubles, at most: beyond the longest one from the shortest interval.
const MAX_DOUBLINGS: u32 = 16;

const NS_PER_MS: u64 = 1_000_000;

/// The state of the tries.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The first wait, in nanoseconds.
    interval_ns: u64,
    failures: u32,
    until_ns: u64,
}

impl Backoff {
    /// Nothing has failed yet. The first wait is a flush interval.
    pub(super) fn new(flush_interval_ms: u32) -> Self {
        Self {
            interval_ns: u64::from(flush_interval_ms).saturating_mul(NS_PER_MS),
            failures: 0,
            until_ns: 0,
        }
    }

    /// Whether it is time for another try. A clock that was set back does not make the wait longer than it may be.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns || self.until_ns.saturating_sub(now_ns) > MAX_NS
    }

    /// A try has failed. The wait is between half and all of what the number of failures makes it. Tries that were under way together are one.
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

    /// The receiver was reached, whatever it said.
    pub(super) fn reached(&mut self) {
        self.failures = 0;
        self.until_ns = 0;
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
        backoff.reached();
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
    fn a_clock_that_is_set_back_is_no_reason_to_wait() {
        let mut backoff = Backoff::new(1_000);
        backoff.failed(1_000 * NS_PER_S, 0);
        assert!(backoff.is_over(NS_PER_S));
    }
}
