//! What the filter decides about one request, and why: the filter's own line of code, with a clock
//! that stands still and numbers that are not random.

use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::headers::{HeaderMutation, Headers};
use sentry_filter_core::host::{Entropy, HostCalls, HostError, RequestHost};
use sentry_filter_core::project::{Project, ProjectError, MAX_PROJECTS};
use sentry_filter_core::route;
use sentry_filter_core::route_metadata::{MetadataValue, RouteMetadata};
use sentry_filter_core::trace::continuation::RestartReason;
use sentry_filter_core::trace::header::HeaderError;
use sentry_filter_core::trace::propagation::{Format, Formats};
use sentry_filter_core::trace::sampling_decision::SetBy;
use sentry_filter_core::trace::{self, Limits, TraceDecision, TraceOrigin};
use sentry_filter_core::worker::Worker;
use serde::Serialize;
use serde_json::{Map, Value};

/// The time of every explanation: 2026-01-01 00:00:00 UTC.
const NOW_NS: u64 = 1_767_225_600_000_000_000;

/// A request as a person writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    headers: Vec<(String, String)>,
    /// The name of Envoy's route.
    pub route: Option<String>,
    /// The name of Envoy's cluster.
    pub cluster: Option<String>,
    /// What the metadata of Envoy's route has in `filter_metadata.sentry`.
    pub metadata: RouteMetadata,
}

/// A decision, for people.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The project that it belongs to, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What becomes of the trace, and why.
    pub trace: String,
    /// Headers that were refused, and what to do.
    pub refused: Vec<String>,
    /// Whether it is sampled, and why.
    pub sampling: String,
    /// The gateway's span.
    pub span: Option<String>,
    /// The request headers that the filter writes or removes.
    pub headers: Vec<String>,
    /// The headers of the trace that go on as they came.
    pub unchanged: Vec<String>,
}

impl Request {
    /// Reads a request: lines `name: value`, after a first line `METHOD URL` if there is one;
    /// `more` are more headers.
    ///
    /// # Errors
    /// Which line is none of that.
    pub fn parse(text: &str, more: &[String]) -> Result<Self, String> {
        let lines: Vec<&str> = text
            .lines()
            .chain(more.iter().map(String::as_str))
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let is_header = |line: &str| {
            let name = line.split(':').next().unwrap_or_default();
            let is_url = line.contains("://") && line.starts_with(&format!("{name}://"));
            line.contains(':') && !is_url && !name.is_empty() && !name.contains([' ', '/'])
        };
        let (first, lines) = match lines.split_first() {
            Some((line, rest)) if !is_header(line) => (*line, rest),
            _ => ("GET https://gateway.example/", lines.as_slice()),
        };
        let (method, scheme, authority, path) = request_line(first)?;
        let mut headers = vec![
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ];
        let mut own = Vec::new();
        for line in lines {
            let pair = line.split_once(':').filter(|_| is_header(line));
            let (name, value) =
                pair.ok_or_else(|| format!("expected name: value, found {line:?}"))?;
            own.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        if let Some((_, host)) = own.extract_if(.., |(name, _)| name == "host").next() {
            headers[2].1 = host;
        }
        let pseudo = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Ok(Self {
            headers: pseudo.chain(own).collect(),
            route: None,
            cluster: None,
            metadata: RouteMetadata::default(),
        })
    }

    /// What stands below `filter_metadata.sentry`. Lists and objects are left out: the filter reads
    /// none.
    ///
    /// # Errors
    /// What it is instead.
    pub fn metadata(text: &str) -> Result<RouteMetadata, String> {
        let values: Map<String, Value> = serde_norway::from_str(text).map_err(|error| {
            format!("expected an object, as {{\"traces_sample_rate\": 0.5}}: {error}")
        })?;
        if let Some((key, _)) = values.iter().find(|(_, value)| value.is_null()) {
            return Err(format!(
                "{key} has no value: with such a key Envoy hands over none of them"
            ));
        }
        let nested = |key: &str| {
            let (outer, inner) = key.split_once('.')?;
            values.get(outer)?.get(inner)
        };
        Ok(RouteMetadata::read(|key| {
            match values.get(key).or_else(|| nested(key))? {
                Value::Bool(flag) => Some(MetadataValue::Flag(*flag)),
                Value::Number(number) => number.as_f64().map(MetadataValue::Number),
                Value::String(text) => Some(MetadataValue::Text(text.clone())),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        }))
    }

    fn headers(&self) -> Headers {
        let pairs = self.headers.iter();
        Headers::from_pairs(pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }
}

/// A host with one request, a clock that stands still and numbers that are not random.
struct FixedHost<'a> {
    request: &'a Request,
    state: u64,
}

impl<'a> FixedHost<'a> {
    fn new(request: &'a Request) -> Self {
        Self {
            request,
            state: 0x5eed,
        }
    }
}

impl RequestHost for FixedHost<'_> {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        Ok(NOW_NS)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        for byte in buffer {
            // A step of Knuth's linear generator: looks random, and is the same each time.
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = self.state.to_be_bytes()[0];
        }
        Ok(())
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        let text = match attribute {
            Attribute::RouteName => self.request.route.as_ref(),
            Attribute::ClusterName => self.request.cluster.as_ref(),
            _ => None,
        };
        Ok(text.map(|text| text.clone().into_bytes()))
    }

    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        Ok(self.request.metadata.clone())
    }
}

