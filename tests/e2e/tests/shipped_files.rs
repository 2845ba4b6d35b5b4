//! Every file in `envoy/` runs in the real Envoy, with nothing replaced but what their comments say
//! is to be replaced, and the places on this machine: ports, the module and the list of
//! authorities.

use std::fs;

use e2e::{
    envoy::{module, workspace},
    eventually,
    shipped::{place_of, port},
    Envoy, Launch, MiniSentry, Reply, Request, Transaction, Upstream,
};
use mini_sentry::Certificate;
use tempfile::TempDir;

/// The host that a test can resolve and a certificate can name.
const SENTRY_HOST: &str = "localhost";
const SHIPPED_DSN: &str = "https://00000000000000000000000000000001@o0.ingest.sentry.io/1";
const SHIPPED_LOCAL_DSN: &str = "http://00000000000000000000000000000001@127.0.0.1:8969/1";
const SHIPPED_RATE: &str = r#""traces_sample_rate": 0.1"#;
const LOCAL_MODULE: &str = "target/wasm32-wasip1/release/sentry_filter.wasm";

#[tokio::test]
async fn the_local_file_carries_a_request_to_a_transaction() {
    let scene = Scene::of(|sentry, upstream| {
        local_ports(Launch::shipped("envoy-local.yaml"), sentry, upstream)
            .replace(SHIPPED_LOCAL_DSN, sentry.dsn())
            .replace(LOCAL_MODULE, module().to_str().unwrap())
    });
    let scene = scene.await;
    let transaction = scene.carry("/api/1").await;
    assert_eq!(
        (transaction.name(), transaction.source()),
        ("/api/{id}", "route")
    );
    assert_eq!(transaction.text("/environment"), "local");
}

#[tokio::test]
async fn the_file_with_envoys_cors_filter_answers_preflights_with_our_names() {
    let scene = Scene::of(|sentry, upstream| {
        on_this_machine("envoy-cors.yaml", sentry, upstream)
            .replace(SHIPPED_RATE, r#""traces_sample_rate": 1"#)
    });
    let scene = scene.await;
    scene.carry("/plain").await;
    let page = |request: Request| request.header("origin", "https://page.example");
    let preflight = page(Request::new("OPTIONS", "/api"))
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "baggage,sentry-trace");
    let answer = preflight.send(scene.envoy.address()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.headers.text("access-control-allow-headers"),
        Some("authorization, content-type,sentry-trace, baggage, traceparent, tracestate")
    );
    let answer = page(Request::get("/api"))
        .send(scene.envoy.address())
        .await
        .unwrap();
    assert_eq!(
        answer.headers.text("access-control-expose-headers"),
        Some("x-request-id,sentry-trace, baggage")
    );
}

/// What docs/cors.md shows of that file is in it, in the same order.
#[test]
fn the_documented_cors_example_is_out_of_the_file() {
    let page = fs::read_to_string(workspace("docs/cors.md")).unwrap();
    let (_, chapter) = page.split_once("\n## Who answers CORS\n").unwrap();
    let file = fs::read_to_string(workspace("envoy/envoy-cors.yaml")).unwrap();
    let mut lines = file.lines().map(str::trim);
    let example = between(chapter, "```yaml\n", "```");
    for line in example.lines().map(str::trim) {
        assert!(lines.any(|found| found == line), "{line}");
    }
}

/// The README's smallest configuration stands in the place of the local file's filters.
#[tokio::test]
async fn the_readmes_example_carries_a_request_to_a_transaction() {
    let readme = fs::read_to_string(workspace("README.md")).unwrap();
    let example = between(&readme, "```yaml\n", "```");
    let example: String = example
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    let local = fs::read_to_string(workspace("envoy/envoy-local.yaml")).unwrap();
    let filters = between(
        &local,
        "          http_filters:\n",
        "          route_config:",
    );
    let launch =
        Launch::bootstrap(local.replace(&format!("          http_filters:\n{filters}"), &example));
    let scene = Scene::of(|sentry, upstream| {
        with_dsn(local_ports(launch, sentry, upstream), sentry).built_module()
    });
    scene.await.carry("/plain").await;
}

/// `make run` replaces these texts one by one, so none may occur twice, in a comment for example.
#[test]
fn the_local_file_has_every_text_that_make_run_replaces_once() {
    let mut launch = Launch::shipped("envoy-local.yaml");
    for text in ["10000", "9901", "8969", "8081", "8082", "8083"] {
        launch = launch.replace(&format!("port_value: {text}"), "");
    }
    launch
        .replace("127.0.0.1:8969", "")
        .replace(LOCAL_MODULE, "");
}

