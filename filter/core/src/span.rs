//! The gateway's spans: opened at the request headers, closed at the end of the stream (filter.md
//! §6).
//!
//! One request is one segment: the gateway's own span and, below it, one span for each call to an
//! upstream.

pub mod attributes;
pub mod catalogue;
pub mod interval;
mod upstream;

mod replaced;
pub mod request;
pub mod response_flags;
pub mod status;
pub mod stream_info;

use std::borrow::Cow;

use crate::id::SpanId;
use crate::live::{piece, sum, HeapBytes};
use crate::quantity::Quantity;
use crate::route::{Naming, TransactionName};
use crate::text::{shortened, MAX_NAME, MAX_TEXT};
use crate::trace::SpanContext;
use attributes::{Attributes, Call, Known, Server};
use interval::Interval;
pub use request::Request;
pub use status::SpanStatus;
pub use stream_info::{StreamInfo, UpstreamInfo};

/// How many internal redirects become one segment; what comes after them is a segment of its own
/// below it.
const MAX_REDIRECTS: usize = 16;

/// What is kept for one request at most, in bytes, but for the calls before internal redirects: the
/// texts of the request and those of a dynamic sampling context, which are bounded one by one.
pub const MAX_HELD: usize = 64 * 1_024;

/// A segment whose request is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenSpan {
    /// Its place in the trace.
    pub context: SpanContext,
    /// The name, as far as it is known from the beginning.
    pub transaction: Option<TransactionName>,
    /// The request.
    pub request: Request,
    /// When the filter let the request go, in nanoseconds since the epoch.
    pub sent_ns: Option<u64>,
    /// When the response's headers came by, in nanoseconds since the epoch.
    pub answered_ns: Option<u64>,
    /// The code of the response while it came by, if it is wanted: see
    /// [`Self::wants_passing_code`].
    pub passing_code: Option<u16>,
    /// Whether the last redirect was made of a response that is none: by another filter.
    follows_error: bool,
    /// The request that an internal redirect of Envoy's has made of it.
    redirected: Option<Request>,
    /// The calls before that.
    earlier: Vec<Span<'static>>,
}

/// What one request is in Sentry; a view of its span and its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment<'a> {
    /// Its place in the trace.
    pub context: Cow<'a, SpanContext>,
    /// What it is called.
    pub transaction: &'a TransactionName,
    /// The request.
    pub request: &'a Request,
    /// The status the client got.
    pub response_code: Option<u16>,
    /// The bytes of the response's body.
    pub response_size: Option<u64>,
    /// The gateway's own span.
    pub server: Span<'a>,
    /// The calls to upstreams, in their order.
    pub upstream: Vec<Span<'a>>,
}

/// One span, with everything an encoder needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Span<'a> {
    /// Its id.
    pub span_id: SpanId,
    /// The span above it.
    pub parent_span_id: Option<SpanId>,
    /// Which end of a request it is.
    pub kind: SpanKind,
    /// What it is called; of a call in a transaction its description.
    pub name: Cow<'a, str>,
    /// How it ended.
    pub status: SpanStatus,
    /// From when to when.
    pub times: Interval,
    /// What else there is to say.
    pub attributes: Attributes<'a>,
}

impl Span<'_> {
    /// The same, for longer than the request and its end are there.
    fn into_owned(self) -> Span<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Span {
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            kind: self.kind,
            name: own(self.name),
            status: self.status,
            times: self.times,
            attributes: self.attributes.into_owned(),
        }
    }
}

/// Which end of a request a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// The gateway as a server.
    Server,
    /// The gateway as a client of an upstream.
    Client,
}

impl SpanKind {
    /// The span's operation (sentry-protocol.md §9.3).
    pub fn op(self) -> &'static str {
        match self {
            Self::Server => "http.server",
            Self::Client => "http.client",
        }
    }

    /// The word for `sentry.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl HeapBytes for Span<'static> {
    fn heap_bytes(&self) -> usize {
        let Self {
            span_id: _,
            parent_span_id: _,
            kind: _,
            name,
            status: _,
            times: _,
            attributes,
        } = self;
        piece(name.len()).saturating_add(attributes.heap_bytes())
    }
}

impl HeapBytes for OpenSpan {
    fn heap_bytes(&self) -> usize {
        let Self {
            context,
            transaction,
            request,
            sent_ns: _,
            answered_ns: _,
            passing_code: _,
            follows_error: _,
            redirected,
            earlier,
        } = self;
        let name = transaction.as_ref().map(|transaction| &transaction.name);
        let calls = size_of::<Span<'_>>().saturating_mul(earlier.capacity());
        let parts = [
            context.heap_bytes(),
            name.map_or(0, HeapBytes::heap_bytes),
            request.heap_bytes(),
            redirected.heap_bytes(),
            piece(calls),
        ];
        let earlier = earlier.iter().map(HeapBytes::heap_bytes);
        sum(parts.into_iter().chain(earlier), 0)
    }
}

impl Segment<'_> {
    /// How much it is.
    pub fn quantity(&self) -> Quantity {
        let calls = u32::try_from(self.upstream.len()).unwrap_or(u32::MAX);
        Quantity {
            segments: 1,
            spans: calls.saturating_add(1),
            events: 0,
        }
    }
}

impl OpenSpan {
    /// A span that begins with a request.
    pub fn new(
        context: SpanContext,
        transaction: Option<TransactionName>,
        request: Request,
    ) -> Self {
        Self {
            context,
            transaction,
            request,
            sent_ns: None,
            answered_ns: None,
            passing_code: None,
            follows_error: false,
            redirected: None,
            earlier: Vec::new(),
        }
    }