/// The parts of `METHOD URL`, as `GET https://shop.example/api/7` or `/api/7`.
fn request_line(line: &str) -> Result<(String, String, String, String), String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (method, url) = match words.as_slice() {
        [url] => ("GET", *url),
        [method, url] => (*method, *url),
        [method, url, version] if version.starts_with("HTTP/") => (*method, *url),
        _ => return Err(nonsense(line)),
    };
    if method.is_empty()
        || !method
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte))
    {
        return Err(nonsense(line));
    }
    if method != method.to_ascii_uppercase() {
        let upper = method.to_ascii_uppercase();
        return Err(format!(
            "{}; methods are in capital letters: did you mean \"{upper} {url}\"?",
            nonsense(line)
        ));
    }
    let parts = |scheme: &str, authority: &str, path: &str| {
        let parts = [method, scheme, authority, path].map(str::to_owned);
        parts.into()
    };
    if url.starts_with('/') || (method == "OPTIONS" && url == "*") {
        return Ok(parts("https", "gateway.example", url));
    }
    if method == "CONNECT" && !url.contains('/') {
        return Ok(parts("https", url, "/"));
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at_checked(end).unwrap_or((rest, "/")),
        None => (rest, "/"),
    };
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let is_host = !authority.is_empty() && !authority.contains(['@', '\\']);
    match scheme.as_str() {
        "http" | "https" if is_host => Ok(parts(&scheme, authority, &path)),
        "" if is_host && authority.contains(['.', ':']) => Err(format!(
            "{}; did you mean \"{method} https://{url}\"?",
            nonsense(line)
        )),
        _ => Err(nonsense(line)),
    }
}

fn nonsense(line: &str) -> String {
    format!("--explain: expected METHOD URL, as \"GET https://shop.example/api/7\" or \"GET /api/7\", or name: value, found {line:?}")
}

