//! What Envoy never would do: refuse callbacks, give null or too little, call hooks in any order,
//! from several threads, and have a module that panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use native_host::{Config, Extension, Fault, Host, Stream, DSN};

const ALL: &str = r#""traces_sample_rate": 1.0, "debug": true, "server_timing": true, "request_start_header": true, "send_default_pii": true,
    "propagate_traceparent": true, "response_headers": ["sentry-trace", "baggage", "traceparent"],
    "capture_request_headers": ["x-number"], "capture_response_headers": ["server"],
    "rules": [{"match": {"route": "a", "cluster": "b"}, "ignore": true}]"#;

fn all() -> String {
    format!(r#"{{"dsn": "{DSN}", {ALL}, "transport": {{"flush_interval_ms": 10}}}}"#)
}

const REQUEST: [(&str, &str); 8] = [
    (":method", "POST"),
    (":path", "/carts/7?a=b"),
    (":authority", "shop.example"),
    (":scheme", "https"),
    ("origin", "https://page.example"),
    (
        "sentry-trace",
        "0123456789abcdef0123456789abcdef-0123456789abcdef-1",
    ),
    (
        "baggage",
        "a=b,sentry-trace_id=0123456789abcdef0123456789abcdef",
    ),
    ("content-type", "application/grpc"),
];
const RESPONSE: [(&str, &str); 4] = [
    (":status", "200"),
    ("content-type", "text/html"),
    ("access-control-allow-origin", "https://page.example"),
    ("grpc-status", "0"),
];

fn pass(config: Config, worker: u32) {
    let mut stream = Stream::new(config, worker);
    assert!(stream.is_there(), "null would end the request");
    assert_eq!(stream.request_headers(&REQUEST), 0);
    assert_eq!(stream.response_headers(&RESPONSE), 0);
    stream.end();
}

/// The callbacks as the fakes name them.
const CALLBACKS: [&str; 16] = [
    "http_get_headers_size",
    "http_get_headers",
    "http_get_header",
    "http_set_header",
    "http_add_header",
    "attribute",
    "timing",
    "filter_state",
    "metadata",
    "define",
    "change",
    "callout",
    "scheduler_new",
    "get_concurrency",
    "is_validation_mode",
    "*",
];

#[test]
fn whatever_callbacks_do_requests_pass() {
    for callback in CALLBACKS {
        for fault in [Fault::Refuse, Fault::Null, Fault::Short, Fault::Huge] {
            for is_there_before in [false, true] {
                let host = Host::start();
                let extension = Extension::new(&host);
                if is_there_before {
                    host.fault(callback, fault);
                }
                let config = Config::new(&host, &all()).expect("a configuration");
                host.fault(callback, fault);
                for worker in [0, 1, 2, u32::MAX] {
                    pass(config, worker);
                }
                config.run_scheduled(&host);
                extension.accept_all(&host);
                let refusals = host.logged("a host call failed");
                assert!(refusals <= 1, "{callback} {fault:?}: said {refusals} times");
                host.heal();
                pass(config, 0);
                config.destroy(&host);
                extension.accept_all(&host);
                extension.destroy(&host);
                assert_eq!(
                    host.logged("a panic"),
                    0,
                    "{callback} {fault:?}: {:?}",
                    host.log()
                );
            }
        }
    }
}

#[test]
fn hooks_may_come_in_any_order() {
    let host = Host::start();
    let config = Config::new(&host, &all()).expect("a configuration");
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    for _ in 0..2_000 {
        let mut stream = Stream::new(config, 0);
        for _ in 0..next(7) {
            match next(5) {
                0 => drop(stream.request_headers(&REQUEST)),
                1 => drop(stream.response_headers(&RESPONSE)),
                2 => stream.end(),
                3 => drop(stream.deliver_request_headers()),
                _ => drop(config.run_scheduled(&host)),
            }
        }
    }
    config.accept_all(&host);
    config.destroy(&host);
    assert_eq!(host.logged("a panic"), 0, "{:?}", host.log());
}

#[test]
fn workers_and_the_main_thread_lose_no_count_of_each_other() {
    const WORKERS: u32 = 4;
    const REQUESTS: i64 = 3_000;
    let host = Host::start();
    let extension = Extension::new(&host);
    let text = all().replace(
        "\"flush_interval_ms\": 10",
        // No answer is late: sanitizers are slow, and what is given up counts as lost.
        "\"flush_interval_ms\": 10, \"timeout_ms\": 60000, \"format\": \"otlp\"",
    );
    let config = Config::new(&host, &text).expect("a configuration");
    let is_over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| thread::spawn(move || (0..REQUESTS).for_each(|_| pass(config, worker))))
        .collect();
    let flag = Arc::clone(&is_over);
    let watch = thread::spawn(move || {
        for worker in workers {
            worker.join().expect("no panic");
        }
        flag.store(true, Ordering::SeqCst);
    });
    // Long, since sanitizers are slow.
    let deadline = Instant::now() + Duration::from_secs(600);
    while !is_over.load(Ordering::SeqCst) {
        config.run_scheduled(&host);
        extension.accept_all(&host);
        assert!(Instant::now() < deadline);
    }
    watch.join().expect("no panic");
    config.destroy(&host);
    while extension.accept_all(&host) > 0 {}
    let requests = i64::from(WORKERS) * REQUESTS;
    assert_eq!(host.metric("requests"), requests);
    let recorded = host.metric("spans_recorded");
    assert_eq!(recorded, 2 * requests, "{:?}", host.metrics());
    let discarded = host.metric("spans_discarded.queue_overflow");
    let sent = host.metric("spans_sent");
    assert_eq!(recorded, sent + discarded, "{:?}", host.metrics());
    assert_eq!(host.metric("spans_queued"), 0);
    assert_eq!(host.metric("spans_in_flight"), 0);
    extension.destroy(&host);
}

