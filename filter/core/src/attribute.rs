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
    /// The bytes of the response's body.
    ResponseSize,
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
            Self::ResponseSize => b"response\0size",
            Self::RouteName => b"xds\0route_name",
            Self::RouteMetadata => b"xds\0route_metadata\0filter_metadata\0sentry",
            Self::ClusterName => b"xds\0cluster_name",
            Self::NodeId => b"xds\0node\0id",
        }
    }
}
