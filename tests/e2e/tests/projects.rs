//! Several projects behind one gateway (docs/projects.md): what a request sends, and what is made
//! of its trace, is its own project's, and what befalls one project is no other's.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use e2e::{
    door, door::dynamic_module, envoy::cluster_at, eventually, Account, Answer, Door, Gateway,
    MiniSentry, RecordedRequest, Request, Route, Upstream, SPANS,
};
use mini_sentry::{Expected, ReceivedRequest, Segment, Validator, PUBLIC_KEY};
use serde_json::{json, Value};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const IDS: &str = "771a43a4192642f0b136d5159a501700-b9f2e3d4c5a60718";
/// The key and the id of a project that no [`MiniSentry`] knows.
const KEY: &str = "5eed5eed5eed5eed5eed5eed5eed5eed";
const ID: &str = "8";

/// A receiver of another project than the usual one, whose host tells its organisation.
struct Receiver {
    server: Upstream,
    authority: String,
    dsn: String,
}

impl Receiver {
    async fn start() -> Self {
        let server = Upstream::start().await;
        let authority = format!("o5.ingest.test:{}", server.address().port());
        let dsn = format!("http://{KEY}@{authority}/{ID}");
        Self {
            server,
            authority,
            dsn,
        }
    }

    fn cluster(&self) -> Value {
        cluster_at("shop", Some(self.server.address()))
    }

    /// A rule for the paths of the shop.
    fn rule(&self) -> Value {
        json!({"match": {"path": "^/shop/"}, "dsn": self.dsn, "transport": {"cluster": "shop"}})
    }

    /// The traces of the spans that came, of which none may be another project's.
    fn traces(&self) -> Vec<String> {
        let mut validator = Validator::new(Expected::of(ID, KEY, &self.authority));
        let request = |request: RecordedRequest| ReceivedRequest {
            authority: request.headers.text("host").unwrap_or_default().to_owned(),
            method: request.method,
            path: request.path,
            version: "HTTP/1.1".to_owned(),
            sni: None,
            headers: request.headers,
            body: request.body,
            received_at: SystemTime::now(),
        };
        let mut spans = Vec::new();
        for request in self.server.take_if(|_| true).into_iter().map(request) {
            let received = validator.validate(&request).expect("a request of the shop");
            spans.extend(received.spans);
            if let Some(transaction) = received.transaction {
                assert_eq!(transaction.envelope_header["dsn"], self.dsn);
                assert_eq!(transaction.dsc("public_key"), Some(KEY));
                assert_eq!(transaction.dsc("org_id"), Some("5"));
            }
        }
        traces(&Segment::gather(&spans))
    }
}

fn traces(segments: &[Segment]) -> Vec<String> {
    segments
        .iter()
        .map(|it| it.server.trace_id.clone())
        .collect()
}

/// A rule for paths of the shop, whose receiver is another than that of the top level.
fn to(shop: &MiniSentry, path: &str) -> Value {
    json!({"match": {"path": path}, "dsn": shop.dsn(), "transport": {"cluster": "shop"}})
}

async fn gateway_with(shop: &MiniSentry, config: Value) -> Gateway {
    let cluster = cluster_at("shop", Some(shop.address()));
    let builder = Gateway::builder().await.config(config).cluster(cluster);
    let refused = Route::new("/refused/{who}", "/refused/.*").to_refused();
    builder.route(refused).start().await
}

fn of_organisation(path: &str, org_id: &str) -> Request {
    let baggage = format!("sentry-trace_id={TRACE_ID},sentry-org_id={org_id}");
    Request::get(path)
        .header("sentry-trace", format!("{IDS}-0"))
        .header("baggage", baggage)
}

/// Whether the upstream is in the trace that arrives with an organisation, or with none.
async fn continues(gateway: &Gateway, path: &str, org_id: &str) -> bool {
    let seen = gateway.pass(&of_organisation(path, org_id)).await;
    seen.sentry_trace().trace_id == TRACE_ID
}

/// Sends a request that starts a trace, and returns its id.
async fn trace(gateway: &Gateway, path: &str) -> String {
    let seen = gateway.pass(&Request::get(path)).await;
    seen.sentry_trace().trace_id
}

async fn wait_for_sent(gateway: &Gateway, requests: u64) {
    let spans = requests * SPANS;
    let account = gateway.envoy.wait_for_account(|it| it.sent == spans).await;
    assert_eq!(account.recorded, spans, "{account}");
}

