//! What only the dynamic module does, and each row of the table in docs/doors.md that is not in
//! another test.

use std::{fs, path::PathBuf, time::Duration};

use e2e::{
    door, door::dynamic_module, envoy::workspace, eventually, Account, Answer, Door, Gateway,
    GatewayBuilder, Launch, MiniSentry, Request, Route, Upstream, SPANS,
};
use serde_json::{json, Value};

/// A flush that does not come by itself within a test.
const LONG: u32 = 30_000;

async fn builder(config: Value) -> GatewayBuilder {
    assert_eq!(door(), Door::Native, "set SENTRY_FILTER_DOOR=native");
    Gateway::builder().await.config(config)
}

fn flush(interval_ms: u32) -> Value {
    json!({"transport": {"flush_interval_ms": interval_ms}})
}

fn held(account: &Account) -> u64 {
    account.queued + account.in_flight
}

#[tokio::test]
async fn a_gateway_that_is_stopped_at_once_loses_nothing() {
    for format in ["transaction", "span_v2", "otlp"] {
        let config = json!({"transport": {"flush_interval_ms": LONG, "format": format}});
        let mut gateway = builder(config).await.concurrency(2).start().await;
        gateway.burst(31).await;
        gateway.envoy.terminate().await;
        let segments = gateway.sentry.wait_for_segments(31).await;
        assert_eq!(segments.len(), 31, "{format}");
    }
}

/// Envoy ends cleanly without the extension, too, and the log says what is missing.
#[tokio::test]
async fn without_the_extension_what_waits_is_lost_and_envoy_ends() {
    let builder = builder(flush(LONG)).await.without_extension();
    let mut gateway = builder.start().await;
    gateway.burst(31).await;
    gateway.envoy.terminate().await;
    let log = gateway.envoy.log();
    assert_eq!(
        log.matches("sentry: bootstrap_extensions has no").count(),
        1
    );
    let arrived = gateway.sentry.wait_for_segments(0).await.len();
    println!("{} of 31 requests lost", 31 - arrived);
}

/// A receiver that does not answer holds up the end of Envoy for no longer than a callout may take.
#[tokio::test]
async fn a_receiver_that_hangs_does_not_keep_envoy() {
    let config = json!({"transport": {"flush_interval_ms": LONG, "timeout_ms": 1_000}});
    let mut gateway = builder(config).await.start().await;
    gateway.burst(3).await;
    gateway
        .sentry
        .answer(Answer::after(Duration::from_secs(60)));
    let begun = std::time::Instant::now();
    gateway.envoy.terminate().await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_listener_that_is_replaced_or_removed_loses_nothing() {
    for is_removed in [false, true] {
        let builder = builder(flush(LONG)).await.with_files();
        let mut gateway = builder.concurrency(2).start().await;
        gateway.burst(31).await;
        match is_removed {
            true => gateway.remove_listener(),
            false => gateway.reconfigure(json!({"release": "next@1"})),
        }
        let sent = |account: &Account| account.sent == 31 * SPANS;
        let account = gateway.envoy.wait_for_account(sent).await;
        assert_eq!(held(&account), 0, "{account}");
        assert_eq!(gateway.sentry.wait_for_segments(31).await.len(), 31);
    }
}

#[tokio::test]
async fn without_the_extension_a_replaced_listener_loses_what_waits_and_says_so() {
    let builder = builder(flush(LONG)).await.without_extension();
    let mut gateway = builder.with_files().start().await;
    gateway.burst(31).await;
    gateway.reconfigure(json!({"release": "next@1"}));
    let all = |account: &Account| {
        account.recorded == 31 * SPANS
            && account.sent + account.discarded_for("network_error") == 31 * SPANS
    };
    let account = gateway.envoy.wait_for_account(all).await;
    assert_eq!(held(&account), 0, "{account}");
}

/// Configurations follow one another while requests come.
#[tokio::test]
async fn a_configuration_that_is_replaced_again_and_again_under_load_loses_nothing() {
    let builder = builder(flush(50)).await.with_files().concurrency(2);
    let mut gateway = builder.start().await;
    for round in 0..10 {
        gateway.burst(50).await;
        gateway.reconfigure(json!({"release": format!("round@{round}")}));
    }
    let spans = 500 * SPANS;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == spans)
        .await;
    assert_eq!((account.recorded, held(&account)), (spans, 0), "{account}");
}

