//! Why a trace is sampled or not: sentry-protocol.md §3.2.

use crate::sampling::{SampleRand, SampleRate};

/// Who sets what holds for a request, the one that comes first first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    /// The metadata of Envoy's route.
    Route,
    /// A rule.
    Rule,
    /// The option at the top level.
    TopLevel,
}

impl SetBy {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Route, Self::Rule, Self::TopLevel];
}

/// What a decision was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingDecision {
    /// The decision that arrived with the trace and is kept.
    pub inherited: Option<bool>,
    /// Whether one that arrives does not count: `incoming.sampled` is `ignore`.
    pub ignores_incoming: bool,
    /// The number that is compared with the rate.
    pub sample_rand: SampleRand,
    /// The rates by [`SetBy::ALL`], of which the first counts; none at all is deferred mode. None
    /// is asked for where the decision that arrived is a no.
    pub rates: [Option<SampleRate>; SetBy::ALL.len()],
    /// Who says that such requests are not recorded.
    pub ignored_by: Option<SetBy>,
}

impl SamplingDecision {
    /// Every rate that is set, the one that counts first.
    pub fn rates(&self) -> impl Iterator<Item = (SetBy, SampleRate)> + '_ {
        let rates = SetBy::ALL.into_iter().zip(self.rates);
        rates.filter_map(|(by, rate)| Some((by, rate?)))
    }
}