#[test]
fn a_panic_in_a_hook_is_that_of_one_request() {
    const OF_STREAMS: [&str; 5] = [
        "http_filter_new",
        "http_filter_request_headers",
        "http_filter_response_headers",
        "http_filter_stream_complete",
        "http_filter_destroy",
    ];
    for hook in OF_STREAMS {
        let host = Host::start();
        let config = Config::new(&host, &all()).expect("a configuration");
        let before = host.panics();
        host.panic_in(hook);
        pass(config, 0);
        assert_eq!(host.panics() - before, 1, "{hook}");
        host.panic_nowhere();
        let mut stream = Stream::new(config, 0);
        stream.request_headers(&REQUEST);
        assert!(stream.sent("sentry-trace").is_some());
        drop(stream);
        config.destroy(&host);
    }
}

#[test]
fn a_panic_with_a_lock_held_is_none_for_whoever_comes_next() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, &all()).expect("a configuration");
    host.panic_in("tracer");
    pass(config, 0);
    let (before, deadline) = (host.panics(), Instant::now() + Duration::from_secs(10));
    while host.panics() == before {
        config.run_scheduled(&host);
        assert!(Instant::now() < deadline, "{:?}", host.log());
    }
    host.panic_nowhere();
    pass(config, 0);
    config.destroy(&host);
    assert_eq!(host.metric("spans_in_flight"), 2);
    extension.accept_all(&host);
    assert_eq!(host.metric("spans_sent"), 2);
    extension.destroy(&host);
}

#[test]
fn a_panic_on_the_main_thread_is_that_of_one_event() {
    for hook in [
        "http_filter_config_scheduled",
        "bootstrap_extension_config_scheduled",
        "bootstrap_extension_http_callout_done",
        "http_filter_config_destroy",
        "bootstrap_extension_config_destroy",
    ] {
        let host = Host::start();
        let extension = Extension::new(&host);
        let config = Config::new(&host, &all()).expect("a configuration");
        let other = Config::new(&host, &all()).expect("a configuration");
        let before = host.panics();
        let deadline = Instant::now() + Duration::from_secs(10);
        pass(config, 0);
        pass(other, 0);
        // The extension looks at what this one has left.
        other.destroy(&host);
        host.panic_in(hook);
        config.run_scheduled(&host);
        while hook.ends_with("scheduled") && host.panics() == before {
            config.run_scheduled(&host);
            extension.run_scheduled(&host);
            assert!(Instant::now() < deadline, "{hook}");
        }
        extension.accept_all(&host);
        config.destroy(&host);
        extension.destroy(&host);
        assert!(host.panics() > before, "{hook}");
        assert_eq!(host.violations(), Vec::<String>::new(), "{hook}");
    }
    let host = Host::start();
    let config = Config::new(&host, &all()).expect("a configuration");
    pass(config, 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while config.callouts().is_empty() {
        config.run_scheduled(&host);
        assert!(Instant::now() < deadline);
    }
    let before = host.panics();
    host.panic_in("http_filter_config_http_callout_done");
    config.accept_all(&host);
    assert_eq!(host.panics() - before, 1);
    host.panic_nowhere();
    config.destroy(&host);
    host.panic_in("http_filter_config_new");
    assert!(Config::new(&host, &all()).is_none(), "it is refused");
    host.panic_nowhere();
    let config = Config::new(&host, &all()).expect("a configuration");
    config.destroy(&host);
}
