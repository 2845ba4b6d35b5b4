//! The `sentry-trace` header, sentry-protocol.md §1.
//!
//! ```text
//! sentry-trace: 771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1
//!               trace id (32 hex digits)         span id (16)     sampled: 1, 0, none (deferred)
//! ```
//! SDKs read anything but this form differently (§1.3), so nothing else is passed on: upper-case
//! hex, white space and equal copies are repaired, everything else is refused with a reason.

use super::header::{only_value, HeaderError};
use crate::id::{SpanId, TraceId};

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

impl SentryTrace {
    /// Why a header can be refused.
    pub const ERRORS: [HeaderError; 9] = [
        HeaderError::Empty,
        HeaderError::NotUtf8,
        HeaderError::WrongLength,
        HeaderError::MalformedTraceId,
        HeaderError::MalformedSpanId,
        HeaderError::ZeroTraceId,
        HeaderError::ZeroSpanId,
        HeaderError::MalformedSampled,
        HeaderError::Conflicting,
    ];

    /// Reads every line of the header. Equal values, in several lines or joined by commas, are one
    /// (filter.md §3.1).
    ///
    /// # Errors
    /// The reason why there is a header, but no context that everybody would read alike.
    pub fn read<'a>(
        lines: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Option<Self>, HeaderError> {
        only_value(lines, <[u8]>::eq_ignore_ascii_case)?
            .map(Self::parse)
            .transpose()
    }

    /// Reads one value without surrounding white space.
    ///
    /// # Errors
    /// The first thing about it that is wrong, from left to right.
    pub fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        if value.is_empty() {
            return Err(HeaderError::Empty);
        }
        if std::str::from_utf8(value).is_err() {
            return Err(HeaderError::NotUtf8);
        }
        let (ids, flag) = value
            .split_at_checked(WITHOUT_FLAG)
            .ok_or(HeaderError::WrongLength)?;
        let (trace_id, span_id) = match ids.split_at_checked(32) {
            Some((trace_id, [b'-', span_id @ ..])) => (trace_id, span_id),
            _ => return Err(HeaderError::WrongLength),
        };
        let trace_id = TraceId::from_hex(trace_id).map_err(HeaderError::of_id(
            HeaderError::MalformedTraceId,
            HeaderError::ZeroTraceId,
        ))?;
        let span_id = SpanId::from_hex(span_id).map_err(HeaderError::of_id(
            HeaderError::MalformedSpanId,
            HeaderError::ZeroSpanId,
        ))?;
        let sampled = match flag {
            b"" => None,
            b"-0" => Some(false),
            b"-1" => Some(true),
            [b'-', ..] => return Err(HeaderError::MalformedSampled),
            _ => return Err(HeaderError::WrongLength),
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
