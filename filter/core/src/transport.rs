//! What goes to Sentry, what is on its way and what the answers mean (filter.md §8, sentry-protocol.md §11).

use std::sync::Arc;

use crate::config::FilterConfig;
use crate::dsn::Dsn;
use crate::envelope::{Envelope, SDK_NAME, SDK_VERSION};
use crate::metrics::Loss;

/// How long after its own timeout an answer is still expected, in milliseconds. A host that never answers must not keep a place for ever.
const GRACE_MS: u64 = 10_000;
/// How long to wait after a 429 that names no time (sentry-protocol.md §11.1), in seconds.
const DEFAULT_BACKOFF_S: u64 = 60;
/// Nothing lasts longer (filter.md §11), in seconds.
const MAX_BACKOFF_S: u64 = 24 * 60 * 60;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// One POST to Sentry.
#[derive(Debug)]
pub struct Callout {
    /// The Envoy cluster that takes it.
    pub cluster: Arc<str>,
    /// Pseudo headers and headers.
    pub headers: Arc<[(&'static str, String)]>,
    /// The bytes to post.
    pub body: Vec<u8>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What the bytes were made of, kept in case the callout cannot be made.
    pub envelope: Envelope,
}

/// Makes callouts and reads their answers.
#[derive(Debug)]
pub struct Transport {
    cluster: Arc<str>,
    headers: Arc<[(&'static str, String)]>,
    timeout_ms: u32,
    max_in_flight: usize,
    in_flight: Vec<InFlight>,
    closed_until_ns: u64,
}

#[derive(Debug)]
struct InFlight {
    token: u32,
    spans: u32,
    expires_ns: u64,
}

/// What became of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How many spans it carried.
    pub spans: u32,
    /// Why they are lost; `None` if Sentry took them.
    pub loss: Option<Loss>,
}

impl Transport {
    /// A transport to the receiver that a DSN names.
    pub fn new(dsn: &Dsn, config: &FilterConfig) -> Self {
        let client = format!("{SDK_NAME}/{SDK_VERSION}");
        let config = &config.transport;
        let headers = [
            (":method", "POST".to_owned()),
            (":scheme", dsn.scheme().to_owned()),
            (":authority", dsn.authority()),
            (
                ":path",
                config.path.clone().unwrap_or_else(|| dsn.envelope_path()),
            ),
            ("content-type", "application/x-sentry-envelope".to_owned()),
            ("x-sentry-auth", dsn.auth(&client)),
            ("user-agent", client),
        ];
        Self {
            cluster: Arc::from(config.cluster.as_str()),
            headers: Arc::new(headers),
            timeout_ms: config.timeout_ms,
            max_in_flight: config.max_in_flight,
            in_flight: Vec::new(),
            closed_until_ns: 0,
        }
    }

    /// Whether another callout may be made now.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < self.max_in_flight
    }

    /// Whether the receiver asked for a pause that is not over.
    pub fn is_closed(&self, now_ns: u64) -> bool {
        now_ns < self.closed_until_ns
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The callout that posts an envelope.
    pub fn callout(&self, envelope: Envelope, now_ns: u64) -> Callout {
        Callout {
            cluster: Arc::clone(&self.cluster),
            headers: Arc::clone(&self.headers),
            body: envelope.to_bytes(now_ns),
            timeout_ms: self.timeout_ms,
            envelope,
        }
    }

    /// Notes that the host took a callout and named it `token`.
    pub fn dispatched(&mut self, token: u32, spans: u32, now_ns: u64) {
        let patience_ms = u64::from(self.timeout_ms).saturating_add(GRACE_MS);
        self.in_flight.push(InFlight {
            token,
            spans,
            expires_ns: now_ns.saturating_add(patience_ms.saturating_mul(NS_PER_MS)),
        });
    }

    /// Reads an answer. `status` is absent if there was none; `retry_after` is that header's value. `None` for a token that is not on its way.
    pub fn answered(
        &mut self,
        token: u32,
        status: Option<u16>,
        retry_after: Option<&[u8]>,
        now_ns: u64,
    ) -> Option<Outcome> {
        let InFlight { spans, .. } = self
            .in_flight
            .extract_if(.., |callout| callout.token == token)
            .next()?;
        let loss = match status {
            Some(200..=299) => None,
            Some(429) => {
                let wait_ns = backoff_s(retry_after).saturating_mul(NS_PER_S);
                self.closed_until_ns = self.closed_until_ns.max(now_ns.saturating_add(wait_ns));
                Some(Loss::RatelimitBackoff)
            }
            Some(_) => Some(Loss::SendError),
            None => Some(Loss::NetworkError),
        };
        Some(Outcome { spans, loss })
    }

    /// Gives up on callouts that the host should have answered long ago. Returns how many spans they carried.
    pub fn expire(&mut self, now_ns: u64) -> u32 {
        let mut lost: u32 = 0;
        self.in_flight.retain(|callout| {
            let expired = callout.expires_ns <= now_ns;
            if expired {
                lost = lost.saturating_add(callout.spans);
            }
            !expired
        });
        lost
    }
}

/// The seconds that `Retry-After` asks for.
fn backoff_s(retry_after: Option<&[u8]>) -> u64 {
    retry_after
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
        .unwrap_or(DEFAULT_BACKOFF_S)
        .min(MAX_BACKOFF_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    fn transport() -> Transport {
        let json = br#"{"dsn": "https://key:hush@o1.ingest.sentry.io/42", "transport": {"timeout_ms": 1000, "max_in_flight": 1}}"#;
        let config = FilterConfig::parse(json, &Surroundings::default()).unwrap();
        Transport::new(config.dsn.as_ref().unwrap(), &config)
    }

    #[test]
    fn the_headers_are_those_of_the_protocol() {
        let client = format!("{SDK_NAME}/{SDK_VERSION}");
        let auth = format!(
            "Sentry sentry_version=7, sentry_client={client}, sentry_key=key, sentry_secret=hush"
        );
        let expected = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "o1.ingest.sentry.io"),
            (":path", "/api/42/envelope/"),
            ("content-type", "application/x-sentry-envelope"),
            ("x-sentry-auth", &auth),
            ("user-agent", &client),
        ];
        let headers = transport().headers;
        let found: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_answer_says_what_became_of_the_spans() {
        let rows = [
            (Some(200), None),
            (Some(202), None),
            (Some(301), Some(Loss::SendError)),
            (Some(413), Some(Loss::SendError)),
            (Some(500), Some(Loss::SendError)),
            (Some(429), Some(Loss::RatelimitBackoff)),
            (None, Some(Loss::NetworkError)),
        ];
        for (status, loss) in rows {
            let mut transport = transport();
            transport.dispatched(7, 1, 0);
            assert!(!transport.has_room());
            assert_eq!(
                transport.answered(8, status, None, 0),
                None,
                "an unknown token"
            );
            assert_eq!(
                transport.answered(7, status, None, 0),
                Some(Outcome { spans: 1, loss }),
                "{status:?}"
            );
            assert!(transport.is_idle());
        }
    }

    #[test]
    fn a_429_closes_the_transport_for_as_long_as_it_says() {
        let rows: [(Option<&[u8]>, u64); 5] = [
            (Some(b"7"), 7),
            (Some(b" 7 "), 7),
            (None, 60),
            (Some(b"\xff"), 60),
            (Some(b"999999999"), MAX_BACKOFF_S),
        ];
        for (retry_after, seconds) in rows {
            let mut transport = transport();
            transport.dispatched(1, 1, 0);
            transport.answered(1, Some(429), retry_after, 0);
            assert!(
                transport.is_closed(seconds * NS_PER_S - 1),
                "{retry_after:?}"
            );
            assert!(!transport.is_closed(seconds * NS_PER_S), "{retry_after:?}");
        }
    }

    #[test]
    fn a_callout_that_is_never_answered_is_given_up() {
        let mut transport = transport();
        transport.dispatched(1, 2, 0);
        assert_eq!(transport.expire(11_000 * NS_PER_MS - 1), 0);
        assert_eq!(transport.expire(11_000 * NS_PER_MS), 2);
        assert!(transport.is_idle());
    }
}
