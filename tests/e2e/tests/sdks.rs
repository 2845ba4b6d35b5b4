//! Sentry's SDKs, by their versions: pages in real Chromium that call services through the gateway,
//! from another origin, each of which calls another service through it.
//!
//! ```text
//! page ──► gateway ──► service ──► gateway ──► another service      one trace, without a hole
//! ```
//!
//! The table in `docs/compatibility.md` is what comes of it: `DOCS=1` writes it, else it is
//! compared.

use std::{collections::HashMap, env, fs};

use e2e::{
    browser::{address, open, serve_page_with, Seen},
    cluster_at,
    envoy::workspace,
    eventually,
    reports::{reported, Reported},
    Gateway, GatewayBuilder, Instrumented, Reply, Route, Sdk, Segment, SentryTrace, Service, Site,
};
use serde_json::{json, Value};

/// A page: an SDK, and how it sends its spans if it is not its default.
struct Page {
    name: &'static str,
    sdk: Sdk,
    lifecycle: Option<&'static str>,
    streams: bool,
    /// Whether it reads the trace of a page load from `Server-Timing`, which came with 10.39.
    reads_server_timing: bool,
}

const fn page(name: &'static str, tools: &'static str, package: &'static str) -> Page {
    Page {
        name,
        sdk: Sdk { tools, package },
        lifecycle: None,
        streams: false,
        reads_server_timing: true,
    }
}

const PAGES: [Page; 8] = [
    Page {
        reads_server_timing: false,
        ..page("browser-8", "sdks", "browser-8")
    },
    Page {
        reads_server_timing: false,
        ..page("browser-9", "sdks", "browser-9")
    },
    page("browser-10", "sdks", "browser-10"),
    Page {
        streams: true,
        ..page("browser-11", "sdks", "browser-11")
    },
    Page {
        lifecycle: Some("static"),
        ..page("browser-11-static", "sdks", "browser-11")
    },
    Page {
        streams: true,
        ..page("vue", "vue", "@sentry/vue")
    },
    Page {
        lifecycle: Some("static"),
        ..page("vue-static", "vue", "@sentry/vue")
    },
    page("astro", "astro", "@sentry/astro"),
];

/// Who answers the preflight.
const CORS: [&str; 2] = ["envoy", "service"];

/// What a page itself has in `baggage`.
const BAGGAGE: &str = "acme-tenant=42";

struct Scene {
    site: Site,
    gateway: Gateway,
    _services: Vec<Service>,
}

impl Scene {
    async fn start(change: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let site = Site::start().await;
        let mut builder = Gateway::builder()
            .await
            .config(json!({"server_timing": true}));
        for page in &PAGES {
            // No shared cache may keep it: that is what lets the gateway tell the page its trace.
            let answer = Reply::status(200).header("cache-control", "private");
            serve_page_with(builder.upstream(), page.name, page.sdk, answer).await;
        }
        // Any origin: which port the gateway gets is not known yet.
        let policy = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [{"prefix": "http://localhost:"}],
            "allow_methods": "PUT",
            "allow_headers": "content-type",
        });
        let mut services = Vec::new();
        for kind in Instrumented::ALL {
            let name = kind.name();
            let service = kind.serve("*", &site.dsn_of(name)).await;
            let action = json!({"route": {"cluster": name}});
            let route = |from: &str| {
                Route::new(&format!("{from}-{name}"), &format!("/{from}/{name}"))
                    .action(action.clone())
            };
            builder = builder
                .cluster(cluster_at(name, Some(service.address())))
                .route(route("service"))
                .route(route("envoy").filter("envoy.filters.http.cors", policy.clone()));
            services.push(service);
        }
        let filter =
            json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"});
        let builder = builder.behind("envoy.filters.http.cors", filter);
        let gateway = change(builder).start().await;
        Self {
            site,
            gateway,
            _services: services,
        }
    }

    /// What a page calls: the address of each service, through each kind of CORS. Each service
    /// calls the one after it.
    fn calls(&self) -> Vec<Call> {
        let gateway = format!("http://{}", self.gateway.envoy.address());
        let mut calls = Vec::new();
        for cors in CORS {
            let next = Instrumented::ALL.iter().cycle().skip(1);
            for (&first, &second) in Instrumented::ALL.iter().zip(next) {
                let of = |kind: Instrumented| format!("{gateway}/{cors}/{}", kind.name());
                calls.push(Call {
                    first,
                    second,
                    address: address(&of(first), &[("next", &of(second))]),
                });
            }
        }
        calls
    }

    /// Opens each page, at an origin that is not the one of the calls: another name of the host.
    async fn visit(&self) -> Vec<Seen> {
        let origin = format!("http://localhost:{}", self.gateway.envoy.address().port());
        let calls = self.calls();
        let mut addresses = Vec::new();
        for page in &PAGES {
            let dsn = self.site.dsn_of(page.name);
            let mut query = vec![("dsn", dsn.as_str()), ("baggage", BAGGAGE)];
            query.extend(page.lifecycle.map(|lifecycle| ("lifecycle", lifecycle)));
            query.extend(calls.iter().map(|call| ("api", call.address.as_str())));
            addresses.push(address(&format!("{origin}/{}", page.name), &query));
        }
        open(&addresses).await
    }
}

