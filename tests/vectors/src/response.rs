//! A request, the answer of the service behind the gateway, and what the client must get of it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::request::{agrees, configured, header_lines, is_context, only, Seen};
use crate::text::expand;

/// The headers whose lists the filter adds names to.
const LISTS: [&str; 2] = [
    "access-control-allow-headers",
    "access-control-expose-headers",
];
/// What a preflight asks to send.
const ASKS: &str = "access-control-request-headers";
/// The headers that tell the client its trace.
const TELLING: [&str; 4] = ["sentry-trace", "baggage", "traceparent", "server-timing"];

/// A request and the service's answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// What the row is about.
    pub name: String,
    /// The method, if it is not `GET`.
    pub method: Option<String>,
    /// The `Host`, if it is not `shop.example`.
    pub host: Option<String>,
    /// Header lines of the request as `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What the plugin configuration, as JSON, has besides the usual; `null` takes a key out.
    config: Option<String>,
    /// The status of the answer, if it is not 200.
    pub status: Option<u16>,
    /// Header lines of the answer as `name: value`.
    #[serde(default)]
    pub answer: Vec<String>,
    /// The names in `Access-Control-Request-Headers` that the upstream gets, if they are not those
    /// of the request.
    pub asks: Option<Vec<String>>,
    /// The names in `Access-Control-Allow-Headers`, if they are not those of the answer.
    pub allow_headers: Option<Vec<String>>,
    /// The names in `Access-Control-Expose-Headers`, if they are not those of the answer.
    pub expose_headers: Option<Vec<String>>,
    /// Which of `sentry-trace`, `baggage`, `traceparent` and `server-timing` tell the client the
    /// trace of the request; the others are those of the answer.
    #[serde(default)]
    pub tells: Vec<String>,
    /// The members in `baggage` and `Server-Timing`, if they are not those that the upstream got.
    pub members: Option<String>,
    /// Envoy's own CORS filter beside ours; such a row is for real Envoy only.
    pub envoy_cors: Option<EnvoyCors>,
    /// Which side is taken where implementations disagree, or which rule this is.
    pub why: Option<String>,
}

/// `envoy.filters.http.cors` in the same chain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvoyCors {
    /// Where it stands, seen from ours.
    pub stands: Stands,
    /// Its policy as JSON.
    pub policy: String,
    /// Whether the filter says that the order is wrong.
    #[serde(default)]
    pub warns: bool,
}

/// Where another filter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// Nearer to the upstream.
    Behind,
    /// Nearer to the client.
    InFront,
}

/// What became of a request and its answer.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// The header lines that the upstream got; none if the request did not come that far.
    pub forwarded: Seen,
    /// The header lines that the client got.
    pub returned: Seen,
    /// The gateway's own span, if one was recorded: what the client is told. The upstream is told
    /// of the call to it.
    pub span_id: Option<String>,
}

