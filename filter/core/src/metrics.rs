//! Every counter and gauge, its name and what it means. They come out in Envoy's stats as
//! `wasmcustom.sentry_filter.<name>`.
//!
//! At any moment, and summed over all workers:
//! `spans_recorded = spans_sent + spans_discarded.* + spans_queued + spans_in_flight` (filter.md
//! §8).

use crate::trace::continuation::RestartReason;
use crate::trace::sentry_trace::SentryTraceError;
use crate::trace::traceparent::TraceparentError;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Requests whose headers the filter saw.
    Requests,
    /// Requests whose trace arrived with them.
    TracesContinued,
    /// Requests whose trace began here.
    TracesStarted,
    /// Requests whose trace began here although one arrived, by reason.
    TracesRestarted(RestartReason),
    /// Requests that have no span because of `max_traces_per_second`.
    TracesThrottled,
    /// Requests of which less is kept because of `max_live_bytes`: they have no span, or their
    /// answer tells less.
    RequestsOverBudget,
    /// `sentry-trace` headers that were refused, by reason.
    SentryTraceRefused(SentryTraceError),
    /// `traceparent` headers that were refused, by reason.
    TraceparentRefused(TraceparentError),
    /// `baggage` members that were dropped because they are none.
    BaggageMalformed,
    /// `baggage` members that were dropped because there are too many, or too many bytes.
    BaggageLimit,
    /// Spans that ended and were to be sent.
    SpansRecorded,
    /// Spans that Sentry took.
    SpansSent,
    /// Spans that were lost, by reason.
    SpansDiscarded(DiscardReason),
    /// Spans that wait to be sent.
    SpansQueued,
    /// Spans that are on their way.
    SpansInFlight,
    /// Callouts by what became of them.
    Callouts(CalloutOutcome),
    /// Workers that wait because the receiver asked for it.
    WorkersRateLimited,
    /// Host calls that were answered with a status other than success or "not there".
    HostCallsRefused,
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
}

impl DiscardReason {
    const ALL: [Self; 6] = [
        Self::QueueOverflow,
        Self::NetworkError,
        Self::SendError,
        Self::RatelimitBackoff,
        Self::InternalSdkError,
        Self::Ignored,
    ];

    /// The stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::QueueOverflow => "queue_overflow",
            Self::NetworkError => "network_error",
            Self::SendError => "send_error",
            Self::RatelimitBackoff => "ratelimit_backoff",
            Self::InternalSdkError => "internal_sdk_error",
            Self::Ignored => "ignored",
        }
    }

    /// The reason in a client report. For spans that are left out because of their status code it
    /// is that of Sentry's Python SDK, which has the option.
    pub fn report_reason(self) -> &'static str {
        match self {
            Self::Ignored => "event_processor",
            other => other.reason(),
        }
    }
}

/// What became of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutOutcome {
    /// The receiver took it.
    Accepted,
    /// The receiver answered 429.
    RateLimited,
    /// The receiver answered with something else that is no success.
    Refused,
    /// It was not answered.
    Lost,
    /// It never left Envoy, and its spans wait for another try.
    NotArrived,
    /// Envoy did not take it, and its spans wait for another try.
    NotTaken,
}

impl CalloutOutcome {
    const ALL: [Self; 6] = [
        Self::Accepted,
        Self::RateLimited,
        Self::Refused,
        Self::Lost,
        Self::NotArrived,
        Self::NotTaken,
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::NotArrived => "not_arrived",
            Self::NotTaken => "not_taken",
        }
    }
}

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// The metrics without a reason; those with one follow in the order of their reasons.
const PLAIN: [Metric; 13] = [
    Metric::Requests,
    Metric::TracesContinued,
    Metric::TracesStarted,
    Metric::TracesThrottled,
    Metric::RequestsOverBudget,
    Metric::BaggageMalformed,
    Metric::BaggageLimit,
    Metric::SpansRecorded,
    Metric::SpansSent,
    Metric::SpansQueued,
    Metric::SpansInFlight,
    Metric::WorkersRateLimited,
    Metric::HostCallsRefused,
];

