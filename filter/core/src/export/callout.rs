//! One POST to Sentry, as the host is to make it.

use std::sync::Arc;

use crate::envelope::client_report::ClientReport;
use crate::envelope::EncodedSegment;
use crate::quantity::Quantity;

/// One POST to Sentry.
#[derive(Debug)]
pub struct Callout {
    /// The Envoy cluster that takes it.
    pub cluster: Arc<str>,
    /// Pseudo headers and headers.
    pub headers: Arc<[(&'static str, String)]>,
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