    /// The request as the upstream gets it.
    pub fn current_request(&self) -> &Request {
        self.redirected.as_ref().unwrap_or(&self.request)
    }

    /// Whether the segment goes on with the request that an internal redirect makes of this one.
    pub fn goes_on(&self, end: &StreamInfo) -> bool {
        end.is_internal_redirect() && self.earlier.len() < MAX_REDIRECTS
    }

    /// Ends the call that was answered with a redirect. The segment goes on with [`Self::resume`].
    pub fn redirect(&mut self, end: &StreamInfo, naming: Naming) {
        let call = self
            .upstream_span(end, end.times(), naming)
            .map(Span::into_owned);
        self.earlier.extend(call);
        self.follows_error = !matches!(end.response_code, Some(300..=399));
    }

    /// Goes on with the request of a redirect. `context` is this span's own, with the id of the
    /// next call.
    pub fn resume(self, context: SpanContext, request: Request) -> Self {
        Self {
            context,
            redirected: Some(request),
            sent_ns: None,
            answered_ns: None,
            passing_code: None,
            ..self
        }
    }

    /// What the segment is called: as it was decided at its beginning, else by the route that Envoy
    /// took, else by the path.
    pub fn name(&self, end: &StreamInfo) -> Cow<'_, TransactionName> {
        let from_route = || match &self.redirected {
            // The route is that of the redirect.
            Some(_) => None,
            None => TransactionName::from_route(end.route_name.as_deref()?),
        };
        match &self.transaction {
            Some(transaction) => Cow::Borrowed(transaction),
            None => Cow::Owned(from_route().unwrap_or_else(|| self.request.name())),
        }
    }

    /// Closes the segment. `response_headers` are those that are recorded.
    pub fn finish<'a>(
        &'a self,
        end: &'a StreamInfo,
        naming: Naming,
        transaction: &'a TransactionName,
        response_headers: &'a [(String, Vec<String>)],
    ) -> Segment<'a> {
        let times = end.times();
        let Self {
            context,
            request,
            earlier,
            ..
        } = self;
        let call = self.upstream_span(end, times, naming);
        let upstream: Vec<Span<'a>> = earlier.iter().cloned().chain(call).collect();
        let upstream_ns = upstream.iter().fold(0, |sum: u64, call| {
            sum.saturating_add(call.times.length_ns())
        });
        let status = SpanStatus::of_stream(end, request);
        let server = Span {
            span_id: context.span_id,
            parent_span_id: context.parent_span_id,
            kind: SpanKind::Server,
            name: transaction.of_segment(naming, request.method),
            status,
            times,
            attributes: Attributes::new(&Known {
                request,
                end,
                status,
                code: end.response_code,
                side: Server {
                    transaction,
                    gateway_ns: times.length_ns().saturating_sub(upstream_ns),
                    response_headers,
                },
            }),
        };
        Segment {
            context: Cow::Borrowed(context),
            transaction,
            request,
            response_code: end.response_code,
            response_size: end.response_size,
            server,
            upstream,
        }
    }

    /// The call to the upstream; `None` if no host was chosen, or such spans are not wanted.
    fn upstream_span<'a>(
        &'a self,
        end: &'a StreamInfo,
        stream: Interval,
        naming: Naming,
    ) -> Option<Span<'a>> {
        let (span_id, upstream) = (self.context.upstream_span_id?, end.upstream.as_ref()?);
        let request = self.current_request();
        let times = upstream::call(stream, self.sent_ns, self.answered_ns, upstream);
        let response = self.upstream_response(end, upstream);
        // A response that Envoy follows itself never comes by here.
        let answered_ns = self.answered_ns.filter(|_| response.came_by);
        let first_byte_ns = answered_ns.map(|answered_ns| {
            let answered_ns = answered_ns.min(times.end_ns);
            answered_ns.saturating_sub(times.start_ns)
        });
        let replaced::UpstreamResponse { status, code, .. } = response;
        let method = request.method.as_str();
        let transaction = self.transaction.as_ref();
        // The route is that of the request before.
        let transaction = transaction.filter(|_| self.redirected.is_none());
        let template = transaction.and_then(TransactionName::route);
        let (target, max) = match naming {
            Naming::Transactions => (Some(request.target()), MAX_TEXT),
            Naming::Conventions => (template.or_else(|| request.domain()), MAX_NAME),
        };
        let name = match target {
            Some(target) => [method, " ", target].concat().into(),
            None => Cow::Borrowed(method),
        };
        Some(Span {
            span_id,
            parent_span_id: Some(self.context.span_id),
            kind: SpanKind::Client,
            name: shortened(name, max),
            status,
            times,
            attributes: Attributes::new(&Known {
                request,
                end,
                status,
                code,
                side: Call {
                    upstream,
                    first_byte_ns,
                    template,
                },
            }),
        })
    }
}

/// Whether the response's headers that came by were the upstream's, and not a response of Envoy's
/// own.
fn was_answered(end: &StreamInfo, upstream: &UpstreamInfo, request: &Request) -> bool {
    let details = end.response_code_details.as_deref().unwrap_or_default();
    upstream.latency_ns.is_some()
        || details == "via_upstream"
        // One that has a body is followed before that has come.
        || (end.is_internal_redirect() && !end.response_flags.never_answered())
        || end.is_tunnel(request)
        || (end.says_response_started() && !end.is_own_response)
        // A response that had begun is the upstream's; one of Envoy's own is an error.
        || ((end.response_flags.client_left() || end.timed_out())
            && end.response_code.is_some_and(|code| code < 400))
}

#[cfg(test)]
mod tests;
