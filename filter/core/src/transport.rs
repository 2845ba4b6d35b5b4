//! What goes to Sentry, what is on its way and what the answers mean (filter.md §8,
//! sentry-protocol.md §11).

pub mod backoff;
pub mod rate_limit;
pub mod shared_limit;

use std::sync::Arc;

use crate::config::FilterConfig;
use crate::dsn::Dsn;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{EncodedSegment, Format, Quantity, SDK_NAME, SDK_VERSION};
use crate::headers::{Headers, STATUS};
use crate::metrics::DiscardReason;
use backoff::Backoff;
use rate_limit::limit_s;

/// How long after its own timeout an answer is still expected, in milliseconds. A host that never
/// answers must not keep a place for ever.
const GRACE_MS: u64 = 10_000;
/// What Envoy adds to the answers of a receiver, but not to its own.
const UPSTREAM_SERVICE_TIME: &str = "x-envoy-upstream-service-time";

/// What Envoy's answer says of a request that never left it.
const NOT_ARRIVED: [&[u8]; 4] = [
    b"reset reason: remote connection failure",
    b"reset reason: local connection failure",
    b"reset reason: connection timeout",
    b"reset reason: overflow",
];

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
    /// What the bytes were made of, kept in case they do not arrive.
    pub segments: Vec<EncodedSegment>,
    /// The report among them.
    pub report: Option<ClientReport>,
}

impl Callout {
    /// How much it carries.
    pub fn quantity(&self) -> Quantity {
        Quantity::total(&self.segments)
    }
}

/// Makes callouts and reads their answers.
#[derive(Debug)]
pub struct Transport {
    cluster: Arc<str>,
    headers: Arc<[(&'static str, String)]>,
    timeout_ms: u32,
    format: Format,
    in_flight: Vec<InFlight>,
    closed_until_ns: u64,
    /// How many seconds the last answer has closed it for, if that is yet to be told to the other
    /// workers.
    said_s: Option<u64>,
    backoff: Backoff,
}

#[derive(Debug)]
struct InFlight {
    token: u32,
    segments: Vec<EncodedSegment>,
    report: Option<ClientReport>,
    expires_ns: u64,
}

/// What became of a callout, and what it carried.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it carried.
    pub segments: Vec<EncodedSegment>,
    /// The report that rode on it.
    pub report: Option<ClientReport>,
    /// What became of it.
    pub fate: Fate,
    /// How many of its spans the receiver refused although it took the rest.
    pub rejected: u32,
}

/// What became of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The receiver took it.
    Accepted,
    /// It is lost.
    Lost(DiscardReason),
    /// It provably never left Envoy, and may be sent again.
    NotArrived,
}

/// An answer to a callout. The body is read only if it says more than the headers.
pub struct Answer<'a> {
    headers: &'a Headers,
    body: &'a mut dyn FnMut() -> Vec<u8>,
}

impl<'a> Answer<'a> {
    /// An answer by its headers, none if there was none, and by what reads the beginning of its
    /// body.
    pub fn new(headers: &'a Headers, body: &'a mut dyn FnMut() -> Vec<u8>) -> Self {
        Self { headers, body }
    }

    fn status(&self) -> Option<u16> {
        self.headers
            .value(STATUS)
            // Three digits: the standard parser would also take `+429`.
            .filter(|status| status.len() == 3 && status.iter().all(u8::is_ascii_digit))
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok())
    }

    /// What became of the callout. What Envoy answers itself, in the place of a receiver that could
    /// not be reached, hung up or took too long, differs from a receiver's own answer in that
    /// nobody was waited for; and why it did so stands in its text (seen on 1.40):
    ///
    /// | what happened | Envoy's answer, with the end of its text |
    /// |---|---|
    /// | connection refused, or a failed TLS handshake | 503, `… remote connection failure` |
    /// | no connection or TLS handshake within `connect_timeout` | 503, `… connection timeout` |
    /// | no connection to be had from the pool | 503, `… overflow` |
    /// | connection broken before or after the request left | 503, `… connection termination` |
    /// | no answer within `transport.timeout_ms` | 504, `upstream request timeout` |
    ///
    /// The first three have provably not arrived.
    fn fate(&mut self) -> Fate {
        let is_envoys = self.headers.value(UPSTREAM_SERVICE_TIME).is_none();
        match self.status() {
            Some(200..=299) => Fate::Accepted,
            Some(429) => Fate::Lost(DiscardReason::RatelimitBackoff),
            Some(503) if is_envoys => {
                let body = (self.body)();
                let says = |reason: &[u8]| body.windows(reason.len()).any(|part| part == reason);
                match NOT_ARRIVED.into_iter().any(says) {
                    true => Fate::NotArrived,
                    false => Fate::Lost(DiscardReason::NetworkError),
                }
            }
            Some(504) if is_envoys => Fate::Lost(DiscardReason::NetworkError),
            Some(_) => Fate::Lost(DiscardReason::SendError),
            None => Fate::Lost(DiscardReason::NetworkError),
        }
    }
}

