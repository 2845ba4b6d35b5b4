//! The `baggage` header, W3C Baggage and sentry-protocol.md §2.3.
//!
//! ```text
//! baggage: vendor=a;property, sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-sampled=true
//!          third-party member  our members: the dynamic sampling context
//! ```
//! Members of others keep their bytes and their order, whatever their values hold; only `sentry-`
//! members are read, written and dropped. The header is written anew if something of ours changes,
//! if there is too much of it, or if Sentry's SDKs would not all read it alike:
//! - What is no member (no `=`, no key, a key that is no token) and what is empty is left out.
//!   Sentry's SDK for Go drops the whole header otherwise.
//! - A key that begins with `sentry-` only once it is decoded is left out. The SDK for JavaScript
//!   decodes keys before it looks at them, the others do not.
//! - `sentry-` members are in one line, in one spelling, and each key comes once. SDKs differ about
//!   white space beside `=`, escapes in keys, properties, repeated keys and broken values.

mod spelling;

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::headers::trim;

/// The most members a header may have that everybody must pass on (W3C Baggage, "Limits").
pub const MAX_MEMBERS: usize = 64;
/// The most bytes a header may have that everybody must pass on, over all its lines (W3C Baggage,
/// "Limits").
pub const MAX_BYTES: usize = 8_192;

/// A list of ours that has at most so many bytes has at most [`MAX_MEMBERS`] members: each of them
/// is at least `sentry-=` and a comma.
const SURELY_FITS: usize = 9 * MAX_MEMBERS - 1;

/// What the keys of the dynamic sampling context begin with.
pub(super) const PREFIX: &[u8] = b"sentry-";

/// The members of all `baggage` lines of a message that may be passed on, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Baggage<'a> {
    members: Vec<Member<'a>>,
    /// How many members were dropped because they are none, or because SDKs disagree about them.
    malformed: u32,
    /// How many members were not kept because there are too many, or too many bytes.
    too_many: u32,
    is_over_limits: bool,
    is_ambiguous: bool,
    has_sentry: bool,
}

/// One member: its bytes without the white space around it, and what it means if it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member<'a> {
    raw: Cow<'a, [u8]>,
    /// The decoded key without its prefix, and the decoded value.
    sentry: Option<(String, String)>,
}

/// What a written header has in the place of the `sentry-` members that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentryMembers {
    /// The same, byte for byte.
    Kept,
    /// The same, but for these keys: what they had is taken out, what they get is added behind.
    Changed(Vec<Change>),
    /// Others, joined by commas, behind the members of third parties. None at all is an empty list.
    Replaced(Vec<u8>),
}

/// A key of ours, without its prefix, and the value that it gets, if any.
pub type Change = (&'static str, Option<Cow<'static, str>>);

impl<'a> Baggage<'a> {
    /// Reads the lines: as many members of ours, and as many of others, as the limits allow to
    /// either. Nothing is allocated for what is not kept.
    pub fn read(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut baggage = Self::default();
        let (mut ours, mut theirs, mut both) = (Room::default(), Room::default(), Room::default());
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for line in lines {
            bytes = bytes
                .saturating_add(line.len())
                .saturating_add(usize::from(count > 0));
            count = count.saturating_add(1);
            for padded in line.split(|byte| *byte == b',') {
                let raw = trim(padded);
                baggage.is_ambiguous |=
                    raw.is_empty() || spelling::is_too_long(padded) && !spelling::is_too_long(raw);
                if !raw.is_empty() {
                    baggage.take(raw, &mut ours, &mut theirs, &mut both);
                }
            }
        }
        // The SDK for Go looks at the first line only, and counts white space.
        baggage.is_ambiguous |= bytes > MAX_BYTES || count > 1 && baggage.has_sentry;
        baggage
    }

