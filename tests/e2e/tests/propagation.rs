//! What the service behind the gateway gets of the trace context, byte for byte.

use e2e::{Gateway, Request, SPANS};
use serde_json::json;

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const SPAN_ID: &str = "b9f2e3d4c5a60718";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
/// The least that Sentry takes for a dynamic sampling context.
const DSC: &str = "sentry-trace_id=771a43a4192642f0b136d5159a501700,\
    sentry-public_key=49d0f7386ad645858ae85020e393bef3";
/// A context as a browser sends it, between members of other vendors: with properties, odd spaces
/// and escapes, which are not ours to tidy.
const BAGGAGE: &str = "vendor=1;prop=a;flag, sentry-trace_id=771a43a4192642f0b136d5159a501700,\
    sentry-public_key=49d0f7386ad645858ae85020e393bef3,sentry-environment=front%20end,sentry-sample_rate=0.5,\
    sentry-sample_rand=0.123456,sentry-sampled=true ,  other=%7B%22x%22%3A1%7D=y";

fn sampled() -> Request {
    Request::get("/api/1").header("sentry-trace", format!("{IDS}-1"))
}

#[tokio::test]
async fn a_sampled_trace_is_continued_with_the_gateways_span_in_between() {
    let gateway = Gateway::start(json!({})).await;
    let seen = gateway.pass(&sampled().header("baggage", BAGGAGE)).await;

    seen.assert_lines("baggage", &[BAGGAGE]);
    let forwarded = seen.sentry_trace();
    assert_eq!(
        (forwarded.trace_id.as_str(), forwarded.sampled),
        (TRACE_ID, Some(true))
    );
    assert_ne!(forwarded.span_id, SPAN_ID);

    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.trace_id(), TRACE_ID);
    assert_eq!(transaction.upstream_parent(), forwarded.span_id);
    assert_eq!(transaction.parent_span_id(), Some(SPAN_ID));
    // The context is the browser's: frozen, and decoded for the envelope.
    assert_eq!(
        transaction.dsc("public_key"),
        Some("49d0f7386ad645858ae85020e393bef3")
    );
    assert_eq!(transaction.dsc("environment"), Some("front end"));
    assert_eq!(transaction.dsc("release"), None);
    gateway.envoy.wait_for_stat("traces_continued", 1).await;
}

#[tokio::test]
async fn lines_that_came_apart_are_one_if_ours_are_in_them_and_equal_ones_collapse() {
    let gateway = Gateway::start(json!({})).await;

    let (first, second, third) = ("a=1, b=2;p", DSC, "c=3");
    let request = sampled()
        .header("baggage", first)
        .header("baggage", second)
        .header("baggage", third);
    let seen = gateway.pass(&request).await;
    // Sentry's SDK for Go reads the first line only.
    seen.assert_lines("baggage", &[format!("a=1,b=2;p,{DSC},{third}")]);

    let request = sampled().header("baggage", first).header("baggage", third);
    let seen = gateway.pass(&request).await;
    seen.assert_lines("baggage", &[first, third]);

    let request = sampled()
        .header("sentry-trace", format!("{IDS}-1"))
        .header("baggage", BAGGAGE);
    let seen = gateway.pass(&request).await;
    assert_eq!(seen.sentry_trace().trace_id, TRACE_ID);
    seen.assert_lines("baggage", &[BAGGAGE]);

    let request = Request::get("/api/1").header("sentry-trace", format!("{IDS}-1,{IDS}-1"));
    assert_eq!(
        gateway.pass(&request).await.sentry_trace().trace_id,
        TRACE_ID
    );
    gateway.sentry.wait_for(4).await;
}

