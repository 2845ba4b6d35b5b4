//! Readers of other projects as oracles: what we accept or send on, they accept with the same
//! value.
//!
//! They are asked in this direction only, since they accept more than the specifications do:
//! OpenTelemetry a sign for a hex digit, a trace id of 31 digits and half of a value with two equal
//! signs, Sentry's any flag.

#[allow(dead_code, reason = "the oracles are asked about requests only")]
mod gateway;

use std::collections::HashMap;

use gateway::Gateway;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use sentry_core::TracePropagationContext;
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::trace::baggage::Baggage;
use sentry_filter_core::trace::dsc::Dsc;
use sentry_filter_core::trace::traceparent::Traceparent;
use vectors::{Header, Seen};

#[test]
fn sentry_reads_the_sentry_traces_that_we_accept() {
    let mut checked = 0;
    for row in vectors::headers("sentry-trace") {
        let (Some(value), Some(accept)) = (only_value(&row), &row.accept) else {
            continue;
        };
        assert_eq!(sentry_reads(value).as_ref(), Some(accept), "{}", row.name);
        checked += 1;
    }
    assert!(checked > 8, "{checked} rows");
}

#[test]
fn sentry_reads_the_sentry_traces_that_we_send_on() {
    for (name, seen) in sent_on() {
        for value in texts(&seen, "sentry-trace") {
            assert_eq!(sentry_reads(&value), Some(value), "{name}");
        }
    }
}

#[test]
fn opentelemetry_reads_the_traceparents_that_we_accept() {
    let mut checked = 0;
    for row in vectors::headers("traceparent") {
        let (Some(value), Some(_)) = (only_value(&row), &row.accept) else {
            continue;
        };
        let ours = Traceparent::read([value.as_bytes()].into_iter());
        assert_eq!(
            opentelemetry_reads(value),
            ours.unwrap().map(parts),
            "{}",
            row.name
        );
        checked += 1;
    }
    assert!(checked > 10, "{checked} rows");
}

#[test]
fn opentelemetry_reads_the_traceparents_that_we_send_on() {
    for (name, seen) in sent_on() {
        for value in texts(&seen, "traceparent") {
            // One that is not ours to write goes on whatever it is.
            if let Ok(Some(ours)) = Traceparent::read([value.as_bytes()].into_iter()) {
                assert_eq!(opentelemetry_reads(&value), Some(parts(ours)), "{name}");
            }
        }
    }
}

#[test]
fn opentelemetry_reads_the_baggage_that_we_send_on() {
    let mut checked = 0;
    for (name, seen) in sent_on() {
        let lines = seen.lines("baggage");
        let Ok(value) = String::from_utf8(lines.join(&b","[..])) else {
            continue;
        };
        let ours = Baggage::read(lines.iter().map(Vec::as_slice));
        let dsc = Dsc::frozen(ours.sentry());
        let headers = HashMap::from([("baggage".to_owned(), value)]);
        let theirs = BaggagePropagator::new().extract(&headers);
        for (key, _) in ours.sentry() {
            let value = dsc.get(key).unwrap();
            // Escapes that are no UTF-8 are replaced, as the W3C text says; OpenTelemetry drops the
            // member.
            if !value.contains('\u{fffd}') {
                let read = theirs.baggage().get(format!("sentry-{key}"));
                assert_eq!(read.map(|read| read.as_str()), Some(value), "{name}: {key}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked} members");
}

#[test]
fn sentry_reads_the_dsns_that_we_accept() {
    let mut checked = 0;
    for row in vectors::dsns() {
        let Ok(ours) = Dsn::parse(&row.text) else {
            continue;
        };
        // Repeated slashes, which it keeps, and an end that is one, which it takes for no project.
        let path = row.text.split_once('@').map_or("", |(_, path)| path.trim());
        if path.contains("//") || path.ends_with('/') {
            continue;
        }
        let theirs: sentry_types::Dsn = row.text.trim().parse().expect(&row.name);
        assert_eq!(theirs.public_key(), &**ours.public_key(), "{}", row.name);
        // As its own type, which writes an address in the shortest form.
        let url = row.url.as_deref().map(|url| url.parse().unwrap());
        assert_eq!(Some(theirs.envelope_api_url()), url, "{}", row.name);
        checked += 1;
    }
    assert!(checked > 20, "{checked} rows");
}

/// What the upstream gets of every row.
fn sent_on() -> impl Iterator<Item = (String, Seen)> {
    let rows = vectors::requests().into_iter();
    rows.map(|(_, row)| {
        let (seen, _) = Gateway::new(&row.config()).serve(&row);
        (row.name, seen)
    })
}

fn texts(seen: &Seen, name: &str) -> Vec<String> {
    let lines = seen.lines(name).into_iter();
    lines
        .filter_map(|line| String::from_utf8(line).ok())
        .collect()
}

/// The value of a row that has one, and not several equal ones, which we make one of.
fn only_value(row: &Header) -> Option<&str> {
    match row.lines.as_slice() {
        [line] if !line.contains(',') => Some(line),
        _ => None,
    }
}

fn sentry_reads(value: &str) -> Option<String> {
    let context = TracePropagationContext::try_from_headers([("sentry-trace", value)]);
    Some(context.ok()?.sentry_trace_header())
}

/// Both ids and the flag.
type Parts = (String, String, bool);

fn parts(ours: Traceparent) -> Parts {
    (
        ours.trace_id.to_string(),
        ours.parent_id.to_string(),
        ours.sampled,
    )
}

fn opentelemetry_reads(value: &str) -> Option<Parts> {
    let headers = HashMap::from([("traceparent".to_owned(), value.to_owned())]);
    let context = TraceContextPropagator::new().extract(&headers);
    let span = context.span().span_context().clone();
    span.is_valid().then(|| {
        (
            span.trace_id().to_string(),
            span.span_id().to_string(),
            span.is_sampled(),
        )
    })
}
