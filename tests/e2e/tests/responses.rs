//! What the client of an answer gets: the tables `cors.toml` and `response.toml` through real
//! Envoy, with and without Envoy's own CORS filter; and the answers that Envoy gives in the place
//! of the service.

use std::collections::BTreeMap;

use e2e::{
    eventually, Gateway, GatewayBuilder, RecordedRequest, Reply, Request, Route, SentryTrace,
};
use sentry_filter_core::cors::filter_order::FilterOrder;
use serde_json::{json, Value};
use vectors::{none_of, Answered, Response, Seen, Stands};

const PAGE: &str = "https://page.example";
const CORS: &str = "envoy.filters.http.cors";

#[tokio::test]
async fn the_client_gets_what_the_tables_say() {
    let mut by_config: BTreeMap<String, Vec<Response>> = BTreeMap::new();
    for (_, row) in vectors::responses() {
        if row.envoy_cors.is_none() {
            let rows = by_config.entry(row.config().to_string()).or_default();
            rows.push(row);
        }
    }
    let mut failures = Vec::new();
    for rows in by_config.into_values() {
        let gateway = configured(&rows[0]).await.start().await;
        for (index, row) in rows.iter().enumerate() {
            check(&gateway, index, row, &mut failures).await;
        }
    }
    none_of(&failures);
}

/// The CORS filter where it belongs: one gateway, and a route with a policy of its own for each
/// row.
#[tokio::test]
async fn envoys_own_cors_filter_stands_behind_ours() {
    let rows = beside_envoys(Stands::Behind);
    let mut builder = configured(&rows[0])
        .await
        .behind(CORS, any("Cors", json!({})));
    for (index, row) in rows.iter().enumerate() {
        builder = builder.route(policed(&path(index), row));
    }
    let gateway = builder.start().await;
    let mut failures = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        check(&gateway, index, row, &mut failures).await;
    }
    none_of(&failures);
    assert_eq!(warnings(&gateway), 0, "the order is right");
}

/// The wrong order; a gateway for each row, since each says so once only.
#[tokio::test]
async fn envoys_own_cors_filter_in_front_is_noticed() {
    let mut failures = Vec::new();
    for row in beside_envoys(Stands::InFront) {
        let gateway = configured(&row)
            .await
            .in_front(CORS, any("Cors", json!({})))
            .route(policed(&path(0), &row))
            .start()
            .await;
        check(&gateway, 0, &row, &mut failures).await;
        // The end of the one stream comes before that of the next.
        gateway.pass(&Request::get("/next")).await;
        gateway
            .envoy
            .wait_for_stat("requests", requests(&row))
            .await;
        let warns = row.envoy_cors.as_ref().is_some_and(|cors| cors.warns);
        let said = warnings(&gateway);
        if said != usize::from(warns) {
            failures.push(format!(
                "{}: said {said} times that the order is wrong",
                row.name
            ));
        }
    }
    none_of(&failures);
}

#[tokio::test]
async fn the_wrong_order_is_said_once_however_many_answers_show_it() {
    let policy =
        json!({"allow_origin_string_match": [{"exact": PAGE}], "expose_headers": "x-total"});
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .in_front(CORS, any("Cors", json!({})))
        .route(Route::new("policed", "/policed").filter(CORS, any("CorsPolicy", policy)))
        .start()
        .await;
    for round in 1..=5 {
        gateway
            .pass(&Request::get("/policed").header("origin", PAGE))
            .await;
        gateway.envoy.wait_for_stat("requests", round).await;
    }
    assert_eq!(warnings(&gateway), 1);
}

/// Every answer that Envoy gives itself tells the client its trace, if the filter comes first.
#[tokio::test]
async fn answers_of_envoys_own_tell_the_trace() {
    let rate_limit = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    });
    let limited = Route::new("limited", "/limited").filter("limit", rate_limit.clone());
    let off = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "none",
    });
    let users = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        "users": {"inline_string": "user:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc="},
    });
    const USER: &str = "Basic dXNlcjphZG1pbg==";
    let gateway = Gateway::builder()
        .await
        .config(json!({"server_timing": true}))
        .behind("auth", users)
        .behind("limit", off)
        .route(Route::new("direct", "/teapot").action(json!({"direct_response": {"status": 418}})))
        .route(Route::new("moved", "/moved").action(json!({"redirect": {"path_redirect": "/"}})))
        .route(Route::new("down", "/down").to_no_host())
        .route(Route::new("closed", "/closed").to_refused())
        .route(limited)
        .start()
        .await;
    let first = Request::get("/limited").header("authorization", USER);
    gateway.pass(&first).await;
    let rows = [
        (401, Request::get("/secret")),
        (404, Request::get("/").host("nothing.test")),
        (429, Request::get("/limited")),
        (503, Request::get("/down")),
        (503, Request::get("/closed")),
        (418, Request::get("/teapot")),
        (301, Request::get("/moved")),
    ];
    let before = gateway.sentry.wait_for(1).await.len();
    for (index, (status, request)) in rows.iter().enumerate() {
        let request = match status {
            401 => request.clone(),
            _ => request.clone().header("authorization", USER),
        };
        let exchange = gateway.send(&request).await;
        exchange.assert_answered_by_gateway(*status);
        let told = exchange.response.headers.text("sentry-trace");
        let told = told.and_then(SentryTrace::parse);
        let told = told.unwrap_or_else(|| panic!("{status} tells no trace"));
        let transactions = gateway.sentry.wait_for(before + index + 1).await;
        let transaction = transactions.last().expect("a transaction");
        assert_eq!(transaction.span_id(), told.span_id, "{status}");
    }
}

