//! Preflights at services whose CORS is answered by a library. Each has a list of header names
//! without those of the trace, as services have that know nothing of Sentry; the same service is
//! out of reach without the filter.

use e2e::{Gateway, Library, Request, Response};
use serde_json::{json, Value};

const PAGE: &str = "https://page.example";
const TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";
const MEMBERS: &str = "sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-sampled=true";

/// What a page with Sentry's SDK asks for, as browsers write it: sorted, in lower case.
const WITH_TRACE: &str = "baggage,sentry-trace,x-tenant";

#[tokio::test]
async fn services_that_list_the_names_of_their_own_headers() {
    for library in Library::WITHOUT_RUBY {
        assert_passes_with_the_filter_only(library).await;
    }
}

#[tokio::test]
async fn services_that_allow_what_is_asked_for() {
    for library in [
        Library::Starlette,
        Library::FlaskCors,
        Library::AiohttpCors,
        Library::NpmCors,
    ] {
        assert_passes_either_way(library).await;
    }
}

#[cfg(feature = "ruby")]
#[tokio::test]
async fn rack_cors() {
    assert_passes_with_the_filter_only(Library::RackCors).await;
    assert_passes_either_way(Library::RackCors).await;
}

async fn gateway(library: Library, names: &str, has_filter: bool) -> (Gateway, e2e::Service) {
    let service = library.serve(PAGE, names).await;
    let builder = Gateway::builder().await.config(json!({}));
    let builder = service.behind(builder);
    let builder = match has_filter {
        true => builder,
        false => builder.without_filter(),
    };
    (builder.start().await, service)
}

async fn assert_passes_with_the_filter_only(library: Library) {
    let (without, _service) = gateway(library, "x-tenant", false).await;
    assert!(may_send(&without, PAGE, "x-tenant").await, "{library:?}");
    assert!(!may_send(&without, PAGE, WITH_TRACE).await, "{library:?}");

    let (with, _service) = gateway(library, "x-tenant", true).await;
    for names in [
        WITH_TRACE,
        "baggage,sentry-trace",
        "baggage,sentry-trace,traceparent",
    ] {
        assert!(may_send(&with, PAGE, names).await, "{library:?}: {names}");
    }
    // Nothing else is let in, and nobody else.
    let others = [
        ("https://other.example", WITH_TRACE),
        ("https://other.example", "baggage,sentry-trace"),
        (PAGE, "baggage,sentry-trace,x-other"),
        (PAGE, "x-other"),
    ];
    for (origin, names) in others {
        let lets_in = may_send(&with, origin, names).await;
        assert!(!lets_in, "{library:?}: {origin} {names}");
    }
    assert_one_trace(&with, library).await;
}

async fn assert_passes_either_way(library: Library) {
    for has_filter in [false, true] {
        let (gateway, _service) = gateway(library, "*", has_filter).await;
        for names in [WITH_TRACE, "baggage,sentry-trace", "x-other"] {
            let lets_in = may_send(&gateway, PAGE, names).await;
            assert!(lets_in, "{library:?}: {names}, filter: {has_filter}");
        }
        if has_filter {
            assert_one_trace(&gateway, library).await;
        }
    }
}

/// The request itself goes on in the page's trace.
async fn assert_one_trace(gateway: &Gateway, library: Library) {
    let answer = Request::new("PUT", "/api")
        .header("origin", PAGE)
        .header("x-tenant", "1")
        .header("sentry-trace", TRACE)
        .header("baggage", MEMBERS)
        .send(gateway.envoy.address())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{library:?}");
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let context = told["sentry-trace"].as_str().unwrap_or_default();
    assert!(context.starts_with(&TRACE[..33]), "{library:?}: {told}");
    assert_eq!(told["baggage"], MEMBERS, "{library:?}");
}

/// Whether a browser would send a request with these headers and with credentials (Fetch,
/// "CORS-preflight fetch").
async fn may_send(gateway: &Gateway, origin: &str, names: &str) -> bool {
    let answer = Request::new("OPTIONS", "/api")
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", names)
        .send(gateway.envoy.address())
        .await
        .expect("an answer");
    let allowed = list(&answer, "access-control-allow-headers");
    let methods = list(&answer, "access-control-allow-methods");
    (200..300).contains(&answer.status)
        && answer.headers.text("access-control-allow-origin") == Some(origin)
        && answer.headers.text("access-control-allow-credentials") == Some("true")
        && methods.iter().any(|method| method == "put")
        && names
            .split(',')
            .all(|name| allowed.iter().any(|allowed| allowed == name))
}

fn list(answer: &Response, name: &str) -> Vec<String> {
    let lines = answer.headers.lines(name);
    let text = lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).to_ascii_lowercase());
    text.collect::<Vec<_>>()
        .join(",")
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}