impl Response {
    /// The header lines of the request, written out.
    pub fn lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.name, &self.headers)
    }

    /// The header lines of the answer, written out.
    pub fn answer_lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.name, &self.answer)
    }

    /// The plugin configuration. Unless a row says so, the client is told nothing: most rows are
    /// about names.
    pub fn config(&self) -> Value {
        let mut config = configured(&self.name, self.config.as_deref());
        let defaults = config.as_object_mut().expect("an object");
        defaults
            .entry("response_headers")
            .or_insert_with(|| Value::Array(Vec::new()));
        config
    }

    /// Everything about what became of it that is not as the row says.
    pub fn check(&self, answered: &Answered) -> Vec<String> {
        let mut complaints = Vec::new();
        let request = Seen {
            lines: self.lines(),
            ..Seen::default()
        };
        let asked = match &self.asks {
            Some(names) => names.iter().map(|name| expand(name)).collect(),
            None => elements(&request, ASKS),
        };
        let got = elements(&answered.forwarded, ASKS);
        let is_removed = asked.is_empty() && !answered.forwarded.lines(ASKS).is_empty();
        // The gateway may have answered itself.
        let came_through = !answered.forwarded.lines.is_empty();
        if came_through && (got != asked || self.asks.is_some() && is_removed) {
            complaints.push(format!(
                "{ASKS} is {}, expected {}",
                shown(&got),
                shown(&asked)
            ));
        }
        let answer = Seen {
            lines: self.answer_lines(),
            ..Seen::default()
        };
        for (name, names) in LISTS
            .into_iter()
            .zip([&self.allow_headers, &self.expose_headers])
        {
            let expected = match names {
                Some(names) => names.iter().map(|name| expand(name)).collect(),
                None => elements(&answer, name),
            };
            let got = elements(&answered.returned, name);
            if got != expected {
                complaints.push(format!(
                    "{name} is {}, expected {}",
                    shown(&got),
                    shown(&expected)
                ));
            }
        }
        for name in TELLING {
            let had = answer.lines(name);
            let got = answered.returned.lines(name);
            let fits = match self.tells.iter().any(|told| told == name) {
                true => match got.strip_prefix(had.as_slice()) {
                    Some([told]) => self.is_told(name, told, answered),
                    _ => false,
                },
                false => got == had,
            };
            if !fits {
                complaints.push(format!("{name} is {}", shown(&got)));
            }
        }
        for (name, _) in &answer.lines {
            let may_grow = LISTS
                .iter()
                .chain(&TELLING)
                .any(|ours| ours.eq_ignore_ascii_case(name));
            if !may_grow && elements(&answered.returned, name) != elements(&answer, name) {
                complaints.push(format!("{name} has changed"));
            }
        }
        complaints
    }

    /// Whether a line says what the request's context is.
    fn is_told(&self, name: &str, told: &[u8], answered: &Answered) -> bool {
        // A request that the gateway answers itself has no other witness than its answer.
        let context = only(&answered.forwarded.lines("sentry-trace"))
            .or_else(|| only(&answered.returned.lines("sentry-trace")))
            .filter(|context| is_context(context));
        let Some(mut context) = context else {
            return false;
        };
        if let (Some(span_id), Some(place)) = (&answered.span_id, context.get_mut(33..49)) {
            place.copy_from_slice(span_id.as_bytes());
        }
        let members = match &self.members {
            Some(members) => members.clone().into_bytes(),
            None => {
                let forwarded = elements(&answered.forwarded, "baggage");
                let ours = forwarded
                    .into_iter()
                    .filter(|member| member.starts_with(b"sentry-"));
                ours.collect::<Vec<_>>().join(&b","[..])
            }
        };
        match name {
            "sentry-trace" => told == context,
            "baggage" => !members.is_empty() && told == members,
            "traceparent" => agrees(&context, told),
            _ => told == server_timing(&context, &members).as_bytes(),
        }
    }
}

/// As a producer writes it: RFC 9110, quoted-string.
fn server_timing(context: &[u8], members: &[u8]) -> String {
    let quoted = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.replace('\\', "\\\\").replace('"', "\\\"")
    };
    let mut value = format!("sentry-trace;desc=\"{}\"", quoted(context));
    if !members.is_empty() {
        write!(value, ", baggage;desc=\"{}\"", quoted(members)).expect("a text takes all");
    }
    value
}

/// The elements of a list over all its lines, without those that are empty. Envoy joins the lines
/// of some headers.
fn elements(seen: &Seen, name: &str) -> Vec<Vec<u8>> {
    let lines = seen.lines(name);
    let elements = lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','));
    elements
        .map(|element| element.trim_ascii().to_vec())
        .filter(|element| !element.is_empty())
        .collect()
}

fn shown(elements: &[Vec<u8>]) -> String {
    let shown: Vec<_> = elements
        .iter()
        .map(|element| element.escape_ascii().to_string())
        .collect();
    format!("{shown:?}")
}
