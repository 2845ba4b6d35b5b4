//! The dynamic sampling context (DSC): what the head of a trace tells everyone behind it,
//! sentry-protocol.md §2.1.
//!
//! It travels as `sentry-` members of `baggage`, percent-encoded, and as the `trace` object of an
//! envelope, decoded. The DSC of a trace that arrived is frozen: it is forwarded and reported with
//! exactly the values it came with (§2.7).

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::baggage::{Change, PREFIX};
use crate::decimal::json_number;
use crate::id::TraceId;
use crate::live::{piece, sum, HeapBytes};
use crate::sampling::{bool_str, SampleRand, SampleRate};

/// What is encoded in a member's value: everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Writes a member's value, percent-encoded.
pub(super) fn encode(value: &str, member: &mut Vec<u8>) {
    for part in utf8_percent_encode(value, ENCODED) {
        member.extend_from_slice(part.as_bytes());
    }
}

/// The values of a DSC, in the order in which they are written. All of them are texts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dsc {
    entries: Vec<(Cow<'static, str>, Value)>,
}

/// A value that is one trace's alone, or one that the configuration gives to all of them.
#[derive(Debug, Clone)]
enum Value {
    Own(Cow<'static, str>),
    Shared(Arc<str>),
}

impl Value {
    fn as_str(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Value {}

/// What the configuration gives to the DSC of every trace that begins here, and how it is written:
/// that is the same each time.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    public_key: Arc<str>,
    environment: Arc<str>,
    release: Option<Arc<str>>,
    org_id: Option<Arc<str>>,
    /// `,sentry-public_key=…`
    key_member: Vec<u8>,
    /// `,sentry-environment=…,sentry-release=…,sentry-org_id=…`
    other_members: Vec<u8>,
    /// The rate that decides about most traces, as it is written.
    rate: Option<(SampleRate, String)>,
}

impl Labels {
    /// The labels of a gateway: the public key of its DSN, its environment, its release and
    /// organisation if they are known, and the rate that usually decides.
    pub fn new(
        public_key: &Arc<str>,
        environment: &Arc<str>,
        release: Option<&Arc<str>>,
        org_id: Option<&Arc<str>>,
        rate: Option<SampleRate>,
    ) -> Self {
        let (mut key_member, mut other_members) = (Vec::new(), Vec::new());
        write_member("public_key", public_key, &mut key_member);
        write_member("environment", environment, &mut other_members);
        for (key, value) in [("release", release), ("org_id", org_id)] {
            if let Some(value) = value {
                write_member(key, value, &mut other_members);
            }
        }
        Self {
            public_key: Arc::clone(public_key),
            environment: Arc::clone(environment),
            release: release.cloned(),
            org_id: org_id.cloned(),
            key_member,
            other_members,
            rate: rate.map(|rate| (rate, rate.text().into_owned())),
        }
    }

    fn rate(&self, rate: SampleRate) -> Cow<'_, str> {
        match &self.rate {
            Some((known, text)) if *known == rate => text.as_str().into(),
            _ => rate.text(),
        }
    }
}

/// Writes a member behind others; nothing for an empty value.
fn write_member(key: &str, value: &str, members: &mut Vec<u8>) {
    if !value.is_empty() {
        members.push(b',');
        members.extend_from_slice(PREFIX);
        members.extend_from_slice(key.as_bytes());
        members.push(b'=');
        encode(value, members);
    }
}

/// What the head of a trace puts into the DSC, filter.md §3.6.
#[derive(Debug)]
pub struct Head<'a> {
    /// The trace that begins here.
    pub trace_id: TraceId,
    /// What is the same for all traces that begin here.
    pub labels: &'a Labels,
    /// The number that every sampling decision of this trace is made with.
    pub sample_rand: SampleRand,
    /// The rate that decided; `None` in deferred mode (sentry-protocol.md §3.4), and where others
    /// decided at a rate that nobody knows.
    pub sample_rate: Option<SampleRate>,
    /// The decision; `None` in deferred mode.
    pub sampled: Option<bool>,
    /// The transaction's name, if it is a template or chosen by a person, never a path.
    pub transaction: Option<Cow<'a, str>>,
}

