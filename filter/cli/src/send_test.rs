//! Posts one span to Sentry as the filter would, but for Envoy, and says what the answer means.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::export::failure::status_meaning;
use sentry_filter_core::export::rate_limit::limit_s;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{HostError, RequestHost};
use sentry_filter_core::project::{Project, Projects};
use sentry_filter_core::rules::RuleSet;
use sentry_filter_core::sampling::SampleRate;
use sentry_filter_core::span::StreamInfo;
use sentry_filter_core::worker::Worker;
use serde::Serialize;
use ureq::tls::{parse_pem, PemItem, RootCerts, TlsConfig};

/// What became of the test span.
#[derive(Debug, Serialize)]
pub struct Test {
    /// Whether the receiver took it.
    pub accepted: bool,
    /// Where it was posted.
    pub url: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The trace it is in.
    pub trace_id: Option<String>,
    /// For how many seconds it asks for no more of this, if it does.
    pub pause_s: Option<u64>,
    /// What that means, and what to do.
    pub meaning: String,
}

impl Test {
    fn failed(url: String, meaning: String) -> Self {
        Self {
            accepted: false,
            url,
            status: None,
            trace_id: None,
            pause_s: None,
            meaning,
        }
    }
}

/// The authorities of a file in PEM; without one those that browsers know.
///
/// # Errors
/// Why there are none in it.
pub fn authorities(pem: Option<&[u8]>) -> Result<RootCerts, String> {
    let Some(pem) = pem else {
        return Ok(RootCerts::WebPki);
    };
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item.map_err(|error| error.to_string())? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => return Err("expected certificates in PEM, found something else, too".to_owned()),
        }
    }
    match certificates.is_empty() {
        true => Err("expected certificates in PEM, found none".to_owned()),
        false => Ok(RootCerts::new_with_certs(&certificates)),
    }
}

/// Posts a test span to every project that rules name.
pub fn send_tests_of_rules(config: &FilterConfig, authorities: &RootCerts) -> Vec<Test> {
    let projects = config.trace.projects.iter();
    let own = config.trace.projects.own();
    let of_rules = projects.filter(|(id, _)| Some(*id) != own);
    let test = |project: &Project| {
        let mut config = config.clone();
        let dsn = Dsn::clone(&project.dsn);
        let projects = Projects::new(Some(dsn), &project.cluster, None);
        config.trace.projects = Arc::new(projects);
        send_test(&config, authorities)
    };
    of_rules.map(|(_, project)| test(project)).collect()
}

