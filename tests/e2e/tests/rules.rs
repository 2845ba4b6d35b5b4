//! What differs from request to request: rules by pattern, and the settings in an Envoy route's own
//! metadata.

use e2e::{door, Door, Gateway, RecordedRequest, Request, Route, Transaction, SPANS};
use serde_json::{json, Value};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const SPAN_ID: &str = "b9f2e3d4c5a60718";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
const BAGGAGE: &str = "vendor=1;p,sentry-trace_id=771a43a4192642f0b136d5159a501700,\
    sentry-public_key=49d0f7386ad645858ae85020e393bef3,sentry-sampled=true,sentry-sample_rand=0.123456";
const NONE: [&str; 0] = [];

fn incoming(path: &str) -> Request {
    Request::get(path)
        .header("sentry-trace", format!("{IDS}-1"))
        .header("baggage", BAGGAGE)
}

/// Sends the request as part of a sampled trace of its own, and returns its transaction.
async fn recorded(gateway: &Gateway, request: Request) -> Transaction {
    let already = gateway.sentry.wait_for(0).await.len();
    let trace_id = format!("{:032x}", already + 1);
    let request = request.header("sentry-trace", format!("{trace_id}-{SPAN_ID}-1"));
    gateway.send(&request).await;
    let transaction = gateway.sentry.wait_for(already + 1).await.remove(already);
    assert_eq!(transaction.trace_id(), trace_id);
    transaction
}

/// Whether the span of a trace that begins here is recorded, as it is said to everyone behind the
/// gateway.
#[track_caller]
fn assert_head(seen: &RecordedRequest, sampled: bool, rate: &str) {
    assert_eq!(seen.sentry_trace().sampled, Some(sampled));
    let said = seen.baggage().sentry("sampled");
    assert_eq!(said, Some(sampled.to_string()));
    assert_eq!(seen.baggage().sentry("sample_rate").as_deref(), Some(rate));
}

/// So many requests came, and so many of them were recorded.
async fn assert_recorded(gateway: &Gateway, requests: u64, recorded: u64) {
    let spans = recorded * SPANS;
    gateway.envoy.wait_for_stat("requests", requests).await;
    let account = gateway.envoy.wait_for_account(|it| it.sent == spans).await;
    assert_eq!(account.recorded, spans, "{account}");
}

#[tokio::test]
async fn a_rule_is_for_requests_that_match_by_any_of_six_things() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"method": "^PUT$"}, "transaction": "by method"},
        {"match": {"host": r"^shop\.test$"}, "transaction": "by host"},
        {"match": {"path": "^/pages/[0-9]+$"}, "transaction": "by path"},
        {"match": {"route": "^/api/"}, "transaction": "by route"},
        {"match": {"cluster": "^no-host$"}, "transaction": "by cluster"},
        {"match": {"header": {"X-Team": "^web$"}}, "transaction": "by header"},
    ]}))
    .await;
    let table = [
        (Request::new("PUT", "/plain"), "by method"),
        (Request::get("/plain").host("shop.test"), "by host"),
        (Request::get("/pages/1?query=not-matched"), "by path"),
        (Request::get("/api/1"), "by route"),
        (Request::get("/no-host"), "by cluster"),
        (Request::get("/plain").header("x-team", "web"), "by header"),
        (
            Request::get("/plain")
                .header("x-team", "search")
                .header("x-team", "web"),
            "by header",
        ),
        (Request::new("POST", "/plain"), "/plain"),
        (Request::get("/plain").host("ashop.test"), "/plain"),
        (Request::get("/pages/one"), "/pages/one"),
        (Request::get("/plain/api/"), "/plain/api/"),
        (Request::get("/refused"), "/refused"),
        (Request::get("/plain").header("x-team", "webb"), "/plain"),
        (Request::get("/plain"), "/plain"),
    ];
    for (request, name) in table {
        let transaction = recorded(&gateway, request.clone()).await;
        assert_eq!(transaction.name(), name, "{request:?}");
        let source = if name.starts_with("by ") {
            "custom"
        } else {
            "url"
        };
        assert_eq!(transaction.source(), source, "{request:?}");
    }
}

