//! One request from its headers to Sentry's answer, and what is refused.

use std::time::Duration;

use mini_sentry::{Expected, Span, Validator};
use second_host::{Callout, Gateway, Lines};
use serde_json::{json, Value};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const RECEIVER: &str = "o42.ingest.sentry.example";
const DSN: &str = "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7";
const TRACE: &str = "771a43a4192642f0b136d5159a501700";

fn config(more: Value) -> String {
    let mut config = json!({"dsn": DSN, "traces_sample_rate": 1.0, "environment": "test"});
    let config_map = config.as_object_mut().expect("an object");
    config_map.extend(more.as_object().expect("an object").clone());
    config.to_string()
}

fn start(more: Value) -> Gateway {
    Gateway::start(&config(more)).unwrap_or_else(|log| panic!("{log:#?}"))
}

fn lines(pairs: &[(&str, &str)]) -> Lines {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

fn request(more: &[(&str, &str)]) -> Lines {
    let mut all = lines(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/orders/7?token=x"),
    ]);
    all.extend(lines(more));
    all
}

fn ok() -> Lines {
    lines(&[(":status", "200")])
}

fn value<'l>(lines: &'l Lines, name: &str) -> Option<&'l str> {
    let (_, value) = lines.iter().find(|(found, _)| found == name.as_bytes())?;
    std::str::from_utf8(value).ok()
}

fn only(callouts: &[Callout]) -> &Callout {
    let [callout] = callouts else {
        panic!("{callouts:#?}");
    };
    callout
}

/// The spans of a callout that a strict receiver accepts: a segment, then its calls.
fn accepted(callout: &Callout) -> Vec<Span> {
    let mut validator = Validator::new(Expected::of("7", KEY, RECEIVER));
    let received = validator.validate(&callout.received());
    let received = received.unwrap_or_else(|violations| panic!("{violations:#?}"));
    received.spans
}

#[test]
fn a_trace_goes_on_and_becomes_an_event() {
    let mut gateway = start(json!({}));
    let parent = "1cc4b26ab9094ef0";
    let arrived = format!("{TRACE}-{parent}-1");
    let baggage = format!("other=1,sentry-trace_id={TRACE},sentry-public_key=abc");
    let trace = [("sentry-trace", arrived.as_str()), ("baggage", &baggage)];
    let served = gateway.serve(request(&trace), ok());

    let sent = value(&served.forwarded, "sentry-trace").expect("a trace");
    assert!(sent.starts_with(&format!("{TRACE}-")) && sent.ends_with("-1") && sent != arrived);
    assert_eq!(value(&served.forwarded, "baggage"), Some(baggage.as_str()));
    assert_eq!(served.state["sentry.trace_id"], TRACE.as_bytes());

    let callouts = gateway.flush();
    let callout = only(&callouts);
    assert_eq!(callout.upstream, "sentry");
    assert_eq!(callout.headers[":path"], "/api/7/envelope/");
    assert_eq!(accepted(callout).len(), 2);
    let text = String::from_utf8(callout.body.clone()).expect("text");
    let [_, item, event] = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect::<Vec<Value>>()
        .try_into()
        .expect("three lines");
    assert_eq!(item["type"], "transaction");
    let context = &event["contexts"]["trace"];
    assert_eq!(
        (&context["trace_id"], &context["parent_span_id"]),
        (&json!(TRACE), &json!(parent))
    );
    assert_eq!(context["data"]["http.response.status_code"], 200);
    let call = &event["spans"][0];
    assert_eq!(call["data"]["server.address"], "192.0.2.9");
    assert_eq!(
        sent.split('-').nth(1),
        call["span_id"].as_str(),
        "the upstream's parent is the call"
    );
    assert!(!text.contains("token=x"), "the values of a query stay here");

    assert_eq!(gateway.metrics()["spans_in_flight"], 2);
    assert!(gateway.answer(callout, "200").is_empty());
    let metrics = gateway.metrics();
    assert_eq!(
        (
            metrics["spans_recorded"],
            metrics["spans_sent"],
            metrics["host_calls_refused"]
        ),
        (2, 2, 0)
    );
}

#[test]
fn every_format_leaves() {
    for (format, content_type) in [
        ("span_v2", "application/x-sentry-envelope"),
        ("otlp", "application/x-protobuf"),
    ] {
        let mut gateway = start(json!({"transport": {"format": format}}));
        gateway.serve(request(&[]), ok());
        let callouts = gateway.flush();
        let callout = only(&callouts);
        assert_eq!(callout.headers["content-type"], content_type, "{format}");
        let spans = accepted(callout);
        let ops: Vec<_> = spans.iter().map(|span| span.op.as_str()).collect();
        assert_eq!(ops, ["http.server", "http.client"], "{format}");
        gateway.answer(callout, "200");
        assert_eq!(gateway.metrics()["spans_sent"], 2, "{format}");
    }
}

#[test]
fn a_receiver_that_refuses_is_told_of_less() {
    let mut gateway = start(json!({}));
    gateway.serve(request(&[]), ok());
    let callouts = gateway.flush();
    gateway.answer(only(&callouts), "429");
    gateway.serve(request(&[]), ok());
    assert!(gateway.flush().is_empty(), "it is left alone");
    let metrics = gateway.metrics();
    assert_eq!(metrics["callouts.rate_limited"], 1);
    assert_eq!(metrics["spans_discarded.ratelimit_backoff"], 4);
}