struct Call {
    first: Instrumented,
    second: Instrumented,
    address: String,
}

/// Everybody's spans.
struct Spans {
    reported: Vec<Reported>,
    segments: Vec<Segment>,
}

impl Spans {
    /// Who has a span, its trace, and the span above it.
    fn find(&self, span_id: &str) -> Option<(&str, &str, Option<&str>)> {
        let reported = self.reported.iter().find(|span| span.span_id == span_id);
        if let Some(span) = reported {
            let parent = span.parent_span_id.as_deref();
            return Some((&span.reporter, &span.trace_id, parent));
        }
        let mut gateways = self
            .segments
            .iter()
            .flat_map(|segment| std::iter::once(&segment.server).chain(&segment.calls));
        let span = gateways.find(|span| span.span_id == span_id)?;
        Some(("gateway", &span.trace_id, span.parent_span_id.as_deref()))
    }

    /// Who has the spans from this one up to the top, whoever has several in a row said once; all
    /// must be of one trace.
    fn line(&self, from: &str, trace_id: &str) -> Result<Vec<String>, String> {
        let mut line: Vec<String> = Vec::new();
        let mut next = Some(from);
        while let Some(span_id) = next {
            let found = self.find(span_id);
            let (who, trace, parent) =
                found.ok_or(format!("nobody reported {span_id}: {line:?}"))?;
            if trace != trace_id {
                return Err(format!("{span_id} of {who} is in another trace"));
            }
            if line.last().is_none_or(|last| last != who) {
                line.push(who.to_owned());
            }
            next = parent;
        }
        Ok(line)
    }
}

/// Whether a call of a page is where it belongs.
fn check(
    page: &Page,
    seen: &Seen,
    call: &Call,
    answer: &Value,
    spans: &Spans,
) -> Result<(), String> {
    if answer["status"] != 200 {
        return Err(format!("{answer}"));
    }
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    let context = |told: &Value| told["sentry-trace"].as_str().and_then(SentryTrace::parse);
    let (first, second) = (context(&body), context(&body["next"]));
    let (Some(first), Some(second)) = (first, second) else {
        return Err(format!("a service got no trace: {body}"));
    };
    let trace_id = first.trace_id.as_str();
    // The second service's own span, whose parent it was told.
    let last = spans.reported.iter().find(|span| {
        span.is_segment && span.parent_span_id.as_deref() == Some(second.span_id.as_str())
    });
    let last = last.ok_or("the second service reported nothing")?;
    let mut expected: Vec<_> = [
        call.second.name(),
        "gateway",
        call.first.name(),
        "gateway",
        page.name,
    ]
    .map(str::to_owned)
    .to_vec();
    if page.reads_server_timing {
        expected.push("gateway".to_owned());
    }
    let line = spans.line(&last.span_id, trace_id)?;
    if line != expected {
        return Err(format!("{line:?}, expected {expected:?}"));
    }
    // Exposed by CORS: the page reads in its answer the gateway's own span, above the call.
    let above = spans.find(&first.span_id).and_then(|(_, _, parent)| parent);
    let told = SentryTrace {
        span_id: above.unwrap_or_default().to_owned(),
        ..first.clone()
    };
    if answer["sentry_trace"] != told.to_string() {
        return Err(format!(
            "the page was told {}, not {told}",
            answer["sentry_trace"]
        ));
    }
    // What the SDK sent, with the page's own member, is what the service got.
    let sent = seen.sent.get(&call.address).cloned().flatten();
    let sent = sent.ok_or("the SDK sent no baggage")?;
    if body["baggage"] != sent.as_str() {
        return Err(format!("{} became of {sent}", body["baggage"]));
    }
    let members: Vec<_> = sent.split(',').map(str::trim).collect();
    let trace_member = format!("sentry-trace_id={trace_id}");
    match members.contains(&BAGGAGE) && members.contains(&trace_member.as_str()) {
        true => Ok(()),
        false => Err(format!("the SDK sent {sent}")),
    }
}

