//! The response side: arbitrary requests and responses, and what must hold for what the client
//! gets.
//!
//! ```text
//! byte 0    the configuration, as a printable character: 'a' is the first of CONFIGURATIONS
//! byte 1    the host's randomness: see Host::new
//! then      header lines of the request, a line --, header lines of the response
//! ```

use std::sync::OnceLock;

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::headers::{HeaderAddition, Headers};
use sentry_filter_core::tracer::StreamState;
use sentry_filter_core::worker::Worker;

use super::host::Host;
use super::request;
use super::{input, strict};

const CONFIGURATIONS: [&str; 6] = [
    r#"{"dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42", "server_timing": true,
        "response_headers": ["sentry-trace", "baggage", "traceparent"]}"#,
    r#"{"dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42", "traces_sample_rate": 1, "propagate_traceparent": true,
        "server_timing": true}"#,
    r#"{"response_headers": ["baggage"], "continue_traceparent": false, "server_timing": true}"#,
    r#"{"response_headers": [], "cors": {"allow_headers": false}, "propagate_traceparent": true}"#,
    r#"{"response_headers": ["traceparent"], "cors": {"expose_headers": false}}"#,
    r#"{"response_headers": [], "cors": {"allow_headers": false, "expose_headers": false}}"#,
];

const ALLOW: &str = "access-control-allow-headers";
const EXPOSE: &str = "access-control-expose-headers";
const TELLING: [&str; 4] = ["sentry-trace", "baggage", "traceparent", "server-timing"];

fn configuration(byte: u8) -> &'static FilterConfig {
    static ALL: OnceLock<Vec<FilterConfig>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let configurations = CONFIGURATIONS.into_iter();
        configurations.map(request::parse).collect()
    });
    &all[usize::from(byte.wrapping_sub(b'a')) % all.len()]
}

/// Whether everything holds for one response.
pub fn check(data: &[u8]) {
    let mut bytes = input::Bytes(data);
    let config = configuration(bytes.byte());
    let mut host = Host::new(bytes.byte());
    let mut pairs = input::headers(bytes.0).into_iter();
    let asked: Vec<_> = pairs
        .by_ref()
        .take_while(|(name, _)| name != b"--")
        .collect();
    let mut lines: Vec<_> = pairs.collect();
    let asked = headers(&asked);

    let mut worker = Worker::alone(config.clone());
    let outcome = worker.on_request(&asked, &mut host);
    if outcome.request.response.is_none() {
        return;
    }
    let mut state = StreamState::Live(outcome.request);
    let before = headers(&lines);
    let mut additions = |response: &Headers| {
        host.response = Some(response.clone());
        worker.on_response(&mut state, &mut host)
    };
    let added = additions(&before);
    for HeaderAddition { name, value } in &added {
        assert!(
            name == &ALLOW || name == &EXPOSE || TELLING.contains(name),
            "{name}"
        );
        assert!(
            value.iter().all(|byte| matches!(byte, b' '..=b'~')),
            "{name} is not visible"
        );
    }
    lines.extend(
        added
            .iter()
            .map(|HeaderAddition { name, value }| (name.as_bytes().to_vec(), value.clone())),
    );
    let after = headers(&lines);
    assert_eq!(additions(&after), [], "said again");

    lists(config, &asked, &before, &after);
    told(
        &outcome.context.map(|context| context.to_value()),
        &before,
        &added,
    );
}

fn headers(lines: &[(Vec<u8>, Vec<u8>)]) -> Headers {
    Headers::from_pairs(lines.iter().map(|(name, value)| (&name[..], &value[..])))
}

