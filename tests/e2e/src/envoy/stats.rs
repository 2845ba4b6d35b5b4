//! Envoy's stats, as far as the filter writes them.

use std::{collections::BTreeMap, fmt};

use super::Envoy;
use crate::{door::door, polling::eventually};

/// What the filter puts before its names.
const PREFIX: &str = "sentry_filter.";

/// Where the recorded spans are, read in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// `spans_recorded`.
    pub recorded: u64,
    /// `spans_sent`.
    pub sent: u64,
    /// `spans_discarded.<reason>`, without those that are zero.
    pub discarded: BTreeMap<String, u64>,
    /// `spans_queued`.
    pub queued: u64,
    /// `spans_in_flight`.
    pub in_flight: u64,
}

impl Envoy {
    /// All stats of the filter, by their names without prefix.
    pub async fn stats(&self) -> BTreeMap<String, u64> {
        let text = self.admin("/stats?filter=sentry_filter").await;
        let envoys = door().metric_prefix();
        let stat = |line: &str| {
            let name = line.strip_prefix(envoys)?.strip_prefix(PREFIX)?;
            let (name, value) = name.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(stat).collect()
    }

    /// One stat of the filter; zero if it has never been written.
    pub async fn stat(&self, name: &str) -> u64 {
        self.stats().await.get(name).copied().unwrap_or(0)
    }

    /// Waits until a counter of the filter has come to `count`; the filter reports with its flush.
    ///
    /// # Panics
    /// If it has another value at the deadline.
    pub async fn wait_for_stat(&self, name: &str, count: u64) {
        let mut last = 0;
        let reached = eventually(async || {
            last = self.stat(name).await;
            (last == count).then_some(())
        });
        let reached = reached.await.is_some();
        assert!(reached, "{name} stayed at {last}, expected {count}");
    }

    /// Where the spans are now.
    pub async fn account(&self) -> Account {
        self.account_of("spans").await
    }

    /// The account of `spans` or `events`.
    pub async fn account_of(&self, what: &str) -> Account {
        let stats = self.stats().await;
        let stat = |name: &str| stats.get(&format!("{what}_{name}")).copied().unwrap_or(0);
        let discarded = stats.iter().filter_map(|(name, &count)| {
            let reason = name.strip_prefix(&format!("{what}_discarded."))?;
            (count > 0).then(|| (reason.to_owned(), count))
        });
        Account {
            recorded: stat("recorded"),
            sent: stat("sent"),
            discarded: discarded.collect(),
            queued: stat("queued"),
            in_flight: stat("in_flight"),
        }
    }

    /// Waits until the account of error events is as it should be, and balanced.
    ///
    /// # Panics
    /// If it does not become so within the deadline.
    pub async fn wait_for_events(&self, is_right: impl Fn(&Account) -> bool) -> Account {
        let right = eventually(async || {
            let account = self.account_of("events").await;
            (is_right(&account) && account.is_balanced()).then_some(account)
        });
        let right = right.await;
        match right {
            Some(account) => account,
            None => panic!(
                "the account of events stayed at {}",
                self.account_of("events").await
            ),
        }
    }

    /// Waits until the account is as it should be, and balanced.
    ///
    /// The stats are read while workers write them, so one reading may be torn; a filter that loses
    /// count never gets there.
    ///
    /// # Panics
    /// If it does not become so within the deadline.
    pub async fn wait_for_account(&self, mut is_right: impl FnMut(&Account) -> bool) -> Account {
        let mut last = Account::default();
        let right = eventually(async || {
            last = self.account().await;
            (is_right(&last) && last.is_balanced()).then(|| last.clone())
        });
        let right = right.await;
        right.unwrap_or_else(|| panic!("the account stayed at {last}"))
    }
}

impl Account {
    /// Whether every recorded span is in exactly one place.
    pub fn is_balanced(&self) -> bool {
        self.recorded
            == self.sent + self.discarded.values().sum::<u64>() + self.queued + self.in_flight
    }

    /// Spans discarded for that reason.
    pub fn discarded_for(&self, reason: &str) -> u64 {
        self.discarded.get(reason).copied().unwrap_or(0)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            recorded,
            sent,
            discarded,
            queued,
            in_flight,
        } = self;
        write!(f, "{recorded} recorded, {sent} sent, {discarded:?} discarded, {queued} queued, {in_flight} in flight")
    }
}