impl Transport {
    /// A transport to the receiver that a DSN names.
    pub fn new(dsn: &Dsn, config: &FilterConfig) -> Self {
        let client = format!("{SDK_NAME}/{SDK_VERSION}");
        let config = &config.transport;
        let headers = [
            (":method", "POST".to_owned()),
            (":scheme", dsn.scheme().to_owned()),
            (":authority", dsn.authority().to_owned()),
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
            format: config.format,
            in_flight: Vec::new(),
            closed_until_ns: 0,
            said_s: None,
            backoff: Backoff::new(config.flush_interval_ms),
        }
    }

    /// Whether another callout may be made now, as far as the receiver is concerned.
    pub fn is_ready(&self, now_ns: u64) -> bool {
        !self.is_closed(now_ns) && self.backoff.is_over(now_ns)
    }

    /// How many callouts are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the receiver asked for a pause that is not over.
    pub fn is_closed(&self, now_ns: u64) -> bool {
        now_ns < self.closed_until_ns
    }

    /// For how many seconds the last answer has closed it, once.
    pub fn take_said_s(&mut self) -> Option<u64> {
        self.said_s.take()
    }

    /// Another worker has learned of a pause. The longer one counts.
    pub fn close_until(&mut self, until_ns: u64) {
        self.closed_until_ns = self.closed_until_ns.max(until_ns);
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The callout that posts a body made of these.
    pub fn callout(
        &self,
        segments: Vec<EncodedSegment>,
        report: Option<ClientReport>,
        body: Vec<u8>,
    ) -> Callout {
        Callout {
            cluster: Arc::clone(&self.cluster),
            headers: Arc::clone(&self.headers),
            body,
            timeout_ms: self.timeout_ms,
            segments,
            report,
        }
    }

    /// Notes that the host took a callout and named it `token`. One that had the same name will not
    /// be answered any more, and is returned.
    pub fn dispatched(&mut self, token: u32, callout: Callout, now_ns: u64) -> Vec<Outcome> {
        let replaced = self.take_if(
            |in_flight| in_flight.token == token,
            DiscardReason::NetworkError,
        );
        let patience_ms = u64::from(self.timeout_ms).saturating_add(GRACE_MS);
        self.in_flight.push(InFlight {
            token,
            segments: callout.segments,
            report: callout.report,
            expires_ns: now_ns.saturating_add(patience_ms.saturating_mul(NS_PER_MS)),
        });
        replaced
    }

    /// What failed before says nothing about the next try.
    pub fn forget_failures(&mut self) {
        self.backoff.forget();
    }

    /// The host did not take a callout. `random` spreads the workers' next tries.
    pub fn not_dispatched(&mut self, now_ns: u64, random: u64) {
        self.backoff.failed(now_ns, random);
    }

    /// Reads an answer. `None` for a token that is not on its way. `host_ns` is what the host's
    /// clock shows, for dates.
    pub fn answered(
        &mut self,
        token: u32,
        answer: &mut Answer<'_>,
        host_ns: u64,
        now_ns: u64,
        random: u64,
    ) -> Option<Outcome> {
        let InFlight {
            segments, report, ..
        } = self
            .in_flight
            .extract_if(.., |callout| callout.token == token)
            .next()?;
        let status = answer.status();
        let host_s = host_ns.checked_div(NS_PER_S).unwrap_or_default();
        let limit_s = limit_s(answer.headers, status, self.format.category(), host_s);
        if let Some(seconds) = limit_s {
            // No time at all is no limit, unless a limit is why this POST was refused.
            let seconds = seconds.max(u64::from(status == Some(429)));
            let until_ns = now_ns.saturating_add(seconds.saturating_mul(NS_PER_S));
            if until_ns > self.closed_until_ns.max(now_ns) {
                self.closed_until_ns = until_ns;
                self.said_s = Some(seconds);
            }
        }
        let fate = answer.fate();
        match fate {
            Fate::NotArrived => self.backoff.failed(now_ns, random),
            Fate::Accepted => self.backoff.accepted(),
            Fate::Lost(DiscardReason::RatelimitBackoff) => self.backoff.limited(now_ns),
            Fate::Lost(_) => self.backoff.refused(now_ns),
        }
        let rejected = match fate {
            Fate::Accepted => self.format.rejected(&mut *answer.body),
            Fate::NotArrived | Fate::Lost(_) => 0,
        };
        Some(Outcome {
            rejected: rejected.min(Quantity::total(&segments).spans),
            segments,
            report,
            fate,
        })
    }

    /// Gives up on callouts that the host should have answered long ago.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Outcome> {
        self.take_if(
            |callout| callout.expires_ns <= now_ns,
            DiscardReason::NetworkError,
        )
    }

