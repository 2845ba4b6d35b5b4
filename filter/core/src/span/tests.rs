use super::*;
use crate::fixtures::{
    finished, finished_as, open_span, segment, segment_of, stream_end, START_NS,
};
use crate::method::Method;
use crate::project::ProjectId;
use crate::route::{Naming, Source};
use crate::span::attributes::Value;
use crate::trace::sentry_trace::SentryTrace;

fn shown(attributes: &Attributes<'_>) -> Vec<String> {
    attributes
        .iter()
        .map(|(name, value)| match value {
            Value::Text(text) => format!("{name}={text}"),
            Value::Integer(number) => format!("{name}={number}"),
            Value::Double(number) => format!("{name}={number:?}"),
            Value::Texts(texts) => format!("{name}={texts:?}"),
        })
        .collect()
}

#[test]
fn a_segment_says_what_the_gateway_did() {
    let Segment {
        server, upstream, ..
    } = segment("/cart/7");
    assert_eq!(
        (server.kind, server.status),
        (SpanKind::Server, SpanStatus::NotFound)
    );
    assert_eq!(
        shown(&server.attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=404",
            "http.response.body.size=17",
            "url.full=https://shop.example:8443/cart/7",
            "url.scheme=https",
            "url.path=/cart/7",
            "server.address=shop.example",
            "server.port=8443",
            "network.protocol.name=http",
            "network.protocol.version=1.1",
            "envoy.route=default",
            "envoy.cluster=shop",
            "envoy.response_code_details=via_upstream",
            "envoy.gateway_time_ms=1.75",
        ]
    );
    let [call] = upstream.as_slice() else {
        panic!("{upstream:?}");
    };
    assert_eq!(
        (call.kind, call.status),
        (SpanKind::Client, SpanStatus::NotFound)
    );
    assert_eq!(call.parent_span_id, Some(server.span_id));
    // The first byte out 29 ms before the response, and a quarter of a millisecond for the
    // connection.
    assert_eq!(call.times.start_ns, START_NS + 1_250_000);
    assert_eq!(call.times.end_ns, START_NS + 30_500_000);
    assert_eq!(call.name, "GET https://shop.example:8443/cart/7");
    assert_eq!(
        shown(&call.attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=404",
            "url.full=https://shop.example:8443/cart/7",
            "url.domain=shop.example",
            "server.address=10.0.0.7",
            "server.port=8080",
            "error.type=404",
            "envoy.cluster=shop",
            "envoy.pool_wait_ms=0.25",
            "envoy.time_to_first_byte_ms=29.25",
        ]
    );
}

