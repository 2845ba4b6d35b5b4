//! CORS and page loads in real Chromium with Sentry's browser SDK. Each test of what the filter
//! does runs without it, too, and fails there.

use e2e::{
    browser::serve_page, eventually, Gateway, GatewayBuilder, Launch, Library, RecordedRequest,
    Reply, Segment, SentryTrace, Site, Upstream, Visit,
};
use sentry_filter_core::cors::filter_order::FilterOrder;
use serde_json::{json, Value};

/// A page, and a gateway of another origin in front of a service.
struct Scene {
    site: Site,
    gateway: Gateway,
}

impl Scene {
    async fn start(change: impl FnOnce(GatewayBuilder, &Site) -> GatewayBuilder) -> Self {
        Self::of(Site::start().await, change).await
    }

    async fn of(site: Site, change: impl FnOnce(GatewayBuilder, &Site) -> GatewayBuilder) -> Self {
        let builder = Gateway::builder()
            .await
            .config(json!({"server_timing": true}));
        let gateway = change(builder, &site).start().await;
        Self { site, gateway }
    }

    async fn with_filter() -> Self {
        Self::start(|builder, _| builder).await
    }

    async fn without_filter() -> Self {
        Self::start(|builder, _| builder.without_filter()).await
    }

    fn origin(&self) -> String {
        format!("http://{}", self.gateway.envoy.address())
    }

    /// Has the service answer the preflight and the request with these lines, `<page>` being the
    /// origin of the page.
    fn service(&self, status: u16, preflight: &[(&str, &str)], answer: &[(&str, &str)]) {
        let reply = |status, lines: &[(&str, &str)]| {
            let lines = lines.iter();
            lines.fold(Reply::status(status), |reply, (name, value)| {
                reply.header(name, value.replace("<page>", &self.site.origin()))
            })
        };
        self.gateway
            .upstream
            .reply("OPTIONS", "/api", reply(204, preflight));
        self.gateway
            .upstream
            .reply("PUT", "/api", reply(status, answer));
    }

    /// The page calls the service.
    async fn call(&self, credentials: &str) -> Visit {
        let api = format!("{}/api", self.origin());
        self.site
            .visit(&[("api", &api), ("credentials", credentials)])
            .await
    }

    /// Asserts that the service got the request with the page's trace, and that the page can read
    /// the trace of the answer.
    async fn assert_one_trace(&self, visit: &Visit) {
        let requests = self
            .gateway
            .upstream
            .take_if(|request| request.method == "PUT");
        assert_eq!(requests.len(), 1);
        let context = requests[0].sentry_trace();
        assert_eq!(context.trace_id, visit.trace_id());
        assert_eq!(
            requests[0].baggage().sentry("trace_id").as_deref(),
            Some(visit.trace_id())
        );
        let told = self.told_of(&context).await;
        assert_eq!(visit.outcome["sentry_trace"], told.to_string());
    }

    /// What the client of a request is told whose upstream was told that: the gateway's own span,
    /// above the call.
    async fn told_of(&self, context: &SentryTrace) -> SentryTrace {
        let segment = eventually(async || {
            let segments = self.gateway.sentry.wait_for_segments(0).await;
            let is_it = |segment: &Segment| segment.call().span_id == context.span_id;
            segments.into_iter().find(is_it)
        });
        SentryTrace {
            span_id: segment.await.expect("the segment").server.span_id,
            ..context.clone()
        }
    }

    #[track_caller]
    fn assert_never_sent(&self) {
        let requests = self
            .gateway
            .upstream
            .take_if(|request| request.method == "PUT");
        assert!(requests.is_empty(), "the request was sent");
    }
}

const ORIGIN: (&str, &str) = ("access-control-allow-origin", "<page>");
const ANY_ORIGIN: (&str, &str) = ("access-control-allow-origin", "*");
const METHODS: (&str, &str) = ("access-control-allow-methods", "PUT");
const CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");

/// The same service is out of reach without the filter, and answers with it.
async fn assert_passes_with_the_filter_only(
    credentials: &str,
    preflight: &[(&str, &str)],
    answer: &[(&str, &str)],
) {
    let scene = Scene::without_filter().await;
    scene.service(200, preflight, answer);
    scene.call(credentials).await.assert_blocked();
    scene.assert_never_sent();

    let scene = Scene::with_filter().await;
    scene.service(200, preflight, answer);
    let visit = scene.call(credentials).await;
    visit.assert_answered(200);
    scene.assert_one_trace(&visit).await;
}

#[tokio::test]
async fn a_service_that_forgot_the_headers() {
    let names = ("access-control-allow-headers", "content-type");
    let preflight = [ORIGIN, METHODS, names];
    assert_passes_with_the_filter_only("omit", &preflight, &[ORIGIN]).await;
}

