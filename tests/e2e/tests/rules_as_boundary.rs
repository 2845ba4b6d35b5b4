//! Rules and targets as a trust boundary: what a caller writes differently, adds, or makes very
//! long gets it past none of them.

use e2e::{Gateway, RecordedRequest, Request};
use serde_json::{json, Value};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";

fn incoming(path: &str) -> Request {
    Request::get(path).header("sentry-trace", format!("{IDS}-1"))
}

/// Whether the upstream is in the trace that arrived.
fn is_continued(seen: &RecordedRequest) -> bool {
    seen.sentry_trace().trace_id == TRACE_ID
}

#[tokio::test]
async fn a_path_is_the_same_to_a_rule_however_it_is_spelled() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"path": "^/public"}, "incoming": {"trace": "restart"}},
    ]}))
    .await;
    for path in [
        "/public",
        "/./public",
        "/%70ublic",
        "/%70%75blic?x=y",
        "/x/../public",
        "/x/%2e%2E/public",
        "/x\\..\\public",
        "//public",
        "/%2fpublic",
        "/x/..%2Fpublic",
        "/x/..;/public",
        "/public/../x",
    ] {
        let seen = gateway.pass(&incoming(path)).await;
        assert!(!is_continued(&seen), "{path}");
    }
    for path in ["/", "/x/public", "/?/public", "/publi"] {
        let seen = gateway.pass(&incoming(path)).await;
        assert!(is_continued(&seen), "{path}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_is_trusted_like_the_plain_one() {
    let gateway = Gateway::start(json!({"incoming": {"trace": "restart"}, "rules": [
        {"match": {"path": "^/internal/"}, "incoming": {"trace": "continue"}},
    ]}))
    .await;
    for path in ["/internal/", "/internal/a?b=/../../public"] {
        let seen = gateway.pass(&incoming(path)).await;
        assert!(is_continued(&seen), "{path}");
    }
    let long = "a/".repeat(25_000);
    let far = format!("/internal/{long}{}public", "../".repeat(1_200));
    for path in [
        "/internal/../public",
        "/internal/%2e%2e/public",
        "/internal/..%2fpublic",
        "/internal/..;/public",
        "/internal\\..\\public",
        "/x/../internal/",
        "/%69nternal/",
        "/?/internal/",
    ] {
        let seen = gateway.pass(&incoming(path)).await;
        assert!(!is_continued(&seen), "{path}");
    }
    // It stays below /internal/ in every reading, and is decided by its beginning.
    let seen = gateway.pass(&incoming(&far)).await;
    assert!(is_continued(&seen));
}

/// The reading that names and rates go by is the one that Envoy has with `normalize_path`.
#[tokio::test]
async fn paths_are_normalized_as_envoy_does() {
    let spelled = [
        "/a/./b",
        "/a/../b",
        "/a/b/..",
        "/a/b/.",
        "/../../a",
        "/a//b",
        "//a",
        "/a//../b",
        "/a/%2e/b",
        "/a/%2E%2e/b",
        "/a/.%2e/b",
        "/a\\b\\..\\c",
        "/a%2Fb/../c",
        "/a%5cb",
        "/a/.../b",
        "/a/..b/.c",
        "/a.b/c..",
        "/%zz/%",
        "/%70ublic/%7Euser/%c3",
    ];
    let builder = Gateway::builder().await;
    let normalizing = builder
        .config(json!({}))
        .connection_manager("normalize_path", json!(true))
        .start()
        .await;
    let mut normalized = Vec::new();
    for path in spelled {
        let exchange = normalizing.send(&Request::get(path)).await;
        let mut seen = normalizing.upstream.take_if(|_| true);
        seen.extend(exchange.upstream);
        let seen = seen.pop().expect("the request at the upstream");
        normalized.push(seen.path);
    }
    let rules = normalized.iter().enumerate().map(|(index, path)| {
        let escaped: String = path
            .chars()
            .map(|it| format!("[{}]", it.to_string().replace('\\', "\\\\")))
            .collect();
        json!({"match": {"path": format!("^{escaped}$")}, "transaction": format!("{index}")})
    });
    let gateway = Gateway::start(json!({"rules": rules.collect::<Vec<Value>>()})).await;
    for (path, expected) in spelled.iter().zip(&normalized) {
        let first = normalized
            .iter()
            .position(|it| it == expected)
            .expect("itself");
        let seen = gateway.pass(&Request::get(path)).await;
        let named = seen.baggage().sentry("transaction");
        assert_eq!(
            named,
            Some(first.to_string()),
            "{path} is {expected} to Envoy"
        );
    }
}

#[tokio::test]
async fn a_host_is_the_same_to_a_rule_in_any_case_and_with_any_port() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"host": "^api\\."}, "incoming": {"trace": "restart"}},
        {"match": {"host": "example$"}, "incoming": {"sampled": "ignore"}, "traces_sample_rate": 0},
    ]}))
    .await;
    for host in [
        "api.shop.example",
        "API.shop.example",
        "Api.Shop.Example:443",
        "api.shop.example:80",
        "api.shop.EXAMPLE.",
        "api.shop.example.:8443",
    ] {
        let seen = gateway.pass(&incoming("/").host(host)).await;
        assert!(!is_continued(&seen), "{host}");
        assert_eq!(seen.sentry_trace().sampled, Some(false), "{host}");
    }
    let seen = gateway.pass(&incoming("/").host("shop.example")).await;
    assert!(is_continued(&seen));
    assert_eq!(seen.sentry_trace().sampled, Some(false));
}