/// The filter does not see a request that a filter in front of it answers, so there is nothing to
/// tell.
#[tokio::test]
async fn an_answer_of_a_filter_in_front_tells_nothing() {
    let users = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        "users": {"inline_string": "user:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc="},
    });
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .in_front("auth", users)
        .start()
        .await;
    let exchange = gateway
        .send(&Request::get("/secret").header("origin", PAGE))
        .await;
    exchange.assert_answered_by_gateway(401);
    assert_eq!(exchange.response.headers.text("sentry-trace"), None);
    assert_eq!(warnings(&gateway), 0);
    assert_eq!(gateway.envoy.stat("requests").await, 0);
}

/// A gateway with the plugin configuration of a row.
async fn configured(row: &Response) -> GatewayBuilder {
    let builder = Gateway::builder().await;
    let mut config = row.config();
    if config["dsn"] == vectors::DSN {
        config["dsn"] = json!(builder.dsn());
    }
    config["transport"] = json!({"flush_interval_ms": 50});
    builder.configuration(&config.to_string())
}

fn beside_envoys(stands: Stands) -> Vec<Response> {
    let rows = vectors::responses().into_iter().map(|(_, row)| row);
    let is_one = |row: &Response| {
        row.envoy_cors
            .as_ref()
            .is_some_and(|cors| cors.stands == stands)
    };
    let rows: Vec<_> = rows.filter(is_one).collect();
    assert!(rows.len() > 5);
    rows
}

fn policed(path: &str, row: &Response) -> Route {
    let cors = row.envoy_cors.as_ref().expect("a row with Envoy's filter");
    let policy = serde_json::from_str(&cors.policy).expect("a policy");
    Route::new(path, path).filter(CORS, any("CorsPolicy", policy))
}

fn any(kind: &str, mut message: Value) -> Value {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.cors.v3.{kind}");
    message["@type"] = kind.into();
    message
}

/// Rules in rows are about `/orders`.
fn path(index: usize) -> String {
    format!("/orders/{index}")
}

/// The requests that the filter has seen of a row, with the one behind it: a preflight that is
/// answered in front of it is none.
fn requests(row: &Response) -> u64 {
    let is_preflight = row.method.as_deref() == Some("OPTIONS");
    let is_answered_in_front = is_preflight && row.allow_headers.is_some();
    if is_answered_in_front {
        1
    } else {
        2
    }
}

async fn check(gateway: &Gateway, index: usize, row: &Response, failures: &mut Vec<String>) {
    let method = row.method.as_deref().unwrap_or("GET");
    let mut reply = Reply::status(row.status.unwrap_or(200));
    for (name, value) in row.answer_lines() {
        reply = reply.header(&name, value);
    }
    gateway.upstream.reply(method, &path(index), reply);
    // Rows are about a gateway that is reached by HTTPS, behind whatever ends the TLS.
    let mut request = Request::new(method, path(index))
        .host(row.host.as_deref().unwrap_or("shop.example"))
        .header("x-forwarded-proto", "https");
    for (name, value) in row.lines() {
        request = request.header(&name, value);
    }
    let exchange = gateway.send(&request).await;
    let seen = |headers: Option<&mini_sentry::Headers>| Seen {
        lines: headers
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect(),
        ..Seen::default()
    };
    let complaints = row.check(&Answered {
        forwarded: seen(exchange.upstream.as_ref().map(|request| &request.headers)),
        returned: seen(Some(&exchange.response.headers)),
        span_id: match exchange.upstream {
            Some(request) if is_recorded(row, &request) => recorded(gateway, &request).await,
            _ => None,
        },
    });
    failures.extend(
        complaints
            .iter()
            .map(|what| format!("{}: {what}", row.name)),
    );
}

/// Whether the upstream was told of a span of the gateway's: another one than arrived, in whatever
/// form.
fn is_recorded(row: &Response, request: &RecordedRequest) -> bool {
    let told = request.headers.text("sentry-trace").unwrap_or_default();
    let arrived = |value: &[u8]| {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        value.contains(told)
    };
    !row.tells.is_empty() && !row.lines().iter().any(|(_, value)| arrived(value))
}

/// The gateway's span above what the upstream was told, if it was told of one.
async fn recorded(gateway: &Gateway, request: &RecordedRequest) -> Option<String> {
    let line = request.headers.text("sentry-trace")?;
    let context = SentryTrace::parse(line).filter(|context| context.sampled == Some(true))?;
    eventually(async || {
        let transactions = gateway.sentry.wait_for(0).await;
        let mut spans = transactions
            .iter()
            .filter(|transaction| transaction.upstream_parent() == context.span_id);
        Some(spans.next()?.span_id().to_owned())
    })
    .await
}

fn warnings(gateway: &Gateway) -> usize {
    gateway.envoy.log().matches(FilterOrder::WARNING).count()
}
