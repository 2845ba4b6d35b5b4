//! What the upstream gets, byte for byte, and what it costs.

use std::collections::BTreeSet;

use vectors::SentryTrace;
use wasm_host::{config, Exchange, Gateway, Host, Served};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03";
const PARENT: &str = "1cc4b26ab9094ef0";
const DSC: &str = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,sentry-public_key=0123456789abcdef0123456789abcdef";

fn incoming(flag: &str) -> Exchange {
    Exchange::get("/orders").header("sentry-trace", format!("{TRACE}-{PARENT}{flag}"))
}

/// Header writes over all callbacks but that of the answer, whose lines are others.
fn writes(served: &Served) -> usize {
    let records = served.records.iter();
    records
        .filter(|record| record.callback != "proxy_on_response_headers")
        .map(|record| record.writes.len())
        .sum()
}

/// Of every row of the tables, whatever is configured.
#[test]
fn the_upstream_gets_exactly_one_sentry_trace() {
    for configuration in [config::SAMPLED, config::UNSAMPLED, config::DEFERRED] {
        let mut gateway = Gateway::start(configuration);
        for (_, row) in vectors::requests() {
            let method = row.method.as_deref().unwrap_or("GET");
            let mut exchange = Exchange::method(method, "/orders");
            for (name, value) in row.lines() {
                exchange = exchange.header(name.to_ascii_lowercase(), value);
            }
            let served = gateway.serve(&exchange);
            // Such a request begins no trace.
            if method != "OPTIONS" {
                served.sentry_trace();
            }
            served.assert_only_our_headers_changed();
        }
    }
}

#[test]
fn the_span_id_that_the_upstream_gets_is_the_gateways_own() {
    let mut gateway = Gateway::start(config::UNSAMPLED);
    let served = gateway.serve(&incoming("-1"));
    let trace = served.sentry_trace();
    assert_eq!(trace.trace_id, TRACE);
    assert_ne!(trace.span_id, PARENT);
    assert_eq!(trace.sampled, Some(true));
}

#[test]
fn a_gateway_that_records_nothing_forwards_byte_for_byte_and_writes_nothing() {
    let baggage = format!("a=1;prop , b = 2,{DSC},sentry-sampled=false,c=%20,d=");
    for flag in ["-0", ""] {
        for configuration in [config::UNSAMPLED, config::PROPAGATE_ONLY] {
            let mut gateway = Gateway::start(configuration);
            let exchange = incoming(flag).header("baggage", &baggage);
            // A deferred trace is ours to decide, with a rate of 0 against it.
            if flag.is_empty() && configuration == config::UNSAMPLED {
                continue;
            }
            let served = gateway.serve(&exchange);
            assert_eq!(served.forwarded, exchange.request, "{flag} {configuration}");
            assert_eq!(writes(&served), 0);
        }
    }
}

#[test]
fn a_sampled_trace_passes_a_gateway_without_a_dsn_untouched() {
    let mut gateway = Gateway::start(config::PROPAGATE_ONLY);
    for exchange in [
        incoming("-1").header("baggage", DSC),
        incoming("-1"),
        Exchange::get("/"),
    ] {
        let served = gateway.serve(&exchange);
        assert_eq!(served.forwarded, exchange.request);
        assert_eq!(writes(&served), 0);
    }
    assert!(gateway.flush().is_empty());
}

#[test]
fn third_party_baggage_keeps_its_bytes_and_its_order() {
    let theirs = "a=1;prop=x , b = 2,c=%20%C3%A9,dup=1,dup=2,e==";
    let mut gateway = Gateway::start(config::SAMPLED);
    let served =
        gateway.serve(&incoming("-1").header("baggage", format!("a=1;prop=x,{DSC},b=%20,z=9")));
    assert_eq!(third_party(&served), ["a=1;prop=x", "b=%20", "z=9"]);
    let served = gateway.serve(
        &Exchange::get("/")
            .header("baggage", "a=1")
            .header("baggage", "b=2;q"),
    );
    assert_eq!(third_party(&served), ["a=1", "b=2;q"]);
    // With the trace continued and its DSC frozen there is no reason to write.
    let exchange = incoming("-1").header("baggage", format!("{DSC},{theirs}"));
    let served = gateway.serve(&exchange);
    assert_eq!(
        served.forwarded.values("baggage"),
        exchange.request.values("baggage")
    );
    assert_eq!(writes(&served), 1, "the span id only");
}

