//! What goes to Sentry, what is on its way and what the answers mean (filter.md §8, sentry-protocol.md §11).

pub mod rate_limit;

use std::sync::Arc;

use crate::config::FilterConfig;
use crate::dsn::Dsn;
use crate::envelope::{Parcel, SDK_NAME, SDK_VERSION};
use crate::headers::{Headers, STATUS};
use crate::metrics::Loss;
use rate_limit::limit_s;

/// How long after its own timeout an answer is still expected, in milliseconds. A host that never answers must not keep a place for ever.
const GRACE_MS: u64 = 10_000;
/// What Envoy adds to the answers of a receiver, but not to its own.
const UPSTREAM_SERVICE_TIME: &str = "x-envoy-upstream-service-time";

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
    pub parcels: Vec<Parcel>,
}

impl Callout {
    /// How many spans it carries.
    pub fn spans(&self) -> u32 {
        self.parcels
            .iter()
            .fold(0, |sum, parcel| sum.saturating_add(parcel.count()))
    }
}

/// Makes callouts and reads their answers.
#[derive(Debug)]
pub struct Transport {
    cluster: Arc<str>,
    headers: Arc<[(&'static str, String)]>,
    timeout_ms: u32,
    category: &'static str,
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
                config
                    .path
                    .clone()
                    .unwrap_or_else(|| config.format.path(dsn)),
            ),
            ("content-type", config.format.content_type().to_owned()),
            ("x-sentry-auth", dsn.auth(&client)),
            ("user-agent", client),
        ];
        Self {
            cluster: Arc::from(config.cluster.as_str()),
            headers: Arc::new(headers),
            timeout_ms: config.timeout_ms,
            category: config.format.category(),
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

    /// The callout that posts a body made of these.
    pub fn callout(&self, parcels: Vec<Parcel>, body: Vec<u8>) -> Callout {
        Callout {
            cluster: Arc::clone(&self.cluster),
            headers: Arc::clone(&self.headers),
            body,
            timeout_ms: self.timeout_ms,
            parcels,
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

    /// Reads an answer; no headers are none. `None` for a token that is not on its way.
    pub fn answered(&mut self, token: u32, headers: &Headers, now_ns: u64) -> Option<Outcome> {
        let InFlight { spans, .. } = self
            .in_flight
            .extract_if(.., |callout| callout.token == token)
            .next()?;
        let status = headers
            .value(STATUS)
            // Three digits: the standard parser would also take `+429`.
            .filter(|status| status.len() == 3 && status.iter().all(u8::is_ascii_digit))
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let now_s = now_ns.checked_div(NS_PER_S).unwrap_or_default();
        if let Some(seconds) = limit_s(headers, status, self.category, now_s) {
            let until_ns = now_ns.saturating_add(seconds.saturating_mul(NS_PER_S));
            self.closed_until_ns = self.closed_until_ns.max(until_ns);
        }
        let loss = match status {
            Some(200..=299) => None,
            Some(429) => Some(Loss::RatelimitBackoff),
            // What Envoy answers in the place of a receiver that could not be reached, hung up or took too long (seen on 1.40) differs from a
            // receiver's own answer in that nobody was waited for.
            Some(503 | 504) if headers.value(UPSTREAM_SERVICE_TIME).is_none() => {
                Some(Loss::NetworkError)
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

    fn answer(lines: &[(&str, &str)]) -> Headers {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Headers::from_pairs(lines)
    }

    #[test]
    fn an_answer_says_what_became_of_the_spans() {
        let upstream = (UPSTREAM_SERVICE_TIME, "3");
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<Loss>);
        let rows: [Row; 12] = [
            (&[(":status", "200")], None),
            (&[(":status", "202"), upstream], None),
            (&[(":status", "301")], Some(Loss::SendError)),
            (&[(":status", "413")], Some(Loss::SendError)),
            (&[(":status", "500")], Some(Loss::SendError)),
            (&[(":status", "503"), upstream], Some(Loss::SendError)),
            (&[(":status", "503")], Some(Loss::NetworkError)),
            (&[(":status", "504")], Some(Loss::NetworkError)),
            (&[(":status", "429")], Some(Loss::RatelimitBackoff)),
            (&[(":status", "none")], Some(Loss::NetworkError)),
            (&[(":status", "+200")], Some(Loss::NetworkError)),
            (&[], Some(Loss::NetworkError)),
        ];
        for (lines, loss) in rows {
            let mut transport = transport();
            transport.dispatched(7, 1, 0);
            assert!(!transport.has_room());
            assert_eq!(
                transport.answered(8, &answer(lines), 0),
                None,
                "an unknown token"
            );
            let outcome = transport.answered(7, &answer(lines), 0);
            assert_eq!(outcome, Some(Outcome { spans: 1, loss }), "{lines:?}");
            assert!(transport.is_idle());
        }
    }

    #[test]
    fn a_limit_closes_the_transport_for_as_long_as_it_says() {
        let mut transport = transport();
        for (token, lines, seconds) in [
            (1, [(":status", "429"), ("retry-after", "7")], 7),
            (
                2,
                [
                    (":status", "200"),
                    ("x-sentry-rate-limits", "9:transaction:key"),
                ],
                9,
            ),
            // The longer limit wins.
            (3, [(":status", "429"), ("retry-after", "1")], 9),
        ] {
            transport.dispatched(token, 1, 0);
            transport.answered(token, &answer(&lines), 0);
            assert!(transport.is_closed(seconds * NS_PER_S - 1), "{lines:?}");
            assert!(!transport.is_closed(seconds * NS_PER_S), "{lines:?}");
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
