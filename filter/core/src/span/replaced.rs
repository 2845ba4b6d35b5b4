//! What the upstream itself answered, where another filter has put something in its place. Envoy's
//! attributes at the end of a stream are about what the client got. Seen with the custom response
//! filter on 1.40:
//!
//! ```text
//! local reply   sent past all filters: its headers come by nobody, and it has no details
//! redirect      of a response that is no redirect; the code of the next answer is then written
//!               over, for the client and, if that filter is nearer to the upstream, before it
//!               comes by here
//! ```

use super::stream_info::{StreamInfo, UpstreamInfo};
use super::{was_answered, OpenSpan, SpanStatus};

/// The end of a call to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpstreamResponse {
    /// How the call ended.
    pub status: SpanStatus,
    /// The upstream's own code, if it is known.
    pub code: Option<u16>,
    /// Whether the response's headers that came by were the upstream's.
    pub came_by: bool,
}

impl OpenSpan {
    /// Whether the code of the response is to be read while it comes by, into
    /// [`OpenSpan::passing_code`]: at the end it may be another one.
    pub fn wants_passing_code(&self) -> bool {
        self.follows_error
    }

    /// What the upstream answered to the last request.
    pub(super) fn upstream_response(
        &self,
        end: &StreamInfo,
        call: &UpstreamInfo,
    ) -> UpstreamResponse {
        let request = self.current_request();
        let broken = || SpanStatus::of_upstream(end, request, false);
        let is_whole = end.response_flags.is_empty();
        if self.is_replaced(end) {
            return UpstreamResponse {
                status: match is_whole {
                    true => SpanStatus::Unknown,
                    false => broken(),
                },
                code: None,
                came_by: false,
            };
        }
        let came_by = was_answered(end, call, request);
        let is_last = !end.is_internal_redirect();
        if self.follows_error && is_last && came_by {
            // The same code may be the upstream's, or one that was written over another.
            let code = self
                .passing_code
                .filter(|code| end.response_code != Some(*code));
            return UpstreamResponse {
                status: match code {
                    _ if !is_whole => broken(),
                    Some(code) => SpanStatus::from_http(Some(code)),
                    None => SpanStatus::Ok,
                },
                code,
                came_by,
            };
        }
        UpstreamResponse {
            status: SpanStatus::of_upstream(end, request, came_by),
            code: end.response_code.filter(|_| came_by),
            came_by,
        }
    }

    /// Whether the client got a response that did not come by here, and was none to be followed.
    fn is_replaced(&self, end: &StreamInfo) -> bool {
        let passed_by = self.sent_ns.is_some() && self.answered_ns.is_none();
        let was_sent = end.response_code.is_some() && !end.is_internal_redirect();
        was_sent && (passed_by || end.has_empty_details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{open_span, stream_end};
    use crate::route::Naming;
    use crate::span::response_flags::ResponseFlags;

    fn told(span: &OpenSpan, end: &StreamInfo) -> (&'static str, Option<u16>) {
        let response = span.upstream_response(end, end.upstream.as_ref().unwrap());
        (response.status.as_str(), response.code)
    }

    fn ended(code: u16, details: &str) -> StreamInfo {
        StreamInfo {
            response_code: Some(code),
            response_code_details: (!details.is_empty()).then(|| details.to_owned()),
            has_empty_details: details.is_empty(),
            ..stream_end()
        }
    }

    #[test]
    fn a_response_that_a_filter_puts_in_the_place_of_another_is_not_the_upstreams() {
        let mut span = open_span("/");
        let (unknown, local) = (("unknown_error", None), ended(418, ""));
        let own = ("not_found", Some(404));
        assert_eq!(told(&span, &ended(404, "via_upstream")), own);
        // Its headers came by before: the filter is nearer to the client.
        assert_eq!(told(&span, &local), unknown);
        span.answered_ns = None;
        assert_eq!(told(&span, &local), unknown);
        // Another filter's has details.
        let large = ended(500, "response_payload_too_large");
        assert_eq!(told(&span, &large), unknown);
        // In the place of Envoy's own, since the upstream did not answer.
        let refused = StreamInfo {
            response_flags: ResponseFlags::from_bits(1 << 5),
            ..ended(418, "")
        };
        assert_eq!(told(&span, &refused), ("internal_error", None));
        // One that is followed never comes by, and is the upstream's.
        assert_eq!(told(&span, &ended(404, "internal_redirect")), own);
        // A host without an explanation.
        let silent = StreamInfo {
            has_empty_details: false,
            ..ended(404, "")
        };
        span.answered_ns = span.sent_ns;
        assert_eq!(told(&span, &silent), own);
    }

    #[test]
    fn an_answer_with_a_body_that_is_followed_is_the_upstreams() {
        let span = open_span("/");
        let mut end = ended(503, "internal_redirect");
        end.upstream.as_mut().unwrap().latency_ns = None;
        assert_eq!(told(&span, &end), ("unavailable", Some(503)));
        for flag in ["UF", "UC", "UT", "UO"] {
            let bit = (0..30).find(|bit| ResponseFlags::from_bits(1 << bit).names() == flag);
            end.response_flags = ResponseFlags::from_bits(1 << bit.unwrap());
            assert_eq!(told(&span, &end).1, None, "{flag}");
        }
        // Retries that were used up.
        end.response_flags = ResponseFlags::from_bits(1 << 15);
        assert_eq!(told(&span, &end), ("unavailable", Some(503)));
    }

    #[test]
    fn the_code_that_a_filter_writes_over_is_not_told() {
        let after = |code| {
            let mut span = open_span("/");
            span.redirect(&ended(code, "internal_redirect"), Naming::Transactions);
            let (context, request) = (span.context.clone(), span.request.clone());
            let mut span = span.resume(context, request);
            (span.sent_ns, span.answered_ns) = (Some(1), Some(2));
            span
        };
        let last = ended(503, "via_upstream");
        let mut span = after(302);
        assert!(!span.wants_passing_code());
        assert_eq!(told(&span, &last), ("unavailable", Some(503)));

        span = after(503);
        assert!(span.wants_passing_code());
        for (passing, expected) in [
            (None, ("ok", None)),
            (Some(503), ("ok", None)),
            (Some(200), ("ok", Some(200))),
            (Some(404), ("not_found", Some(404))),
        ] {
            span.passing_code = passing;
            assert_eq!(told(&span, &last), expected, "{passing:?}");
        }
        let mut broken = last.clone();
        broken.response_flags = ResponseFlags::from_bits(1 << 23);
        assert_eq!(told(&span, &broken).0, "internal_error");
        // A redirect of the next response, and what comes after it.
        assert_eq!(
            told(&span, &ended(302, "internal_redirect")),
            ("ok", Some(302))
        );
    }
}
