//! Receivers that nobody here wrote, and what they make of what the gateway sends. `DOCS=1` writes
//! the table in `docs/compatibility.md` and takes the picture of Phoenix, else the table is
//! compared.

use std::{env, fs, net::SocketAddr};

use e2e::{
    cluster_at,
    envoy::workspace,
    eventually, look,
    receivers::{version_of, Phoenix, Spotlight},
    Bugsink, Gateway, Reply, Request, Route, Span,
};
use sentry_filter_cli::{
    formats::{try_formats, Verdict},
    send_test::authorities,
};
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use serde_json::{json, Value};

/// Bugsink takes errors only. It answers every envelope with 200 and says in
/// `X-Sentry-Rate-Limits` what it does not want to get for a day; the gateway obeys.
#[tokio::test]
async fn bugsink_asks_for_no_spans_and_gets_no_more() {
    let bugsink = Bugsink::start().await;
    for format in ["transaction", "span_v2"] {
        let sent = send(bugsink.address(), bugsink.dsn(), json!({"format": format})).await;
        assert!(sent.is_taken && sent.asks_for_pause, "{format}");
    }
    assert!(bugsink.issues().await.is_empty());
}

/// Failures of the gateway are issues there, one for each kind, cluster and route, with a title that
/// says what happened, in whatever format spans go.
#[tokio::test]
async fn bugsink_has_the_failures_of_the_gateway_as_issues() {
    let bugsink = Bugsink::start().await;
    for format in ["transaction", "span_v2", "otlp"] {
        let (builder, cluster) = bugsink.behind(Gateway::builder().await);
        let config = json!({
            "dsn": bugsink.dsn(),
            "traces_sample_rate": 0,
            "capture_failures": {},
            "transport": {"format": format, "cluster": cluster},
        });
        let gateway = builder
            .config(config)
            .route(Route::new("/api/{id}", "/api/.*").to_refused())
            .route(Route::new("/none", "/none").to_no_host())
            .start()
            .await;
        for path in ["/api/1?token=hush", "/api/2", "/none"] {
            let request = Request::get(path).header("user-agent", "hush");
            gateway.send(&request).await.assert_answered_by_gateway(503);
        }
        let events = gateway.envoy.wait_for_events(|events| events.sent == 3);
        assert!(events.await.discarded.is_empty(), "{format}");
    }
    let mut issues = bugsink.issues().await;
    issues.sort_by_key(|issue| issue["calculated_type"].to_string());
    let told: Vec<_> = issues
        .iter()
        .map(|issue| {
            let text = |key: &str| issue[key].as_str().unwrap_or_default().to_owned();
            let count = issue["digested_event_count"].as_u64();
            let texts = ["calculated_type", "calculated_value", "transaction"].map(text);
            (texts.join(" | "), count)
        })
        .collect();
    let expected = [
        ("NoHealthyUpstream | cluster no-host, route /none: 503 (UH) | GET /none", 3),
        ("UpstreamConnectionFailure | cluster refused, route /api/{id}: 503 (UF) | GET /api/{id}", 6),
    ];
    let expected = expected.map(|(issue, count)| (issue.to_owned(), Some(count)));
    assert_eq!(told, expected);
    let events = bugsink.events(&issues[1]).await;
    assert_eq!(events.len(), 6);
    for event in events {
        assert_eq!(event["tags"]["envoy.response_flags"], "UF");
        let trace = event["contexts"]["trace"]["trace_id"].as_str();
        assert_eq!(trace.map(str::len), Some(32));
        assert!(!event.to_string().contains("hush"), "{event:#}");
    }
}

/// What stands for the gateway's own errors: it is kept as an issue, by Sentry's own schema.
#[tokio::test]
async fn bugsink_makes_issues_of_events() {
    let bugsink = Bugsink::start().await;
    // It answers the same to whatever comes, and keeps what is an event by Sentry's schema.
    assert!(
        post(
            bugsink.address(),
            bugsink.dsn(),
            "event",
            &event("no level")
        )
        .await
    );
    assert!(bugsink.issues().await.is_empty());

    assert!(post(bugsink.address(), bugsink.dsn(), "event", &event("error")).await);
    let issues = bugsink.issues().await;
    let [issue] = &issues[..] else {
        panic!("one issue: {issues:?}");
    };
    assert_eq!(issue["calculated_type"], EVENT);
    assert_eq!(issue["calculated_value"], "cluster shop");
    assert_eq!(bugsink.events(issue).await, [event("error")]);
}

