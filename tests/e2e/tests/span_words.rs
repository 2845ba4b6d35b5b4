//! What spans say of requests and responses that callers and services made up: methods, gRPC codes,
//! interim responses, and texts with secrets in them.

use std::time::Duration;

use e2e::{
    ended::told,
    envoy::http2_cluster_at,
    http2::{open, Service},
    peers::talk,
    Gateway, Reply, Request, Route, Step,
};
use serde_json::json;

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// OpenTelemetry's conventions for HTTP.
#[tokio::test]
async fn methods_that_somebody_made_up_are_one() {
    let gateway = Gateway::start(json!({})).await;
    let address = gateway.envoy.address();
    let long = "X".repeat(2_000);
    let methods = ["BREW", "get", "PROPFIND", "_OTHER", long.as_str()];
    for (index, method) in methods.into_iter().enumerate() {
        open(address, method, "http://gateway.test/tea", None, &[]).await;
        let segments = gateway.sentry.wait_for_segments(index + 1).await;
        let segment = &segments[index];
        for span in [&segment.server, segment.call()] {
            assert_eq!(span.text("http.request.method"), "_OTHER", "{method}");
            let original = span.text("http.request.method_original");
            let is_cut = method == long && original.len() == 64 && original.ends_with("...");
            assert!(original == method || is_cut, "{original}");
        }
        assert_eq!(segment.call().name, "_OTHER http://gateway.test/tea");
        let transaction = gateway.sentry.wait_for(index + 1).await.remove(index);
        assert_eq!(transaction.text("/request/method"), "_OTHER");
    }
    for method in ["POST", "PATCH", "TRACE", "DELETE", "PUT"] {
        open(address, method, "http://gateway.test/known", None, &[]).await;
    }
    let segments = gateway.sentry.wait_for_segments(methods.len() + 5).await;
    for segment in &segments[methods.len()..] {
        let original = "http.request.method_original";
        assert_eq!(segment.server.attribute(original), None);
        assert_ne!(segment.server.text("http.request.method"), "_OTHER");
    }
}

/// A service that speaks gRPC over real HTTP/2, and ends its calls as no library would.
#[tokio::test]
async fn grpc_codes_that_grpc_does_not_have_are_unknown() {
    // The headers' status, the trailers'; the span's status, and that of the call.
    let rows: [(&str, Option<&str>, &str, &str); 16] = [
        ("", Some("0"), "ok", "OK"),
        ("", Some("5"), "not_found", "NOT_FOUND"),
        ("", Some("16"), "unauthenticated", "UNAUTHENTICATED"),
        ("", Some("2"), "unknown_error", "UNKNOWN"),
        ("", Some("17"), "unknown_error", ""),
        ("", Some("100"), "unknown_error", ""),
        ("", Some("4294967296"), "unknown_error", ""),
        ("", Some("18446744073709551616"), "unknown_error", ""),
        ("", Some("-1"), "unknown_error", ""),
        ("", Some("abc"), "unknown_error", ""),
        ("", Some("5.0"), "unknown_error", ""),
        // None at all.
        ("", Some(""), "ok", ""),
        // Responses that are only trailers.
        ("7", None, "permission_denied", "PERMISSION_DENIED"),
        ("17", None, "unknown_error", ""),
        ("-1", None, "unknown_error", ""),
        ("", None, "ok", ""),
    ];
    // Proxies that know no gRPC answer in the service's place.
    let proxies = [("404", "not_found"), ("503", "unavailable")];
    let mut services = Vec::new();
    for (header, trailer, ..) in rows {
        let mut headers = vec![("content-type", "application/grpc")];
        headers.extend((!header.is_empty()).then_some(("grpc-status", header)));
        let trailers = trailer.map(|trailer| match trailer {
            "" => vec![("x-end", "1")],
            trailer => vec![("grpc-status", trailer)],
        });
        services.push(Service::start(&headers, trailers.as_deref()).await);
    }
    for (code, _) in proxies {
        let headers = [("status", code), ("content-type", "text/html")];
        services.push(Service::start(&headers, None).await);
    }
    let mut builder = Gateway::builder().await.config(json!({}));
    for (index, service) in services.iter().enumerate() {
        let (name, path) = (
            format!("grpc-{index}"),
            format!("/shop.v1.Cart/Call{index}"),
        );
        let cluster = http2_cluster_at(&name, service.address());
        let action = json!({"route": {"cluster": name, "timeout": "0s"}});
        let route = Route::new(&name, &path).action(action);
        builder = builder.cluster(cluster).route(route);
    }
    let gateway = builder.start().await;
    let port = gateway.envoy.address().port().to_string();
    let expected = rows.map(|(_, _, status, word)| (status, word));
    let expected = expected
        .into_iter()
        .chain(proxies.map(|(_, status)| (status, "")));
    for (index, (status, word)) in expected.enumerate() {
        let method = format!("Call{index}");
        talk("grpc_peer.py", &["call", &port, &method]).await;
        let segment = gateway
            .sentry
            .wait_for_segments(index + 1)
            .await
            .remove(index);
        for span in [&segment.server, segment.call()] {
            assert_eq!(span.status, status, "{index}: {span:#?}");
            assert_eq!(span.text("rpc.response.status_code"), word, "{index}");
        }
    }
}