    /// All of them are lost: nothing will be answered any more.
    pub fn abandon(&mut self) -> Vec<Outcome> {
        self.take_if(|_| true, DiscardReason::NetworkError)
    }

    /// The clock was set forward, or stood still for the worker: callouts had no time to be
    /// answered in.
    pub fn delay_expiry(&mut self, by_ns: u64) {
        for callout in &mut self.in_flight {
            callout.expires_ns = callout.expires_ns.saturating_add(by_ns);
        }
    }

    fn take_if(
        &mut self,
        is_lost: impl Fn(&InFlight) -> bool,
        loss: DiscardReason,
    ) -> Vec<Outcome> {
        self.in_flight
            .extract_if(.., |callout| is_lost(callout))
            .map(|callout| Outcome {
                segments: callout.segments,
                report: callout.report,
                fate: Fate::Lost(loss),
                rejected: 0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnvDefaults;

    fn transport() -> Transport {
        let json = br#"{"dsn": "https://key:hush@o1.ingest.sentry.io/42", "transport": {"timeout_ms": 1000}}"#;
        let config = FilterConfig::parse(json, &EnvDefaults::default()).unwrap();
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

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Headers::from_pairs(lines)
    }

    fn answered(
        transport: &mut Transport,
        token: u32,
        lines: &[(&str, &str)],
        body: &str,
    ) -> Option<Fate> {
        let mut body = || body.as_bytes().to_vec();
        let headers = headers(lines);
        let mut answer = Answer::new(&headers, &mut body);
        Some(transport.answered(token, &mut answer, 0, 0, 0)?.fate)
    }

    fn dispatch(transport: &mut Transport, token: u32) {
        let callout = transport.callout(Vec::new(), None, Vec::new());
        assert_eq!(transport.dispatched(token, callout, 0), []);
    }

    #[test]
    fn an_answer_says_what_became_of_the_spans() {
        let upstream = (UPSTREAM_SERVICE_TIME, "3");
        let reset = |reason: &str| {
            format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
            )
        };
        let refused = reset("remote connection failure, transport failure reason: TLS_error");
        let lost = |loss| Fate::Lost(loss);
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Fate);
        let rows: [Row; 18] = [
            (&[(":status", "200")], "", Fate::Accepted),
            (&[(":status", "202"), upstream], "", Fate::Accepted),
            (&[(":status", "301")], "", lost(DiscardReason::SendError)),
            (&[(":status", "413")], "", lost(DiscardReason::SendError)),
            (&[(":status", "500")], "", lost(DiscardReason::SendError)),
            (
                &[(":status", "503"), upstream],
                &refused,
                lost(DiscardReason::SendError),
            ),
            (&[(":status", "503")], "", lost(DiscardReason::NetworkError)),
            (
                &[(":status", "503")],
                &reset("connection termination"),
                lost(DiscardReason::NetworkError),
            ),
            (
                &[(":status", "503")],
                &reset("remote reset"),
                lost(DiscardReason::NetworkError),
            ),
            (&[(":status", "503")], &refused, Fate::NotArrived),
            (
                &[(":status", "503")],
                &reset("connection timeout"),
                Fate::NotArrived,
            ),
            (&[(":status", "503")], &reset("overflow"), Fate::NotArrived),
            (
                &[(":status", "504")],
                "upstream request timeout",
                lost(DiscardReason::NetworkError),
            ),
            (
                &[(":status", "504"), upstream],
                "",
                lost(DiscardReason::SendError),
            ),
            (
                &[(":status", "429")],
                "",
                lost(DiscardReason::RatelimitBackoff),
            ),
            (
                &[(":status", "none")],
                "",
                lost(DiscardReason::NetworkError),
            ),
            (
                &[(":status", "+200")],
                "",
                lost(DiscardReason::NetworkError),
            ),
            (&[], "", lost(DiscardReason::NetworkError)),
        ];
        for (lines, body, fate) in rows {
            let mut transport = transport();
            dispatch(&mut transport, 7);
            assert_eq!(transport.in_flight(), 1);
            let unknown = answered(&mut transport, 8, lines, body);
            assert_eq!(unknown, None, "an unknown token");
            let found = answered(&mut transport, 7, lines, body);
            assert_eq!(found, Some(fate), "{lines:?} {body}");
            assert!(transport.is_idle());
        }
    }

    #[test]
    fn what_a_collector_took_only_in_part_is_read() {
        let json = br#"{"dsn": "https://key@sentry.io/42", "transport": {"format": "otlp"}}"#;
        let config = FilterConfig::parse(json, &EnvDefaults::default()).unwrap();
        let segment = crate::fixtures::segment("/");
        let segment = crate::fixtures::encoded(&segment, Format::Otlp, &config);
        let spans = 2;
        for (body, rejected) in [
            (b"".as_slice(), 0),
            (b"\x0a\x00", 0),
            (b"\x0a\x02\x08\x01", 1),
            (b"\x0a\x07\x12\x03why\x08\x01", 1),
            // More than there were, a negative number, something cut off, something else.
            (b"\x0a\x02\x08\x07", spans),
            (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0),
            (b"\x0a\x02\x08", 0),
            (b"{\"partialSuccess\":{}}", 0),
        ] {
            let mut transport = Transport::new(config.dsn.as_ref().unwrap(), &config);
            let callout = transport.callout(vec![segment.clone()], None, Vec::new());
            transport.dispatched(7, callout, 0);
            let (headers, mut read) = (headers(&[(":status", "200")]), || body.to_vec());
            let outcome = transport.answered(7, &mut Answer::new(&headers, &mut read), 0, 0, 0);
            assert_eq!(
                outcome.unwrap().rejected,
                rejected,
                "{}",
                body.escape_ascii()
            );
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
            dispatch(&mut transport, token);
            answered(&mut transport, token, &lines, "");
            assert!(transport.is_closed(seconds * NS_PER_S - 1), "{lines:?}");
            assert!(!transport.is_closed(seconds * NS_PER_S), "{lines:?}");
            let said_s = transport.take_said_s();
            assert_eq!(said_s, (token < 3).then_some(seconds), "told once");
        }
        transport.close_until(8 * NS_PER_S);
        assert!(transport.is_closed(9 * NS_PER_S - 1));
        transport.close_until(10 * NS_PER_S);
        assert!(
            transport.is_closed(10 * NS_PER_S - 1),
            "as another worker says"
        );
    }

    #[test]
    fn a_callout_that_is_never_answered_is_given_up() {
        let mut transport = transport();
        dispatch(&mut transport, 1);
        assert_eq!(transport.expire(11_000 * NS_PER_MS - 1), []);
        let lost = transport.expire(11_000 * NS_PER_MS);
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].fate, Fate::Lost(DiscardReason::NetworkError));
        assert!(transport.is_idle());
    }

    #[test]
    fn what_does_not_arrive_is_not_tried_again_at_once() {
        let mut transport = transport();
        transport.not_dispatched(0, 0);
        assert!(!transport.is_ready(1));
        assert!(transport.is_ready(NS_PER_S));
    }
}
