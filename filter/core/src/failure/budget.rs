//! `max_per_minute`: how many failures of a kind become events, whatever happens to the gateway.
//!
//! Failures are told apart by their fingerprint: kind, cluster and route, none of which a caller
//! chooses where the operator lists clusters and routes. Where callers do (`cluster_header`), the
//! table is bounded all the same: what finds no place in it shares one budget.

/// How many fingerprints have a budget of their own.
const MAX_FINGERPRINTS: usize = 256;
const MINUTE_NS: u64 = 60_000_000_000;

/// What was captured lately. One per worker.
#[derive(Debug, Default)]
pub struct Budget {
    buckets: Vec<Bucket>,
    /// That of what has no place.
    others: Bucket,
}

/// The minute that began with a failure.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    fingerprint: u64,
    since_ns: u64,
    captured: u32,
}

impl Budget {
    /// Whether another failure with these texts may be captured, which then counts.
    pub fn admit(&mut self, texts: [&[u8]; 4], max_per_minute: u32, now_ns: u64) -> bool {
        let fingerprint = hash(texts);
        let is_it = |bucket: &Bucket| bucket.fingerprint == fingerprint;
        let place = self.buckets.iter().position(is_it);
        let place = place.or_else(|| {
            let is_over = |bucket: &Bucket| bucket.is_over(now_ns);
            let place = match self.buckets.len() {
                0..MAX_FINGERPRINTS => {
                    self.buckets.push(Bucket::default());
                    self.buckets.len().checked_sub(1)
                }
                _ => self.buckets.iter().position(is_over),
            }?;
            *self.buckets.get_mut(place)? = Bucket {
                fingerprint,
                ..Bucket::default()
            };
            Some(place)
        });
        let bucket = place.and_then(|place| self.buckets.get_mut(place));
        bucket
            .unwrap_or(&mut self.others)
            .admit(max_per_minute, now_ns)
    }
}

impl Bucket {
    /// Whether its minute is over, also where the clock was set back.
    fn is_over(&self, now_ns: u64) -> bool {
        let passed_ns = now_ns.checked_sub(self.since_ns);
        passed_ns.is_none_or(|passed_ns| passed_ns >= MINUTE_NS)
    }

    fn admit(&mut self, max_per_minute: u32, now_ns: u64) -> bool {
        if self.captured == 0 || self.is_over(now_ns) {
            (self.since_ns, self.captured) = (now_ns, 0);
        }
        let is_admitted = self.captured < max_per_minute;
        self.captured = self.captured.saturating_add(is_admitted.into());
        is_admitted
    }
}

/// FNV-1a. Two that are the same by chance share a budget.
fn hash(texts: [&[u8]; 4]) -> u64 {
    let parts = texts
        .into_iter()
        .flat_map(|text| text.iter().chain(&[0xff]));
    parts.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_PER_S: u64 = 1_000_000_000;

    fn admitted(budget: &mut Budget, kind: &str, max: u32, now_s: u64, count: u32) -> usize {
        let texts = [kind.as_bytes(), b"shop", b"/api", b""];
        (0..count)
            .filter(|_| budget.admit(texts, max, now_s * NS_PER_S))
            .count()
    }

    #[test]
    fn a_minute_has_as_many_of_a_kind_as_configured() {
        let mut budget = Budget::default();
        assert_eq!(admitted(&mut budget, "a", 30, 1_000, 100), 30);
        assert_eq!(admitted(&mut budget, "b", 30, 1_001, 100), 30);
        assert_eq!(admitted(&mut budget, "a", 30, 1_059, 100), 0);
        assert_eq!(admitted(&mut budget, "a", 30, 1_060, 100), 30);
        assert_eq!(admitted(&mut budget, "b", 30, 1_060, 100), 0);
        assert_eq!(admitted(&mut budget, "a", 30, 900, 100), 30, "set back");
        assert_eq!(admitted(&mut budget, "c", 1, 0, 100), 1, "no clock");
        assert_eq!(admitted(&mut budget, "c", 1, 0, 100), 0, "no clock");
    }

    /// A cluster's name may be the caller's choice.
    #[test]
    fn a_stranger_who_chooses_fingerprints_gets_no_memory_for_them() {
        let mut budget = Budget::default();
        let storm = |budget: &mut Budget, now_s: u64| {
            let texts = (0..100_000).map(|n: u32| n.to_le_bytes());
            let admit = |text: &[u8; 4]| budget.admit([b"NC", text, b"", b""], 2, now_s * NS_PER_S);
            texts.filter(admit).count()
        };
        assert_eq!(storm(&mut budget, 1_000), MAX_FINGERPRINTS + 2);
        assert_eq!(budget.buckets.len(), MAX_FINGERPRINTS);
        assert_eq!(storm(&mut budget, 1_001), MAX_FINGERPRINTS);
        // Their places are others' when their minute is over.
        let after = admitted(&mut budget, "a", 30, 1_061, 100);
        assert_eq!((after, budget.buckets.len()), (30, MAX_FINGERPRINTS));
        assert!(budget.buckets.capacity() * size_of::<Bucket>() <= 8_192);
    }
}
