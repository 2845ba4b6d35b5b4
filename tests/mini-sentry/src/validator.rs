//! What a request must be like to be accepted, in whatever format.
//!
//! A validator takes values and returns every complaint at once; it remembers only which ids it has
//! seen. Time comes with the request, so its tests need no clock.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error as _,
    fmt::Display,
    io::Read,
    time::SystemTime,
};

use flate2::bufread::GzDecoder;
use sentry_types::protocol::v7::{self, EnvelopeItem};
use serde_json::{Map, Value};
use vectors::is_id;

use crate::{
    auth,
    client_report::{self, Discarded},
    dsc,
    event::{self, ErrorEvent},
    framing::{self, Item},
    headers::Headers,
    json::parse_object,
    otlp,
    span::Span,
    span_v2,
    transaction::{self, Transaction},
};

/// The client that the filter says it is.
pub(super) const SDK_NAME: &str = "sentry-filter.rust.proxy-wasm";
pub(super) const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `sent_at` and the timestamps may be this old.
pub(super) const MAX_AGE_SECONDS: f64 = 60.0;
/// And this far ahead, for clocks that are read with different precision.
pub(super) const MAX_AHEAD_SECONDS: f64 = 1.0;

/// How long an item may be (sentry-protocol.md §8.5).
const MAX_ITEM: usize = 1024 * 1024;

/// What a good request brought.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The transaction, if it is one.
    pub transaction: Option<Transaction>,
    /// The error event, if it is one.
    pub error: Option<ErrorEvent>,
    /// Its spans.
    pub spans: Vec<Span>,
    /// What it says was lost.
    pub discarded: Vec<Discarded>,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The `Host` or `:authority`.
    pub authority: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The server name that the TLS client asked for.
    pub sni: Option<String>,
    /// Every header line.
    pub headers: Headers,
    /// The body as it was sent, compressed or not.
    pub body: Vec<u8>,
    /// When it had arrived.
    pub received_at: SystemTime,
}

/// Whom the validator knows.
#[derive(Clone, Debug)]
pub struct Expected {
    project: String,
    public_key: String,
    authority: String,
    /// What every request has besides, exactly so.
    headers: Vec<(String, String)>,
}

/// Reads requests, and remembers the ids in them.
#[derive(Debug)]
pub struct Validator {
    expected: Expected,
    event_ids: HashSet<String>,
    spans: HashSet<(String, String)>,
}

/// What is wrong, each with where.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<String>);

impl Expected {
    /// One project, its key, and the host name under which it is reached.
    pub fn of(project: &str, public_key: &str, authority: &str) -> Self {
        Self {
            project: project.to_owned(),
            public_key: public_key.to_owned(),
            authority: authority.to_owned(),
            headers: Vec::new(),
        }
    }

    /// Also asks for a header with a value, as a collector does.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Complaints {
    pub(super) fn add(&mut self, at: &str, what: impl Display) {
        self.0.push(format!("{at}: {what}"));
    }

    pub(super) fn unless(&mut self, fine: bool, at: &str, what: impl Display) {
        if !fine {
            self.add(at, what);
        }
    }
}

