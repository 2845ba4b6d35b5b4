//! The plugin configuration: JSON of the operator's becomes a [`FilterConfig`] that cannot be
//! wrong, or every problem at once (filter.md §2).

mod failures;
mod labels;
pub mod option;
pub mod options;
mod post_headers;
mod projects;
mod protobuf_struct;
mod reader;
mod rules;
mod spans;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use log::Level;

use crate::cors::CorsOptions;
use crate::data::DataOptions;
use crate::dsn::normalize_org_id;
use crate::envelope::Resource;
use crate::export::transport::TransportOptions;
use crate::failure::FailureOptions;
use crate::project::{ByProject, Project, ProjectId, Projects};
use crate::response::{ResponseHeaders, ResponseOptions};
use crate::route_metadata::RouteMetadata;
use crate::rules::{IncomingSampled, IncomingTrace};
use crate::sampling::SampleRate;
use crate::trace::labels::LabelsByProject;
use crate::trace::propagation::{Format, Formats};
use crate::trace::TraceOptions;
use option::{List, Setting, Share, Text};
use reader::{Problems, Section};

/// A configuration that was read, checked and completed: the options of each part, beside which
/// they are defined.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterConfig {
    /// What decides about traces.
    pub trace: TraceOptions,
    /// What is added to responses.
    pub response: ResponseOptions,
    /// What may leave the gateway.
    pub data: DataOptions,
    /// What everything that is sent says of its sender, but for the project that it goes to.
    pub resource: Resource,
    resources: ByProject<Resource>,
    /// How spans get to Sentry.
    pub transport: TransportOptions,
    /// The status codes whose spans are not sent.
    pub trace_ignore_status_codes: Vec<RangeInclusive<u16>>,
    /// Which failures become error events; `None` is none.
    pub capture_failures: Option<FailureOptions>,
    /// Whether each decision is logged.
    pub debug: bool,
    /// Whether a dynamic module lets Envoy match the route again where it has changed a request.
    pub clear_route_cache: bool,
    /// What all live requests of a worker may keep together, in bytes.
    pub max_live_bytes: usize,
}

/// What the filter's env know: the VM's environment variables and Envoy's node. An absent
/// value is `None`.
#[derive(Debug, Default, Clone)]
pub struct EnvDefaults {
    /// `SENTRY_DSN`.
    pub dsn: Option<String>,
    /// `SENTRY_ENVIRONMENT`.
    pub environment: Option<String>,
    /// `SENTRY_RELEASE`.
    pub release: Option<String>,
    /// `SENTRY_TRACES_SAMPLE_RATE`.
    pub traces_sample_rate: Option<String>,
    /// Envoy's node id.
    pub node_id: Option<String>,
    /// Whether numbers may be texts: Envoy's YAML reader makes a text of every number with a point
    /// in a `google.protobuf.Struct`, and a dynamic module gets that as JSON.
    pub quotes_numbers: bool,
}

impl EnvDefaults {
    /// The defaults of a host, by what reads an environment variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>, node_id: Option<String>) -> Self {
        Self {
            dsn: variable("SENTRY_DSN"),
            environment: variable("SENTRY_ENVIRONMENT"),
            release: variable("SENTRY_RELEASE"),
            traces_sample_rate: variable("SENTRY_TRACES_SAMPLE_RATE"),
            node_id,
            quotes_numbers: false,
        }
    }
}

