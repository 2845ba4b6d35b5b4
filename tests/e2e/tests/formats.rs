//! The same traffic in every format gives the same spans; and readers that nobody here wrote read
//! them, too.

use e2e::{oracles::ask, Gateway, Reply, Request, Route, Segment, Span};
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::span::catalogue::{Type, SPAN};
use serde_json::{json, Value};

const TRACE_ID: &str = "771a43a4192642f0b136d5159a501700";
const FORMATS: [&str; 3] = ["transaction", "span_v2", "otlp"];

async fn gateway(format: &str) -> Gateway {
    let config = json!({
        "server_name": "edge-1",
        "capture_request_headers": ["accept", "authorization", "x-none"],
        "capture_response_headers": ["x-cache"],
        "rules": [
            {"match": {"path": "^/named/"}, "transaction": "named by a rule"},
            {"match": {"path": "^/edge/"}, "incoming": {"trace": "restart"}},
        ],
        // Long enough for all requests of one trace to share a flush.
        "transport": {"format": format, "flush_interval_ms": 400},
    });
    Gateway::start(config).await
}

/// One trace, and requests of every kind in it.
async fn traffic(gateway: &Gateway) -> Vec<Segment> {
    let reply = Reply::status(404).header("x-cache", "miss");
    gateway
        .upstream
        .reply("PUT", "/api/2", reply.body("text/plain", "gone"));
    let requests = [
        Request::get("/api/1?page=2&token=secret").header("accept", "text/html"),
        Request::new("PUT", "/api/2").header("authorization", "Bearer secret"),
        Request::get("/plain/path")
            .header("accept", "a/b")
            .header("accept", "c/d"),
        Request::get("/named/7"),
        Request::get("/no-host"),
        Request::get("/refused"),
        Request::get("/edge/1"),
        Request::get("/status/503"),
    ];
    for request in &requests {
        let context = format!("{TRACE_ID}-b9f2e3d4c5a60718-1");
        gateway
            .send(&request.clone().header("sentry-trace", context))
            .await;
    }
    gateway.sentry.wait_for_segments(requests.len()).await
}

/// What must be the same in every format: everything but ids, times and names.
fn comparable(segments: &[Segment]) -> Vec<Value> {
    let span = |span: &Span| {
        let is_of_trace = span.trace_id == TRACE_ID;
        let mut attributes = span.attributes.clone();
        for row in SPAN.iter().filter(|row| row.value == Type::Double) {
            let measured = row.attribute.as_str();
            if let Some(value) = attributes.get_mut(measured) {
                assert!(
                    value.take().as_f64().is_some_and(|ms| ms >= 0.0),
                    "{measured}"
                );
            }
        }
        // Which port the upstream got is chance.
        attributes.remove("server.port");
        json!({
            "is_of_trace": is_of_trace, "has_parent": span.parent_span_id.is_some(),
            "source": span.source,
            "op": span.op, "origin": span.origin, "kind": span.kind, "status": span.status,
            "environment": span.environment, "release": span.release,
            "attributes": attributes, "links": span.links,
        })
    };
    let segment = |segment: &Segment| {
        json!({
            "server": span(&segment.server),
            "calls": segment.calls.iter().map(span).collect::<Vec<_>>(),
        })
    };
    segments.iter().map(segment).collect()
}