/// The same traffic to Phoenix and to the strict fake Sentry: every span is there, where it
/// belongs, with its name, its status and its attributes.
#[tokio::test]
async fn phoenix_has_the_same_traces() {
    let phoenix = Phoenix::start().await;
    let traffic = |index: usize, path: &str| {
        let trace_id = format!("771a43a4192642f0b136d5159a50170{index}");
        Request::get(path)
            .header("accept", "text/html")
            .header("sentry-trace", format!("{trace_id}-b9f2e3d4c5a60718-1"))
    };
    let requests = [
        "/api/1?page=2&token=secret",
        "/plain/path",
        "/api/broken",
        "/refused",
    ];
    let requests: Vec<_> = (0..)
        .zip(requests)
        .map(|(at, path)| traffic(at, path))
        .collect();
    let send_all = async |gateway: &Gateway| {
        let broken = Reply::status(503).body("text/plain", "broken");
        gateway.upstream.reply("GET", "/api/broken", broken);
        for request in &requests {
            gateway.send(request).await;
        }
    };
    let config =
        |transport: Value| json!({"capture_request_headers": ["accept"], "transport": transport});

    let judged = Gateway::start(config(json!({"format": "otlp"}))).await;
    send_all(&judged).await;
    let expected = judged.sentry.wait_for_segments(requests.len()).await;

    let builder = Gateway::builder().await;
    let transport = json!({"format": "otlp", "cluster": "phoenix", "path": "/v1/traces"});
    let gateway = builder
        .cluster(cluster_at("phoenix", Some(phoenix.address())))
        .config(config(transport))
        .start()
        .await;
    send_all(&gateway).await;
    let count: usize = expected.iter().map(|one| 1 + one.calls.len()).sum();
    let spans = eventually(async || {
        let spans = phoenix.spans().await;
        (spans.len() == count).then_some(spans)
    });
    let spans = spans.await.expect("all spans at Phoenix");

    let find = |trace_id: &str, parent: &str| {
        let is_it =
            |span: &&Value| span["context"]["trace_id"] == trace_id && span["parent_id"] == parent;
        let found = spans.iter().find(is_it);
        found.unwrap_or_else(|| panic!("no span of {trace_id} below {parent}: {spans:#?}"))
    };
    for segment in &expected {
        let server = &segment.server;
        let shown = find(&server.trace_id, "b9f2e3d4c5a60718");
        assert_same(shown, server);
        let id = shown["context"]["span_id"].as_str().expect("an id");
        for call in &segment.calls {
            assert_same(find(&call.trace_id, id), call);
        }
    }
    // And they say something.
    let broken = find("771a43a4192642f0b136d5159a501702", "b9f2e3d4c5a60718");
    assert_eq!(broken["status_code"], "ERROR");
    assert_eq!(broken["attributes"]["http.response.status_code"], 503);

    // On its page, too, here a trace that begins at the gateway.
    let begun = gateway.send(&Request::get("/api/broken")).await.upstream;
    let begun = begun.expect("the request at the upstream").sentry_trace();
    let both = eventually(async || {
        let spans = phoenix.spans().await;
        let its = spans
            .iter()
            .filter(|span| span["context"]["trace_id"] == begun.trace_id.as_str());
        (its.count() == 2).then_some(())
    });
    both.await.expect("the trace at Phoenix");
    let page = phoenix.page(&begun.trace_id).await;
    let picture = workspace("docs/phoenix.png");
    let picture = is_writing().then_some(picture.as_path());
    let name = expected[0].calls[0].name.as_str();
    look(&page, name, &[], picture).await;
}

#[track_caller]
fn assert_same(shown: &Value, expected: &Span) {
    assert_eq!(shown["name"], expected.name.as_str());
    // OpenTelemetry leaves it to people to call something a success.
    let status = match expected.status.as_str() {
        "ok" => "UNSET",
        _ => "ERROR",
    };
    assert_eq!(shown["status_code"], status, "{expected:?}");
    for (name, value) in &expected.attributes {
        // What was measured, and which port the upstream got, is another time another.
        if name.ends_with("_ms") || name == "server.port" {
            assert!(shown["attributes"][name].is_number(), "{name}: {shown}");
        } else {
            assert_eq!(&shown["attributes"][name], value, "{name}: {shown}");
        }
    }
}

/// What became of a request's spans.
struct Sent {
    trace_id: String,
    /// Whether they were answered with success.
    is_taken: bool,
    /// Whether the answer asked for a pause.
    asks_for_pause: bool,
}

