//! The `traceparent` header, W3C Trace Context.
//!
//! ```text
//! traceparent: 00-771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-01
//!              |  trace id (32 hex digits)         parent id (16)   flags: bit 0 sampled,
//!              |                                                           bit 1 random trace id
//!              version
//! ```
//! A higher version than 00 is read as far as 00 goes, and written as 00.

use super::header::{only_value, HeaderError};
use super::sentry_trace::SentryTrace;
use crate::id::{ParseIdError, SpanId, TraceId};

/// The length of a value of version 00, and of what is read of a higher one.
const LENGTH: usize = 55;

/// Bit 0 of the flags: the caller has recorded.
const SAMPLED: u8 = 1;
/// Bit 1 of the flags: the trace id was made at random.
const RANDOM: u8 = 2;

/// The trace context that a `traceparent` header carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace that the request belongs to.
    pub trace_id: TraceId,
    /// The span that sent the request.
    pub parent_id: SpanId,
    /// Whether the caller has recorded. A clear bit also stands for a decision that was deferred
    /// (sentry-protocol.md §5.3).
    pub sampled: bool,
    /// Whether the trace id is known to be random.
    pub random: bool,
}

/// What a `sentry-trace` says, as far as `traceparent` can: a deferred decision is a clear bit
/// (sentry-protocol.md §5.3).
impl From<SentryTrace> for Traceparent {
    fn from(context: SentryTrace) -> Self {
        Self {
            trace_id: context.trace_id,
            parent_id: context.span_id,
            sampled: context.sampled == Some(true),
            random: false,
        }
    }
}

/// What a `traceparent` says, in the terms of `sentry-trace`: a clear bit leaves the decision to
/// others (sentry-protocol.md §5.3).
impl From<Traceparent> for SentryTrace {
    fn from(value: Traceparent) -> Self {
        Self {
            trace_id: value.trace_id,
            span_id: value.parent_id,
            sampled: value.sampled.then_some(true),
        }
    }
}

impl Traceparent {
    /// Why a header can be refused.
    pub const ERRORS: [HeaderError; 10] = [
        HeaderError::Empty,
        HeaderError::WrongLength,
        HeaderError::MalformedVersion,
        HeaderError::ForbiddenVersion,
        HeaderError::MalformedTraceId,
        HeaderError::MalformedParentId,
        HeaderError::ZeroTraceId,
        HeaderError::ZeroParentId,
        HeaderError::MalformedFlags,
        HeaderError::Conflicting,
    ];

    /// Reads every line of the header. Equal values are one.
    ///
    /// # Errors
    /// The reason why there is a header, but no context.
    pub fn read<'a>(
        lines: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Option<Self>, HeaderError> {
        only_value(lines, <[u8]>::eq)?.map(Self::parse).transpose()
    }

    /// Reads one value without surrounding white space.
    ///
    /// # Errors
    /// The first thing about it that is wrong, from left to right.
    pub fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        let (known, rest) = value
            .split_at_checked(LENGTH)
            .ok_or(HeaderError::WrongLength)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let mut field = |length: usize| {
            fields
                .next()
                .filter(|field| field.len() == length)
                .ok_or(HeaderError::WrongLength)
        };
        let (version, trace_id, parent_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let version = byte(version).ok_or(HeaderError::MalformedVersion)?;
        match (version, rest) {
            (0xff, _) => return Err(HeaderError::ForbiddenVersion),
            (_, []) => {}
            // What a higher version has more stands behind another dash.
            (1.., [b'-', ..]) => {}
            _ => return Err(HeaderError::WrongLength),
        }
        let trace_id = lower_case(trace_id)
            .ok_or(ParseIdError::Malformed)
            .and_then(TraceId::from_hex)
            .map_err(HeaderError::of_id(
                HeaderError::MalformedTraceId,
                HeaderError::ZeroTraceId,
            ))?;
        let parent_id = lower_case(parent_id)
            .ok_or(ParseIdError::Malformed)
            .and_then(SpanId::from_hex)
            .map_err(HeaderError::of_id(
                HeaderError::MalformedParentId,
                HeaderError::ZeroParentId,
            ))?;
        let flags = byte(flags).ok_or(HeaderError::MalformedFlags)?;
        Ok(Self {
            trace_id,
            parent_id,
            sampled: flags & SAMPLED != 0,
            random: flags & RANDOM != 0,
        })
    }

    /// The header value, in version 00. Flags that nobody knows yet are not passed on.
    pub fn to_value(self) -> Vec<u8> {
        let Self {
            trace_id,
            parent_id,
            sampled,
            random,
        } = self;
        let mut value = Vec::with_capacity(LENGTH);
        value.extend_from_slice(b"00-");
        value.extend_from_slice(trace_id.hex().as_bytes());
        value.push(b'-');
        value.extend_from_slice(parent_id.hex().as_bytes());
        value.extend_from_slice(match (random, sampled) {
            (false, false) => b"-00",
            (false, true) => b"-01",
            (true, false) => b"-02",
            (true, true) => b"-03",
        });
        value
    }
}

/// W3C allows lower case only.
fn lower_case(text: &[u8]) -> Option<&[u8]> {
    (!text.iter().any(u8::is_ascii_uppercase)).then_some(text)
}

/// Two lower-case hex digits.
fn byte(text: &[u8]) -> Option<u8> {
    let [high, low] = text else { return None };
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(character.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    Some((digit(*high)? << 4) | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_was_parsed_reads_the_same_after_writing(value in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") {
            if let Ok(parsed) = Traceparent::parse(value.as_bytes()) {
                proptest::prop_assert_eq!(Traceparent::parse(&parsed.to_value()), Ok(parsed));
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(value in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let _ = Traceparent::read([value.as_slice(), value.as_slice()].into_iter());
        }
    }
}
