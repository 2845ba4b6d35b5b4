//! The dynamic sampling context (DSC): what the head of a trace tells everyone behind it, sentry-protocol.md §2.1.
//!
//! It travels as `sentry-` members of `baggage`, percent-encoded, and as the `trace` object of an envelope, decoded. The DSC of a trace that arrived
//! is frozen: it is forwarded and reported with exactly the values it came with (§2.7).

use std::borrow::Cow;

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::id::TraceId;
use super::sampling::{SampleRand, SampleRate};

/// What is encoded in a member's value: everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The values of a DSC, in the order in which they are written. All of them are texts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dsc {
    entries: Vec<(String, String)>,
}

/// What the head of a trace puts into the DSC, filter.md §3.6.
#[derive(Debug)]
pub struct Head<'a> {
    /// The trace that begins here.
    pub trace_id: TraceId,
    /// The public key of the DSN.
    pub public_key: &'a str,
    /// The number that every sampling decision of this trace is made with.
    pub sample_rand: SampleRand,
    /// The rate that decided; `None` in deferred mode (sentry-protocol.md §3.4), and where others decided at a rate that nobody knows.
    pub sample_rate: Option<SampleRate>,
    /// The decision; `None` in deferred mode.
    pub sampled: Option<bool>,
    /// The environment.
    pub environment: &'a str,
    /// The release, if known.
    pub release: Option<&'a str>,
    /// The organisation, if known.
    pub org_id: Option<&'a str>,
    /// The transaction's name, if it is a template or chosen by a person, never a path.
    pub transaction: Option<&'a str>,
}

impl Dsc {
    /// The DSC that arrived. Of a key that comes twice the last value counts, as in most SDKs (sentry-protocol.md §15).
    pub fn frozen<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut dsc = Self::default();
        for (key, value) in members {
            dsc.set(key, value.to_owned());
        }
        dsc
    }

    /// Replaces values, or takes them out. Only for a decision that is ours although the trace is not (`incoming.sampled: ignore`).
    pub fn change(&mut self, changes: &[(&str, Option<String>)]) {
        for (key, value) in changes {
            match value {
                Some(value) => self.set(key, value.clone()),
                None => self.entries.retain(|(known, _)| known != key),
            }
        }
    }

    fn set(&mut self, key: &str, value: String) {
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.entries.push((key.to_owned(), value)),
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
            public_key,
            sample_rand,
            sample_rate,
            sampled,
            environment,
            release,
            org_id,
            transaction,
        } = head;
        let entries = [
            ("trace_id", Some(trace_id.to_string())),
            ("public_key", Some((*public_key).to_owned())),
            ("sample_rand", Some(sample_rand.to_string())),
            ("sample_rate", sample_rate.map(|rate| rate.to_string())),
            ("sampled", sampled.map(|sampled| sampled.to_string())),
            ("environment", Some((*environment).to_owned())),
            ("release", release.map(str::to_owned)),
            ("org_id", org_id.map(str::to_owned)),
            ("transaction", transaction.map(str::to_owned)),
        ];
        Self {
            entries: entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        }
    }

    /// Whether Relay would discard it (sentry-protocol.md §2.2): without an id or a key, as from a service that sends no baggage or parts of one, or
    /// with a rate that is none.
    pub fn is_unreadable(&self) -> bool {
        let is_key =
            |key: &str| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_rate = |rate: &str| SampleRate::parse(rate).is_some();
        self.get("trace_id").is_none()
            || !self.get("public_key").is_some_and(is_key)
            || !self.get("sample_rate").is_none_or(is_rate)
    }

    /// The DSC for the envelope of streamed spans, which must have one and must name their trace (sentry-protocol.md §10.5): this one, or where it cannot be
    /// used the least that Relay takes. What is forwarded stays as it came (§2.8).
    pub fn for_spans(&self, trace_id: TraceId, public_key: &str) -> Cow<'_, Self> {
        let own = self
            .get("trace_id")
            .map(|id| TraceId::from_hex(id.as_bytes()));
        if own == Some(Ok(trace_id)) && !self.is_unreadable() {
            return Cow::Borrowed(self);
        }
        let entries = [
            ("trace_id", trace_id.to_string()),
            ("public_key", public_key.to_owned()),
        ];
        Cow::Owned(Self {
            entries: entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        })
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// The values as `baggage` members.
    pub fn to_members(&self) -> Vec<Vec<u8>> {
        self.entries
            .iter()
            .map(|(key, value)| {
                format!("sentry-{key}={}", utf8_percent_encode(value, ENCODED)).into_bytes()
            })
            .collect()
    }
}

impl Serialize for Dsc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sample_rate: Option<SampleRate>, sampled: Option<bool>) -> Dsc {
        let trace_id = TraceId::from_hex(b"771a43a4192642f0b136d5159a501700").unwrap();
        Dsc::head(&Head {
            trace_id,
            public_key: "49d0f7386ad645858ae85020e393bef3",
            sample_rand: SampleRand::of(trace_id),
            sample_rate,
            sampled,
            environment: "pro duction",
            release: None,
            org_id: Some("1"),
            transaction: Some("/api/{id}"),
        })
    }

    #[test]
    fn a_head_writes_every_value_it_knows_percent_encoded() {
        let members = head(SampleRate::new(0.25), Some(true))
            .to_members()
            .join(&b","[..]);
        let members = String::from_utf8(members).unwrap();
        assert_eq!(
            members,
            "sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=49d0f7386ad645858ae85020e393bef3,\
             sentry-sample_rand=0.692242,sentry-sample_rate=0.25,sentry-sampled=true,sentry-environment=pro%20duction,\
             sentry-org_id=1,sentry-transaction=%2Fapi%2F%7Bid%7D"
        );
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
}