#[tokio::test]
async fn a_service_that_forgot_the_headers_with_credentials() {
    let names = ("access-control-allow-headers", "content-type");
    let preflight = [ORIGIN, METHODS, CREDENTIALS, names];
    let answer = [
        ORIGIN,
        CREDENTIALS,
        ("access-control-expose-headers", "x-total"),
    ];
    assert_passes_with_the_filter_only("include", &preflight, &answer).await;
}

/// With credentials `*` is the name of a header, and lets nothing through.
#[tokio::test]
async fn a_service_that_relies_on_wildcards_with_credentials() {
    let names = ("access-control-allow-headers", "*");
    let preflight = [ORIGIN, METHODS, CREDENTIALS, names];
    let answer = [ORIGIN, CREDENTIALS, ("access-control-expose-headers", "*")];
    assert_passes_with_the_filter_only("include", &preflight, &answer).await;
}

/// Without credentials the wildcards do, and the filter leaves them alone.
#[tokio::test]
async fn a_service_with_wildcards_for_everybody() {
    let preflight = [ANY_ORIGIN, METHODS, ("access-control-allow-headers", "*")];
    let answer = [ANY_ORIGIN, ("access-control-expose-headers", "*")];
    let scene = Scene::with_filter().await;
    scene.service(200, &preflight, &answer);
    let visit = scene.call("omit").await;
    visit.assert_answered(200);
    scene.assert_one_trace(&visit).await;
}

#[tokio::test]
async fn an_error_can_be_looked_up_by_its_trace() {
    let preflight = [ORIGIN, METHODS];
    let scene = Scene::with_filter().await;
    scene.service(
        503,
        &preflight,
        &[ORIGIN, ("access-control-expose-headers", "retry-after")],
    );
    let visit = scene.call("omit").await;
    visit.assert_answered(503);
    scene.assert_one_trace(&visit).await;
    assert_eq!(
        visit.outcome["baggage"],
        json!(null),
        "not told unless asked for"
    );
}

#[tokio::test]
async fn no_door_is_opened_that_was_shut() {
    let scene = Scene::with_filter().await;
    scene.service(
        200,
        &[
            METHODS,
            ("access-control-allow-headers", "sentry-trace, baggage"),
        ],
        &[],
    );
    scene.call("omit").await.assert_blocked();
    scene.assert_never_sent();

    let other = ("access-control-allow-origin", "https://other.example");
    scene.service(200, &[other, METHODS], &[other]);
    scene.call("omit").await.assert_blocked();
    scene.assert_never_sent();

    // The preflight passes, the answer does not let the page in: sent, and not read.
    scene.service(200, &[ORIGIN, METHODS], &[]);
    scene.call("omit").await.assert_blocked();
}

/// What a page gets of a service whose CORS is answered by a library, with a list that has the
/// page's own header and not those of the trace.
async fn call_of(library: Library, has_filter: bool) -> Visit {
    let site = Site::start().await;
    let service = library.serve(&site.origin(), "x-tenant").await;
    let scene = Scene::of(site, |builder, _| match has_filter {
        true => service.behind(builder),
        false => service.behind(builder).without_filter(),
    });
    let scene = scene.await;
    let api = format!("{}/api", scene.origin());
    let query = [
        ("api", api.as_str()),
        ("credentials", "include"),
        ("header", "x-tenant"),
    ];
    scene.site.visit(&query).await
}

async fn assert_library_passes_with_the_filter_only(library: Library) {
    call_of(library, false).await.assert_blocked();
    let visit = call_of(library, true).await;
    visit.assert_answered(200);
    let body = visit.outcome["body"].as_str().unwrap_or_default();
    let told: Value = serde_json::from_str(body).expect("JSON of the service");
    let context = told["sentry-trace"].as_str().and_then(SentryTrace::parse);
    let context = context.expect("a trace at the service");
    assert_eq!(context.trace_id, visit.trace_id(), "{library:?}");
}

#[tokio::test]
async fn services_that_check_the_names_asked_for() {
    for library in Library::WITHOUT_RUBY {
        assert_library_passes_with_the_filter_only(library).await;
    }
}

#[cfg(feature = "ruby")]
#[tokio::test]
async fn rack_cors_checks_the_names_asked_for() {
    assert_library_passes_with_the_filter_only(Library::RackCors).await;
}

const CORS: &str = "envoy.filters.http.cors";

fn policed(builder: GatewayBuilder, site: &Site) -> GatewayBuilder {
    let policy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": site.origin()}],
        "allow_methods": "PUT",
        "allow_headers": "content-type",
    });
    builder.route(e2e::Route::new("policed", "/api").filter(CORS, policy))
}

fn cors_filter() -> Value {
    json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"})
}

