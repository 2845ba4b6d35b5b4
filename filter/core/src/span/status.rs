//! How a span ended: the words of sentry-protocol.md §9.2.

use super::stream_info::StreamInfo;
use super::Request;

/// The status of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanStatus {
    /// All is well.
    Ok,
    /// The client went away before the end.
    Cancelled,
    /// Nobody knows.
    Unknown,
    /// 400, and every other 4xx that has no word of its own.
    InvalidArgument,
    /// Something took too long.
    DeadlineExceeded,
    /// 404.
    NotFound,
    /// 409.
    AlreadyExists,
    /// 403.
    PermissionDenied,
    /// 429.
    ResourceExhausted,
    /// 413.
    FailedPrecondition,
    /// gRPC only.
    Aborted,
    /// gRPC only.
    OutOfRange,
    /// 501.
    Unimplemented,
    /// 500 and every other 5xx that has no word of its own, and a response that never came or broke
    /// off.
    InternalError,
    /// 503.
    Unavailable,
    /// gRPC only.
    DataLoss,
    /// 401.
    Unauthenticated,
}

/// The statuses by their gRPC code, with Sentry's word and gRPC's.
const BY_GRPC_CODE: [(SpanStatus, &str, &str); 17] = [
    (SpanStatus::Ok, "ok", "OK"),
    (SpanStatus::Cancelled, "cancelled", "CANCELLED"),
    (SpanStatus::Unknown, "unknown_error", "UNKNOWN"),
    (
        SpanStatus::InvalidArgument,
        "invalid_argument",
        "INVALID_ARGUMENT",
    ),
    (
        SpanStatus::DeadlineExceeded,
        "deadline_exceeded",
        "DEADLINE_EXCEEDED",
    ),
    (SpanStatus::NotFound, "not_found", "NOT_FOUND"),
    (
        SpanStatus::AlreadyExists,
        "already_exists",
        "ALREADY_EXISTS",
    ),
    (
        SpanStatus::PermissionDenied,
        "permission_denied",
        "PERMISSION_DENIED",
    ),
    (
        SpanStatus::ResourceExhausted,
        "resource_exhausted",
        "RESOURCE_EXHAUSTED",
    ),
    (
        SpanStatus::FailedPrecondition,
        "failed_precondition",
        "FAILED_PRECONDITION",
    ),
    (SpanStatus::Aborted, "aborted", "ABORTED"),
    (SpanStatus::OutOfRange, "out_of_range", "OUT_OF_RANGE"),
    (SpanStatus::Unimplemented, "unimplemented", "UNIMPLEMENTED"),
    (SpanStatus::InternalError, "internal_error", "INTERNAL"),
    (SpanStatus::Unavailable, "unavailable", "UNAVAILABLE"),
    (SpanStatus::DataLoss, "data_loss", "DATA_LOSS"),
    (
        SpanStatus::Unauthenticated,
        "unauthenticated",
        "UNAUTHENTICATED",
    ),
];

impl SpanStatus {
    /// How a stream ended, for the client. For gRPC the status of the call counts and not that of
    /// HTTP.
    pub fn of_stream(end: &StreamInfo, request: &Request) -> Self {
        let flags = end.response_flags;
        match end.response_code {
            // A tunnel ends when one of both sides closes it, in whatever way.
            _ if end.is_tunnel(request) => Self::Ok,
            None | Some(..=399) if flags.client_left() => Self::Cancelled,
            None if end.timed_out() => Self::DeadlineExceeded,
            code => match end.grpc_status.filter(|_| request.is_grpc) {
                Some(status) => Self::from_grpc(status),
                None if code < Some(400) && Self::is_cut_short(end) => Self::of_broken(end),
                None => Self::from_http(code),
            },
        }
    }

    /// How the call to the upstream ended. Without a response of its own it is what Sentry's HTTP
    /// clients say of a network error (§9.2).
    pub fn of_upstream(end: &StreamInfo, request: &Request, was_answered: bool) -> Self {
        let flags = end.response_flags;
        match () {
            () if was_answered => Self::of_stream(end, request),
            () if flags.client_left() => Self::Cancelled,
            () => Self::of_broken(end),
        }
    }

    fn is_cut_short(end: &StreamInfo) -> bool {
        end.timed_out() || end.response_flags.broke_off()
    }

    fn of_broken(end: &StreamInfo) -> Self {
        match end.timed_out() {
            true => Self::DeadlineExceeded,
            false => Self::InternalError,
        }
    }

