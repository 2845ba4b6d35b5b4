//! The catalogue of attributes: one row for each, which the code that writes them, the
//! documentation's table, the strict readers of the tests and the fuzz targets share.
//!
//! An attribute is added with a row here and an arm in `span/attributes.rs`, which the compiler asks
//! for; `CONTRIBUTING.md` walks through it. Only names and [`On`] are in the module: [`SPAN`] and
//! [`PROTOCOL`] are read by nothing that is built into it.

/// What an attribute's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A text, never empty.
    Text,
    /// A whole number that is not negative.
    Integer,
    /// A number.
    Double,
    /// Texts, at least one.
    Texts,
}

impl Type {
    /// The word for it in sentry-conventions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Texts => "string[]",
        }
    }
}

/// Which span has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The gateway's own.
    Server,
    /// The call to the upstream.
    Call,
    /// Both.
    Both,
}

/// What may be in it, by the categories of `data_collection`: where a category is off, what is
/// personal or secret in these is left out or `[Filtered]` (docs/privacy.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Nothing about a person.
    Technical,
    /// Who the client is.
    UserInfo,
    /// The values of a query.
    UrlQueryParams,
    /// Lines of the request's headers, `cookie` among them.
    RequestHeaders,
    /// Lines of the response's headers, `set-cookie` among them.
    ResponseHeaders,
}

impl Data {
    /// The option for it; none for what is not about a person.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Self::Technical => None,
            Self::UserInfo => Some("user_info"),
            Self::UrlQueryParams => Some("url_query_params"),
            Self::RequestHeaders => Some("http_headers.request"),
            Self::ResponseHeaders => Some("http_headers.response"),
        }
    }
}

/// Whose name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// sentry-conventions (sentry-protocol.md §12.4).
    Sentry,
    /// OpenTelemetry's, where sentry-conventions have none.
    OpenTelemetry,
    /// Envoy's, `envoy.…`, where nobody else has one.
    Envoy,
}

/// Where what the formats say of a span beside its data is an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The spans of `transaction` and `span_v2`.
    EnvelopeSpans,
    /// The spans of `span_v2` and `otlp`.
    TypedSpans,
    /// The spans of `span_v2`.
    StreamedSpans,
    /// The spans of `span_v2`, the resource of `otlp`.
    StreamedSpansAndResource,
    /// The resource of `otlp`.
    Resource,
    /// Links, in every format.
    Links,
}

/// What there is to say about an attribute of a span's data.
#[derive(Debug, Clone, Copy)]
pub struct SpanRow {
    /// Which one.
    pub attribute: SpanAttribute,
    /// What its value is.
    pub value: Type,
    /// Which span has it.
    pub on: On,
    /// What may be in it.
    pub data: Data,
    /// Whose name it is.
    pub convention: Convention,
    /// Where it comes from, in Markdown.
    pub source: &'static str,
}

/// What there is to say about an attribute that a format writes for want of another place.
#[derive(Debug, Clone, Copy)]
pub struct ProtocolRow {
    /// Which one; a text.
    pub attribute: ProtocolAttribute,
    /// Where it is.
    pub place: Place,
    /// Whose name it is.
    pub convention: Convention,
    /// Where it comes from, in Markdown.
    pub source: &'static str,
}

