//! What the core and the door to its host exchange.
//!
//! Most of it crosses as values: headers and events go in, mutations, additions and commands come
//! out. What the core can only know to need while it works is asked for through [`RequestHost`],
//! lazily, because every call to a host costs. Any call may be refused, in any phase and on any
//! host: its value is then missing, and the refusal is counted.

use std::error::Error;
use std::fmt;

use crate::attribute::Attribute;
use crate::headers::Headers;
use crate::route_metadata::RouteMetadata;

/// Why a call to the host has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// The host does not have this call at all.
    Unavailable,
    /// The host refused it this time, with the status of its ABI.
    Refused(u32),
    /// What came back is not what the ABI promises.
    Malformed,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the host does not have this call"),
            Self::Refused(status) => write!(f, "status {status}"),
            Self::Malformed => f.write_str("malformed data"),
        }
    }
}

impl Error for HostError {}

/// What the core asks the host of one stream for. A host that lacks something need not implement
/// it: by default there is nothing.
pub trait RequestHost {
    /// The time in nanoseconds since the epoch; 0 if there is no clock.
    ///
    /// # Errors
    /// The host refused.
    fn now_ns(&mut self) -> Result<u64, HostError> {
        Ok(0)
    }

    /// Fills a buffer with random bytes.
    ///
    /// # Errors
    /// There are none to be had.
    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError>;

    /// An attribute that is a number: a count, a code, a duration or a time in nanoseconds.
    ///
    /// # Errors
    /// The host refused.
    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        let _ = attribute;
        Ok(None)
    }

    /// An attribute that is a text, which need not be UTF-8.
    ///
    /// # Errors
    /// The host refused.
    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        let _ = attribute;
        Ok(None)
    }

    /// What the route's own metadata has for this filter: see [`RouteMetadata::read`].
    ///
    /// # Errors
    /// The host refused.
    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        Ok(RouteMetadata::default())
    }

    /// The token that [`crate::tracer::Tracer::on_end`] gave for the request that Envoy has turned
    /// into this one. It must come from where no caller can write.
    ///
    /// # Errors
    /// The host refused.
    fn redirect_token(&mut self) -> Result<Option<u64>, HostError> {
        Ok(None)
    }

    /// The headers of the request as they are now.
    ///
    /// # Errors
    /// The host refused.
    fn request_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(None)
    }

    /// The headers of the response as they are now; `None` if there is no response.
    ///
    /// # Errors
    /// The host refused.
    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        Ok(None)
    }

    /// Whether the response has a header. Asked first, where a host can tell for less than all
    /// headers cost.
    ///
    /// # Errors
    /// The host refused.
    fn has_response_header(&mut self, name: &'static str) -> Result<bool, HostError> {
        let headers = self.response_headers()?;
        Ok(headers.is_some_and(|headers| headers.value(name).is_some()))
    }
}

/// The calls to the host for one callback. A call that is refused counts, and its value is missing.
pub struct HostCalls<'a> {
    host: &'a mut dyn RequestHost,
    entropy: &'a mut Entropy,
    refused: u32,
}

impl<'a> HostCalls<'a> {
    /// Calls to a host, with what is left of the random bytes of earlier ones.
    pub fn new(host: &'a mut dyn RequestHost, entropy: &'a mut Entropy) -> Self {
        Self {
            host,
            entropy,
            refused: 0,
        }
    }

    /// How many calls the host has refused.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// The time in nanoseconds since the epoch; 0 if there is no clock.
    pub fn now_ns(&mut self) -> u64 {
        let now_ns = self.host.now_ns();
        self.accept(now_ns).unwrap_or_default()
    }

    /// Fills a buffer with random bytes; `false` if there are none to be had.
    pub fn fill_random(&mut self, buffer: &mut [u8]) -> bool {
        let filled = self.entropy.fill(self.host, buffer);
        self.accept(filled).is_some()
    }

