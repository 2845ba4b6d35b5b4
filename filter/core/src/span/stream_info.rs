//! What Envoy says about a stream that has ended.

use super::interval::Interval;
use super::response_flags::ResponseFlags;
use super::{OpenSpan, Request};
use crate::attribute::Attribute;
use crate::host::HostCalls;
use crate::live::{sum, HeapBytes};

/// The details of a response that Envoy follows itself.
const INTERNAL_REDIRECT: &str = "internal_redirect";

/// Everything may be missing, in any phase and on any host. Times are in nanoseconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// When the request began, since the epoch.
    pub start_ns: Option<u64>,
    /// How long it took, from the first byte of the request to the last of the response.
    pub duration_ns: Option<u64>,
    /// The status the client got; absent if it got none.
    pub response_code: Option<u16>,
    /// Envoy's explanation of the response.
    pub response_code_details: Option<String>,
    /// Whether that explanation is there and says nothing, as with a response that a filter has put
    /// in the place of one on its way.
    pub has_empty_details: bool,
    /// What Envoy noted about the stream.
    pub response_flags: ResponseFlags,
    /// The bytes of the response's body.
    pub response_size: Option<u64>,
    /// The bytes of the request's body.
    pub request_size: Option<u64>,
    /// The status of a gRPC call, from the trailers or the headers; one that is no number is
    /// [`Self::NO_GRPC_CODE`]. Not Envoy's attribute for it, which derives one from the status code
    /// where there is none.
    pub grpc_status: Option<u64>,
    /// Whether the response is Envoy's own although it says that one had started: the upstream sent
    /// nothing but interim responses (1xx).
    pub is_own_response: bool,
    /// The protocol of the request, such as `HTTP/1.1`.
    pub protocol: Option<String>,
    /// The TLS version of the client's connection.
    pub tls_version: Option<String>,
    /// The client's address and port, if they may leave.
    pub client_address: Option<String>,
    /// The name of Envoy's route.
    pub route_name: Option<Vec<u8>>,
    /// The cluster that was chosen.
    pub cluster_name: Option<String>,
    /// The call to the upstream; absent if no host was chosen.
    pub upstream: Option<UpstreamInfo>,
    /// The host's clock at the end, since the epoch; only where Envoy did not tell the times.
    pub now_ns: u64,
}

/// What Envoy says about the call to the upstream: about the last attempt, if there were several
/// (seen on 1.40).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UpstreamInfo {
    /// The host's address and port.
    pub address: String,
    /// How many attempts were made.
    pub attempts: u64,
    /// How long the attempt waited for a connection of the pool.
    pub pool_wait_ns: Option<u64>,
    /// From the first byte sent to the last byte received; absent if the response did not come to
    /// its end.
    pub latency_ns: Option<u64>,
    /// Why the connection failed.
    pub transport_failure: Option<String>,
    /// The TLS version of the connection.
    pub tls_version: Option<String>,
}