impl Dsc {
    /// The DSC that arrived. Of a key that comes twice the last value counts, as in most SDKs
    /// (sentry-protocol.md §15).
    pub fn frozen<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut dsc = Self::default();
        for (key, value) in members {
            dsc.set(key, value.to_owned().into());
        }
        dsc
    }

    /// Replaces values, or takes them out. Only for a decision that is ours although the trace is
    /// not (`incoming.sampled: ignore`).
    pub fn change(&mut self, changes: &[Change]) {
        for (key, value) in changes {
            match value {
                Some(value) => self.set(key, value.clone()),
                None => self.entries.retain(|(known, _)| known != key),
            }
        }
    }

    fn set(&mut self, key: &str, value: Cow<'static, str>) {
        let value = Value::Own(value);
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.entries.push((key.to_owned().into(), value)),
        }
    }

    /// Whether it says nothing: a trace continued from a service that sends no baggage.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The DSC of a trace that begins here.
    pub fn head(head: &Head<'_>) -> Self {
        let Head {
            trace_id,
            labels,
            sample_rand,
            sample_rate,
            sampled,
            transaction,
        } = head;
        let own = |text: Cow<'static, str>| Some(Value::Own(text));
        let shared = |text: &Arc<str>| Value::Shared(Arc::clone(text));
        let all = [
            ("trace_id", own(trace_id.hex().as_str().to_owned().into())),
            ("public_key", Some(shared(&labels.public_key))),
            ("sample_rand", own(sample_rand.text().into())),
            (
                "sample_rate",
                sample_rate.map(|rate| Value::Own(rate.text())),
            ),
            (
                "sampled",
                sampled.map(|sampled| Value::Own(bool_str(sampled).into())),
            ),
            ("environment", Some(shared(&labels.environment))),
            ("release", labels.release.as_ref().map(shared)),
            ("org_id", labels.org_id.as_ref().map(shared)),
            (
                "transaction",
                transaction
                    .as_deref()
                    .map(|name| Value::Own(name.to_owned().into())),
            ),
        ];
        let mut entries = Vec::with_capacity(all.len());
        let known = all
            .into_iter()
            .filter_map(|(key, value)| Some((key.into(), value?)))
            .filter(|(_, value)| !value.as_str().is_empty());
        entries.extend(known);
        Self { entries }
    }

    /// Whether Relay would discard it (`DynamicSamplingContext` in relay-sampling/src/dsc.rs):
    /// without an id or a key, as from a service that sends no baggage or parts of one; with a rate
    /// that is no number in JSON, or none from 0 to 1; with a replay that is no UUID; with a user
    /// that is a text, where Relay takes a map; with both names of the transaction.
    pub fn is_unreadable(&self) -> bool {
        let is_hex =
            |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_uuid = |text: &str| match text.len() {
            36 => text.bytes().enumerate().all(|(place, byte)| match place {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            }),
            _ => is_hex(text),
        };
        let is_rate =
            |text: &str| json_number(text).is_some_and(|rate| SampleRate::new(rate).is_some());
        let get = |key| self.get(key);
        get("trace_id").is_none()
            || !get("public_key").is_some_and(is_hex)
            || !get("sample_rate").is_none_or(is_rate)
            || !get("replay_id").is_none_or(is_uuid)
            || get("user").is_some()
            || get("transaction").and(get("segment_name")).is_some()
    }

    /// The DSC for the envelope of streamed spans, which must have one and must name their trace
    /// (sentry-protocol.md §10.5): this one, or where it cannot be used the least that Relay takes.
    /// What is forwarded stays as it came (§2.8).
    pub fn for_spans(&self, trace_id: TraceId, public_key: &str) -> Cow<'_, Self> {
        let own = self
            .get("trace_id")
            .map(|id| TraceId::from_hex(id.as_bytes()));
        if own == Some(Ok(trace_id)) && !self.is_unreadable() {
            return Cow::Borrowed(self);
        }
        let mut least = Self::default();
        least.set("trace_id", trace_id.to_string().into());
        least.set("public_key", public_key.to_owned().into());
        Cow::Owned(least)
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }
}