#[tokio::test]
async fn a_text_that_is_too_long_to_be_decided_is_trusted_less() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"path": "/admin$"}, "incoming": {"trace": "restart"}},
        {"match": {"header": {"x-outside": "yes$"}}, "incoming": {"trace": "restart"}},
        {"match": {"path": "^/partner/"}, "propagate": false},
    ]}))
    .await;
    let long = "a".repeat(50_000);
    let seen = gateway.pass(&incoming(&format!("/{long}/admin"))).await;
    assert!(!is_continued(&seen));
    let seen = gateway
        .pass(&incoming("/").header("x-outside", format!("{long}yes")))
        .await;
    assert!(!is_continued(&seen));
    let seen = gateway
        .pass(&incoming("/").header("x-outside", &long))
        .await;
    assert!(!is_continued(&seen), "nobody knows how it ends");
    let seen = gateway.pass(&incoming(&format!("/partner/{long}"))).await;
    seen.assert_lines("sentry-trace", &[""; 0]);
    let seen = gateway.pass(&incoming("/")).await;
    assert!(is_continued(&seen));
}

#[tokio::test]
async fn nothing_that_a_caller_adds_makes_its_upstream_a_target() {
    let targets = json!([
        "internal.example",
        "https://own.example/",
        {"regex": "trusted[.]example"},
        "http://api.example:80/v1",
    ]);
    let gateway = Gateway::start(json!({"trace_propagation_targets": targets})).await;
    for (host, path, is_target) in [
        ("internal.example", "/", true),
        ("A.Internal.Example:8080", "/?x", true),
        ("trusted.example.", "/", true),
        ("API.example", "/v1/a", true),
        ("api.example:80", "/v1", true),
        ("partner.test", "/?u=internal.example", false),
        ("partner.test", "/?u=http://trusted.example/", false),
        ("partner.test", "/https://own.example/", false),
        ("api.example:81", "/v1", false),
        ("api.example", "/?/v1", false),
        ("api.example", "/v1/../v2", false),
        ("partner.test", "/", false),
    ] {
        let seen = gateway.pass(&incoming(path).host(host)).await;
        let has_trace = seen.headers.text("sentry-trace").is_some();
        assert_eq!(has_trace, is_target, "{host}{path}");
    }
}
