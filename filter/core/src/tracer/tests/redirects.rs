//! Internal redirects: what was decided on the first trip holds on every later one.

use super::*;

#[test]
fn what_comes_back_from_a_redirect_goes_on_in_its_segment() {
    let mut gateway = Gateway::new("");
    let first = gateway.outcome(&[]);
    let mut end = StreamInfo {
        response_code_details: Some("internal_redirect".to_owned()),
        upstream: Some(UpstreamInfo::default()),
        ..StreamInfo::default()
    };
    let sent = first.mutations.iter().find_map(|mutation| match mutation {
        HeaderMutation::Set { name, value } if *name == SENTRY_TRACE => {
            Some(String::from_utf8(value.clone()).unwrap())
        }
        _ => None,
    });
    let id = first.request.span.as_ref().unwrap().context.span_id;
    let token = gateway.close(first.request, end.clone());
    gateway.host.redirect_token = Some(token.unwrap());
    gateway.check();
    assert_eq!(gateway.stat("spans_recorded"), 0);

    let next = gateway.outcome(&[(SENTRY_TRACE, &sent.unwrap())]);
    assert_eq!(next.request.span.as_ref().unwrap().context.span_id, id);
    end.response_code_details = None;
    let token = gateway.close(next.request, end);
    assert_eq!(token, None);
    gateway.check();
    assert_eq!(gateway.stat("spans_recorded"), 3);
    assert_eq!(gateway.stat("requests"), 1, "one request of the client's");
}

#[test]
fn a_redirect_that_does_not_come_back_is_a_segment_all_the_same() {
    let mut gateway = Gateway::new("");
    let end = StreamInfo {
        start_ns: Some(gateway.now_ns),
        duration_ns: Some(0),
        response_code_details: Some("internal_redirect".to_owned()),
        ..StreamInfo::default()
    };
    for _ in 0..2 {
        let request = gateway.outcome(&[]).request;
        gateway.close(request, end.clone());
    }
    gateway.tick_at(gateway.now_ns + 4 * NS_PER_S);
    gateway.check();
    assert_eq!(gateway.stat("spans_recorded"), 0, "a filter may hold it up");
    gateway.tick_at(gateway.now_ns + 5 * NS_PER_S);
    gateway.check();
    assert_eq!(gateway.stat("spans_recorded"), 2);

    let request = gateway.outcome(&[]).request;
    gateway.close(request, end);
    gateway.end();
    gateway.check();
    assert_eq!(gateway.stat("spans_recorded"), 3, "there is no other time");
}

/// What the upstream gets of a trip: `sentry-trace` and `baggage`.
fn sent(arrived: &[(&str, String)], outcome: &RequestOutcome) -> [Option<String>; 2] {
    [SENTRY_TRACE, BAGGAGE].map(|wanted| {
        let of = |mutation: &HeaderMutation| match mutation {
            HeaderMutation::Set { value, .. } => Some(String::from_utf8(value.clone()).unwrap()),
            HeaderMutation::Remove { .. } => None,
        };
        let mut mutations = outcome.mutations.iter();
        match mutations.find(|mutation| mutation.name() == wanted) {
            Some(mutation) => of(mutation),
            None => {
                let arrived = arrived.iter().find(|(name, _)| *name == wanted);
                arrived.map(|(_, value)| value.clone())
            }
        }
    })
}