/// Writes attributes of a span's data, each in code of its own: to ask at run time which one it is
/// would cost more than to write it.
pub trait Write {
    /// Writes the attribute of this index in [`SpanAttribute::ALL`], if the span has it.
    fn write<const INDEX: usize>(&mut self);
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident: $($variant:ident $name:literal)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl $type {
            /// Every one, in the order of the rows.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Its name. What has a name for each header ends with a point.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

macro_rules! span_attributes {
    ($($variant:ident: $name:literal, $value:ident, $on:ident, $data:ident, $convention:ident, $source:literal;)*) => {
        names! {
            /// An attribute of a span's data.
            SpanAttribute: $($variant $name)*
        }

        impl SpanAttribute {
            /// Which span has it.
            pub const fn on(self) -> On {
                match self {
                    $(Self::$variant => On::$on,)*
                }
            }
        }

        /// Writes every attribute of a span's data, in the order of the rows.
        pub fn write_each(writer: &mut impl Write) {
            $(writer.write::<{ SpanAttribute::$variant as usize }>();)*
        }

        /// Every attribute of a span's data, in the order in which they are written.
        pub const SPAN: [SpanRow; SpanAttribute::ALL.len()] = [
            $(SpanRow {
                attribute: SpanAttribute::$variant,
                value: Type::$value,
                on: On::$on,
                data: Data::$data,
                convention: Convention::$convention,
                source: $source,
            },)*
        ];
    };
}

macro_rules! protocol_attributes {
    ($($variant:ident: $name:literal, $place:ident, $convention:ident, $source:literal;)*) => {
        names! {
            /// An attribute that a format writes for want of another place.
            ProtocolAttribute: $($variant $name)*
        }

        /// Every attribute that a format writes for want of another place.
        pub const PROTOCOL: [ProtocolRow; ProtocolAttribute::ALL.len()] = [
            $(ProtocolRow {
                attribute: ProtocolAttribute::$variant,
                place: Place::$place,
                convention: Convention::$convention,
                source: $source,
            },)*
        ];
    };
}

span_attributes! {
    HttpRequestMethod: "http.request.method", Text, Both, Technical, Sentry,
        "`:method`; `_OTHER` if it is none of RFC 9110 or `PATCH`";
    HttpRequestMethodOriginal: "http.request.method_original", Text, Both, Technical, OpenTelemetry,
        "`:method` as it arrived, where `http.request.method` is `_OTHER`";
    HttpResponseStatusCode: "http.response.status_code", Integer, Both, Technical, Sentry,
        "`response.code`; on the call only if the upstream did answer";
    HttpResponseBodySize: "http.response.body.size", Integer, Server, Technical, Sentry,
        "`response.size`";
    HttpRequestBodySize: "http.request.body.size", Integer, Server, Technical, Sentry,
        "`request.size`, unless the method is `GET` or `HEAD`";
    HttpRequestResendCount: "http.request.resend_count", Integer, Call, Technical, Sentry,
        "`upstream.request_attempt_count`, less the first; absent without retries";
    HttpRoute: "http.route", Text, Server, Technical, Sentry,
        "the [name](#names), if it is the template of a route, without a method in front";
    UrlTemplate: "url.template", Text, Call, Technical, Sentry,
        "the `http.route` of the gateway's own span";
    UrlFull: "url.full", Text, Both, UrlQueryParams, Sentry,
        "`:scheme`, `:authority` without credentials, `:path` with its query filtered";
    UrlScheme: "url.scheme", Text, Server, Technical, Sentry, "`:scheme`";
    UrlDomain: "url.domain", Text, Call, Technical, Sentry,
        "the host of `:authority`, as the upstream got it";
    UrlPath: "url.path", Text, Server, Technical, Sentry,
        "`:path` without its query, with the parameters of its segments filtered";
    UrlQuery: "url.query", Text, Server, UrlQueryParams, Sentry, "the query of `:path`, filtered";
    ServerAddress: "server.address", Text, Both, Technical, Sentry,
        "the host of `:authority`; of the call that of `upstream.address`, the host that was chosen";
    ServerPort: "server.port", Integer, Both, Technical, Sentry,
        "the port of `:authority`; of the call that of `upstream.address`";
    ClientAddress: "client.address", Text, Server, UserInfo, Sentry, "the address of `source.address`";
    ClientPort: "client.port", Integer, Server, UserInfo, Sentry, "the port of `source.address`";
    UserAgentOriginal: "user_agent.original", Text, Server, UserInfo, Sentry, "`user-agent`";
    NetworkProtocolName: "network.protocol.name", Text, Server, Technical, Sentry,
        "`request.protocol`: `http`";
    NetworkProtocolVersion: "network.protocol.version", Text, Server, Technical, Sentry,
        "`request.protocol`: `1.0`, `1.1`, `2` or `3`";
    TlsProtocolVersion: "tls.protocol.version", Text, Both, Technical, Sentry,
        "`connection.tls_version`, of the call `upstream.tls_version`, without `TLSv`: `1.3`";
    ErrorType: "error.type", Text, Both, Technical, Sentry,
        "what went wrong: `timeout`, the code (from 500 on, and from 400 on for the call), or the status where there is no code";
    RpcSystemName: "rpc.system.name", Text, Both, Technical, Sentry,
        "`grpc`, for `application/grpc*` only";
    RpcService: "rpc.service", Text, Both, Technical, Sentry,
        "the path of a gRPC call up to its last `/`";
    RpcMethod: "rpc.method", Text, Both, Technical, Sentry,
        "the path of a gRPC call without its first `/`";
    RpcResponseStatusCode: "rpc.response.status_code", Text, Both, Technical, Sentry,
        "`grpc-status` of the trailers, else of the headers (`response.trailers`, `response.headers`), as a word";
    EnvoyRoute: "envoy.route", Text, Server, Technical, Envoy, "`xds.route_name`";
    EnvoyCluster: "envoy.cluster", Text, Both, Technical, Envoy,
        "`xds.cluster_name`; absent from a call that Envoy redirects itself, since it says the next one's by then";
    EnvoyResponseFlags: "envoy.response_flags", Text, Server, Technical, Envoy,
        "`response.flags` by the short names of access logs: `UF,URX`; absent if all went well";
    EnvoyResponseCodeDetails: "envoy.response_code_details", Text, Server, Technical, Envoy,
        "`response.code_details`: who answered, and why";
    EnvoyGatewayTimeMs: "envoy.gateway_time_ms", Double, Server, Technical, Envoy,
        "the duration less that of the calls: filters, routing, the client's connection";
    EnvoyPoolWaitMs: "envoy.pool_wait_ms", Double, Call, Technical, Envoy,
        "`upstream.cx_pool_ready_duration` of the last attempt: waiting for a connection, or making one";
    EnvoyTimeToFirstByteMs: "envoy.time_to_first_byte_ms", Double, Call, Technical, Envoy,
        "from the start of the call to the answer's headers";
    EnvoyTransportFailure: "envoy.transport_failure", Text, Call, Technical, Envoy,
        "`upstream.transport_failure_reason`";
    HttpRequestHeader: "http.request.header.", Texts, Server, RequestHeaders, Sentry,
        "[request headers that are recorded](privacy.md), each a list of its lines";
    HttpResponseHeader: "http.response.header.", Texts, Server, ResponseHeaders, Sentry,
        "[response headers that are recorded](privacy.md), each a list of its lines";
}

protocol_attributes! {
    Kind: "sentry.kind", EnvelopeSpans, Sentry, "`server` or `client`; `otlp` has a field for it";
    Op: "sentry.op", TypedSpans, Sentry, "`http.server` or `http.client`";
    Origin: "sentry.origin", TypedSpans, Sentry, "`auto.http.envoy`";
    SegmentId: "sentry.segment.id", TypedSpans, Sentry, "the id of the gateway's own span";
    SegmentName: "sentry.segment.name", TypedSpans, Sentry, "its name";
    SegmentNameSource: "sentry.segment.name.source", TypedSpans, Sentry,
        "where its name comes from; on the gateway's own span only";
    StatusMessage: "sentry.status.message", TypedSpans, Sentry,
        "the [status](#statuses), unless it is `ok`";
    TraceLifecycle: "sentry.trace_lifecycle", StreamedSpans, Sentry, "`stream`";
    Platform: "sentry.platform", StreamedSpansAndResource, Sentry, "`other`";
    SdkName: "sentry.sdk.name", StreamedSpansAndResource, Sentry, "this filter";
    SdkVersion: "sentry.sdk.version", StreamedSpansAndResource, Sentry, "its version";
    Environment: "sentry.environment", StreamedSpansAndResource, Sentry, "`environment`";
    Release: "sentry.release", StreamedSpansAndResource, Sentry, "`release`";
    ServiceName: "service.name", StreamedSpansAndResource, Sentry,
        "`server_name`; in `otlp` `envoy` without one";
    ServiceVersion: "service.version", Resource, Sentry, "`release`";
    DeploymentEnvironmentName: "deployment.environment.name", Resource, OpenTelemetry, "`environment`";
    LinkType: "sentry.link.type", Links, Sentry, "`follows_from`";
}

impl SpanAttribute {
    /// Its name as documentation has it: `<name>` stands for that of a header.
    pub fn shown(self) -> String {
        let name = self.as_str();
        match name.ends_with('.') {
            true => format!("{name}<name>"),
            false => name.to_owned(),
        }
    }
}

impl SpanRow {
    /// The row of an attribute, by its whole name.
    pub fn find(name: &str) -> Option<Self> {
        SPAN.into_iter().find(|row| {
            let known = row.attribute.as_str();
            let header = name.strip_prefix(known).unwrap_or_default();
            name == known || (known.ends_with('.') && !header.is_empty())
        })
    }
}

#[cfg(test)]
mod tests;