#[tokio::test]
async fn the_same_traffic_gives_the_same_spans_in_every_format() {
    let mut seen = Vec::new();
    for format in FORMATS {
        let gateway = gateway(format).await;
        seen.push(comparable(&traffic(&gateway).await));
    }
    let [transactions, streamed, otlp] = seen.as_slice() else {
        panic!("three formats");
    };
    assert_eq!(transactions.len(), 8);
    for (index, expected) in transactions.iter().enumerate() {
        assert_eq!(&streamed[index], expected, "streamed spans");
        assert_eq!(&otlp[index], expected, "OTLP");
    }
    // And they say something.
    let calls: Vec<_> = transactions
        .iter()
        .map(|one| one["calls"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(calls, [1, 1, 1, 1, 0, 1, 1, 1]);
    let edge = &transactions[6]["server"];
    assert_eq!(
        edge["links"],
        json!([format!("{TRACE_ID}-b9f2e3d4c5a60718 follows_from")])
    );
    let headers = &transactions[1]["server"]["attributes"];
    assert_eq!(
        headers["http.request.header.authorization"],
        json!(["[Filtered]"])
    );
    assert_eq!(headers["http.response.header.x-cache"], json!(["miss"]));
    assert_eq!(
        transactions[0]["server"]["attributes"]["url.query"],
        "page=[Filtered]&token=[Filtered]"
    );
}

/// The names of segments and calls, and what the service reads in the dynamic sampling context: by
/// path and URL in transactions, of low cardinality else (`model/name/http.json` of
/// sentry-conventions). `mini-sentry` asks that of every span in every test.
#[tokio::test]
async fn names_are_those_of_the_format() {
    let rules = json!([{"match": {"path": "^/shops/([^/]+)"}, "transaction": "/shops/$1"}]);
    let metadata = |path: &str, name: &str| {
        Route::new(path, &format!("{path}.*")).metadata(json!({"transaction": name}))
    };
    // The request; the transaction's name, then the segment's and the call's by the conventions.
    let rows = [
        (
            "GET",
            "/api/1?a=b",
            "/api/{id}",
            "GET /api/{id}",
            "GET /api/{id}",
        ),
        (
            "POST",
            "/api/2",
            "/api/{id}",
            "POST /api/{id}",
            "POST /api/{id}",
        ),
        (
            "PROPFIND",
            "/api/3",
            "/api/{id}",
            "_OTHER /api/{id}",
            "_OTHER /api/{id}",
        ),
        (
            "GET",
            "/plain/path",
            "/plain/path",
            "GET",
            "GET gateway.test",
        ),
        (
            "GET",
            "/shops/7",
            "/shops/7",
            "/shops/7",
            "GET gateway.test",
        ),
        (
            "HEAD",
            "/with-method/1",
            "GET /m/{id}",
            "HEAD /m/{id}",
            "HEAD /m/{id}",
        ),
        (
            "GET",
            "/by-hand/1",
            "checkout",
            "checkout",
            "GET gateway.test",
        ),
    ];
    for format in FORMATS {
        let config =
            json!({"rules": rules, "transport": {"format": format, "flush_interval_ms": 50}});
        let gateway = Gateway::builder()
            .await
            .config(config)
            .route(metadata("/with-method/", "GET /m/{id}"))
            .route(metadata("/by-hand/", "checkout"))
            .start()
            .await;
        for (index, (method, target, transaction, segment, call)) in rows.into_iter().enumerate() {
            let seen = gateway
                .pass(&Request::new(method, target).host("gateway.test"))
                .await;
            let segments = gateway.sentry.wait_for_segments(index + 1).await;
            let found = &segments[index];
            let (path, _) = target.split_once('?').unwrap_or((target, ""));
            assert_eq!(found.server.text("url.path"), path);
            let is_url = found.server.source.as_deref() == Some("url");
            let dsc = seen.baggage().sentry("transaction");
            let method = found.server.text("http.request.method");
            let (expected, description) = match format {
                "transaction" => (transaction, format!("{method} http://gateway.test{path}")),
                _ => (segment, call.to_owned()),
            };
            assert_eq!(found.server.name, expected, "{format} {target}");
            assert_eq!(found.call().name, description, "{format} {target}");
            let expected = (!is_url).then_some(expected);
            assert_eq!(dsc.as_deref(), expected, "{format} {target}");
        }
    }
}

/// The keys of the dynamic sampling context in the header of the envelope that came last.
fn last_dsc(gateway: &Gateway) -> Vec<String> {
    let requests = gateway.sentry.requests();
    let body = &requests.last().expect("an envelope").body;
    let header = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header: Value = serde_json::from_slice(header).expect("a header in JSON");
    let dsc = header["trace"].as_object().into_iter().flatten();
    let mut keys: Vec<String> = dsc.map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys
}

/// Relay answers 200 to an envelope with such a context and drops its spans (`missing_dsc`), so no
/// envelope has one. The service gets the context as it came.
#[tokio::test]
async fn a_context_that_relay_cannot_read_goes_on_and_not_into_an_envelope() {
    let key = "49d0f7386ad645858ae85020e393bef3";
    let least = format!("sentry-trace_id={TRACE_ID},sentry-public_key={key}");
    for format in ["transaction", "span_v2"] {
        let gateway =
            Gateway::start(json!({"transport": {"format": format, "flush_interval_ms": 50}})).await;
        let rows = [
            ("sentry-replay_id=null", false),
            ("sentry-replay_id=b99c6a7e7a1f4bb98a6b4a3f5d1f2c1", false),
            ("sentry-user=x", false),
            ("sentry-user=%7B%22id%22%3A1%7D", false),
            ("sentry-segment_name=/a,sentry-transaction=/b", false),
            ("sentry-sample_rate=.5", false),
            ("sentry-sample_rate=1.", false),
            ("sentry-sample_rate=01", false),
            ("sentry-sample_rate=%2B1", false),
            ("sentry-sample_rate=1e999", false),
            ("sentry-sample_rate=-0.1", false),
            ("sentry-sample_rate=NaN", false),
            ("sentry-public_key=short", false),
            (
                "sentry-replay_id=B99C6A7E-7A1F-4BB9-8A6B-4A3F5D1F2C11,sentry-user_id=1",
                true,
            ),
            (
                "sentry-sample_rate=1e-5,sentry-segment_name=/a,sentry-foo=bar",
                true,
            ),
        ];
        for (index, (members, is_readable)) in rows.into_iter().enumerate() {
            let baggage = match members.starts_with("sentry-public_key") {
                true => format!("sentry-trace_id={TRACE_ID},{members}"),
                false => format!("{least},{members}"),
            };
            let request = Request::get("/api/1")
                .header("sentry-trace", format!("{TRACE_ID}-b9f2e3d4c5a60718-1"))
                .header("baggage", &baggage);
            let seen = gateway.pass(&request).await;
            seen.assert_lines("baggage", &[&baggage]);
            gateway.sentry.wait_for_segments(index + 1).await;
            let keys = last_dsc(&gateway).join(",");
            match (is_readable, format) {
                (true, _) => assert!(
                    keys.contains("sample_rate") || keys.contains("replay_id"),
                    "{members}: {keys}"
                ),
                (false, "transaction") => assert_eq!(keys, "", "{members}"),
                (false, _) => assert_eq!(keys, "public_key,trace_id", "{members}"),
            }
        }
    }
}

#[tokio::test]
async fn what_may_go_together_does() {
    let mut posts = Vec::new();
    for format in FORMATS {
        let gateway = gateway(format).await;
        traffic(&gateway).await;
        posts.push(gateway.sentry.requests().len());
    }
    // One POST a request; one for the trace and one for the request at the edge, which has a trace
    // of its own; one for all. Twice that, should a flush come in between.
    assert_eq!(posts[0], 8);
    assert!((2..=4).contains(&posts[1]), "{posts:?}");
    assert!((1..=2).contains(&posts[2]), "{posts:?}");
}

#[tokio::test]
async fn relays_own_normaliser_finds_nothing_to_change_in_a_transaction() {
    let gateway = gateway("transaction").await;
    traffic(&gateway).await;
    let payloads: Vec<String> = gateway
        .sentry
        .wait_for(8)
        .await
        .iter()
        .map(|transaction| transaction.payload.to_string())
        .collect();
    let verdicts = ask("read_transactions.py", &payloads);
    for (verdict, payload) in verdicts.iter().zip(&payloads) {
        assert_eq!(verdict["complaints"], json!([]), "{payload}");
    }
}

/// The oracle would notice: what Relay does not take is among its complaints.
#[tokio::test]
async fn relays_own_normaliser_complains_of_what_is_wrong() {
    let gateway = gateway("transaction").await;
    gateway.pass(&Request::get("/api/1")).await;
    let good = gateway.sentry.only_transaction().await.payload;
    for (pointer, value) in [
        ("/contexts/trace/status", json!("well enough")),
        ("/contexts/trace/span_id", json!("short")),
        ("/environment", json!("x".repeat(100))),
        ("/spans/0/span_id", json!("0000000000000000")),
        ("/spans/0/timestamp", json!("yesterday")),
    ] {
        let mut spoiled = good.clone();
        *spoiled.pointer_mut(pointer).expect("what is spoiled") = value;
        let verdicts = ask("read_transactions.py", &[spoiled.to_string()]);
        let complaints = verdicts[0]["complaints"].as_array().expect("complaints");
        assert!(!complaints.is_empty(), "{pointer}");
    }
}

/// What the filter takes as a release or an environment, Relay keeps; what Relay discards, the
/// filter refuses.
#[tokio::test]
async fn relay_keeps_the_releases_and_environments_that_are_taken() {
    let gateway = gateway("transaction").await;
    gateway.pass(&Request::get("/api/1")).await;
    let good = gateway.sentry.only_transaction().await.payload;
    let (long, longer) = ("x".repeat(200), "x".repeat(201));
    let values = [
        "",
        " ",
        "a",
        "a b",
        " a\n",
        "a\nb",
        "a\tb",
        "a\rb",
        "a\u{1}b",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{a0}b",
        "a/b",
        "a\\b",
        ".",
        "..",
        "...",
        "latest",
        "Latest",
        "None",
        "none",
        "null",
        "ü",
        "gateway@1.0",
        "a@b@c",
        &long[..64],
        &long[..65],
        &long,
        &longer,
    ];
    let rows = ["release", "environment"].map(|key| values.map(|value| (key, value)));
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let payload = |(key, value): &(&str, &str)| {
        let mut event = good.clone();
        // As the filter writes it.
        event[*key] = json!(value.trim());
        event.to_string()
    };
    let payloads: Vec<_> = rows.iter().map(payload).collect();
    let verdicts = ask("read_transactions.py", &payloads);
    for ((key, value), verdict) in rows.iter().zip(verdicts) {
        let config = json!({*key: value}).to_string();
        let is_taken = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default()).is_ok();
        let is_kept = verdict["complaints"] == json!([]);
        // Sentry's documentation forbids it, although Relay does not.
        let has_space = *key == "environment" && value.trim().contains(' ');
        assert_eq!(
            is_taken,
            is_kept && !has_space,
            "{key} {value:?}: {verdict}"
        );
    }
}

#[tokio::test]
async fn opentelemetrys_own_types_read_every_field() {
    let gateway = gateway("otlp").await;
    let segments = traffic(&gateway).await;
    let bodies: Vec<String> = gateway
        .sentry
        .requests()
        .iter()
        .map(|request| {
            request
                .body
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
        .collect();
    let verdicts = ask("read_otlp.py", &bodies);
    let mut read: Vec<_> = verdicts
        .iter()
        .flat_map(|verdict| {
            assert_eq!(verdict["unknown_fields"], json!(0));
            verdict["spans"].as_array().expect("spans").clone()
        })
        .map(|span| format!("{} {} {}", span["trace_id"], span["span_id"], span["name"]))
        .collect();
    let all = segments
        .iter()
        .flat_map(|segment| std::iter::once(&segment.server).chain(&segment.calls));
    let mut expected: Vec<_> = all
        .map(|span| format!("{:?} {:?} {:?}", span.trace_id, span.span_id, span.name))
        .collect();
    read.sort();
    expected.sort();
    assert_eq!(read, expected);
}