impl Validator {
    /// A validator that has seen no request yet.
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            event_ids: HashSet::new(),
            spans: HashSet::new(),
        }
    }

    /// From now on every request must have this header, too.
    pub fn expect_header(&mut self, name: &str, value: &str) {
        self.expected = self.expected.clone().with_header(name, value);
    }

    /// What is in the request.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn validate(&mut self, request: &ReceivedRequest) -> Result<Received, Vec<String>> {
        let mut complaints = Complaints::default();
        let received = self.try_validate(request, &mut complaints);
        match received {
            Some(received) if complaints.0.is_empty() => Ok(received),
            _ => Err(complaints.0),
        }
    }

    fn try_validate(
        &mut self,
        request: &ReceivedRequest,
        complaints: &mut Complaints,
    ) -> Option<Received> {
        let project = format!("/api/{}/", self.expected.project);
        let endpoint = request.path.strip_prefix(&project);
        let content_type = match endpoint.filter(|_| request.method == "POST") {
            Some("envelope/") => "application/x-sentry-envelope",
            Some("integration/otlp/v1/traces/") => "application/x-protobuf",
            _ => {
                let (method, path) = (&request.method, &request.path);
                complaints.add("request", format_args!("no such endpoint: {method} {path}"));
                return None;
            }
        };
        self.check_headers(request, content_type, complaints);
        let body = decoded(request)
            .map_err(|error| complaints.add("body", error))
            .ok()?;
        let received_at = seconds(request.received_at);
        let received = match endpoint {
            Some("envelope/") => self.envelope(&body, received_at, complaints)?,
            _ => Received {
                spans: otlp::check(&body, received_at, complaints),
                ..Received::default()
            },
        };
        for span in &received.spans {
            let id = (span.trace_id.clone(), span.span_id.clone());
            complaints.unless(self.spans.insert(id), "span_id", "seen before");
        }
        Some(received)
    }

    fn envelope(
        &mut self,
        body: &[u8],
        received_at: f64,
        complaints: &mut Complaints,
    ) -> Option<Received> {
        let envelope = framing::parse(body)
            .map_err(|error| complaints.add("framing", error))
            .ok()?;
        self.check_envelope_header(&envelope.header, received_at, complaints);
        let Some((item, payload)) = the_item(&envelope.items, complaints) else {
            let has_event = envelope.header.contains_key("event_id");
            complaints.unless(!has_event, "event_id", "there is no event");
            return Some(Received {
                discarded: discarded(&envelope.items),
                ..Received::default()
            });
        };
        if item.get("type").and_then(Value::as_str) == Some("span") {
            let has_event = envelope.header.contains_key("event_id");
            complaints.unless(!has_event, "event_id", "there is no event");
            let dsc = envelope.header.get("trace");
            let spans = span_v2::check(&item, &payload, dsc, received_at, complaints);
            dsc::check(&envelope.header, &spans.first()?.trace_id, complaints);
            return Some(Received {
                transaction: None,
                error: None,
                spans,
                discarded: discarded(&envelope.items),
            });
        }
        let payload = Value::Object(payload);
        if item.get("type").and_then(Value::as_str) == Some(event::ITEM_TYPE) {
            event::check(&payload, received_at, complaints);
            let error = ErrorEvent {
                envelope_header: envelope.header,
                payload,
            };
            dsc::check(&error.envelope_header, error.trace_id(), complaints);
            let header = error
                .envelope_header
                .get("event_id")
                .and_then(Value::as_str);
            self.check_event_id(error.event_id(), header, complaints);
            check_event_with_sentry_types(body, &error, complaints);
            return Some(Received {
                error: Some(error),
                discarded: discarded(&envelope.items),
                ..Received::default()
            });
        }
        transaction::check(&payload, received_at, complaints);
        let transaction = Transaction::new(envelope.header, payload);
        let header = transaction.envelope_header.get("event_id");
        let header = header.and_then(Value::as_str);
        self.check_event_id(transaction.event_id(), header, complaints);
        dsc::check(
            &transaction.envelope_header,
            transaction.trace_id(),
            complaints,
        );
        self.check_with_sentry_types(body, &transaction, complaints);
        Some(Received {
            error: None,
            spans: transaction.spans(),
            transaction: Some(transaction),
            discarded: discarded(&envelope.items),
        })
    }

    fn check_headers(
        &self,
        request: &ReceivedRequest,
        content_type: &str,
        complaints: &mut Complaints,
    ) {
        let client = format!("{SDK_NAME}/{SDK_VERSION}");
        let fields = BTreeMap::from([
            ("sentry_version", "7"),
            ("sentry_client", client.as_str()),
            ("sentry_key", self.expected.public_key.as_str()),
        ]);
        match request.headers.lines("x-sentry-auth")[..] {
            [line] => {
                if let Err(error) = auth::check(&String::from_utf8_lossy(line), &fields) {
                    complaints.add("x-sentry-auth", error);
                }
            }
            ref lines => complaints.add("x-sentry-auth", format_args!("{} lines", lines.len())),
        }
        complaints.unless(
            request.headers.lines("content-type") == [content_type.as_bytes()],
            "content-type",
            format_args!("not exactly {content_type}"),
        );
        complaints.unless(
            request.authority == self.expected.authority,
            "host",
            format_args!(
                "expected {}, got {}",
                self.expected.authority, request.authority
            ),
        );
        for (name, value) in &self.expected.headers {
            complaints.unless(
                request.headers.lines(name) == [value.as_bytes()],
                name,
                format_args!("not exactly {value}"),
            );
        }
        let is_expected = |name: &str| self.expected.headers.iter().any(|(known, _)| known == name);
        let foreign = ["authorization", "sentry-trace", "baggage", "traceparent"];
        for name in foreign.into_iter().filter(|name| !is_expected(name)) {
            complaints.unless(
                request.headers.lines(name).is_empty(),
                name,
                "does not belong on an export",
            );
        }
    }

    fn check_envelope_header(
        &self,
        header: &Map<String, Value>,
        received_at: f64,
        complaints: &mut Complaints,
    ) {
        for key in header.keys() {
            let known = ["event_id", "dsn", "sdk", "sent_at", "trace"].contains(&key.as_str());
            complaints.unless(
                known,
                "envelope header",
                format_args!("unknown field {key:?}"),
            );
        }
        let sent_at = header.get("sent_at").and_then(Value::as_str);
        match sent_at.and_then(|text| humantime::parse_rfc3339(text).ok()) {
            Some(sent_at) => {
                let age = received_at - seconds(sent_at);
                let recent = (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age);
                complaints.unless(recent, "sent_at", format_args!("{age} s old"));
            }
            None => complaints.add("sent_at", "not an RFC 3339 time in UTC"),
        }
        let sdk = |field| {
            header
                .get("sdk")
                .and_then(|sdk| sdk.get(field))
                .and_then(Value::as_str)
        };
        complaints.unless(
            sdk("name") == Some(SDK_NAME),
            "sdk.name",
            format_args!("{:?}", sdk("name")),
        );
        complaints.unless(
            sdk("version") == Some(SDK_VERSION),
            "sdk.version",
            format_args!("{:?}", sdk("version")),
        );
        if let Some(dsn) = header.get("dsn") {
            complaints.unless(self.is_ours(dsn), "dsn", "does not agree with the request");
        }
    }

    fn is_ours(&self, dsn: &Value) -> bool {
        let Some(Ok(dsn)) = dsn.as_str().map(str::parse::<sentry_types::Dsn>) else {
            return false;
        };
        let with_port = format!("{}:{}", dsn.host(), dsn.port());
        // The port of the scheme may be left out.
        let is_default = dsn.port() == dsn.scheme().default_port();
        let is_there = self.expected.authority == with_port
            || (is_default && self.expected.authority == dsn.host());
        dsn.public_key() == self.expected.public_key
            && dsn.project_id().to_string() == self.expected.project
            && is_there
    }

    fn check_event_id(
        &mut self,
        event_id: &str,
        in_header: Option<&str>,
        complaints: &mut Complaints,
    ) {
        complaints.unless(
            in_header == Some(event_id),
            "event_id",
            "the envelope header has another one",
        );
        complaints.unless(
            is_id(event_id, 32),
            "event_id",
            format_args!("not an id: {event_id:?}"),
        );
        complaints.unless(
            self.event_ids.insert(event_id.to_owned()),
            "event_id",
            "seen before",
        );
    }

    /// A second opinion: Sentry's own types, which are more patient, must read the same.
    fn check_with_sentry_types(
        &self,
        body: &[u8],
        transaction: &Transaction,
        complaints: &mut Complaints,
    ) {
        let envelope = match v7::Envelope::from_slice(body) {
            Ok(envelope) => envelope,
            Err(error) => {
                let reason = error.source().map(ToString::to_string).unwrap_or_default();
                return complaints.add("sentry-types", format_args!("{error}: {reason}"));
            }
        };
        let event_id = envelope.uuid().map(|id| id.simple().to_string());
        complaints.unless(
            event_id.as_deref() == Some(transaction.event_id()),
            "sentry-types",
            "another event_id",
        );
        let mut transactions = envelope.items().filter_map(|item| match item {
            EnvelopeItem::Transaction(transaction) => Some(transaction),
            _ => None,
        });
        let context = transactions
            .next()
            .and_then(|transaction| transaction.contexts.get("trace"));
        let Some(v7::Context::Trace(context)) = context else {
            return complaints.add("sentry-types", "no transaction with a trace context");
        };
        let same = context.trace_id.to_string() == transaction.trace_id()
            && context.span_id.to_string() == transaction.span_id()
            && context.parent_span_id.map(|id| id.to_string()).as_deref()
                == transaction.parent_span_id();
        complaints.unless(same, "sentry-types", "other ids in contexts.trace");
    }
}

