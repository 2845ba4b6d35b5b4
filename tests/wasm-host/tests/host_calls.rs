//! What a request costs in calls to the host: on V8 one that returns a value is over a microsecond
//! (envoy-wasm.md §1).

use serde_json::{json, Value};
use wasm_host::{config, Exchange, Gateway, Served};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
const BAGGAGE: &str = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,other=1";

/// The tenth request, when nothing is made for the first time any more.
fn steady(configuration: &str, exchange: &Exchange) -> Served {
    let mut gateway = Gateway::start(configuration);
    for _ in 0..9 {
        gateway.serve(exchange);
    }
    gateway.serve(exchange)
}

fn assert_calls(expected: usize, what: &str, served: &Served) {
    let calls = served.host_calls();
    println!("{what}: {} host calls, {} fuel", calls.len(), served.fuel());
    for record in &served.records {
        println!(
            "    {}: {} fuel, {:?}",
            record.callback, record.fuel, record.host_calls
        );
    }
    assert_eq!(calls.len(), expected, "{what}: {calls:?}");
}

/// The usual configuration, but the client learns nothing.
fn silent(configuration: &str) -> String {
    let mut config: Value = serde_json::from_str(configuration).unwrap();
    config["response_headers"] = json!([]);
    config["cors"] = json!({"allow_headers": false, "expose_headers": false});
    config.to_string()
}

#[test]
fn a_request_that_is_only_forwarded_reads_its_headers_and_tells_its_trace() {
    let forwarded = Exchange::get("/")
        .header("sentry-trace", format!("{TRACE}-0"))
        .header("baggage", BAGGAGE);
    assert_calls(
        8,
        "forwarded, not sampled",
        &steady(config::UNSAMPLED, &forwarded),
    );
    assert_calls(
        4,
        "forwarded, not sampled, the client learns nothing",
        &steady(&silent(config::UNSAMPLED), &forwarded),
    );
    assert_calls(
        7,
        "forwarded, no DSN",
        &steady(config::PROPAGATE_ONLY, &forwarded),
    );
    assert_calls(
        2,
        "nothing to forward, no DSN",
        &steady(config::PROPAGATE_ONLY, &Exchange::get("/")),
    );
    assert_calls(
        2,
        "OPTIONS",
        &steady(config::SAMPLED, &Exchange::method("OPTIONS", "/")),
    );
}

#[test]
fn an_answer_is_read_only_if_it_lets_another_origin_in() {
    let page = Exchange::get("/").header("origin", "https://page.example");
    let granted = page
        .clone()
        .response_header("access-control-allow-origin", "*");
    assert_calls(
        2,
        "of another origin, not let in",
        &steady(config::PROPAGATE_ONLY, &page),
    );
    assert_calls(
        4,
        "of another origin, let in",
        &steady(config::PROPAGATE_ONLY, &granted),
    );
}

#[test]
fn a_new_trace_that_is_not_sampled_costs_its_two_headers() {
    // Its route's name is not asked for: nobody reads it.
    assert_calls(
        10,
        "started, not sampled",
        &steady(config::UNSAMPLED, &Exchange::get("/")),
    );
    assert_calls(
        9,
        "started, deferred",
        &steady(config::DEFERRED, &Exchange::get("/")),
    );
}

#[test]
fn a_sampled_request_asks_for_each_attribute_once() {
    let continued = Exchange::get("/")
        .header("sentry-trace", format!("{TRACE}-1"))
        .header("baggage", BAGGAGE);
    assert_calls(
        16,
        "started, sampled",
        &steady(config::SAMPLED, &Exchange::get("/")),
    );
    assert_calls(
        15,
        "continued, sampled",
        &steady(config::SAMPLED, &continued),
    );
}

#[test]
fn random_bytes_are_fetched_for_many_requests_at_once() {
    let mut gateway = Gateway::start(config::SAMPLED);
    let before = gateway.host.calls("random_get");
    for _ in 0..100 {
        gateway.serve(&Exchange::get("/"));
    }
    let fetched = gateway.host.calls("random_get") - before;
    println!("random_get: {fetched} for 100 requests");
    assert_eq!(fetched, 5);
}

#[test]
fn an_idle_tick_asks_for_little() {
    let mut gateway = Gateway::start(config::SAMPLED);
    gateway.flush();
    gateway.flush();
    let calls = &gateway.host.last().host_calls;
    println!("an idle tick: {calls:?}");
    let asked = [
        "proxy_get_shared_data",
        "proxy_get_current_time_nanoseconds",
    ];
    assert_eq!(calls, &asked, "the limit of other workers, and the time");
}
