//! A filter in front of this one that undoes what it does is noticed at the end of a stream, and
//! said once.

use wasm_host::{config, Exchange, Gateway, HeaderMap, Host};

const PAGE: &str = "https://page.example";

fn warnings(host: &Host) -> usize {
    let is_it = |message: &str| message.contains("Put the Sentry filter before it");
    host.logs()
        .iter()
        .filter(|line| is_it(&line.message))
        .count()
}

/// A stream at whose end the client has got another answer than the filter saw; `None` if it saw
/// none.
fn end(gateway: &mut Gateway, seen: Option<&Exchange>, request: &HeaderMap, got: &HeaderMap) {
    let Gateway { host, root } = gateway;
    let stream = host.create_stream(*root).unwrap();
    if let Some(exchange) = seen {
        host.request_headers(stream, &exchange.request, true)
            .unwrap();
        host.response_headers(stream, &exchange.response, true)
            .unwrap();
    }
    host.replace_headers(stream, request, got);
    host.finish(stream).unwrap();
}

fn granted() -> HeaderMap {
    HeaderMap::new()
        .with(":status", "200")
        .with("access-control-allow-origin", PAGE)
        .with("access-control-expose-headers", "x-total")
}

fn page() -> Exchange {
    Exchange::get("/").header("origin", PAGE)
}

fn preflight() -> Exchange {
    Exchange::method("OPTIONS", "/")
        .header("origin", PAGE)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "baggage, sentry-trace")
}

#[test]
fn an_answer_that_was_changed_behind_our_back_is_noticed_once() {
    let mut gateway = Gateway::start(config::PROPAGATE_ONLY);
    for _ in 0..3 {
        end(&mut gateway, Some(&page()), &page().request, &granted());
        gateway.flush();
    }
    assert_eq!(warnings(&gateway.host), 1);
}

#[test]
fn a_preflight_that_never_came_here_is_noticed() {
    let mut gateway = Gateway::start(config::PROPAGATE_ONLY);
    end(&mut gateway, None, &preflight().request, &granted());
    assert_eq!(warnings(&gateway.host), 1);
}

#[test]
fn what_is_right_is_no_matter() {
    let full = HeaderMap::new()
        .with(":status", "200")
        .with("access-control-allow-origin", PAGE)
        .with("access-control-allow-headers", "Sentry-Trace, baggage")
        .with("access-control-expose-headers", "Sentry-Trace, baggage");
    let shut = HeaderMap::new().with(":status", "200");
    let plain = Exchange::get("/");
    let mut gateway = Gateway::start(config::PROPAGATE_ONLY);
    for (seen, request, got) in [
        (Some(page()), page(), full.clone()),
        (None, preflight(), full),
        (Some(page()), page(), shut.clone()),
        (None, preflight(), shut),
        (Some(plain.clone()), plain.clone(), granted()),
        (None, plain, granted()),
    ] {
        end(&mut gateway, seen.as_ref(), &request.request, &got);
        gateway.flush();
    }
    assert_eq!(warnings(&gateway.host), 0);
}

#[test]
fn one_answer_a_flush_is_looked_at() {
    let mut gateway = Gateway::start(config::PROPAGATE_ONLY);
    let right = HeaderMap::new().with(":status", "200");
    end(&mut gateway, Some(&page()), &page().request, &right);
    end(&mut gateway, Some(&page()), &page().request, &granted());
    assert_eq!(warnings(&gateway.host), 0);
    gateway.flush();
    end(&mut gateway, Some(&page()), &page().request, &granted());
    assert_eq!(warnings(&gateway.host), 1);
}

#[test]
fn who_adds_no_names_misses_none() {
    let off = r#"{"cors": {"allow_headers": false, "expose_headers": false}}"#;
    let mut gateway = Gateway::start(off);
    end(&mut gateway, Some(&page()), &page().request, &granted());
    end(&mut gateway, None, &preflight().request, &granted());
    assert_eq!(warnings(&gateway.host), 0);
}

#[test]
fn the_trace_is_left_for_the_access_log() {
    let mut gateway = Gateway::start(config::TELLING);
    let Gateway { host, root } = &mut gateway;
    let stream = host.create_stream(*root).unwrap();
    host.request_headers(stream, &Exchange::get("/").request, true)
        .unwrap();
    let context = host
        .request_headers_of(stream)
        .only("sentry-trace")
        .to_owned();
    let state = host.filter_state_of(stream);
    let value = |name: &str| state.get(name.as_bytes()).cloned();
    assert_eq!(value("sentry.trace_id"), Some(context[..32].into()));
    assert_eq!(value("sentry.sampled"), Some(b"true".to_vec()));
}

#[test]
fn a_decision_that_is_left_to_others_is_not_in_the_access_log() {
    let mut gateway = Gateway::start(config::DEFERRED);
    let Gateway { host, root } = &mut gateway;
    let stream = host.create_stream(*root).unwrap();
    host.request_headers(stream, &Exchange::get("/").request, true)
        .unwrap();
    let names: Vec<_> = host.filter_state_of(stream).into_keys().collect();
    assert_eq!(names, [b"sentry.trace_id".to_vec()]);
}
