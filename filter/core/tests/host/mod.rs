//! The host of the integration tests and benchmarks: random bytes that never repeat, a clock that
//! stands still, attributes at will, and the headers of a request and its response.

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{HostError, RequestHost};

/// A host. By default it knows of nothing but random bytes.
pub struct Host<'a> {
    /// The time.
    pub now_ns: u64,
    /// What attributes are that are numbers.
    pub number: &'a dyn Fn(Attribute) -> Option<i64>,
    /// What attributes are that are texts.
    pub text: &'a dyn Fn(Attribute) -> Option<Vec<u8>>,
    /// The headers of the request, as they are at its end.
    pub request: Option<Headers>,
    /// The headers of the response.
    pub response: Option<Headers>,
    /// What the random bytes come from.
    pub random: u64,
}

impl Default for Host<'_> {
    fn default() -> Self {
        Self {
            now_ns: 0,
            number: &|_| None,
            text: &|_| None,
            request: None,
            response: None,
            random: 1,
        }
    }
}

impl RequestHost for Host<'_> {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        Ok(self.now_ns)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        for byte in buffer {
            // Knuth's multiplier: good enough for ids that differ.
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = self.random.to_be_bytes()[0];
        }
        Ok(())
    }

    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        Ok((self.number)(attribute))
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        Ok((self.text)(attribute))
    }

    fn request_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(self.request.clone())
    }

    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(self.response.clone())
    }

    fn has_response_header(&mut self, name: &'static str) -> Result<bool, HostError> {
        let response = self.response.as_ref();
        Ok(response.is_some_and(|headers| headers.value(name).is_some()))
    }
}