/// Sends two requests' spans from a gateway, one after the other.
async fn send(to: SocketAddr, dsn: &str, mut transport: Value) -> Sent {
    transport["cluster"] = json!("receiver");
    let gateway = Gateway::builder()
        .await
        .cluster(cluster_at("receiver", Some(to)))
        .config(json!({"dsn": dsn, "transport": transport}))
        .start()
        .await;
    let request = gateway.pass(&Request::get("/api/1")).await;
    let lost = |spans: &e2e::envoy::Account| spans.discarded.values().sum::<u64>();
    let first = gateway
        .envoy
        .wait_for_account(|spans| spans.sent + lost(spans) == 2)
        .await;
    gateway.pass(&Request::get("/api/2")).await;
    let second = gateway
        .envoy
        .wait_for_account(|spans| spans.sent + lost(spans) == 4)
        .await;
    Sent {
        trace_id: request.sentry_trace().trace_id,
        is_taken: first.sent == 2,
        asks_for_pause: second.discarded.contains_key("ratelimit_backoff"),
    }
}

const EVENT: &str = "NoHealthyUpstream";

fn event(level: &str) -> Value {
    json!({
        "event_id": "9ec79c33ec9942ab8353589fcb2e04dc",
        "timestamp": 1_795_820_380.5,
        "platform": "other",
        "level": level,
        "exception": {"values": [{"type": EVENT, "value": "cluster shop"}]},
    })
}

/// Whether an envelope with one item is answered with success.
async fn post(to: SocketAddr, dsn: &str, kind: &str, item: &Value) -> bool {
    let mut header = json!({"dsn": dsn, "sdk": {"name": "test", "version": "1"}});
    if kind == "event" {
        header["event_id"] = item["event_id"].clone();
    }
    let body = format!("{header}\n{}\n{item}\n", json!({"type": kind}));
    let post = Request::new("POST", "/api/1/envelope/")
        .header("content-type", "application/x-sentry-envelope")
        .body(body);
    let answer = post.send(to).await.expect("an answer");
    (200..300).contains(&answer.status)
}

/// What a receiver did with each kind of thing.
struct Row {
    receiver: String,
    cells: Vec<String>,
}

const KINDS: [&str; 5] = [
    "`transaction`",
    "`span_v2`",
    "`otlp`",
    "error events",
    "client reports",
];

fn cell(is_taken: bool, is_shown: bool, asks_for_pause: bool) -> String {
    let what = match (is_taken, is_shown) {
        (true, true) => "shown",
        (true, false) => "taken, not shown",
        (false, false) => "refused",
        (false, true) => unreachable!("refused, and shown"),
    };
    match asks_for_pause {
        true => format!("{what}; asks for no more for a while"),
        false => what.to_owned(),
    }
}

/// Sends everything, then asks what is shown of the traces, of the event and of the report.
async fn row(
    receiver: String,
    (address, dsn): (SocketAddr, &str),
    otlp_path: Option<&str>,
    shown: impl AsyncFn(&[&str]) -> Vec<bool>,
) -> Row {
    let report = json!({
        "timestamp": 1_795_820_380.5,
        "discarded_events": [{"reason": "queue_overflow", "category": "span", "quantity": 7}],
    });
    let report = post(address, dsn, "client_report", &report).await;
    let event = post(address, dsn, "event", &event("error")).await;
    let mut sent = Vec::new();
    // Transactions last: a page that shows them has had the time to show the others.
    for format in ["otlp", "span_v2", "transaction"] {
        let mut transport = json!({"format": format});
        if let (Some(path), "otlp") = (otlp_path, format) {
            transport["path"] = json!(path);
        }
        sent.push(send(address, dsn, transport).await);
    }
    sent.reverse();
    let said = formats(dsn, otlp_path).await;
    let expected = sent
        .iter()
        .map(|sent| match sent.is_taken && !sent.asks_for_pause {
            true => Verdict::Accepted,
            false => Verdict::Refused,
        });
    assert_eq!(
        said,
        expected.collect::<Vec<_>>(),
        "{receiver}, and what the command says of it"
    );
    let traces: Vec<_> = sent.iter().map(|sent| sent.trace_id.as_str()).collect();
    let shown = shown(&traces).await;
    let mut cells: Vec<_> = sent
        .iter()
        .zip(&shown)
        .map(|(sent, is_shown)| cell(sent.is_taken, *is_shown, sent.asks_for_pause))
        .collect();
    cells.push(cell(event, shown[3], false));
    cells.push(cell(report, shown[4], false));
    Row { receiver, cells }
}

/// What `sentry-filter check --send-test --formats` says.
async fn formats(dsn: &str, otlp_path: Option<&str>) -> Vec<Verdict> {
    let mut config = json!({"dsn": dsn});
    if let Some(path) = otlp_path {
        config["transport"] = json!({"format": "otlp", "path": path});
    }
    let config = FilterConfig::parse(config.to_string().as_bytes(), &EnvDefaults::default());
    let config = config.expect("a configuration");
    let tried = tokio::task::spawn_blocking(move || {
        try_formats(&config, &authorities(None).expect("authorities"))
    });
    let tried = tried.await.expect("a thread");
    tried.iter().map(|one| one.verdict).collect()
}

