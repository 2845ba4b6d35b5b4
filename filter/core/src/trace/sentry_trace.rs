//! The `sentry-trace` header, sentry-protocol.md §1.
//!
//! ```text
//! sentry-trace: 771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1
//!               trace id (32 hex digits)         span id (16)     sampled: 1, 0, none (deferred)
//! ```
//! SDKs read anything but this form differently (§1.3), so nothing else is passed on: upper-case
//! hex, white space and equal copies are repaired, everything else is refused with a reason.

use std::error::Error;
use std::fmt;

use crate::headers::trim;
use crate::id::{ParseIdError, SpanId, TraceId};

/// The longest and only other length a value may have: 32 and 16 digits with a dash, and two bytes
/// more with a flag.
const WITHOUT_FLAG: usize = 49;

/// The trace context that a `sentry-trace` header carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentryTrace {
    /// The trace that the request belongs to.
    pub trace_id: TraceId,
    /// The span that sent the request: the parent of what is done for it.
    pub span_id: SpanId,
    /// The sampling decision; `None` leaves it to the receiver.
    pub sampled: Option<bool>,
}

/// Why a `sentry-trace` header is refused. The reason is a metric's name, a table row's expectation
/// and a word in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentryTraceError {
    /// No value, or white space only.
    Empty,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// The ids are not where they belong: too short, or without the dashes.
    WrongLength,
    /// Something else than hex digits in the trace id.
    MalformedTraceId,
    /// Something else than hex digits in the span id.
    MalformedSpanId,
    /// A trace id of zeros.
    ZeroTraceId,
    /// A span id of zeros.
    ZeroSpanId,
    /// Something else than `0` or `1` as flag.
    MalformedSampled,
    /// Several values that differ, in several lines or joined by commas.
    Conflicting,
}

impl fmt::Display for SentryTraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sentry-trace refused: {}", self.reason())
    }
}

impl Error for SentryTraceError {}

impl SentryTraceError {
    /// Every reason there is.
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::NotUtf8,
        Self::WrongLength,
        Self::MalformedTraceId,
        Self::MalformedSpanId,
        Self::ZeroTraceId,
        Self::ZeroSpanId,
        Self::MalformedSampled,
        Self::Conflicting,
    ];

    /// The stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not_utf8",
            Self::WrongLength => "wrong_length",
            Self::MalformedTraceId => "malformed_trace_id",
            Self::MalformedSpanId => "malformed_span_id",
            Self::ZeroTraceId => "zero_trace_id",
            Self::ZeroSpanId => "zero_span_id",
            Self::MalformedSampled => "malformed_sampled",
            Self::Conflicting => "conflicting",
        }
    }
}

/// A `sentry-trace` as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub value: SentryTrace,
    /// Whether it arrived as one line in the canonical form, so that nothing has to be written to
    /// pass it on.
    pub canonical: bool,
}

impl SentryTrace {
    /// Reads every line of the header. Equal values, in several lines or joined by commas, are one
    /// (filter.md §3.1).
    ///
    /// # Errors
    /// The reason why there is a header, but no context that everybody would read alike.
    pub fn read<'a>(
        lines: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Option<Received>, SentryTraceError> {
        let Some(first_line) = lines.clone().next() else {
            return Ok(None);
        };
        let mut values = lines
            .clone()
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(trim)
            .filter(|value| !value.is_empty());
        let first = values.next().ok_or(SentryTraceError::Empty)?;
        if values.any(|other| !other.eq_ignore_ascii_case(first)) {
            return Err(SentryTraceError::Conflicting);
        }
        let value = Self::parse(first)?;
        let canonical = lines.count() == 1 && value.to_value() == first_line;
        Ok(Some(Received { value, canonical }))
    }

    /// Reads one value without surrounding white space.
    ///
    /// # Errors
    /// The first thing about it that is wrong, from left to right.
    pub fn parse(value: &[u8]) -> Result<Self, SentryTraceError> {
        if value.is_empty() {
            return Err(SentryTraceError::Empty);
        }
        if std::str::from_utf8(value).is_err() {
            return Err(SentryTraceError::NotUtf8);
        }
        let (ids, flag) = value
            .split_at_checked(WITHOUT_FLAG)
            .ok_or(SentryTraceError::WrongLength)?;
        let (trace_id, span_id) = match ids.split_at_checked(32) {
            Some((trace_id, [b'-', span_id @ ..])) => (trace_id, span_id),
            _ => return Err(SentryTraceError::WrongLength),
        };
        let trace_id = TraceId::from_hex(trace_id).map_err(|error| match error {
            ParseIdError::Malformed => SentryTraceError::MalformedTraceId,
            ParseIdError::Zero => SentryTraceError::ZeroTraceId,
        })?;
        let span_id = SpanId::from_hex(span_id).map_err(|error| match error {
            ParseIdError::Malformed => SentryTraceError::MalformedSpanId,
            ParseIdError::Zero => SentryTraceError::ZeroSpanId,
        })?;
        let sampled = match flag {
            b"" => None,
            b"-0" => Some(false),
            b"-1" => Some(true),
            [b'-', ..] => return Err(SentryTraceError::MalformedSampled),
            _ => return Err(SentryTraceError::WrongLength),
        };
        Ok(Self {
            trace_id,
            span_id,
            sampled,
        })
    }

    /// The header value in its canonical form.
    pub fn to_value(self) -> Vec<u8> {
        let Self {
            trace_id,
            span_id,
            sampled,
        } = self;
        let mut value = Vec::with_capacity(WITHOUT_FLAG.saturating_add(2));
        value.extend_from_slice(trace_id.hex().as_bytes());
        value.push(b'-');
        value.extend_from_slice(span_id.hex().as_bytes());
        match sampled {
            Some(true) => value.extend_from_slice(b"-1"),
            Some(false) => value.extend_from_slice(b"-0"),
            None => {}
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_distinct() {
        let mut reasons = SentryTraceError::ALL.map(SentryTraceError::reason).to_vec();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), SentryTraceError::ALL.len());
    }

    proptest::proptest! {
        #[test]
        fn what_was_parsed_reads_the_same_after_writing(value in "[0-9a-fA-F]{32}-[0-9a-fA-F]{16}(-[01])?") {
            if let Ok(parsed) = SentryTrace::parse(value.as_bytes()) {
                proptest::prop_assert_eq!(SentryTrace::parse(&parsed.to_value()), Ok(parsed));
                proptest::prop_assert_eq!(parsed.to_value(), value.to_lowercase().into_bytes());
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(value in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let _ = SentryTrace::read([value.as_slice(), value.as_slice()].into_iter());
        }
    }
}
