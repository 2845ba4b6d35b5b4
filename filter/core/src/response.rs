//! The answer to one request: what the client learns about the trace, and what its browser may do
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

use crate::config::FilterConfig;
use crate::cors::CorsRequest;
use crate::headers::{
    trim, HeaderAddition, Headers, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, BAGGAGE,
    CONTENT_TYPE, SENTRY_TRACE, SERVER_TIMING, STATUS, TRACEPARENT,
};
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

/// What an answer depends on, kept from the headers of its request.
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

/// The answer. Each part is asked for only if it is needed, since the host charges for it: a header
/// that is not there costs a tenth of reading all lines (envoy-wasm.md §1).
pub struct Answer<'a> {
    has: &'a mut dyn FnMut(&'static str) -> bool,
    read: &'a mut dyn FnMut() -> Headers,
    lines: Option<Headers>,
}

impl<'a> Answer<'a> {
    /// An answer by what tells whether there is a header, and by what reads all lines.
    pub fn new(
        has: &'a mut dyn FnMut(&'static str) -> bool,
        read: &'a mut dyn FnMut() -> Headers,
    ) -> Self {
        Self {
            has,
            read,
            lines: None,
        }
    }

    fn has(&mut self, name: &'static str) -> bool {
        match &self.lines {
            Some(lines) => lines.value(name).is_some(),
            None => (self.has)(name),
        }
    }

    fn lines(&mut self) -> &Headers {
        self.lines.get_or_insert_with(&mut self.read)
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
    /// What the answer to a request depends on; `None` if nothing is done about any answer.
    pub fn new(request: &Headers, decision: &TraceDecision, config: &FilterConfig) -> Option<Self> {
        let tells = decision.context.is_some()
            && (decision.carried.server_timing || config.response_headers != ResponseHeaders::NONE);
        let exposes = config.cors.allow_headers || config.cors.expose_headers;
        (tells || exposes).then(|| Self {
            cors: CorsRequest::read(request),
            context: decision.context,
            baggage: decision.members.clone(),
            server_timing: decision.carried.server_timing,
            is_authorized: decision.carried.server_timing && request.value(AUTHORIZATION).is_some(),
        })
    }

    /// What to add to the answer.
    pub fn additions(&self, answer: &mut Answer<'_>, config: &FilterConfig) -> Vec<HeaderAddition> {
        let mut additions = Vec::new();
        if self.cors != CorsRequest::SameOrigin && answer.has(ACCESS_CONTROL_ALLOW_ORIGIN) {
            additions.extend(self.cors.addition(answer.lines(), config));
        }
        if let Some(context) = self.context {
            self.trace_headers(context, answer, config.response_headers, &mut additions);
            if self.server_timing && is_private_document(answer.lines(), self.is_authorized) {
                additions.extend(self.server_timing(context, answer.lines()));
            }
        }
        additions
    }

    /// A service that tells of a context itself knows better, and halves of two contexts would be
    /// none.
    fn trace_headers(
        &self,
        context: SentryTrace,
        answer: &mut Answer<'_>,
        wanted: ResponseHeaders,
        additions: &mut Vec<HeaderAddition>,
    ) {
        let ResponseHeaders {
            sentry_trace,
            baggage,
            traceparent,
        } = wanted;
        if (sentry_trace || baggage) && !answer.has(SENTRY_TRACE) && !answer.has(BAGGAGE) {
            additions.extend(sentry_trace.then(|| append(SENTRY_TRACE, context.to_value())));
            let has_members = baggage && !self.baggage.is_empty();
            additions.extend(has_members.then(|| append(BAGGAGE, self.baggage.clone())));
        }
        if traceparent && !answer.has(TRACEPARENT) {
            let value = Traceparent::from(context).to_value();
            additions.push(append(TRACEPARENT, value));
        }
    }

    fn server_timing(&self, context: SentryTrace, answer: &Headers) -> Option<HeaderAddition> {
        server_timing::has_room(answer)
            .then(|| append(SERVER_TIMING, server_timing::value(context, &self.baggage)))
    }
}

/// An HTML page that a browser shows and no cache gives to another visitor.
fn is_private_document(answer: &Headers, is_authorized: bool) -> bool {
    let media_type = answer
        .value(CONTENT_TYPE)
        .and_then(|value| value.split(|byte| *byte == b';').next())
        .map(trim)
        .unwrap_or_default();
    let is_html = media_type.eq_ignore_ascii_case(b"text/html")
        || media_type.eq_ignore_ascii_case(b"application/xhtml+xml");
    // A redirection is no document, and what follows it has a trace of its own.
    let is_final = matches!(answer.value(STATUS), Some([b'2' | b'4' | b'5', _, _]));
    is_html && is_final && cache_control::is_private(answer, is_authorized)
}

fn append(name: &'static str, value: Vec<u8>) -> HeaderAddition {
    HeaderAddition { name, value }
}
