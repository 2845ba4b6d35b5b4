//! A module that Envoy fetches from a web server, as Envoy Gateway has its proxies do: what a wrong
//! checksum does to a proxy that starts and to one that runs, and who tells. And the filter enabled
//! by route, as Envoy Gateway enables it.

use std::{collections::BTreeMap, fs, process::Command};

use e2e::{envoy::module, eventually, Gateway, GatewayBuilder, Reply, Request, Route};
use sentry_filter_cli::{admin::Admin, doctor::diagnose};
use serde_json::{json, Value};

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const PATH: &str = "/sentry_filter.wasm";
const WRONG: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const FAULTS: [(Fault, bool); 4] = [
    (Fault::Key, true),
    (Fault::Key, false),
    (Fault::Checksum, true),
    (Fault::Checksum, false),
];

/// What an operator got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A key that the filter does not know.
    Key,
    /// The checksum of another module.
    Checksum,
}

/// The checksum of the module.
fn checksum() -> String {
    let output = Command::new("sha256sum").arg(module()).output();
    let output = output.expect("sha256sum");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split(' ').next().expect("a checksum").to_owned()
}

/// The filter, fetched from the upstream, as Envoy Gateway writes it.
fn filter(dsn: &str, fault: Fault, is_open: bool) -> Value {
    let rate = match fault {
        Fault::Key => "traces_sample_rat",
        _ => "traces_sample_rate",
    };
    let sha256 = match fault {
        Fault::Checksum => WRONG.to_owned(),
        _ => checksum(),
    };
    let configuration = json!({"dsn": dsn, rate: 1, "transport": {"flush_interval_ms": 50}});
    json!({"@type": WASM, "config": {
        "name": "sentry",
        "fail_open": is_open,
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"remote": {
                "http_uri": {"uri": format!("http://files.test{PATH}"), "cluster": "upstream", "timeout": "5s"},
                "sha256": sha256,
                "retry_policy": {"num_retries": 0},
            }},
        },
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration.to_string()},
    }})
}

async fn builder(fault: Fault, is_open: bool) -> GatewayBuilder {
    let builder = Gateway::builder().await.without_filter();
    let bytes = fs::read(module()).expect("the module");
    builder.upstream().reply(
        "GET",
        PATH,
        Reply::status(200).body("application/wasm", bytes),
    );
    let filter = filter(&builder.dsn(), fault, is_open);
    builder.in_front("sentry", filter)
}

/// A stat of Envoy's own.
async fn envoys(gateway: &Gateway, name: &str) -> Option<u64> {
    let stats = gateway
        .envoy
        .admin(&format!("/stats?filter=^{name}$"))
        .await;
    stats.trim().rsplit(' ').next()?.parse().ok()
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    let response = Request::get(path).send(gateway.envoy.address()).await;
    response.expect("a response").status
}

/// Whether Envoy shows any counter of the filter's.
async fn has_counters(gateway: &Gateway) -> bool {
    !gateway.envoy.stats().await.is_empty()
}

/// What Envoy's log says about a fault.
async fn logged(gateway: &Gateway, fault: Fault) {
    let word = match fault {
        Fault::Checksum => "Plugin sentry failed to load",
        _ => "configuration refused: traces_sample_rat: unknown key",
    };
    let logged = eventually(async || gateway.envoy.log().contains(word).then_some(()));
    assert!(logged.await.is_some(), "{fault:?}: {}", gateway.envoy.log());
}

async fn answers(gateway: &Gateway, path: &str, expected: u16) {
    let answered = eventually(async || (status(gateway, path).await == expected).then_some(()));
    assert!(answered.await.is_some(), "{path}: no {expected}");
}

/// A proxy that starts takes the listener before it has the module, so nothing is refused: it goes
/// without the filter, or answers 503, for good, and the filter has no counters that would tell.
#[tokio::test]
async fn a_fresh_proxy_goes_without_the_filter_or_answers_503() {
    for (fault, is_open) in FAULTS {
        let gateway = builder(fault, is_open).await.start().await;
        logged(&gateway, fault).await;
        for path in ["/", "/api/1"] {
            answers(&gateway, path, if is_open { 200 } else { 503 }).await;
        }
        assert!(!has_counters(&gateway).await, "{fault:?}, open: {is_open}");
        // Only for a module that did not come does Envoy count something itself.
        let failures = envoys(&gateway, "wasm.remote_load_fetch_failures").await;
        let expected = u64::from(fault == Fault::Checksum);
        assert_eq!(failures, Some(expected), "{fault:?}");
        // The doctor tells all the same.
        let admin = format!("http://{}", gateway.envoy.admin_address());
        let asked =
            tokio::task::spawn_blocking(move || diagnose(&Admin::new(&admin)?, &BTreeMap::new()));
        let diagnosis = asked.await.expect("a thread").expect("a diagnosis");
        let verdict = match fault {
            Fault::Checksum => "could not be fetched",
            _ => "traces_sample_rat: unknown key; did you mean traces_sample_rate?",
        };
        assert!(diagnosis.verdict.contains(verdict), "{diagnosis:#?}");
    }
}

/// A proxy that runs has the module in its memory, so a configuration that the filter refuses is
/// refused as an update, and the old one stays: the fault shows at the next start. Another checksum
/// is another module, and that is as with a proxy that starts.
#[tokio::test]
async fn a_running_proxy_keeps_the_old_configuration_but_not_the_old_module() {
    for (fault, is_open) in FAULTS {
        let builder = builder(Fault::None, is_open).await.with_files();
        let mut gateway = builder.start().await;
        let counts = eventually(async || has_counters(&gateway).await.then_some(()));
        assert!(counts.await.is_some(), "no counters");
        answers(&gateway, "/", 200).await;
        gateway.sentry.wait_for(1).await;
        let dsn = gateway.sentry.dsn().to_owned();
        gateway.replace_listener(|bootstrap| {
            let changed = json!({"name": "sentry", "typed_config": filter(&dsn, fault, is_open)});
            bootstrap.filters_in_front = vec![changed];
        });
        logged(&gateway, fault).await;
        let expected = match (fault, is_open) {
            (Fault::Checksum, false) => 503,
            _ => 200,
        };
        answers(&gateway, "/", expected).await;
        let before = gateway.sentry.requests().len();
        answers(&gateway, "/", expected).await;
        if fault == Fault::Key {
            gateway.sentry.wait_for_requests(before + 1).await;
        }
    }
}

/// Envoy Gateway puts the filter into the chain disabled, and enables it for the routes that the
/// policy is for. What has no route, the gateway's own 404, is not seen by it.
#[tokio::test]
async fn enabled_by_route_the_gateways_own_404_has_no_span() {
    let kind = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let route = Route::new("/orders/{id}", "/orders/[^/]+");
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .disabled()
        .route(route.filter("sentry", json!({"@type": kind, "config": {}})))
        .start()
        .await;
    answers(&gateway, "/orders/1", 200).await;
    assert_eq!(
        gateway.sentry.only_transaction().await.name(),
        "/orders/{id}"
    );
    // Another route, and no route at all.
    assert_eq!(status(&gateway, "/plain").await, 200);
    let nowhere = Request::get("/").host("nothing.test");
    let nowhere = nowhere.send(gateway.envoy.address()).await;
    assert_eq!(nowhere.expect("a response").status, 404);
    answers(&gateway, "/orders/2", 200).await;
    gateway.sentry.wait_for(2).await;
    gateway.envoy.wait_for_stat("requests", 2).await;
}
