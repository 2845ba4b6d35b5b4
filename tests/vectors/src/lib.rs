//! Tables of trace contexts, each row with a name and what must come of it. The core's tests, the
//! in-process host and real Envoy read the same ones.
//!
//! ```text
//! sentry_trace.toml, traceparent.toml   [[row]]       lines of one header: accept or refuse
//! baggage.toml, context.toml and so on  [[request]]   lines, configuration: what the upstream sees
//! cors.toml, response.toml              [[response]]  request and answer: what the client gets
//! dsn.toml                              [[dsn]]       a text: its parts, or what is wrong
//! data_collection.toml                  [[collected]] request and answer: what leaves of them
//! receiver.toml                         [[receiver]]  a DSN, a request: whether it goes there
//! rate_limits.toml                      [[answer]]    Sentry's answer: how long a category waits
//! sample_rate.toml                      [[rate]]      a text: a rate, none, or refused
//! ```
//! A file of headers may have requests as well, for what lines alone do not say. Every row of a
//! header is a request as well, so that it goes through all layers. In the lines of a row `\xff` is
//! a byte, `{8190 of v}` a repeated text, and `{64 x k#=v}` a list with a number in the place of
//! `#`.

mod collected;
mod context;
mod request;
mod response;
mod text;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use collected::Collected;
pub use context::{is_id, Baggage, SentryTrace};
pub use request::{Lines, Request, Seen, COUNTERS};
pub use response::{Answered, EnvoyCors, Response, Stands};
pub use text::expand;

/// The key of the DSN that requests are configured with.
pub const PUBLIC_KEY: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";
/// The DSN that requests are configured with unless a row says otherwise; a layer may put its own
/// receiver in its place.
pub const DSN: &str = "https://c0ffeec0ffeec0ffeec0ffeec0ffee00@sentry.example/7";

/// The lines of one header, taken by themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The number in sentry-protocol.md §14, and what the row is about.
    pub name: String,
    /// The values of the lines.
    pub lines: Vec<String>,
    /// What is written when it is accepted.
    pub accept: Option<String>,
    /// The reason why it is refused.
    pub refuse: Option<String>,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// A DSN.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dsn {
    /// The number in sentry-protocol.md §14, and what the row is about.
    pub name: String,
    /// What the operator writes.
    pub text: String,
    /// Where envelopes are posted to.
    pub url: Option<String>,
    /// The public key.
    pub public_key: Option<String>,
    /// The organisation that the host names.
    pub org_id: Option<String>,
    /// What is wrong.
    pub refuse: Option<String>,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// An answer of Sentry's, as far as it limits what is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The number in sentry-protocol.md §14, and what the row is about.
    pub name: String,
    /// The status.
    pub status: u16,
    /// Header lines as `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Seconds by category; the others of [`CATEGORIES`] are free, unless `all` waits.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// A rate as the environment variable `SENTRY_TRACES_SAMPLE_RATE` has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The number in sentry-protocol.md §14, and what the row is about.
    pub name: String,
    /// The text.
    pub text: String,
    /// The rate; neither a rate nor a refusal is deferred mode.
    pub rate: Option<f64>,
    /// Whether the configuration is refused.
    #[serde(default)]
    pub refuse: bool,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// A request, and whether it goes to the receiver of the spans.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// What the row is about.
    pub name: String,
    /// The DSN.
    pub dsn: String,
    /// The `transport.path`, if there is one.
    pub export_path: Option<String>,
    /// The `:authority` of the request.
    pub authority: String,
    /// Its `:path`.
    pub path: String,
    /// Whether that is the receiver.
    pub is_receiver: bool,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// The categories that every [`Answer`] is asked about.
pub const CATEGORIES: [&str; 6] = [
    "default",
    "error",
    "internal",
    "session",
    "span",
    "transaction",
];
/// When every [`Answer`] arrives: Wed, 21 Oct 2015 07:28:00 GMT.
pub const NOW_S: u64 = 1_445_412_480;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    row: Vec<Header>,
    #[serde(default)]
    request: Vec<Request>,
    #[serde(default)]
    dsn: Vec<Dsn>,
    #[serde(default)]
    answer: Vec<Answer>,
    #[serde(default)]
    rate: Vec<Rate>,
    #[serde(default)]
    response: Vec<Response>,
    #[serde(default)]
    receiver: Vec<Receiver>,
    #[serde(default)]
    collected: Vec<Collected>,
}