/// One thing that is wrong with a configuration. Shown as `path: expected …, found …`; a DSN is
/// never repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with dots between sections, or the environment variable.
    pub path: String,
    /// What would be right, and what was there instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl FilterConfig {
    /// Reads a plugin configuration: JSON, or a `google.protobuf.Struct` as Envoy passes it on.
    /// `{}` is a filter that only forwards, unless the env name a DSN.
    ///
    /// # Errors
    /// Every problem there is, in the order of the keys; one problem if it is not a JSON object at
    /// all.
    pub fn parse(configuration: &[u8], env: &EnvDefaults) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let root = Section::root(configuration, env.quotes_numbers, &mut problems);
        let config = root.map(|root| Self::read(root, env));
        match (config, problems.into_list()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    /// Reads a plugin configuration and says in the log what came of it; `None` if it is refused.
    pub fn load(
        configuration: &[u8],
        env: &EnvDefaults,
        log: &mut dyn FnMut(Level, fmt::Arguments<'_>),
    ) -> Option<Self> {
        let config = match Self::parse(configuration, env) {
            Ok(config) => config,
            Err(problems) => {
                for problem in problems {
                    log(
                        Level::Error,
                        format_args!("sentry: configuration refused: {problem}"),
                    );
                }
                return None;
            }
        };
        for (_, Project { dsn, cluster, .. }) in config.trace.projects.iter() {
            log(
                Level::Info,
                format_args!("sentry: spans go to {dsn} through cluster {cluster:?}"),
            );
        }
        if config.trace.projects.is_empty() {
            log(
                Level::Info,
                format_args!(
                    "sentry: no DSN, trace headers are validated and forwarded, nothing is recorded"
                ),
            );
        }
        Some(config)
    }

    /// Reads what a route sets for this filter and says in the log what is wrong with it; `None` if
    /// it is refused.
    pub fn load_route(
        configuration: &[u8],
        log: &mut dyn FnMut(Level, fmt::Arguments<'_>),
    ) -> Option<RouteMetadata> {
        let refuse = |problems: Vec<Problem>| {
            for problem in problems {
                log(
                    Level::Error,
                    format_args!("sentry: configuration of a route refused: {problem}"),
                );
            }
        };
        Self::parse_route(configuration).map_err(refuse).ok()
    }

    /// Reads what a route sets for this filter, in JSON or as a `google.protobuf.Struct`.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn parse_route(configuration: &[u8]) -> Result<RouteMetadata, Vec<Problem>> {
        let mut problems = Problems::default();
        // A dynamic module alone has these.
        let route = Section::root(configuration, true, &mut problems).map(Section::route);
        match (route, problems.into_list()) {
            (Some(route), problems) if problems.is_empty() => Ok(route),
            (_, problems) => Err(problems),
        }
    }

    /// What everything that is sent to a project says of its sender.
    pub fn resource_of(&self, project: ProjectId) -> Option<&Resource> {
        self.resources.get_or_make(project, || Resource {
            dsn: self
                .trace
                .projects
                .get(project)
                .map(|it| Arc::clone(&it.dsn)),
            ..self.resource.clone()
        })
    }

    fn read(mut root: Section<'_>, env: &EnvDefaults) -> Self {
        let EnvDefaults {
            dsn,
            environment,
            release,
            traces_sample_rate,
            node_id,
            quotes_numbers: _,
        } = env;
        let dsn = root.dsn(&options::DSN, dsn.as_deref());
        let environment = root.environment(environment.as_deref());
        let release = root.release(release.as_deref());
        let server_name = root.server_name(node_id.as_deref());
        let org_id = root.org_id(&options::ORG_ID);
        let traces_sample_rate =
            root.rate(&options::TRACES_SAMPLE_RATE, traces_sample_rate.as_deref());
        let strict_trace_continuation = root.flag(&options::STRICT_TRACE_CONTINUATION);
        let mut incoming = root.section(&options::INCOMING);
        let incoming_trace = incoming.keyword(&options::incoming::TRACE);
        let incoming_sampled = incoming.keyword(&options::incoming::SAMPLED);
        incoming.finish();
        let max_traces_per_second = root.traces_per_second(&options::MAX_TRACES_PER_SECOND);
        let continues_w3c = root.flag(&options::CONTINUE_TRACEPARENT);
        let continued = Formats::SENTRY.and(Format::Traceparent, continues_w3c);
        let propagates_w3c = root.flag(&options::PROPAGATE_TRACEPARENT);
        let propagated = Formats::SENTRY.and(Format::Traceparent, propagates_w3c);
        let trace_propagation_targets = root.targets(&options::TRACE_PROPAGATION_TARGETS);
        let cluster = root.peek(&options::TRANSPORT, &options::transport::CLUSTER);
        let projects = Projects::new(dsn, cluster, org_id.as_deref());
        let projects = Arc::new(projects);
        let rules = root.rules(&options::RULES, &projects);
        let mut cors = root.section(&options::CORS);
        let allow_headers = cors.flag(&options::cors::ALLOW_HEADERS);
        let expose_headers = cors.flag(&options::cors::EXPOSE_HEADERS);
        cors.finish();
        let response_headers = root.response_headers(&options::RESPONSE_HEADERS);
        let server_timing = root.flag(&options::SERVER_TIMING);
        let request_start_header = root.flag(&options::REQUEST_START_HEADER);
        let clear_route_cache = root.flag(&options::CLEAR_ROUTE_CACHE);
        let upstream_spans = root.flag(&options::UPSTREAM_SPANS);
        let trace_ignore_status_codes = root.status_codes(&options::TRACE_IGNORE_STATUS_CODES);
        let trace_ignore_status_codes = trace_ignore_status_codes.unwrap_or_default();
        let capture_failures = root.capture_failures(&options::CAPTURE_FAILURES);
        let data = root.data();
        let client_reports = root.flag(&options::CLIENT_REPORTS);
        let debug = root.flag(&options::DEBUG);
        let max_live_bytes = root.integer(&options::MAX_LIVE_BYTES);
        let transport = transport_options(root.section(&options::TRANSPORT), client_reports);
        root.finish();

        let environment: Arc<str> = environment.map_or_else(|| "production".into(), Arc::from);
        let release: Option<Arc<str>> = release.map(Arc::from);
        Self {
            trace: TraceOptions {
                projects,
                receiver_path: transport.path.clone(),
                labels: LabelsByProject::new(&environment, release.as_ref(), traces_sample_rate),
                traces_sample_rate,
                strict_trace_continuation,
                incoming_trace: incoming_trace.unwrap_or(IncomingTrace::Continue),
                incoming_sampled: incoming_sampled.unwrap_or(IncomingSampled::Inherit),
                max_traces_per_second,
                continued,
                propagated,
                trace_propagation_targets,
                rules,
                server_timing,
                tells_baggage: response_headers.baggage,
                request_start_header,
                upstream_spans,
                naming: transport.format.naming(),
            },
            response: ResponseOptions {
                headers: response_headers,
                cors: CorsOptions {
                    allow_headers,
                    expose_headers,
                    allowed: continued.union(propagated),
                    exposed: propagated,
                },
            },
            data,
            resources: ByProject::default(),
            resource: Resource {
                dsn: None,
                environment,
                release,
                server_name,
            },
            transport,
            trace_ignore_status_codes,
            capture_failures,
            debug,
            clear_route_cache,
            max_live_bytes: usize::try_from(max_live_bytes).unwrap_or(usize::MAX),
        }
    }
}

fn transport_options(mut section: Section<'_>, client_reports: bool) -> TransportOptions {
    use options::transport::*;

    let cluster = section.cluster(&CLUSTER);
    let format = section.keyword(&FORMAT).unwrap_or_default();
    let path = section.request_path(&PATH);
    let headers = section.post_headers(&HEADERS);
    let timeout_ms = section.integer(&TIMEOUT_MS);
    let flush_interval_ms = section.integer(&FLUSH_INTERVAL_MS);
    let max_queue_bytes = section.integer(&MAX_QUEUE_BYTES);
    let max_in_flight = section.integer(&MAX_IN_FLIGHT);
    section.finish();
    TransportOptions {
        cluster,
        format,
        path,
        headers,
        timeout_ms: u32::try_from(timeout_ms).unwrap_or(u32::MAX),
        flush_interval_ms: u32::try_from(flush_interval_ms).unwrap_or(u32::MAX),
        max_queue_bytes: usize::try_from(max_queue_bytes).unwrap_or(usize::MAX),
        max_in_flight: usize::try_from(max_in_flight).unwrap_or(usize::MAX),
        client_reports,
    }
}

/// Readers of the texts that mean something; they stand here because they know the types of this
/// crate.
impl Section<'_> {
    fn rate(&mut self, option: &Setting<Share>, variable: Option<&str>) -> Option<SampleRate> {
        if let Some(rate) = self.share(option) {
            return Some(rate);
        }
        let text = variable
            .map(str::trim)
            .filter(|text| !text.is_empty() && !self.has_read(option.key))?;
        let rate = SampleRate::parse(text);
        if rate.is_none() {
            let path = "environment variable SENTRY_TRACES_SAMPLE_RATE".to_owned();
            self.problem(path, format!("{}, found {text:?}", Share::EXPECTED));
        }
        rate
    }

    fn org_id(&mut self, option: &Setting<Text>) -> Option<String> {
        let text = self.text(option).filter(|text| !text.trim().is_empty())?;
        let org_id = normalize_org_id(text.trim()).map(str::to_owned);
        if org_id.is_none() {
            self.problem(
                self.path(option.key),
                format!("expected the digits of an organisation id as a text, found {text:?}"),
            );
        }
        org_id
    }

    pub(super) fn cluster(&mut self, option: &Setting<Text>) -> String {
        let Some(text) = self.text(option) else {
            return option.kind.default.unwrap_or_default().to_owned();
        };
        if text.is_empty() {
            self.problem(
                self.path(option.key),
                "expected the name of an Envoy cluster, found an empty text".to_owned(),
            );
        }
        text
    }

    fn response_headers(&mut self, option: &Setting<List>) -> ResponseHeaders {
        let Some(names) = self.list(option) else {
            return ResponseHeaders::default();
        };
        let mut headers = ResponseHeaders::NONE;
        for (path, name) in names {
            if !headers.add(name.as_str().unwrap_or_default()) {
                const EXPECTED: &str = "expected \"sentry-trace\", \"baggage\" or \"traceparent\"";
                self.wrong(path, EXPECTED, &name);
            }
        }
        headers
    }

    fn request_path(&mut self, option: &Setting<Text>) -> Option<String> {
        let text = self.text(option)?;
        if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.problem(
                self.path(option.key),
                format!(
                    "expected a path that begins with / and has no white space, found {text:?}"
                ),
            );
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests;
