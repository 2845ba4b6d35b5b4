//! The core as a gateway: a row's request in, what the upstream would see out; the service's answer
//! in, what the client would get out.

#[path = "../host/mod.rs"]
mod host;

use std::collections::BTreeMap;

use host::Host;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::export::metrics::Metric;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::{HeaderMutation, Headers};
use sentry_filter_core::trace::SpanContext;
use sentry_filter_core::tracer::{RequestOutcome, StreamState};
use sentry_filter_core::worker::Worker;
use serde_json::Value;
use vectors::{Answered, Request, Response, Seen};

/// Header lines as rows have them.
type Lines = Vec<(String, Vec<u8>)>;

/// A worker with the configuration of a row.
pub struct Gateway {
    worker: Worker,
    host: Host<'static>,
}

impl Gateway {
    /// A gateway with that plugin configuration.
    pub fn new(config: &Value) -> Self {
        let config = config.to_string();
        let parsed = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default());
        let parsed = parsed.unwrap_or_else(|problems| panic!("{config}: {problems:?}"));
        Self {
            worker: Worker::alone(parsed),
            host: Host::default(),
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
    pub fn respond(&mut self, row: &Response) -> Answered {
        let mut forwarded = request(row.method.as_deref(), row.host.as_deref(), row.lines());
        let outcome = self.forward(&mut forwarded);
        let status = row.status.unwrap_or(200).to_string();
        let mut returned = vec![(":status".to_owned(), status.into_bytes())];
        returned.extend(row.answer_lines());
        self.host.response = Some(headers(&returned));
        let span = outcome.request.span.as_ref();
        let span_id = span.map(|span| span.context.span_id.to_string());
        let mut state = StreamState::Live(outcome.request);
        for addition in self.worker.on_response(&mut state, &mut self.host) {
            returned.push((addition.name.to_owned(), addition.value));
        }
        let seen = |lines| Seen {
            lines,
            ..Seen::default()
        };
        Answered {
            forwarded: seen(forwarded),
            returned: seen(returned),
            span_id,
        }
    }

    /// Takes a request through the worker; the lines become those that the upstream would see.
    fn forward(&mut self, lines: &mut Lines) -> RequestOutcome {
        let mut outcome = self.worker.on_request(&headers(lines), &mut self.host);
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
        let mut counted = BTreeMap::new();
        // What was counted is told at a tick.
        self.worker.handle(Event::Tick, 0);
        while let Some(command) = self.worker.exporter().poll(0) {
            if let Command::ChangeMetric(index, change) = command {
                if let Some(name) = names[index].strip_prefix("sentry_filter.") {
                    counted.insert(name.to_owned(), u64::try_from(change).expect("a counter"));
                }
            }
        }
        counted
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
