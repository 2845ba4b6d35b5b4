//! Every key that has a say in which trace a request belongs to and who gets to see it: what
//! happens with it, next to what happens without.

use e2e::{Gateway, RecordedRequest, Request, SPANS};
use serde_json::{json, Value};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const SPAN_ID: &str = "b9f2e3d4c5a60718";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
/// The same trace in W3C's words, without the flags.
const W3C: &str = "00-771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
const OTHER_W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACESTATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
const BAGGAGE: &str = "vendor=1;prop=a;flag,sentry-trace_id=771a43a4192642f0b136d5159a501700,\
    sentry-public_key=49d0f7386ad645858ae85020e393bef3,sentry-environment=front%20end,sentry-sample_rate=0.5,\
    sentry-sample_rand=0.123456,sentry-sampled=true,sentry-org_id=43,other=%7B%22x%22%3A1%7D=y";
const THIRD_PARTY: [&str; 2] = ["vendor=1;prop=a;flag", "other=%7B%22x%22%3A1%7D=y"];
const NONE: [&str; 0] = [];

/// A request of that trace; the flag is `0`, `1` or nothing.
fn incoming(flag: &str) -> Request {
    let dash = if flag.is_empty() { "" } else { "-" };
    Request::get("/api/1").header("sentry-trace", format!("{IDS}{dash}{flag}"))
}

fn with_traceparent(flags: &str) -> Request {
    Request::get("/api/1").header("traceparent", format!("{W3C}-{flags}"))
}

/// Whether the upstream sees the trace that arrived, and not one that the gateway has begun.
fn is_continued(seen: &RecordedRequest) -> bool {
    seen.sentry_trace().trace_id == TRACE_ID
}

/// What the upstream gets of `request` from a gateway with these keys.
async fn through(config: Value, request: &Request) -> RecordedRequest {
    Gateway::start(config).await.pass(request).await
}

#[tokio::test]
async fn strict_continuation_asks_for_an_organisation_on_both_sides() {
    let without_theirs = incoming("1");
    let with_theirs = incoming("1").header("baggage", BAGGAGE);
    let no_own = json!({"org_id": null});
    assert!(is_continued(&through(json!({}), &without_theirs).await));
    assert!(is_continued(&through(no_own, &with_theirs).await));

    let strict = json!({"strict_trace_continuation": true, "org_id": "43"});
    let gateway = Gateway::start(strict).await;
    assert!(!is_continued(&gateway.pass(&without_theirs).await));
    assert!(is_continued(&gateway.pass(&with_theirs).await));
    gateway
        .envoy
        .wait_for_stat("traces_restarted.organisation", 1)
        .await;

    let strict = json!({"strict_trace_continuation": true, "org_id": null});
    assert!(!is_continued(&through(strict, &with_theirs).await));
}

#[tokio::test]
async fn an_organisation_does_not_continue_what_another_one_began() {
    let request = incoming("1").header("baggage", BAGGAGE);
    let (foreign, own) = (json!({"org_id": "42"}), json!({"org_id": "43"}));
    let restarted = through(foreign, &request).await;
    assert!(!is_continued(&restarted));
    assert_eq!(
        restarted.baggage().sentry("org_id").as_deref(),
        Some("42"),
        "the head says whose trace it is"
    );
    assert!(is_continued(&through(own, &request).await));

    // The receiver's DSN has no organisation in its host.
    let unknown = Gateway::start(json!({"org_id": null})).await;
    assert!(is_continued(&unknown.pass(&request).await));
    let head = unknown.pass(&Request::get("/api/1")).await;
    assert_eq!(head.baggage().sentry("org_id"), None);

    let in_the_dsn = json!({
        "org_id": null,
        "dsn": "http://key@o43.ingest.test/7",
        "traces_sample_rate": 0,
    });
    let head = through(in_the_dsn, &Request::get("/api/1")).await;
    assert_eq!(head.baggage().sentry("org_id").as_deref(), Some("43"));
}