/// Posts a test span to the project of the top level, to a receiver whose certificate one of the
/// authorities has signed.
pub fn send_test(config: &FilterConfig, authorities: &RootCerts) -> Test {
    let Some(dsn) = config.trace.dsn().cloned() else {
        return Test::failed(String::new(), "there is no DSN to send to".to_owned());
    };
    let now_ns = now_ns();
    let mut recording = config.clone();
    recording.trace.traces_sample_rate = SampleRate::new(1.0);
    recording.trace.max_traces_per_second = None;
    recording.trace.rules = RuleSet::default();
    recording.trace_ignore_status_codes = Vec::new();
    let mut worker = Worker::alone(recording);
    let request: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"sentry-filter.invalid"),
        (b":path", b"/sentry-filter-test"),
    ];
    let outcome = worker.on_request(&Headers::from_pairs(request), &mut RandomHost);
    let trace_id = outcome.context.map(|context| context.trace_id.to_string());
    if outcome.request.span.is_some() {
        let end = StreamInfo {
            start_ns: Some(now_ns.saturating_sub(1_000_000)),
            duration_ns: Some(1_000_000),
            response_code: Some(200),
            now_ns,
            ..StreamInfo::default()
        };
        let tracer = worker.tracer();
        tracer.on_stream_info(outcome.request, end, || None);
    }
    // As when the configuration ends: what waits leaves at once.
    worker.handle(Event::Shutdown, now_ns);
    let url_of = |path: &str| format!("{}://{}{path}", dsn.scheme(), dsn.authority());
    let Some(Command::Post(callout)) = worker.exporter().poll(now_ns) else {
        return Test::failed(
            url_of(""),
            "no random numbers to make a trace of".to_owned(),
        );
    };
    let path = callout.headers.iter().find(|(name, _)| *name == ":path");
    let url = url_of(path.map_or("/", |(_, path)| path));
    let tls = TlsConfig::builder().root_certs(authorities.clone());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_millis(callout.timeout_ms.into())))
        .build()
        .into();
    let mut post = agent.post(&url);
    for (name, value) in callout
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with(':'))
    {
        post = post.header(name, value);
    }
    match post.send(&callout.body) {
        Err(error) => Test {
            trace_id,
            ..Test::failed(
                url,
                unreachable(&error, dsn.authority(), callout.timeout_ms),
            )
        },
        Ok(mut answer) => {
            let status = answer.status().as_u16();
            let lines = answer.headers().iter();
            let lines: Vec<_> = lines
                .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
                .collect();
            let headers = Headers::from_pairs(lines);
            let limit = limit_s(
                &headers,
                Some(status),
                config.transport.format.category(),
                now_ns / 1_000_000_000,
            );
            let is_otlp =
                config.transport.path.is_none() && !config.transport.format.carries_reports();
            let body = answer
                .body_mut()
                .with_config()
                .limit(2_048)
                .read_to_vec()
                .unwrap_or_default();
            let is_success = (200..=299).contains(&status);
            // A collector can answer with success and refuse what it was sent.
            let rejected = match is_success {
                true => config.transport.format.rejected(|| body.clone()),
                false => 0,
            };
            let mut meaning = match rejected {
                0 => meaning(status, limit, is_otlp),
                _ => "the receiver answers with success and refuses the span (partial_success)"
                    .to_owned(),
            };
            let why = String::from_utf8_lossy(&body);
            let why = why.trim();
            if !is_success && !why.is_empty() {
                let why: String = why
                    .chars()
                    .filter(|char| !char.is_control())
                    .take(200)
                    .collect();
                meaning = format!("{meaning}. It says: {why}");
            }
            Test {
                accepted: is_success && rejected == 0,
                url,
                status: Some(status),
                trace_id,
                pause_s: limit,
                meaning,
            }
        }
    }
}

fn meaning(status: u16, limit: Option<u64>, is_otlp: bool) -> String {
    let limited = limit.map(|seconds| format!(" and asks for a pause of {seconds} s"));
    let what = match status {
        200..=299 => "the receiver took the span. Sentry answers before it has looked inside: search for the trace in the project; if it is not there within a minute, see the project's Stats page for what was filtered",
        other => status_meaning(other, is_otlp),
    };
    format!("{what}{}", limited.unwrap_or_default())
}

fn unreachable(error: &ureq::Error, authority: &str, timeout_ms: u32) -> String {
    // The resolver's own error is an I/O error like any other. The port does not matter; the
    // authority may lack one.
    let mut places = [authority.to_owned(), format!("{authority}:443")].into_iter();
    let has_address = places.any(|place| place.to_socket_addrs().is_ok());
    match error {
        ureq::Error::HostNotFound | ureq::Error::Io(_) if !has_address => "the DSN's host has no address: a typing error, or no DNS here".to_owned(),
        ureq::Error::Timeout(_) => format!("no answer within transport.timeout_ms ({timeout_ms}): a firewall, or a proxy that has to be named in HTTPS_PROXY"),
        // A handshake that fails comes as an I/O error about its data.
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => handshake(error),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => handshake(error),
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => "the connection was refused: nothing listens there, or a firewall".to_owned(),
        other => format!("no connection, or it broke: {other}"),
    }
}

fn handshake(error: &ureq::Error) -> String {
    format!("the TLS handshake failed: {error}. The certificate is checked against the public authorities that browsers know, or those of --ca; Envoy checks against what the cluster names")
}

/// A host that has random bytes and nothing else.
struct RandomHost;

impl RequestHost for RandomHost {
    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        getrandom::fill(buffer).map_err(|_| HostError::Unavailable)
    }
}

/// Here is no Envoy to ask for the time.
#[allow(clippy::disallowed_methods)]
fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}