/// Sentry's own types must read the same.
fn check_event_with_sentry_types(body: &[u8], error: &ErrorEvent, complaints: &mut Complaints) {
    let envelope = match v7::Envelope::from_slice(body) {
        Ok(envelope) => envelope,
        Err(error) => return complaints.add("sentry-types", error),
    };
    let Some(EnvelopeItem::Event(read)) = envelope.items().next() else {
        return complaints.add("sentry-types", "no event");
    };
    let exception = read.exception.first();
    let trace = match read.contexts.get("trace") {
        Some(v7::Context::Trace(trace)) => trace.trace_id.to_string(),
        _ => String::new(),
    };
    let same = read.event_id.simple().to_string() == error.event_id()
        && read.level == v7::Level::Error
        && exception.is_some_and(|exception| exception.ty == error.name())
        && trace == error.trace_id();
    complaints.unless(same, "sentry-types", "another event");
}

/// The one item that is no client report, with its payload.
fn the_item(
    items: &[Item],
    complaints: &mut Complaints,
) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut found = Vec::new();
    let mut reports = 0;
    for item in items {
        let kind = item.header.get("type").and_then(Value::as_str);
        for key in item.header.keys() {
            let known = match key.as_str() {
                "type" | "length" | "content_type" => true,
                "item_count" => kind == Some("span"),
                _ => false,
            };
            complaints.unless(known, "item header", format_args!("unknown field {key:?}"));
        }
        let too_long = item.payload.len() > MAX_ITEM;
        complaints.unless(!too_long, "payload", "over 1 MiB");
        match (kind, parse_object(&item.payload)) {
            (_, Err(error)) => complaints.add("payload", error),
            (Some("transaction" | "span" | event::ITEM_TYPE), Ok(payload)) => {
                found.push((item.header.clone(), payload));
            }
            // The one kind that may ride along with anything (§8.4).
            (Some("client_report"), Ok(report)) => {
                reports += 1;
                client_report::check(&report, item.payload.len(), complaints);
            }
            (kind, Ok(_)) => complaints.add("item header", format_args!("type {kind:?}")),
        }
    }
    let count = found.len();
    let fits = count == 1 || (count == 0 && reports > 0);
    complaints.unless(fits, "items", format_args!("duplicate_item: {count} items"));
    found.pop()
}

/// What the reports among the items say.
fn discarded(items: &[Item]) -> Vec<Discarded> {
    let reports = items
        .iter()
        .filter(|item| item.header.get("type").and_then(Value::as_str) == Some("client_report"));
    reports
        .filter_map(|item| parse_object(&item.payload).ok())
        .flat_map(|report| client_report::read(&report))
        .collect()
}

fn decoded(request: &ReceivedRequest) -> Result<Vec<u8>, String> {
    match request.headers.lines("content-encoding")[..] {
        [] => Ok(request.body.clone()),
        [b"gzip"] => {
            let mut decoder = GzDecoder::new(request.body.as_slice());
            let mut body = Vec::new();
            decoder
                .read_to_end(&mut body)
                .map_err(|error| format!("not gzip: {error}"))?;
            match decoder.into_inner().is_empty() {
                true => Ok(body),
                false => Err("bytes behind the gzip stream".to_owned()),
            }
        }
        ref lines => Err(format!("content-encoding {lines:?}")),
    }
}

pub(super) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
pub(crate) mod tests;