impl StreamInfo {
    /// Asks for what the span needs and is not known yet. What is only there in some cases is only
    /// asked for in these: every attribute costs a host call.
    pub fn read(span: &OpenSpan, sends_client_address: bool, calls: &mut HostCalls<'_>) -> Self {
        let request = span.current_request();
        let is_https = request.scheme.as_deref() == Some("https");
        let mut host = Attributes(calls);
        let response_flags = host.response_flags();
        let start_ns = host.number(Attribute::RequestTime);
        let duration_ns = host.number(Attribute::RequestDuration);
        let response_code = host.response_code();
        let details = host.text_or_empty(Attribute::ResponseCodeDetails);
        let has_empty_details = details.as_deref() == Some("");
        let response_code_details = details.filter(|_| !has_empty_details);
        let starts = response_code_details.as_deref().is_some_and(is_late_reset);
        let (grpc_status, header) = host.grpc_status(request.is_grpc);
        // Envoy's router writes the upstream's time beside every final response of an upstream. A
        // gRPC status in the headers ends a response, so that one which was reset has none.
        let may_be_own = starts && (response_code >= Some(400) || header.is_some());
        let service_time = host.bytes_if(may_be_own, Attribute::UpstreamServiceTime);
        // Envoy says those of the next request already.
        let is_last = response_code_details.as_deref() != Some(INTERNAL_REDIRECT);
        let needs_clock = start_ns.is_none() || duration_ns.is_none();
        Self {
            start_ns,
            duration_ns,
            now_ns: if needs_clock { host.0.now_ns() } else { 0 },
            response_code,
            response_code_details,
            has_empty_details,
            response_flags,
            response_size: host.number_if(response_code.is_some(), Attribute::ResponseSize),
            request_size: host.number_if(request.has_body(), Attribute::RequestSize),
            grpc_status,
            is_own_response: may_be_own && service_time.is_none(),
            protocol: host.text(Attribute::RequestProtocol),
            tls_version: host.text_if(is_https, Attribute::TlsVersion),
            client_address: host.text_if(sends_client_address, Attribute::SourceAddress),
            route_name: host.bytes_if(is_last, Attribute::RouteName),
            cluster_name: host.text_if(is_last, Attribute::ClusterName),
            upstream: host
                .text(Attribute::UpstreamAddress)
                .map(|address| UpstreamInfo {
                    address,
                    attempts: host
                        .number(Attribute::UpstreamRequestAttemptCount)
                        .unwrap_or(1),
                    pool_wait_ns: host.number(Attribute::UpstreamPoolReadyDuration),
                    latency_ns: host.number(Attribute::ResponseBackendLatency),
                    transport_failure: host.text_if(
                        !response_flags.is_empty(),
                        Attribute::UpstreamTransportFailureReason,
                    ),
                    tls_version: host.text(Attribute::UpstreamTlsVersion),
                }),
        }
    }

    /// The code of a response, and nothing else.
    pub(crate) fn read_code(calls: &mut HostCalls<'_>) -> Self {
        Self {
            response_code: Attributes(calls).response_code(),
            ..Self::default()
        }
    }

    /// The status of a gRPC call.
    pub(crate) fn read_grpc_status(&mut self, calls: &mut HostCalls<'_>) {
        self.grpc_status = Attributes(calls).grpc_status(true).0;
    }

    /// What tells one failure from another.
    pub(crate) fn read_failure(&mut self, calls: &mut HostCalls<'_>) {
        let mut host = Attributes(calls);
        self.response_flags = host.response_flags();
        self.response_code_details = host.text(Attribute::ResponseCodeDetails);
        self.route_name = host.bytes_if(true, Attribute::RouteName);
        self.cluster_name = host.text(Attribute::ClusterName);
        self.now_ns = host.0.now_ns();
    }

    /// From when to when the stream was there.
    pub fn times(&self) -> Interval {
        let start_ns = self
            .start_ns
            .unwrap_or_else(|| self.now_ns.saturating_sub(self.duration_ns.unwrap_or(0)));
        Interval {
            start_ns,
            end_ns: match self.duration_ns {
                Some(duration_ns) => start_ns.saturating_add(duration_ns),
                None => self.now_ns.max(start_ns),
            },
        }
    }

    /// What a gRPC status is that is no number.
    pub const NO_GRPC_CODE: u64 = u64::MAX;

    /// Whether the stream became a tunnel: 2xx to a `CONNECT` (RFC 9110, §9.3.6), or an upgrade.
    pub fn is_tunnel(&self, request: &Request) -> bool {
        match self.response_code {
            Some(101) => true,
            Some(200..=299) => request.is_connect(),
            _ => false,
        }
    }

    /// Whether Envoy says that the upstream was gone after its response had started.
    pub fn says_response_started(&self) -> bool {
        self.response_code_details
            .as_deref()
            .is_some_and(is_late_reset)
    }

    /// Whether something took too long. Limits of the connection manager have no flag, only details
    /// (seen on 1.40).
    pub fn timed_out(&self) -> bool {
        const DETAILS: [&str; 3] = [
            "max_duration_timeout",
            "request_overall_timeout",
            "request_header_timeout",
        ];
        let details = self.response_code_details.as_deref().unwrap_or_default();
        self.response_flags.timed_out() || DETAILS.contains(&details)
    }

