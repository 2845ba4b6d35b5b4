//! The tunnel for the SDK in the browser, `envoy/envoy-tunnel.yaml`: what goes on to Sentry, and
//! what does not. With a real browser it is in `browser.rs`.

use std::fs;

use e2e::{
    envoy::workspace, eventually, Envoy, Gateway, Launch, RecordedRequest, Reply, Request, Route,
    Upstream,
};
use serde_json::{json, Value};

const KEY: &str = "00000000000000000000000000000001";
const ENVELOPE: &str = "{\"dsn\":\"http://00000000000000000000000000000001@127.0.0.1/1\"}\n{\"type\":\"client_report\"}\n{}\n";
const TRACE: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-1";

struct Scene {
    sentry: Upstream,
    upstream: Upstream,
    envoy: Envoy,
}

impl Scene {
    /// The shipped file, with nothing changed but the places on this machine and the rate.
    async fn start() -> Self {
        let (sentry, upstream) = (Upstream::start().await, Upstream::start().await);
        let envoy = Launch::tunnel(sentry.address(), upstream.address())
            .start()
            .await;
        Self {
            sentry,
            upstream,
            envoy,
        }
    }

    async fn send(&self, request: &Request) -> u16 {
        let answer = request.send(self.envoy.address()).await.expect("an answer");
        assert_eq!(answer.headers.text("set-cookie"), None);
        answer.status
    }

    /// What came through the tunnel so far: everything at Sentry that the filter itself has not
    /// sent.
    fn tunnelled(&self) -> Vec<RecordedRequest> {
        let is_ours = |request: &RecordedRequest| {
            let client = request.headers.text("x-sentry-auth").unwrap_or_default();
            client.contains("sentry_client=sentry-filter")
        };
        self.sentry.take_if(|request| !is_ours(request))
    }
}

fn report(method: &str, path: &str) -> Request {
    Request::new(method, path)
        .header("content-type", "text/plain;charset=UTF-8")
        .header("origin", "https://shop.example")
        .body(ENVELOPE)
}

#[tokio::test]
async fn an_envelope_goes_on_as_it_is_and_has_no_span() {
    let scene = Scene::start().await;
    let limits = "60:transaction:key";
    let answer = Reply::status(429).header("x-sentry-rate-limits", limits);
    scene.sentry.reply("POST", "/api/1/envelope/", answer);
    let request = report("POST", "/tunnel")
        .header("cookie", "session=hush")
        .header("authorization", "Bearer hush")
        .header("x-sentry-auth", "Sentry sentry_version=7, sentry_key=other")
        .header("sentry-trace", TRACE)
        .header("baggage", "sentry-release=1,theirs=2")
        .header(
            "traceparent",
            "00-771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-01",
        );
    let answer = request
        .send(scene.envoy.address())
        .await
        .expect("an answer");
    // The SDK obeys the limits of its project.
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers.text("x-sentry-rate-limits"), Some(limits));
    assert_eq!(answer.headers.text("sentry-trace"), None);

    let tunnelled = scene.tunnelled();
    let [seen] = &tunnelled[..] else {
        panic!("{tunnelled:?}");
    };
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/api/1/envelope/")
    );
    assert_eq!(seen.body, ENVELOPE.as_bytes());
    assert_eq!(seen.headers.text("host"), Some("o0.ingest.sentry.io"));
    seen.assert_lines(
        "x-sentry-auth",
        &[format!("Sentry sentry_version=7, sentry_key={KEY}")],
    );
    assert_eq!(seen.headers.text("origin"), Some("https://shop.example"));
    // The visitor's address; for a client on the same machine Envoy says one of the machine's.
    assert!(seen.headers.text("x-forwarded-for").is_some());
    for name in [
        "cookie",
        "authorization",
        "sentry-trace",
        "baggage",
        "traceparent",
        "tracestate",
    ] {
        assert_eq!(seen.headers.text(name), None, "{name}");
    }

    // The filter does its work beside it: the next request is the first that has a span.
    assert_eq!(scene.send(&Request::get("/shop")).await, 200);
    let stats = eventually(async || {
        let stats = scene.envoy.stats().await;
        (stats.get("spans_recorded") == Some(&2)).then_some(stats)
    });
    let stats = stats.await.expect("two spans");
    assert_eq!(stats.get("requests"), Some(&1));
}

/// Whose project it is may be said in none of the ways that Sentry takes it from.
#[tokio::test]
async fn nobody_chooses_another_project() {
    let scene = Scene::start().await;
    let others = [
        report("POST", "/tunnel?sentry_key=other&sentry_version=7"),
        report("POST", "/tunnel?"),
        report("POST", "/tunnel/"),
        report("POST", "/tunnel/api/2/envelope/"),
        report("POST", "/tunnel/../api/2/envelope/"),
        report("POST", "/tunnel%2f..%2fapi/2/envelope/"),
        report("POST", "/api/2/envelope/"),
        report("PUT", "/tunnel"),
    ];
    for (index, request) in others.iter().enumerate() {
        let status = scene.send(request).await;
        let tunnelled = scene.tunnelled();
        assert!(tunnelled.is_empty(), "{index}: {status}, {tunnelled:?}");
    }
    assert!(!scene.upstream.take_if(|_| true).is_empty());
}

/// Where routes cannot turn filters off, a rule does: no span, and no header of the trace goes to
/// Sentry.
#[tokio::test]
async fn a_rule_does_it_too() {
    let rule = json!({"match": {"path": "^/tunnel$"}, "ignore": true, "propagate": false});
    let action: Value =
        json!({"route": {"cluster": "upstream", "prefix_rewrite": "/api/1/envelope/"}});
    let gateway = Gateway::builder()
        .await
        .config(json!({"rules": [rule]}))
        .route(Route::new("tunnel", "/tunnel").action(action))
        .start()
        .await;
    for header in ["", TRACE] {
        let request = match header {
            "" => report("POST", "/tunnel"),
            trace => report("POST", "/tunnel").header("sentry-trace", trace),
        };
        let answer = request.send(gateway.envoy.address()).await;
        assert_eq!(answer.expect("an answer").status, 200);
        let seen = gateway.upstream.take_if(|request| request.method == "POST");
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].body, ENVELOPE.as_bytes());
        for name in ["sentry-trace", "baggage"] {
            assert_eq!(seen[0].headers.text(name), None, "{name}");
        }
    }
    e2e::ended::none(&gateway).await;
}

/// What docs/cors.md shows of the file is in it, in the same order.
#[test]
fn the_documented_example_is_out_of_the_file() {
    let read = |path| fs::read_to_string(workspace(path)).expect(path);
    let (page, file) = (read("docs/cors.md"), read("envoy/envoy-tunnel.yaml"));
    let chapter = page.split_once("\n## A tunnel for the browser\n");
    let example = chapter.and_then(|(_, chapter)| chapter.split_once("```yaml\n"));
    let example = example.and_then(|(_, example)| example.split_once("```"));
    let mut lines = file.lines().map(str::trim);
    for line in example.expect("an example").0.lines().map(str::trim) {
        assert!(lines.any(|found| found == line), "{line}");
    }
}
