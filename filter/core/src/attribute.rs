//! The attributes that the filter asks its host for, by the paths of Envoy's attribute
//! documentation.

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
    /// The status of a gRPC call, where it has the place that it should have.
    GrpcTrailer,
    /// The status of a gRPC call that has no body.
    GrpcHeader,
    /// How long the upstream took, as Envoy's router writes it beside an upstream's response.
    UpstreamServiceTime,
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
    /// The cluster that was chosen.
    ClusterName,
}