/// With its key, below its path, by its cluster; and its own requests have no spans.
#[tokio::test]
async fn a_rule_sends_spans_to_another_project_in_every_format() {
    for format in ["transaction", "span_v2", "otlp"] {
        let shop = Receiver::start().await;
        let gateway = Gateway::builder()
            .await
            .config(json!({"transport": {"format": format}, "rules": [
                {"match": {"path": "^/shop/internal/"}, "dsn": ""},
                shop.rule(),
            ]}))
            .cluster(shop.cluster())
            .start()
            .await;
        let first = trace(&gateway, "/shop/1").await;
        let other = trace(&gateway, "/other").await;
        let second = trace(&gateway, "/shop/2").await;
        let seen = gateway.pass(&Request::get("/shop/internal/1")).await;
        assert_eq!(seen.headers.text("sentry-trace"), None, "{format}");
        let path = format!("/api/{ID}/envelope/");
        let to_receiver = Request::get(path).host(&shop.authority);
        gateway.pass(&to_receiver).await;
        wait_for_sent(&gateway, 3).await;
        gateway.envoy.wait_for_stat("requests", 5).await;
        assert_eq!(traces(&gateway.sentry.segments()), [other], "{format}");
        assert_eq!(shop.traces(), [first, second], "{format}");
    }
}

#[tokio::test]
async fn a_route_names_its_project_before_all_rules() {
    let shop = Receiver::start().await;
    let metadata = json!({"dsn": shop.dsn, "transport.cluster": "shop"});
    let builder = Gateway::builder().await;
    let own = builder.dsn();
    let mut routes = vec![
        Route::new("shop", "/quiet/shop").metadata(metadata),
        Route::new("quiet", "/loud/quiet").metadata(json!({"dsn": ""})),
        Route::new("own", "/quiet/own").metadata(json!({"dsn": own})),
    ];
    let mut paths = vec!["/quiet/shop"];
    if door() == Door::Native {
        let kind = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute";
        let config = json!({"dsn": shop.dsn, "transport": {"cluster": "shop"}});
        let filter = json!({
            "@type": kind,
            "dynamic_module_config": {"module": {"local": {"filename": dynamic_module()}}},
            "per_route_config_name": "sentry",
            "filter_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": config},
        });
        routes.push(Route::new("typed", "/quiet/typed").filter("sentry", filter));
        paths.push("/quiet/typed");
    }
    let rules = json!([{"match": {"path": "^/quiet/"}, "dsn": ""}]);
    let builder = builder.config(json!({"rules": rules}));
    let builder = builder.cluster(shop.cluster());
    let builder = routes
        .into_iter()
        .fold(builder, |it, route| it.route(route));
    let gateway = builder.start().await;
    for path in ["/loud/quiet", "/quiet/1"] {
        let seen = gateway.pass(&Request::get(path)).await;
        assert_eq!(seen.headers.text("sentry-trace"), None, "{path}");
        let seen = gateway.pass(&of_organisation(path, "6")).await;
        seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
    }
    let mut expected = Vec::new();
    for path in paths {
        expected.push(trace(&gateway, path).await);
    }
    let own = [
        trace(&gateway, "/quiet/own").await,
        trace(&gateway, "/loud/1").await,
    ];
    wait_for_sent(&gateway, expected.len() as u64 + 2).await;
    assert_eq!(shop.traces(), expected);
    assert_eq!(traces(&gateway.sentry.segments()), own);
}

/// The key of the top level, by another way. Only Wasm reads the cluster in a map of its own.
#[tokio::test]
async fn a_cluster_alone_is_another_way_to_the_same_project() {
    let builder = Gateway::builder().await;
    let way = |name: &str| cluster_at(name, Some(builder.sentry_address()));
    let (by_rule, by_key, by_map) = (way("by-rule"), way("by-key"), way("by-map"));
    let rule = json!({"match": {"path": "^/rule"}, "transport": {"cluster": "by-rule"}});
    let keyed = Route::new("key", "/key").metadata(json!({"transport.cluster": "by-key"}));
    let mapped = Route::new("map", "/map").metadata(json!({"transport": {"cluster": "by-map"}}));
    let builder = builder.config(json!({"rules": [rule]}));
    let builder = builder.cluster(by_rule).cluster(by_key).cluster(by_map);
    let gateway = builder.route(keyed).route(mapped).start().await;
    for path in ["/rule", "/key", "/map"] {
        trace(&gateway, path).await;
    }
    wait_for_sent(&gateway, 3).await;
    gateway.sentry.wait_for(3).await;
    let is_read = u64::from(door() == Door::Wasm);
    for (cluster, posts) in [("by-rule", 1), ("by-key", 1), ("by-map", is_read)] {
        let name = format!("cluster.{cluster}.upstream_rq_total");
        let stat = gateway.envoy.admin(&format!("/stats?filter={name}")).await;
        assert_eq!(stat.trim(), format!("{name}: {posts}"));
    }
}

