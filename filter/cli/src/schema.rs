//! The configuration as a document: what an operator may write, as a JSON schema. The filter reads
//! it with `sentry_filter_core::config`, which has to name every problem at once and to stay small;
//! the tests of this crate hold the two together, at every bound.
//!
//! The comments here are the descriptions in the schema, and in the table of docs/configuration.md.
//! What counts where an option has no default is their last sentence: `Unset: …`. A link is
//! relative to that page, and is a link in the table only.

use schemars::generate::SchemaSettings;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// The plugin configuration of the Sentry filter for Envoy. What a schema cannot say is checked by
/// the filter and by `sentry-filter check`: whether a regular expression compiles, whether
/// `transaction` names groups that `match.path` has, the parts of a DSN, that a range begins below
/// its end, and lengths in bytes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Sentry filter for Envoy")]
pub struct Document {
    /// Where spans go. Without one the filter validates, repairs and forwards headers, and starts,
    /// records and sends nothing. Unset: `SENTRY_DSN`.
    #[schemars(regex(pattern = r"^\s*([Hh][Tt][Tt][Pp][Ss]?://.+@.+)?\s*$"))]
    pub dsn: Option<String>,
    /// The environment of spans and new traces, without slash, backslash, space or control
    /// character, and not `.`, `..` or `None`. Unset: `SENTRY_ENVIRONMENT`, else `production`.
    #[schemars(
        length(max = 64),
        regex(pattern = r"^(?!\s*(\.{1,2}|[Nn][Oo][Nn][Ee])\s*$)\s*[^/\\ \x00-\x1f\x7f]+\s*$")
    )]
    pub environment: Option<String>,
    /// The release of spans and new traces, without slash, backslash or control character, and not
    /// `.`, `..` or `latest`. Unset: `SENTRY_RELEASE`.
    #[schemars(
        length(max = 200),
        regex(
            pattern = r"^(?!\s*(\.{1,2}|[Ll][Aa][Tt][Ee][Ss][Tt])\s*$)\s*[^/\\\s\x00-\x1f\x7f]([^/\\\x00-\x1f\x7f]*[^/\\\s\x00-\x1f\x7f])?\s*$"
        )
    )]
    pub release: Option<String>,
    /// The gateway's own name, without control characters. Unset: Envoy's node id.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^\s*([^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?)?\s*$")
    )]
    pub server_name: Option<String>,
    /// The organisation's digits, as a text. A trace of another organisation is not continued.
    /// Unset: the `o<digits>.` of the DSN's host.
    #[schemars(regex(pattern = r"^\s*[0-9]*\s*$"))]
    pub org_id: Option<String>,
    /// The share of new traces that is sampled. A decision that arrives with a request is kept,
    /// also at 0. Without a rate (deferred mode) traces are started and passed on without a
    /// decision, and nothing is recorded. Unset: `SENTRY_TRACES_SAMPLE_RATE`, else no rate.
    #[schemars(range(min = 0, max = 1))]
    pub traces_sample_rate: Option<f64>,
    /// Also start a new trace where only one side knows its organisation.
    pub strict_trace_continuation: Option<bool>,
    /// What outside callers may decide.
    pub incoming: Option<Incoming>,
    /// What is recorded at most, per worker. Over it a new trace is `-0`, and a decision that
    /// arrived goes on without our span. Unset: no limit.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_traces_per_second: Option<f64>,
    /// Where no valid `sentry-trace` arrives, continue a valid `traceparent`: its sampled bit is
    /// inherited if set, and leaves the decision to us if not.
    pub continue_traceparent: Option<bool>,
    /// Also write `traceparent`, to agree with `sentry-trace`; a valid `tracestate` stays beside
    /// its own trace. Otherwise both are left alone.
    pub propagate_traceparent: Option<bool>,
    /// The URLs whose upstream gets the trace: texts that the URL contains, and `{"regex": "…"}`,
    /// [without its query](#propagation-targets). To any other URL `sentry-trace` and `sentry-`
    /// members are removed, the rest stays. An empty list is none. Unset: all.
    pub trace_propagation_targets: Option<Vec<Target>>,
    /// [What differs](#rules) from request to request. For each field the first rule counts that
    /// matches and sets it.
    pub rules: Option<Vec<Rule>>,
    /// Which lists of CORS answers the trace headers are added to.
    pub cors: Option<Cors>,
    /// Which trace headers the client gets; of `baggage` only the `sentry-` members, which tell
    /// release, environment and organisation.
    pub response_headers: Option<Vec<ResponseHeader>>,
    /// Tell [page loads](cors.md#page-loads) their trace, by `Server-Timing`.
    pub server_timing: Option<bool>,
    /// Write `X-Request-Start: t=<seconds>` where none arrived, so that SDKs can tell how long a
    /// request waited for them. Where `incoming` trusts no caller, one that arrived is replaced.
    pub request_start_header: Option<bool>,
    /// Match the route again after a change to a request's headers, for routes that match on what
    /// the filter writes. For the [dynamic module](doors.md) only: in Wasm Envoy does so anyway.
    pub clear_route_cache: Option<bool>,
    /// Record the call to the upstream as a span of its own.
    pub upstream_spans: Option<bool>,
    /// Codes and ranges, both ends included, as `[404, [300, 399]]`, whose spans are not sent. What
    /// services record below such a span lacks its parent.
    #[schemars(length(max = 500))]
    pub trace_ignore_status_codes: Option<Vec<StatusCodes>>,
    /// Let client addresses, user agents, values of queries, and cookies that are recorded
    /// [leave the gateway](privacy.md), too.
    pub send_default_pii: Option<bool>,
    /// Names of request headers to record.
    #[schemars(length(max = 32))]
    pub capture_request_headers: Option<Vec<HeaderName>>,
    /// Names of response headers to record.
    #[schemars(length(max = 32))]
    pub capture_response_headers: Option<Vec<HeaderName>>,
    /// Tell Sentry [what was lost](delivery.md#client-reports), with the next envelope.
    pub client_reports: Option<bool>,
    /// One log line for each decision, at level info.
    pub debug: Option<bool>,
    /// How many bytes all requests that are under way may keep together, per worker, whatever their
    /// callers send. Over it a request goes on without a span, and `requests_over_budget` counts
    /// it.
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_live_bytes: Option<u64>,
    /// How spans get to Sentry.
    pub transport: Option<Transport>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            dsn: None,
            environment: None,
            release: None,
            server_name: None,
            org_id: None,
            traces_sample_rate: None,
            strict_trace_continuation: Some(false),
            incoming: Some(Incoming::default()),
            max_traces_per_second: None,
            continue_traceparent: Some(true),
            propagate_traceparent: Some(false),
            trace_propagation_targets: None,
            rules: Some(Vec::new()),
            cors: Some(Cors::default()),
            response_headers: Some(vec![ResponseHeader::SentryTrace]),
            server_timing: Some(false),
            request_start_header: Some(false),
            clear_route_cache: Some(false),
            upstream_spans: Some(true),
            trace_ignore_status_codes: Some(Vec::new()),
            send_default_pii: Some(false),
            capture_request_headers: Some(Vec::new()),
            capture_response_headers: Some(Vec::new()),
            client_reports: Some(true),
            debug: Some(false),
            max_live_bytes: Some(67_108_864),
            transport: Some(Transport::default()),
        }
    }
}

