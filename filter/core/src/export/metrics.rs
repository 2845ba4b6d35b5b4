//! Every counter and gauge, its name and what it means. They come out in Envoy's stats as
//! `wasmcustom.sentry_filter.<name>`.
//!
//! At any moment, and summed over all workers:
//! `spans_recorded = spans_sent + spans_discarded.* + spans_queued + spans_in_flight` (filter.md
//! §8), and the same for `events_…` (§13).

use super::delivery::{Delivery, DiscardReason};
use crate::trace::continuation::RestartReason;
use crate::trace::header::HeaderError;
use crate::trace::propagation::Format;

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
    /// response tells less.
    RequestsOverBudget,
    /// Headers of a format that were refused, by reason.
    HeadersRefused(Format, HeaderError),
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
    /// Failures that were to become error events.
    EventsRecorded,
    /// Error events that Sentry took.
    EventsSent,
    /// Error events that were lost, by reason.
    EventsDiscarded(DiscardReason),
    /// Error events that wait to be sent.
    EventsQueued,
    /// Error events that are on their way.
    EventsInFlight,
    /// Callouts by what became of them.
    Callouts(Delivery),
    /// Workers that wait because the receiver asked for it.
    WorkersRateLimited,
    /// Host calls that were answered with a status other than success or "not there".
    HostCallsRefused,
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
const PLAIN: [Metric; 17] = [
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
    Metric::EventsRecorded,
    Metric::EventsSent,
    Metric::EventsQueued,
    Metric::EventsInFlight,
];

// Where those with a reason begin.
const RESTARTS: usize = PLAIN.len();
const REFUSALS: usize = RESTARTS + RestartReason::ALL.len();
const DISCARDS: usize = REFUSALS + refusals(&Format::ALL);
const CALLOUTS: usize = DISCARDS + DiscardReason::ALL.len();
const EVENT_DISCARDS: usize = CALLOUTS + Delivery::ALL.len();

/// How many reasons to refuse a header these formats have.
const fn refusals(formats: &[Format]) -> usize {
    match formats {
        [first, rest @ ..] => first.errors().len().saturating_add(refusals(rest)),
        [] => 0,
    }
}

impl Metric {
    /// Every metric, each at its index.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::at)
    }

    #[inline(never)]
    fn at(index: usize) -> Option<Self> {
        let of = |first: usize| index.wrapping_sub(first);
        let plain = PLAIN.get(index).copied();
        let reasons = || {
            RestartReason::ALL
                .get(of(RESTARTS))
                .map(|it| Self::TracesRestarted(*it))
        };
        let refusals = || {
            let mut place = of(REFUSALS);
            Format::ALL.into_iter().find_map(|format| {
                let errors = format.errors();
                let error = errors
                    .get(place)
                    .map(|it| Self::HeadersRefused(format, *it));
                place = place.wrapping_sub(errors.len());
                error
            })
        };
        let discards = || {
            DiscardReason::ALL
                .get(of(DISCARDS))
                .map(|it| Self::SpansDiscarded(*it))
        };
        let callouts = || {
            Delivery::ALL
                .get(of(CALLOUTS))
                .map(|it| Self::Callouts(*it))
        };
        let events = || {
            let reason = DiscardReason::OF_EVENTS.get(of(EVENT_DISCARDS));
            reason.map(|it| Self::EventsDiscarded(*it))
        };
        plain
            .or_else(reasons)
            .or_else(refusals)
            .or_else(discards)
            .or_else(callouts)
            .or_else(events)
    }

    /// How many there are.
    const COUNT: usize = EVENT_DISCARDS + DiscardReason::OF_EVENTS.len();

    /// Its place in [`Self::all`].
    fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::TracesContinued => 1,
            Self::TracesStarted => 2,
            Self::TracesThrottled => 3,
            Self::RequestsOverBudget => 4,
            Self::BaggageMalformed => 5,
            Self::BaggageLimit => 6,
            Self::SpansRecorded => 7,
            Self::SpansSent => 8,
            Self::SpansQueued => 9,
            Self::SpansInFlight => 10,
            Self::WorkersRateLimited => 11,
            Self::HostCallsRefused => 12,
            Self::EventsRecorded => 13,
            Self::EventsSent => 14,
            Self::EventsQueued => 15,
            Self::EventsInFlight => 16,
            Self::TracesRestarted(reason) => RESTARTS.wrapping_add(reason as usize),
            Self::HeadersRefused(format, error) => {
                let place = format.errors().iter().position(|listed| *listed == error);
                let before = Format::ALL.get(..format as usize).map_or(0, refusals);
                REFUSALS
                    .wrapping_add(before)
                    .wrapping_add(place.unwrap_or_default())
            }
            Self::SpansDiscarded(reason) => DISCARDS.wrapping_add(reason as usize),
            Self::Callouts(delivery) => CALLOUTS.wrapping_add(delivery as usize),
            Self::EventsDiscarded(reason) => {
                let place = match reason {
                    // In the place of the one that is for spans alone.
                    DiscardReason::MaxPerMinute => DiscardReason::Ignored,
                    reason => reason,
                };
                EVENT_DISCARDS.wrapping_add(place as usize)
            }
        }
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
            Self::HeadersRefused(format, error) => (format.refused(), Some(error.reason())),
            Self::BaggageMalformed => ("baggage_members_dropped", Some("malformed")),
            Self::BaggageLimit => ("baggage_members_dropped", Some("limit")),
            Self::SpansRecorded => ("spans_recorded", None),
            Self::SpansSent => ("spans_sent", None),
            Self::SpansDiscarded(reason) => ("spans_discarded", Some(reason.as_str())),
            Self::EventsRecorded => ("events_recorded", None),
            Self::EventsSent => ("events_sent", None),
            Self::EventsDiscarded(reason) => ("events_discarded", Some(reason.as_str())),
            Self::EventsQueued => ("events_queued", None),
            Self::EventsInFlight => ("events_in_flight", None),
            Self::SpansQueued => ("spans_queued", None),
            Self::SpansInFlight => ("spans_in_flight", None),
            Self::Callouts(delivery) => ("callouts", Some(delivery.as_str())),
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
            Self::SpansQueued
            | Self::SpansInFlight
            | Self::EventsQueued
            | Self::EventsInFlight
            | Self::WorkersRateLimited => MetricKind::Gauge,
            _ => MetricKind::Counter,
        }
    }
}