#[tokio::test]
async fn a_rule_without_a_match_is_for_all_and_one_with_two_patterns_asks_for_both() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"method": "^PUT$", "path": "^/a"}, "transaction": "put a"},
        {"transaction": "anything else"},
    ]}))
    .await;
    for (method, path, name) in [
        ("PUT", "/a", "put a"),
        ("PUT", "/b", "anything else"),
        ("GET", "/a", "anything else"),
    ] {
        let transaction = recorded(&gateway, Request::new(method, path)).await;
        assert_eq!(transaction.name(), name, "{method} {path}");
    }
}

#[tokio::test]
async fn for_each_field_the_first_rule_counts_that_matches_and_sets_it() {
    let gateway = Gateway::start(json!({"rules": [
        {"match": {"path": "^/a"}, "transaction": "first"},
        {"match": {"path": "^/"}, "transaction": "second", "traces_sample_rate": 0.0},
        {"match": {"path": "^/"}, "traces_sample_rate": 1.0},
    ]}))
    .await;
    let seen = gateway.pass(&Request::get("/a")).await;
    assert_head(&seen, false, "0");
    let named = seen.baggage().sentry("transaction");
    assert_eq!(named.as_deref(), Some("first"));

    let seen = gateway.pass(&Request::get("/b")).await;
    assert_head(&seen, false, "0");
    let named = seen.baggage().sentry("transaction");
    assert_eq!(named.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_transactions_name_takes_groups_of_the_path() {
    let shops = json!({
        "match": {"path": "^/(?<area>[a-z]+)/shops/[^/]+/items/([0-9]+)$"},
        "transaction": "/${area}/shops/{shop}/items/$2",
    });
    let gateway = Gateway::start(json!({"rules": [shops]})).await;
    let path = "/eu/shops/s%20t/items/42?page=1";
    let seen = gateway.pass(&Request::get(path)).await;
    let name = "/eu/shops/{shop}/items/42";
    assert_eq!(seen.baggage().sentry("transaction").as_deref(), Some(name));
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!((transaction.name(), transaction.source()), (name, "custom"));
    assert_eq!(transaction.dsc("transaction"), Some(name));

    let plain = Gateway::start(json!({})).await;
    let seen = plain.pass(&Request::get(path)).await;
    assert_eq!(seen.baggage().sentry("transaction"), None);
    let transaction = plain.sentry.only_transaction().await;
    assert_eq!(transaction.source(), "url");
}

#[tokio::test]
async fn what_a_rule_ignores_has_no_span() {
    let rules = json!([{"match": {"path": "^/health$"}, "ignore": true}]);
    let gateway = Gateway::start(json!({"rules": rules})).await;
    let seen = gateway.pass(&Request::get("/health")).await;
    assert_head(&seen, false, "0");

    let seen = gateway.pass(&incoming("/health")).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-1")]);
    seen.assert_lines("baggage", &[BAGGAGE]);

    let seen = gateway.pass(&Request::get("/healthy")).await;
    assert_head(&seen, true, "1");
    assert_recorded(&gateway, 3, 1).await;
}

#[tokio::test]
async fn a_rule_keeps_the_trace_from_an_upstream_but_not_its_span_from_sentry() {
    let rules = json!([{"match": {"path": "^/partner/"}, "propagate": false}]);
    let gateway = Gateway::start(json!({"rules": rules})).await;
    let seen = gateway.pass(&incoming("/partner/1")).await;
    seen.assert_lines("sentry-trace", &NONE);
    seen.assert_lines("baggage", &["vendor=1;p"]);
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.trace_id(), TRACE_ID);
    assert_eq!(transaction.parent_span_id(), Some(SPAN_ID));

    let seen = gateway.pass(&incoming("/own/1")).await;
    assert_eq!(seen.sentry_trace().trace_id, TRACE_ID);
    seen.assert_lines("baggage", &[BAGGAGE]);
    gateway.sentry.wait_for(2).await;
}

#[tokio::test]
async fn a_rule_says_what_callers_decide() {
    let gateway = Gateway::start(json!({
        "traces_sample_rate": 0,
        "incoming": {"trace": "restart"},
        "rules": [
            {"match": {"path": "^/internal/"}, "incoming": {"trace": "continue"}},
            {"match": {"path": "^/internal/cheap/"}, "incoming": {"sampled": "ignore"}},
        ],
    }))
    .await;
    let seen = gateway.pass(&incoming("/public")).await;
    assert_ne!(seen.sentry_trace().trace_id, TRACE_ID);

    let seen = gateway.pass(&incoming("/internal/1")).await;
    assert_eq!(seen.sentry_trace().trace_id, TRACE_ID);
    assert_eq!(seen.sentry_trace().sampled, Some(true));

    let seen = gateway.pass(&incoming("/internal/cheap/1")).await;
    seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
    assert_eq!(seen.baggage().sentry("sampled").as_deref(), Some("false"));
    assert_recorded(&gateway, 3, 1).await;
}

#[tokio::test]
async fn a_rule_has_a_rate_of_its_own() {
    let rules = json!([{"match": {"path": "^/checkout"}, "traces_sample_rate": 1}]);
    let gateway = Gateway::start(json!({"traces_sample_rate": 0, "rules": rules})).await;
    let seen = gateway.pass(&Request::get("/checkout")).await;
    assert_head(&seen, true, "1");
    let seen = gateway.pass(&Request::get("/plain")).await;
    assert_head(&seen, false, "0");
    assert_recorded(&gateway, 2, 1).await;
}

#[tokio::test]
async fn a_routes_metadata_comes_before_rules_and_rules_before_the_top_level() {
    let metadata = json!({"traces_sample_rate": 1, "transaction": "from metadata"});
    let rule =
        json!({"match": {"path": "^/a"}, "traces_sample_rate": 0.0, "transaction": "from rule"});
    let builder = Gateway::builder().await;
    let gateway = builder
        .config(json!({"traces_sample_rate": 1, "rules": [rule]}))
        .route(Route::new("route-with-metadata", "/a/b").metadata(metadata))
        .start()
        .await;
    let table = [
        ("/a/b", true, "1", Some("from metadata")),
        ("/a/c", false, "0", Some("from rule")),
        ("/top", true, "1", None),
    ];
    for (path, sampled, rate, name) in table {
        let seen = gateway.pass(&Request::get(path)).await;
        assert_head(&seen, sampled, rate);
        let named = seen.baggage().sentry("transaction");
        assert_eq!(named.as_deref(), name, "{path}");
    }
    let mut transactions = gateway.sentry.wait_for(2).await;
    transactions.retain(|transaction| transaction.name() == "from metadata");
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].source(), "route");
    assert_eq!(transactions[0].dsc("transaction"), Some("from metadata"));
}

