//! What a stranger may choose, and what it may cost.

use super::*;
use crate::span::MAX_HELD;

#[test]
fn the_upstream_learns_when_the_request_began() {
    let start = |more: &str, header: Option<&str>, now_ns| {
        let mut gateway = Gateway::new(more);
        gateway.host.now_ns = now_ns;
        let lines = header.map(|value| (X_REQUEST_START, value));
        let lines: Vec<_> = lines.into_iter().collect();
        gateway
            .outcome(&lines)
            .mutations
            .into_iter()
            .find_map(|mutation| match mutation {
                HeaderMutation::Set { name, value } if name == X_REQUEST_START => {
                    Some(String::from_utf8(value).unwrap())
                }
                _ => None,
            })
    };
    let on = r#""request_start_header": true,"#;
    let now_ns = 1_787_306_400_012_345_678;
    assert_eq!(start("", None, now_ns), None);
    assert_eq!(start(on, Some("t=1"), now_ns), None);
    let told = start(on, None, now_ns);
    assert_eq!(told.as_deref(), Some("t=1787306400.012345"));
    assert_eq!(start(on, None, 0), None, "without a clock");
}

#[test]
fn a_start_that_a_stranger_tells_is_not_believed() {
    let on = r#""request_start_header": true, "traces_sample_rate": 1,"#;
    for untrusted in [
        r#""incoming": {"trace": "restart"},"#,
        r#""incoming": {"sampled": "ignore"},"#,
        r#""rules": [{"match": {"path": "^/"}, "incoming": {"trace": "restart"}}],"#,
    ] {
        let mut gateway = Gateway::with(&format!("{on} {untrusted}"));
        for now_ns in [0, 1_787_306_400_012_345_678] {
            gateway.host.now_ns = now_ns;
            let outcome = gateway.outcome(&[(":path", "/"), (X_REQUEST_START, "t=1")]);
            let mutation = outcome
                .mutations
                .into_iter()
                .find(|mutation| mutation.name() == X_REQUEST_START);
            let expected = match now_ns {
                0 => HeaderMutation::Remove {
                    name: X_REQUEST_START,
                },
                _ => HeaderMutation::Set {
                    name: X_REQUEST_START,
                    value: b"t=1787306400.012345".to_vec(),
                },
            };
            assert_eq!(mutation, Some(expected), "{untrusted} {now_ns}");
        }
    }
}

/// A request as large as Envoy takes one, in every header that something is kept of.
fn largest(config: &str) -> (Gateway, RequestOutcome) {
    let names: Vec<String> = (0..32).map(|n| format!("x-{n}")).collect();
    let mut gateway = Gateway::with(&format!(
        r#""capture_request_headers": {names:?}, "send_default_pii": true, "server_timing": true,
           "response_headers": ["sentry-trace", "baggage"], "traces_sample_rate": 1, {config}"#
    ));
    let long = "%20".repeat(19_000);
    let members: String = (0..60)
        .map(|n| format!(",sentry-k{n}={}", "%41".repeat(30)))
        .collect();
    let trace = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let baggage = format!("sentry-trace_id={trace}{members}");
    let context = format!("{trace}-bbbbbbbbbbbbbbbb-1");
    let target = format!("/{long}?{long}");
    let mut lines = vec![
        (":method", long.as_str()),
        (":scheme", &long),
        (":authority", &long),
        (":path", &target),
        ("origin", &long),
        ("user-agent", &long),
        (SENTRY_TRACE, &context),
        ("baggage", &baggage),
    ];
    // Long lines, and many short ones.
    lines.extend(
        names[..16]
            .iter()
            .map(|name| (name.as_str(), long.as_str())),
    );
    for _ in 0..1_000 {
        lines.push(("x-20", "v"));
    }
    let outcome = gateway.outcome(&lines);
    (gateway, outcome)
}

#[test]
fn what_is_kept_of_a_request_is_bounded_whatever_it_is() {
    for config in ["", r#""trace_propagation_targets": [],"#] {
        let (mut gateway, outcome) = largest(config);
        assert!(outcome.request.span.is_some());
        let kept = gateway.worker.tracer().live_bytes();
        assert!((10_000..MAX_HELD).contains(&kept), "{kept} bytes");
        drop(outcome);
        assert_eq!(gateway.worker.tracer().live_bytes(), 0);
    }
}