/// The files with requests, by the name of the format.
const FILES: [(&str, &str); 8] = [
    ("sentry-trace", include_str!("../sentry_trace.toml")),
    ("traceparent", include_str!("../traceparent.toml")),
    ("tracestate", include_str!("../tracestate.toml")),
    ("baggage", include_str!("../baggage.toml")),
    ("baggage", include_str!("../baggage_bytes.toml")),
    ("baggage", include_str!("../baggage_readers.toml")),
    ("context", include_str!("../context.toml")),
    ("organisation", include_str!("../organisation.toml")),
];

fn read(text: &str) -> Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("a table that cannot be read: {error}"))
}

/// The rows of a header's own table.
///
/// # Panics
/// If there is none: a format without rows is one that no layer has seen.
pub fn headers(name: &str) -> Vec<Header> {
    let mut files = FILES.into_iter();
    let (_, text) = files
        .find(|(header, _)| *header == name)
        .unwrap_or_else(|| panic!("no table of {name}"));
    let rows = read(text).row;
    assert!(!rows.is_empty(), "no row of {name}");
    rows
}

/// Every answer of a service, with the name of what it is about.
pub fn responses() -> Vec<(&'static str, Response)> {
    let files = [
        ("cors", include_str!("../cors.toml")),
        ("response", include_str!("../response.toml")),
    ];
    let rows = |(about, text)| read(text).response.into_iter().map(move |row| (about, row));
    files.into_iter().flat_map(rows).collect()
}

/// The DSNs.
pub fn dsns() -> Vec<Dsn> {
    read(include_str!("../dsn.toml")).dsn
}

/// Requests to the receiver of the spans, and others.
pub fn receivers() -> Vec<Receiver> {
    read(include_str!("../receiver.toml")).receiver
}

/// What is collected of requests and their answers.
pub fn collected() -> Vec<Collected> {
    read(include_str!("../data_collection.toml")).collected
}

/// The answers.
pub fn answers() -> Vec<Answer> {
    read(include_str!("../rate_limits.toml")).answer
}

/// The rates.
pub fn rates() -> Vec<Rate> {
    read(include_str!("../sample_rate.toml")).rate
}

/// Every request of every file with the name of its format, the rows of headers included.
pub fn requests() -> Vec<(&'static str, Request)> {
    let mut requests = Vec::new();
    for (format, text) in FILES {
        let table = read(text);
        let rows = table.row.iter().map(|row| match format {
            "sentry-trace" => Request::of_sentry_trace(row),
            _ => Request::of_traceparent(row),
        });
        requests.extend(rows.chain(table.request).map(|request| (format, request)));
    }
    requests
}

/// Fewer rows than this are not all that there are.
const MANY: usize = 100;

/// Holds what becomes of every request against its row.
///
/// # Panics
/// If there is anything to complain of; all of it is named.
#[track_caller]
pub fn check_requests(mut serve: impl FnMut(&Request) -> Seen) {
    let mut failures = Vec::new();
    let requests = requests();
    assert!(requests.len() > MANY, "{} rows", requests.len());
    for (format, row) in requests {
        let complaints = row.check(&serve(&row)).into_iter();
        failures.extend(complaints.map(|what| format!("{format}: {}: {what}", row.name)));
    }
    none_of(&failures);
}

/// Holds what the client gets against its row, for every answer but those that Envoy's own CORS
/// filter has a part in.
///
/// # Panics
/// If there is anything to complain of; all of it is named.
#[track_caller]
pub fn check_responses(mut answer: impl FnMut(&Response) -> Answered) {
    let mut failures = Vec::new();
    let mut responses = responses();
    responses.retain(|(_, row)| row.envoy_cors.is_none());
    assert!(responses.len() > MANY, "{} rows", responses.len());
    for (about, row) in responses {
        let complaints = row.check(&answer(&row)).into_iter();
        failures.extend(complaints.map(|what| format!("{about}: {}: {what}", row.name)));
    }
    none_of(&failures);
}

/// Ends a test that went through all rows before it complains.
///
/// # Panics
/// If there is anything to complain of; all of it is named.
#[track_caller]
pub fn none_of(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_of_the_protocol_has_a_row() {
        let mut names: Vec<String> = requests().into_iter().map(|(_, row)| row.name).collect();
        names.extend(dsns().into_iter().map(|row| row.name));
        names.extend(answers().into_iter().map(|row| row.name));
        names.extend(rates().into_iter().map(|row| row.name));
        let sections = [
            ('A', 32),
            ('B', 36),
            ('C', 14),
            ('D', 16),
            ('E', 17),
            ('F', 12),
            ('G', 13),
        ];
        for (letter, count) in sections {
            for number in 1..=count {
                let vector = format!("{letter}{number} ");
                assert!(
                    names.iter().any(|name| name.starts_with(&vector)),
                    "{vector}"
                );
            }
        }
    }
}