#[test]
fn a_new_trace_has_a_full_dsc() {
    let mut gateway = Gateway::start(config::SAMPLED);
    let served = gateway.serve(&Exchange::get("/orders"));
    let trace = served.sentry_trace();
    let baggage = served.forwarded.only("baggage");
    let members: BTreeSet<&str> = baggage.split(',').map(str::trim).collect();
    for member in [
        format!("sentry-trace_id={}", trace.trace_id),
        "sentry-public_key=0123456789abcdef0123456789abcdef".to_owned(),
        "sentry-environment=test".to_owned(),
        "sentry-release=shop%401.2.3".to_owned(),
        "sentry-org_id=42".to_owned(),
        "sentry-sampled=true".to_owned(),
    ] {
        assert!(members.contains(member.as_str()), "{member} in {baggage}");
    }
    let value = |key: &str| {
        let member = members
            .iter()
            .find_map(|member| member.strip_prefix(key)?.strip_prefix('='));
        member
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{key} in {baggage}"))
    };
    assert!((value("sentry-sample_rate") - 1.0).abs() < 1e-9);
    assert!((0.0..1.0).contains(&value("sentry-sample_rand")));
}

#[test]
fn ids_are_never_zero_and_never_the_same() {
    let mut gateway = Gateway::start(config::SAMPLED);
    let (mut traces, mut spans) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2_000 {
        let SentryTrace {
            trace_id, span_id, ..
        } = gateway.serve(&Exchange::get("/")).sentry_trace();
        assert!(traces.insert(trace_id), "a trace id twice");
        assert!(spans.insert(span_id), "a span id twice");
    }
}

#[test]
fn two_workers_do_not_share_ids() {
    let of_seed = |seed| {
        let mut gateway = Gateway::with(Host::builder().seed(seed), config::SAMPLED);
        gateway.serve(&Exchange::get("/")).sentry_trace()
    };
    assert_ne!(of_seed(1).trace_id, of_seed(2).trace_id);
}

#[test]
fn the_header_map_is_read_once_and_only_what_differs_is_written() {
    let exchanges = [
        (Exchange::get("/"), 2, "both headers are new"),
        (incoming("-1").header("baggage", DSC), 1, "another span id"),
        (incoming("-0").header("baggage", DSC), 0, "nothing"),
        (
            Exchange::method("OPTIONS", "/"),
            0,
            "no span for a preflight",
        ),
    ];
    for (exchange, expected, why) in exchanges {
        let mut gateway = Gateway::start(config::SAMPLED);
        let served = gateway.serve(&exchange);
        let record = served.record("proxy_on_request_headers");
        assert_eq!(record.count("proxy_get_header_map_pairs"), 1);
        assert_eq!(record.count("proxy_get_header_map_value"), 0);
        assert_eq!(record.writes.len(), expected, "{why}: {:?}", record.writes);
        assert_eq!(writes(&served), expected, "written in another phase");
    }
}

#[test]
fn a_request_to_sentry_itself_gets_no_span() {
    let mut gateway = Gateway::start(config::SAMPLED);
    for exchange in [
        Exchange::method("POST", "/api/7/envelope/").to("o42.ingest.sentry.example"),
        Exchange::method("OPTIONS", "/orders"),
    ] {
        gateway.serve(&exchange);
        gateway.serve(
            &exchange
                .clone()
                .header("sentry-trace", format!("{TRACE}-{PARENT}-1")),
        );
    }
    assert!(gateway.flush().is_empty());
    assert_eq!(gateway.metric("spans_recorded"), 0);
}

/// The baggage members that the upstream got and that are not Sentry's, trimmed, over all lines.
fn third_party(served: &Served) -> Vec<String> {
    let lines = served.forwarded.values("baggage");
    let lines = lines
        .into_iter()
        .map(|line| std::str::from_utf8(line).expect("text"));
    let members = lines.flat_map(|line| line.split(','));
    members
        .map(|member| member.trim().to_owned())
        .filter(|member| !member.starts_with("sentry-"))
        .collect()
}
