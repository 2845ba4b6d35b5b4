//! The `client_report` item: what never reached Sentry, and why, so that its numbers can be told
//! from the truth (sentry-protocol.md §11.3).
//!
//! ```text
//! {"type":"client_report","length":123}
//! {"timestamp":"…","discarded_events":[{"reason":"…","category":"transaction","quantity":2},…]}
//! ```
//! It rides on the next envelope. What Sentry has refused with 429 is not in it: Sentry has counted
//! that itself.

use serde::Serialize;

use super::{timestamp, write_json, Format, ItemHeader, Quantity};

/// Counts by reason and category since the last report: a handful.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ClientReport {
    counts: Vec<(&'static str, Counts)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    transactions: u64,
    spans: u64,
    errors: u64,
}

#[derive(Serialize)]
struct Payload {
    timestamp: String,
    discarded_events: Vec<Discarded>,
}

#[derive(Serialize)]
struct Discarded {
    reason: &'static str,
    category: &'static str,
    quantity: u64,
}

impl ClientReport {
    /// Notes that something was lost. A lost transaction counts its spans, too; other formats have
    /// only those.
    pub fn add(&mut self, reason: &'static str, lost: Quantity, format: Format) {
        let transactions = match format {
            Format::Transaction => lost.segments,
            Format::SpanV2 | Format::Otlp => 0,
        };
        let counts = Counts {
            transactions: transactions.into(),
            spans: lost.spans.into(),
            errors: lost.events.into(),
        };
        self.count(reason, counts);
    }

    /// Takes back a report that did not arrive.
    pub fn merge(&mut self, other: Self) {
        for (reason, counts) in other.counts {
            self.count(reason, counts);
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Takes what is to be told, if there is anything.
    pub fn take(&mut self) -> Option<Self> {
        (!self.is_empty()).then(|| std::mem::take(self))
    }

    fn count(&mut self, reason: &'static str, more: Counts) {
        if more == Counts::default() {
            return;
        }
        let known = self.counts.iter_mut().find(|(known, _)| *known == reason);
        match known {
            Some((_, counts)) => {
                counts.transactions = counts.transactions.saturating_add(more.transactions);
                counts.spans = counts.spans.saturating_add(more.spans);
                counts.errors = counts.errors.saturating_add(more.errors);
            }
            None => self.counts.push((reason, more)),
        }
    }

    /// Appends the item to an envelope.
    pub(super) fn write_item(&self, now_ns: u64, body: &mut Vec<u8>) {
        let discarded = |(reason, counts): &(&'static str, Counts)| {
            [
                ("transaction", counts.transactions),
                ("span", counts.spans),
                ("error", counts.errors),
            ]
            .map(|(category, quantity)| Discarded {
                reason,
                category,
                quantity,
            })
        };
        let payload = Payload {
            timestamp: timestamp(now_ns),
            discarded_events: self
                .counts
                .iter()
                .flat_map(discarded)
                .filter(|discarded| discarded.quantity > 0)
                .collect(),
        };
        let mut written = Vec::new();
        if write_json(&payload, &mut written).is_none() {
            return;
        }
        let item = ItemHeader {
            r#type: "client_report",
            item_count: None,
            content_type: None,
            length: written.len(),
        };
        item.write(body);
        body.push(b'\n');
        body.extend_from_slice(&written);
        body.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;

    fn written(report: &ClientReport) -> Value {
        let mut body = Vec::new();
        report.write_item(1_787_306_400_000_000_000, &mut body);
        let text = String::from_utf8(body).unwrap();
        let (item, payload) = text.trim_end().split_once('\n').unwrap();
        let item: Value = serde_json::from_str(item).unwrap();
        assert_eq!(
            item,
            json!({"type": "client_report", "length": payload.len()})
        );
        serde_json::from_str(payload).unwrap()
    }

    #[test]
    fn a_lost_transaction_counts_its_spans_too() {
        let mut report = ClientReport::default();
        let lost = Quantity {
            segments: 1,
            spans: 2,
            events: 0,
        };
        report.add("queue_overflow", lost, Format::Transaction);
        report.add("queue_overflow", lost, Format::Transaction);
        report.add("network_error", lost, Format::SpanV2);
        assert_eq!(
            written(&report),
            json!({
                "timestamp": "2026-08-21T10:00:00.000000Z",
                "discarded_events": [
                    {"reason": "queue_overflow", "category": "transaction", "quantity": 2},
                    {"reason": "queue_overflow", "category": "span", "quantity": 4},
                    {"reason": "network_error", "category": "span", "quantity": 2},
                ],
            })
        );
    }

    #[test]
    fn what_did_not_arrive_is_told_with_the_next_one() {
        let mut report = ClientReport::default();
        assert_eq!(report.take(), None);
        report.add(
            "sample_rate",
            Quantity {
                segments: 1,
                spans: 1,
                events: 0,
            },
            Format::Transaction,
        );
        let taken = report.take().unwrap();
        assert!(report.is_empty());
        report.add(
            "sample_rate",
            Quantity {
                segments: 2,
                spans: 2,
                events: 0,
            },
            Format::Transaction,
        );
        report.merge(taken);
        let quantities: Vec<_> = written(&report)["discarded_events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|discarded| discarded["quantity"].clone())
            .collect();
        assert_eq!(quantities, [json!(3), json!(3)]);
    }
}
