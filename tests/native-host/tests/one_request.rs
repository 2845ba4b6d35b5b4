//! Every hook of one request, and no more: short enough for Miri, which sees undefined behaviour
//! in how the module takes what Envoy gives (`make miri`).

use native_host::{Config, Host, Stream, DSN};

#[test]
fn a_request_passes_through_every_hook() {
    let host = Host::start();
    // Without a DSN nothing waits for a tick.
    let config = Config::new(&host, r#"{"propagate_traceparent": true}"#).expect("a configuration");
    let trace = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1";
    let mut stream = Stream::new(config, 0);
    let request = [
        (":method", "GET"),
        (":path", "/carts/7"),
        (":authority", "shop.example"),
        ("sentry-trace", trace),
        ("baggage", "sentry-release=1,other=%20"),
        ("origin", "https://shop.example"),
    ];
    assert_eq!(stream.request_headers(&request), 0);
    let w3c = "00-d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-01";
    assert_eq!(stream.sent("traceparent").as_deref(), Some(w3c));
    let response = [(":status", "200"), ("access-control-allow-origin", "*")];
    assert_eq!(stream.response_headers(&response), 0);
    assert_eq!(stream.received("sentry-trace").as_deref(), Some(trace));
    stream.end();
    drop(stream);
    config.destroy(&host);
}

#[test]
fn a_recorded_request_passes_through_every_hook() {
    let host = Host::start();
    let text = format!(
        r#"{{"dsn": "{DSN}", "traces_sample_rate": 1, "transport": {{"flush_interval_ms": 60000, "format": "otlp"}}}}"#
    );
    let config = Config::new(&host, &text).expect("a configuration");
    let mut stream = Stream::new(config, 0);
    let request = [
        (":method", "GET"),
        (":path", "/carts/7?a=1"),
        (":authority", "shop.example"),
        (":scheme", "https"),
    ];
    assert_eq!(stream.request_headers(&request), 0);
    assert_eq!(stream.response_headers(&[(":status", "200")]), 0);
    stream.end();
    drop(stream);
    // What nobody can send any more is counted as lost.
    config.destroy(&host);
    let lost = host.metric("spans_recorded");
    assert!(lost > 0);
    assert_eq!(host.metric("spans_discarded.network_error"), lost);
}
