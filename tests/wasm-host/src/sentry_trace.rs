//! The `sentry-trace` header in the only form that every SDK reads alike: lower case, exact
//! lengths, no zero ids.

/// `trace_id-span_id` or `trace_id-span_id-flag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentryTrace {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// The flag; none is deferred.
    pub sampled: Option<bool>,
}

impl SentryTrace {
    /// Reads the header, or nothing if it has any other form.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let (trace_id, span_id, flag) = (parts.next()?, parts.next()?, parts.next());
        let sampled = match flag {
            None => None,
            Some("0") => Some(false),
            Some("1") => Some(true),
            Some(_) => return None,
        };
        let whole = parts.next().is_none() && is_id(trace_id, 32) && is_id(span_id, 16);
        whole.then(|| Self {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
            sampled,
        })
    }
}

/// Lower-case hex of that length, not all zero.
pub fn is_id(text: &str, len: usize) -> bool {
    text.len() == len
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::SentryTrace;

    #[test]
    fn only_the_canonical_form_is_read() {
        let good = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
        assert!(SentryTrace::parse(good.as_bytes()).is_some());
        assert!(SentryTrace::parse(format!("{good}-1").as_bytes()).is_some());
        let bad = [
            good.to_uppercase(),
            format!("{good}-2"),
            format!("{good}-1-1"),
            format!(" {good}"),
            good.replace('c', "0")
                .replace(|digit: char| digit.is_ascii_hexdigit(), "0"),
            String::new(),
        ];
        for value in bad {
            assert_eq!(SentryTrace::parse(value.as_bytes()), None, "{value}");
        }
    }
}
