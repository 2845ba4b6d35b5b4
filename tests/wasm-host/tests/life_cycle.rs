//! From configuration to the last answer, in the order in which Envoy calls.

use std::time::Duration;

use serde_json::Value;
use vectors::{is_id, SentryTrace};
use wasm_host::{config, only, read_spans, Envelope, Exchange, Gateway, HeaderMap, Trap, CONTINUE};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03";
const PARENT: &str = "1cc4b26ab9094ef0";

#[test]
fn a_request_becomes_a_transaction_in_an_envelope() {
    let mut gateway = Gateway::start(config::SAMPLED);
    let start = seconds_of_day(gateway.host.now_ns());
    let served = gateway.serve(&Exchange::get("/orders/17?page=2"));
    assert!(
        gateway.host.callouts().is_empty(),
        "nothing leaves before a tick"
    );

    let callouts = gateway.flush();
    let callout = only(&callouts);
    assert_eq!(
        (callout.cluster.as_str(), callout.timeout_ms),
        ("sentry", 5_000)
    );
    assert_eq!(callout.headers.only(":method"), "POST");
    assert_eq!(
        callout.headers.only(":authority"),
        "o42.ingest.sentry.example"
    );
    let path = callout.headers.only(":path");
    assert_eq!(path.split('?').next(), Some("/api/7/envelope/"));
    assert_eq!(
        callout.headers.only("content-type"),
        "application/x-sentry-envelope"
    );
    let auth = callout.headers.only("x-sentry-auth");
    assert!(
        auth.contains("sentry_key=0123456789abcdef0123456789abcdef"),
        "{auth}"
    );
    assert!(callout.trailers.is_empty());

    let envelope = Envelope::parse(&callout.body);
    let transaction = envelope.transaction();
    assert_eq!(envelope.header["event_id"], transaction["event_id"]);
    assert!(is_id(string(&transaction["event_id"]), 32));
    assert_eq!(transaction["type"], "transaction");

    let forwarded = served.sentry_trace();
    assert_eq!(forwarded.sampled, Some(true));
    let trace = &transaction["contexts"]["trace"];
    assert_eq!(trace["trace_id"], forwarded.trace_id.as_str());
    let call = &transaction["spans"][0];
    assert_eq!(call["span_id"], forwarded.span_id.as_str());
    assert_eq!(call["parent_span_id"], trace["span_id"]);
    assert_eq!(
        trace["parent_span_id"],
        Value::Null,
        "the gateway is the head"
    );
    assert_eq!(trace["op"], "http.server");
    assert_eq!(trace["origin"], "auto.http.envoy");
    assert_eq!(trace["status"], "ok");
    assert_eq!(
        envelope.header["trace"]["trace_id"],
        forwarded.trace_id.as_str()
    );

    let name = string(&transaction["transaction"]);
    assert!(
        name.contains("/orders/17") && !name.contains("page"),
        "{name}"
    );
    assert_eq!(transaction["transaction_info"]["source"], "url");
    assert_eq!(transaction["environment"], "test");
    assert_eq!(transaction["release"], "shop@1.2.3");
    assert_eq!(transaction["server_name"], "gateway-1");

    assert!((moment(&transaction["start_timestamp"]) - start).abs() < 0.001);
    assert!((moment(&transaction["timestamp"]) - start - 0.025).abs() < 0.001);
}

#[test]
fn a_sampled_trace_that_comes_in_gets_the_gateway_as_a_child() {
    let mut gateway = Gateway::start(config::UNSAMPLED);
    let served = gateway.serve(
        &Exchange::get("/")
            .header("sentry-trace", format!("{TRACE}-{PARENT}-1"))
            .header(
                "baggage",
                format!(
                    "sentry-trace_id={TRACE},sentry-public_key=49d0f7386ad645858ae85020e393bef3,sentry-release=web@1,other=1"
                ),
            ),
    );
    let forwarded = served.sentry_trace();
    assert_eq!(forwarded.trace_id, TRACE);
    assert_ne!(forwarded.span_id, PARENT);
    let callouts = gateway.flush();
    let envelope = Envelope::parse(&only(&callouts).body);
    let trace = &envelope.transaction()["contexts"]["trace"];
    assert_eq!(trace["trace_id"], TRACE);
    assert_eq!(trace["parent_span_id"], PARENT);
    let call = &envelope.transaction()["spans"][0];
    assert_eq!(call["span_id"], forwarded.span_id.as_str());
    assert_eq!(
        envelope.header["trace"]["release"], "web@1",
        "the DSC is frozen"
    );
    assert_eq!(envelope.header["trace"]["other"], Value::Null);
}

#[test]
fn two_streams_interleaved_keep_their_own_spans() -> Result<(), Trap> {
    let mut gateway = Gateway::start(config::SAMPLED);
    let Gateway { host, root } = &mut gateway;
    let (first, second) = (host.create_stream(*root)?, host.create_stream(*root)?);
    let in_first = Exchange::get("/first").header("sentry-trace", format!("{TRACE}-{PARENT}-1"));
    let in_second = Exchange::get("/second").status(503);
    in_second.attributes_at_request(host, second);
    host.request_headers(second, &in_second.request, true)?;
    host.advance(Duration::from_millis(3));
    in_first.attributes_at_request(host, first);
    host.request_headers(first, &in_first.request, true)?;
    let started = SentryTrace::parse(host.request_headers_of(second).values("sentry-trace")[0]);
    let started = started.expect("canonical");
    assert_ne!(started.trace_id, TRACE);

    in_first.attributes_at_response(host, first);
    host.response_headers(first, &in_first.response, true)?;
    in_second.attributes_at_response(host, second);
    host.response_headers(second, &in_second.response, true)?;
    in_second.attributes_at_end(host, second);
    in_first.attributes_at_end(host, first);
    host.finish(second)?;
    host.finish(first)?;

    let mut seen: Vec<_> = gateway
        .flush()
        .iter()
        .map(|callout| {
            let envelope = Envelope::parse(&callout.body);
            let transaction = envelope.transaction();
            let trace = &transaction["contexts"]["trace"];
            let name = string(&transaction["transaction"]).to_owned();
            (
                name,
                string(&trace["trace_id"]).to_owned(),
                string(&trace["status"]).to_owned(),
            )
        })
        .collect();
    seen.sort();
    let [first, second] = &seen[..] else {
        panic!("not two spans: {seen:?}")
    };
    assert!(
        first.0.contains("/first") && first.1 == TRACE && first.2 == "ok",
        "{first:?}"
    );
    assert!(
        second.0.contains("/second") && second.1 == started.trace_id,
        "{second:?}"
    );
    assert_eq!(second.2, "unavailable");
    Ok(())
}