    /// Whether the upstream's response was taken as the way to another one: Envoy runs the filters
    /// again, for the same request of the client.
    pub fn is_internal_redirect(&self) -> bool {
        let details = self.response_code_details.as_deref();
        Self::is_redirect(details.unwrap_or_default().as_bytes())
    }

    /// Whether Envoy's explanation of a response says so.
    pub fn is_redirect(details: &[u8]) -> bool {
        details == INTERNAL_REDIRECT.as_bytes()
    }
}

impl HeapBytes for StreamInfo {
    fn heap_bytes(&self) -> usize {
        let texts = [
            &self.response_code_details,
            &self.protocol,
            &self.tls_version,
            &self.client_address,
            &self.cluster_name,
        ];
        let upstream = self.upstream.iter().flat_map(|upstream| {
            let optional = [&upstream.transport_failure, &upstream.tls_version];
            let optional = optional.map(HeapBytes::heap_bytes).into_iter();
            optional.chain([upstream.address.heap_bytes()])
        });
        let all = texts.into_iter().map(HeapBytes::heap_bytes);
        sum(all.chain(upstream), self.route_name.heap_bytes())
    }
}

fn is_late_reset(details: &str) -> bool {
    details.starts_with("upstream_reset_after_response_started")
}

/// Attributes of the end of a stream, some of which are only asked for in some cases.
struct Attributes<'a, 'h>(&'a mut HostCalls<'h>);

impl Attributes<'_, '_> {
    fn bytes_if(&mut self, is_asked: bool, attribute: Attribute) -> Option<Vec<u8>> {
        is_asked.then(|| self.0.text(attribute))?
    }

    fn response_flags(&mut self) -> ResponseFlags {
        let bits = self.number(Attribute::ResponseFlags).unwrap_or_default();
        ResponseFlags::from_bits(bits)
    }

    /// Envoy says 0 where the client got no response.
    fn response_code(&mut self) -> Option<u16> {
        let code = self.number(Attribute::ResponseCode)?;
        u16::try_from(code).ok().filter(|code| *code > 0)
    }

    /// The status of a gRPC call, and that of one without a body.
    fn grpc_status(&mut self, is_grpc: bool) -> (Option<u64>, Option<u64>) {
        let trailer = self.grpc_status_if(is_grpc, Attribute::GrpcTrailer);
        let header = self.grpc_status_if(is_grpc && trailer.is_none(), Attribute::GrpcHeader);
        (trailer.or(header), header)
    }

    /// A text that says something.
    fn text(&mut self, attribute: Attribute) -> Option<String> {
        self.text_or_empty(attribute)
            .filter(|text| !text.is_empty())
    }

    fn text_or_empty(&mut self, attribute: Attribute) -> Option<String> {
        let bytes = self.0.text(attribute)?;
        // What is text already stays where it is.
        Some(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// The digits of a gRPC status. One without a value is as good as none.
    fn grpc_status_if(&mut self, is_asked: bool, attribute: Attribute) -> Option<u64> {
        let status = self.bytes_if(is_asked, attribute)?;
        let mut code: u64 = 0;
        for byte in &status {
            let digit = byte.wrapping_sub(b'0');
            code = match digit {
                0..=9 => code.saturating_mul(10).saturating_add(digit.into()),
                _ => StreamInfo::NO_GRPC_CODE,
            };
        }
        (!status.is_empty()).then_some(code)
    }

    fn text_if(&mut self, is_asked: bool, attribute: Attribute) -> Option<String> {
        is_asked.then(|| self.text(attribute))?
    }

    fn number(&mut self, attribute: Attribute) -> Option<u64> {
        self.0.number(attribute)
    }

    fn number_if(&mut self, is_asked: bool, attribute: Attribute) -> Option<u64> {
        is_asked.then(|| self.number(attribute))?
    }
}