impl Head<'_> {
    /// The values as `baggage` members, joined by commas, in the order of [`Dsc::head`].
    pub fn to_members(&self) -> Vec<u8> {
        let Self {
            trace_id,
            labels,
            sample_rand,
            sample_rate,
            sampled,
            transaction,
        } = self;
        let mut members = Vec::with_capacity(USUAL_LENGTH);
        members.extend_from_slice(b"sentry-trace_id=");
        members.extend_from_slice(trace_id.hex().as_str().as_bytes());
        members.extend_from_slice(&labels.key_member);
        members.extend_from_slice(b",sentry-sample_rand=");
        members.extend_from_slice(&sample_rand.ascii());
        if let Some(rate) = sample_rate {
            members.extend_from_slice(b",sentry-sample_rate=");
            members.extend_from_slice(labels.rate(*rate).as_bytes());
        }
        if let Some(sampled) = sampled {
            members.extend_from_slice(b",sentry-sampled=");
            members.extend_from_slice(bool_str(*sampled).as_bytes());
        }
        members.extend_from_slice(&labels.other_members);
        if let Some(name) = transaction {
            write_member("transaction", name, &mut members);
        }
        members
    }
}

/// Room for what most heads write.
const USUAL_LENGTH: usize = 384;

impl HeapBytes for Dsc {
    fn heap_bytes(&self) -> usize {
        let Self { entries } = self;
        let own = |text: &Cow<'_, str>| match text {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.heap_bytes(),
        };
        let entry = |(key, value): &(Cow<'_, str>, Value)| match value {
            Value::Own(value) => own(key).saturating_add(own(value)),
            // The configuration's.
            Value::Shared(_) => own(key),
        };
        let table = size_of::<(Cow<'_, str>, Value)>().saturating_mul(entries.capacity());
        sum(entries.iter().map(entry), piece(table))
    }
}