    /// An attribute that is a number. A negative one means that it is not known.
    pub fn number(&mut self, attribute: Attribute) -> Option<u64> {
        let number = self.host.number(attribute);
        u64::try_from(self.accept(number)??).ok()
    }

    /// An attribute that is a text.
    pub fn text(&mut self, attribute: Attribute) -> Option<Vec<u8>> {
        let text = self.host.text(attribute);
        self.accept(text)?
    }

    /// What the route's own metadata says.
    pub fn route_metadata(&mut self) -> RouteMetadata {
        let metadata = self.host.route_metadata();
        self.accept(metadata).unwrap_or_default()
    }

    /// The token of the request before an internal redirect.
    pub fn redirect_token(&mut self) -> Option<u64> {
        let token = self.host.redirect_token();
        self.accept(token)?
    }

    /// The headers of the request.
    pub fn request_headers(&mut self) -> Option<Headers> {
        let headers = self.host.request_headers();
        self.accept(headers)?
    }

    /// The headers of the response.
    pub fn response_headers(&mut self) -> Option<Headers> {
        let headers = self.host.response_headers();
        self.accept(headers)?
    }

    /// Whether the response has a header. One that cannot be read is there, for all we know.
    pub fn has_response_header(&mut self, name: &'static str) -> bool {
        let has = self.host.has_response_header(name);
        self.accept(has).unwrap_or(true)
    }

    fn accept<T>(&mut self, result: Result<T, HostError>) -> Option<T> {
        self.refused = self.refused.saturating_add(result.is_err().into());
        result.ok()
    }
}

/// Random bytes, fetched for many requests at once: a call to the host costs more than the bytes.
#[derive(Debug)]
pub struct Entropy {
    stock: Vec<u8>,
    /// How many bytes are fetched at once, unless more are needed.
    fetched: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new(768)
    }
}

impl Entropy {
    /// No random bytes yet; so many will be fetched at once, unless more are needed.
    pub fn new(fetched: usize) -> Self {
        Self {
            stock: Vec::new(),
            fetched,
        }
    }

    fn fill(&mut self, host: &mut dyn RequestHost, buffer: &mut [u8]) -> Result<(), HostError> {
        if self.stock.len() < buffer.len() {
            self.stock.resize(self.fetched.max(buffer.len()), 0);
            if let Err(error) = host.fill_random(&mut self.stock) {
                self.stock.clear();
                return Err(error);
            }
        }
        for byte in buffer {
            *byte = self.stock.pop().ok_or(HostError::Malformed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random bytes that count up, and how often they were asked for.
    struct Counting(u8, usize);

    impl RequestHost for Counting {
        fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
            self.1 += 1;
            for byte in buffer {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
            Ok(())
        }
    }

    #[test]
    fn random_bytes_are_fetched_for_many_requests_and_used_once() {
        let (mut host, mut entropy) = (Counting(0, 0), Entropy::default());
        let mut seen = Vec::new();
        for _ in 0..32 {
            let mut bytes = [0; 8];
            assert!(HostCalls::new(&mut host, &mut entropy).fill_random(&mut bytes));
            seen.extend(bytes);
        }
        assert_eq!(host.1, 1);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256, "each byte of the stock once");
    }

    #[test]
    fn a_host_without_random_bytes_is_asked_again() {
        struct Refusing(usize);
        impl RequestHost for Refusing {
            fn fill_random(&mut self, _buffer: &mut [u8]) -> Result<(), HostError> {
                self.0 += 1;
                Err(HostError::Refused(10))
            }
        }
        let (mut host, mut entropy) = (Refusing(0), Entropy::default());
        for _ in 0..2 {
            let mut calls = HostCalls::new(&mut host, &mut entropy);
            assert!(!calls.fill_random(&mut [0; 8]));
            assert_eq!(calls.refused(), 1);
        }
        assert_eq!(host.0, 2);
    }
}
