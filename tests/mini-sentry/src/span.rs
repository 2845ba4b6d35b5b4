//! One span as a test sees it, whatever format it came in.

use std::collections::BTreeMap;

use sentry_filter_core::span::catalogue::{SpanRow, Type};
use serde_json::Value;

/// The format of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A transaction event.
    Transaction,
    /// Streamed spans.
    SpanV2,
    /// OpenTelemetry's protobuf.
    Otlp,
}

/// A span. What the formats say in different places is in the same one here.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The format it came in.
    pub format: Format,
    /// Its trace.
    pub trace_id: String,
    /// Its id.
    pub span_id: String,
    /// The span above it.
    pub parent_span_id: Option<String>,
    /// Whether it is the gateway's own span of a request.
    pub is_segment: bool,
    /// The name; of a transaction's child its description.
    pub name: String,
    /// Where the name comes from; segments only.
    pub source: Option<String>,
    /// The operation.
    pub op: String,
    /// Who recorded it.
    pub origin: String,
    /// `server` or `client`.
    pub kind: String,
    /// The word for how it ended.
    pub status: String,
    /// The start, in microseconds since the epoch.
    pub start_us: u64,
    /// The end, in microseconds since the epoch.
    pub end_us: u64,
    /// The environment.
    pub environment: Option<String>,
    /// The release.
    pub release: Option<String>,
    /// Plain values of the attributes that nothing above says.
    pub attributes: BTreeMap<String, Value>,
    /// The spans that it is linked to, as `<trace id>-<span id> <type>`.
    pub links: Vec<String>,
}

/// The gateway's span of one request, and the calls below it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The gateway's own span.
    pub server: Span,
    /// The calls to upstreams, in the order in which they began.
    pub calls: Vec<Span>,
}

impl Span {
    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name)
    }

    /// An attribute that is a text; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.attribute(name).and_then(Value::as_str).unwrap_or("")
    }

    /// An attribute that is a number; not a number if there is none.
    pub fn number(&self, name: &str) -> f64 {
        self.attribute(name)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }

    /// How long it took, in milliseconds.
    pub fn duration_ms(&self) -> f64 {
        (self.end_us - self.start_us) as f64 / 1e3
    }
}

impl Span {
    fn lines(&self, indent: &str, lines: &mut Vec<String>) {
        let Self {
            format: _,
            trace_id: _,
            span_id: _,
            parent_span_id,
            is_segment: _,
            name,
            source,
            op,
            origin,
            kind,
            status,
            start_us: _,
            end_us: _,
            environment,
            release,
            attributes,
            links,
        } = self;
        let mut add = |line: String| lines.push(format!("{indent}{}", without_ports(&line)));
        add(format!("{op}  {name}  {status}"));
        add(format!("  source {source:?}, kind {kind}, origin {origin}"));
        add(format!(
            "  environment {environment:?}, release {release:?}"
        ));
        add(format!(
            "  has a parent: {}, links {links:?}",
            parent_span_id.is_some()
        ));
        for (name, value) in attributes {
            match name.as_str() {
                "server.port" | "client.port" => add(format!("  {name}: <port>")),
                // How much of it came through is chance.
                "http.response.body.size" if status == "cancelled" => {
                    add(format!("  {name}: <bytes>"))
                }
                measured if measured.ends_with("_ms") => add(format!("  {name}: <ms>")),
                _ => add(format!("  {name}: {value}")),
            }
        }
    }
}