    fn take(&mut self, raw: &'a [u8], ours: &mut Room, theirs: &mut Room, both: &mut Room) {
        let is_sentry = raw.starts_with(PREFIX);
        self.has_sentry |= is_sentry;
        let pair = parse_member(raw).filter(|(key, _)| is_sentry || !decodes_to_sentry(key));
        let Some((key, value)) = pair else {
            return self.leave_out();
        };
        let room = if is_sentry { ours } else { theirs };
        let is_too_long = is_sentry && (room.is_closed || spelling::is_too_long(raw));
        let member = match is_sentry {
            _ if is_too_long => None,
            false => Some(Member {
                raw: raw.into(),
                sentry: None,
            }),
            true => match spelling::read(raw, key, value) {
                Some(member) => Some(member).filter(|member| !spelling::is_too_long(&member.raw)),
                None => return self.leave_out(),
            },
        };
        let length = member.as_ref().map_or(raw.len(), |member| member.raw.len());
        self.is_over_limits |= !both.take(length) || member.is_none();
        let Some(member) = member.filter(|_| room.take(length)) else {
            room.close();
            self.too_many = self.too_many.saturating_add(1);
            return;
        };
        self.is_ambiguous |= matches!(member.raw, Cow::Owned(_));
        // An empty value stays, but not beside one that says something.
        if member.says_nothing() && self.members.iter().any(|other| member.repeats(other)) {
            return self.leave_out();
        }
        let count = self.members.len();
        self.members.retain(|earlier| !member.repeats(earlier));
        if self.members.len() < count {
            self.leave_out();
        }
        self.members.push(member);
    }

    fn leave_out(&mut self) {
        self.malformed = self.malformed.saturating_add(1);
        self.is_ambiguous = true;
    }

    /// The `sentry-` members without their prefix, decoded, in order.
    pub fn sentry(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .filter_map(|member| member.sentry.as_ref())
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether any `sentry-` member arrived, usable or not.
    pub fn has_sentry(&self) -> bool {
        self.has_sentry
    }

    /// How many members a written header leaves out because they are none, or because SDKs disagree
    /// about them.
    pub fn malformed(&self) -> u32 {
        self.malformed
    }

    /// Whether there are too many members, or too many bytes: the header has to be written anew.
    pub fn is_over_limits(&self) -> bool {
        self.is_over_limits
    }

    /// Whether Sentry's SDKs would not all read it alike: the header has to be written anew.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// A header value of these members. It keeps to the limits: ours first, then those of others
    /// from the left.
    pub fn write(&self, sentry: &SentryMembers) -> Written {
        // Most requests bring no baggage: then what is new is the header.
        if let SentryMembers::Replaced(added) = sentry {
            let is_alone = self.members.is_empty() && self.too_many == 0;
            if is_alone && (1..=SURELY_FITS).contains(&added.len()) {
                return Written {
                    value: Some(added.clone()),
                    too_many: 0,
                };
            }
        }
        let stays = |member: &&Member<'_>| sentry.keeps(member);
        // What is new has its room first, then what of ours arrived, then theirs.
        let (mut room, mut lost) = (Room::default(), 0_usize);
        let added = sentry.added();
        let mut new = Vec::with_capacity(added.len());
        for member in members(&added) {
            match room.take(member.len()) {
                true => push(&mut new, member),
                false => lost = lost.saturating_add(1),
            }
        }
        let arrived = || self.members.iter().filter(stays);
        let mut kept = arrived()
            .take_while(|member| room.take(member.raw.len()))
            .count();
        let lost = lost.saturating_add(arrived().count().saturating_sub(kept));
        let mut too_many = self
            .too_many
            .saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));

        let mut value = Vec::new();
        for member in &self.members {
            if member.sentry.is_some() {
                if stays(&member) && kept > 0 {
                    kept = kept.saturating_sub(1);
                    push(&mut value, &member.raw);
                }
            } else if room.take(member.raw.len()) {
                push(&mut value, &member.raw);
            } else {
                room.close();
                too_many = too_many.saturating_add(1);
            }
        }
        if value.is_empty() {
            value = new;
        } else if !new.is_empty() {
            push(&mut value, &new);
        }
        Written {
            value: (!value.is_empty()).then_some(value),
            too_many,
        }
    }

    /// The `sentry-` members alone, for an answer to the client: what others have put in is not for
    /// everybody. Nor is what is no visible text, which some HTTP stack on the way back may refuse.
    pub fn write_sentry(&self, sentry: &SentryMembers) -> Vec<u8> {
        let is_visible = |member: &&[u8]| member.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let (added, mut room) = (sentry.added(), Room::default());
        // Room for what is new first, as in the header.
        let added: Vec<&[u8]> = members(&added)
            .filter(|member| is_visible(member) && room.take(member.len()))
            .collect();
        let arrived = self.members.iter().filter(|member| sentry.keeps(member));
        let arrived = arrived.map(|member| &*member.raw).filter(is_visible);
        let mut value = Vec::new();
        for member in arrived.take_while(|member| room.take(member.len())) {
            push(&mut value, member);
        }
        for member in added {
            push(&mut value, member);
        }
        value
    }
}