/// Envoy's YAML reader makes a text of `0.5` and a double of `1`; both are rates (envoy-wasm.md
/// §4).
#[tokio::test]
async fn a_routes_metadata_gives_a_rate_in_any_form_that_yaml_has_for_numbers() {
    let table = [
        (json!(0.5), "0.5"),
        (json!(1), "1"),
        (json!(0), "0"),
        (json!(1.0), "1"),
        (json!("0.25"), "0.25"),
        (json!(1e-3), "0.001"),
        (json!("0"), "0"),
        (json!("1"), "1"),
        (json!(" .5 "), "0.5"),
        // None of these is a rate, so the top level's counts. Eight bytes are no double if they are
        // text.
        (json!("sampled0"), "0.125"),
        (json!("true"), "0.125"),
        (json!(""), "0.125"),
        (json!(2), "0.125"),
        (json!("often"), "0.125"),
        (json!(true), "0.125"),
    ];
    let mut builder = Gateway::builder()
        .await
        .config(json!({"traces_sample_rate": 0.125}));
    for (index, (rate, _)) in table.iter().enumerate() {
        let metadata = json!({"traces_sample_rate": rate});
        let route = Route::new(&format!("rate-{index}"), &format!("/rate/{index}"));
        builder = builder.route(route.metadata(metadata));
    }
    let gateway = builder.start().await;
    for (index, (rate, expected)) in table.iter().enumerate() {
        let seen = gateway.pass(&Request::get(format!("/rate/{index}"))).await;
        let said = seen.baggage().sentry("sample_rate");
        assert_eq!(said.as_deref(), Some(*expected), "{rate}");
    }
}

