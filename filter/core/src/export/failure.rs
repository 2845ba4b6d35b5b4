//! Why spans do not reach Sentry, in words for an operator, said when it begins and when it is
//! over: at most once a minute for each kind, and never for each request.

use super::delivery::{CalloutResponse, Delivery};
use crate::host::HostError;

/// How long nothing more is said about the same kind of failure.
const QUIET_NS: u64 = 60_000_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// The status of proxy-wasm for an argument that is none: here, a cluster that Envoy does not have.
const BAD_ARGUMENT: u32 = 2;

/// Why a POST did not reach Sentry, or was not taken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Envoy does not know the cluster.
    NoCluster,
    /// The cluster has no host to send to, or takes no more.
    NoHost,
    /// No connection, or no TLS: newer versions of Envoy (1.40) do not say which.
    NotConnected,
    /// No TLS, where Envoy says so.
    Handshake,
    /// No response, or a connection that broke.
    NoResponse,
    /// The receiver's response is no success.
    Status(u16),
}

impl Failure {
    /// Why Envoy did not take a callout.
    pub fn not_posted(error: HostError) -> Self {
        match error {
            HostError::Refused(BAD_ARGUMENT) => Self::NoCluster,
            _ => Self::NoHost,
        }
    }

    /// Why a callout has failed; `None` if it has not.
    pub(super) fn new(delivery: Delivery, response: &mut CalloutResponse<'_>) -> Option<Self> {
        match delivery {
            Delivery::Accepted => None,
            Delivery::NotTaken => Some(Self::NoHost),
            Delivery::NotArrived => {
                let body = (response.body)();
                let has = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
                Some(match has(b"TLS_error") {
                    true => Self::Handshake,
                    false => Self::NotConnected,
                })
            }
            Delivery::Lost => Some(Self::NoResponse),
            Delivery::RateLimited | Delivery::Refused => {
                Some(response.status().map_or(Self::NoResponse, Self::Status))
            }
        }
    }

    /// Whether two are the same as far as an operator is concerned.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Status(one), Self::Status(other)) => {
                status_meaning(one, false) == status_meaning(other, false)
            }
            _ => self == other,
        }
    }

    /// Whether what did not arrive is tried again.
    fn is_tried_again(self) -> bool {
        !matches!(self, Self::NoResponse | Self::Status(_))
    }

    fn meaning(self, is_otlp: bool) -> &'static str {
        match self {
            Self::NoCluster => "Envoy has no cluster of the name in transport.cluster",
            Self::NoHost => "the cluster in transport.cluster has no healthy host or no address, or a circuit breaker is open",
            Self::NotConnected => "there is no connection: nothing listens there, a firewall, or the TLS handshake failed; compare the cluster's host and port, SNI and certificate authority",
            Self::Handshake => "the TLS handshake failed: compare the cluster's certificate authority, SNI and port with the receiver's certificate",
            Self::NoResponse => "no answer within transport.timeout_ms, or the connection broke",
            Self::Status(status) => status_meaning(status, is_otlp),
        }
    }
}

/// What a receiver's status means for somebody who wants spans to arrive.
pub fn status_meaning(status: u16, is_otlp: bool) -> &'static str {
    match status {
        300..=399 => "a redirect, which the filter does not follow: the DSN's host or scheme is not the receiver's own",
        400 => "the receiver could not read the request: is the address a Sentry's, and does it know the format? transport.format: transaction is understood by all",
        401 | 403 => "the receiver does not know the key, or the key is disabled: compare the DSN with Settings > Projects > Client Keys",
        404 if is_otlp => "nothing takes OTLP at this path: this Sentry is too old for it, or a collector needs transport.path",
        404 => "nothing takes envelopes at this path: the project id, or transport.path, is wrong",
        413 => "the receiver, or a proxy before it, finds the body too large",
        429 => "the key or the project is limited, or the quota is used up",
        500..=599 => "the receiver, or a proxy before it, is failing: try again, and see its status",
        _ => "not a response that Sentry gives: is the address a Sentry's?",
    }
}

/// From the first failure to the success that lasts.
#[derive(Debug)]
struct Episode {
    since_ns: u64,
    /// What was said last; `None` if nothing was.
    said: Option<Failure>,
    /// How many spans were lost meanwhile.
    lost: u64,
    /// Since when it works again.
    works_since_ns: Option<u64>,
}

/// What was said about failures.
#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    episode: Option<Episode>,
    /// When each kind was said last.
    said: Vec<(Failure, u64)>,
    /// When it was last said that it works again.
    works_ns: Option<u64>,
}

impl FailureLog {
    /// A POST has failed. Before its spans are counted as lost.
    pub(crate) fn failed(&mut self, now_ns: u64) {
        let episode = self.episode.get_or_insert(Episode {
            since_ns: now_ns,
            said: None,
            lost: 0,
            works_since_ns: None,
        });
        episode.works_since_ns = None;
    }

    /// So many spans were lost.
    pub(crate) fn lost(&mut self, spans: u32) {
        if let Some(episode) = &mut self.episode {
            episode.lost = episode.lost.saturating_add(spans.into());
        }
    }

    /// The line about a failure, if it is to be said now.
    pub(crate) fn line(&mut self, failure: Failure, is_otlp: bool, now_ns: u64) -> Option<String> {
        let episode = self.episode.as_mut()?;
        if episode.said.is_some_and(|said| said.is_like(failure)) {
            return None;
        }
        let known = self.said.iter_mut().find(|(said, _)| said.is_like(failure));
        match known {
            Some((_, said_ns)) if now_ns.saturating_sub(*said_ns) < QUIET_NS => return None,
            Some((_, said_ns)) => *said_ns = now_ns,
            None => self.said.push((failure, now_ns)),
        }
        episode.said = Some(failure);
        let meaning = failure.meaning(is_otlp);
        let status = match failure {
            Failure::Status(status) => format!("{status}: "),
            _ => String::new(),
        };
        let waits = match failure.is_tried_again() {
            true => ", the others wait and are tried again",
            false => "",
        };
        let lost = episode.lost;
        Some(format!(
            "sentry: spans do not reach Sentry: {status}{meaning} (spans lost so far: {lost}{waits})"
        ))
    }

    /// A POST was taken.
    pub(crate) fn works(&mut self, now_ns: u64) {
        if let Some(episode) = &mut self.episode {
            episode.works_since_ns.get_or_insert(now_ns);
        }
    }

    /// The line that it works again, if it does and that is to be said now.
    pub(crate) fn works_line(&mut self, now_ns: u64) -> Option<String> {
        let until_ns = self.episode.as_ref()?.works_since_ns?;
        let said_ns = self.works_ns;
        if said_ns.is_some_and(|said_ns| now_ns.saturating_sub(said_ns) < QUIET_NS) {
            return None;
        }
        let episode = self.episode.take()?;
        // What was not said need not be taken back.
        episode.said?;
        self.works_ns = Some(now_ns);
        let seconds = until_ns.saturating_sub(episode.since_ns) / NS_PER_S;
        let lost = episode.lost;
        Some(format!(
            "sentry: spans reach Sentry again, after {seconds} s (spans lost meanwhile: {lost})"
        ))
    }
}