/// In Wasm the names have `wasm.` before them.
#[tokio::test]
async fn an_access_log_tells_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let format = "%FILTER_STATE(sentry.trace_id:PLAIN)% %FILTER_STATE(sentry.sampled:PLAIN)%\n";
    let log = json!([{"name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": path, "log_format": {"text_format_source": {"inline_string": format}},
    }}]);
    let builder = builder(json!({})).await;
    let gateway = builder.connection_manager("access_log", log).start().await;
    let seen = gateway.pass(&Request::get("/")).await;
    let trace = seen.sentry_trace().trace_id;
    let line = async || {
        let text = fs::read_to_string(&path).ok()?;
        (!text.is_empty()).then_some(text)
    };
    let line = eventually(line).await.expect("a line");
    assert_eq!(line, format!("{trace} true\n"));
}

fn for_route(config: Value) -> Value {
    let kind = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute";
    json!({
        "@type": kind,
        "dynamic_module_config": {"module": {"local": {"filename": dynamic_module()}}},
        "per_route_config_name": "sentry",
        "filter_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": config},
    })
}

#[tokio::test]
async fn a_route_has_settings_of_its_own() {
    let named = for_route(json!({"transaction": "/carts/{id}"}));
    let unsampled = for_route(json!({"traces_sample_rate": 0.0}));
    let ignored = for_route(json!({"ignore": true}));
    let builder = builder(json!({})).await;
    let gateway = builder
        .route(Route::new("carts", "/carts/.*").filter("sentry", named))
        .route(Route::new("rate", "/rate").filter("sentry", unsampled))
        .route(Route::new("ignored", "/ignored").filter("sentry", ignored))
        .start()
        .await;
    let seen = gateway.pass(&Request::get("/rate")).await;
    assert_eq!(seen.sentry_trace().sampled, Some(false));
    gateway.pass(&Request::get("/ignored")).await;
    gateway.pass(&Request::get("/carts/7")).await;
    let segments = gateway.sentry.wait_for_segments(1).await;
    assert_eq!(segments[0].server.name, "/carts/{id}");
    gateway.envoy.wait_for_stat("spans_sent", SPANS).await;
}

#[tokio::test]
async fn wrong_settings_of_a_route_are_refused_with_their_paths() {
    let wrong = for_route(json!({"traces_sample_rate": 2, "dsn": "x"}));
    let builder = builder(json!({})).await;
    let route = Route::new("wrong", "/wrong").filter("sentry", wrong);
    let log = builder.route(route).expect_refused().await;
    assert!(log.contains("configuration of a route refused: traces_sample_rate: expected a number"));
    assert!(log.contains("configuration of a route refused: dsn: "));
}

/// In Wasm Envoy matches the route again whenever the filter writes a request header; a dynamic
/// module's writes change no route, unless an option says so.
#[tokio::test]
async fn our_headers_choose_a_route_where_an_option_says_so() {
    for (clears, status) in [(false, 200), (true, 418)] {
        let action = json!({"direct_response": {"status": 418}});
        let by_header = Route::new("by-header", "/.*").action(action);
        let by_header = by_header.with_header("sentry-trace");
        let builder = builder(json!({"clear_route_cache": clears})).await;
        let gateway = builder.route(by_header).start().await;
        let response = gateway.send(&Request::get("/")).await.response;
        assert_eq!(response.status, status, "{clears}");
    }
}

/// Hooks that panic, one after the other, in a module that was built to do so.
#[tokio::test]
async fn a_panic_in_a_hook_leaves_a_living_envoy_and_an_answered_request() {
    let module = std::env::var_os("SENTRY_FILTER_FAILPOINTS_SO").map(PathBuf::from);
    let module = module.expect("SENTRY_FILTER_FAILPOINTS_SO: see make test-native");
    for hook in [
        "http_filter_new",
        "http_filter_request_headers",
        "http_filter_response_headers",
        "http_filter_stream_complete",
        "http_filter_destroy",
        "http_filter_config_scheduled",
        "bootstrap_extension_http_callout_done",
        "bootstrap_extension_shutdown",
        "http_filter_config_destroy",
        "bootstrap_extension_config_destroy",
        "tracer",
    ] {
        // A callout whose answer is not seen is given up after its time.
        let config = json!({"transport": {"flush_interval_ms": 20, "timeout_ms": 500}});
        let builder = builder(config).await.dynamic_module(&module);
        let builder = builder.vm_environment("SENTRY_FILTER_PANIC_IN", hook);
        let mut gateway = builder.start().await;
        for _ in 0..20 {
            let response = gateway.send(&Request::get("/")).await.response;
            assert_eq!(response.status, 200, "{hook}");
        }
        assert!(gateway.envoy.is_running(), "{hook}");
        gateway.envoy.terminate().await;
        let log = gateway.envoy.log();
        let told = format!("sentry: a panic in {hook} was caught");
        assert!(log.contains(&told) || hook == "tracer", "{hook}");
    }
}