/// What outside callers may decide.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Incoming {
    /// With `restart` outside callers never decide the trace id; every request begins a trace (for
    /// a public edge). Their `traceparent` and `tracestate` are removed, too, and what begins no
    /// trace (`OPTIONS`) goes on without any.
    pub trace: Option<IncomingTrace>,
    /// With `ignore` outside callers never decide sampling, whatever the request; the flag and
    /// `sentry-sampled`, `sentry-sample_rate`, `sentry-sample_rand` become ours (to protect a
    /// quota).
    pub sampled: Option<IncomingSampled>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            trace: Some(IncomingTrace::Continue),
            sampled: Some(IncomingSampled::Inherit),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum IncomingTrace {
    Continue,
    Restart,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum IncomingSampled {
    Inherit,
    Ignore,
}

/// A text that the URL contains, or a regular expression.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Target {
    Text(String),
    Pattern(Pattern),
}

/// A regular expression that the URL matches.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// In the syntax of Rust's crate regex; without look-around and back-references.
    pub regex: String,
}

/// What is different for some requests.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The requests it is about. Without one: all.
    #[serde(rename = "match")]
    pub matching: Option<Match>,
    /// The share of new traces that is sampled, instead of the top level's.
    #[schemars(range(min = 0, max = 1))]
    pub traces_sample_rate: Option<f64>,
    /// The transaction's name, with `$1` or `${name}` for groups of `match.path`.
    #[schemars(length(min = 1))]
    pub transaction: Option<String>,
    /// Record no span; a trace that begins with such a request is not sampled.
    pub ignore: Option<bool>,
    /// What outside callers may decide: `trace` and `sampled`, as at the top level.
    pub incoming: Option<RuleIncoming>,
    /// With `false` the upstream gets no trace.
    pub propagate: Option<bool>,
    /// Whether page loads are told their trace, instead of the top level's.
    pub server_timing: Option<bool>,
}

