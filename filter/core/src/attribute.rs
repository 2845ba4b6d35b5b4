//! The attributes that the filter asks its host for, by the paths of Envoy's attribute
//! documentation.
//!
//! Each costs a call to the host, which calls back for memory. Envoy can be asked for many of them
//! at once, by an expression (CEL) that it reads once:
//!
//! ```text
//! has(upstream.address)?[request.time,request.duration,…,upstream.address,…]
//!                      :[request.time,request.duration,…]
//! ```
//! One that is not there makes it fail, so what is in it is there whenever a stream has come to its
//! end. Where it fails nevertheless, and on hosts that do not have such expressions, the attributes
//! are asked for one by one.

use crate::headers::Headers;

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
    /// The settings that the route's own metadata has for this filter.
    RouteMetadata,
    /// The cluster that was chosen.
    ClusterName,
    /// The id of Envoy's node.
    NodeId,
    /// The name of the plugin in Envoy's configuration, outside streams, too.
    PluginName,
    /// Its `root_id`, likewise.
    PluginRootId,
    /// The `vm_id` of its VM, likewise.
    PluginVmId,
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
            Self::GrpcTrailer => b"response\0trailers\0grpc-status",
            Self::GrpcHeader => b"response\0headers\0grpc-status",
            Self::UpstreamServiceTime => b"response\0headers\0x-envoy-upstream-service-time",
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
            Self::PluginName => b"plugin_name",
            Self::PluginRootId => b"plugin_root_id",
            Self::PluginVmId => b"plugin_vm_id",
        }
    }
}

/// What Envoy knows at the end of a stream.
const OF_STREAM: [Attribute; 9] = [
    Attribute::RequestTime,
    Attribute::RequestDuration,
    Attribute::RequestProtocol,
    Attribute::ResponseCode,
    Attribute::ResponseCodeDetails,
    Attribute::ResponseFlags,
    Attribute::ResponseSize,
    Attribute::RouteName,
    Attribute::ClusterName,
];

/// What it knows besides where an upstream has answered.
const OF_CALL: [Attribute; 4] = [
    Attribute::UpstreamAddress,
    Attribute::UpstreamRequestAttemptCount,
    Attribute::UpstreamPoolReadyDuration,
    Attribute::ResponseBackendLatency,
];

/// The attributes of a stream's end that were told at once.
#[derive(Debug, Default)]
pub struct PrefetchedAttributes(Headers);

impl PrefetchedAttributes {
    /// The expression for them.
    pub fn expression() -> String {
        let names = |attributes: &[Attribute]| {
            let paths = attributes.iter().map(|attribute| attribute.path());
            let names = paths.map(|path| String::from_utf8_lossy(path).replace('\0', "."));
            names.collect::<Vec<_>>().join(",")
        };
        let (stream, call) = (names(&OF_STREAM), names(&OF_CALL));
        format!("has(upstream.address)?[{stream},{call}]:[{stream}]")
    }

    /// Reads what the expression gave: a list in the form of header maps, whose names are the
    /// values (seen on Envoy 1.40). What is something else is nothing.
    pub fn read(list: Vec<u8>) -> Self {
        Self(Headers::from_serialized(list).unwrap_or_default())
    }

    /// An attribute, if it is among them.
    pub fn get(&self, attribute: Attribute) -> Option<&[u8]> {
        let mut all = OF_STREAM.iter().chain(&OF_CALL);
        let place = all.position(|known| *known == attribute)?;
        self.0.name_at(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_by_the_places_of_its_expression() {
        assert_eq!(
            PrefetchedAttributes::expression(),
            "has(upstream.address)?[request.time,request.duration,request.protocol,response.code,response.code_details,response.flags,response.size,\
             xds.route_name,xds.cluster_name,upstream.address,upstream.request_attempt_count,upstream.cx_pool_ready_duration,response.backend_latency]\
             :[request.time,request.duration,request.protocol,response.code,response.code_details,response.flags,response.size,xds.route_name,\
             xds.cluster_name]"
        );
        let values = [
            "time", "duration", "HTTP/1.1", "", "a\0b", "flags", "size", "route", "cluster",
        ];
        let list = values.map(|value| (value.as_bytes(), b"".as_slice()));
        let known = PrefetchedAttributes::read(crate::headers::serialize(list.into_iter()));
        assert_eq!(
            known.get(Attribute::RequestProtocol),
            Some(b"HTTP/1.1".as_slice())
        );
        assert_eq!(known.get(Attribute::ResponseCode), Some(b"".as_slice()));
        assert_eq!(
            known.get(Attribute::ClusterName),
            Some(b"cluster".as_slice())
        );
        assert_eq!(known.get(Attribute::UpstreamAddress), None, "no upstream");
        assert_eq!(known.get(Attribute::TlsVersion), None, "never in it");
        assert_eq!(
            PrefetchedAttributes::read(b"\xff\xff".to_vec()).get(Attribute::RequestTime),
            None
        );
    }
}