/// Beside the spans of its trace.
#[tokio::test]
async fn spotlight_shows_a_failure_of_the_gateway_with_its_trace() {
    let spotlight = Spotlight::start().await;
    let config = json!({
        "dsn": format!("http://{}@{}/1", "0".repeat(32), spotlight.address()),
        "capture_failures": {},
        "transport": {"cluster": "spotlight"},
    });
    let gateway = Gateway::builder()
        .await
        .cluster(cluster_at("spotlight", Some(spotlight.address())))
        .config(config)
        .route(Route::new("/api/{id}", "/api/.*").to_refused())
        .start()
        .await;
    let trace_id = "771a43a4192642f0b136d5159a501703";
    let sampled = format!("{trace_id}-b9f2e3d4c5a60718-1");
    let request = Request::get("/api/7").header("sentry-trace", sampled);
    gateway.send(&request).await.assert_answered_by_gateway(503);
    gateway
        .envoy
        .wait_for_events(|events| events.sent == 1)
        .await;
    gateway
        .envoy
        .wait_for_account(|spans| spans.sent == 2)
        .await;
    let (title, value) = (
        "UpstreamConnectionFailure",
        "cluster refused, route /api/{id}: 503 (UF)",
    );
    let picture = workspace("docs/failure.png");
    let picture = is_writing().then_some(picture.as_path());
    let errors = look(&spotlight.page("errors"), title, &[value], picture).await;
    assert_eq!(errors, [true]);
    // Its spans are there, too.
    look(&spotlight.page("traces"), &trace_id[..8], &[], None).await;
}

#[tokio::test]
async fn what_each_does_with_everything() {
    let spotlight = Spotlight::start().await;
    let dsn = format!("http://{}@{}/1", "0".repeat(32), spotlight.address());
    let spotlights = row(
        format!("Spotlight {}", Spotlight::version()),
        (spotlight.address(), &dsn),
        None,
        async |traces| {
            let short: Vec<_> = traces.iter().map(|id| &id[..8]).collect();
            let seen = look(&spotlight.page("traces"), short[0], &short, None).await;
            let event = look(&spotlight.page("errors"), EVENT, &["cluster shop"], None).await;
            let traces = spotlight.page("traces");
            let report = look(&traces, short[0], &["queue_overflow"], None).await;
            [seen, event, report].concat()
        },
    );
    let spotlights = spotlights.await;

    let bugsink = Bugsink::start().await;
    let bugsinks = row(
        format!("Bugsink {}", version_of("bugsink", "bugsink")),
        (bugsink.address(), bugsink.dsn()),
        None,
        async |traces| {
            let issues = Value::from(bugsink.issues().await).to_string();
            let traces = traces.iter().map(|id| issues.contains(id));
            traces
                .chain([issues.contains(EVENT), issues.contains("queue_overflow")])
                .collect()
        },
    );
    let bugsinks = bugsinks.await;

    let phoenix = Phoenix::start().await;
    let dsn = format!("http://{}@{}/1", "0".repeat(32), phoenix.address());
    let phoenixs = row(
        format!("Phoenix {}", version_of("phoenix", "arize-phoenix")),
        (phoenix.address(), &dsn),
        Some("/v1/traces"),
        async |traces| {
            let spans = eventually(async || {
                let spans = phoenix.spans().await;
                (!spans.is_empty()).then(|| Value::from(spans).to_string())
            });
            let spans = spans.await.expect("spans at Phoenix");
            let traces = traces.iter().map(|id| spans.contains(id));
            traces
                .chain([spans.contains(EVENT), spans.contains("queue_overflow")])
                .collect()
        },
    );
    let phoenixs = phoenixs.await;

    let mut table = format!(
        "| receiver | {} |\n|{}\n",
        KINDS.join(" | "),
        "---|".repeat(6)
    );
    for row in [spotlights, bugsinks, phoenixs] {
        assert_eq!(row.cells.len(), KINDS.len());
        table.push_str(&format!(
            "| {} | {} |\n",
            row.receiver,
            row.cells.join(" | ")
        ));
    }
    compare_with_documentation(&table);
}

const BEGIN: &str = "<!-- make receivers-table: begin -->\n";
const END: &str = "<!-- end -->\n";

fn is_writing() -> bool {
    env::var("DOCS").is_ok_and(|docs| docs == "1")
}

/// What the documentation says is what was seen.
fn compare_with_documentation(seen: &str) {
    let path = workspace("docs/compatibility.md");
    let text = fs::read_to_string(&path).expect("the documentation");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where the table ends");
    if is_writing() {
        fs::write(&path, [before, BEGIN, seen, END, after].concat()).expect("the file written");
        return;
    }
    assert_eq!(table, seen, "run `make receivers-table`");
}
