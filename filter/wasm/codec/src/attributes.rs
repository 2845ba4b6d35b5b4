//! The attributes of the core as properties of proxy-wasm: their paths, and the values of those
//! that Envoy can be asked for at once.
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

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::headers::Headers;

use crate::header_map;

/// The path of the id of Envoy's node.
pub const NODE_ID: &[u8] = b"xds\0node\0id";
/// The path of the name of the plugin in Envoy's configuration, outside streams, too.
pub const PLUGIN_NAME: &[u8] = b"plugin_name";
/// The path of its `root_id`, likewise.
pub const PLUGIN_ROOT_ID: &[u8] = b"plugin_root_id";
/// The path of the `vm_id` of its VM, likewise.
pub const PLUGIN_VM_ID: &[u8] = b"plugin_vm_id";
/// The path of the settings that the route's own metadata has for this filter.
pub const ROUTE_METADATA: &[u8] = b"xds\0route_metadata\0filter_metadata\0sentry";

/// The path of an attribute as the ABI takes it: its parts joined by NUL.
pub fn path(attribute: Attribute) -> &'static [u8] {
    match attribute {
        Attribute::RequestTime => b"request\0time",
        Attribute::RequestDuration => b"request\0duration",
        Attribute::RequestProtocol => b"request\0protocol",
        Attribute::ResponseCode => b"response\0code",
        Attribute::ResponseCodeDetails => b"response\0code_details",
        Attribute::ResponseFlags => b"response\0flags",
        Attribute::ResponseSize => b"response\0size",
        Attribute::RequestSize => b"request\0size",
        Attribute::GrpcTrailer => b"response\0trailers\0grpc-status",
        Attribute::GrpcHeader => b"response\0headers\0grpc-status",
        Attribute::UpstreamServiceTime => b"response\0headers\0x-envoy-upstream-service-time",
        Attribute::ResponseBackendLatency => b"response\0backend_latency",
        Attribute::UpstreamAddress => b"upstream\0address",
        Attribute::UpstreamRequestAttemptCount => b"upstream\0request_attempt_count",
        Attribute::UpstreamPoolReadyDuration => b"upstream\0cx_pool_ready_duration",
        Attribute::UpstreamTransportFailureReason => b"upstream\0transport_failure_reason",
        Attribute::UpstreamTlsVersion => b"upstream\0tls_version",
        Attribute::TlsVersion => b"connection\0tls_version",
        Attribute::SourceAddress => b"source\0address",
        Attribute::RouteName => b"xds\0route_name",
        Attribute::ClusterName => b"xds\0cluster_name",
    }
}

/// A number, as the ABI gives integers, times and durations: 8 bytes, little-endian.
pub fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
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
            let paths = attributes.iter().map(|attribute| path(*attribute));
            let names = paths.map(|path| String::from_utf8_lossy(path).replace('\0', "."));
            names.collect::<Vec<_>>().join(",")
        };
        let (stream, call) = (names(&OF_STREAM), names(&OF_CALL));
        format!("has(upstream.address)?[{stream},{call}]:[{stream}]")
    }

    /// Reads what the expression gave: a list in the form of header maps, whose names are the
    /// values (seen on Envoy 1.40). What is something else is
    /// nothing.
    pub fn read(list: Vec<u8>) -> Self {
        Self(header_map::read(list).unwrap_or_default())
    }

    /// Whether an attribute is in the expression.
    pub fn includes(attribute: Attribute) -> bool {
        OF_STREAM.contains(&attribute) || OF_CALL.contains(&attribute)
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
        let known = PrefetchedAttributes::read(header_map::write(list.into_iter()));
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
