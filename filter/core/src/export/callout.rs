//! One POST to Sentry, as the host is to make it.

use std::fmt;
use std::sync::Arc;

use crate::envelope::client_report::ClientReport;
use crate::envelope::EncodedSegment;
use crate::project::ProjectId;
use crate::quantity::Quantity;

/// One POST to Sentry.
#[derive(Debug)]
pub struct Callout {
    /// The project that it is for.
    pub project: ProjectId,
    /// The Envoy cluster that takes it.
    pub cluster: Arc<str>,
    /// Pseudo headers and headers.
    pub headers: Arc<HeaderLines>,
    /// The bytes to post.
    pub body: Vec<u8>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What the bytes were made of, kept in case they do not arrive.
    pub segments: Vec<EncodedSegment>,
    /// The report among them.
    pub report: Option<ClientReport>,
}

impl Callout {
    /// How much it carries.
    pub fn quantity(&self) -> Quantity {
        self.segments.iter().map(EncodedSegment::quantity).sum()
    }
}

/// Header lines of a POST. Their values may be secrets, which are sent and never shown.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct HeaderLines(Vec<(String, String)>);

impl HeaderLines {
    /// Adds lines behind those that are there.
    #[inline(never)]
    pub fn add<'a>(&mut self, lines: &mut dyn Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in lines {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Every line as name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The names alone.
impl fmt::Debug for HeaderLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}