    /// The status of a request that was answered with a code; `None` is one that was never
    /// answered.
    pub fn from_http(code: Option<u16>) -> Self {
        match code {
            None => Self::InternalError,
            Some(0..=399) => Self::Ok,
            Some(401) => Self::Unauthenticated,
            Some(403) => Self::PermissionDenied,
            Some(404) => Self::NotFound,
            Some(409) => Self::AlreadyExists,
            Some(413) => Self::FailedPrecondition,
            Some(429) => Self::ResourceExhausted,
            Some(499) => Self::Cancelled,
            Some(400..=498) => Self::InvalidArgument,
            Some(501) => Self::Unimplemented,
            Some(503) => Self::Unavailable,
            Some(504) => Self::DeadlineExceeded,
            Some(500..) => Self::InternalError,
        }
    }

    /// The status of a gRPC call; codes that gRPC does not have are unknown.
    pub fn from_grpc(status: u64) -> Self {
        usize::try_from(status)
            .ok()
            .and_then(|status| BY_GRPC_CODE.get(status))
            .map_or(Self::Unknown, |(status, ..)| *status)
    }

    /// The HTTP status that a gRPC code stands for, as Envoy translates it (google.rpc.Code); codes
    /// that gRPC does not have are those of `UNKNOWN`.
    pub fn http_of_grpc(status: u64) -> u16 {
        const HTTP: [u16; 17] = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
        ];
        let code = usize::try_from(status)
            .ok()
            .and_then(|status| HTTP.get(status));
        code.copied().unwrap_or(500)
    }

    /// gRPC's own word for a code, for `rpc.response.status_code`.
    pub fn grpc_word(status: u64) -> Option<&'static str> {
        let (_, _, word) = BY_GRPC_CODE.get(usize::try_from(status).ok()?)?;
        Some(word)
    }

    /// Sentry's word.
    pub fn as_str(self) -> &'static str {
        BY_GRPC_CODE
            .iter()
            .find(|(status, ..)| *status == self)
            .map_or("unknown_error", |(_, word, _)| word)
    }

    /// Whether formats that know two states only call it an error. A client that went away is none,
    /// as in Sentry's SDK for JavaScript (§10.3).
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::super::response_flags::ResponseFlags;
    use super::*;
    use crate::method::Method;

    fn grpc() -> Request {
        Request {
            is_grpc: true,
            ..Request::default()
        }
    }

    #[test]
    fn the_table_of_the_protocol_holds() {
        let rows = [
            (200, "ok"),
            (300, "ok"),
            (400, "invalid_argument"),
            (401, "unauthenticated"),
            (403, "permission_denied"),
            (404, "not_found"),
            (409, "already_exists"),
            (413, "failed_precondition"),
            (429, "resource_exhausted"),
            (455, "invalid_argument"),
            (499, "cancelled"),
            (500, "internal_error"),
            (501, "unimplemented"),
            (503, "unavailable"),
            (504, "deadline_exceeded"),
            (520, "internal_error"),
            (600, "internal_error"),
        ];
        for (code, word) in rows {
            assert_eq!(SpanStatus::from_http(Some(code)).as_str(), word, "{code}");
        }
        assert_eq!(SpanStatus::from_http(None).as_str(), "internal_error");
    }

    #[test]
    fn grpc_has_seventeen_words() {
        assert_eq!(SpanStatus::from_grpc(0), SpanStatus::Ok);
        assert_eq!(SpanStatus::from_grpc(4).as_str(), "deadline_exceeded");
        assert_eq!(SpanStatus::grpc_word(4), Some("DEADLINE_EXCEEDED"));
        assert_eq!(SpanStatus::from_grpc(16).as_str(), "unauthenticated");
        assert_eq!(SpanStatus::from_grpc(17).as_str(), "unknown_error");
        assert_eq!(SpanStatus::grpc_word(17), None);
    }

    /// What Envoy 1.40 says about streams that ended in these ways, and what that means for the
    /// client and for the call to the upstream.
    #[test]
    fn every_end_of_a_stream_has_a_status() {
        let (dc, ut, uc, upe, dr) = (1 << 14, 1 << 2, 1 << 6, 1 << 23, 1 << 28);
        let rows = [
            ("answered", Some(200), 0, true, "ok", "ok"),
            (
                "refused by the upstream",
                Some(403),
                0,
                true,
                "permission_denied",
                "permission_denied",
            ),
            (
                "client left before the response",
                None,
                dc,
                false,
                "cancelled",
                "cancelled",
            ),
            (
                "client reset its stream",
                None,
                dr,
                false,
                "cancelled",
                "cancelled",
            ),
            (
                "client left in the middle",
                Some(200),
                dc,
                true,
                "cancelled",
                "cancelled",
            ),
            (
                "client left after an error",
                Some(500),
                dc,
                true,
                "internal_error",
                "internal_error",
            ),
            ("upgraded, then closed", Some(101), dc, true, "ok", "ok"),
            (
                "upstream hung up before",
                Some(503),
                uc,
                false,
                "unavailable",
                "internal_error",
            ),
            (
                "upstream hung up after",
                Some(200),
                upe,
                true,
                "internal_error",
                "internal_error",
            ),
            (
                "upstream too slow",
                Some(504),
                ut,
                false,
                "deadline_exceeded",
                "deadline_exceeded",
            ),
            (
                "stream too long",
                Some(200),
                1 << 19,
                true,
                "deadline_exceeded",
                "deadline_exceeded",
            ),
            (
                "idle before the response",
                None,
                1 << 16,
                false,
                "deadline_exceeded",
                "deadline_exceeded",
            ),
        ];
        for (name, response_code, bits, was_answered, server, upstream) in rows {
            let end = StreamInfo {
                response_code,
                response_flags: ResponseFlags::from_bits(bits),
                ..StreamInfo::default()
            };
            let request = Request::default();
            assert_eq!(
                SpanStatus::of_stream(&end, &request).as_str(),
                server,
                "{name}"
            );
            let found = SpanStatus::of_upstream(&end, &request, was_answered);
            assert_eq!(found.as_str(), upstream, "{name}");
        }
    }

    #[test]
    fn a_call_that_envoy_answers_itself_has_the_status_that_its_client_gets() {
        let status = |bits, grpc_status| {
            let end = StreamInfo {
                response_code: Some(200),
                grpc_status,
                response_flags: ResponseFlags::from_bits(bits),
                ..StreamInfo::default()
            };
            SpanStatus::of_stream(&end, &grpc())
        };
        assert_eq!(status(1 << 5, Some(14)), SpanStatus::Unavailable);
        // Broken off without a status.
        assert_eq!(status(1 << 4, None), SpanStatus::InternalError);
        assert_eq!(status(1 << 19, None), SpanStatus::DeadlineExceeded);
        assert_eq!(status(1 << 14, None), SpanStatus::Cancelled);
    }

    #[test]
    fn the_status_of_a_call_counts_for_grpc_only() {
        let end = StreamInfo {
            response_code: Some(200),
            grpc_status: Some(5),
            ..StreamInfo::default()
        };
        assert_eq!(SpanStatus::of_stream(&end, &grpc()), SpanStatus::NotFound);
        let http = Request::default();
        assert_eq!(SpanStatus::of_stream(&end, &http), SpanStatus::Ok);
    }

    /// Without a status of its own a call goes by the HTTP code.
    #[test]
    fn codes_that_grpc_does_not_have_are_unknown() {
        let status = |response_code, grpc_status| {
            let end = StreamInfo {
                response_code: Some(response_code),
                grpc_status,
                ..StreamInfo::default()
            };
            SpanStatus::of_stream(&end, &grpc()).as_str()
        };
        for code in [2, 17, 100, u64::from(u32::MAX), StreamInfo::NO_GRPC_CODE] {
            assert_eq!(status(200, Some(code)), "unknown_error", "{code}");
            assert_eq!(status(503, Some(code)), "unknown_error", "{code}");
        }
        assert_eq!(status(200, None), "ok");
        assert_eq!(status(404, None), "not_found");
        assert_eq!(status(503, None), "unavailable");
    }

    #[test]
    fn a_tunnel_is_ok_however_it_ends() {
        let status = |method: &str, response_code, flag: u64| {
            let end = StreamInfo {
                response_code: Some(response_code),
                response_flags: ResponseFlags::from_bits(flag),
                ..StreamInfo::default()
            };
            let request = Request {
                method: Method::new(method.as_bytes()),
                ..Request::default()
            };
            SpanStatus::of_stream(&end, &request).as_str()
        };
        for bit in 0..30 {
            for (method, code) in [
                ("CONNECT", 200),
                ("CONNECT", 299),
                ("CONNECT", 101),
                ("GET", 101),
            ] {
                assert_eq!(
                    status(method, code, 1 << bit),
                    "ok",
                    "{method} {code} {bit}"
                );
            }
        }
        assert_eq!(status("CONNECT", 403, 0), "permission_denied");
        assert_eq!(status("CONNECT", 503, 1 << 5), "unavailable");
        assert_eq!(status("CONNECT", 302, 1 << 14), "cancelled");
        assert_eq!(status("GET", 200, 1 << 14), "cancelled");
    }
}
