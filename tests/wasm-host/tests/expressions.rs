//! The attributes of a stream's end, told at once by an expression or one by one: what is sent is
//! the same.

use serde_json::Value;
use wasm_host::{config, status, Builder, Envelope, Exchange, Gateway, Host, When};

const FUNCTIONS: &str = "proxy_call_foreign_function";

/// A host that has called an upstream.
fn host() -> Builder {
    let number = |number: i64| number.to_le_bytes();
    Host::builder()
        .property(&["upstream", "request_attempt_count"], number(1))
        .property(&["upstream", "cx_pool_ready_duration"], number(250_000))
}

/// What is sent of one request, and how many attributes it asked for by their names at its end.
fn sent(gateway: &mut Gateway, exchange: &Exchange) -> (Value, usize) {
    let served = gateway.serve(exchange);
    let asked = &served.record("proxy_on_log").host_calls;
    let asked = asked.iter().filter(|call| **call == "proxy_get_property");
    let count = asked.count();
    let callouts = gateway.flush();
    let [callout] = callouts.as_slice() else {
        panic!("{} callouts", callouts.len());
    };
    let transaction = Envelope::parse(&callout.body).transaction().clone();
    gateway.answer_all(200);
    (transaction, count)
}

#[test]
fn a_host_without_expressions_is_asked_one_by_one() {
    let exchange = Exchange::get("/orders/17");
    let (at_once, asked) = sent(&mut Gateway::with(host(), config::SAMPLED), &exchange);
    assert_eq!(asked, 2, "the TLS versions, which are often absent");
    assert_eq!(at_once["spans"][0]["data"]["server.address"], "192.0.2.9");

    // A host that has no such call, one that has no such function, and one that knows nothing of
    // CEL.
    for status in [
        status::UNIMPLEMENTED,
        status::NOT_FOUND,
        status::BAD_ARGUMENT,
    ] {
        let builder = host().refuse(FUNCTIONS, status, When::Always);
        let mut gateway = Gateway::with(builder, config::SAMPLED);
        let (one_by_one, asked) = sent(&mut gateway, &exchange);
        assert_eq!(one_by_one, at_once, "status {status}");
        assert!(asked > 10, "{asked}");
        // One for the expression, one for the filter state of redirects.
        assert_eq!(gateway.host.calls(FUNCTIONS), 2, "neither is asked again");
    }
}

#[test]
fn where_an_attribute_is_missing_the_rest_is_asked_for() {
    let exchange = Exchange::get("/orders/17").nothing_said();
    let mut gateway = Gateway::start(config::SAMPLED);
    let (transaction, asked) = sent(&mut gateway, &exchange);
    assert!(asked > 1, "{asked}");
    assert_eq!(transaction["type"], "transaction");
    assert_eq!(
        gateway.metric("host_calls_refused"),
        0,
        "that is no refusal"
    );
}

#[test]
fn an_expression_that_is_lost_is_no_loss() {
    let exchange = Exchange::get("/orders/17");
    let (at_once, _) = sent(&mut Gateway::with(host(), config::SAMPLED), &exchange);
    let builder = host().refuse(FUNCTIONS, status::NOT_FOUND, When::FromCall(2));
    let (one_by_one, asked) = sent(&mut Gateway::with(builder, config::SAMPLED), &exchange);
    assert_eq!(one_by_one, at_once);
    assert!(asked > 10, "{asked}");
}

/// A VM may see many configurations.
#[test]
fn a_configuration_that_is_replaced_gives_its_expression_back() {
    let mut gateway = Gateway::start(config::SAMPLED);
    assert_eq!(gateway.host.expressions(), 1);
    gateway.host.shut_down(gateway.root).unwrap();
    assert_eq!(gateway.host.expressions(), 0);
    let gateway = Gateway::start(config::PROPAGATE_ONLY);
    assert_eq!(gateway.host.expressions(), 0, "nothing is recorded");
}
