//! `max_traces_per_second`: a bucket that holds one second's worth of traces and fills at that
//! rate.

const NS_PER_S: f64 = 1e9;

/// How many traces may still be recorded. One per worker.
#[derive(Debug)]
pub struct Throttle {
    per_second: f64,
    left: f64,
    filled_ns: Option<u64>,
}

impl Throttle {
    /// A full bucket. At less than one a second it holds one trace, or none would ever fit.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            left: per_second.max(1.0),
            filled_ns: None,
        }
    }

    /// Takes one trace out, if there is one. A clock that goes backwards fills nothing.
    pub fn admit(&mut self, now_ns: u64) -> bool {
        let passed_ns = now_ns.saturating_sub(self.filled_ns.unwrap_or(now_ns));
        self.filled_ns = Some(now_ns);
        let fresh = passed_ns as f64 / NS_PER_S * self.per_second;
        self.left = (self.left + fresh).min(self.per_second.max(1.0));
        let admitted = self.left >= 1.0;
        if admitted {
            self.left -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(throttle: &mut Throttle, now_ms: u64, requests: u32) -> usize {
        (0..requests)
            .filter(|_| throttle.admit(now_ms * 1_000_000))
            .count()
    }

    #[test]
    fn a_second_has_as_many_traces_as_configured() {
        let mut throttle = Throttle::new(10.0);
        assert_eq!(admitted(&mut throttle, 5_000, 25), 10);
        assert_eq!(admitted(&mut throttle, 5_100, 25), 1);
        assert_eq!(
            admitted(&mut throttle, 4_000, 25),
            0,
            "the clock went backwards"
        );
        assert_eq!(admitted(&mut throttle, 4_500, 25), 5);
        assert_eq!(
            admitted(&mut throttle, 60_000, 25),
            10,
            "what was not used is not saved"
        );
    }

    #[test]
    fn less_than_one_a_second_is_one_now_and_then() {
        let mut throttle = Throttle::new(0.5);
        let sum: usize = (0..10)
            .map(|second| admitted(&mut throttle, second * 1_000, 5))
            .sum();
        assert_eq!(sum, 5);
    }
}
