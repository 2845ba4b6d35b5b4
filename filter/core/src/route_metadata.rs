//! The settings of an Envoy route for this filter, in its own metadata:
//! `metadata.filter_metadata.sentry`. They come before all rules.

use crate::decimal::number;
use crate::project::ProjectName;
use crate::route::{Source, TransactionName};
use crate::sampling::SampleRate;

/// What an Envoy route's own metadata says: `metadata.filter_metadata.sentry`.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct RouteMetadata {
    /// The share of new traces that is sampled.
    pub traces_sample_rate: Option<SampleRate>,
    /// The transaction's name.
    pub transaction: Option<TransactionName>,
    /// Whether no span is recorded.
    pub ignore: Option<bool>,
    /// The project that spans go to.
    pub project: Option<ProjectName>,
}

impl RouteMetadata {
    /// The keys that it may have.
    pub const KEYS: [&'static str; 5] = [
        "traces_sample_rate",
        "transaction",
        "ignore",
        "dsn",
        "transport.cluster",
    ];

    /// The transaction's name that a text gives.
    pub(crate) fn transaction(name: &str) -> Option<TransactionName> {
        is_name(name).then(|| TransactionName::new(name, Source::Route))
    }

    /// Reads it, by what gives the value of a key. A value of another type is ignored, but a number
    /// and a boolean may be texts: Envoy's YAML reader makes a text of every number with a point.
    pub fn read(mut value: impl FnMut(&'static str) -> Option<MetadataValue>) -> Self {
        let [rate, transaction, ignore, dsn, cluster] = Self::KEYS.map(&mut value);
        Self {
            traces_sample_rate: match rate {
                Some(MetadataValue::Number(rate)) => SampleRate::new(rate),
                Some(MetadataValue::Text(text)) => number(text.trim()).and_then(SampleRate::new),
                _ => None,
            },
            transaction: match transaction {
                Some(MetadataValue::Text(name)) => Self::transaction(&name),
                _ => None,
            },
            ignore: match ignore {
                Some(MetadataValue::Flag(flag)) => Some(flag),
                Some(MetadataValue::Text(text)) => match text.as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                },
                _ => None,
            },
            project: ProjectName::new(dsn.and_then(text), cluster.and_then(text)),
        }
    }
}

/// A value of metadata: those of `google.protobuf.Value` that the filter knows.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataValue {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A boolean.
    Flag(bool),
}

fn text(value: MetadataValue) -> Option<String> {
    match value {
        MetadataValue::Text(text) => Some(text),
        MetadataValue::Number(_) | MetadataValue::Flag(_) => None,
    }
}

/// A text that says something.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_other_types_leaves_its_settings_to_the_rules() {
        let read = |key: &'static str, value: MetadataValue| {
            RouteMetadata::read(|wanted| (wanted == key).then(|| value.clone()))
        };
        let text = |text: &str| MetadataValue::Text(text.to_owned());
        let rate = |value| read("traces_sample_rate", value).traces_sample_rate;
        assert_eq!(rate(MetadataValue::Number(0.5)), SampleRate::new(0.5));
        assert_eq!(rate(text(" 0.25 ")), SampleRate::new(0.25));
        for none in [
            text("often"),
            text(""),
            MetadataValue::Flag(true),
            MetadataValue::Number(2.0),
        ] {
            assert_eq!(rate(none.clone()), None, "{none:?}");
        }
        let name = |value| read("transaction", value).transaction.map(|name| name.name);
        assert_eq!(name(text("/x/{y}")).as_deref(), Some("/x/{y}"));
        for none in [text(""), text("a\nb"), MetadataValue::Number(7.0)] {
            assert_eq!(name(none.clone()), None, "{none:?}");
        }
        let ignore = |value| read("ignore", value).ignore;
        assert_eq!(ignore(MetadataValue::Flag(true)), Some(true));
        assert_eq!(ignore(text("false")), Some(false));
        for none in [
            text("True"),
            text("yes"),
            text("1"),
            text(" true"),
            MetadataValue::Number(1.0),
        ] {
            assert_eq!(ignore(none.clone()), None, "{none:?}");
        }
    }
}
