//! What the formats of a trace context have in common: the reasons to refuse a header, and several
//! lines that say one thing.

use std::error::Error;
use std::fmt;

use crate::headers::trim;
use crate::id::ParseIdError;

/// Why a header that carries a trace context is refused. The reason is a metric's name, a table
/// row's expectation and a word in the documentation; which of them a format has says
/// [`Format::errors`](super::propagation::Format::errors).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// No value, or white space only.
    Empty,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Too short, too long, or without the dashes where they belong.
    WrongLength,
    /// Something else than the digits of a version.
    MalformedVersion,
    /// A version that does not exist.
    ForbiddenVersion,
    /// Something else than hex digits in the trace id.
    MalformedTraceId,
    /// Something else than hex digits in the span id.
    MalformedSpanId,
    /// The same, where the format calls it the parent id.
    MalformedParentId,
    /// A trace id of zeros.
    ZeroTraceId,
    /// A span id of zeros.
    ZeroSpanId,
    /// The same, where the format calls it the parent id.
    ZeroParentId,
    /// Something else than a decision where one belongs.
    MalformedSampled,
    /// Something else than the digits of the flags.
    MalformedFlags,
    /// Several values that differ, in several lines or joined by commas.
    Conflicting,
}

impl HeaderError {
    /// The stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not_utf8",
            Self::WrongLength => "wrong_length",
            Self::MalformedVersion => "malformed_version",
            Self::ForbiddenVersion => "forbidden_version",
            Self::MalformedTraceId => "malformed_trace_id",
            Self::MalformedSpanId => "malformed_span_id",
            Self::MalformedParentId => "malformed_parent_id",
            Self::ZeroTraceId => "zero_trace_id",
            Self::ZeroSpanId => "zero_span_id",
            Self::ZeroParentId => "zero_parent_id",
            Self::MalformedSampled => "malformed_sampled",
            Self::MalformedFlags => "malformed_flags",
            Self::Conflicting => "conflicting",
        }
    }

    /// What is wrong with an id, in the words of the place where it stands.
    pub(super) fn of_id(malformed: Self, zero: Self) -> impl Fn(ParseIdError) -> Self {
        move |error| match error {
            ParseIdError::Malformed => malformed,
            ParseIdError::Zero => zero,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Error for HeaderError {}

/// The one value of all lines of a header, without surrounding white space. Values that are the
/// same, in several lines or joined by commas, are one (filter.md §3.1).
///
/// # Errors
/// No line has a value, or two have different ones.
pub(super) fn only_value<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
    are_same: fn(&[u8], &[u8]) -> bool,
) -> Result<Option<&'a [u8]>, HeaderError> {
    let mut rest = lines.clone();
    let Some(line) = rest.next() else {
        return Ok(None);
    };
    // As nearly everybody sends it.
    if rest.next().is_none() && !line.contains(&b',') {
        let value = Some(trim(line)).filter(|value| !value.is_empty());
        return value.map(Some).ok_or(HeaderError::Empty);
    }
    let mut values = lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(trim)
        .filter(|value| !value.is_empty());
    let first = values.next().ok_or(HeaderError::Empty)?;
    match values.all(|other| are_same(other, first)) {
        true => Ok(Some(first)),
        false => Err(HeaderError::Conflicting),
    }
}
