//! HTTP status to span status, sentry-protocol.md §9.2.

/// The status of a span whose request was answered with a code; `None` is a request that was never answered.
pub fn from_http(code: Option<u16>) -> &'static str {
    match code {
        None => "internal_error",
        Some(0..=399) => "ok",
        Some(401) => "unauthenticated",
        Some(403) => "permission_denied",
        Some(404) => "not_found",
        Some(409) => "already_exists",
        Some(413) => "failed_precondition",
        Some(429) => "resource_exhausted",
        Some(499) => "cancelled",
        Some(400..=498) => "invalid_argument",
        Some(501) => "unimplemented",
        Some(503) => "unavailable",
        Some(504) => "deadline_exceeded",
        Some(500..) => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (code, status) in rows {
            assert_eq!(from_http(Some(code)), status, "{code}");
        }
        assert_eq!(from_http(None), "internal_error");
    }
}
