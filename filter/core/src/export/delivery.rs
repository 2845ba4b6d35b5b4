//! What became of a callout, and why spans are discarded.

use crate::headers::{Headers, STATUS};

/// What Envoy adds to the responses of a receiver, but not to its own.
pub(super) const UPSTREAM_SERVICE_TIME: &str = "x-envoy-upstream-service-time";

/// What Envoy's response says of a request that never left it.
const NOT_ARRIVED: [&[u8]; 4] = [
    b"reset reason: remote connection failure",
    b"reset reason: local connection failure",
    b"reset reason: connection timeout",
    b"reset reason: overflow",
];

/// What became of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver took it.
    Accepted,
    /// The receiver answered 429.
    RateLimited,
    /// The receiver answered with something else that is no success.
    Refused,
    /// It was not answered.
    Lost,
    /// It provably never left Envoy, and its spans wait for another try.
    NotArrived,
    /// Envoy did not take it, and its spans wait for another try.
    NotTaken,
}

impl Delivery {
    /// Every outcome there is.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::RateLimited,
        Self::Refused,
        Self::Lost,
        Self::NotArrived,
        Self::NotTaken,
    ];

    /// The stable name of the outcome.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::NotArrived => "not_arrived",
            Self::NotTaken => "not_taken",
        }
    }

    /// Why the spans of a callout that ended like this are discarded; `None` if they are not.
    pub fn discard_reason(self) -> Option<DiscardReason> {
        match self {
            Self::Accepted | Self::NotArrived | Self::NotTaken => None,
            Self::RateLimited => Some(DiscardReason::RatelimitBackoff),
            Self::Refused => Some(DiscardReason::SendError),
            Self::Lost => Some(DiscardReason::NetworkError),
        }
    }
}

/// Why a span was lost, in the words of Sentry's client reports (sentry-protocol.md §11.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscardReason {
    /// The queue was full.
    QueueOverflow,
    /// The receiver did not answer.
    NetworkError,
    /// The receiver answered with something else than success.
    SendError,
    /// The receiver asked for less, and the wait is not over.
    RatelimitBackoff,
    /// The span could not be encoded.
    InternalSdkError,
    /// The status code is one of `trace_ignore_status_codes`.
    Ignored,
    /// There were more of its kind than `capture_failures.max_per_minute`.
    MaxPerMinute,
}

impl DiscardReason {
    /// Every reason for which spans are lost.
    pub const ALL: [Self; 6] = [
        Self::QueueOverflow,
        Self::NetworkError,
        Self::SendError,
        Self::RatelimitBackoff,
        Self::InternalSdkError,
        Self::Ignored,
    ];
    /// Every reason for which error events are.
    pub const OF_EVENTS: [Self; 6] = [
        Self::QueueOverflow,
        Self::NetworkError,
        Self::SendError,
        Self::RatelimitBackoff,
        Self::InternalSdkError,
        Self::MaxPerMinute,
    ];

    /// The stable name of the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueOverflow => "queue_overflow",
            Self::NetworkError => "network_error",
            Self::SendError => "send_error",
            Self::RatelimitBackoff => "ratelimit_backoff",
            Self::InternalSdkError => "internal_sdk_error",
            Self::Ignored => "ignored",
            Self::MaxPerMinute => "max_per_minute",
        }
    }

    /// The reason in a client report. For spans that are left out because of their status code it
    /// is that of Sentry's Python SDK, which has the option.
    pub fn report_reason(self) -> &'static str {
        match self {
            Self::Ignored => "event_processor",
            // What is left out by a limit of the operator's was not drawn.
            Self::MaxPerMinute => "sample_rate",
            other => other.as_str(),
        }
    }
}

/// The response to a callout. The body is read only if it says more than the headers.
pub struct CalloutResponse<'a> {
    pub(super) headers: &'a Headers,
    pub(super) body: &'a mut dyn FnMut() -> Vec<u8>,
}

impl<'a> CalloutResponse<'a> {
    /// How much of the body is read at most, in bytes: enough to know why Envoy gave the response,
    /// or what a receiver did not take.
    pub const MAX_BODY: usize = 4_096;

    /// A response by its headers, none if there was none, and by what reads the beginning of its
    /// body.
    pub fn new(headers: &'a Headers, body: &'a mut dyn FnMut() -> Vec<u8>) -> Self {
        Self { headers, body }
    }

    /// The status code; `None` if there is none.
    pub fn status(&self) -> Option<u16> {
        self.headers
            .value(STATUS)
            // Three digits: the standard parser would also take `+429`.
            .filter(|status| status.len() == 3 && status.iter().all(u8::is_ascii_digit))
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok())
    }

    /// What became of the callout. What Envoy answers itself, in the place of a receiver that could
    /// not be reached, hung up or took too long, differs from a receiver's own response in that
    /// nobody was waited for; and why it did so stands in its text (seen on 1.40):
    ///
    /// | what happened | Envoy's response, with the end of its text |
    /// |---|---|
    /// | connection refused, or a failed TLS handshake | 503, `… remote connection failure` |
    /// | no connection or TLS handshake within `connect_timeout` | 503, `… connection timeout` |
    /// | no connection to be had from the pool | 503, `… overflow` |
    /// | connection broken before or after the request left | 503, `… connection termination` |
    /// | no response within `transport.timeout_ms` | 504, `upstream request timeout` |
    ///
    /// The first three have provably not arrived.
    pub(super) fn delivery(&mut self) -> Delivery {
        let is_envoys = self.headers.value(UPSTREAM_SERVICE_TIME).is_none();
        match self.status() {
            Some(200..=299) => Delivery::Accepted,
            Some(429) => Delivery::RateLimited,
            Some(503) if is_envoys => {
                let body = (self.body)();
                let says = |reason: &[u8]| body.windows(reason.len()).any(|part| part == reason);
                match NOT_ARRIVED.into_iter().any(says) {
                    true => Delivery::NotArrived,
                    false => Delivery::Lost,
                }
            }
            Some(504) if is_envoys => Delivery::Lost,
            Some(_) => Delivery::Refused,
            None => Delivery::Lost,
        }
    }
}
