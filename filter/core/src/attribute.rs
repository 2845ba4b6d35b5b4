//! The attributes that the filter asks its host for, by the paths of Envoy's attribute documentation.

/// An attribute. Any of them may be missing in any phase and on any host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// When the request began: nanoseconds since the epoch.
    RequestTime,
    /// How long the request took, in nanoseconds.
    RequestDuration,
    /// The protocol of the request, such as `HTTP/1.1`.
    RequestProtocol,
    /// The status the client got, 0 if it got none.
    ResponseCode,
    /// Envoy's explanation of the response.
    ResponseCodeDetails,
    /// What Envoy noted about the stream, as bits.
    ResponseFlags,
    /// The bytes of the response's body.
    ResponseSize,
    /// The bytes of the request's body.
    RequestSize,
    /// The status of a gRPC call; for plain HTTP one that Envoy derives from the status code.
    GrpcStatus,
    /// From the first byte sent to the upstream to the last one received, in nanoseconds.
    ResponseBackendLatency,
    /// The upstream host's address and port.
    UpstreamAddress,
    /// How many attempts were made to call the upstream.
    UpstreamRequestAttemptCount,
    /// How long the last attempt waited for a connection, in nanoseconds.
    UpstreamPoolReadyDuration,
    /// Why the connection to the upstream failed.
    UpstreamTransportFailureReason,
    /// The TLS version of the connection to the upstream.
    UpstreamTlsVersion,
    /// The TLS version of the client's connection.
    TlsVersion,
    /// The client's address and port.
    SourceAddress,
    /// The name of the route.
    RouteName,
    /// The settings that the route's own metadata has for this filter.
    RouteMetadata,
    /// The cluster that was chosen.
    ClusterName,
    /// The id of Envoy's node.
    NodeId,
}

impl Attribute {
    /// The path as the ABI takes it: its parts joined by NUL.
    pub fn path(self) -> &'static [u8] {
        match self {
            Self::RequestTime => b"request\0time",
            Self::RequestDuration => b"request\0duration",
            Self::RequestProtocol => b"request\0protocol",
            Self::ResponseCode => b"response\0code",
            Self::ResponseCodeDetails => b"response\0code_details",
            Self::ResponseFlags => b"response\0flags",
            Self::ResponseSize => b"response\0size",
            Self::RequestSize => b"request\0size",
            Self::GrpcStatus => b"response\0grpc_status",
            Self::ResponseBackendLatency => b"response\0backend_latency",
            Self::UpstreamAddress => b"upstream\0address",
            Self::UpstreamRequestAttemptCount => b"upstream\0request_attempt_count",
            Self::UpstreamPoolReadyDuration => b"upstream\0cx_pool_ready_duration",
            Self::UpstreamTransportFailureReason => b"upstream\0transport_failure_reason",
            Self::UpstreamTlsVersion => b"upstream\0tls_version",
            Self::TlsVersion => b"connection\0tls_version",
            Self::SourceAddress => b"source\0address",
            Self::RouteName => b"xds\0route_name",
            Self::RouteMetadata => b"xds\0route_metadata\0filter_metadata\0sentry",
            Self::ClusterName => b"xds\0cluster_name",
            Self::NodeId => b"xds\0node\0id",
        }
    }
}