#[tokio::test]
async fn at_a_public_edge_callers_do_not_decide_the_trace() {
    let request = incoming("1").header("baggage", BAGGAGE);
    let config = |incoming| json!({"org_id": "43", "incoming": incoming});
    for left_out_or_said in [json!({}), json!({"trace": "continue"})] {
        let seen = through(config(left_out_or_said), &request).await;
        assert!(is_continued(&seen));
    }

    let gateway = Gateway::start(config(json!({"trace": "restart"}))).await;
    let seen = gateway.pass(&request).await;
    assert!(!is_continued(&seen));
    assert_eq!(seen.baggage().third_party(), THIRD_PARTY);
    assert_eq!(
        seen.baggage().sentry("trace_id"),
        Some(seen.sentry_trace().trace_id)
    );
    assert_eq!(
        seen.baggage().sentry("environment").as_deref(),
        Some("e2e"),
        "nothing is left of the caller's context"
    );
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.trace_id(), seen.sentry_trace().trace_id);
    assert_eq!(transaction.parent_span_id(), None);
    gateway
        .envoy
        .wait_for_stat("traces_restarted.configured", 1)
        .await;
}

#[tokio::test]
async fn a_restart_counts_for_a_traceparent_too() {
    let request = with_traceparent("01");
    assert!(is_continued(&through(json!({}), &request).await));
    let restart = json!({"incoming": {"trace": "restart"}});
    assert!(!is_continued(&through(restart, &request).await));
}

#[tokio::test]
async fn callers_need_not_decide_sampling() {
    let config = |sampled: &str, rate: u8| json!({"org_id": "43", "traces_sample_rate": rate, "incoming": {"sampled": sampled}});
    let yes = incoming("1").header("baggage", BAGGAGE);
    let no = incoming("0").header("baggage", BAGGAGE.replace("sampled=true", "sampled=false"));

    // Without the key their word counts, whatever our rate is.
    let gateway = Gateway::start(config("inherit", 0)).await;
    let seen = gateway.pass(&yes).await;
    assert_eq!(seen.sentry_trace().sampled, Some(true));
    seen.assert_lines("baggage", &[BAGGAGE]);
    assert_eq!(gateway.sentry.only_transaction().await.trace_id(), TRACE_ID);

    let gateway = Gateway::start(config("ignore", 0)).await;
    let seen = gateway.pass(&yes).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
    assert_decision_is_ours(&seen, "false", "0");
    gateway.envoy.wait_for_stat("requests", 1).await;
    assert_eq!(gateway.envoy.account().await.recorded, 0);

    let gateway = Gateway::start(config("ignore", 1)).await;
    let seen = gateway.pass(&no).await;
    assert!(is_continued(&seen));
    assert_eq!(seen.sentry_trace().sampled, Some(true));
    assert_decision_is_ours(&seen, "true", "1");
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
    assert_eq!(transaction.parent_span_id(), Some(SPAN_ID));
    for key in ["sampled", "sample_rate", "sample_rand"] {
        let sent_on = seen.baggage().sentry(key);
        assert_eq!(transaction.dsc(key), sent_on.as_deref(), "{key}");
    }
    assert_eq!(transaction.dsc("environment"), Some("front end"));
}