#[tokio::test]
async fn envoys_own_cors_filter_has_to_stand_behind_ours() {
    let alone = |builder: GatewayBuilder, site: &Site| {
        policed(builder, site)
            .behind(CORS, cors_filter())
            .without_filter()
    };
    let scene = Scene::start(alone).await;
    scene.call("omit").await.assert_blocked();

    let scene =
        Scene::start(|builder, site| policed(builder, site).behind(CORS, cors_filter())).await;
    let visit = scene.call("omit").await;
    visit.assert_answered(200);
    scene.assert_one_trace(&visit).await;
    assert!(!scene.gateway.envoy.log().contains(FilterOrder::WARNING));

    let scene =
        Scene::start(|builder, site| policed(builder, site).in_front(CORS, cors_filter())).await;
    scene.call("omit").await.assert_blocked();
    scene.assert_never_sent();
    assert!(scene.gateway.envoy.log().contains(FilterOrder::WARNING));
}

/// A page without `<meta>` tags, served through the gateway.
async fn load(scene: &Scene, cache_control: &str) -> (Visit, RecordedRequest) {
    let answer = Reply::status(200).header("cache-control", cache_control);
    serve_page(&scene.gateway.upstream, answer).await;
    let visit = scene.site.visit_at(&scene.origin(), &[]).await;
    let mut requests = scene
        .gateway
        .upstream
        .take_if(|request| request.path.starts_with("/page?"));
    assert_eq!(requests.len(), 1);
    (visit, requests.remove(0))
}

#[tokio::test]
async fn a_page_load_joins_the_trace_of_the_gateway() {
    let scene = Scene::with_filter().await;
    let (visit, request) = load(&scene, "private, max-age=0").await;
    let context = request.sentry_trace();
    assert_eq!(visit.trace_id(), context.trace_id);
    let told = scene.told_of(&context).await;
    assert_eq!(visit.parent_span_id(), Some(told.span_id.as_str()));

    let scene = Scene::without_filter().await;
    let (visit, _) = load(&scene, "private, max-age=0").await;
    assert_eq!(visit.parent_span_id(), None, "nobody told it");
}

#[tokio::test]
async fn a_page_that_everybody_gets_joins_no_trace() {
    let scene = Scene::with_filter().await;
    let (visit, request) = load(&scene, "public, max-age=60").await;
    assert_ne!(visit.trace_id(), request.sentry_trace().trace_id);
    assert_eq!(visit.parent_span_id(), None);
}

/// The shipped file, with the SDK's own words for a tunnel. Its envelopes reach Sentry as they left
/// the page, and the gateway has a span for the page and none for them.
#[tokio::test]
async fn the_page_reports_through_the_tunnel() {
    let (site, upstream) = (Site::start().await, Upstream::start().await);
    let (own, page) = ("0".repeat(31) + "1", "b".repeat(32));
    let envoy = Launch::tunnel(site.address(), upstream.address())
        .replace(&format!("sentry_key={own}"), &format!("sentry_key={page}"))
        .start()
        .await;
    let answer = Reply::status(200).header("cache-control", "private");
    serve_page(&upstream, answer.header("set-cookie", "session=hush")).await;
    let origin = format!("http://{}", envoy.address());
    let visit = site.visit_at(&origin, &[("tunnel", "/tunnel")]).await;
    assert!(visit.console.is_empty(), "{:?}", visit.console);

    let is_own = |request: &&RecordedRequest| {
        let auth = request.headers.text("x-sentry-auth").unwrap_or_default();
        auth.contains(&own)
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = visit.reports.iter().partition(is_own);
    assert!(!theirs.is_empty());
    for report in theirs {
        assert_eq!(report.path, "/api/1/envelope/");
        // What Sentry compares: the key and project of the request with those of the envelope.
        let header = report.body.split(|byte| *byte == b'\n').next();
        let header: Value = serde_json::from_slice(header.unwrap_or_default()).expect("a header");
        assert_eq!(header["dsn"], site.dsn());
        let auth = format!("Sentry sentry_version=7, sentry_key={page}");
        report.assert_lines("x-sentry-auth", &[auth]);
        assert_eq!(report.headers.text("origin"), Some(origin.as_str()));
        for name in ["cookie", "sentry-trace", "baggage"] {
            assert_eq!(report.headers.text(name), None, "{name}");
        }
    }
    // The page's load is in the trace of the gateway, whose own spans are those of the page and its
    // script.
    let request = upstream.take_if(|request| request.path.starts_with("/page?"));
    assert_eq!(visit.trace_id(), request[0].sentry_trace().trace_id);
    // Every request but those through the tunnel: a browser may ask for an icon at any time.
    let mut asked = 1;
    let counted = eventually(async || {
        asked += upstream.take_if(|_| true).len() as u64;
        let stats = envoy.stats().await;
        (stats.get("requests") == Some(&asked)).then_some(())
    });
    assert!(counted.await.is_some(), "the tunnel was counted");
    let text: Vec<u8> = ours.iter().flat_map(|report| report.body.clone()).collect();
    assert!(!String::from_utf8_lossy(&text).contains("/tunnel"));
}
