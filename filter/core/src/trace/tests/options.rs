//! What configuration changes about the decision.

use super::*;
use crate::headers::TRACESTATE;

const NEW: &str = "01010101010101010101010101010101-0202020202020202";
const W3C: &str = "00-771a43a4192642f0b136d5159a501700-7c51afd529da4a2a";

fn header(decision: &TraceDecision, name: &str) -> Option<String> {
    decision
        .mutations
        .iter()
        .find_map(|mutation| match mutation {
            HeaderMutation::Set { name: set, value } if *set == name => {
                Some(String::from_utf8(value.clone()).unwrap())
            }
            _ => None,
        })
}

#[test]
fn a_traceparent_is_continued_where_there_is_no_sentry_trace() {
    let sampled = || gateway(r#""traces_sample_rate": 0,"#).with(TRACEPARENT, format!("{W3C}-01"));
    let decision = sampled().with(BAGGAGE, "a=1,sentry-release=other").decide();
    assert_eq!(decision.origin, TraceOrigin::Continued(Format::Traceparent));
    assert_eq!(
        header(&decision, SENTRY_TRACE),
        Some(format!("{TRACE}-0202020202020202-1"))
    );
    assert_eq!(header(&decision, TRACEPARENT), None, "not ours to write");
    assert_eq!(
        header(&decision, BAGGAGE).as_deref(),
        Some(
            "a=1,sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=key,sentry-sample_rand=0.692242,\
             sentry-sampled=true,sentry-environment=test,sentry-release=r,sentry-org_id=1"
        )
    );
    let span = decision.span.unwrap();
    assert_eq!(span.parent_span_id.unwrap().to_string(), "7c51afd529da4a2a");

    // A clear bit leaves the decision to us.
    let deferred = |rate: &str| {
        let config = format!(r#""traces_sample_rate": {rate},"#);
        gateway(&config)
            .with(TRACEPARENT, format!("{W3C}-00"))
            .decide()
    };
    assert_eq!(
        header(&deferred("1"), SENTRY_TRACE),
        Some(format!("{TRACE}-0202020202020202-1"))
    );
    assert_eq!(
        header(&deferred("0"), SENTRY_TRACE),
        Some(format!("{INCOMING}-0"))
    );
    assert!(header(&deferred("0"), BAGGAGE)
        .unwrap()
        .contains("sentry-sample_rate=0,sentry-sampled=false"));
}

#[test]
fn a_sentry_trace_wins_over_traceparent_and_a_refused_one_does_not() {
    let other = "00-bc6d53f15eb88f4320054569b8c553d4-b72fa28504b07285-01";
    let both = |sentry_trace: String| {
        gateway("")
            .with(TRACEPARENT, other)
            .with(SENTRY_TRACE, sentry_trace)
            .decide()
    };
    assert_eq!(
        both(format!("{INCOMING}-0")).origin,
        TraceOrigin::Continued(Format::SentryTrace)
    );
    assert_eq!(
        both("nonsense".to_owned()).origin,
        TraceOrigin::Continued(Format::Traceparent)
    );
    let off = gateway(r#""continue_traceparent": false,"#)
        .with(TRACEPARENT, other)
        .decide();
    assert_eq!(off.origin, TraceOrigin::Started);
    gateway_without_dsn()
        .with(TRACEPARENT, other)
        .assert_untouched();
}

#[test]
fn a_traceparent_that_is_ours_to_write_agrees_with_sentry_trace() {
    let writes = || gateway(r#""propagate_traceparent": true, "traces_sample_rate": 1,"#);
    let continued = writes()
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(TRACEPARENT, format!("{W3C}-03"))
        .with(TRACESTATE, "vendor=1")
        .decide();
    assert_eq!(
        header(&continued, TRACEPARENT),
        Some(format!("00-{TRACE}-0202020202020202-03"))
    );
    assert!(!continued
        .mutations
        .iter()
        .any(|mutation| mutation.name() == TRACESTATE));

    let new = writes().with(TRACESTATE, "vendor=1").decide();
    assert_eq!(
        header(&new, TRACEPARENT).as_deref(),
        Some("00-01010101010101010101010101010101-0303030303030303-01")
    );
    assert!(new
        .mutations
        .contains(&HeaderMutation::Remove { name: TRACESTATE }));

    let not_recorded = writes()
        .with(SENTRY_TRACE, format!("{INCOMING}-0"))
        .with(TRACEPARENT, format!("{W3C}-00"))
        .with(TRACESTATE, "vendor=1")
        .with(TRACESTATE, "other=2");
    not_recorded.assert_untouched();
}

#[test]
fn outside_callers_need_not_decide_the_trace() {
    let decision = gateway(r#""incoming": {"trace": "restart"}, "traces_sample_rate": 1,"#)
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(BAGGAGE, "a=1,sentry-release=other")
        .decide();
    assert_eq!(
        decision.origin,
        TraceOrigin::Restarted(RestartReason::Configured)
    );
    let sent = "01010101010101010101010101010101-0303030303030303-1";
    assert_eq!(header(&decision, SENTRY_TRACE).as_deref(), Some(sent));
    let context = decision.context.unwrap().to_value();
    assert_eq!(String::from_utf8(context).unwrap(), format!("{NEW}-1"));
    let link = decision.span.as_ref().unwrap().link.unwrap().to_value();
    assert_eq!(String::from_utf8(link).unwrap(), format!("{INCOMING}-1"));
    let baggage = header(&decision, BAGGAGE).unwrap();
    assert!(
        baggage.starts_with("a=1,sentry-trace_id=0101") && !baggage.contains("other"),
        "{baggage}"
    );
}

#[test]
fn outside_callers_need_not_decide_sampling() {
    let request = |rate: &str| {
        gateway(&format!(r#""incoming": {{"sampled": "ignore"}}, {rate}"#))
            .with(SENTRY_TRACE, format!("{INCOMING}-1"))
            .with(BAGGAGE, "sentry-sampled=true,a=1,sentry-sample_rand=0.1,sentry-release=r%20,sentry-sample_rate=1")
    };
    // The random number is ours, too, or a caller could choose one that is sampled: eight bytes of
    // 1 are 0.003921.
    request(r#""traces_sample_rate": 0.003,"#).assert_seen(
        &format!("{INCOMING}-0"),
        "a=1,sentry-release=r%20,sentry-sampled=false,sentry-sample_rate=0.003,sentry-sample_rand=0.003921",
        None,
    );
    request(r#""traces_sample_rate": 0.004,"#).assert_seen(
        &format!("{TRACE}-0303030303030303-1"),
        "a=1,sentry-release=r%20,sentry-sampled=true,sentry-sample_rate=0.004,sentry-sample_rand=0.003921",
        Some(Some("7c51afd529da4a2a")),
    );
    request("").assert_seen(
        INCOMING,
        "a=1,sentry-release=r%20,sentry-sample_rand=0.003921",
        None,
    );
}

#[test]
fn what_cannot_be_afforded_is_left_out() {
    let config = FilterConfig::parse(
        br#"{"dsn": "https://key@o1.ingest.sentry.io/2", "traces_sample_rate": 1, "max_traces_per_second": 1}"#,
        &EnvDefaults::default(),
    );
    let config = config.unwrap();
    let mut throttle = Throttle::new(1.0);
    let mut host = Host::default();
    let mut request = |lines: &[(&str, &str)]| {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = Headers::from_pairs(lines);
        host.serve(|calls| {
            let limits = Limits {
                throttle: Some(&mut throttle),
                has_room: true,
                can_send: true,
            };
            decide(&headers, &config.trace, limits, None, calls)
        })
    };
    assert!(request(&[]).span.is_some());

    let head = request(&[]);
    assert!(head.throttled && head.span.is_none());
    assert!(header(&head, SENTRY_TRACE).unwrap().ends_with("-0"));
    assert!(header(&head, BAGGAGE)
        .unwrap()
        .contains("sentry-sample_rate=0,sentry-sampled=false"));

    let sampled = format!("{INCOMING}-1");
    let inherited = request(&[(SENTRY_TRACE, &sampled)]);
    assert!(inherited.throttled && inherited.span.is_none());
    assert_eq!(
        inherited.mutations,
        [],
        "somebody else's decision goes on as it came"
    );

    let deferred = request(&[(SENTRY_TRACE, INCOMING)]);
    assert!(deferred.throttled && deferred.span.is_none());
    assert_eq!(
        header(&deferred, SENTRY_TRACE),
        Some(format!("{INCOMING}-0"))
    );

    let not_sampled = format!("{INCOMING}-0");
    assert!(
        !request(&[(SENTRY_TRACE, &not_sampled)]).throttled,
        "nothing was wanted"
    );
}

#[test]
fn other_targets_get_no_trace_but_the_gateway_records_its_span() {
    let request = |targets: &str| {
        gateway(&format!(
            r#""trace_propagation_targets": {targets}, "traces_sample_rate": 1,"#
        ))
        .with(":authority", "shop.example")
        .with(":scheme", "https")
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(BAGGAGE, "a=1,sentry-release=r")
    };
    let recorded = Some(Some("7c51afd529da4a2a"));
    for targets in ["[]", r#"["other.example"]"#, r#"[{"regex": "^http:"}]"#] {
        request(targets).assert_seen("", "a=1", recorded);
    }
    for targets in [
        r#"["other", "//shop.example/x"]"#,
        r#"[{"regex": "^https://shop\\.[a-z]+/x$"}]"#,
    ] {
        request(targets).assert_seen(
            &format!("{TRACE}-0202020202020202-1"),
            "a=1,sentry-release=r",
            recorded,
        );
    }
}

#[test]
fn rules_set_what_the_first_match_says_field_by_field() {
    let rules = r#""traces_sample_rate": 0, "rules": [
        {"match": {"method": "POST"}, "traces_sample_rate": 0, "transaction": "never"},
        {"match": {"path": "^/shops/([^/]+)/"}, "transaction": "/shops/{shop}/$1"},
        {"match": {"header": {"x-team": "^web$"}, "route": "^api$", "cluster": "c"}, "traces_sample_rate": 1, "transaction": "late"}],"#;
    let scenario = Scenario {
        headers: vec![
            (":method", "GET".to_owned()),
            (":path", "/shops/7/?q=1".to_owned()),
            ("x-team", "ops".to_owned()),
            ("x-team", "web".to_owned()),
        ],
        ..gateway(rules)
    };
    let decision = scenario
        .on_route("api")
        .with_attribute(Attribute::ClusterName, b"c1")
        .decide();
    assert!(decision.span.is_some(), "the rate of the last rule");
    let transaction = decision.transaction.as_ref().unwrap();
    assert_eq!(
        (transaction.name.as_str(), transaction.source),
        ("/shops/{shop}/7", route::Source::Custom)
    );
    assert!(header(&decision, BAGGAGE)
        .unwrap()
        .ends_with("sentry-transaction=%2Fshops%2F%7Bshop%7D%2F7"));
}

#[test]
fn ignored_requests_have_no_span_and_begin_no_sampled_trace() {
    let ignored = || {
        gateway(
            r#""traces_sample_rate": 1, "rules": [{"match": {"path": "^/x"}, "ignore": true}],"#,
        )
    };
    let head = ignored().decide();
    assert_eq!(header(&head, SENTRY_TRACE), Some(format!("{NEW}-0")));
    ignored()
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .assert_untouched();
    ignored().with(SENTRY_TRACE, INCOMING).assert_untouched();
}

#[test]
fn a_rule_can_keep_the_trace_from_an_upstream_and_callers_from_deciding() {
    let rule = |fields: &str| {
        gateway(&format!(
            r#""traces_sample_rate": 1, "rules": [{{"match": {{"path": "^/x"}}, {fields}}}],"#
        ))
    };
    let request = |fields: &str| rule(fields).with(SENTRY_TRACE, format!("{INCOMING}-1"));
    request(r#""propagate": false"#).assert_seen("", "", Some(Some("7c51afd529da4a2a")));
    assert_eq!(
        request(r#""incoming": {"trace": "restart"}"#)
            .decide()
            .origin,
        TraceOrigin::Restarted(RestartReason::Configured)
    );
}
