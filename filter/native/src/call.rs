//! What the core asks for while it works on a stream.

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{HostError, RequestHost};
use sentry_filter_core::route_metadata::{MetadataValue, RouteMetadata};

use crate::abi::{attribute, Moment, Timing};
use crate::host::{self, StreamHandle};
use crate::worker::Redirect;

/// The namespace of the filter's settings in a route's metadata.
const NAMESPACE: &str = "sentry";

/// One hook of a stream.
pub struct Call<'a> {
    handle: StreamHandle<'a>,
    /// When the stream began by the filter's own clock, where Envoy does not tell; 0 if it does.
    started_ns: u64,
    /// When the filter let the request go, as far as it was asked; 0 if not.
    now_ns: u64,
    /// What the stream may be the successor of.
    redirect: Option<Redirect>,
    timing: Option<Timing>,
}

impl<'a> Call<'a> {
    /// The hook of a stream.
    pub fn new(handle: StreamHandle<'a>, started_ns: u64, redirect: Option<Redirect>) -> Self {
        Self {
            handle,
            started_ns,
            now_ns: 0,
            redirect,
            timing: None,
        }
    }

    /// A moment in nanoseconds since the stream's beginning, but for [`Moment::Start`]; asked for
    /// once.
    fn moment(&mut self, moment: Moment) -> Option<i64> {
        let handle = self.handle;
        let timing = self
            .timing
            .get_or_insert_with(|| handle.timing().unwrap_or(Timing::NONE));
        timing.get(moment)
    }

    /// When the client's request began, by Envoy's clock.
    pub fn start_ns(&mut self) -> Option<i64> {
        self.moment(Moment::Start)
    }

    fn between(&mut self, from: Moment, to: Moment) -> Option<i64> {
        let (from, to) = (self.moment(from)?, self.moment(to)?);
        to.checked_sub(from)
    }

    /// How long the request waited for its connection, if that was opened since the filter let it
    /// go. How long it waited for one that was there and busy, Envoy does not tell.
    fn connect_ns(&mut self) -> Option<i64> {
        let opened = self.moment(Moment::UpstreamConnectStart)?;
        let opened_ns = self.start_ns()?.checked_add(opened)?;
        if self.now_ns == 0 || opened_ns < signed(self.now_ns)? {
            return None;
        }
        self.moment(Moment::UpstreamFirstSent)?.checked_sub(opened)
    }

    /// The last time that was asked for.
    pub fn last_ns(&self) -> u64 {
        self.now_ns
    }

    /// The hook of a stream that was let go at a time.
    pub fn let_go_at(mut self, now_ns: u64) -> Self {
        self.now_ns = now_ns;
        self
    }