impl Serialize for Dsc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value.as_str())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::baggage::Baggage;

    fn labels(release: Option<&str>) -> Labels {
        Labels::new(
            &"49d0f7386ad645858ae85020e393bef3".into(),
            &"pro duction".into(),
            release.map(Arc::from).as_ref(),
            Some(&"1".into()),
            SampleRate::new(0.25),
        )
    }

    fn with_head<T>(
        sample_rate: Option<SampleRate>,
        sampled: Option<bool>,
        release: Option<&str>,
        read: impl FnOnce(&Head<'_>) -> T,
    ) -> T {
        let trace_id = TraceId::from_hex(b"771a43a4192642f0b136d5159a501700").unwrap();
        read(&Head {
            trace_id,
            labels: &labels(release),
            sample_rand: SampleRand::from_trace_id(trace_id),
            sample_rate,
            sampled,
            transaction: Some("/api/{id}".into()),
        })
    }

    fn head(sample_rate: Option<SampleRate>, sampled: Option<bool>) -> Dsc {
        with_head(sample_rate, sampled, None, Dsc::head)
    }

    fn members(
        sample_rate: Option<SampleRate>,
        sampled: Option<bool>,
        release: Option<&str>,
    ) -> String {
        let members = with_head(sample_rate, sampled, release, |head| head.to_members());
        String::from_utf8(members).unwrap()
    }

    #[test]
    fn a_head_writes_every_value_it_knows_percent_encoded() {
        assert_eq!(
            members(SampleRate::new(0.25), Some(true), None),
            "sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=49d0f7386ad645858ae85020e393bef3,\
             sentry-sample_rand=0.692242,sentry-sample_rate=0.25,sentry-sampled=true,sentry-environment=pro%20duction,\
             sentry-org_id=1,sentry-transaction=%2Fapi%2F%7Bid%7D"
        );
    }

    /// Written for the header and kept for the envelope, it says the same.
    #[test]
    fn what_a_head_writes_reads_as_what_is_kept() {
        let rates = [
            None,
            SampleRate::new(0.25),
            SampleRate::new(0.0101),
            SampleRate::new(0.0),
        ];
        for (rate, sampled, release) in rates.into_iter().flat_map(|rate| {
            [
                (rate, None, Some("a, b;c=ä@1/2")),
                (rate, Some(false), Some("")),
                (rate, Some(true), None),
            ]
        }) {
            let written = members(rate, sampled, release);
            let baggage = Baggage::read(std::iter::once(written.as_bytes()));
            let kept = with_head(rate, sampled, release, Dsc::head);
            assert_eq!(Dsc::frozen(baggage.sentry()), kept, "{written}");
        }
    }

    #[test]
    fn contexts_are_equal_if_all_values_are() {
        let of = |rate| head(SampleRate::new(rate), Some(true));
        assert_eq!(of(0.25), of(0.25));
        assert_ne!(of(0.25), of(0.5));
    }

    #[test]
    fn a_deferred_head_leaves_the_decision_out() {
        let dsc = head(None, None);
        assert_eq!(dsc.get("sampled"), None);
        assert_eq!(dsc.get("sample_rate"), None);
        assert_eq!(dsc.get("sample_rand"), Some("0.692242"));
    }

    #[test]
    fn of_a_repeated_key_the_last_value_counts() {
        let dsc = Dsc::frozen([("a", "1"), ("b", "2"), ("a", "3")].into_iter());
        assert_eq!(dsc.get("a"), Some("3"));
        assert_eq!(serde_json::to_string(&dsc).unwrap(), r#"{"a":"3","b":"2"}"#);
    }

    /// Relay's own rows (relay-sampling/src/dsc.rs, its tests and its types), and what each of its
    /// types refuses.
    #[test]
    fn relay_reads_what_is_not_unreadable() {
        const KEY: &str = "abd0f232775f45feab79864e580d160b";
        let is_readable = |entries: &[(&'static str, &'static str)]| {
            let least = [
                ("trace_id", "771a43a4192642f0b136d5159a501700"),
                ("public_key", KEY),
            ];
            let all = least.iter().chain(entries).copied();
            !Dsc::frozen(all).is_unreadable()
        };
        let readable: [&[(&str, &str)]; 13] = [
            &[],
            &[("user_id", "some-id"), ("user_segment", "all")],
            &[("sample_rate", "0.5")],
            &[("sample_rate", "1e-5"), ("user_id", "hello")],
            &[("sample_rate", "0"), ("sampled", "tru")],
            &[("sample_rate", "1.0"), ("sampled", "false")],
            &[("transaction", "/a")],
            &[("segment_name", "/a")],
            &[("replay_id", "b99c6a7e7a1f4bb98a6b4a3f5d1f2c11")],
            &[("replay_id", "B99C6A7E-7A1F-4BB9-8A6B-4A3F5D1F2C11")],
            &[("replay_id", "00000000000000000000000000000000")],
            &[
                ("release", "null"),
                ("environment", " "),
                ("org_id", "x"),
                ("sample_rand", "?"),
            ],
            &[
                ("foo", "bar"),
                ("user.id", "1"),
                ("User", "1"),
                ("other", "{}"),
            ],
        ];
        for entries in readable {
            assert!(is_readable(entries), "{entries:?}");
        }
        let rates = [
            ".5", "1.", "01", "00.5", "+1", "0x1", "1e", "1e999", "bogus", "-0.1", "NaN", "inf",
            "Infinity", "null", "true", "\"0.5\"", "0,5", "0.5;p", "1_0", "-", "\u{661}", "1.1",
        ];
        for rate in rates {
            assert!(!is_readable(&[("sample_rate", rate)]), "{rate}");
        }
        let replays = [
            "null",
            "undefined",
            "0",
            "b99c6a7e",
            "b99c6a7e7a1f4bb98a6b4a3f5d1f2c1",
            "b99c6a7e7a1f4bb98a6b4a3f5d1f2c111",
            "g99c6a7e7a1f4bb98a6b4a3f5d1f2c11",
            "b99c6a7e7-a1f-4bb9-8a6b-4a3f5d1f2c11",
            "b99c6a7e-7a1f4bb98a6b4a3f5d1f2c11---",
            "b99c6a7e-7a1f-4bb9-8a6b-4a3f5d1f2c1-",
        ];
        for replay in replays {
            assert!(!is_readable(&[("replay_id", replay)]), "{replay}");
        }
        for user in ["x", "null", "{}", "{\"id\":\"1\"}"] {
            assert!(!is_readable(&[("user", user)]), "{user}");
        }
        assert!(!is_readable(&[
            ("segment_name", "/a"),
            ("transaction", "/a")
        ]));
        let keys = [
            "short",
            "",
            "abd0f232775f45feab79864e580d160",
            "abd0f232775f45feab79864e580d160bb",
            "abd0f232775f45feab79864e580d160g",
            "\u{e9}bd0f232775f45feab79864e580d160",
        ];
        for key in keys {
            let entries = [
                ("trace_id", "771a43a4192642f0b136d5159a501700"),
                ("public_key", key),
            ];
            assert!(Dsc::frozen(entries.into_iter()).is_unreadable(), "{key}");
        }
        assert!(Dsc::frozen([("public_key", KEY)].into_iter()).is_unreadable());
        assert!(Dsc::default().is_unreadable());
    }
}
