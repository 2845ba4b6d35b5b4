//! What a request costs in calls to the host, as real Envoy logs each of them. The counts in the
//! in-process host (`make test-host`) are only as true as that host is.

use e2e::{Gateway, Reply, Request};
use serde_json::{json, Value};

/// A call that Envoy logged: of the host's to the module, or of the module's to the host.
#[derive(Debug)]
enum Call {
    Callback(String),
    Host(String),
}

/// Serves one request to warm up and one that is looked at; what Envoy logged about that one, up to
/// its end.
async fn calls(config: Value, request: Request) -> Vec<Call> {
    let gateway = Gateway::start(config).await;
    gateway.upstream.reply("GET", "/orders", Reply::status(200));
    gateway.send(&request).await;
    gateway.envoy.command("/logging?wasm=trace").await;
    gateway.send(&request).await;
    let log = e2e::eventually(async || {
        let log = gateway.envoy.log();
        log.contains("[host->vm] proxy_on_delete").then_some(log)
    });
    let log = log.await.expect("the end of the stream");
    let lines = log.lines().filter_map(|line| {
        let (_, call) = line.rsplit_once("] [")?;
        let (direction, call) = call.split_once("] ")?;
        let (name, _) = call.split_once('(')?;
        match direction {
            "host->vm" => Some(Call::Callback(name.to_owned())),
            "vm->host" => Some(Call::Host(name.trim_start_matches("env.").to_owned())),
            _ => None,
        }
    });
    let of_stream =
        |call: &Call| !matches!(call, Call::Callback(name) if name == "proxy_on_context_create");
    let mut calls: Vec<Call> = lines.skip_while(of_stream).collect();
    let end = calls
        .iter()
        .position(|call| matches!(call, Call::Callback(name) if name == "proxy_on_delete"));
    calls.truncate(end.expect("found above"));
    calls
}

fn to_host(calls: &[Call]) -> Vec<&str> {
    let names = calls.iter().filter_map(|call| match call {
        Call::Host(name) => Some(name.as_str()),
        Call::Callback(_) => None,
    });
    names.collect()
}

#[tokio::test]
async fn a_recorded_request_asks_for_its_attributes_at_once() {
    let calls = calls(json!({"traces_sample_rate": 1.0}), Request::get("/orders")).await;
    let made = to_host(&calls);
    assert_eq!(made.len(), 15, "{calls:#?}");
    // The end: one expression, and what it cannot have in it.
    let asked_by_name = made.iter().filter(|name| **name == "proxy_get_property");
    assert_eq!(
        asked_by_name.count(),
        3,
        "the route's name and metadata, the upstream's TLS version: {calls:#?}"
    );
    let expressions = made
        .iter()
        .filter(|name| **name == "proxy_call_foreign_function");
    assert_eq!(expressions.count(), 1, "{calls:#?}");
    // Each value that comes back is a call into the module for memory.
    let allocations = calls.iter();
    let allocations = allocations
        .filter(|call| matches!(call, Call::Callback(name) if name == "proxy_on_memory_allocate"));
    assert!(allocations.count() <= 3, "{calls:#?}");
}

#[tokio::test]
async fn a_request_that_is_only_forwarded_asks_for_little() {
    let request = Request::get("/orders").header(
        "sentry-trace",
        "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-0",
    );
    // One of them is the route's metadata: the route may belong to another organisation's project.
    let calls = calls(json!({"traces_sample_rate": 1.0}), request).await;
    assert_eq!(to_host(&calls).len(), 8, "{calls:#?}");
}