    /// What the client says of its body, which Envoy's attribute takes its word for in Wasm.
    fn content_length(&self) -> Option<i64> {
        let text = self.handle.request_header("content-length")?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    fn metadata(&self, key: &'static str) -> Option<MetadataValue> {
        let handle = self.handle;
        if let Some(text) = handle.route_text(NAMESPACE, key) {
            return Some(MetadataValue::Text(
                String::from_utf8_lossy(text).into_owned(),
            ));
        }
        let number = handle
            .route_number(NAMESPACE, key)
            .map(MetadataValue::Number);
        number.or_else(|| handle.route_flag(NAMESPACE, key).map(MetadataValue::Flag))
    }
}

fn signed(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

impl RequestHost for Call<'_> {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        self.now_ns = host::now_ns();
        Ok(self.now_ns)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        match host::fill_random(buffer) {
            true => Ok(()),
            false => Err(HostError::Unavailable),
        }
    }

    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        let handle = self.handle;
        let number = |id| handle.number(id).and_then(signed);
        Ok(match attribute {
            Attribute::RequestTime => match self.started_ns {
                0 => self.moment(Moment::Start),
                started_ns => signed(started_ns),
            },
            Attribute::RequestDuration => self
                .moment(Moment::RequestComplete)
                .or_else(|| self.moment(Moment::DownstreamLastSent)),
            Attribute::ResponseBackendLatency => {
                self.between(Moment::UpstreamFirstSent, Moment::UpstreamLastReceived)
            }
            Attribute::UpstreamPoolReadyDuration => self.connect_ns(),
            Attribute::ResponseCode => number(attribute::RESPONSE_CODE),
            Attribute::ResponseFlags => number(attribute::RESPONSE_FLAGS),
            Attribute::ResponseSize => number(attribute::RESPONSE_SIZE),
            Attribute::RequestSize => self
                .content_length()
                .or_else(|| number(attribute::REQUEST_SIZE)),
            Attribute::UpstreamRequestAttemptCount => number(attribute::UPSTREAM_ATTEMPTS),
            // These are texts.
            Attribute::RequestProtocol
            | Attribute::ResponseCodeDetails
            | Attribute::GrpcTrailer
            | Attribute::GrpcHeader
            | Attribute::UpstreamServiceTime
            | Attribute::UpstreamAddress
            | Attribute::UpstreamTransportFailureReason
            | Attribute::UpstreamTlsVersion
            | Attribute::TlsVersion
            | Attribute::SourceAddress
            | Attribute::RouteName
            | Attribute::ClusterName => None,
        })
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        let handle = self.handle;
        let text = match attribute {
            Attribute::RequestProtocol => handle.text(attribute::REQUEST_PROTOCOL),
            Attribute::ResponseCodeDetails => handle.text(attribute::RESPONSE_CODE_DETAILS),
            Attribute::GrpcTrailer => handle.response_trailer("grpc-status"),
            Attribute::GrpcHeader => handle.response_header("grpc-status"),
            Attribute::UpstreamServiceTime => {
                handle.response_header("x-envoy-upstream-service-time")
            }
            Attribute::UpstreamAddress => handle.text(attribute::UPSTREAM_ADDRESS),
            Attribute::UpstreamTransportFailureReason => {
                handle.text(attribute::UPSTREAM_TRANSPORT_FAILURE)
            }
            Attribute::UpstreamTlsVersion => handle.text(attribute::UPSTREAM_TLS_VERSION),
            Attribute::TlsVersion => handle.text(attribute::CONNECTION_TLS_VERSION),
            Attribute::SourceAddress => handle.text(attribute::SOURCE_ADDRESS),
            Attribute::RouteName => handle.text(attribute::ROUTE_NAME),
            Attribute::ClusterName => handle.cluster_name(),
            // These are numbers.
            Attribute::RequestTime
            | Attribute::RequestDuration
            | Attribute::ResponseBackendLatency
            | Attribute::UpstreamPoolReadyDuration
            | Attribute::ResponseCode
            | Attribute::ResponseFlags
            | Attribute::ResponseSize
            | Attribute::RequestSize
            | Attribute::UpstreamRequestAttemptCount => None,
        };
        Ok(text.map(<[u8]>::to_vec))
    }

    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        // What is written for this filter comes before what is written for any.
        if let Some(config) = self.handle.route_config() {
            return Ok(config.0.clone());
        }
        if !self.handle.has_route_metadata(NAMESPACE) {
            return Ok(RouteMetadata::default());
        }
        Ok(RouteMetadata::read(|key| self.metadata(key)))
    }

    fn redirect_token(&mut self) -> Result<Option<u64>, HostError> {
        let start_ns = self.start_ns();
        let redirect = self.redirect.take();
        let is_successor = |redirect: &Redirect| start_ns == Some(redirect.start_ns);
        Ok(redirect.filter(is_successor).map(|redirect| redirect.token))
    }

    fn request_headers(&mut self) -> Result<Option<Headers>, HostError> {
        self.handle.request_headers().map(Some)
    }

    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        self.handle.response_headers()
    }

    fn has_response_header(&mut self, name: &'static str) -> Result<bool, HostError> {
        Ok(self.handle.response_header(name).is_some())
    }
}
