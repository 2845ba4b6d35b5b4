//! The tables of `tests/vectors`, through the built module.

use std::collections::BTreeMap;

use vectors::{Request, Seen};
use wasm_host::{Exchange, Gateway};

#[test]
fn the_upstream_sees_what_the_tables_say() {
    // A filter for each configuration; starting one is what takes time.
    let mut gateways: BTreeMap<String, Gateway> = BTreeMap::new();
    let mut failures = Vec::new();
    for (format, row) in vectors::requests() {
        let config = row.config().to_string();
        let gateway = gateways
            .entry(config)
            .or_insert_with_key(|config| Gateway::start(config));
        let complaints = row.judge(&serve(gateway, &row));
        failures.extend(
            complaints
                .iter()
                .map(|what| format!("{format}: {}: {what}", row.name)),
        );
    }
    for gateway in gateways.values() {
        gateway.assert_every_span_is_accounted_for();
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
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
    let lines = served.forwarded.lines().iter();
    Seen {
        lines: lines
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()))
            .collect(),
        recorded: Some(
            counted
                .get("spans_recorded")
                .is_some_and(|count| *count > 0),
        ),
        counted: Some(counted),
    }
}

/// The filter's counters without their prefix; gauges, which go down as well, are of no interest here.
fn counters(gateway: &Gateway) -> BTreeMap<String, u64> {
    let metrics = gateway.host.metrics().iter();
    metrics
        .filter_map(|(name, count)| Some((name.strip_prefix("sentry_filter.")?, *count)))
        .filter(|(name, _)| !matches!(*name, "spans_queued" | "spans_in_flight"))
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