/// The segment and its call, in transactions and by the conventions.
#[test]
fn names_are_made_of_the_method_and_what_many_requests_share() {
    type Row<'r> = (
        &'r str,
        Option<&'r str>,
        Option<(&'r str, Source)>,
        [&'r str; 3],
    );
    let api = "/api/{id}";
    let rows: [Row<'_>; 7] = [
        ("GET", None, None, ["/api/7", "GET", "GET shop.example"]),
        (
            "PURGE",
            None,
            None,
            ["/api/7", "_OTHER", "_OTHER shop.example"],
        ),
        (
            "GET",
            Some(api),
            None,
            [api, "GET /api/{id}", "GET shop.example"],
        ),
        (
            "GET",
            None,
            Some((api, Source::Route)),
            [api, "GET /api/{id}", "GET /api/{id}"],
        ),
        (
            "HEAD",
            None,
            Some(("checkout", Source::Route)),
            ["checkout", "checkout", "HEAD shop.example"],
        ),
        (
            "GET",
            None,
            Some(("/shops/7", Source::Custom)),
            ["/shops/7", "/shops/7", "GET shop.example"],
        ),
        (
            "CONNECT",
            None,
            None,
            [
                "CONNECT shop.example:8443",
                "CONNECT",
                "CONNECT shop.example",
            ],
        ),
    ];
    for (method, route, name, [transaction, server, call]) in rows {
        let finished = |naming: Naming| {
            let mut span = open_span("/api/7");
            span.request.method = Method::new(method.as_bytes());
            span.transaction = name.map(|(name, source)| TransactionName::new(name, source));
            let mut end = stream_end();
            end.route_name = route.map(|route| route.as_bytes().to_vec());
            let segment = finished_as(naming, span, end);
            (
                segment.server.name.into_owned(),
                segment.upstream[0].name.clone().into_owned(),
            )
        };
        let row = format!("{method} {route:?} {name:?}");
        let description = format!(
            "{} https://shop.example:8443/api/7",
            Method::new(method.as_bytes()).as_str()
        );
        assert_eq!(
            finished(Naming::Transactions),
            (transaction.to_owned(), description),
            "{row}"
        );
        assert_eq!(
            finished(Naming::Conventions),
            (server.to_owned(), call.to_owned()),
            "{row}"
        );
    }
    // Without a host nothing is left but the method.
    let mut span = open_span("/api/7");
    span.request.authority = None;
    let segment = finished_as(Naming::Conventions, span, stream_end());
    assert_eq!(segment.upstream[0].name, "GET");
}

#[test]
fn a_request_that_no_upstream_was_chosen_for_has_no_call() {
    let segment = segment_of("/", |end| {
        end.upstream = None;
        end.response_code = Some(503);
        end.response_flags = response_flags::ResponseFlags::from_bits(2);
        end.response_code_details = Some("no_healthy_upstream".to_owned());
    });
    assert_eq!((segment.quantity().spans, segment.upstream.len()), (1, 0));
    let attributes = shown(&segment.server.attributes);
    assert!(attributes.contains(&"envoy.response_flags=UH".to_owned()));
    assert!(attributes.contains(&"error.type=503".to_owned()));
    assert!(attributes.contains(&"envoy.gateway_time_ms=31.0".to_owned()));
}

#[test]
fn a_call_that_failed_tells_no_status_of_an_upstream() {
    let segment = segment_of("/", |end| {
        end.response_code = Some(503);
        end.response_flags = response_flags::ResponseFlags::from_bits(32_800);
        end.response_code_details =
            Some("upstream_reset_before_response_started{remote_connection_failure}".to_owned());
        let upstream = end.upstream.as_mut().unwrap();
        upstream.latency_ns = None;
        upstream.attempts = 2;
        upstream.transport_failure = Some("delayed connect error: Connection refused".to_owned());
    });
    assert_eq!(segment.server.status, SpanStatus::Unavailable);
    let [call] = segment.upstream.as_slice() else {
        panic!("{segment:?}");
    };
    assert_eq!(call.status, SpanStatus::InternalError);
    assert_eq!(
        shown(&call.attributes),
        [
            "http.request.method=GET",
            "http.request.resend_count=1",
            "url.full=https://shop.example:8443/",
            "url.domain=shop.example",
            "server.address=10.0.0.7",
            "server.port=8080",
            "error.type=internal_error",
            "envoy.cluster=shop",
            "envoy.pool_wait_ms=0.25",
            "envoy.transport_failure=delayed connect error: Connection refused",
        ]
    );
}

#[test]
fn names_come_from_the_best_source_there_is() {
    let name = |segment: &Segment<'_>| {
        let TransactionName { name, source } = segment.transaction;
        format!("{name} {}", source.as_str())
    };
    assert_eq!(name(&segment("/cart/7")), "/cart/7 url");
    let templated = segment_of("/cart/7", |end| {
        end.route_name = Some(b"/cart/{id}".to_vec())
    });
    assert_eq!(name(&templated), "/cart/{id} route");
    let attributes = shown(&templated.server.attributes);
    assert!(attributes.contains(&"http.route=/cart/{id}".to_owned()));

    let mut span = open_span("/cart/7");
    span.transaction = TransactionName::from_route(b"/cart/{id}");
    let segment = finished(span, stream_end());
    let attributes = shown(&segment.upstream[0].attributes);
    assert!(attributes.contains(&"url.template=/cart/{id}".to_owned()));

    let long = segment_of(&"/x".repeat(200), |_| {});
    assert_eq!(long.transaction.name.len(), 200);
    assert!(long.transaction.name.ends_with("..."));
}