impl SentryMembers {
    /// What did not arrive, joined by commas.
    fn added(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Kept => Cow::default(),
            Self::Changed(changes) => {
                let members: Vec<_> = changes.iter().filter_map(write_change).collect();
                members.join(&b","[..]).into()
            }
            Self::Replaced(members) => Cow::Borrowed(members),
        }
    }

    /// Whether a member that arrived stays.
    fn keeps(&self, member: &Member<'_>) -> bool {
        match self {
            Self::Kept => member.sentry.is_some(),
            Self::Changed(changes) => is_unchanged(member, changes),
            Self::Replaced(_) => false,
        }
    }
}

/// A header that was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its value; `None` if nothing is left.
    pub value: Option<Vec<u8>>,
    /// How many members did not fit, at reading or beside ours.
    pub too_many: u32,
}

/// What has been taken of the limits.
#[derive(Debug, Clone, Default)]
struct Room {
    members: usize,
    /// With the comma that joins each member to the one before it.
    bytes: usize,
    /// Members are dropped from the right: behind one that did not fit, none does.
    is_closed: bool,
}

impl Room {
    fn take(&mut self, length: usize) -> bool {
        let comma = usize::from(self.members > 0);
        let bytes = self.bytes.saturating_add(length).saturating_add(comma);
        let fits = !self.is_closed && self.members < MAX_MEMBERS && bytes <= MAX_BYTES;
        if fits {
            self.members = self.members.saturating_add(1);
            self.bytes = bytes;
        }
        fits
    }

    fn close(&mut self) {
        self.is_closed = true;
    }
}

impl Member<'_> {
    /// Whether an earlier member has this `sentry-` key: the last one counts in most SDKs, the
    /// first one in that for .NET. Of two trace ids neither is to be believed, so both are kept for
    /// that decision.
    fn repeats(&self, earlier: &Self) -> bool {
        let (Some((key, value)), Some((known, before))) = (&self.sentry, &earlier.sentry) else {
            return false;
        };
        let says_nothing = value.is_empty() || before.is_empty();
        key == known && (key != "trace_id" || says_nothing || value.eq_ignore_ascii_case(before))
    }

    /// Whether it is a `sentry-` member with an empty value.
    fn says_nothing(&self) -> bool {
        let value = self.sentry.as_ref().map(|(_, value)| value);
        value.is_some_and(String::is_empty)
    }
}

fn is_unchanged(member: &Member<'_>, changes: &[Change]) -> bool {
    let changed = |key: &str| changes.iter().any(|(changed, _)| *changed == key);
    let sentry = member.sentry.as_ref();
    sentry.is_some_and(|(key, _)| !changed(key))
}

fn write_change((key, value): &Change) -> Option<Vec<u8>> {
    Some(format!("sentry-{key}={}", value.as_ref()?).into_bytes())
}

/// The members of a list of ours, which has no empty ones.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',')
        .filter(|member| !member.is_empty())
}

fn push(value: &mut Vec<u8>, member: &[u8]) {
    if !value.is_empty() {
        value.push(b',');
    }
    value.extend_from_slice(member);
}

/// A member's key and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// `key = value ; properties`. Values and properties of others are theirs.
fn parse_member(raw: &[u8]) -> Option<Pair<'_>> {
    let pair = raw.split(|byte| *byte == b';').next()?;
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = pair.split_at_checked(at)?;
    let (key, value) = (trim(key), trim(value.strip_prefix(b"=")?));
    (!key.is_empty() && key.iter().all(is_token)).then_some((key, value))
}

