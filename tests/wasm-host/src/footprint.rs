//! What the module keeps in its memory: deterministic, since the clock and the random numbers of
//! this host are.

use crate::gateway::{config, Exchange, Gateway};
use crate::host::Host;

/// Enough that the pages in which memory grows do not show.
const MANY: u64 = 1_000;
const PAGE: u64 = 64 * 1_024;
const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-0";
const BAGGAGE: &str = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,other=1";

/// Bytes of one thing, as the module's memory grows with many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// What it is.
    pub what: &'static str,
    /// Bytes of one.
    pub bytes: u64,
    /// How much more memory is taken when they are gone and as many come again, in pages. One or
    /// two are gaps of the allocator's, more is a leak.
    pub pages_again: u64,
}

/// All of them: a VM with a configuration, what a rule adds to it, a live request and a queued
/// trace of two spans, by path and format.
pub fn footprints() -> Vec<Footprint> {
    let plain = Exchange::get("/api/7");
    let arrives = plain
        .clone()
        .header("sentry-trace", TRACE)
        .header("baggage", BAGGAGE);
    // As long as Envoy takes it, where the filter looks.
    let text = "v".repeat(14_000);
    let long = Exchange::get(&format!("/{text}?{text}"))
        .header("origin", &text)
        .header("user-agent", &text);
    let recorded = queueing("otlp");
    vec![
        vm(),
        rule(),
        live(
            "a live request that is forwarded",
            config::UNSAMPLED,
            &arrives,
        ),
        live(
            "a live request that begins a trace, not sampled",
            config::UNSAMPLED,
            &plain,
        ),
        live("a live request that is recorded", &recorded, &plain),
        live(
            "a live request that is forwarded, 57 kB of headers",
            config::UNSAMPLED,
            &long,
        ),
        live(
            "a live request that is recorded, 57 kB of headers",
            &recorded,
            &long,
        ),
        queued("a queued trace, `otlp`", &recorded, &plain),
        queued("a queued trace, `span_v2`", &queueing("span_v2"), &plain),
        queued(
            "a queued trace, `transaction`",
            &queueing("transaction"),
            &plain,
        ),
    ]
}

/// Everything is sampled, and nothing is dropped.
fn queueing(format: &str) -> String {
    config::SAMPLED.replace(
        "\"traces_sample_rate\"",
        &format!(r#""transport": {{"format": "{format}", "max_queue_bytes": 134217728, "max_in_flight": 1, "timeout_ms": 600000}}, "traces_sample_rate""#),
    )
}

fn bytes(host: &Host) -> u64 {
    host.memory_pages() * PAGE
}

fn vm() -> Footprint {
    let gateway = Gateway::start(config::SAMPLED);
    Footprint {
        what: "a VM with its configuration",
        bytes: bytes(&gateway.host),
        pages_again: 0,
    }
}

/// A configuration may have many; each is a pattern that was compiled.
fn rule() -> Footprint {
    const RULES: u64 = 200;
    let with = |count: u64| {
        let rule = |index| {
            format!(r#"{{"match": {{"path": "^/shops/{index}/items/[0-9]+$"}}, "ignore": true}}"#)
        };
        let rules = (0..count).map(rule).collect::<Vec<_>>().join(",");
        let rules = format!(r#""rules": [{rules}], "traces_sample_rate""#);
        let configuration = config::SAMPLED.replace("\"traces_sample_rate\"", &rules);
        bytes(&Gateway::start(&configuration).host)
    };
    Footprint {
        what: "a rule with a pattern for the path",
        bytes: (with(RULES) - with(0)) / RULES,
        pages_again: 0,
    }
}

/// Requests whose headers have gone by, and whose answers have not come.
fn live(what: &'static str, configuration: &str, exchange: &Exchange) -> Footprint {
    let mut gateway = Gateway::start(configuration);
    let fresh = bytes(&gateway.host);
    open_and_finish(&mut gateway, exchange);
    let many = bytes(&gateway.host);
    open_and_finish(&mut gateway, exchange);
    Footprint {
        what,
        bytes: (many - fresh) / MANY,
        pages_again: (bytes(&gateway.host) - many) / PAGE,
    }
}

/// All open at once; then all end, in which nothing but their spans remains.
fn open_and_finish(gateway: &mut Gateway, exchange: &Exchange) {
    let Gateway { host, root } = gateway;
    let streams: Vec<_> = (0..MANY)
        .map(|_| {
            let stream = host.create_stream(*root).expect("no trap");
            exchange.attributes_at_request(host, stream);
            host.request_headers(stream, &exchange.request, true)
                .expect("no trap");
            stream
        })
        .collect();
    for stream in streams {
        // No log: what remains is to be nothing.
        host.done(stream).expect("no trap");
        host.delete(stream).expect("no trap");
    }
}

/// Traces that wait for a receiver that takes its time.
fn queued(what: &'static str, configuration: &str, exchange: &Exchange) -> Footprint {
    let mut gateway = Gateway::start(configuration);
    let fresh = bytes(&gateway.host);
    queue(&mut gateway, exchange);
    let many = bytes(&gateway.host);
    gateway.flush();
    assert_eq!(gateway.metric("spans_queued"), 2 * MANY, "all wait");
    drain(&mut gateway);
    queue(&mut gateway, exchange);
    // Only from here on there is room for the bodies of POSTs, too.
    let warm = bytes(&gateway.host);
    drain(&mut gateway);
    queue(&mut gateway, exchange);
    Footprint {
        what,
        bytes: (many - fresh) / MANY,
        pages_again: (bytes(&gateway.host) - warm) / PAGE,
    }
}

fn queue(gateway: &mut Gateway, exchange: &Exchange) {
    // One POST is under way, and there may be no other: else the body of the next one would be in
    // memory, too.
    gateway.serve(exchange);
    gateway.flush();
    for _ in 0..MANY {
        gateway.serve(exchange);
    }
}

/// All that waits is sent, and taken.
fn drain(gateway: &mut Gateway) {
    gateway.flush();
    while gateway.metric("spans_queued") + gateway.metric("spans_in_flight") > 0 {
        gateway.answer_all(200);
        gateway.host.forget();
        gateway.flush();
    }
}