#[test]
fn times_that_nobody_tells_are_those_of_the_clock() {
    let times = |start_ns, duration_ns, now_ns| {
        StreamInfo {
            start_ns,
            duration_ns,
            now_ns,
            ..StreamInfo::default()
        }
        .times()
    };
    let row = |start_ns, end_ns| Interval { start_ns, end_ns };
    assert_eq!(times(Some(5), Some(2), 0), row(5, 7));
    assert_eq!(times(Some(5), None, 9), row(5, 9));
    assert_eq!(times(Some(5), None, 1), row(5, 5));
    assert_eq!(times(None, Some(2), 9), row(7, 9));
    assert_eq!(times(None, None, 9), row(9, 9));
    assert_eq!(
        times(Some(u64::MAX), Some(u64::MAX), 0),
        row(u64::MAX, u64::MAX)
    );
}

#[test]
fn an_internal_redirect_is_one_segment_with_two_calls() {
    let mut span = open_span("/old");
    let context = span.context.clone();
    let mut first = stream_end();
    first.response_code = Some(302);
    first.response_code_details = Some("internal_redirect".to_owned());
    first.duration_ns = Some(10_000_000);
    first.upstream.as_mut().unwrap().latency_ns = Some(8_000_000);
    span.answered_ns = None;
    assert!(span.goes_on(&first));
    span.redirect(&first, Naming::Transactions);

    let next = SpanContext {
        project: ProjectId::FIRST,
        upstream_span_id: SpanId::from_hex(b"2222222222222222").ok(),
        ..context.clone()
    };
    let request = open_span("/new").request;
    let mut span = span.resume(next, request);
    span.sent_ns = Some(START_NS + 10_000_000);
    span.answered_ns = Some(START_NS + 40_000_000);
    let mut last = stream_end();
    last.duration_ns = Some(41_000_000);
    let segment = finished(span, last);
    assert_eq!(segment.server.span_id, context.span_id);
    assert_eq!(segment.transaction.name, "/old");
    let calls: Vec<_> = segment
        .upstream
        .iter()
        .map(|call| (call.span_id, call.status, &*call.name))
        .collect();
    let second = SpanId::from_hex(b"2222222222222222").unwrap();
    assert_eq!(
        calls,
        [
            (
                context.upstream_span_id.unwrap(),
                SpanStatus::Ok,
                "GET https://shop.example:8443/old"
            ),
            (
                second,
                SpanStatus::NotFound,
                "GET https://shop.example:8443/new"
            ),
        ]
    );
    assert!(segment.upstream[0].times.end_ns <= segment.upstream[1].times.start_ns);
}

#[test]
fn redirects_without_end_are_cut() {
    let mut span = open_span("/loop");
    let mut end = stream_end();
    end.response_code_details = Some("internal_redirect".to_owned());
    let mut rounds = 0;
    while span.goes_on(&end) {
        span.redirect(&end, Naming::Transactions);
        let (context, request) = (span.context.clone(), span.request.clone());
        span = span.resume(context, request);
        rounds += 1;
    }
    assert_eq!(rounds, MAX_REDIRECTS);
}

#[test]
fn what_was_sent_is_known_again() {
    let context = open_span("/").context;
    let sent = SentryTrace {
        trace_id: context.trace_id,
        span_id: context.upstream_parent(),
        sampled: Some(true),
    };
    assert!(context.has_sent(sent));
    let own = SentryTrace {
        span_id: context.span_id,
        ..sent
    };
    assert!(!context.has_sent(own));
}