/// RFC 7230, `tchar`.
fn is_token(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Whether a key begins with `sentry-` once it is decoded.
fn decodes_to_sentry(key: &[u8]) -> bool {
    percent_decode(key)
        .take(PREFIX.len())
        .eq(PREFIX.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(lines: &[&'a str]) -> Baggage<'a> {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        Baggage::read(lines.iter().copied())
    }

    fn written(baggage: &Baggage<'_>, sentry: &SentryMembers) -> Option<String> {
        baggage
            .write(sentry)
            .value
            .map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn third_party_members_keep_bytes_and_order_over_several_lines() {
        let baggage = read(&["b=2;p=%20,sentry-release=1", " a = 1 ,,", "c=\t"]);
        let ours = b"sentry-x=y";
        assert_eq!(
            written(&baggage, &SentryMembers::Replaced(ours.to_vec())).as_deref(),
            Some("b=2;p=%20,a = 1,c=,sentry-x=y")
        );
        assert_eq!(
            written(&baggage, &SentryMembers::Kept).as_deref(),
            Some("b=2;p=%20,sentry-release=1,a = 1,c=")
        );
        assert_eq!((baggage.malformed(), baggage.is_over_limits()), (0, false));
    }

    #[test]
    fn single_keys_change_and_the_rest_of_ours_stays() {
        let baggage = read(&["sentry-sampled=true,a=1,sentry-release=r%20,sentry-sample_rate=1"]);
        let changes = [("sampled", Some("false".into())), ("sample_rate", None)];
        assert_eq!(
            written(&baggage, &SentryMembers::Changed(changes.to_vec())).as_deref(),
            Some("a=1,sentry-release=r%20,sentry-sampled=false")
        );
    }

    #[test]
    fn what_is_no_member_goes_alone() {
        for bad in ["foo", "=1", "f o=1", "f\u{e9}=1", ";p=1", "sentry-b"] {
            let line = format!("a=1,{bad},b=2");
            let baggage = read(&[&line]);
            assert_eq!(baggage.malformed(), 1, "{bad}");
            assert_eq!(
                written(&baggage, &SentryMembers::Kept).as_deref(),
                Some("a=1,b=2"),
                "{bad}"
            );
        }
    }

    #[test]
    fn values_of_others_are_theirs() {
        let line = b"a=\xff\xfe,b=\"1\",c=x y,d=%3G,e=1;;p=\xff,f=,g==".as_slice();
        let baggage = Baggage::read([line].into_iter());
        assert_eq!(baggage.malformed(), 0);
        assert_eq!(
            baggage
                .write(&SentryMembers::Replaced(Vec::new()))
                .value
                .as_deref(),
            Some(line)
        );
    }

    #[test]
    fn nothing_left_is_no_header() {
        let baggage = read(&["sentry-release=1", " , "]);
        assert_eq!(
            written(&baggage, &SentryMembers::Replaced(Vec::new())),
            None
        );
    }

    #[test]
    fn the_limits_drop_whole_members_of_others_from_the_right() {
        let many = (0..70)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",");
        let many = format!("{many},sentry-a=1");
        let baggage = read(&[&many]);
        assert!(baggage.is_over_limits());
        assert_eq!(baggage.write(&SentryMembers::Kept).too_many, 7);
        let kept = written(&baggage, &SentryMembers::Kept).unwrap();
        assert_eq!(kept.split(',').count(), MAX_MEMBERS);
        assert!(
            kept.starts_with("k0=v") && kept.ends_with("k62=v,sentry-a=1"),
            "{kept}"
        );

        let exact = format!("k={}", "v".repeat(MAX_BYTES - 2));
        assert_eq!(
            written(&read(&[&exact]), &SentryMembers::Kept),
            Some(exact.clone())
        );
        let ours = b"s=1";
        assert_eq!(
            read(&[&exact])
                .write(&SentryMembers::Replaced(ours.to_vec()))
                .too_many,
            1
        );
        assert_eq!(
            written(&read(&[&exact]), &SentryMembers::Replaced(ours.to_vec())).as_deref(),
            Some("s=1")
        );
        let one_more = format!("{exact}v");
        assert_eq!(
            read(&[&one_more, "b=2"])
                .write(&SentryMembers::Kept)
                .too_many,
            2,
            "nothing behind what did not fit"
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_read_and_written_within_the_limits(
            lines in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0..4)
        ) {
            let baggage = Baggage::read(lines.iter().map(Vec::as_slice));
            if let Some(value) = baggage.write(&SentryMembers::Kept).value {
                proptest::prop_assert!(value.len() <= MAX_BYTES);
                let again = Baggage::read([value.as_slice()].into_iter());
                proptest::prop_assert_eq!(again.write(&SentryMembers::Kept).value, Some(value.clone()));
                proptest::prop_assert_eq!((again.malformed(), again.is_over_limits()), (0, false));
            }
        }
    }
}