/// A port of the loopback is another one every time.
fn without_ports(line: &str) -> String {
    let mut parts = line.split("127.0.0.1:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("127.0.0.1:<port>");
        text.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    text
}

impl Segment {
    /// The segments among spans, in the order in which they began.
    ///
    /// # Panics
    /// If a call is below no segment, or not within the times of its own.
    pub fn gather(spans: &[Span]) -> Vec<Self> {
        let mut segments: Vec<Self> = spans
            .iter()
            .filter(|span| span.is_segment)
            .map(|server| Self {
                server: server.clone(),
                calls: Vec::new(),
            })
            .collect();
        for call in spans.iter().filter(|span| !span.is_segment) {
            let parent = segments.iter_mut().find(|segment| {
                segment.server.trace_id == call.trace_id
                    && Some(&segment.server.span_id) == call.parent_span_id.as_ref()
            });
            let parent = parent.unwrap_or_else(|| panic!("a call without its segment: {call:#?}"));
            let server = &parent.server;
            assert!(
                server.start_us <= call.start_us && call.end_us <= server.end_us,
                "{call:#?} is not within {server:#?}"
            );
            parent.calls.push(call.clone());
        }
        for segment in &mut segments {
            segment.calls.sort_by_key(|call| call.start_us);
        }
        segments.sort_by_key(|segment| segment.server.start_us);
        segments
    }

    /// Everything that it says, a line for each field and attribute, but for what is another one
    /// every time: ids, ports, measured times.
    pub fn whole(&self) -> String {
        let mut lines = Vec::new();
        self.server.lines("", &mut lines);
        for call in &self.calls {
            call.lines("    ", &mut lines);
        }
        lines.join("\n")
    }

    /// The one call.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn call(&self) -> &Span {
        match self.calls.as_slice() {
            [call] => call,
            calls => panic!("{} calls: {calls:#?}", calls.len()),
        }
    }
}

/// Whether an attribute is in the catalogue, and its value of the type that it has there.
pub(super) fn is_known(name: &str, value: &Value) -> Result<(), String> {
    let row = SpanRow::find(name).ok_or_else(|| format!("unknown attribute {name}"))?;
    let fits = match row.value {
        Type::Text => value.as_str().is_some_and(|text| !text.is_empty()),
        Type::Integer => value.is_u64(),
        Type::Double => value.is_f64(),
        Type::Texts => {
            let lines = value.as_array().map(Vec::as_slice).unwrap_or_default();
            name == name.to_ascii_lowercase()
                && !lines.is_empty()
                && lines.iter().all(Value::is_string)
        }
    };
    match fits {
        true => Ok(()),
        false => Err(format!("{name} is {value}")),
    }
}

/// The names of spans in sentry-conventions (`model/name/http.json`): of an operation the first whose
/// attributes are all there. The conventions' last one, `HTTP`, is for spans without a method.
const SERVER_NAMES: [&[&str]; 2] = [
    &["http.request.method", "http.route"],
    &["http.request.method"],
];
const CLIENT_NAMES: [&[&str]; 3] = [
    &["http.request.method", "url.template"],
    &["http.request.method", "url.domain"],
    &["http.request.method"],
];
/// How long a name may be; what is longer is cut and ends in `...`.
const MAX_NAME: usize = 200;

/// Whether the span of a format that has typed attributes is called as sentry-conventions have it. A
/// segment that a person has named is called so: its name is `custom`, or no template.
pub(super) fn check_name(span: &Span) -> Result<(), String> {
    let is_named = match span.source.as_deref() {
        Some("custom") => true,
        Some("route") => span.attribute("http.route").is_none(),
        _ => false,
    };
    let names: &[&[&str]] = match span.is_segment {
        true => &SERVER_NAMES,
        false => &CLIENT_NAMES,
    };
    let mut names = names.iter().filter_map(|attributes| {
        let parts = attributes.iter().map(|name| span.attribute(name)?.as_str());
        Some(parts.collect::<Option<Vec<_>>>()?.join(" "))
    });
    let expected = names.next().unwrap_or_else(|| "HTTP".to_owned());
    let cut = span
        .name
        .strip_suffix("...")
        .filter(|_| expected.len() > MAX_NAME);
    let fits = span.name == expected || cut.is_some_and(|cut| expected.starts_with(cut));
    match fits || is_named {
        true => Ok(()),
        false => Err(format!("name {:?}, by convention {expected:?}", span.name)),
    }
}

/// Whether the word of a status is an error for formats that know two states.
pub(super) fn is_error(word: &str) -> bool {
    !matches!(word, "ok" | "cancelled")
}
