use super::super::delivery::UPSTREAM_SERVICE_TIME;
use super::*;
use crate::config::{EnvDefaults, FilterConfig};
use crate::headers::Headers;

const NS_PER_MS: u64 = 1_000_000;

fn transport_of(config: &FilterConfig) -> Transport {
    let id = config.trace.projects.own().unwrap();
    let project = config.trace.own_project().unwrap();
    Transport::new(id, project, &config.transport, false)
}

fn transport() -> Transport {
    let json =
        br#"{"dsn": "https://key:hush@o1.ingest.sentry.io/42", "transport": {"timeout_ms": 1000}}"#;
    let config = FilterConfig::parse(json, &EnvDefaults::default()).unwrap();
    transport_of(&config)
}

#[test]
fn the_headers_are_those_of_the_protocol() {
    let client = format!("{SDK_NAME}/{SDK_VERSION}");
    let auth = format!(
        "Sentry sentry_version=7, sentry_client={client}, sentry_key=key, sentry_secret=hush"
    );
    let expected = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "o1.ingest.sentry.io"),
        (":path", "/api/42/envelope/"),
        ("content-type", "application/x-sentry-envelope"),
        ("x-sentry-auth", &auth),
        ("user-agent", &client),
    ];
    let headers = transport().headers;
    let found: Vec<_> = headers.iter().collect();
    assert_eq!(found, expected);
    let shown = format!("{headers:?}");
    assert!(shown.contains("x-sentry-auth") && !shown.contains("hush"));
}

#[test]
fn the_operators_own_headers_follow() {
    let json = br#"{"dsn": "https://key@host/42", "transport": {"headers": {"x-tenant": "a"}}}"#;
    let config = FilterConfig::parse(json, &EnvDefaults::default()).unwrap();
    let transport = transport_of(&config);
    let callout = transport.callout(Vec::new(), None, Vec::new());
    assert_eq!(callout.headers.iter().last(), Some(("x-tenant", "a")));
    assert_eq!(callout.headers.iter().count(), 8);
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let lines = lines
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    Headers::from_pairs(lines)
}

fn answered(
    transport: &mut Transport,
    token: u32,
    lines: &[(&str, &str)],
    body: &str,
) -> Option<Delivery> {
    let mut body = || body.as_bytes().to_vec();
    let headers = headers(lines);
    let mut response = CalloutResponse::new(&headers, &mut body);
    Some(transport.completed(token, &mut response, 0, 0, 0)?.delivery)
}

fn post(transport: &mut Transport, token: u32) {
    let callout = transport.callout(Vec::new(), None, Vec::new());
    assert_eq!(transport.posted(token, callout, 0), []);
}

#[test]
fn an_answer_says_what_became_of_the_spans() {
    let upstream = (UPSTREAM_SERVICE_TIME, "3");
    let reset = |reason: &str| {
        format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}")
    };
    let refused = reset("remote connection failure, transport failure reason: TLS_error");
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Delivery);
    let rows: [Row; 18] = [
        (&[(":status", "200")], "", Delivery::Accepted),
        (&[(":status", "202"), upstream], "", Delivery::Accepted),
        (&[(":status", "301")], "", Delivery::Refused),
        (&[(":status", "413")], "", Delivery::Refused),
        (&[(":status", "500")], "", Delivery::Refused),
        (&[(":status", "503"), upstream], &refused, Delivery::Refused),
        (&[(":status", "503")], "", Delivery::Lost),
        (
            &[(":status", "503")],
            &reset("connection termination"),
            Delivery::Lost,
        ),
        (
            &[(":status", "503")],
            &reset("remote reset"),
            Delivery::Lost,
        ),
        (&[(":status", "503")], &refused, Delivery::NotArrived),
        (
            &[(":status", "503")],
            &reset("connection timeout"),
            Delivery::NotArrived,
        ),
        (
            &[(":status", "503")],
            &reset("overflow"),
            Delivery::NotArrived,
        ),
        (
            &[(":status", "504")],
            "upstream request timeout",
            Delivery::Lost,
        ),
        (&[(":status", "504"), upstream], "", Delivery::Refused),
        (&[(":status", "429")], "", Delivery::RateLimited),
        (&[(":status", "none")], "", Delivery::Lost),
        (&[(":status", "+200")], "", Delivery::Lost),
        (&[], "", Delivery::Lost),
    ];
    for (lines, body, delivery) in rows {
        let mut transport = transport();
        post(&mut transport, 7);
        assert_eq!(transport.in_flight(), 1);
        let unknown = answered(&mut transport, 8, lines, body);
        assert_eq!(unknown, None, "an unknown token");
        let found = answered(&mut transport, 7, lines, body);
        assert_eq!(found, Some(delivery), "{lines:?} {body}");
        assert!(transport.is_idle());
    }
}

