//! Envoy's response flags: bits in the attribute `response.flags`, short names in its access logs and here.

/// The short names in the order of their bits, as Envoy's documentation of `%RESPONSE_FLAGS%` has them. Bit 1 was seen as `UH`, 2 as `UT`, 5 as `UF`,
/// 6 as `UC`, 14 as `DC`, 15 as `URX` and 23 as `UPE` on 1.40.
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

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

    /// Whether the client went away, by closing its connection or by resetting its stream.
    pub fn client_left(self) -> bool {
        self.has(&["DC", "DR"])
    }

    /// Whether something took too long: the upstream, an idle stream, or a stream as a whole.
    pub fn timed_out(self) -> bool {
        self.has(&["UT", "SI", "UMSDR", "DT"])
    }

    /// Whether a response that had begun was broken off by the upstream or by Envoy.
    pub fn broke_off(self) -> bool {
        self.has(&["LR", "UR", "UF", "UC", "UPE", "DPE", "OM"])
    }

    /// The short names, joined by commas; those of bits that are not known yet as `bit<n>`.
    pub fn names(self) -> String {
        let mut names = String::new();
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

    fn has(self, wanted: &[&str]) -> bool {
        let named = (0_u32..).zip(NAMES);
        named
            .filter(|(_, name)| wanted.contains(name))
            .any(|(bit, _)| self.is_set(bit))
    }

    fn is_set(self, bit: u32) -> bool {
        self.0.checked_shr(bit).unwrap_or(0) & 1 == 1
    }
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