/// Two trips of one request, the second with the headers that the first has left; what the two
/// upstreams get.
fn two_trips(
    gateway: &mut Gateway,
    headers: &[(&'static str, &str)],
    paths: [&'static str; 2],
) -> [[Option<String>; 2]; 2] {
    let mut arrived: Vec<(&'static str, String)> = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    paths.map(|path| {
        let mut lines: Vec<(&str, &str)> = vec![(":path", path), (":method", "GET")];
        lines.extend(arrived.iter().map(|(name, value)| (*name, value.as_str())));
        let outcome = gateway.outcome(&lines);
        let got = sent(&arrived, &outcome);
        let names = [SENTRY_TRACE, BAGGAGE].into_iter().zip(&got);
        arrived = names
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        let now_ns = gateway.now_ns;
        gateway.host.redirect_token = match outcome.request.may_be_redirected() {
            true => gateway.worker.tracer().on_unrecorded_end(
                outcome.request,
                Some(b"internal_redirect"),
                now_ns,
            ),
            false => {
                let end = StreamInfo {
                    start_ns: Some(now_ns),
                    duration_ns: Some(0),
                    response_code_details: Some("internal_redirect".to_owned()),
                    ..StreamInfo::default()
                };
                gateway.close(outcome.request, end)
            }
        };
        got
    })
}

const CALLER: [(&str, &str); 2] = [
    (
        SENTRY_TRACE,
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-1",
    ),
    (
        BAGGAGE,
        "sentry-trace_id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,sentry-sampled=true",
    ),
];

#[test]
fn a_restarted_trace_that_is_not_recorded_stays_the_same() {
    let restart = r#""incoming": {"trace": "restart"}, "traces_sample_rate": 0,"#;
    let mut gateway = Gateway::with(restart);
    let [first, second] = two_trips(&mut gateway, &CALLER, ["/old", "/new"]);
    assert_eq!(first, second);
    assert!(first[0].as_ref().unwrap().ends_with("-0"));
    gateway.check();
    assert_eq!(gateway.stat("requests"), 1);
    assert_eq!(gateway.stat("traces_restarted.configured"), 1);
}

#[test]
fn a_decision_is_drawn_once() {
    let ignore = r#""incoming": {"sampled": "ignore"}, "traces_sample_rate": 0.5,"#;
    let mut gateway = Gateway::with(ignore);
    let mut sampled = 0;
    for _ in 0..200 {
        let [first, second] = two_trips(&mut gateway, &CALLER, ["/old", "/new"]);
        let flag = |sent: &Option<String>| sent.as_ref().unwrap()[50..].to_owned();
        assert_eq!(flag(&first[0]), flag(&second[0]));
        assert_eq!(first[1], second[1], "one sample_rand");
        sampled += usize::from(flag(&first[0]) == "1");
        // The last trip ends.
        gateway.outcome(&[(":path", "/new")]);
    }
    gateway.check();
    assert_eq!(gateway.stat("requests"), 200);
    assert!((1..200).contains(&sampled), "{sampled} of 200");
}

#[test]
fn the_trace_is_the_callers_where_only_the_second_upstream_gets_it() {
    for rate in [0, 1] {
        let targets =
            format!(r#""trace_propagation_targets": ["/new"], "traces_sample_rate": {rate},"#);
        let mut gateway = Gateway::with(&targets);
        let [first, second] = two_trips(&mut gateway, &CALLER, ["/old", "/new"]);
        assert_eq!(first, [None, None]);
        assert_eq!(second[0].as_ref().unwrap()[..32], CALLER[0].1[..32]);
        assert_eq!(second[1].as_deref(), Some(CALLER[1].1));
    }
}

#[test]
fn an_upstream_that_gets_no_trace_gets_none_on_the_second_trip_either() {
    let targets = r#""trace_propagation_targets": ["/old"], "propagate_traceparent": true, "traces_sample_rate": 0,"#;
    let mut gateway = Gateway::with(targets);
    let first = gateway.outcome(&[(":path", "/old"), (":method", "GET")]);
    let token =
        gateway
            .worker
            .tracer()
            .on_unrecorded_end(first.request, Some(b"internal_redirect"), 0);
    gateway.host.redirect_token = token;
    let arrived = [
        (":path", "/new"),
        (SENTRY_TRACE, CALLER[0].1),
        (
            "traceparent",
            "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00",
        ),
    ];
    let second = gateway.outcome(&arrived);
    let removed = [SENTRY_TRACE, "traceparent"].map(|name| HeaderMutation::Remove { name });
    assert_eq!(second.mutations, removed, "what we wrote ourselves");
}

#[test]
fn what_looks_like_a_redirect_and_is_none_is_a_request_of_its_own() {
    let restart = r#""incoming": {"trace": "restart"}, "traces_sample_rate": 0,"#;
    let mut gateway = Gateway::with(restart);
    let first = gateway.outcome(&[(":path", "/old")]);
    let context = first.context.unwrap();
    let details = Some(b"internal_redirect".as_slice());
    let token = gateway
        .worker
        .tracer()
        .on_unrecorded_end(first.request, details, 0);
    assert!(token.is_some());
    // A caller who knows the ids, but whose request has no token, or one of nobody's.
    for token in [None, Some(token.unwrap() + 1)] {
        gateway.host.redirect_token = token;
        let value = String::from_utf8(context.to_value()).unwrap();
        let forged = gateway.outcome(&[(":path", "/new"), (SENTRY_TRACE, &value)]);
        assert_ne!(forged.context.unwrap().trace_id, context.trace_id);
    }
    gateway.check();
    assert_eq!(gateway.stat("requests"), 3);
}

#[test]
fn an_end_that_is_no_redirect_is_not_waited_for() {
    let mut gateway = Gateway::with(r#""traces_sample_rate": 0,"#);
    for details in [None, Some(b"via_upstream".as_slice())] {
        let request = gateway.outcome(&[]).request;
        assert!(request.may_be_redirected());
        let token = gateway
            .worker
            .tracer()
            .on_unrecorded_end(request, details, 0);
        assert_eq!(token, None);
    }
    let mut request = gateway.outcome(&[]).request;
    request.set_answered();
    assert!(!request.may_be_redirected(), "its answer came by");
}
