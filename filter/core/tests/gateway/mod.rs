//! The core as a gateway: a row's request in, what the upstream would see out; the service's answer
//! in, what the client would get out.

use std::collections::BTreeMap;

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::headers::{HeaderMutation, Headers};
use sentry_filter_core::metrics::Metric;
use sentry_filter_core::pipeline::{Pipeline, RequestOutcome};
use sentry_filter_core::response::Answer;
use sentry_filter_core::trace::{Sources, SpanContext};
use serde_json::Value;
use vectors::{Answered, Request, Response, Seen};

/// Header lines as rows have them.
type Lines = Vec<(String, Vec<u8>)>;

/// A pipeline with the configuration of a row. Its random bytes never repeat, and there are no
/// attributes.
pub struct Gateway {
    pipeline: Pipeline,
    random: u64,
}

impl Gateway {
    /// A gateway with that plugin configuration.
    pub fn new(config: &Value) -> Self {
        let config = config.to_string();
        let parsed = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default());
        let parsed = parsed.unwrap_or_else(|problems| panic!("{config}: {problems:?}"));
        Self {
            pipeline: Pipeline::new(parsed),
            random: 1,
        }
    }

    /// Serves the request of a row.
    pub fn serve(&mut self, row: &Request) -> (Seen, Option<SpanContext>) {
        let mut lines = request(row.method.as_deref(), None, row.lines());
        let outcome = self.forward(&mut lines);
        let seen = Seen {
            lines,
            recorded: Some(outcome.request.span.is_some()),
            counted: Some(self.counted()),
        };
        (seen, outcome.request.span.map(|span| span.context))
    }

    /// Serves the request of a row and gives back the service's answer.
    pub fn answer(&mut self, row: &Response) -> Answered {
        let mut forwarded = request(row.method.as_deref(), row.host.as_deref(), row.lines());
        let outcome = self.forward(&mut forwarded);
        let status = row.status.unwrap_or(200).to_string();
        let mut returned = vec![(":status".to_owned(), status.into_bytes())];
        returned.extend(row.answer_lines());
        let headers = headers(&returned);
        let additions = outcome.request.response.map(|response| {
            let mut has = |name: &str| headers.value(name).is_some();
            let mut read = || headers.clone();
            let mut answer = Answer::new(&mut has, &mut read);
            self.pipeline.on_response_headers(&response, &mut answer)
        });
        for addition in additions.into_iter().flatten() {
            returned.push((addition.name.to_owned(), addition.value));
        }
        let seen = |lines| Seen {
            lines,
            ..Seen::default()
        };
        Answered {
            forwarded: seen(forwarded),
            returned: seen(returned),
            span_id: outcome
                .request
                .span
                .map(|span| span.context.span_id.to_string()),
        }
    }

    /// Takes a request through the pipeline; the lines become those that the upstream would see.
    fn forward(&mut self, lines: &mut Lines) -> RequestOutcome {
        let random = &mut self.random;
        let mut outcome = self.pipeline.on_request_headers(
            &headers(lines),
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
                redirect_token: &mut || None,
            },
        );
        for mutation in std::mem::take(&mut outcome.mutations) {
            let name = mutation.name();
            lines.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            if let HeaderMutation::Set { name, value } = mutation {
                lines.push((name.to_owned(), value));
            }
        }
        outcome
    }

    fn counted(&mut self) -> BTreeMap<String, u64> {
        let names: Vec<String> = Metric::all().map(Metric::name).collect();
        let counted = self.pipeline.metrics().take().into_iter();
        counted
            .filter_map(|(index, count)| {
                let name = names[index].strip_prefix("sentry_filter.")?;
                Some((name.to_owned(), u64::try_from(count).ok()?))
            })
            .collect()
    }
}

fn request(method: Option<&str>, host: Option<&str>, more: Lines) -> Lines {
    let pseudo = [
        (":method", method.unwrap_or("GET")),
        (":scheme", "https"),
        (":authority", host.unwrap_or("shop.example")),
        (":path", "/orders"),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    pseudo.into_iter().chain(more).collect()
}

fn headers(lines: &Lines) -> Headers {
    let pairs = lines.iter();
    Headers::from_pairs(pairs.map(|(name, value)| (name.as_bytes(), value.as_slice())))
}