/// Lets something be done with the calls for a request.
fn with_calls<T>(request: &Request, act: impl FnOnce(&mut HostCalls<'_>) -> T) -> T {
    let mut host = FixedHost::new(request);
    act(&mut HostCalls::new(&mut host, &mut Entropy::default()))
}

/// Explains what becomes of a request.
pub fn explain(config: &FilterConfig, request: &Request) -> Explanation {
    let headers = request.headers();
    let decision = with_calls(request, |calls| {
        trace::decide(&headers, &config.trace, Limits::NONE, None, calls)
    });
    let outcome = Worker::alone(config.clone()).on_request(&headers, &mut FixedHost::new(request));
    let path = config.transport.path.as_deref();
    let mut projects = config.trace.projects.iter();
    let may_start = projects.all(|(_, project)| route::may_start(&headers, &project.dsn, path));
    let may_start = match (may_start, decision.project) {
        _ if config.trace.projects.is_empty() => None,
        (false, _) => Some(MayStart::No),
        (true, None) => Some(MayStart::WithoutProject),
        (true, Some(_)) => Some(MayStart::Yes),
    };
    Explanation {
        project: project(config, &decision),
        trace: origin(&decision, may_start),
        refused: refused(&decision),
        sampling: sampling(&decision, may_start),
        span: outcome.request.span.as_ref().map(|span| {
            let name = span.transaction.as_ref().map_or_else(
                || format!("{} (source url; a route's name with a / in it, or a rule's transaction would be better)", span.request.path),
                |name| format!("{} (source {})", name.name, name.source.as_str()),
            );
            match span.context.upstream_span_id {
                Some(_) => format!("http.server {name}, and http.client below it"),
                None => format!("http.server {name}"),
            }
        }),
        headers: outcome
            .mutations
            .iter()
            .map(|mutation| match mutation {
                HeaderMutation::Set { name, value } => {
                    format!("{name}: {}", String::from_utf8_lossy(value))
                }
                HeaderMutation::Remove { name } => format!("{name} is removed"),
            })
            .collect(),
        unchanged: unchanged(&headers, &outcome.mutations),
    }
}

/// Whether a trace may begin where there is a DSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayStart {
    No,
    WithoutProject,
    Yes,
}

/// The project of a request, where there are several.
fn project(config: &FilterConfig, decision: &TraceDecision) -> Option<String> {
    let projects = &config.trace.projects;
    let found = decision.project.and_then(|id| projects.get(id));
    match (found, decision.wrong_project) {
        (_, Some(ProjectError::Dsn(error))) => Some(format!("none: the route's dsn has {error}")),
        (_, Some(ProjectError::TooMany)) => Some(format!("none: there are {MAX_PROJECTS} others")),
        (Some(Project { dsn, cluster, .. }), None) if projects.iter().nth(1).is_some() => {
            Some(format!("{dsn}, through cluster {cluster:?}"))
        }
        _ => None,
    }
}

/// The headers of the trace that the filter neither writes nor removes.
fn unchanged(headers: &Headers, mutations: &[HeaderMutation]) -> Vec<String> {
    let is_changed = |header: &str| {
        mutations.iter().any(|mutation| match mutation {
            HeaderMutation::Set { name, .. } | HeaderMutation::Remove { name } => *name == header,
        })
    };
    let names = Formats::ALL.headers().filter(|name| !is_changed(name));
    names
        .flat_map(|name| {
            let values = headers.values(name);
            values.map(move |value| format!("{name}: {}", String::from_utf8_lossy(value)))
        })
        .collect()
}

fn origin(decision: &TraceDecision, may_start: Option<MayStart>) -> String {
    match (decision.origin, may_start) {
        (TraceOrigin::None, None) => "none: there is no DSN, so none begins",
        (TraceOrigin::None, Some(MayStart::WithoutProject)) => "none: its route, or the first rule that names a project, has none for it, so none begins",
        (TraceOrigin::None, _) => "none: with OPTIONS, and with requests to the DSN's own receiver, none begins",
        (TraceOrigin::Redirected, _) => "that of the request before an internal redirect",
        (TraceOrigin::Continued(Format::SentryTrace), _) => "continued from sentry-trace",
        (TraceOrigin::Continued(Format::Traceparent), _) => "continued from traceparent, since no valid sentry-trace arrived (continue_traceparent)",
        (TraceOrigin::Started, _) => "started, since none arrived",
        (TraceOrigin::Restarted(RestartReason::Refused), _) => "restarted (refused): the sentry-trace that arrived was refused",
        (TraceOrigin::Restarted(RestartReason::Organisation), _) => "restarted (organisation): the trace that arrived is another organisation's, or strict_trace_continuation is on and only one side names its organisation",
        (TraceOrigin::Restarted(RestartReason::Configured), _) => "restarted (configured): incoming.trace is restart",
    }
    .to_owned()
}

