//! The trace context as a service behind the gateway would read it, with no patience: what any
//! Sentry SDK would refuse is refused here.

use std::fmt;

/// A `sentry-trace` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentryTrace {
    /// 32 lower-case hex digits, not all zero.
    pub trace_id: String,
    /// 16 lower-case hex digits, not all zero.
    pub span_id: String,
    /// The decision; `None` leaves it to the receiver.
    pub sampled: Option<bool>,
}

/// The members of a `baggage` header, in order, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baggage(Vec<String>);

impl SentryTrace {
    /// The only form that every SDK reads alike: lower case, exact lengths, ids not zero, flag
    /// absent, `0` or `1`.
    pub fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
        let text = std::str::from_utf8(value.as_ref()).ok()?;
        let mut parts = text.split('-');
        let trace_id = parts.next().filter(|id| is_id(id, 32))?.to_owned();
        let span_id = parts.next().filter(|id| is_id(id, 16))?.to_owned();
        let sampled = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some("0"), None) => Some(false),
            (Some("1"), None) => Some(true),
            _ => return None,
        };
        Some(Self {
            trace_id,
            span_id,
            sampled,
        })
    }
}

impl fmt::Display for SentryTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.trace_id, self.span_id)?;
        match self.sampled {
            Some(sampled) => write!(f, "-{}", u8::from(sampled)),
            None => Ok(()),
        }
    }
}

impl Baggage {
    /// Reads the lines as one list.
    ///
    /// # Panics
    /// If a line is not UTF-8.
    pub fn from_lines(lines: &[&[u8]]) -> Self {
        let text = |line: &&[u8]| String::from_utf8(line.to_vec()).expect("baggage as UTF-8");
        let members = lines.iter().map(text).collect::<Vec<_>>().join(",");
        Self(
            members
                .split(',')
                .map(str::trim)
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// All members, with their properties.
    pub fn members(&self) -> &[String] {
        &self.0
    }

    /// Members that are not Sentry's.
    pub fn third_party(&self) -> Vec<&str> {
        self.0
            .iter()
            .map(String::as_str)
            .filter(|member| !member.starts_with("sentry-"))
            .collect()
    }

    /// The percent-decoded value of `sentry-<key>`.
    ///
    /// # Panics
    /// If the key occurs twice: SDKs disagree on which one counts.
    pub fn sentry(&self, key: &str) -> Option<String> {
        let is_it = |member: &&String| member.split('=').next() == Some(&format!("sentry-{key}"));
        let mut found = self.0.iter().filter(is_it);
        let value = found.next()?.split_once('=').map_or("", |(_, value)| value);
        assert!(
            found.next().is_none(),
            "sentry-{key} occurs twice in {:?}",
            self.0
        );
        Some(percent_decoded(value))
    }

    /// The names of Sentry's members, sorted, without their prefix.
    pub fn sentry_keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self
            .0
            .iter()
            .filter_map(|member| Some(member.strip_prefix("sentry-")?.split_once('=')?.0))
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// Whether it is an id of that many lower-case hex digits that is not zero.
pub fn is_id(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).expect("a baggage value as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_that_every_sdk_reads_is_a_sentry_trace() {
        let ids = "771a43a4192642f0b136d5159a501700-6ee6b3f2a1c04d5e";
        assert_eq!(SentryTrace::parse(ids).unwrap().sampled, None);
        assert_eq!(
            SentryTrace::parse(format!("{ids}-0")).unwrap().sampled,
            Some(false)
        );
        assert_eq!(
            SentryTrace::parse(format!("{ids}-1")).unwrap().to_string(),
            format!("{ids}-1")
        );
        let zero_trace = format!("{}-6ee6b3f2a1c04d5e-1", "0".repeat(32));
        let zero_span = format!("771a43a4192642f0b136d5159a501700-{}-1", "0".repeat(16));
        for bad in [
            "",
            "1",
            &ids.to_uppercase(),
            &format!("{ids}-"),
            &format!("{ids}-x"),
            &format!("{ids}-11"),
            &format!("{ids}-1-1"),
            &format!("{ids}-1,{ids}-1"),
            &format!(" {ids}-1"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(SentryTrace::parse(bad), None, "{bad:?}");
        }
        assert_eq!(SentryTrace::parse(b"\xff"), None);
    }

    #[test]
    fn baggage_is_read_over_all_lines() {
        let baggage = Baggage::from_lines(&[
            b"a=b;p, sentry-transaction=%2Fx%20y",
            b"c=d=e,,sentry-sampled=true",
        ]);
        assert_eq!(baggage.members().len(), 4);
        assert_eq!(baggage.third_party(), ["a=b;p", "c=d=e"]);
        assert_eq!(baggage.sentry_keys(), ["sampled", "transaction"]);
        assert_eq!(baggage.sentry("transaction").as_deref(), Some("/x y"));
        assert_eq!(baggage.sentry("release"), None);
    }
}