/// The three members that say who was sampled are ours; all others are the caller's, byte for byte
/// and in their order.
#[track_caller]
fn assert_decision_is_ours(seen: &RecordedRequest, sampled: &str, rate: &str) {
    let baggage = seen.baggage();
    assert_eq!(baggage.sentry("sampled").as_deref(), Some(sampled));
    assert_eq!(baggage.sentry("sample_rate").as_deref(), Some(rate));
    assert_ne!(baggage.sentry("sample_rand").as_deref(), Some("0.123456"));
    let is_theirs = |member: &&str| !member.starts_with("sentry-sample");
    let expected: Vec<_> = BAGGAGE.split(',').filter(is_theirs).collect();
    let members = baggage.members().iter().map(String::as_str);
    assert_eq!(members.filter(is_theirs).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn over_the_limit_of_traces_nothing_is_recorded_and_no_decision_of_others_is_changed() {
    let inherited = incoming("1").header("baggage", BAGGAGE);
    let head = Request::get("/api/2");
    let config = |limit| json!({"org_id": "43", "max_traces_per_second": limit});

    let unlimited = Gateway::start(config(Value::Null)).await;
    for request in [&head, &head, &inherited] {
        let seen = unlimited.pass(request).await;
        assert_eq!(seen.sentry_trace().sampled, Some(true));
    }
    unlimited.sentry.wait_for(3).await;

    // One now, and the next one in a day.
    let gateway = Gateway::start(config(json!(0.00001))).await;
    let first = gateway.pass(&head).await.sentry_trace();
    assert_eq!(first.sampled, Some(true));

    let second = gateway.pass(&head).await;
    assert_eq!(second.sentry_trace().sampled, Some(false));
    assert_eq!(second.baggage().sentry("sampled").as_deref(), Some("false"));
    assert_eq!(second.baggage().sentry("sample_rate").as_deref(), Some("0"));

    let third = gateway.pass(&inherited).await;
    third.assert_lines("sentry-trace", &[format!("{IDS}-1")]);
    third.assert_lines("baggage", &[BAGGAGE]);

    let deferred = gateway.pass(&incoming("")).await;
    deferred.assert_lines("sentry-trace", &[format!("{IDS}-0")]);

    gateway.envoy.wait_for_stat("traces_throttled", 3).await;
    let account = gateway.envoy.wait_for_account(|it| it.sent == SPANS).await;
    assert_eq!(account.recorded, SPANS, "{account}");
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.upstream_parent(), first.span_id);
}

#[tokio::test]
async fn a_sampled_traceparent_is_continued_with_its_decision() {
    let gateway = Gateway::start(json!({"traces_sample_rate": 0})).await;
    let request = with_traceparent("01").header("baggage", "a=1,sentry-release=stray");
    let seen = gateway.pass(&request).await;
    assert!(is_continued(&seen));
    assert_eq!(seen.sentry_trace().sampled, Some(true));
    // For Sentry the trace begins here. At which rate it was sampled nobody knows.
    let keys = [
        "environment",
        "org_id",
        "public_key",
        "release",
        "sample_rand",
        "sampled",
        "trace_id",
        "transaction",
    ];
    assert_eq!(seen.baggage().sentry_keys(), keys);
    assert_eq!(seen.baggage().sentry("trace_id").as_deref(), Some(TRACE_ID));
    assert_eq!(seen.baggage().sentry("sampled").as_deref(), Some("true"));
    assert_eq!(seen.baggage().third_party(), ["a=1"]);
    seen.assert_lines("traceparent", &[format!("{W3C}-01")]);
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
    assert_eq!(transaction.parent_span_id(), Some(SPAN_ID));
    gateway.envoy.wait_for_stat("traces_continued", 1).await;

    let off = Gateway::start(json!({"continue_traceparent": false})).await;
    let seen = off.pass(&request).await;
    assert!(!is_continued(&seen));
    seen.assert_lines("traceparent", &[format!("{W3C}-01")]);
    let transaction = off.sentry.only_transaction().await;
    assert_eq!(transaction.parent_span_id(), None);
}

#[tokio::test]
async fn a_traceparent_that_is_not_sampled_leaves_the_decision_to_our_rate() {
    for (rate, sampled) in [
        (json!(1), Some(true)),
        (json!(0), Some(false)),
        (Value::Null, None),
    ] {
        let config = json!({"traces_sample_rate": rate});
        let seen = through(config, &with_traceparent("00")).await;
        let forwarded = seen.sentry_trace();
        assert!(is_continued(&seen), "rate {rate}");
        assert_eq!(forwarded.sampled, sampled, "rate {rate}");
        let is_same_parent = forwarded.span_id == SPAN_ID;
        assert_eq!(is_same_parent, sampled != Some(true), "rate {rate}");
        let said = seen.baggage().sentry("sampled");
        assert_eq!(said, sampled.map(|it| it.to_string()), "rate {rate}");
        let said = seen.baggage().sentry("sample_rate");
        let has_rate = !rate.is_null();
        assert_eq!(said, has_rate.then(|| rate.to_string()));
    }
}

#[tokio::test]
async fn sentry_trace_wins_over_traceparent() {
    let gateway = Gateway::start(json!({"org_id": "43"})).await;
    let request = incoming("0")
        .header("baggage", BAGGAGE)
        .header("traceparent", OTHER_W3C);
    let seen = gateway.pass(&request).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
    seen.assert_lines("baggage", &[BAGGAGE]);
    seen.assert_lines("traceparent", &[OTHER_W3C]);
}

#[tokio::test]
async fn a_traceparent_of_ours_says_what_sentry_trace_says() {
    let of_the_same_trace = |request: Request| {
        let request = request.header("traceparent", format!("{W3C}-01"));
        request.header("tracestate", TRACESTATE)
    };
    let of_another_trace = |request: Request| {
        let request = request.header("traceparent", OTHER_W3C);
        request.header("tracestate", TRACESTATE)
    };
    let kept = [TRACESTATE].as_slice();
    let table = [
        ("recorded", of_the_same_trace(incoming("1")), kept),
        ("not recorded", of_the_same_trace(incoming("0")), kept),
        ("adopted", of_the_same_trace(Request::get("/api/1")), kept),
        ("disagreeing", of_another_trace(incoming("1")), &NONE),
        ("alone", incoming("1").header("tracestate", "a=1"), &NONE),
        ("begun here", Request::get("/api/1"), &NONE),
        (
            "begun here, stray tracestate",
            Request::get("/api/1").header("tracestate", "a=1"),
            &NONE,
        ),
    ];
    let off = Gateway::start(json!({"propagate_traceparent": false})).await;
    let on = Gateway::start(json!({"propagate_traceparent": true})).await;
    for (name, request, tracestate) in table {
        let seen = off.pass(&request).await;
        for untouched in ["traceparent", "tracestate"] {
            seen.assert_lines(untouched, &request.headers().lines(untouched));
        }
        let seen = on.pass(&request).await;
        let said = seen.sentry_trace();
        let flags = if said.sampled == Some(true) { 1 } else { 0 };
        let traceparent = format!("00-{}-{}-0{flags}", said.trace_id, said.span_id);
        assert_eq!(
            seen.headers.text("traceparent"),
            Some(&*traceparent),
            "{name}"
        );
        seen.assert_lines("tracestate", tracestate);
    }
}

#[tokio::test]
async fn a_tracestate_of_a_trace_that_is_not_continued_is_dropped() {
    let request = with_traceparent("01").header("tracestate", TRACESTATE);
    let restart = json!({"incoming": {"trace": "restart"}});
    let seen = through(restart, &request).await;
    seen.assert_lines("traceparent", &NONE);
    seen.assert_lines("tracestate", &NONE);

    let restart = json!({"incoming": {"trace": "restart"}, "propagate_traceparent": true});
    let seen = through(restart, &request).await;
    let said = seen.sentry_trace();
    seen.assert_lines(
        "traceparent",
        &[format!("00-{}-{}-01", said.trace_id, said.span_id)],
    );
    seen.assert_lines("tracestate", &NONE);
}

#[tokio::test]
async fn only_targets_get_the_trace_and_every_request_has_a_span() {
    let targets = json!(["gateway.test/api/", {"regex": r"^http://[a-z]+\.partner\.test/v\d+/"}]);
    let limited =
        Gateway::start(json!({"org_id": "43", "trace_propagation_targets": targets})).await;
    let unlimited = Gateway::start(json!({"org_id": "43"})).await;
    let table = [
        ("gateway.test", "/api/1?a=b", true),
        ("gateway.test", "/plain", false),
        ("other.test", "/api/1", false),
        ("eu.partner.test", "/v2/orders", true),
        ("eu.partner.test", "/beta/orders", false),
        ("evil.test", "/v2/http://eu.partner.test/v2/", false),
    ];
    for (index, (host, path, is_target)) in table.into_iter().enumerate() {
        let request = Request::get(path)
            .host(host)
            .header("sentry-trace", format!("{IDS}-1"))
            .header("baggage", BAGGAGE)
            .header("traceparent", OTHER_W3C)
            .header("tracestate", TRACESTATE);
        assert!(is_continued(&unlimited.pass(&request).await));
        let seen = limited.pass(&request).await;
        if is_target {
            assert!(is_continued(&seen), "{host}{path}");
            seen.assert_lines("baggage", &[BAGGAGE]);
        } else {
            seen.assert_lines("sentry-trace", &NONE);
            assert_eq!(seen.baggage().members(), THIRD_PARTY, "{host}{path}");
        }
        seen.assert_lines("traceparent", &[OTHER_W3C]);
        seen.assert_lines("tracestate", &[TRACESTATE]);
        // The gateway's own span is in the trace either way.
        let transactions = limited.sentry.wait_for(index + 1).await;
        let last = transactions.last().expect("a transaction");
        assert_eq!(last.trace_id(), TRACE_ID, "{host}{path}");
        assert_eq!(last.parent_span_id(), Some(SPAN_ID), "{host}{path}");
    }
    unlimited.sentry.wait_for(table.len()).await;
}

#[tokio::test]
async fn without_any_target_nobody_gets_the_trace() {
    let gateway = Gateway::start(json!({"trace_propagation_targets": []})).await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    seen.assert_lines("sentry-trace", &NONE);
    seen.assert_lines("baggage", &NONE);
    gateway.sentry.only_transaction().await;
}