/// The file that an operator starts from, with the three values changed.
#[tokio::test]
async fn the_shipped_file_carries_a_request_to_a_transaction() {
    let (sentry, upstream) = (MiniSentry::start().await, Upstream::start().await);
    let text = fs::read_to_string(workspace("envoy/native/envoy.yaml")).expect("the file");
    let mut file: Value = serde_norway::from_str(&text).expect("YAML");
    let place = |address: std::net::SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let mut set = |pointer: &str, value: Value| {
        *file.pointer_mut(pointer).expect(pointer) = value;
    };
    const CHAIN: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    set("/admin/address/socket_address/port_value", json!(0));
    set(
        "/static_resources/listeners/0/address/socket_address/port_value",
        json!(0),
    );
    let module = json!({"module": {"local": {"filename": dynamic_module()}}});
    set(
        "/bootstrap_extensions/0/typed_config/dynamic_module_config",
        module.clone(),
    );
    set(
        &format!("{CHAIN}/http_filters/0/typed_config/dynamic_module_config"),
        module,
    );
    let config = json!({"dsn": sentry.dsn(), "traces_sample_rate": 1});
    let config = json!({
        "@type": "type.googleapis.com/google.protobuf.Struct", "value": config,
    });
    set(
        &format!("{CHAIN}/http_filters/0/typed_config/filter_config"),
        config,
    );
    for (index, address) in [upstream.address(), sentry.address()]
        .into_iter()
        .enumerate()
    {
        let cluster = format!("/static_resources/clusters/{index}");
        let endpoint = format!("{cluster}/load_assignment/endpoints/0/lb_endpoints/0/endpoint");
        set(&format!("{endpoint}/address"), place(address));
    }
    // The receiver of the tests speaks neither TLS nor HTTP/2 by ALPN.
    let receiver = file
        .pointer_mut("/static_resources/clusters/1")
        .and_then(Value::as_object_mut)
        .expect("the second cluster");
    receiver
        .retain(|key, _| ["name", "connect_timeout", "load_assignment"].contains(&key.as_str()));
    let mut envoy = Launch::bootstrap(file.to_string()).start().await;
    let response = Request::get("/carts/7").send(envoy.address()).await;
    assert_eq!(response.expect("a response").status, 200);
    envoy.terminate().await;
    let segment = sentry.wait_for_segments(1).await.pop().expect("a segment");
    let log = envoy.log();
    let line = log.lines().find(|line| line.contains("\"trace_id\""));
    let line = line.expect("a line of the access log");
    assert!(line.contains(&segment.server.trace_id), "{line}");
}

/// In Wasm Envoy's node is the `server_name` of a configuration without one.
#[tokio::test]
async fn the_node_is_not_told() {
    let gateway = builder(json!({})).await.with_files().start().await;
    gateway.pass(&Request::get("/")).await;
    let transaction = gateway.sentry.wait_for(1).await.pop().expect("one");
    assert_eq!(transaction.text("/server_name"), "");
    assert_eq!(transaction.text("/environment"), "e2e");
}

/// Quoted numbers are numbers, since Envoy makes them in a `Struct`; quoted words are none.
#[tokio::test]
async fn a_number_may_be_a_text() {
    let config = json!({"traces_sample_rate": "0.0"});
    let gateway = builder(config).await.start().await;
    let seen = gateway.pass(&Request::get("/")).await;
    assert_eq!(seen.sentry_trace().sampled, Some(false));
    let config = json!({"traces_sample_rate": "none", "debug": "true"});
    let log = builder(config).await.expect_refused().await;
    assert!(log.contains("configuration refused: traces_sample_rate: expected a number"));
    assert!(log.contains("configuration refused: debug: expected"));
}