#[tokio::test]
async fn a_request_without_a_context_starts_a_trace_with_all_that_is_known() {
    let gateway = Gateway::start(json!({})).await;
    let third_party = ["a=1;p=x", "b=2"];
    let request = Request::get("/api/7").header("baggage", "a=1;p=x, b=2,sentry-release=stray");
    let seen = gateway.pass(&request).await;

    let trace = seen.sentry_trace();
    assert_eq!(trace.sampled, Some(true));
    let baggage = seen.baggage();
    assert_eq!(baggage.members()[..2], third_party);
    assert_eq!(baggage.third_party(), third_party);
    let keys = [
        "environment",
        "org_id",
        "public_key",
        "release",
        "sample_rand",
        "sample_rate",
        "sampled",
        "trace_id",
        "transaction",
    ];
    assert_eq!(baggage.sentry_keys(), keys);
    assert_eq!(baggage.sentry("trace_id"), Some(trace.trace_id.clone()));
    assert_eq!(
        baggage.sentry("public_key").as_deref(),
        Some(mini_sentry::PUBLIC_KEY)
    );
    assert_eq!(baggage.sentry("environment").as_deref(), Some("e2e"));
    assert_eq!(baggage.sentry("release").as_deref(), Some("gateway@1.2.3"));
    assert_eq!(baggage.sentry("org_id").as_deref(), Some("42"));
    assert_eq!(baggage.sentry("sampled").as_deref(), Some("true"));
    assert_eq!(baggage.sentry("transaction").as_deref(), Some("/api/{id}"));
    assert_eq!(baggage.sentry("sample_rate").unwrap().parse(), Ok(1.0));
    let sample_rand = baggage.sentry("sample_rand").unwrap();
    assert!(is_six_digits(&sample_rand), "sample_rand {sample_rand:?}");

    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.trace_id(), trace.trace_id);
    assert_eq!(transaction.upstream_parent(), trace.span_id);
    assert_eq!(transaction.parent_span_id(), None);
    for key in keys {
        assert_eq!(
            transaction.dsc(key),
            baggage.sentry(key).as_deref(),
            "{key} in the envelope"
        );
    }
}

#[tokio::test]
async fn a_path_is_no_name_for_a_trace() {
    let gateway = Gateway::start(json!({"org_id": null, "release": null})).await;
    let seen = gateway.pass(&Request::get("/plain?q=1")).await;
    let keys = [
        "environment",
        "public_key",
        "sample_rand",
        "sample_rate",
        "sampled",
        "trace_id",
    ];
    assert_eq!(seen.baggage().sentry_keys(), keys);
    gateway.sentry.wait_for(1).await;
}

#[tokio::test]
async fn what_is_not_sampled_passes_untouched_and_is_not_sent() {
    let gateway = Gateway::start(json!({})).await;
    let baggage = BAGGAGE.replace("sampled=true", "sampled=false");
    let request = Request::get("/api/1")
        .header("sentry-trace", format!("{IDS}-0"))
        .header("baggage", &baggage);
    let seen = gateway.pass(&request).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
    seen.assert_lines("baggage", &[baggage]);

    let sampled = gateway.pass(&Request::get("/plain")).await.sentry_trace();
    assert_eq!(
        gateway.sentry.only_transaction().await.upstream_parent(),
        sampled.span_id
    );
    gateway.envoy.wait_for_stat("requests", 2).await;
    assert_eq!(
        gateway
            .envoy
            .wait_for_account(|account| account.sent > 0)
            .await
            .recorded,
        SPANS
    );
}

#[tokio::test]
async fn a_rate_of_zero_says_so_to_the_services_behind() {
    let gateway = Gateway::start(json!({"traces_sample_rate": 0})).await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    assert_eq!(seen.sentry_trace().sampled, Some(false));
    assert_eq!(seen.baggage().sentry("sampled").as_deref(), Some("false"));
    assert_eq!(
        seen.baggage().sentry("sample_rate").unwrap().parse(),
        Ok(0.0)
    );
    // Envoy would have to be asked for the route's name (filter.md §3.6).
    assert_eq!(seen.baggage().sentry("transaction"), None);
}

#[tokio::test]
async fn without_a_rate_the_decision_is_left_to_the_services_behind() {
    let gateway = Gateway::start(json!({"traces_sample_rate": null})).await;
    let seen = gateway
        .pass(&Request::get("/api/1").header("baggage", "a=1"))
        .await;
    assert_eq!(seen.sentry_trace().sampled, None);
    let keys = [
        "environment",
        "org_id",
        "public_key",
        "release",
        "sample_rand",
        "trace_id",
    ];
    assert_eq!(seen.baggage().sentry_keys(), keys);
    assert_eq!(seen.baggage().members()[0], "a=1");

    let baggage = "x=1 ,sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-sample_rand=0.5";
    let seen = gateway
        .pass(
            &Request::get("/api/1")
                .header("sentry-trace", IDS)
                .header("baggage", baggage),
        )
        .await;
    seen.assert_lines("sentry-trace", &[IDS]);
    seen.assert_lines("baggage", &[baggage]);
    gateway.envoy.wait_for_stat("requests", 2).await;
    assert_eq!(gateway.envoy.account().await.recorded, 0);
}