#[tokio::test]
async fn the_production_file_sends_by_tls_http2_and_gzip() {
    let certificate = Certificate::for_name(SENTRY_HOST);
    let scene = Scene::production(&certificate, &certificate, with_dsn).await;
    let transaction = scene.carry("/api/1").await;
    assert_eq!(
        (transaction.name(), transaction.source()),
        ("/api/{id}", "route")
    );
    assert_eq!(transaction.text("/environment"), "production");
    // A line of the access log finds its trace.
    let trace_id = transaction.text("/contexts/trace/trace_id");
    let logged = eventually(async || {
        let log = scene.envoy.log();
        let line = log.lines().find(|line| line.contains(trace_id))?;
        serde_json::from_str(line).ok()
    });
    let logged: serde_json::Value = logged.await.expect("a line with the trace");
    assert_eq!(logged["trace_id"], trace_id);
    assert_eq!(logged["sampled"], "true");
    assert_eq!(logged["path"], "/api/1");
    scene.carry("/plain").await;
    for request in scene.sentry.requests() {
        assert_eq!(request.version, "HTTP/2.0");
        assert_eq!(request.sni.as_deref(), Some(SENTRY_HOST));
        assert_eq!(request.headers.text("content-encoding"), Some("gzip"));
    }
}

#[tokio::test]
async fn the_production_file_falls_back_to_http1_where_there_is_no_http2() {
    let certificate = Certificate::for_name(SENTRY_HOST).without_http2();
    let scene = Scene::production(&certificate, &certificate, with_dsn).await;
    scene.carry("/plain").await;
    let request = &scene.sentry.requests()[0];
    assert_eq!(request.version, "HTTP/1.1");
    assert_eq!(request.headers.text("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn the_production_file_takes_what_it_leaves_out_from_the_environment() {
    let certificate = Certificate::for_name(SENTRY_HOST);
    let scene = Scene::production(&certificate, &certificate, |launch, sentry| {
        launch
            .replace(&format!(r#""dsn": "{SHIPPED_DSN}","#), "")
            .replace(r#""environment": "production","#, "")
            .replace(SHIPPED_RATE, "")
            .environment("SENTRY_DSN", sentry.dsn())
            .environment("SENTRY_ENVIRONMENT", "staging")
            .environment("SENTRY_RELEASE", "2.0")
            .environment("SENTRY_TRACES_SAMPLE_RATE", "1.0")
    });
    let transaction = scene.await.carry("/api/1").await;
    assert_eq!(transaction.text("/environment"), "staging");
    assert_eq!(transaction.text("/release"), "2.0");
}

/// Health checks and the files of a page are left out, in the file's own routes.
#[tokio::test]
async fn the_production_file_records_no_health_checks_and_no_static_files() {
    let certificate = Certificate::for_name(SENTRY_HOST);
    let scene = Scene::production(&certificate, &certificate, with_dsn).await;
    for path in [
        "/healthz",
        "/readyz",
        "/livez",
        "/a/b.css",
        "/x.min.js",
        "/f.woff2",
    ] {
        let request = Request::get(path);
        let response = request.send(scene.envoy.address()).await;
        assert_eq!(response.unwrap().status, 200, "{path}");
    }
    let transaction = scene.carry("/api/healthz").await;
    assert_eq!(transaction.name(), "/api/{id}");
    assert_eq!(scene.sentry.requests().len(), 1);
}

#[tokio::test]
async fn the_production_file_trusts_no_authority_that_it_does_not_know() {
    let (shown, trusted) = (
        Certificate::for_name(SENTRY_HOST),
        Certificate::for_name(SENTRY_HOST),
    );
    let scene = Scene::production(&shown, &trusted, with_dsn).await;
    scene
        .assert_refuses_the_receiver("cluster.sentry.ssl.fail_verify_error")
        .await;
}

#[tokio::test]
async fn the_production_file_trusts_no_certificate_for_another_name() {
    let certificate = Certificate::for_name("other.test");
    let scene = Scene::production(&certificate, &certificate, with_dsn).await;
    scene
        .assert_refuses_the_receiver("cluster.sentry.ssl.fail_verify_san")
        .await;
}

#[tokio::test]
async fn the_files_of_lds_and_cds_send_by_tls_and_are_replaced_while_requests_come() {
    let certificate = Certificate::for_name(SENTRY_HOST);
    let files = TempDir::new().unwrap();
    let place = |name: &str| files.path().join(name);
    fs::write(place("authorities.pem"), certificate.authority_pem()).unwrap();
    let sentry = MiniSentry::start_with_tls(&certificate).await;
    let upstream = Upstream::start().await;
    let clusters = Launch::shipped("xds/clusters.yaml")
        .upstream_at(upstream.address())
        .replace(
            "o0.ingest.sentry.io, port_value: 443",
            &format!("{SENTRY_HOST}, {}", port(sentry.address())),
        )
        .replace(
            "/etc/ssl/certs/ca-certificates.crt",
            place("authorities.pem").to_str().unwrap(),
        );
    let listeners = Launch::shipped("xds/listeners.yaml")
        .replace("port_value: 10000", "port_value: 0")
        .built_module();
    let listeners = with_dsn(listeners, &sentry);
    fs::write(place("clusters.yaml"), clusters.text()).unwrap();
    fs::write(place("listeners.yaml"), listeners.text()).unwrap();
    let file = |name: &str| format!("path: {}", place(name).display());
    let envoy = Launch::shipped("xds/envoy.yaml")
        .replace("port_value: 9901", "port_value: 0")
        .replace(
            "path: /etc/envoy/xds/listeners.yaml",
            &file("listeners.yaml"),
        )
        .replace("path: /etc/envoy/xds/clusters.yaml", &file("clusters.yaml"))
        .start()
        .await;
    let scene = Scene {
        sentry,
        upstream,
        envoy,
    };
    let transaction = scene.carry("/api/1").await;
    assert_eq!(transaction.text("/environment"), "production");
    assert_eq!(transaction.text("/server_name"), "gateway-1");
    let request = &scene.sentry.requests()[0];
    assert_eq!(request.version, "HTTP/2.0");
    assert_eq!(request.headers.text("content-encoding"), Some("gzip"));

    // A wrong file is refused, and the right listener stays.
    let wrong = listeners.text().replace("traces_sample_rate", "rate");
    fs::write(place("next"), wrong).unwrap();
    fs::rename(place("next"), place("listeners.yaml")).unwrap();
    let refused = eventually(async || {
        let stats = scene.envoy.admin("/stats?filter=lds.update_rejected").await;
        stats.contains("update_rejected: 1").then_some(())
    });
    assert!(refused.await.is_some(), "the wrong file was not refused");
    scene.carry("/api/2").await;
}

#[tokio::test]
async fn the_file_with_filters_that_refuse_tells_who_refused() {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InRlc3QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoic29tZWJvZHkifQ.5BqzHZoKJf0Spheo7VAhIPyZgrmhFDRgsdIoYvUM7WI";
    const KEYS: &str = r#"{"keys": [{"kty": "oct", "alg": "HS256", "kid": "test", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    let (authz, issuer) = (Upstream::start().await, Upstream::start().await);
    let keys = Reply::status(200).body("application/json", KEYS);
    issuer.reply("GET", "/.well-known/jwks.json", keys);
    let scene = Scene::of(|sentry, upstream| {
        on_this_machine("envoy-auth.yaml", sentry, upstream)
            .replace(
                "authz.example, port_value: 8080",
                &place_of(authz.address()),
            )
            .replace(
                "issuer.example, port_value: 80",
                &place_of(issuer.address()),
            )
            .replace(
                "max_tokens: 1000, tokens_per_fill: 1000, fill_interval: 1s",
                "max_tokens: 3, tokens_per_fill: 3, fill_interval: 3600s",
            )
            .replace(SHIPPED_RATE, r#""traces_sample_rate": 1"#)
    });
    let scene = scene.await;
    let mut asked = 0;
    for (path, token, status, details) in [
        ("/a", "", 401, "jwt_authn_access_denied"),
        ("/status/403", TOKEN, 403, "ext_authz_denied"),
        ("/b", TOKEN, 200, "via_upstream"),
        ("/c", TOKEN, 429, "local_rate_limited"),
    ] {
        let before = scene.sentry.requests().len();
        let mut request = Request::get(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send(scene.envoy.address()).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        let transaction = scene.sentry.wait_for(before + 1).await.pop().unwrap();
        let told = answer.headers.text("sentry-trace").unwrap();
        assert!(told.starts_with(transaction.trace_id()), "{path}");
        let found = transaction.data("envoy.response_code_details").unwrap();
        assert!(found.as_str().unwrap().starts_with(details), "{found}");
        // Who is asked whether it may go on is told the trace.
        for request in authz.take(path.as_bytes()) {
            assert_eq!(request.sentry_trace().trace_id, transaction.trace_id());
            asked += 1;
        }
    }
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn the_file_for_an_edge_trusts_nobody() {
    let scene = Scene::of(|sentry, upstream| {
        on_this_machine("envoy-edge.yaml", sentry, upstream)
            .replace(SHIPPED_RATE, r#""traces_sample_rate": 0"#)
    });
    let scene = scene.await;
    let trace = "771a43a4192642f0b136d5159a501700";
    let call = async |host: &str, path: &str, organisation: &str| {
        let baggage =
            format!("sentry-trace_id={trace},sentry-org_id={organisation},sentry-sampled=true");
        let answer = Request::get(path)
            .host(host)
            .header("sentry-trace", format!("{trace}-7c51afd529da4a2a-1"))
            .header("baggage", baggage)
            .send(scene.envoy.address())
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.text("sentry-trace"), None);
        scene.upstream.take(path.as_bytes()).pop().unwrap()
    };
    // One of ours stays in its trace, but its caller does not decide what is recorded.
    let seen = call("www.shop.example", "/ours", "1").await;
    assert_eq!(seen.sentry_trace().trace_id, trace);
    assert_eq!(
        seen.headers.text("sentry-trace").unwrap().chars().last(),
        Some('0')
    );
    // One of another organisation begins a new one.
    let seen = call("www.shop.example", "/theirs", "2").await;
    assert_ne!(seen.sentry_trace().trace_id, trace);
    // Another host gets no trace.
    let seen = call("partner.example", "/partner", "1").await;
    assert_eq!(seen.headers.text("sentry-trace"), None);
}

/// Dropped in this order, so that Envoy's log is shown if the receiver has a complaint.
struct Scene {
    sentry: MiniSentry,
    upstream: Upstream,
    envoy: Envoy,
}

impl Scene {
    /// A file before a receiver and an upstream that it is told of.
    async fn of(launch: impl FnOnce(&MiniSentry, &Upstream) -> Launch) -> Self {
        let (sentry, upstream) = (MiniSentry::start().await, Upstream::start().await);
        let envoy = launch(&sentry, &upstream).start().await;
        Self {
            sentry,
            upstream,
            envoy,
        }
    }

    /// The production file before a receiver that shows one certificate and with the authority of
    /// another trusted.
    async fn production(
        shown: &Certificate,
        trusted: &Certificate,
        change: impl FnOnce(Launch, &MiniSentry) -> Launch,
    ) -> Self {
        let files = TempDir::new().unwrap();
        let authorities = files.path().join("authorities.pem");
        fs::write(&authorities, trusted.authority_pem()).unwrap();

        let sentry = MiniSentry::start_with_tls(shown).await;
        let upstream = Upstream::start().await;
        let sentry_port = port(sentry.address());
        let launch = Launch::shipped("envoy.yaml")
            .free_ports()
            .upstream_at(upstream.address())
            .replace(
                "o0.ingest.sentry.io, port_value: 443",
                &format!("{SENTRY_HOST}, {sentry_port}"),
            )
            .replace(
                "/etc/ssl/certs/ca-certificates.crt",
                authorities.to_str().unwrap(),
            )
            .built_module();
        let envoy = change(launch, &sentry).start().await;
        Self {
            sentry,
            upstream,
            envoy,
        }
    }

    async fn carry(&self, path: &str) -> Transaction {
        let before = self.sentry.requests().len();
        let response = Request::get(path).send(self.envoy.address()).await.unwrap();
        assert_eq!(response.status, 200);
        let seen = self
            .upstream
            .take(path.as_bytes())
            .pop()
            .expect("the request at the upstream");
        let transaction = self.sentry.wait_for(before + 1).await.pop().unwrap();
        assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
        transaction
    }

    async fn assert_refuses_the_receiver(&self, stat: &str) {
        let response = Request::get("/plain")
            .send(self.envoy.address())
            .await
            .unwrap();
        assert_eq!(response.status, 200);
        let refused = eventually(async || {
            let stats = self.envoy.admin(&format!("/stats?filter={stat}")).await;
            let count: u64 = stats.trim().rsplit(' ').next()?.parse().ok()?;
            (count > 0).then_some(())
        });
        assert!(refused.await.is_some(), "{stat} stayed at zero");
        assert!(self.sentry.requests().is_empty());
        let word = "or the TLS handshake failed";
        let told = eventually(async || self.envoy.log().contains(word).then_some(()));
        let log = self.envoy.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("sentry:"))
            .collect();
        assert!(told.await.is_some(), "{lines:#?}");
    }
}

/// The ports, the module and the DSN of a file that reports to a Sentry on this machine.
fn on_this_machine(file: &str, sentry: &MiniSentry, upstream: &Upstream) -> Launch {
    Launch::shipped(file)
        .free_ports()
        .upstream_at(upstream.address())
        .local_sentry_at(sentry.address())
        .replace(SHIPPED_LOCAL_DSN, sentry.dsn())
        .built_module()
}

/// The ports of the file of `make run`.
fn local_ports(launch: Launch, sentry: &MiniSentry, upstream: &Upstream) -> Launch {
    launch
        .free_ports()
        .replace("port_value: 8081", &port(upstream.address()))
        .local_sentry_at(sentry.address())
}

fn with_dsn(launch: Launch, sentry: &MiniSentry) -> Launch {
    let every_trace = r#""traces_sample_rate": 1.0"#;
    launch
        .replace(SHIPPED_DSN, sentry.dsn())
        .replace(SHIPPED_RATE, every_trace)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start:?}"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end:?}")).0
}