#[tokio::test]
async fn upstreams_are_told_the_project_and_the_organisation() {
    let dsn = |host: &str| format!("http://{KEY}@{host}/{ID}");
    let gateway = Gateway::start(json!({"traces_sample_rate": 0, "rules": [
        {"match": {"path": "^/known"}, "dsn": dsn("o5.ingest.test")},
        {"match": {"path": "^/unknown"}, "dsn": dsn("sentry.test")},
    ]}))
    .await;
    for (path, key, org_id) in [
        ("/known", KEY, "5"),
        ("/unknown", KEY, "42"),
        ("/other", PUBLIC_KEY, "42"),
    ] {
        let seen = gateway.pass(&Request::get(path)).await;
        let said = ["public_key", "org_id"].map(|name| seen.baggage().sentry(name));
        assert_eq!(said, [key, org_id].map(|it| Some(it.to_owned())), "{path}");
        for org_id_of_caller in ["5", "42"] {
            let is_continued = continues(&gateway, path, org_id_of_caller).await;
            assert_eq!(is_continued, org_id_of_caller == org_id, "{path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_organisation_is_a_matter_of_the_project() {
    let dsn = format!("http://{KEY}@o5.ingest.test/{ID}");
    let gateway = Gateway::start(json!({
        "traces_sample_rate": 0,
        "org_id": null,
        "strict_trace_continuation": true,
        "rules": [{"match": {"path": "^/shop/"}, "dsn": dsn}],
    }))
    .await;
    for (path, org_id, expected) in [
        ("/shop/1", "5", true),
        ("/shop/1", "", false),
        ("/other", "5", false),
        ("/other", "", true),
    ] {
        let is_continued = continues(&gateway, path, org_id).await;
        assert_eq!(is_continued, expected, "{path} {org_id:?}");
    }
}

/// Where a path is of the shop in some reading only, both organisations are asked.
#[tokio::test]
async fn no_spelling_of_a_path_chooses_the_organisation() {
    let dsn = |org_id: u8| format!("http://{KEY}@o{org_id}.ingest.test/{ID}");
    let of_route = Route::new("route", "/route/.*").metadata(json!({"dsn": dsn(6)}));
    let gateway = Gateway::builder()
        .await
        .config(json!({"traces_sample_rate": 0, "rules": [
            {"match": {"path": "^/shop/"}, "dsn": dsn(5)},
        ]}))
        .route(of_route)
        .start()
        .await;
    for (path, org_id) in [
        ("/shop/1", Some("5")),
        ("/shop/1?/../../other", Some("5")),
        ("/other", Some("42")),
        ("/other?/shop/1", Some("42")),
        ("/%73hop/1", None),
        ("/%2fshop/1", None),
        ("//shop/1", None),
        ("/x/../shop/1", None),
        ("/x/..%2fshop/1", None),
        ("/x/..;/shop/1", None),
        ("/x\\..\\shop/1", None),
        ("/shop/../other", None),
        ("/shop/..%2fother", None),
        // What Envoy has decided is nothing that a caller can spell.
        ("/route/1", Some("6")),
        ("/route/..%2fshop/1", Some("6")),
    ] {
        for caller in ["5", "6", "42"] {
            let is_continued = continues(&gateway, path, caller).await;
            assert_eq!(is_continued, org_id == Some(caller), "{path} {caller}");
        }
    }
}

#[tokio::test]
async fn a_project_that_is_limited_keeps_no_other_from_sending() {
    let shop = MiniSentry::start().await;
    shop.answer(Answer::with_headers(429, &[("retry-after", "1")]));
    let gateway = gateway_with(&shop, json!({"rules": [to(&shop, "^/shop/")]})).await;
    trace(&gateway, "/shop/first").await;
    let lost = |it: &Account| it.discarded_for("ratelimit_backoff");
    gateway.envoy.wait_for_account(|it| lost(it) == SPANS).await;
    for _ in 0..3 {
        trace(&gateway, "/shop/meanwhile").await;
    }
    gateway.burst(5).await;
    let is_sent = |it: &Account| it.sent == 5 * SPANS && lost(it) == 4 * SPANS;
    gateway.envoy.wait_for_account(is_sent).await;
    assert_eq!(shop.requests().len(), 1, "nothing during the pause");

    shop.answer(Answer::status(200));
    let arrives = eventually(async || {
        trace(&gateway, "/shop/later").await;
        trace(&gateway, "/later").await;
        (shop.discarded("ratelimit_backoff", "transaction") >= 3).then_some(())
    });
    arrives.await.expect("a report after the pause");
    assert_eq!(shop.wait_for(1).await[0].name(), "/shop/later");
    let told = gateway.sentry.discarded("ratelimit_backoff", "transaction");
    assert_eq!(told, 0, "of what another project has lost");
}

/// The log says whose receiver it is that is down, without the secret.
#[tokio::test]
async fn a_project_that_is_down_or_slow_keeps_no_other_from_sending() {
    let shop = MiniSentry::start().await;
    shop.answer(Answer::after(Duration::from_secs(60)));
    let down = json!({
        "match": {"path": "^/down/"},
        "dsn": format!("http://{KEY}:hush@down.test/{ID}"),
        "transport": {"cluster": "refused"},
    });
    let transport = json!({"max_in_flight": 1});
    let config = json!({"transport": transport, "rules": [to(&shop, "^/shop/"), down]});
    let gateway = gateway_with(&shop, config).await;
    for path in ["/shop/1", "/down/1", "/shop/2", "/down/2"] {
        trace(&gateway, path).await;
    }
    shop.wait_for_requests(1).await;
    gateway.burst(5).await;
    let others_wait = |it: &Account| it.sent == 5 * SPANS && it.queued == 3 * SPANS;
    let account = gateway.envoy.wait_for_account(others_wait).await;
    assert_eq!(account.in_flight, SPANS, "{account}");
    assert_eq!(gateway.sentry.wait_for(5).await.len(), 5);
    let name = format!("http://{KEY}@down.test/{ID}");
    let line = eventually(async || gateway.envoy.log().contains(&name).then_some(()));
    line.await.expect("a line of whose receiver it is");
    assert!(!gateway.envoy.log().contains("hush"));
}

#[tokio::test]
async fn a_full_queue_costs_the_project_of_which_most_waits() {
    let shop = MiniSentry::start().await;
    shop.answer(Answer::after(Duration::from_secs(60)));
    let transport = json!({"max_in_flight": 1, "max_queue_bytes": 32_768});
    let config = json!({"transport": transport, "rules": [to(&shop, "^/shop/")]});
    let gateway = gateway_with(&shop, config).await;
    for _ in 0..60 {
        trace(&gateway, "/shop/1").await;
    }
    let is_full = |it: &Account| it.discarded_for("queue_overflow") > 0;
    gateway.envoy.wait_for_account(is_full).await;
    gateway.burst(5).await;
    gateway.sentry.wait_for(5).await;
    trace(&gateway, "/later").await;
    gateway.sentry.wait_for(6).await;
    let told = gateway.sentry.discarded("queue_overflow", "transaction");
    assert_eq!(told, 0, "of what another project has lost");
    let is_sent = |it: &Account| it.recorded == 66 * SPANS && it.sent == 6 * SPANS;
    gateway.envoy.wait_for_account(is_sent).await;
}

#[tokio::test]
async fn what_was_lost_is_told_to_the_project_whose_it_was() {
    let shop = MiniSentry::start().await;
    shop.answer(Answer::status(500));
    let quiet = json!({"match": {"path": "/quiet$"}, "traces_sample_rate": 0});
    let config = json!({"rules": [quiet, to(&shop, "^/shop/")]});
    let gateway = gateway_with(&shop, config).await;
    for path in ["/shop/1", "/shop/2", "/shop/quiet", "/quiet", "/a/quiet"] {
        trace(&gateway, path).await;
    }
    let is_lost = |it: &Account| it.discarded_for("send_error") == 2 * SPANS;
    gateway.envoy.wait_for_account(is_lost).await;
    shop.answer(Answer::status(200));
    for path in ["/later", "/shop/later"] {
        trace(&gateway, path).await;
    }
    let other = &gateway.sentry;
    assert_eq!(shop.only_transaction().await.name(), "/shop/later");
    assert_eq!(other.only_transaction().await.name(), "/later");
    for (reason, of_shop, of_other) in [("send_error", 2, 0), ("sample_rate", 1, 2)] {
        let told = [&shop, other].map(|it| it.discarded(reason, "transaction"));
        assert_eq!(told, [of_shop, of_other], "{reason}");
    }
}

/// And where no DSN is anywhere, no route is asked.
#[tokio::test]
async fn without_a_project_of_the_top_level_only_rules_and_routes_have_one() {
    for has_rule in [true, false] {
        let builder = Gateway::builder().await;
        let named = Route::new("named", "/named").metadata(json!({"dsn": builder.dsn()}));
        let rule = json!({"match": {"path": "^/shop/"}, "dsn": builder.dsn()});
        let rules = if has_rule { json!([rule]) } else { json!([]) };
        let config = json!({"dsn": null, "rules": rules});
        let gateway = builder.config(config).route(named).start().await;
        let mut recorded = Vec::new();
        for path in ["/other", "/shop/1", "/named"] {
            let seen = gateway.pass(&Request::get(path)).await;
            let has_trace = seen.headers.text("sentry-trace").is_some();
            assert_eq!(has_trace, has_rule && path != "/other", "{path}");
            recorded.extend(has_trace.then(|| seen.sentry_trace().trace_id));
        }
        gateway.envoy.wait_for_stat("requests", 3).await;
        wait_for_sent(&gateway, recorded.len() as u64).await;
        assert_eq!(traces(&gateway.sentry.segments()), recorded);
    }
}

#[tokio::test]
async fn a_failure_is_told_to_the_project_of_its_request() {
    let shop = MiniSentry::start().await;
    let nobody = json!({"match": {"path": "^/refused/nobody"}, "dsn": ""});
    let rules = json!([to(&shop, "^/refused/shop"), nobody]);
    let config = json!({"traces_sample_rate": 0, "capture_failures": {}, "rules": rules});
    let gateway = gateway_with(&shop, config).await;
    for who in ["nobody", "shop", "other"] {
        let request = Request::get(format!("/refused/{who}"));
        gateway.send(&request).await.assert_answered_by_gateway(503);
    }
    for (sentry, who) in [(&shop, "shop"), (&gateway.sentry, "other")] {
        let event = sentry.only_error().await;
        let url = event.text("/request/url");
        assert!(url.ends_with(&format!("/refused/{who}")), "{url}");
    }
    let events = gateway.envoy.wait_for_events(|it| it.sent == 2).await;
    assert_eq!(events.recorded, 2, "{events}");
}

/// They are forwarded, never another team's, and named in the log, once.
#[tokio::test]
async fn a_route_without_a_usable_project_is_not_recorded() {
    let teams = Upstream::start().await;
    let builder = Gateway::builder().await;
    let dsn = |team: u8| format!("http://{KEY}@teams.test/{team}");
    let route = |path: String, dsn: &str| Route::new(&path, &path).metadata(json!({"dsn": dsn}));
    let mut builder = builder
        .config(json!({"dsn": dsn(0), "transport": {"cluster": "teams"}}))
        .cluster(cluster_at("teams", Some(teams.address())))
        .route(route("/wrong".to_owned(), "hush"));
    // With that of the top level they are 17.
    for team in 1..=16 {
        builder = builder.route(route(format!("/team/{team}"), &dsn(team)));
    }
    let gateway = builder.start().await;
    for _ in 0..2 {
        for team in 0..=16 {
            let seen = gateway.pass(&Request::get(format!("/team/{team}"))).await;
            let has_trace = seen.headers.text("sentry-trace").is_some();
            assert_eq!(has_trace, team < 16, "{team}");
        }
        for _ in 0..5 {
            let seen = gateway.pass(&of_organisation("/wrong", "6")).await;
            seen.assert_lines("sentry-trace", &[format!("{IDS}-0")]);
        }
    }
    gateway.envoy.wait_for_stat("requests", 2 * 22).await;
    wait_for_sent(&gateway, 2 * 16).await;
    let mut posts = BTreeMap::<String, usize>::new();
    for post in teams.take_if(|_| true) {
        *posts.entry(post.path).or_default() += 1;
    }
    let expected = (0..16).map(|team| (format!("/api/{team}/envelope/"), 2));
    assert_eq!(posts, expected.collect());
    let log = gateway.envoy.log();
    for line in ["has a dsn that is none", "names a 17th project"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    assert!(!log.contains("hush"), "{log}");
}