/// What has changed since the host was told last.
#[derive(Debug)]
pub struct Metrics {
    /// By [`Metric::index`].
    changes: [i64; Metric::COUNT],
    /// Where [`Self::next_change`] goes on.
    at: usize,
    /// Whether there may be a change.
    has_changed: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            changes: [0; Metric::COUNT],
            at: 0,
            has_changed: false,
        }
    }
}

impl Metrics {
    /// Takes away from a gauge.
    pub fn subtract(&mut self, gauge: Metric, change: i64) {
        self.add(gauge, change.saturating_neg());
    }

    /// Adds to a metric; only gauges take negative numbers.
    pub fn add(&mut self, metric: Metric, change: i64) {
        if let Some(sum) = self.changes.get_mut(metric.index()) {
            *sum = sum.saturating_add(change);
            self.has_changed = true;
        }
    }

    /// Adds what another part of the same worker has counted, and leaves that empty.
    pub fn absorb(&mut self, others: &mut Self) {
        if !std::mem::take(&mut others.has_changed) {
            return;
        }
        self.has_changed = true;
        for (sum, change) in self.changes.iter_mut().zip(&mut others.changes) {
            *sum = sum.saturating_add(std::mem::take(change));
        }
    }

    /// Takes one change, with the index of its metric in [`Metric::all`]; `None` if there is none
    /// left.
    pub fn next_change(&mut self) -> Option<(usize, i64)> {
        if !self.has_changed {
            return None;
        }
        let rest = self.changes.get_mut(self.at..).unwrap_or_default();
        let Some(next) = rest.iter_mut().position(|change| *change != 0) else {
            (self.at, self.has_changed) = (0, false);
            return None;
        };
        let index = self.at.saturating_add(next);
        self.at = index.saturating_add(1);
        let change = self.changes.get_mut(index).map(std::mem::take);
        Some((index, change.unwrap_or_default()))
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

        assert_eq!(count, Metric::COUNT);
        let mut metrics = Metrics::default();
        for (index, metric) in Metric::all().enumerate() {
            assert_eq!(metric.index(), index, "{metric:?}");
            metrics.add(metric, 1);
        }
        let mut changes = Vec::new();
        while let Some(change) = metrics.next_change() {
            changes.push(change);
        }
        changes.sort_unstable();
        let expected: Vec<_> = (0..count).map(|index| (index, 1)).collect();
        assert_eq!(changes, expected);
    }
}