#[tokio::test]
async fn a_trace_without_baggage_stays_without() {
    let gateway = Gateway::start(json!({})).await;
    let seen = gateway.pass(&sampled().header("baggage", "a=1")).await;
    seen.assert_lines("baggage", &["a=1"]);
    let seen = gateway.pass(&sampled()).await;
    seen.assert_lines::<&str>("baggage", &[]);
    gateway.sentry.wait_for(2).await;
}

/// Such a context is frozen like any other, but Relay takes none that names no public key
/// (sentry-protocol.md §2.2).
#[tokio::test]
async fn a_context_that_is_incomplete_is_passed_on_and_left_out_of_the_envelope() {
    let gateway = Gateway::start(json!({})).await;
    let baggage = format!("sentry-trace_id={TRACE_ID},sentry-sample_rand=0.25");
    let seen = gateway.pass(&sampled().header("baggage", &baggage)).await;
    seen.assert_lines("baggage", &[baggage]);
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.envelope_header.get("trace"), None);
}

#[tokio::test]
async fn without_a_dsn_what_arrives_is_passed_on_and_nothing_is_begun() {
    let gateway = Gateway::builder().await.configuration("{}").start().await;
    let seen = gateway.pass(&sampled().header("baggage", BAGGAGE)).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-1")]);
    seen.assert_lines("baggage", &[BAGGAGE]);

    let seen = gateway
        .pass(&Request::get("/api/1").header("baggage", "a=1"))
        .await;
    seen.assert_lines::<&str>("sentry-trace", &[]);
    seen.assert_lines("baggage", &["a=1"]);

    gateway.envoy.wait_for_stat("requests", 2).await;
    gateway.envoy.wait_for_stat("traces_started", 0).await;
    assert_eq!(gateway.envoy.account().await.recorded, 0);
    assert!(gateway.sentry.requests().is_empty());
}

#[tokio::test]
async fn the_dsn_and_the_rate_can_come_from_the_environment() {
    let builder = Gateway::builder().await;
    let dsn = builder.dsn();
    let gateway = builder
        .configuration(r#"{"transport": {"flush_interval_ms": 50}}"#)
        .vm_environment("SENTRY_DSN", &dsn)
        .vm_environment("SENTRY_ENVIRONMENT", "from-env")
        .vm_environment("SENTRY_RELEASE", "release-from-env")
        .vm_environment("SENTRY_TRACES_SAMPLE_RATE", "1")
        .start()
        .await;
    let seen = gateway.pass(&Request::get("/api/1")).await;
    assert_eq!(
        seen.baggage().sentry("environment").as_deref(),
        Some("from-env")
    );
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.text("/environment"), "from-env");
    assert_eq!(transaction.text("/release"), "release-from-env");
}

/// "Never changes a request beyond those headers" (filter.md §1).
#[tokio::test]
async fn nothing_else_of_the_request_changes() {
    let gateway = Gateway::start(json!({})).await;
    let request = Request::get("/api/1?a=b&c=%2F")
        .header("x-one", "1")
        .header("X-Twice", "a")
        .header("x-twice", "")
        .header("accept", "*/*")
        .header("cookie", "a=b; c=d")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("tracestate", "congo=t61rcWkgMzE");
    let seen = gateway.pass(&request).await;
    seen.assert_lines("host", &["gateway.test"]);
    for name in [
        "x-one",
        "x-twice",
        "accept",
        "cookie",
        "traceparent",
        "tracestate",
    ] {
        seen.assert_lines(name, &request.headers().lines(name));
    }
    let by_us = ["sentry-trace", "baggage"];
    let by_envoy = [
        "x-forwarded-proto",
        "x-request-id",
        "x-envoy-expected-rq-timeout-ms",
    ];
    for (name, _) in seen.headers.iter() {
        let known = name == "host" || by_us.contains(&name) || by_envoy.contains(&name);
        assert!(
            known || !request.headers().lines(name).is_empty(),
            "{name} was added"
        );
    }
    gateway.sentry.wait_for(1).await;
}

fn is_six_digits(sample_rand: &str) -> bool {
    sample_rand
        .strip_prefix("0.")
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()))
}
