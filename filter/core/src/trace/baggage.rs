//! The `baggage` header, W3C Baggage and sentry-protocol.md §2.3.
//!
//! ```text
//! baggage: vendor=a;property, sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-sampled=true
//!          third-party member  our members: the dynamic sampling context
//! ```
//! Members of others keep their bytes and their order, whatever they hold; only `sentry-` members are read, written and dropped.

use percent_encoding::percent_decode;

use crate::headers::trim;

/// The most members a header may have that everybody must pass on (W3C Baggage, "Limits").
pub const MAX_MEMBERS: usize = 64;
/// The most bytes a header may have that everybody must pass on, over all its lines (W3C Baggage, "Limits").
pub const MAX_BYTES: usize = 8_192;

/// What the keys of the dynamic sampling context begin with.
const PREFIX: &[u8] = b"sentry-";

/// The members of all `baggage` lines of a message, in order, split into ours and theirs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Baggage<'a> {
    has_sentry: bool,
    sentry: Vec<(String, String)>,
    third_party: Vec<&'a [u8]>,
}

impl<'a> Baggage<'a> {
    /// Splits the lines at their commas. Empty members are left out; a `sentry-` member without a key or a value is, too.
    pub fn read(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut baggage = Self::default();
        for member in lines
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(trim)
            .filter(|member| !member.is_empty())
        {
            match member.strip_prefix(PREFIX) {
                Some(ours) => {
                    baggage.has_sentry = true;
                    baggage.sentry.extend(read_member(ours));
                }
                None => baggage.third_party.push(member),
            }
        }
        baggage
    }

    /// Whether there is any `sentry-` member, readable or not.
    pub fn has_sentry(&self) -> bool {
        self.has_sentry
    }

    /// The readable `sentry-` members without their prefix, decoded.
    pub fn sentry(&self) -> &[(String, String)] {
        &self.sentry
    }

    /// A header value of the members of others, then ours. Ours are always kept; of the others' as many from the left as the limits allow
    /// (filter.md §3.7), whole members only. `None` if nothing is left.
    pub fn write(&self, ours: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut members = ours.len();
        // Each member is counted with the comma that joins it to the next.
        let mut bytes = ours.iter().fold(0_usize, |sum, member| {
            sum.saturating_add(member.len()).saturating_add(1)
        });
        let mut value = Vec::new();
        for member in &self.third_party {
            members = members.saturating_add(1);
            bytes = bytes.saturating_add(member.len()).saturating_add(1);
            if members > MAX_MEMBERS || bytes > MAX_BYTES.saturating_add(1) {
                break;
            }
            push(&mut value, member);
        }
        for member in ours {
            push(&mut value, member);
        }
        (!value.is_empty()).then_some(value)
    }
}

fn push(value: &mut Vec<u8>, member: &[u8]) {
    if !value.is_empty() {
        value.push(b',');
    }
    value.extend_from_slice(member);
}

/// `key=value;properties` as decoded key and value. Invalid UTF-8 becomes U+FFFD, as the W3C text says.
fn read_member(member: &[u8]) -> Option<(String, String)> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = member.split_at_checked(at)?;
    let value = value
        .strip_prefix(b"=")?
        .split(|byte| *byte == b';')
        .next()?;
    let decode = |bytes: &[u8]| percent_decode(trim(bytes)).decode_utf8_lossy().into_owned();
    let (key, value) = (decode(key), decode(value));
    (!key.is_empty() && !value.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&'static str]) -> Baggage<'static> {
        Baggage::read(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn third_party_members_keep_bytes_and_order_over_several_lines() {
        let baggage = read(&["b=2;p=%20,sentry-release=1", " a = 1 ,,", "c"]);
        let written = baggage.write(&[b"sentry-x=y".to_vec()]).unwrap();
        assert_eq!(written, b"b=2;p=%20,a = 1,c,sentry-x=y");
    }

    #[test]
    fn nothing_left_is_no_header() {
        assert_eq!(read(&["sentry-release=1", " , "]).write(&[]), None);
    }

    #[test]
    fn the_limits_drop_whole_members_of_others_from_the_right() {
        let many = (0..70)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",");
        let baggage = Baggage::read([many.as_bytes()].into_iter());
        let written = baggage.write(&[b"sentry-x=y".to_vec()]).unwrap();
        let members: Vec<_> = written.split(|byte| *byte == b',').collect();
        assert_eq!(members.len(), MAX_MEMBERS);
        assert_eq!(members.first(), Some(&b"k0=v".as_slice()));
        assert_eq!(members.last(), Some(&b"sentry-x=y".as_slice()));

        let exact = format!("k={}", "v".repeat(MAX_BYTES - 2));
        let baggage = Baggage::read([exact.as_bytes()].into_iter());
        assert_eq!(baggage.write(&[]).map(|value| value.len()), Some(MAX_BYTES));
        assert_eq!(baggage.write(&[b"s=1".to_vec()]), Some(b"s=1".to_vec()));
    }
}
