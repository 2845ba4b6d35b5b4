//! The response to one request: what the client learns about the trace, and what its browser may do
//! with it (filter.md §5).
//!
//! ```text
//! Access-Control-Allow-Headers, Access-Control-Expose-Headers   cors.rs
//! sentry-trace, baggage, traceparent                            `response_headers`
//! Server-Timing                                                 `server_timing`, documents of one
//!                                                               visitor
//! ```
//! Nothing is taken away and nothing is written over: whatever a service says itself stands.

pub mod cache_control;
pub mod server_timing;

use crate::cors::{CorsOptions, CorsRequest};
use crate::headers::{
    trim, HeaderAddition, Headers, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, BAGGAGE,
    CONTENT_TYPE, SENTRY_TRACE, SERVER_TIMING, STATUS, TRACEPARENT,
};
use crate::host::HostCalls;
use crate::live::HeapBytes;
use crate::trace::sentry_trace::SentryTrace;
use crate::trace::traceparent::Traceparent;
use crate::trace::TraceDecision;

/// Which trace headers the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// `sentry-trace`, as it went to the upstream.
    pub sentry_trace: bool,
    /// The `sentry-` members of `baggage`.
    pub baggage: bool,
    /// `traceparent`, to agree with `sentry-trace`.
    pub traceparent: bool,
}

impl ResponseHeaders {
    /// None of them.
    pub const NONE: Self = Self {
        sentry_trace: false,
        baggage: false,
        traceparent: false,
    };

    /// Adds one by its name; `false` if there is none of that name.
    pub fn add(&mut self, name: &str) -> bool {
        let header = match name {
            SENTRY_TRACE => &mut self.sentry_trace,
            BAGGAGE => &mut self.baggage,
            TRACEPARENT => &mut self.traceparent,
            _ => return false,
        };
        *header = true;
        true
    }
}

/// `sentry-trace` alone: the others tell more than a client needs.
impl Default for ResponseHeaders {
    fn default() -> Self {
        Self {
            sentry_trace: true,
            ..Self::NONE
        }
    }
}

/// What is added to responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseOptions {
    /// Which trace headers the client gets.
    pub headers: ResponseHeaders,
    /// Which lists of CORS responses the trace headers are added to.
    pub cors: CorsOptions,
}

/// What a response depends on, kept from the headers of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingResponse {
    /// Whether a browser of another origin waits.
    pub cors: CorsRequest,
    /// The trace of the request.
    pub context: Option<SentryTrace>,
    /// The `sentry-` members that belong to it, if they are needed.
    pub baggage: Vec<u8>,
    /// Whether a document gets `Server-Timing`.
    pub server_timing: bool,
    /// Whether the request had `Authorization`.
    pub is_authorized: bool,
}

/// The response. Each part is asked for only if it is needed, since the host charges for it: a
/// header that is not there costs a tenth of reading all lines (docs/spec/envoy-wasm.md §1).
pub struct ResponseReader<'a, 'h> {
    calls: &'a mut HostCalls<'h>,
    lines: Option<Headers>,
}

impl<'a, 'h> ResponseReader<'a, 'h> {
    /// Reads by these calls.
    pub fn new(calls: &'a mut HostCalls<'h>) -> Self {
        Self { calls, lines: None }
    }

    fn has(&mut self, name: &'static str) -> bool {
        match &self.lines {
            Some(lines) => lines.value(name).is_some(),
            None => self.calls.has_response_header(name),
        }
    }

    fn lines(&mut self) -> &Headers {
        let calls = &mut self.calls;
        self.lines
            .get_or_insert_with(|| calls.response_headers().unwrap_or_default())
    }
}

impl HeapBytes for PendingResponse {
    fn heap_bytes(&self) -> usize {
        let Self {
            cors: _,
            context: _,
            baggage,
            server_timing: _,
            is_authorized: _,
        } = self;
        baggage.heap_bytes()
    }
}

impl PendingResponse {
    /// What the response to a request depends on; `None` if nothing is done about any response.
    pub fn new(
        request: &Headers,
        decision: &TraceDecision,
        options: ResponseOptions,
    ) -> Option<Self> {
        let tells = decision.context.is_some()
            && (decision.carried.server_timing || options.headers != ResponseHeaders::NONE);
        let exposes = options.cors.allow_headers || options.cors.expose_headers;
        (tells || exposes).then(|| Self {
            cors: CorsRequest::read(request),
            context: decision.context,
            baggage: decision.members.clone(),
            server_timing: decision.carried.server_timing,
            is_authorized: decision.carried.server_timing && request.value(AUTHORIZATION).is_some(),
        })
    }

    /// What to add to the response.
    pub fn additions(
        &self,
        response: &mut ResponseReader<'_, '_>,
        options: ResponseOptions,
    ) -> Vec<HeaderAddition> {
        let mut additions = Vec::new();
        if self.cors != CorsRequest::SameOrigin && response.has(ACCESS_CONTROL_ALLOW_ORIGIN) {
            additions.extend(self.cors.addition(response.lines(), options.cors));
        }
        if let Some(context) = self.context {
            self.trace_headers(context, response, options.headers, &mut additions);
            if self.server_timing && is_private_document(response.lines(), self.is_authorized) {
                additions.extend(self.server_timing(context, response.lines()));
            }
        }
        additions
    }

    /// A service that tells of a context itself knows better, and halves of two contexts would be
    /// none.
    fn trace_headers(
        &self,
        context: SentryTrace,
        response: &mut ResponseReader<'_, '_>,
        wanted: ResponseHeaders,
        additions: &mut Vec<HeaderAddition>,
    ) {
        let ResponseHeaders {
            sentry_trace,
            baggage,
            traceparent,
        } = wanted;
        if (sentry_trace || baggage) && !response.has(SENTRY_TRACE) && !response.has(BAGGAGE) {
            additions.extend(sentry_trace.then(|| append(SENTRY_TRACE, context.to_value())));
            let has_members = baggage && !self.baggage.is_empty();
            additions.extend(has_members.then(|| append(BAGGAGE, self.baggage.clone())));
        }
        if traceparent && !response.has(TRACEPARENT) {
            let value = Traceparent::from(context).to_value();
            additions.push(append(TRACEPARENT, value));
        }
    }

    fn server_timing(&self, context: SentryTrace, response: &Headers) -> Option<HeaderAddition> {
        server_timing::has_room(response)
            .then(|| append(SERVER_TIMING, server_timing::value(context, &self.baggage)))
    }
}

/// An HTML page that a browser shows and no cache gives to another visitor.
fn is_private_document(response: &Headers, is_authorized: bool) -> bool {
    let media_type = response
        .value(CONTENT_TYPE)
        .and_then(|value| value.split(|byte| *byte == b';').next())
        .map(trim)
        .unwrap_or_default();
    let is_html = media_type.eq_ignore_ascii_case(b"text/html")
        || media_type.eq_ignore_ascii_case(b"application/xhtml+xml");
    // A redirection is no document, and what follows it has a trace of its own.
    let is_final = matches!(response.value(STATUS), Some([b'2' | b'4' | b'5', _, _]));
    is_html && is_final && cache_control::is_private(response, is_authorized)
}

fn append(name: &'static str, value: Vec<u8>) -> HeaderAddition {
    HeaderAddition { name, value }
}
