//! Whether another filter undoes what this one does, as the ends of streams show it: when it is
//! looked for, and what is taken for it.

mod host;

use host::Host;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::exporter::Event;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::tracer::StreamState;
use sentry_filter_core::worker::Worker;

type Lines<'a> = &'a [(&'a str, &'a str)];

const PAGE: (&str, &str) = ("origin", "https://page.example");
const GRANTED: (&str, &str) = ("access-control-allow-origin", "https://page.example");
const STATUS: (&str, &str) = (":status", "200");
const NAMES: &str = "Sentry-Trace, baggage";
const GET: Lines<'_> = &[(":method", "GET"), (":path", "/"), PAGE];
const RIGHT: Lines<'_> = &[
    GRANTED,
    STATUS,
    ("access-control-allow-headers", NAMES),
    ("access-control-expose-headers", NAMES),
];
const WRONG: Lines<'_> = &[
    GRANTED,
    STATUS,
    ("access-control-expose-headers", "x-total"),
];

/// A preflight that asks to send these headers.
fn preflight(names: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "OPTIONS"),
        (":path", "/"),
        PAGE,
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", names),
    ]
}

fn headers(lines: Lines<'_>) -> Headers {
    let lines = lines.iter();
    Headers::from_pairs(lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn worker(config: &str) -> Worker {
    let config = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default());
    Worker::alone(config.expect("a configuration"))
}

/// Whether the end of a stream says that the order is wrong. The filter has seen the request, or
/// another one answered before it.
fn warns(worker: &mut Worker, is_seen: bool, request: Lines<'_>, response: Lines<'_>) -> bool {
    let mut host = Host {
        request: Some(headers(request)),
        response: Some(headers(response)),
        ..Host::default()
    };
    let mut state = StreamState::Unseen;
    if is_seen {
        let outcome = worker.on_request(&headers(request), &mut host);
        state = StreamState::Live(outcome.request);
    }
    worker.on_end(&mut state, &mut host).warning.is_some()
}

#[test]
fn an_answer_that_keeps_the_trace_from_a_page_is_wrong() {
    let plain: Lines<'_> = &[(":method", "GET"), (":path", "/")];
    let (asks, other) = (preflight("baggage, sentry-trace"), preflight("x-other"));
    let rows = [
        ("a page", true, GET, WRONG, true),
        ("a page that gets the names", true, GET, RIGHT, false),
        ("a page that is not let in", true, GET, &WRONG[1..], false),
        ("no page", true, plain, WRONG, false),
        (
            "a preflight that never came here",
            false,
            &asks,
            WRONG,
            true,
        ),
        ("one that gets the names", false, &asks, RIGHT, false),
        ("one that is not let in", false, &asks, &WRONG[1..], false),
        ("one that asks for no trace", false, &other, WRONG, false),
        ("a page that never came here", false, GET, WRONG, true),
    ];
    for (name, is_seen, request, response, is_wrong) in rows {
        let mut worker = worker("{}");
        let found = warns(&mut worker, is_seen, request, response);
        assert_eq!(found, is_wrong, "{name}");
    }
}

#[test]
fn one_answer_a_flush_is_looked_at_until_one_is_wrong() {
    let mut worker = worker("{}");
    let warns = |worker: &mut Worker, response| warns(worker, true, GET, response);
    assert!(!warns(&mut worker, RIGHT));
    assert!(!warns(&mut worker, WRONG), "one was looked at");
    worker.handle(Event::Tick, 1);
    assert!(warns(&mut worker, WRONG));
    worker.handle(Event::Tick, 2);
    assert!(!warns(&mut worker, WRONG), "it is said once");
}

#[test]
fn who_adds_no_names_misses_none() {
    for (lists, is_looked_at) in [
        (
            r#"{"allow_headers": false, "expose_headers": false}"#,
            false,
        ),
        (r#"{"allow_headers": false}"#, true),
    ] {
        let mut worker = worker(&format!(r#"{{"cors": {lists}}}"#));
        assert_eq!(
            warns(&mut worker, true, GET, WRONG),
            is_looked_at,
            "{lists}"
        );
    }
}