impl Metric {
    /// Every metric, each at its index.
    pub fn all() -> impl Iterator<Item = Self> {
        PLAIN
            .into_iter()
            .chain(RestartReason::ALL.map(Self::TracesRestarted))
            .chain(SentryTraceError::ALL.map(Self::SentryTraceRefused))
            .chain(TraceparentError::ALL.map(Self::TraceparentRefused))
            .chain(DiscardReason::ALL.map(Self::SpansDiscarded))
            .chain(CalloutOutcome::ALL.map(Self::Callouts))
    }

    /// The name, with the reason behind a dot.
    pub fn name(self) -> String {
        let (name, reason) = match self {
            Self::Requests => ("requests", None),
            Self::TracesContinued => ("traces_continued", None),
            Self::TracesStarted => ("traces_started", None),
            Self::TracesRestarted(restart) => ("traces_restarted", Some(restart.reason())),
            Self::TracesThrottled => ("traces_throttled", None),
            Self::RequestsOverBudget => ("requests_over_budget", None),
            Self::SentryTraceRefused(error) => ("sentry_trace_refused", Some(error.reason())),
            Self::TraceparentRefused(error) => ("traceparent_refused", Some(error.reason())),
            Self::BaggageMalformed => ("baggage_members_dropped", Some("malformed")),
            Self::BaggageLimit => ("baggage_members_dropped", Some("limit")),
            Self::SpansRecorded => ("spans_recorded", None),
            Self::SpansSent => ("spans_sent", None),
            Self::SpansDiscarded(loss) => ("spans_discarded", Some(loss.reason())),
            Self::SpansQueued => ("spans_queued", None),
            Self::SpansInFlight => ("spans_in_flight", None),
            Self::Callouts(outcome) => ("callouts", Some(outcome.reason())),
            Self::WorkersRateLimited => ("workers_rate_limited", None),
            Self::HostCallsRefused => ("host_calls_refused", None),
        };
        match reason {
            Some(reason) => format!("sentry_filter.{name}.{reason}"),
            None => format!("sentry_filter.{name}"),
        }
    }

    /// Whether it only grows.
    pub fn kind(self) -> MetricKind {
        match self {
            Self::SpansQueued | Self::SpansInFlight | Self::WorkersRateLimited => MetricKind::Gauge,
            _ => MetricKind::Counter,
        }
    }
}

/// What has changed since the host was told last: a handful of all there is.
#[derive(Debug, Default)]
pub struct Metrics {
    changes: Vec<(Metric, i64)>,
}

impl Metrics {
    /// Takes away from a gauge.
    pub fn subtract(&mut self, gauge: Metric, change: i64) {
        self.add(gauge, change.saturating_neg());
    }

    /// Adds to a metric; only gauges take negative numbers.
    pub fn add(&mut self, metric: Metric, change: i64) {
        if change == 0 {
            return;
        }
        match self.changes.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, sum)) => *sum = sum.saturating_add(change),
            None => self.changes.push((metric, change)),
        }
    }

    /// Takes the changes, each with the index of its metric in [`Metric::all`].
    pub fn take(&mut self) -> Vec<(usize, i64)> {
        std::mem::take(&mut self.changes)
            .into_iter()
            .filter(|(_, change)| *change != 0)
            .filter_map(|(metric, change)| {
                let index = Metric::all().position(|known| known == metric)?;
                Some((index, change))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_place_and_a_name_of_its_own() {
        let mut names: Vec<_> = Metric::all().map(Metric::name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);

        let mut metrics = Metrics::default();
        for metric in Metric::all() {
            metrics.add(metric, 1);
        }
        let changes: Vec<_> = (0..count).map(|index| (index, 1)).collect();
        assert_eq!(metrics.take(), changes);
        assert_eq!(metrics.take(), []);
    }
}