#[test]
fn a_page_of_another_origin_may_read_the_trace() {
    let mut gateway = start(json!({}));
    let served = gateway.serve(
        request(&[("origin", "https://page.example")]),
        lines(&[(":status", "200"), ("access-control-allow-origin", "*")]),
    );
    assert_eq!(
        value(&served.returned, "access-control-expose-headers"),
        Some("sentry-trace, baggage")
    );
}

#[test]
fn a_request_that_is_not_sampled_says_so_and_leaves_no_event() {
    let mut gateway = start(json!({"traces_sample_rate": 0.0}));
    let served = gateway.serve(request(&[]), ok());
    let sent = value(&served.forwarded, "sentry-trace").expect("a trace");
    assert!(sent.len() == 51 && sent.ends_with("-0"), "{sent}");
    let baggage = value(&served.forwarded, "baggage").expect("its DSC");
    for member in [
        &format!("sentry-trace_id={}", &sent[..32]),
        "sentry-public_key=0123456789abcdef0123456789abcdef",
        "sentry-sampled=false",
        "sentry-sample_rate=0",
        "sentry-org_id=42",
    ] {
        assert!(
            baggage.split(',').any(|found| found == member),
            "{member}: {baggage}"
        );
    }
    // A client report may tell of it.
    for callout in gateway.flush_all() {
        let text = String::from_utf8(callout.body).expect("text");
        let item = text.lines().nth(1).expect("an item's header");
        let item: Value = serde_json::from_str(item).expect("JSON");
        assert_eq!(item["type"], "client_report", "{text}");
    }
    assert_eq!(gateway.metrics()["spans_recorded"], 0);
}

#[test]
fn without_callouts_requests_go_on_and_spans_wait_in_a_queue_that_has_a_bound() {
    // This host says `INTERNAL_FAILURE` then, as Envoy does where no receiver is up: for the filter
    // that may pass.
    let config = config(json!({"transport": {"max_queue_bytes": 65_536}}));
    let mut gateway =
        Gateway::start_without_callouts(&config).unwrap_or_else(|log| panic!("{log:#?}"));
    assert_eq!(gateway.tick_period(), Some(Duration::from_secs(1)));
    for _ in 0..500 {
        let served = gateway.serve(request(&[]), ok());
        assert!(value(&served.forwarded, "sentry-trace").is_some_and(|sent| sent.ends_with("-1")));
        assert!(gateway.flush().is_empty());
    }
    let metrics = gateway.metrics();
    let discarded = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("spans_discarded."));
    let discarded: u64 = discarded.map(|(_, count)| count).sum();
    assert_eq!(metrics["spans_recorded"], 1_000);
    assert_eq!(metrics["spans_queued"] + discarded, 1_000, "{metrics:#?}");
    assert!(
        metrics["spans_queued"] > 0 && metrics["host_calls_refused"] > 0,
        "{metrics:#?}"
    );
}

#[test]
fn without_a_dsn_what_arrives_is_repaired() {
    let mut gateway = Gateway::start("{}").unwrap_or_else(|log| panic!("{log:#?}"));
    let loud = format!("{}-1CC4B26AB9094EF0-1", TRACE.to_uppercase());
    let served = gateway.serve(request(&[("sentry-trace", &loud)]), ok());
    assert_eq!(
        value(&served.forwarded, "sentry-trace"),
        Some(loud.to_lowercase().as_str())
    );
    assert!(gateway.flush().is_empty());
}

#[test]
fn without_a_dsn_nothing_begins() {
    let mut gateway = Gateway::start("{}").unwrap_or_else(|log| panic!("{log:#?}"));
    let served = gateway.serve(request(&[]), ok());
    assert_eq!(served.forwarded, request(&[]));
    assert!(gateway.flush().is_empty());
}

#[test]
fn a_wrong_configuration_is_refused_with_all_that_is_wrong() {
    let Err(log) = Gateway::start(r#"{"dsn": 7, "traces_sample_rate": 2}"#) else {
        panic!("it starts");
    };
    for key in ["dsn", "traces_sample_rate"] {
        let is_named = |line: &String| line.contains("refused") && line.contains(key);
        assert!(log.iter().any(is_named), "{key}: {log:#?}");
    }
}

#[test]
fn bytes_that_are_no_text_and_lines_that_are_too_many_do_no_harm() {
    let mut gateway = start(json!({"capture_request_headers": ["x-raw"]}));
    let mut hostile = request(&[("sentry-trace", "nonsense"), ("sentry-trace", "")]);
    hostile.push((b"x-raw".to_vec(), b"\xff\xfe\x00".to_vec()));
    hostile
        .extend((0..500).map(|n| (b"baggage".to_vec(), format!("k{n}=\u{e9},,=;").into_bytes())));
    hostile.push((b"baggage".to_vec(), vec![b'%'; 70_000]));
    let served = gateway.serve(hostile, lines(&[(":status", "\u{fffd}")]));
    assert_eq!(
        value(&served.forwarded, "sentry-trace").map(str::len),
        Some(51)
    );
    assert_eq!(gateway.flush().len(), 1);
    // Neither a method nor a path.
    gateway.serve(Lines::new(), Lines::new());
}