#[test]
fn what_a_collector_took_only_in_part_is_read() {
    let json = br#"{"dsn": "https://key@sentry.io/42", "transport": {"format": "otlp"}}"#;
    let config = FilterConfig::parse(json, &EnvDefaults::default()).unwrap();
    let segment = crate::fixtures::segment("/");
    let segment = crate::fixtures::encoded(&segment, Format::Otlp, &config);
    let spans = 2;
    for (body, rejected) in [
        (b"".as_slice(), 0),
        (b"\x0a\x00", 0),
        (b"\x0a\x02\x08\x01", 1),
        (b"\x0a\x07\x12\x03why\x08\x01", 1),
        // More than there were, a negative number, something cut off, something else.
        (b"\x0a\x02\x08\x07", spans),
        (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0),
        (b"\x0a\x02\x08", 0),
        (b"{\"partialSuccess\":{}}", 0),
    ] {
        let mut transport = transport_of(&config);
        let callout = transport.callout(vec![segment.clone()], None, Vec::new());
        transport.posted(7, callout, 0);
        let (headers, mut read) = (headers(&[(":status", "200")]), || body.to_vec());
        let outcome =
            transport.completed(7, &mut CalloutResponse::new(&headers, &mut read), 0, 0, 0);
        assert_eq!(
            outcome.unwrap().rejected,
            rejected,
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn a_limit_closes_the_transport_for_as_long_as_it_says() {
    let mut transport = transport();
    for (token, lines, seconds) in [
        (1, [(":status", "429"), ("retry-after", "7")], 7),
        (
            2,
            [
                (":status", "200"),
                ("x-sentry-rate-limits", "9:transaction:key"),
            ],
            9,
        ),
        // The longer limit wins.
        (3, [(":status", "429"), ("retry-after", "1")], 9),
    ] {
        post(&mut transport, token);
        answered(&mut transport, token, &lines, "");
        assert!(
            transport.is_closed(Category::Spans, seconds * NS_PER_S - 1),
            "{lines:?}"
        );
        assert!(
            !transport.is_closed(Category::Spans, seconds * NS_PER_S),
            "{lines:?}"
        );
        let said_s = transport.take_said_s();
        assert_eq!(
            said_s,
            (token < 3).then_some((Category::Spans, seconds)),
            "told once"
        );
    }
    transport.close_until(Category::Spans, 8 * NS_PER_S);
    assert!(transport.is_closed(Category::Spans, 9 * NS_PER_S - 1));
    transport.close_until(Category::Spans, 10 * NS_PER_S);
    assert!(
        transport.is_closed(Category::Spans, 10 * NS_PER_S - 1),
        "as another worker says"
    );
}

#[test]
fn a_callout_that_is_never_answered_is_given_up() {
    let mut transport = transport();
    post(&mut transport, 1);
    assert_eq!(transport.expire(11_000 * NS_PER_MS - 1), []);
    let lost = transport.expire(11_000 * NS_PER_MS);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].delivery, Delivery::Lost);
    assert!(transport.is_idle());
}

#[test]
fn what_does_not_arrive_is_not_tried_again_at_once() {
    let mut transport = transport();
    transport.not_posted(0, 0);
    assert!(!transport.is_ready(1));
    assert!(transport.is_ready(NS_PER_S));
}