/// What to do about a refused header: the words of docs/propagation.md.
pub fn advice(error: HeaderError) -> &'static str {
    match error {
        HeaderError::Empty => "find the client or proxy that blanks it; a header that is not wanted must be left out",
        HeaderError::NotUtf8 => "usually a scanner; nothing",
        HeaderError::WrongLength => "compare the sender with an SDK: `sentry-trace` is 32 digits, dash, 16 digits, and dash 0 or 1; `traceparent` has 55 characters",
        HeaderError::MalformedTraceId | HeaderError::MalformedSpanId | HeaderError::MalformedParentId => "the sender makes its ids by hand: let an SDK do it",
        HeaderError::ZeroTraceId | HeaderError::ZeroSpanId | HeaderError::ZeroParentId => "a sender with tracing switched off: have it send no header",
        HeaderError::MalformedSampled => "the sender appends something, or speaks a dialect; SDKs would read it in four different ways",
        HeaderError::Conflicting => "two proxies or SDKs write the same header: let one of them replace instead of append",
        HeaderError::MalformedVersion | HeaderError::ForbiddenVersion | HeaderError::MalformedFlags => "update the sender",
    }
}

fn refused(decision: &TraceDecision) -> Vec<String> {
    let rejections = &decision.rejections;
    let mut refused = Vec::new();
    for (format, error) in rejections.refused.iter() {
        refused.push(format!("{} ({error}): {}", format.name(), advice(error)));
    }
    for (count, what) in [
        (
            rejections.malformed_members,
            "are malformed, or that SDKs read differently",
        ),
        (
            rejections.dropped_members,
            "are over the limits of baggage, 64 members and 8192 bytes",
        ),
    ] {
        if count > 0 {
            refused.push(format!("baggage: members left out that {what}: {count}"));
        }
    }
    refused
}

fn sampling(decision: &TraceDecision, may_start: Option<MayStart>) -> String {
    let why = match (may_start, decision.sampling) {
        (None, _) => return "nothing is decided or recorded: there is no DSN".to_owned(),
        (Some(MayStart::WithoutProject), _) => {
            return "nothing is recorded: the request belongs to no project".to_owned();
        }
        (Some(MayStart::No), _) | (_, None) => {
            return "nothing is recorded: OPTIONS, or the DSN's own receiver".to_owned();
        }
        (Some(MayStart::Yes), Some(why)) => why,
    };
    let is_recorded = decision.span.is_some();
    let rates: Vec<_> = why
        .rates()
        .map(|(by, rate)| match by {
            SetBy::Route => format!("the route's traces_sample_rate {rate}"),
            SetBy::Rule => format!("a rule's traces_sample_rate {rate}"),
            SetBy::TopLevel => format!("traces_sample_rate {rate}"),
        })
        .collect();
    let ignorer = why.ignored_by.map(|by| match by {
        SetBy::Route => "the route ignores the request",
        SetBy::Rule | SetBy::TopLevel => "a rule ignores the request",
    });
    if let Some(inherited) = why.inherited {
        let flag = if inherited { "sampled" } else { "not sampled" };
        let span = match (inherited, is_recorded, ignorer) {
            (false, ..) => String::new(),
            (true, true, _) => "; a span is recorded".to_owned(),
            (true, false, Some(ignorer)) if !rates.is_empty() => {
                format!("; no span is recorded, since {ignorer}")
            }
            (true, false, _) => {
                "; no span is recorded, since traces_sample_rate is not set".to_owned()
            }
        };
        return format!("{flag}: the decision arrived with the request, and is kept{span}");
    }
    let Some((rate, overruled)) = rates.split_first() else {
        return "deferred: no decision arrived, and traces_sample_rate is not set; nothing is recorded".to_owned();
    };
    if let Some(ignorer) = ignorer {
        return format!("not sampled: {ignorer}");
    }
    let (word, sign) = match is_recorded {
        true => ("sampled", "below"),
        false => ("not sampled", "not below"),
    };
    let whose = match decision.origin {
        TraceOrigin::Continued(_) if !why.ignores_incoming => "the trace's number",
        _ => "the number drawn here (another request draws another)",
    };
    let cause = if why.ignores_incoming {
        "incoming.sampled is ignore, so we decide: "
    } else {
        "no decision arrived, so we decide: "
    };
    let before = match overruled {
        [] => String::new(),
        overruled => format!(" (which comes before {})", overruled.join(", and ")),
    };
    let number = why.sample_rand;
    format!("{word}: {cause}{whose} {number} is {sign} {rate}{before}")
}
