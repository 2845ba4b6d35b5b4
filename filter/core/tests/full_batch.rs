//! A full batch leaves at the end of a stream, without waiting for a tick.

mod host;

use host::Host;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::exporter::Command;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::tracer::StreamState;
use sentry_filter_core::worker::Worker;

#[test]
fn the_sixty_fourth_segment_makes_a_batch() {
    let config = br#"{"dsn": "https://key@o1.ingest.sentry.io/42", "traces_sample_rate": 1}"#;
    let config = FilterConfig::parse(config, &EnvDefaults::default()).expect("a configuration");
    let (mut worker, mut host) = (Worker::alone(config), Host::default());
    let headers = Headers::from_pairs([(b":path".as_slice(), b"/".as_slice())]);
    let mut posts = Vec::new();
    for number in 1..=64 {
        let outcome = worker.on_request(&headers, &mut host);
        worker.on_end(&mut StreamState::Live(outcome.request), &mut host);
        if let Some(Command::Post(_)) = worker.exporter().poll(1) {
            posts.push(number);
        }
    }
    assert_eq!(posts, [64]);
}
