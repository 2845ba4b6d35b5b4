//! Requests through the module, in a process where everything works.

use std::time::{Duration, Instant};

use native_host::{Config, Extension, Host, Metadata, Stream, DSN};

/// Everything is recorded, and a flush keeps no test waiting.
fn sampled() -> String {
    with("")
}

fn with(more: &str) -> String {
    format!(
        r#"{{"dsn": "{DSN}", "traces_sample_rate": 1.0, {more} "transport": {{"flush_interval_ms": 10, "format": "otlp"}}}}"#
    )
}

/// Lets the main thread work until something is there.
fn until<T>(host: &Host, config: Config, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        config.run_scheduled(host);
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "it did not come: {:?}",
            host.log()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":path", "/carts/7"),
    (":authority", "shop.example"),
    (":scheme", "https"),
];

#[test]
fn a_request_is_told_its_trace_recorded_and_posted() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, &sampled()).expect("a configuration");
    let mut stream = Stream::new(config, 0);
    assert_eq!(stream.request_headers(&GET), 0);
    let trace = stream.sent("sentry-trace").expect("a trace");
    assert!(trace.ends_with("-1"), "{trace}");
    assert_eq!(
        stream.filter_state["sentry.trace_id"],
        &trace.as_bytes()[..32]
    );
    assert_eq!(stream.response_headers(&[(":status", "200")]), 0);
    stream.end();
    drop(stream);
    let callout = until(&host, config, || extension.callouts().pop());
    assert_eq!(callout.cluster, "sentry");
    assert!(!callout.body.is_empty());
    assert_eq!(
        config.callouts(),
        [],
        "all of them go through the extension"
    );
    assert_eq!(extension.accept_all(&host), 1);
    until(&host, config, || {
        (host.metric("spans_sent") == 2).then_some(())
    });
    assert_eq!(host.metric("spans_recorded"), 2);
    assert_eq!(host.metric("spans_queued"), 0);
    assert_eq!(host.metric("spans_in_flight"), 0);
    assert_eq!(host.metric("requests"), 1);
    assert_eq!(host.metric("host_calls_refused"), 0);
    config.destroy(&host);
    extension.destroy(&host);
}

#[test]
fn without_the_extension_the_configuration_posts_and_says_what_is_missing() {
    let host = Host::start();
    let config = Config::new(&host, &sampled()).expect("a configuration");
    let mut stream = Stream::new(config, 1);
    stream.request_headers(&GET);
    stream.end();
    until(&host, config, || config.callouts().pop());
    assert_eq!(config.accept_all(&host), 1);
    until(&host, config, || {
        (host.metric("spans_sent") == 2).then_some(())
    });
    assert!(host.logged("bootstrap_extensions") <= 1);
    config.destroy(&host);
}

#[test]
fn what_a_route_has_for_this_filter_comes_before_its_metadata() {
    let host = Host::start();
    let config = Config::new(&host, &sampled()).expect("a configuration");
    let flags = |stream: &mut Stream| {
        stream.request_headers(&GET);
        stream.sent("sentry-trace").expect("a trace")[50..].to_owned()
    };
    let mut plain = Stream::new(config, 0);
    assert_eq!(flags(&mut plain), "1");

    let mut metadata = Stream::new(config, 0);
    let rate = Metadata::Number(0.0);
    metadata.metadata.insert("traces_sample_rate".into(), rate);
    assert_eq!(flags(&mut metadata), "0");

    let mut text = Stream::new(config, 0);
    let rate = Metadata::Text("0.0".into());
    text.metadata.insert("traces_sample_rate".into(), rate);
    assert_eq!(flags(&mut text), "0");

    let mut both = Stream::new(config, 0);
    let rate = Metadata::Number(0.0);
    both.metadata.insert("traces_sample_rate".into(), rate);
    assert!(both.set_route_config(r#"{"traces_sample_rate": 1}"#));
    assert_eq!(flags(&mut both), "1");
    drop((plain, metadata, text, both));
    config.destroy(&host);
}

#[test]
fn a_wrong_configuration_is_refused_with_every_problem() {
    let host = Host::start();
    for (text, problem) in [
        (r#"{"dns": 1}"#, "dns"),
        ("", "plugin configuration"),
        (r#"{"traces_sample_rate": 2}"#, "traces_sample_rate"),
    ] {
        assert!(Config::new(&host, text).is_none(), "{text}");
        assert!(host.logged(problem) > 0, "{:?}", host.log());
    }
    let config = Config::new(&host, "{}").expect("a configuration");
    for (text, problem) in [
        (r#"{"ignore": 1}"#, "ignore"),
        (r#"{"transaction": "a\nb"}"#, "transaction"),
        (r#"{"dsn": "https://host/1"}"#, "dsn"),
        ("[]", "expected a JSON object"),
    ] {
        let mut stream = Stream::new(config, 0);
        assert!(!stream.set_route_config(text), "{text}");
        assert!(host.logged(problem) > 0, "{:?}", host.log());
    }
    config.destroy(&host);
}

#[test]
fn an_envoy_that_only_validates_starts_nothing() {
    let host = Host::start();
    host.fault("is_validation_mode", native_host::Fault::Refuse);
    let config = Config::new(&host, &sampled()).expect("a configuration");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(config.run_scheduled(&host), 0);
    config.destroy(&host);
    assert!(Config::new(&host, "[]").is_none());
}

#[test]
fn a_main_thread_that_does_not_come_costs_no_memory_without_end() {
    let host = Host::start();
    let config = r#""max_traces_per_second": 1000000,"#;
    let config = with(config).replace("\"otlp\"", "\"otlp\", \"max_queue_bytes\": 10000");
    let config = Config::new(&host, &config).expect("a configuration");
    for _ in 0..1_000 {
        let mut stream = Stream::new(config, 0);
        stream.request_headers(&GET);
        stream.end();
    }
    config.run_scheduled(&host);
    until(&host, config, || {
        (host.metric("spans_recorded") == 2_000).then_some(())
    });
    let lost = host.metric("spans_discarded.queue_overflow");
    assert!((1_900..2_000).contains(&lost), "{lost}");
    config.destroy(&host);
}

#[test]
fn the_route_is_matched_again_only_on_demand() {
    let host = Host::start();
    for (more, clears) in [("", 0), (r#""clear_route_cache": true,"#, 1)] {
        let config = Config::new(&host, &with(more)).expect("a configuration");
        let mut stream = Stream::new(config, 0);
        stream.request_headers(&GET);
        assert_eq!(stream.route_clears, clears, "{more}");
        drop(stream);
        config.destroy(&host);
    }
}