/// What is not recorded keeps next to nothing, however long its headers are.
#[test]
fn a_request_that_is_not_recorded_keeps_a_fixed_size() {
    let mut gateway = Gateway::with(r#""traces_sample_rate": 0,"#);
    let long = format!("https://{}", "o".repeat(57_000));
    let small = gateway.outcome(&[("origin", "https://page.example")]);
    let of_small = gateway.worker.tracer().live_bytes();
    let large = gateway.outcome(&[("origin", &long), (":path", &long), ("user-agent", &long)]);
    assert_eq!(gateway.worker.tracer().live_bytes(), 2 * of_small);
    assert!(of_small < 512, "{of_small} bytes");
    drop((small, large));
}

#[test]
fn over_the_budget_a_request_goes_on_unrecorded_and_is_counted() {
    let mut gateway = Gateway::with(r#""max_live_bytes": 2048, "traces_sample_rate": 1,"#);
    let caller = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-1";
    let mut live = Vec::new();
    while gateway.worker.tracer().live_bytes() < 2_048 {
        let outcome = gateway.outcome(&[(SENTRY_TRACE, caller)]);
        assert!(outcome.request.span.is_some());
        live.push(outcome.request);
    }
    let inherited = gateway.outcome(&[(SENTRY_TRACE, caller)]);
    assert!(inherited.request.span.is_none());
    assert_eq!(inherited.mutations, [], "what arrived goes on as it came");
    let ours = gateway.outcome(&[]);
    assert_eq!(ours.context.unwrap().sampled, Some(false));
    gateway.check();
    assert_eq!(gateway.stat("requests_over_budget"), 2);
    assert_eq!(gateway.stat("traces_throttled"), 0);
    // There is room again when one has ended.
    drop((live, inherited, ours));
    assert_eq!(gateway.worker.tracer().live_bytes(), 0);
    assert!(gateway.outcome(&[]).request.span.is_some());
    gateway.now_ns += 60 * NS_PER_S;
    gateway.request("/a");
    let callout = gateway.next_callout().unwrap();
    let report = &reports(&callout)[0]["discarded_events"];
    assert_eq!(report[0]["reason"], "backpressure");
    assert_eq!(report[0]["quantity"], 2);
}

/// What is kept for the response alone, or for the second trip of a redirect alone, is not kept
/// then, and counts.
#[test]
fn over_the_budget_nothing_is_kept_for_the_response_or_a_redirect() {
    let caller = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-0";
    for (option, count) in [
        ("", 0),
        (r#""response_headers": ["baggage"],"#, 1),
        (r#""trace_propagation_targets": [],"#, 1),
    ] {
        let mut gateway = Gateway::with(&format!(r#""max_live_bytes": 1024, {option}"#));
        let mut live = Vec::new();
        while gateway.worker.tracer().live_bytes() < 1_024 {
            live.push(gateway.outcome(&[(SENTRY_TRACE, caller)]).request);
        }
        gateway.check();
        assert_eq!(gateway.stat("requests_over_budget"), 0, "{option}");
        live.push(gateway.outcome(&[(SENTRY_TRACE, caller)]).request);
        gateway.check();
        assert_eq!(gateway.stat("requests_over_budget"), count, "{option}");
    }
}

/// Browsers are let in whatever the budget says.
#[test]
fn over_the_budget_an_answer_is_completed_all_the_same() {
    let mut gateway = Gateway::with(r#""max_live_bytes": 1024, "traces_sample_rate": 0,"#);
    let page = [("origin", "https://page.example")];
    let mut live: Vec<_> = (0..8).map(|_| gateway.outcome(&page).request).collect();
    assert!(gateway.worker.tracer().live_bytes() > 1_024);
    let answer = Headers::from_pairs([(
        b"access-control-allow-origin".as_slice(),
        b"https://page.example".as_slice(),
    )]);
    gateway.host.response = Some(answer);
    let mut state = StreamState::Live(live.pop().unwrap());
    let additions = gateway.worker.on_response(&mut state, &mut gateway.host);
    assert_eq!(additions[0].name, "access-control-expose-headers");
}
