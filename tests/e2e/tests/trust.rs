//! What an outside caller may not decide, it decides on no request.

use e2e::{Gateway, RecordedRequest, Request};
use serde_json::{json, Value};

const TRACE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A caller's request with everything that could name its trace.
fn caller(method: &str) -> Request {
    Request::new(method, "/shop")
        .header("sentry-trace", format!("{TRACE}-bbbbbbbbbbbbbbbb-1"))
        .header(
            "baggage",
            format!("a=1,sentry-trace_id={TRACE},sentry-sampled=true,sentry-org_id=43"),
        )
        .header("traceparent", format!("00-{TRACE}-bbbbbbbbbbbbbbbb-01"))
        .header("tracestate", format!("vendor={TRACE}"))
        .header("x-request-start", "t=1")
}

async fn passed(config: Value, request: &Request) -> RecordedRequest {
    let gateway = Gateway::start(config).await;
    gateway.pass(request).await
}

/// Whether any header of the request still tells the caller's trace.
fn tells_the_callers(request: &RecordedRequest) -> bool {
    ["sentry-trace", "baggage", "traceparent", "tracestate"]
        .iter()
        .flat_map(|name| request.headers.lines(name))
        .any(|line| String::from_utf8_lossy(line).contains(TRACE))
}

#[tokio::test]
async fn restart_holds_for_every_method_and_host() {
    let config = json!({"incoming": {"trace": "restart"}, "traces_sample_rate": 1, "request_start_header": true});
    let gateway = Gateway::start(config).await;
    let receiver = gateway.sentry.dsn();
    let receiver = receiver.rsplit_once('@').expect("a key").1;
    let receiver = receiver.split('/').next().expect("a host").to_owned();
    for method in ["GET", "OPTIONS", "HEAD", "POST", "PROPFIND"] {
        for host in ["gateway.test", &receiver] {
            let got = gateway.pass(&caller(method).host(host)).await;
            assert!(!tells_the_callers(&got), "{method} {host}: {got:?}");
            assert_eq!(got.baggage().third_party(), ["a=1"], "{method} {host}");
            let start = got.headers.text("x-request-start").expect("a start");
            assert_ne!(start, "t=1");
        }
    }
}

#[tokio::test]
async fn sampling_is_ours_on_options_too() {
    let config =
        json!({"incoming": {"sampled": "ignore"}, "traces_sample_rate": 0, "org_id": "43"});
    let got = passed(config, &caller("OPTIONS")).await;
    assert_eq!(got.sentry_trace().sampled, Some(false));
    let baggage = String::from_utf8_lossy(got.headers.lines("baggage")[0]).into_owned();
    assert!(baggage.contains("sentry-sampled=false"), "{baggage}");
}

#[tokio::test]
async fn another_organisation_is_not_continued_on_options_either() {
    for strict in [false, true] {
        let config = json!({"org_id": "42", "strict_trace_continuation": strict});
        let got = passed(config, &caller("OPTIONS")).await;
        got.assert_lines::<&str>("sentry-trace", &[]);
        got.assert_lines("baggage", &["a=1"]);
    }
}
