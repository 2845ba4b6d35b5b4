//! The tables of `tests/vectors`, through the built module.

use std::collections::BTreeMap;

use vectors::{Answered, Request, Response, Seen};
use wasm_host::{Envelope, Exchange, Gateway, HeaderMap};

/// A filter for each configuration; starting one is what takes time.
#[derive(Default)]
struct Gateways(BTreeMap<String, Gateway>);

impl Gateways {
    fn of(&mut self, config: &serde_json::Value) -> &mut Gateway {
        let start = |config: &String| Gateway::start(config);
        self.0.entry(config.to_string()).or_insert_with_key(start)
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let gateways = self.0.values();
            gateways.for_each(Gateway::assert_every_span_is_accounted_for);
        }
    }
}

#[test]
fn the_upstream_sees_what_the_tables_say() {
    let mut gateways = Gateways::default();
    vectors::check_requests(|row| serve(gateways.of(&row.config()), row));
}

#[test]
fn the_client_gets_what_the_tables_say() {
    let mut gateways = Gateways::default();
    vectors::check_responses(|row| answer(gateways.of(&row.config()), row));
}

#[test]
fn what_leaves_is_what_the_tables_say() {
    let mut failures = Vec::new();
    for row in vectors::collected() {
        let mut config = row.config();
        config["traces_sample_rate"] = 1.into();
        let mut gateway = Gateway::start(&config.to_string());
        let mut exchange = Exchange::get(row.target());
        exchange.request = exchange.request.without(&["user-agent"]);
        for (name, value) in row.lines() {
            exchange = exchange.header(name, value);
        }
        for (name, value) in row.answer_lines() {
            exchange = exchange.response_header(name, value);
        }
        gateway.serve(&exchange).assert_only_our_headers_changed();
        let sent = gateway.flush();
        let sent = sent.last().map(|callout| Envelope::parse(&callout.body));
        let sent = sent.expect("a transaction");
        gateway.answer_all(200);
        let data = &sent.transaction()["contexts"]["trace"]["data"];
        failures.extend(row.check(|name| data.get(name).cloned()));
    }
    vectors::none_of(&failures);
}

fn serve(gateway: &mut Gateway, row: &Request) -> Seen {
    let mut exchange = Exchange::method(row.method.as_deref().unwrap_or("GET"), "/orders");
    for (name, value) in row.lines() {
        // As Envoy hands names over.
        exchange = exchange.header(name.to_ascii_lowercase(), value);
    }
    let before = counters(gateway);
    let served = gateway.serve(&exchange);
    served.assert_only_our_headers_changed();
    gateway.flush();
    gateway.answer_all(200);
    let mut counted = counters(gateway);
    for (name, count) in &mut counted {
        *count -= before.get(name).copied().unwrap_or_default();
    }
    Seen {
        recorded: Some(
            counted
                .get("spans_recorded")
                .is_some_and(|count| *count > 0),
        ),
        counted: Some(counted),
        ..seen(&served.forwarded)
    }
}

fn answer(gateway: &mut Gateway, row: &Response) -> Answered {
    let mut exchange = Exchange::method(row.method.as_deref().unwrap_or("GET"), "/orders");
    if let Some(host) = &row.host {
        exchange = exchange.to(host);
    }
    for (name, value) in row.lines() {
        exchange = exchange.header(name.to_ascii_lowercase(), value);
    }
    exchange = exchange.status(row.status.unwrap_or(200)).nothing_said();
    for (name, value) in row.answer_lines() {
        exchange = exchange.response_header(name.to_ascii_lowercase(), value);
    }
    let served = gateway.serve(&exchange);
    served.assert_only_our_headers_changed();
    // Answers are added to, line by line, and no line that came is touched.
    let (came, went) = (exchange.response.lines(), served.returned.lines());
    assert!(went.starts_with(came), "{}: {went:?}", row.name);
    let recorded = gateway.flush();
    let recorded = recorded
        .last()
        .map(|callout| Envelope::parse(&callout.body));
    gateway.answer_all(200);
    let span_id = recorded.map(|envelope| {
        let span_id = &envelope.transaction()["contexts"]["trace"]["span_id"];
        span_id.as_str().expect("a span's id").to_owned()
    });
    Answered {
        forwarded: seen(&served.forwarded),
        returned: seen(&served.returned),
        span_id,
    }
}

fn seen(headers: &HeaderMap) -> Seen {
    let lines = headers.lines().iter();
    Seen {
        lines: lines
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()))
            .collect(),
        ..Seen::default()
    }
}

/// The filter's counters without their prefix; gauges, which go down as well, are of no interest
/// here.
fn counters(gateway: &Gateway) -> BTreeMap<String, u64> {
    let metrics = gateway.host.metrics().iter();
    metrics
        .filter_map(|(name, count)| Some((name.strip_prefix("sentry_filter.")?, *count)))
        .filter(|(name, _)| !matches!(*name, "spans_queued" | "spans_in_flight"))
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
