//! The core as a gateway: a row's request in, what the upstream would see out.

use std::collections::BTreeMap;

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::{FilterConfig, Surroundings};
use sentry_filter_core::headers::{HeaderMutation, Headers};
use sentry_filter_core::metrics::Metric;
use sentry_filter_core::pipeline::Pipeline;
use sentry_filter_core::trace::{Sources, SpanContext};
use vectors::{Request, Seen};

/// A pipeline with the configuration of a row. Its random bytes never repeat, and there are no attributes.
pub struct Gateway {
    pipeline: Pipeline,
    random: u64,
}

impl Gateway {
    /// The gateway of a row.
    pub fn of(row: &Request) -> Self {
        let config = row.config().to_string();
        let config = FilterConfig::parse(config.as_bytes(), &Surroundings::default());
        let config = config.unwrap_or_else(|problems| panic!("{}: {problems:?}", row.name));
        Self {
            pipeline: Pipeline::new(config),
            random: 1,
        }
    }

    /// Serves the request of a row.
    pub fn serve(&mut self, row: &Request) -> (Seen, Option<SpanContext>) {
        let mut lines: Vec<(String, Vec<u8>)> = [
            (":method", row.method.as_deref().unwrap_or("GET")),
            (":scheme", "https"),
            (":authority", "shop.example"),
            (":path", "/orders"),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .to_vec();
        lines.extend(row.lines());
        let pairs = lines.iter();
        let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let headers = Headers::from_pairs(pairs);
        let random = &mut self.random;
        let outcome = self.pipeline.on_request_headers(
            &headers,
            &mut Sources {
                entropy: &mut |bytes| {
                    for byte in bytes {
                        // Knuth's multiplier: good enough for ids that differ.
                        *random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        *byte = random.to_be_bytes()[0];
                    }
                    true
                },
                now_ns: &mut || 0,
                attribute: &mut |_: Attribute| None,
            },
        );
        for mutation in outcome.mutations {
            let name = mutation.name();
            lines.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            if let HeaderMutation::Set { name, value } = mutation {
                lines.push((name.to_owned(), value));
            }
        }
        let names: Vec<String> = Metric::all().map(Metric::name).collect();
        let counted: BTreeMap<String, u64> = self
            .pipeline
            .metrics()
            .take()
            .into_iter()
            .filter_map(|(index, count)| {
                let name = names[index].strip_prefix("sentry_filter.")?;
                Some((name.to_owned(), u64::try_from(count).ok()?))
            })
            .collect();
        let seen = Seen {
            lines,
            recorded: Some(outcome.span.is_some()),
            counted: Some(counted),
        };
        (seen, outcome.span.map(|span| span.context))
    }
}
