//! Envoy's response flags: bits in the attribute `response.flags`, short names in its access logs
//! and here.

/// The short names in the order of their bits, as Envoy's documentation of `%RESPONSE_FLAGS%` has
/// them. Bit 1 was seen as `UH`, 2 as `UT`, 5 as `UF`, 6 as `UC`, 14 as `DC`, 15 as `URX` and 23 as
/// `UPE` on 1.40.
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

/// The client went away, by closing its connection or by resetting its stream.
const CLIENT_LEFT: u64 = bits(&["DC", "DR"]);
/// Something took too long: the upstream, an idle stream, or a stream as a whole.
const TIMED_OUT: u64 = bits(&["UT", "SI", "UMSDR", "DT"]);
/// A response that had begun was broken off by the upstream or by Envoy.
const BROKE_OFF: u64 = bits(&["LR", "UR", "UF", "UC", "UPE", "DPE", "OM"]);

/// The upstream has not answered, or not to the end.
const NEVER_ANSWERED: u64 = BROKE_OFF | TIMED_OUT | bits(&["UH", "UO"]);

/// What Envoy noted about a stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFlags(u64);

impl ResponseFlags {
    /// Flags from the bits of the attribute.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether there are none: nothing went wrong that Envoy knows of.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the client went away.
    pub fn client_left(self) -> bool {
        self.0 & CLIENT_LEFT != 0
    }

    /// Whether something took too long.
    pub fn timed_out(self) -> bool {
        self.0 & TIMED_OUT != 0
    }

    /// Whether a response that had begun was broken off.
    pub fn broke_off(self) -> bool {
        self.0 & BROKE_OFF != 0
    }

    /// Whether the response was not the upstream's.
    pub fn never_answered(self) -> bool {
        self.0 & NEVER_ANSWERED != 0
    }

    /// The short names, joined by commas; those of bits that are not known yet as `bit<n>`.
    pub fn names(self) -> String {
        let mut names = String::new();
        if self.is_empty() {
            return names;
        }
        for bit in (0..u64::BITS).filter(|bit| self.is_set(*bit)) {
            if !names.is_empty() {
                names.push(',');
            }
            match usize::try_from(bit).ok().and_then(|bit| NAMES.get(bit)) {
                Some(name) => names.push_str(name),
                None => names.push_str(&format!("bit{bit}")),
            }
        }
        names
    }

    fn is_set(self, bit: u32) -> bool {
        self.0.checked_shr(bit).unwrap_or(0) & 1 == 1
    }
}

/// The bits of some flags, by their names; known when this is compiled.
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses what is out of bounds"
)]
const fn bits(wanted: &[&str]) -> u64 {
    let (mut bits, mut found, mut bit) = (0, 0, 0);
    while bit < NAMES.len() {
        let mut at = 0;
        while at < wanted.len() {
            if is_same(NAMES[bit].as_bytes(), wanted[at].as_bytes()) {
                bits |= 1 << bit;
                found += 1;
            }
            at += 1;
        }
        bit += 1;
    }
    assert!(found == wanted.len(), "a flag that Envoy does not have");
    bits
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, rest @ ..], [b, others @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that Envoy 1.40 gave, each beside what its access log said.
    #[test]
    fn bits_have_the_names_of_the_access_log() {
        let rows = [
            (0, ""),
            (2, "UH"),
            (4, "UT"),
            (64, "UC"),
            (16_384, "DC"),
            (32_800, "UF,URX"),
            (8_388_608, "UPE"),
            (1 << 28, "DR"),
            (1 << 29, "UDO"),
            (1 << 40, "bit40"),
            (1 << 63, "bit63"),
        ];
        for (bits, names) in rows {
            assert_eq!(ResponseFlags::from_bits(bits).names(), names, "{bits}");
        }
    }

    #[test]
    fn flags_say_how_a_stream_ended() {
        let flags = |bit: u32| ResponseFlags::from_bits(1 << bit);
        assert!(flags(14).client_left() && flags(28).client_left());
        assert!(flags(2).timed_out() && !flags(2).broke_off());
        assert!(flags(23).broke_off() && !flags(23).timed_out());
        assert!(ResponseFlags::default().is_empty());
    }
}
