//! What the module computes, in wasmi's fuel: a count of what was executed, the same on every
//! machine. Not a time: calls into the host are free here, and `host_calls.rs` counts those.

use wasm_host::{config, Exchange, Gateway};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
const BAGGAGE: &str = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,other=1";
/// Not the first ones, for which tables grow; then as many as smooth what happens only now and
/// then.
const WARM_UP: u64 = 100;
const REQUESTS: u64 = 100;
/// A new compiler may be a little better or worse; a change of ours that is shows.
const TOLERANCE_PERCENT: u64 = 5;

/// Fuel a request, from its headers to its end, and fuel for its share of a flush with the answer.
struct Cost {
    request: u64,
    flush: u64,
}

fn measure(configuration: &str, exchange: &Exchange) -> Cost {
    let mut gateway = Gateway::start(configuration);
    for _ in 0..WARM_UP {
        gateway.serve(exchange);
    }
    // Some go when the batch is full and not at a tick, so all answers have to be awaited.
    for _ in 0..WARM_UP {
        gateway.flush();
        gateway.answer_all(200);
    }
    let request = (0..REQUESTS)
        .map(|_| gateway.serve(exchange).fuel())
        .sum::<u64>();
    let mut flush = 0;
    gateway.flush();
    flush += gateway.host.last().fuel;
    while !gateway.host.outstanding().is_empty() {
        for token in gateway.host.outstanding() {
            let answered = gateway.host.answer(token, &wasm_host::Answer::status(200));
            answered.unwrap_or_else(|trap| panic!("{trap}"));
            flush += gateway.host.last().fuel;
        }
    }
    assert_eq!(gateway.metric("spans_queued"), 0, "all has left");
    Cost {
        request: request / REQUESTS,
        flush: flush / REQUESTS,
    }
}

#[test]
fn no_path_computes_more_than_it_did() {
    let plain = Exchange::get("/api/7");
    let arrives = |sampled: &str| {
        let line = format!("{TRACE}-{sampled}");
        plain
            .clone()
            .header("sentry-trace", line)
            .header("baggage", BAGGAGE)
    };
    let streamed = config::OTLP.replace("otlp", "span_v2");
    // The path, its configuration and request; the fuel of a request and of its share of a flush,
    // as measured when it last changed for a reason.
    let paths = [
        (
            "forwarded, not sampled",
            config::UNSAMPLED,
            arrives("0"),
            60_898,
            174,
        ),
        (
            "begun, not sampled",
            config::UNSAMPLED,
            plain.clone(),
            32_860,
            174,
        ),
        (
            "continued and recorded, transaction",
            config::SAMPLED,
            arrives("1"),
            221_880,
            39_570,
        ),
        (
            "begun and recorded, transaction",
            config::SAMPLED,
            plain.clone(),
            208_795,
            39_620,
        ),
        (
            "begun and recorded, span_v2",
            &streamed,
            plain.clone(),
            246_783,
            50_776,
        ),
        (
            "begun and recorded, otlp",
            config::OTLP,
            plain,
            117_671,
            1_423,
        ),
    ];
    let mut wrong = Vec::new();
    for (path, configuration, exchange, request, flush) in paths {
        let cost = measure(configuration, &exchange);
        println!(
            "{path}: {} a request, {} for its flush",
            cost.request, cost.flush
        );
        for (what, is, was) in [
            ("request", cost.request, request),
            ("flush", cost.flush, flush),
        ] {
            let allowed = was * TOLERANCE_PERCENT / 100;
            if is.abs_diff(was) > allowed {
                wrong.push(format!("{path}: {what}: {is} fuel, was {was}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nIf that is for a reason (or better), write the new numbers into this file"
    );
}

/// A POST of streamed spans is made of one trace. To find it costs no more where many wait.
#[test]
fn a_long_queue_costs_no_more_a_trace() {
    let settings = r#""span_v2", "max_queue_bytes": 67108864"#;
    let configuration = config::OTLP.replace(r#""otlp""#, settings);
    let cost = |traces: u64| {
        let mut gateway = Gateway::start(&configuration);
        gateway.host.remove_cluster("sentry");
        for _ in 0..traces {
            gateway.serve(&Exchange::get("/"));
        }
        gateway
            .host
            .set_cluster("sentry", wasm_host::Cluster::Accepts);
        let (mut fuel, mut rounds) = (0, 0);
        while gateway.metric("spans_queued") + gateway.metric("spans_in_flight") > 0 || rounds == 0
        {
            gateway.flush();
            fuel += gateway.host.last().fuel;
            for token in gateway.host.outstanding() {
                let answered = gateway.host.answer(token, &wasm_host::Answer::status(200));
                answered.unwrap_or_else(|trap| panic!("{trap}"));
                fuel += gateway.host.last().fuel;
            }
            gateway.host.forget();
            rounds += 1;
        }
        assert_eq!(gateway.metric("spans_sent"), 2 * traces);
        fuel / traces
    };
    let (few, many) = (cost(100), cost(5_000));
    println!("{few} fuel a trace with 100 queued, {many} with 5,000");
    assert!(many <= few * 3 / 2, "{few} with 100, {many} with 5,000");
}