#[test]
fn a_stream_that_ends_before_its_request_headers_ran_is_harmless() -> Result<(), Trap> {
    for configuration in config::ALL {
        let mut gateway = Gateway::start(configuration);
        let stream = gateway.host.create_stream(gateway.root)?;
        Exchange::get("/").attributes_at_end(&mut gateway.host, stream);
        gateway.host.finish(stream)?;
        let stream = gateway.host.create_stream(gateway.root)?;
        gateway.host.done(stream)?;
        gateway.host.delete(stream)?;
        for callout in gateway.flush() {
            read_spans(&callout);
        }
        gateway.assert_every_span_is_accounted_for();
    }
    Ok(())
}

#[test]
fn a_stream_that_is_cut_off_ends_as_one_span() -> Result<(), Trap> {
    let mut gateway = Gateway::start(config::SAMPLED);
    let Gateway { host, root } = &mut gateway;
    let exchange = Exchange::get("/cut");
    let stream = host.create_stream(*root)?;
    exchange.attributes_at_request(host, stream);
    host.request_headers(stream, &exchange.request, false)?;
    host.set_property(stream, &["response", "code"], 0_i64.to_le_bytes());
    exchange.attributes_at_end(host, stream);
    host.finish(stream)?;
    let callouts = gateway.flush();
    Envelope::parse(&only(&callouts).body).transaction();
    Ok(())
}

#[test]
fn no_callback_holds_a_stream_or_touches_what_is_not_ours() -> Result<(), Trap> {
    let trailers = HeaderMap::new()
        .with("grpc-status", "0")
        .with("x", "\u{e9}");
    for configuration in config::ALL {
        let mut gateway = Gateway::start(configuration);
        let served = gateway.serve(
            &Exchange::method("POST", "/upload")
                .header("x-custom", "1")
                .header("X-Custom", "2")
                .header("cookie", "a=b")
                .response_header("set-cookie", "a=1")
                .response_header("set-cookie", "b=2")
                .response_header("access-control-allow-origin", "*"),
        );
        served.assert_only_our_headers_changed();

        let Gateway { host, root } = &mut gateway;
        let stream = host.create_stream(*root)?;
        let request = Exchange::method("POST", "/upload").request;
        assert_eq!(host.request_headers(stream, &request, false)?, CONTINUE);
        for (body, end) in [(&b"abc"[..], false), (b"", false), (b"", true)] {
            assert_eq!(host.request_body(stream, body, end)?, CONTINUE);
            assert!(host.last().writes.is_empty());
        }
        assert_eq!(host.request_trailers(stream, &trailers)?, CONTINUE);
        assert!(host.last().writes.is_empty());
        let response = HeaderMap::new().with(":status", "100");
        assert_eq!(host.response_headers(stream, &response, false)?, CONTINUE);
        let response = HeaderMap::new().with(":status", "200");
        assert_eq!(host.response_headers(stream, &response, false)?, CONTINUE);
        assert_eq!(host.response_body(stream, b"{}", false)?, CONTINUE);
        assert_eq!(host.response_trailers(stream, &trailers)?, CONTINUE);
        host.finish(stream)?;
        assert!(host.last().writes.is_empty());
        gateway.flush();
        assert_eq!(gateway.host.called_out_of_place(), [""; 0]);
    }
    Ok(())
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

const DAY: f64 = 86_400.0;

fn seconds_of_day(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() % DAY
}

/// A moment of a Sentry payload, as seconds of its day: a number of seconds, or
/// `2023-11-14T22:13:20.000000Z`.
fn moment(value: &Value) -> f64 {
    if let Some(seconds) = value.as_f64() {
        return seconds % DAY;
    }
    let (_, time) = string(value).split_once('T').expect("a date and a time");
    let time = time.strip_suffix('Z').expect("UTC");
    time.split(':').fold(0.0, |sum, part| {
        sum * 60.0 + part.parse::<f64>().expect("a number")
    })
}

/// A receiver that answers at once would otherwise get a POST for each of a few requests.
#[test]
fn spans_that_go_together_wait_for_a_tick_and_not_for_an_answer() {
    let mut gateway = Gateway::start(config::OTLP);
    gateway.serve(&Exchange::get("/first"));
    let first = gateway.flush();
    for _ in 0..3 {
        gateway.serve(&Exchange::get("/next"));
    }
    let before = gateway.host.callouts().len();
    gateway.answer_all(200);
    assert_eq!(
        gateway.host.callouts().len(),
        before,
        "the answer is no tick"
    );
    let next = gateway.flush();
    assert_eq!(
        [&first, &next].map(|callouts| read_spans(only(callouts))),
        [2, 6]
    );
    gateway.answer_all(200);
    gateway.assert_every_span_is_accounted_for();
}
