//! Time that only goes forward. Whatever was said as a duration is measured on it: a limit, a pause
//! or a time-out does not last longer because the host's clock, the wall clock of its machine, was
//! set back.

/// The time since the clock was first read, by the steps forward that the host's clock has made.
#[derive(Debug, Default)]
pub struct Clock {
    host_ns: u64,
    ns: u64,
}

impl Clock {
    /// The host's clock was read; 0 if the host has none. A step back counts as none.
    pub fn advance(&mut self, host_ns: u64) -> u64 {
        if host_ns > 0 {
            self.ns = self.at(host_ns);
            self.host_ns = host_ns;
        }
        self.ns
    }

    /// The time when the host's clock was last read.
    pub fn last(&self) -> u64 {
        self.ns
    }

    /// What the time is when the host's clock shows that; the last time if it has shown more.
    pub fn at(&self, host_ns: u64) -> u64 {
        let step_ns = host_ns.saturating_sub(self.host_ns);
        self.ns.saturating_add(step_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_only() {
        let mut clock = Clock::default();
        let start = clock.advance(1_000_000);
        assert_eq!(clock.advance(1_000_007), start + 7);
        assert_eq!(clock.advance(500), start + 7, "set back");
        assert_eq!(clock.at(400), start + 7);
        assert_eq!(clock.at(501), start + 8);
        assert_eq!(clock.advance(0), start + 7, "not read");
        assert_eq!(clock.advance(503), start + 10);
    }
}
