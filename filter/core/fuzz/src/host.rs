//! A host whose every value an input may decide.

use sentry_filter_codec::attributes::{self, PrefetchedAttributes};
use sentry_filter_codec::route_metadata;
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{HostError, RequestHost};
use sentry_filter_core::route_metadata::RouteMetadata;

use super::request::NOW_NS;

/// What a request meets: randomness, a clock that stands still, and attributes.
pub struct Host {
    seed: u8,
    calls: u64,
    pub attributes: Vec<(Attribute, Vec<u8>)>,
    /// What it gives at once at the end of a stream.
    pub prefetched: PrefetchedAttributes,
    /// What the route's metadata is, as Envoy gives it.
    pub metadata: Option<Vec<u8>>,
    /// The headers of the response.
    pub response: Option<Headers>,
    /// What the end of the stream before a redirect left.
    pub redirect_token: Option<u64>,
}

impl Host {
    /// A host whose randomness a byte decides: of eight, six have it, one has only zeros, one has
    /// none.
    pub fn new(seed: u8) -> Self {
        Self {
            seed,
            calls: 0,
            attributes: Vec::new(),
            prefetched: PrefetchedAttributes::default(),
            metadata: None,
            response: None,
            redirect_token: None,
        }
    }
}

impl RequestHost for Host {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        Ok(NOW_NS)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        let seed = self.seed;
        for byte in buffer {
            self.calls += 1;
            // Knuth's multiplicative generator: neighbours differ, and a finding comes again.
            let mixed = (self.calls + (u64::from(seed) << 32))
                .wrapping_mul(6_364_136_223_846_793_005)
                .rotate_left(17);
            *byte = if seed % 8 == 7 { 0 } else { mixed as u8 };
        }
        match seed % 8 {
            6 => Err(HostError::Unavailable),
            _ => Ok(()),
        }
    }

    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        let bytes = self.text(attribute)?;
        Ok(bytes.and_then(|bytes| attributes::number(&bytes)))
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        if PrefetchedAttributes::includes(attribute) {
            if let Some(bytes) = self.prefetched.get(attribute) {
                return Ok(Some(bytes.to_vec()));
            }
        }
        let known = self
            .attributes
            .iter()
            .find(|(known, _)| *known == attribute);
        Ok(known.map(|(_, value)| value.clone()))
    }

    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        let metadata = self.metadata.clone();
        Ok(metadata.map(route_metadata::read).unwrap_or_default())
    }

    fn redirect_token(&mut self) -> Result<Option<u64>, HostError> {
        Ok(self.redirect_token.take())
    }

    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(self.response.clone())
    }
}
