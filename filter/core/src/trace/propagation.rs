//! The header formats in which a trace context arrives and goes on: one variant each, and all that
//! the rest of the filter knows about a format. Metrics, the lists of CORS, `--explain`, fuzz
//! targets and the tables of the tests go through [`Format::ALL`]; CONTRIBUTING.md, "A header
//! format", says what else a new one needs.

use super::header::HeaderError;
use super::sentry_trace::SentryTrace;
use super::traceparent::Traceparent;
use crate::headers::{Headers, BAGGAGE, SENTRY_TRACE, TRACEPARENT, TRACESTATE};

/// A format. Where several arrive with a request, the first one counts that is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `sentry-trace`, with the dynamic sampling context in `baggage`.
    SentryTrace,
    /// `traceparent` with `tracestate`, W3C Trace Context.
    Traceparent,
}

/// A context as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    /// The format in which it came.
    pub format: Format,
    /// What it says, in the terms of `sentry-trace`.
    pub context: SentryTrace,
    /// Whether the trace id is known to be random, where a format can say so.
    pub is_random: bool,
}

impl Format {
    /// Every format, the one first that comes first.
    pub const ALL: [Self; 2] = [Self::SentryTrace, Self::Traceparent];

    /// The header that carries the ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::SentryTrace => SENTRY_TRACE,
            Self::Traceparent => TRACEPARENT,
        }
    }

    /// Every header of the format, that one first.
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::SentryTrace => &[SENTRY_TRACE, BAGGAGE],
            Self::Traceparent => &[TRACEPARENT, TRACESTATE],
        }
    }

    /// The name of the metric that counts refused headers, without its reason.
    pub fn refused(self) -> &'static str {
        match self {
            Self::SentryTrace => "sentry_trace_refused",
            Self::Traceparent => "traceparent_refused",
        }
    }

    /// Why a header can be refused, each reason once.
    pub const fn errors(self) -> &'static [HeaderError] {
        match self {
            Self::SentryTrace => &SentryTrace::ERRORS,
            Self::Traceparent => &Traceparent::ERRORS,
        }
    }

    /// Reads the context out of a request's headers; `None` if there is none of this format.
    ///
    /// # Errors
    /// The reason why there is a header, but no context that everybody would read alike.
    pub fn extract(self, headers: &Headers) -> Result<Option<Extracted>, HeaderError> {
        let lines = headers.values(self.name());
        let (context, is_random) = match self {
            Self::SentryTrace => (SentryTrace::read(lines)?, false),
            Self::Traceparent => {
                let traceparent = Traceparent::read(lines)?;
                let is_random = traceparent.is_some_and(|it| it.random);
                (traceparent.map(SentryTrace::from), is_random)
            }
        };
        Ok(context.map(|context| Extracted {
            format: self,
            context,
            is_random,
        }))
    }

    /// The header's value for a context. `is_random` says that its trace id is known to be random.
    pub fn inject(self, context: SentryTrace, is_random: bool) -> Vec<u8> {
        match self {
            Self::SentryTrace => context.to_value(),
            Self::Traceparent => Traceparent {
                random: is_random,
                ..Traceparent::from(context)
            }
            .to_value(),
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some of the formats.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Formats(u8);

impl Formats {
    /// All of them.
    pub const ALL: Self = Self((1 << Format::ALL.len()) - 1);
    /// Sentry's own alone.
    pub const SENTRY: Self = Self(Format::SentryTrace.bit());

    /// The same, and another one if it is wanted.
    pub fn and(self, format: Format, is_wanted: bool) -> Self {
        match is_wanted {
            true => Self(self.0 | format.bit()),
            false => self,
        }
    }

    /// Those of both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a format is among them.
    pub fn contain(self, format: Format) -> bool {
        self.0 & format.bit() != 0
    }

    /// Their headers.
    pub fn headers(self) -> impl Iterator<Item = &'static str> + Clone {
        Format::ALL
            .into_iter()
            .filter(move |format| self.contain(*format))
            .flat_map(|format| format.headers().iter().copied())
    }
}

/// Something for each format.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ByFormat<T>([T; Format::ALL.len()]);

impl<T: Copy> ByFormat<Option<T>> {
    /// That of one format.
    pub fn get(&self, format: Format) -> Option<T> {
        *self.0.get(format as usize)?
    }

    /// Sets that of one format.
    pub fn set(&mut self, format: Format, value: T) {
        if let Some(place) = self.0.get_mut(format as usize) {
            *place = Some(value);
        }
    }

    /// Those that are there, each with its format.
    pub fn iter(&self) -> impl Iterator<Item = (Format, T)> + '_ {
        let places = Format::ALL.into_iter().zip(&self.0);
        places.filter_map(|(format, value)| Some((format, (*value)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_stands_at_its_place_and_has_names_of_its_own() {
        for (place, format) in Format::ALL.into_iter().enumerate() {
            assert_eq!(format as usize, place);
            assert_eq!(format.headers().first(), Some(&format.name()));
            let mut reasons: Vec<_> = format.errors().iter().map(|it| it.reason()).collect();
            reasons.sort_unstable();
            reasons.dedup();
            assert_eq!(reasons.len(), format.errors().len(), "{format:?}");
        }
        let all = Format::ALL.into_iter();
        let all = all.fold(Formats::default(), |all, it| all.and(it, true));
        assert_eq!(all, Formats::ALL);
        let mut headers: Vec<_> = all.headers().collect();
        let count = headers.len();
        headers.sort_unstable();
        headers.dedup();
        assert_eq!(headers.len(), count);
    }

    proptest::proptest! {
        /// Whatever a format accepts it writes in one canonical line that reads the same, and what
        /// it refuses it refuses with a reason that is listed.
        #[test]
        fn what_is_extracted_reads_the_same_after_injection(
            values in proptest::collection::vec("[0-9a-fA-F]{0,2}-?[0-9a-fA-F]{32}-[0-9a-f]{16}(-[0-9a-f]{1,2})?(-.*)?|[ -~]{0,60}", 0..3)
        ) {
            for format in Format::ALL {
                let lines = values.iter().map(|value| (format.name().as_bytes(), value.as_bytes()));
                match format.extract(&Headers::from_pairs(lines)) {
                    Ok(None) => proptest::prop_assert!(values.is_empty()),
                    Ok(Some(extracted)) => {
                        let value = format.inject(extracted.context, extracted.is_random);
                        let line = [(format.name().as_bytes(), value.as_slice())];
                        let again = format.extract(&Headers::from_pairs(line));
                        proptest::prop_assert_eq!(again, Ok(Some(extracted)));
                    }
                    Err(error) => proptest::prop_assert!(format.errors().contains(&error)),
                }
            }
        }
    }
}
