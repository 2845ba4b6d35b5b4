//! What leaves of requests and their answers, by `data_collection`, in real Envoy.

use e2e::{Gateway, Reply, Request};
use serde_json::json;

/// Every row of the table. Envoy adds headers of its own, which the rows say nothing about.
#[tokio::test]
async fn what_leaves_is_what_the_tables_say() {
    let mut failures = Vec::new();
    for row in vectors::collected() {
        let builder = Gateway::builder().await;
        let mut config = row.config();
        config["dsn"] = json!(builder.dsn());
        config["traces_sample_rate"] = json!(1);
        config["transport"] = json!({"flush_interval_ms": 50});
        let gateway = builder.configuration(&config.to_string()).start().await;
        let (path, _) = row.target().split_once('?').unwrap_or((row.target(), ""));
        let mut reply = Reply::status(200);
        for (name, value) in row.answer_lines() {
            reply = reply.header(&name, value);
        }
        gateway.upstream.reply("GET", path, reply);
        let mut request = Request::get(row.target());
        for (name, value) in row.lines() {
            request = request.header(&name, value);
        }
        gateway.send(&request).await;
        let server = gateway.sentry.only_segment().await.server;
        failures.extend(row.check(|name| server.attribute(name).cloned()));
    }
    vectors::none_of(&failures);
}

/// All headers of a caller who sends as many as Envoy takes, and a response of that kind: the span has
/// a part of them, well within what Sentry takes (`mini-sentry` asks), in every format.
#[tokio::test]
async fn a_caller_with_many_headers_gets_few_of_them_recorded() {
    for format in ["transaction", "span_v2", "otlp"] {
        let gateway = Gateway::start(json!({
            "data_collection": {
                "user_info": true, "cookies": true, "url_query_params": true,
                "http_headers": {"request": true, "response": true},
            },
            "transport": {"format": format, "flush_interval_ms": 50},
        }))
        .await;
        let (mut request, mut reply) = (Request::get("/api/1?page=2"), Reply::status(200));
        for n in 0..80 {
            request = request.header(&format!("x-caller-{n}"), "v".repeat(500));
            reply = reply.header(&format!("x-service-{n}"), "v");
        }
        gateway.upstream.reply("GET", "/api/1", reply);
        gateway.pass(&request).await;
        let server = gateway.sentry.only_segment().await.server;
        let count = |prefix: &str| {
            let names = server.attributes.keys();
            names.filter(|name| name.starts_with(prefix)).count()
        };
        let (callers, services) = (
            count("http.request.header.x-caller-"),
            count("http.response.header."),
        );
        assert!((5..20).contains(&callers), "{callers} in {format}");
        assert!((1..=64).contains(&services), "{services} in {format}");
        assert_eq!(server.text("url.query"), "page=2");
    }
}