/// A 1xx is no answer, whatever comes of the upstream behind it.
#[tokio::test]
async fn an_upstream_that_dies_after_an_interim_response_did_not_answer() {
    let route = Route::new("late", "/late/.*")
        .action(json!({"route": {"cluster": "upstream", "timeout": "0.4s"}}));
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .route(route)
        .connection_manager("proxy_100_continue", json!(true))
        .start()
        .await;
    let mut count = 0;
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        for (end, expected) in [
            (Step::Reset, "unavailable 503 UC | internal_error -"),
            (Step::Hang, "deadline_exceeded 504 UT | deadline_exceeded -"),
        ] {
            let path = format!("/late/{count}");
            let steps = vec![send(interim), Step::Pause(Duration::from_millis(50)), end];
            gateway.upstream.script("GET", &path, steps);
            let uri = format!("http://gateway.test{path}");
            open(gateway.envoy.address(), "GET", &uri, None, &[]).await;
            let segment = gateway
                .sentry
                .wait_for_segments(count + 1)
                .await
                .remove(count);
            assert_eq!(told(&segment), expected, "{interim}");
            let first_byte = "envoy.time_to_first_byte_ms";
            assert_eq!(segment.call().attribute(first_byte), None);
            count += 1;
        }
    }
}

/// What Envoy says of it in gRPC is its own, too; an answer that really began is the upstream's.
#[tokio::test]
async fn an_answer_that_began_is_the_upstreams_and_one_of_envoys_own_is_not() {
    let gateway = Gateway::start(json!({})).await;
    let pause = Step::Pause(Duration::from_millis(50));
    let early = send("HTTP/1.1 103 Early Hints\r\n\r\n");
    let steps = vec![early.clone(), pause.clone(), Step::Reset];
    gateway.upstream.script("POST", "/shop.v1.Cart/Add", steps);
    let torn = send("HTTP/1.1 503 No\r\ncontent-length: 10\r\n\r\nhello");
    gateway
        .upstream
        .script("GET", "/torn", vec![early, torn, pause, Step::Reset]);
    let grpc = [("content-type", "application/grpc")];
    let address = gateway.envoy.address();
    let uri = "http://gateway.test/shop.v1.Cart/Add";
    open(address, "POST", uri, None, &grpc).await;
    let mut stream = open(address, "GET", "http://gateway.test/torn", None, &[]).await;
    stream.drain().await;
    let segments = gateway.sentry.wait_for_segments(2).await;
    assert_eq!(told(&segments[0]), "unavailable 200 UC | internal_error -");
    let torn = told(&segments[1]);
    assert!(
        torn.starts_with("unavailable 503 ") && torn.ends_with(" | unavailable 503"),
        "{torn}"
    );
}

/// The secrets of a request and its response, in every place that a span has.
#[tokio::test]
async fn no_secret_leaves() {
    let names = [
        "cookie2",
        "x-cookie",
        "x-client-cert",
        "x-envoy-external-address",
        "x-azure-clientip",
        "x-ms-client-principal",
        "user-agent",
        "x-original-url",
        "x-harmless",
    ];
    let answers = [
        "link",
        "refresh",
        "location",
        "set-cookie2",
        "content-location",
    ];
    for consent in [false, true] {
        for format in ["transaction", "span_v2", "otlp"] {
            let gateway = Gateway::start(json!({
                "send_default_pii": consent, "transport": {"format": format},
                "capture_request_headers": names, "capture_response_headers": answers,
                "rules": [{"match": {"path": "^/shop(.*)$"}, "transaction": "/shop$1"}],
            }))
            .await;
            let reply = Reply::status(200)
                .header(
                    "link",
                    "<https://me:SECRET@h/a?token=SECRET>; rel=next, </b?key=SECRET>; rel=prev",
                )
                .header("refresh", "5; url=https://me:SECRET@h/?token=SECRET")
                .header(
                    "location",
                    "//me:SECRET@h/a;sid=SECRET?a=1;token=SECRET#SECRET",
                )
                .header("set-cookie2", "SECRET")
                .header("content-location", "/a?next=https%3A%2F%2Fme%3ASECRET%40h");
            let path = "/shop;jsessionid=SECRET/api/token=SECRET/x";
            gateway.upstream.reply("GET", path, reply);
            let query = "?a=1;token=SECRET&api_key=SECRET&user[password]=SECRET&n=%26token%3DSECRET&SECRET==";
            let mut request = Request::get([path, query].concat());
            for (name, value) in [
                ("cookie2", "SECRET"),
                ("x-cookie", "SECRET"),
                ("x-client-cert", "SECRET"),
                ("x-original-url", "/a?token=SECRET"),
                ("x-harmless", "fine"),
                ("x-ms-client-principal", "PERSON"),
                ("x-azure-clientip", "PERSON"),
                ("user-agent", "PERSON"),
            ] {
                request = request.header(name, value);
            }
            let forwarded = gateway.pass(&request).await;
            let baggage = forwarded.headers.text("baggage").unwrap_or_default();
            assert!(baggage.contains("sentry-transaction") && !baggage.contains("SECRET"));
            let segment = gateway.sentry.only_segment().await;
            let sent: Vec<u8> = gateway
                .sentry
                .requests()
                .iter()
                .flat_map(|request| request.body.clone())
                .collect();
            let sent = String::from_utf8_lossy(&sent);
            assert!(!sent.contains("SECRET"), "{consent} {format}: {segment:#?}");
            assert_eq!(sent.contains("PERSON"), consent, "{format}: {segment:#?}");
            let server = &segment.server;
            let harmless = server.attribute("http.request.header.x-harmless");
            assert_eq!(harmless, Some(&json!(["fine"])));
            let path = "/shop;jsessionid=[Filtered]/api/token=[Filtered]/x";
            assert_eq!(server.text("url.path"), path);
            let link = server.attribute("http.response.header.link");
            let link = link.and_then(|lines| lines[0].as_str()).expect("a link");
            assert!(
                link.starts_with("<https://h/a?token=[Filtered]>; rel=next, "),
                "{link}"
            );
        }
    }
}