#[tokio::test]
async fn a_routes_metadata_ignores_or_takes_back_what_a_rule_ignores() {
    let rule = json!({"match": {"path": "^/quiet"}, "ignore": true});
    let route = |name: &str, path: &str, ignore: Value| {
        Route::new(name, path).metadata(json!({"ignore": ignore}))
    };
    let builder = Gateway::builder().await;
    let gateway = builder
        .config(json!({"rules": [rule]}))
        .route(route("loud", "/quiet/loud", json!(false)))
        .route(route("quiet", "/other/quiet", json!(true)))
        .route(route("quoted", "/other/quoted", json!("true")))
        .route(route("quoted-loud", "/quiet/quoted", json!("false")))
        .route(route("unclear", "/quiet/unclear", json!(1)))
        .route(route("other-text", "/quiet/other-text", json!("False")))
        .start()
        .await;
    let table = [
        ("/quiet", false),
        ("/quiet/loud", true),
        ("/quiet/quoted", true),
        ("/quiet/unclear", false),
        ("/quiet/other-text", false),
        ("/other", true),
        ("/other/quiet", false),
        ("/other/quoted", false),
    ];
    for (path, is_recorded) in table {
        let seen = gateway.pass(&Request::get(path)).await;
        let rate = if is_recorded { "1" } else { "0" };
        assert_head(&seen, is_recorded, rate);
    }
    assert_recorded(&gateway, 8, 3).await;
}

/// In Wasm Envoy refuses to serialise a `null` (status 3), and with it all there is in the route's
/// metadata for us: the request is treated as if there were none, and the refusal is counted.
#[tokio::test]
async fn a_null_in_a_routes_metadata_costs_all_of_it_and_is_counted() {
    let half_empty = json!({"traces_sample_rate": 0, "transaction": null});
    let nested = json!({"traces_sample_rate": 0, "owners": ["a", {"b": 1}]});
    let builder = Gateway::builder().await;
    let gateway = builder
        .config(json!({}))
        .route(Route::new("half-empty", "/half-empty").metadata(half_empty))
        .route(Route::new("nested", "/nested").metadata(nested))
        .start()
        .await;
    assert_head(&gateway.pass(&Request::get("/nested")).await, false, "0");
    assert_head(&gateway.pass(&Request::get("/plain")).await, true, "1");
    gateway.envoy.wait_for_stat("requests", 2).await;
    assert_eq!(gateway.envoy.stat("host_calls_refused").await, 0);

    let seen = gateway.pass(&Request::get("/half-empty")).await;
    if door() == Door::Native {
        // A dynamic module asks key by key.
        assert_head(&seen, false, "0");
        gateway.envoy.wait_for_stat("requests", 3).await;
        return assert_eq!(gateway.envoy.stat("host_calls_refused").await, 0);
    }
    assert_head(&seen, true, "1");
    gateway.envoy.wait_for_stat("host_calls_refused", 1).await;
}

#[tokio::test]
async fn wrong_rules_and_targets_are_refused_with_their_paths() {
    let configuration = json!({
        "max_traces_per_second": 0,
        "incoming": {"trace": "stop", "sampled": true, "baggage": "drop"},
        "trace_propagation_targets": ["fine", 1, {"regex": "("}, {"text": "x"}],
        "rules": [
            {"match": {"path": "^/fine/(.*)"}, "transaction": "$1"},
            {"match": {"path": "(", "paths": "x", "header": {"x-team": 1}}, "sample_rate": 1},
            {"match": {"path": "^/(a)"}, "transaction": "$2", "ignore": "yes"},
            {"match": {"host": "a{1000}{1000}"}, "traces_sample_rate": 2},
            "everything",
        ],
    });
    let log = Gateway::builder()
        .await
        .configuration(&configuration.to_string())
        .expect_refused()
        .await;
    let mut named: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once("sentry: configuration refused: "))
        .filter_map(|(_, problem)| Some(problem.split_once(": ")?.0))
        .collect();
    named.sort_unstable();
    // Every VM may have read it.
    named.dedup();
    let mut expected = [
        "max_traces_per_second",
        "incoming.trace",
        "incoming.sampled",
        "incoming.baggage",
        "trace_propagation_targets[1]",
        "trace_propagation_targets[2].regex",
        "trace_propagation_targets[3].regex",
        "trace_propagation_targets[3].text",
        "rules[1].match.path",
        "rules[1].match.paths",
        "rules[1].match.header.x-team",
        "rules[1].sample_rate",
        "rules[2].transaction",
        "rules[2].ignore",
        "rules[3].match.host",
        "rules[3].traces_sample_rate",
        "rules[4]",
    ];
    expected.sort_unstable();
    assert_eq!(named, expected, "{log}");
}