/// The two lists: what was there stays in front, what is added is new, and nothing is added where
/// nobody was let in.
fn lists(config: &FilterConfig, request: &Headers, before: &Headers, after: &Headers) {
    let origins: Vec<&[u8]> = request.values("origin").collect();
    let granted: Vec<&[u8]> = before
        .values("access-control-allow-origin")
        .map(trimmed)
        .collect();
    let is_granted = match (&granted[..], &origins[..]) {
        ([b"*"], _) => true,
        ([granted], [origin]) => granted == origin,
        _ => false,
    };
    let credentials: Vec<&[u8]> = before
        .values("access-control-allow-credentials")
        .map(trimmed)
        .collect();
    let with_credentials = credentials == [b"true"];
    let is_preflight = request.value(":method") == Some(b"OPTIONS")
        && origins.len() == 1
        && request.value("access-control-request-method").is_some();
    for (list, is_its_turn) in [(ALLOW, is_preflight), (EXPOSE, !is_preflight)] {
        let (old, new) = (names(before, list), names(after, list));
        let added = new
            .strip_prefix(old.as_slice())
            .expect("what was there stays in front");
        if added.is_empty() {
            continue;
        }
        assert!(is_its_turn && is_granted, "{list}: a door was opened");
        assert!(
            with_credentials || !old.contains(&b"*".to_vec()),
            "{list}: * was enough"
        );
        let is_on = match list {
            ALLOW => config.response.cors.allow_headers,
            _ => config.response.cors.expose_headers,
        };
        assert!(is_on, "{list} is switched off");
        for (index, name) in added.iter().enumerate() {
            let ours: [&[u8]; 4] = [b"sentry-trace", b"baggage", b"traceparent", b"tracestate"];
            assert!(ours.contains(&name.as_slice()));
            let earlier = old.iter().chain(&added[..index]);
            assert!(!earlier.clone().any(|had| had == name), "{list}: twice");
        }
        let has = |name: &[u8]| new.iter().any(|had| had == name);
        assert!(
            has(b"sentry-trace") && has(b"baggage"),
            "{list}: half of it"
        );
    }
}

/// The names of a list in lower case.
fn names(headers: &Headers, list: &str) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for line in headers.values(list) {
        names.extend(
            line.split(|byte| *byte == b',')
                .map(|name| trimmed(name).to_ascii_lowercase()),
        );
    }
    names
}

/// What the client is told is the one context, and `Server-Timing` can be read.
fn told(context: &Option<Vec<u8>>, before: &Headers, additions: &[HeaderAddition]) {
    let is_silent = ["sentry-trace", "baggage"]
        .iter()
        .all(|name| before.value(name).is_none());
    for HeaderAddition { name, value } in additions {
        let context = || context.as_ref().expect("a context to tell");
        match *name {
            "sentry-trace" => {
                assert_eq!(value, context());
                assert!(strict::SentryTrace::parse(value).is_some());
                assert!(is_silent, "halves of two contexts");
            }
            "baggage" => {
                let members = strict::members([value.as_slice()]);
                assert!(!members.is_empty() && members.iter().all(strict::Member::is_sentry));
                assert!(is_silent, "halves of two contexts");
            }
            "traceparent" => assert!(strict::traceparent(value).is_some()),
            "server-timing" => {
                let metrics = metrics(value);
                assert_eq!(metrics[0].0, b"sentry-trace");
                assert_eq!(&metrics[0].1, context());
                assert!(metrics[1..].iter().all(|(name, _)| name == b"baggage"));
                assert!(metrics.len() <= 2);
            }
            _ => {}
        }
    }
}

/// The metrics of a line that is nothing but `name;desc="…"`.
fn metrics(line: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut metrics = Vec::new();
    let mut rest = line;
    loop {
        let at = rest
            .windows(7)
            .position(|part| part == b";desc=\"")
            .expect("a description");
        let name = rest[..at].to_vec();
        rest = &rest[at + 7..];
        let mut description = Vec::new();
        loop {
            match rest {
                [b'\\', byte, tail @ ..] => {
                    description.push(*byte);
                    rest = tail;
                }
                [b'"', tail @ ..] => {
                    rest = tail;
                    break;
                }
                [byte, tail @ ..] => {
                    description.push(*byte);
                    rest = tail;
                }
                [] => panic!("a quote that never ends"),
            }
        }
        metrics.push((name, description));
        match rest.strip_prefix(b", ") {
            Some(tail) => rest = tail,
            None => {
                assert!(rest.is_empty(), "{}", rest.escape_ascii());
                return metrics;
            }
        }
    }
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