/// What outside callers may decide about these requests. Unset: as everywhere.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleIncoming {
    /// Whether they decide the trace id.
    pub trace: Option<IncomingTrace>,
    /// Whether they decide sampling.
    pub sampled: Option<IncomingSampled>,
}

/// Regular expressions, all of which a request has to match.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The method.
    pub method: Option<String>,
    /// The host that the request names, without case, port and final dot.
    pub host: Option<String>,
    /// The path without its query, as Envoy's `normalize_path` would have it.
    pub path: Option<String>,
    /// The name of Envoy's route.
    pub route: Option<String>,
    /// The name of Envoy's cluster.
    pub cluster: Option<String>,
    /// Headers by name.
    pub header: Option<BTreeMap<String, String>>,
}

/// Which lists of CORS answers the trace headers are added to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Add `sentry-trace, baggage` (and `traceparent, tracestate`, if we read or write them) to
    /// `Access-Control-Allow-Headers` of [preflight answers](cors.md), and do not ask the service
    /// about them.
    pub allow_headers: Option<bool>,
    /// Add `sentry-trace, baggage` (and `traceparent, tracestate`, if we write them) to
    /// `Access-Control-Expose-Headers` of all other answers.
    pub expose_headers: Option<bool>,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allow_headers: Some(true),
            expose_headers: Some(true),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum ResponseHeader {
    SentryTrace,
    Baggage,
    Traceparent,
}

/// A status code, or a range of them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum StatusCodes {
    One(StatusCode),
    Range(StatusCode, StatusCode),
}

/// An HTTP status code.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("minimum" = 100, "maximum" = 599))]
pub struct StatusCode(pub u16);

/// The name of a header.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"))]
pub struct HeaderName(pub String);

/// How spans get to Sentry.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transport {
    /// The Envoy cluster that takes the spans.
    #[schemars(length(min = 1))]
    pub cluster: Option<String>,
    /// [In which form](spans.md#formats) spans are sent.
    pub format: Option<Format>,
    /// Another path, for a proxy or a collector. Unset: from the DSN and the format.
    #[schemars(regex(pattern = "^/[!-~]*$"))]
    pub path: Option<String>,
    /// How long one POST may take.
    #[schemars(range(min = 1, max = 600_000))]
    pub timeout_ms: Option<u32>,
    /// How often waiting spans are sent.
    #[schemars(range(min = 10, max = 60_000))]
    pub flush_interval_ms: Option<u32>,
    /// What may wait or be under way, per worker, old generations of the configuration included.
    /// When it is full, the oldest traces go, whole, a sixteenth of it at a time.
    #[schemars(range(min = 1024, max = 134_217_728))]
    pub max_queue_bytes: Option<u64>,
    /// POSTs under way at once, per worker; as many again for those of old generations of the
    /// configuration.
    #[schemars(range(min = 1, max = 1024))]
    pub max_in_flight: Option<u32>,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            cluster: Some("sentry".to_owned()),
            format: Some(Format::Transaction),
            path: None,
            timeout_ms: Some(5_000),
            flush_interval_ms: Some(1_000),
            max_queue_bytes: Some(4_194_304),
            max_in_flight: Some(16),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum Format {
    Transaction,
    SpanV2,
    Otlp,
}

/// The schema, JSON Schema 2020-12, with a line's end at its end.
pub fn schema() -> String {
    let mut schema = with_links();
    each_description(&mut schema, &mut |text| *text = without_links(text));
    // Not an option of the filter, which passes over it.
    schema["properties"]["$schema"] = json!({"description": "Where this schema is, for editors.", "default": null, "type": ["string", "null"]});
    format!("{schema:#}\n")
}

/// The same, with descriptions that link to pages of the documentation.
pub fn with_links() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    each_description(&mut schema, &mut |text| *text = text.replace('\n', " "));
    schema
}

fn each_description(schema: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match schema {
        Value::Object(fields) => {
            fields
                .iter_mut()
                .for_each(|(key, value)| match (key.as_str(), value) {
                    ("description", Value::String(text)) => change(text),
                    (_, value) => each_description(value, change),
                })
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| each_description(item, change)),
        _ => {}
    }
}

/// `[words](…)` becomes its words: an editor does not have the pages.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, words) = before.rsplit_once('[').unwrap_or(("", before));
        plain.extend([before, words]);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain + rest
}
