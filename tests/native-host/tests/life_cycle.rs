//! The ends of configurations and of the process.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use native_host::{flag, Config, Extension, Fault, Host, Stream, DSN};

fn sampled() -> String {
    format!(
        r#"{{"dsn": "{DSN}", "traces_sample_rate": 1.0, "transport": {{"flush_interval_ms": 60000, "format": "otlp"}}}}"#
    )
}

fn request(config: Config, worker: u32) {
    let mut stream = Stream::new(config, worker);
    stream.request_headers(&[(":method", "GET"), (":path", "/"), (":authority", "a")]);
    stream.end();
}

#[test]
fn a_configuration_that_goes_sends_what_it_holds_by_the_extension() {
    let host = Host::start();
    let extension = Extension::new(&host);
    assert_eq!(extension.signals(), 1, "Envoy may go on with its start");
    let config = Config::new(&host, &sampled()).expect("a configuration");
    request(config, 0);
    request(config, 1);
    config.destroy(&host);
    let callouts = extension.callouts();
    assert_eq!(callouts.len(), 1, "both workers' in one POST");
    assert_eq!(host.metric("spans_in_flight"), 4);
    extension.accept_all(&host);
    assert_eq!(host.metric("spans_sent"), 4);
    assert_eq!(host.metric("spans_in_flight"), 0);
    extension.destroy(&host);
}

#[test]
fn the_last_stream_of_a_worker_may_destroy_the_configuration() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, &sampled()).expect("a configuration");
    request(config, 0);
    thread::spawn(move || config.destroy_here())
        .join()
        .expect("no panic");
    assert_eq!(extension.callouts(), [], "the main thread alone may post");
    assert!(extension.run_scheduled(&host) > 0);
    assert_eq!(extension.accept_all(&host), 1);
    assert_eq!(host.metric("spans_sent"), 2);
    extension.destroy(&host);
}

#[test]
fn without_the_extension_what_waits_is_counted_as_lost() {
    let host = Host::start();
    let config = Config::new(&host, &sampled()).expect("a configuration");
    request(config, 0);
    config.destroy(&host);
    assert_eq!(config.callouts(), [], "a POST would end the process");
    assert_eq!(host.metric("spans_discarded.network_error"), 2);
    assert_eq!(host.metric("spans_queued"), 0);
}

#[test]
fn envoy_is_let_go_when_everything_is_answered() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let first = Config::new(&host, &sampled()).expect("a configuration");
    let second = Config::new(&host, &sampled()).expect("a configuration");
    request(first, 0);
    request(second, 1);
    let is_complete = flag();
    extension.shut_down(&host, is_complete);
    assert_eq!(extension.callouts().len(), 2);
    assert!(!is_complete.load(Ordering::SeqCst));
    let id = extension.callouts()[0].id;
    extension.answer(&host, id, 0, &[(":status", "200")], b"");
    assert!(!is_complete.load(Ordering::SeqCst));
    // The other one fails: nothing is tried again.
    let id = extension.callouts()[0].id;
    extension.answer(&host, id, 1, &[], b"");
    assert!(is_complete.load(Ordering::SeqCst));
    assert_eq!(host.metric("spans_sent"), 2);
    // What ends after that has nowhere to go.
    request(first, 0);
    first.destroy(&host);
    second.destroy(&host);
    assert_eq!(extension.callouts(), []);
    assert_eq!(host.metric("spans_discarded.network_error"), 4);
    extension.destroy(&host);
}

#[test]
fn envoy_is_let_go_at_once_when_nothing_waits() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, "{}").expect("a configuration");
    let is_complete = flag();
    extension.shut_down(&host, is_complete);
    assert!(is_complete.load(Ordering::SeqCst));
    config.destroy(&host);
    extension.destroy(&host);

    // One that panics lets it go, too.
    let extension = Extension::new(&host);
    host.panic_in("bootstrap_extension_shutdown");
    let is_complete = flag();
    extension.shut_down(&host, is_complete);
    assert!(is_complete.load(Ordering::SeqCst));
    host.panic_nowhere();
    extension.destroy(&host);
}

#[test]
fn a_callout_may_be_answered_before_it_has_begun() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, &sampled()).expect("a configuration");
    extension.answer_at_once(0, &[(":status", "200")]);
    request(config, 0);
    config.destroy(&host);
    assert_eq!(host.metric("spans_sent"), 2);
    assert_eq!(host.metric("spans_in_flight"), 0);
    extension.destroy(&host);

    let config = Config::new(&host, &sampled()).expect("a configuration");
    config.answer_at_once(1, &[]);
    request(config, 0);
    config.run_scheduled(&host);
    config.destroy(&host);
    assert_eq!(host.metric("spans_discarded.network_error"), 2);
}

#[test]
fn a_shutdown_that_may_not_post_ends_at_once() {
    let host = Host::start();
    let extension = Extension::new(&host);
    let config = Config::new(&host, &sampled()).expect("a configuration");
    request(config, 0);
    host.fault("callout", Fault::Refuse);
    let is_complete = flag();
    extension.shut_down(&host, is_complete);
    assert!(is_complete.load(Ordering::SeqCst));
    assert_eq!(host.metric("spans_discarded.network_error"), 2);
    config.destroy(&host);
    extension.destroy(&host);
}

#[test]
fn a_limit_of_one_configuration_counts_for_the_others() {
    let host = Host::start();
    let config = || {
        let text = sampled().replace("60000", "10");
        Config::new(&host, &text).expect("a configuration")
    };
    let (first, second) = (config(), config());
    let wait = |config: Config, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            config.run_scheduled(&host);
            assert!(Instant::now() < deadline, "{:?}", host.log());
            thread::sleep(Duration::from_millis(1));
        }
    };
    request(first, 0);
    wait(first, &|| !first.callouts().is_empty());
    let id = first.callouts()[0].id;
    first.answer(
        &host,
        id,
        0,
        &[(":status", "429"), ("retry-after", "60")],
        b"",
    );
    request(second, 1);
    wait(second, &|| {
        host.metric("spans_discarded.ratelimit_backoff") == 4
    });
    assert_eq!(second.callouts(), [], "the second one was told");
    first.destroy(&host);
    second.destroy(&host);
}