#[tokio::test]
async fn every_sdk_stays_in_one_trace() {
    let scene = Scene::start(|builder| builder).await;
    let seen = scene.visit().await;
    let calls = scene.calls();
    let mut reports = Vec::new();
    let mut verdicts = HashMap::new();
    let complete = eventually(async || {
        reports.extend(scene.site.take_reports());
        let spans = Spans {
            reported: reported(&reports),
            segments: scene.gateway.sentry.wait_for_segments(0).await,
        };
        for (page, seen) in PAGES.iter().zip(&seen) {
            let answers = calls.iter().zip(&seen.outcomes);
            for (call, answer) in answers {
                let verdict = check(page, seen, call, answer, &spans);
                verdicts.insert((page.name, &call.address), verdict);
            }
        }
        verdicts.values().all(Result::is_ok).then_some(spans)
    });
    let complete = complete.await;
    let wrong: Vec<_> = verdicts.iter().filter(|(_, one)| one.is_err()).collect();
    let spans = complete.unwrap_or_else(|| panic!("{wrong:#?}"));
    assert_eq!(
        verdicts.len(),
        PAGES.len() * CORS.len() * Instrumented::ALL.len()
    );

    for (page, seen) in PAGES.iter().zip(&seen) {
        assert!(seen.console.is_empty(), "{}: {:?}", page.name, seen.console);
    }
    // And the table does not lie about how they send their spans.
    let pages = PAGES.iter().map(|page| (page.name, page.streams));
    let services = Instrumented::ALL.map(|kind| (kind.name(), kind.streams()));
    for (name, streams) in pages.chain(services) {
        let its = spans.reported.iter().filter(|span| span.reporter == name);
        let mut kinds: Vec<_> = its.map(|span| span.is_streamed).collect();
        kinds.dedup();
        assert_eq!(kinds, [streams], "whether {name} streams its spans");
    }
    compare_with_documentation();
}

/// The same without the filter: the browser keeps back every call, and no page load knows its
/// trace.
#[tokio::test]
async fn without_the_filter_none_does() {
    let scene = Scene::start(GatewayBuilder::without_filter).await;
    let seen = scene.visit().await;
    for (page, seen) in PAGES.iter().zip(&seen) {
        assert_eq!(seen.outcomes.len(), CORS.len() * Instrumented::ALL.len());
        for answer in &seen.outcomes {
            assert!(answer["error"].is_string(), "{}: {answer}", page.name);
        }
        let blocked = seen
            .console
            .iter()
            .filter(|line| line.contains("CORS policy"));
        assert_eq!(
            blocked.count(),
            seen.outcomes.len(),
            "{}: {:?}",
            page.name,
            seen.console
        );
    }
    let mut reports = Vec::new();
    let page_loads = eventually(async || {
        reports.extend(scene.site.take_reports());
        let mut page_loads = reported(&reports);
        page_loads.retain(|span| span.op == "pageload" && span.is_segment);
        (page_loads.len() == PAGES.len()).then_some(page_loads)
    });
    for page_load in page_loads.await.expect("all page loads") {
        assert_eq!(page_load.parent_span_id, None, "{page_load:?}");
    }
}

const BEGIN: &str = "<!-- make sdks: begin -->\n";
const END: &str = "<!-- end -->\n";

/// What the documentation says is what was tried.
fn compare_with_documentation() {
    let path = workspace("docs/compatibility.md");
    let text = fs::read_to_string(&path).expect("the documentation");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where the table ends");
    let tried = tried();
    if env::var("DOCS").is_ok_and(|docs| docs == "1") {
        fs::write(&path, [before, BEGIN, &tried, END, after].concat()).expect("the file written");
        return;
    }
    assert_eq!(
        table, tried,
        "other SDKs than those of the table: run `make sdks`"
    );
}

fn tried() -> String {
    let services = Instrumented::ALL.map(|kind| {
        let spans = if kind.streams() {
            "streamed"
        } else {
            "transactions"
        };
        format!("a service with {} {}, {spans}", kind.sdk(), kind.version())
    });
    let mut table = format!(
        "| SDK of the page | its spans | page load | {} |\n|{}\n",
        services.join(" | "),
        "---|".repeat(3 + services.len())
    );
    for page in &PAGES {
        let package = match page.sdk.package {
            name if name.starts_with('@') => name,
            _ => "@sentry/browser",
        };
        let spans = if page.streams {
            "streamed"
        } else {
            "transactions"
        };
        let load = match page.reads_server_timing {
            true => "continues the gateway's trace",
            false => "begins a trace",
        };
        let row = format!(
            "| `{package}` {} | {spans} | {load} |{}\n",
            page.sdk.version(),
            " one trace |".repeat(services.len())
        );
        table.push_str(&row);
    }
    table
}
