//! A request through a configured gateway, and what the upstream must see of it.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{json, Value};

use crate::{expand, Header, DSN};

/// The headers that a row is about. Of the ones that it does not mention the upstream sees what was
/// sent.
const HEADERS: [&str; 4] = ["sentry-trace", "baggage", "traceparent", "tracestate"];
/// Headers that some services take for `sentry-trace`. None of them goes on.
const MERGING: [&str; 2] = ["sentry_trace", "sentry.trace"];
/// The counters whose value a row names, or else is zero.
pub const COUNTERS: [&str; 4] = [
    "sentry_trace_refused.",
    "traceparent_refused.",
    "traces_restarted.",
    "baggage_members_dropped.",
];

/// A request, the configuration of the gateway, and what comes of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The number in sentry-protocol.md §14, and what the row is about.
    pub name: String,
    /// The method, if it is not `GET`.
    pub method: Option<String>,
    /// Header lines as `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What the plugin configuration, as JSON, has besides the usual; `null` takes a key out.
    config: Option<String>,
    /// `started`, `started-0`, `started-1`: a trace of the gateway's own. `continued-1`: the trace
    /// that came, with a span of the gateway's. Or the lines.
    pub sentry_trace: Option<Lines>,
    /// The lines; `<head>` stands for a full dynamic sampling context, `<rand>` for six random
    /// digits.
    pub baggage: Option<Lines>,
    /// `agrees`: it says what `sentry-trace` says. Or the lines.
    pub traceparent: Option<Lines>,
    /// The lines.
    pub tracestate: Option<Lines>,
    /// Whether the gateway records a span.
    #[serde(default)]
    pub recorded: bool,
    /// The dynamic sampling context of that span, as far as the row is about it.
    #[serde(default)]
    pub dsc: BTreeMap<String, String>,
    /// What the filter counts: reasons, and members left out.
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
    /// Which side is taken where implementations disagree, and why.
    pub why: Option<String>,
}

/// The lines of one header.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Lines {
    /// One line, or the name of a pattern.
    One(String),
    /// Several lines, or none.
    Several(Vec<String>),
}

impl Lines {
    /// Whether they hold a context of the gateway's own.
    pub fn has_head(&self) -> bool {
        matches!(self, Self::One(pattern) if pattern.contains("<head"))
    }
}

/// What became of a request.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The header lines that the upstream got.
    pub lines: Vec<(String, Vec<u8>)>,
    /// Whether a span was recorded, if that can be seen.
    pub recorded: Option<bool>,
    /// The counters without their prefix, if they can be seen.
    pub counted: Option<BTreeMap<String, u64>>,
}

impl Request {
    pub(crate) fn of_sentry_trace(row: &Header) -> Self {
        let mut request = Self::of_header("sentry-trace", row);
        match (&row.accept, &row.refuse) {
            (Some(accept), None) => request.sentry_trace = Some(Lines::One(accept.clone())),
            (None, Some(reason)) => {
                request.begins();
                request.counts(format!("sentry_trace_refused.{reason}"));
                request.counts("traces_restarted.refused".to_owned());
            }
            _ => panic!("{}: accept or refuse", row.name),
        }
        request
    }

    pub(crate) fn of_traceparent(row: &Header) -> Self {
        let mut request = Self::of_header("traceparent", row);
        request.config = Some(r#"{"propagate_traceparent": true}"#.to_owned());
        match (&row.accept, &row.refuse) {
            (Some(accept), None) => {
                let is_sampled = accept.ends_with('1') || accept.ends_with('3');
                let flag = if is_sampled { "-1" } else { "" };
                request.sentry_trace = Some(Lines::One(format!("{}{flag}", &accept[3..52])));
                request.baggage = Some(Lines::One(match is_sampled {
                    true => "<head without sample_rate>".to_owned(),
                    false => "<head>".to_owned(),
                }));
                request.traceparent = Some(Lines::One(accept.clone()));
            }
            (None, Some(reason)) => {
                request.begins();
                request.traceparent = Some(Lines::One("agrees".to_owned()));
                request.counts(format!("traceparent_refused.{reason}"));
            }
            _ => panic!("{}: accept or refuse", row.name),
        }
        request
    }

    fn of_header(name: &str, row: &Header) -> Self {
        let lines = row.lines.iter();
        Self {
            name: row.name.clone(),
            method: None,
            headers: lines.map(|line| format!("{name}: {line}")).collect(),
            config: None,
            sentry_trace: None,
            baggage: None,
            traceparent: None,
            tracestate: None,
            recorded: false,
            dsc: BTreeMap::new(),
            counted: BTreeMap::new(),
            why: row.why.clone(),
        }
    }

    fn begins(&mut self) {
        self.sentry_trace = Some(Lines::One("started".to_owned()));
        self.baggage = Some(Lines::One("<head>".to_owned()));
    }

    fn counts(&mut self, counter: String) {
        self.counted.insert(counter, 1);
    }

    /// The header lines, written out.
    pub fn lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.name, &self.headers)
    }

    /// The plugin configuration.
    pub fn config(&self) -> Value {
        configured(&self.name, self.config.as_deref())
    }

    /// Everything about what became of it that is not as the row says.
    pub fn check(&self, seen: &Seen) -> Vec<String> {
        let mut complaints = Vec::new();
        let context = only(&seen.lines("sentry-trace"));
        for name in HEADERS {
            let expected = match name {
                "sentry-trace" => &self.sentry_trace,
                "baggage" => &self.baggage,
                "traceparent" => &self.traceparent,
                _ => &self.tracestate,
            };
            let got = seen.lines(name);
            let fits = match expected {
                None => got == self.sent(name),
                Some(Lines::Several(lines)) => {
                    lines.len() == got.len()
                        && lines.iter().zip(&got).all(|(one, got)| expand(one) == *got)
                }
                Some(Lines::One(pattern)) => {
                    got.len() == 1 && {
                        let got = &got[0];
                        match name {
                            "sentry-trace" => self.is_context(pattern, got),
                            "traceparent" if pattern == "agrees" => context
                                .as_deref()
                                .is_some_and(|context| agrees(context, got)),
                            _ => self.is_list(pattern, got, context.as_deref().unwrap_or_default()),
                        }
                    }
                }
            };
            if !fits {
                let got: Vec<_> = got
                    .iter()
                    .map(|line| line.escape_ascii().to_string())
                    .collect();
                complaints.push(match expected {
                    None => format!("{name} is {got:?}, expected it as it was sent"),
                    Some(expected) => format!("{name} is {got:?}, expected {expected:?}"),
                });
            }
        }
        for name in MERGING.iter().filter(|name| !seen.lines(name).is_empty()) {
            complaints.push(format!("{name} went on"));
        }
        if seen
            .recorded
            .is_some_and(|recorded| recorded != self.recorded)
        {
            complaints.push(format!("recorded is {}", !self.recorded));
        }
        if let Some(counted) = &seen.counted {
            let counted = reasons(counted);
            if counted != self.counted {
                complaints.push(format!("counted {counted:?}, expected {:?}", self.counted));
            }
        }
        complaints
    }

    /// The lines of one header as they were sent, without the white space around them, which HTTP
    /// does not carry.
    fn sent(&self, name: &str) -> Vec<Vec<u8>> {
        Seen {
            lines: self.lines(),
            ..Seen::default()
        }
        .lines(name)
    }

    fn is_context(&self, pattern: &str, got: &[u8]) -> bool {
        let Some((ids, flag)) = got.split_at_checked(49) else {
            return false;
        };
        let Some((trace_id, span_id)) = ids.split_at_checked(32) else {
            return false;
        };
        let span_id = &span_id[1..];
        let came = |id: &[u8]| {
            let sent = ["sentry-trace", "traceparent"].map(|name| self.sent(name));
            let mut lines = sent.iter().flatten();
            lines.any(|line| {
                line.to_ascii_lowercase()
                    .windows(id.len())
                    .any(|part| part == id)
            })
        };
        let is_new = |id: &[u8]| {
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            id.iter().all(is_digit) && id.iter().any(|byte| *byte != b'0') && !came(id)
        };
        if let Some(expected) = pattern.strip_prefix("started") {
            is_new(trace_id) && is_new(span_id) && flag == expected.as_bytes()
        } else if let Some(expected) = pattern.strip_prefix("continued") {
            came(trace_id) && is_new(span_id) && flag == expected.as_bytes()
        } else {
            got == expand(pattern)
        }
    }

    fn is_list(&self, pattern: &str, got: &[u8], context: &[u8]) -> bool {
        const PLACES: [&str; 3] = ["<head>", "<head without sample_rate>", "<rand>"];
        let place = PLACES
            .iter()
            .filter_map(|place| Some((pattern.find(place)?, *place)))
            .min();
        let Some((at, place)) = place else {
            return got == expand(pattern);
        };
        let Some(got) = got.strip_prefix(expand(&pattern[..at]).as_slice()) else {
            return false;
        };
        let pattern = &pattern[at + place.len()..];
        if place == "<rand>" {
            let digits = got.split_at_checked(8);
            return digits.is_some_and(|(rand, got)| {
                is_sample_rand(rand) && self.is_list(pattern, got, context)
            });
        }
        got.strip_suffix(expand(pattern).as_slice())
            .is_some_and(|got| self.is_head(got, context, place == "<head>"))
    }

    /// Whether members are the dynamic sampling context of the trace, with everything that the
    /// gateway knows.
    fn is_head(&self, got: &[u8], context: &[u8], has_rate: bool) -> bool {
        let config = self.config();
        let text = |key: &str| config[key].as_str().map(str::to_owned);
        let (trace_id, flag) = match std::str::from_utf8(context) {
            Ok(context) if context.len() >= 49 => (&context[..32], &context[49..]),
            _ => return false,
        };
        let sampled = match flag {
            "-1" => Some(true),
            "-0" => Some(false),
            _ => None,
        };
        let rate = config["traces_sample_rate"].as_f64();
        let rate = rate.filter(|_| sampled.is_some() && has_rate);
        let expected = [
            ("trace_id", Some(trace_id.to_owned())),
            ("public_key", Some(crate::PUBLIC_KEY.to_owned())),
            ("environment", text("environment")),
            ("release", text("release")),
            ("org_id", text("org_id")),
            ("sampled", sampled.map(|sampled| sampled.to_string())),
            ("sample_rate", rate.map(|rate| rate.to_string())),
        ];
        let expected: BTreeMap<&str, String> = expected
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let got = String::from_utf8_lossy(got);
        let mut members = BTreeMap::new();
        for member in got.split(',') {
            let Some((key, value)) = member
                .strip_prefix("sentry-")
                .and_then(|member| member.split_once('='))
            else {
                return false;
            };
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            if members.insert(key, value).is_some() {
                return false;
            }
        }
        let Some(rand) = members.remove("sample_rand") else {
            return false;
        };
        let decides_alike = match (rate, rand.parse::<f64>(), sampled) {
            (Some(rate), Ok(rand), Some(sampled)) => (rand < rate) == sampled,
            _ => true,
        };
        is_sample_rand(rand.as_bytes()) && decides_alike && members == expected
    }
}

impl Seen {
    /// The lines of one header, without the white space around them.
    pub fn lines(&self, name: &str) -> Vec<Vec<u8>> {
        let lines = self.lines.iter();
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| trim(value).to_vec())
            .collect()
    }
}

/// Lines as rows have them, `name: value`, written out.
pub(crate) fn header_lines(row: &str, lines: &[String]) -> Vec<(String, Vec<u8>)> {
    let line = |line: &String| {
        let (name, value) = line
            .split_once(": ")
            .or_else(|| Some((line.strip_suffix(':')?, "")))
            .unwrap_or_else(|| panic!("{row}: not a header line: {line}"));
        (name.to_owned(), expand(value))
    };
    lines.iter().map(line).collect()
}

/// The usual plugin configuration with what a row has on top.
pub(crate) fn configured(row: &str, more: Option<&str>) -> Value {
    let mut config =
        json!({"dsn": DSN, "org_id": "42", "environment": "test", "release": "shop@1.2.3"});
    let more: Value = match more {
        Some(more) => serde_json::from_str(more).unwrap_or_else(|error| panic!("{row}: {error}")),
        None => return config,
    };
    for (key, value) in more.as_object().into_iter().flatten() {
        if value.is_null() {
            config.as_object_mut().map(|config| config.remove(key));
        } else {
            config[key] = value.clone();
        }
    }
    config
}

/// Whether it is a `sentry-trace` in its canonical form.
pub(crate) fn is_context(value: &[u8]) -> bool {
    let is_id = |id: &[u8]| {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        id.iter().all(is_digit) && id.iter().any(|byte| *byte != b'0')
    };
    match value.split_at_checked(49) {
        Some((ids, flag)) => {
            is_id(&ids[..32])
                && ids[32] == b'-'
                && is_id(&ids[33..])
                && matches!(flag, b"" | b"-0" | b"-1")
        }
        None => false,
    }
}

/// The counters that rows are about, without those that are zero.
fn reasons(counted: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let is_reason = |name: &str| COUNTERS.iter().any(|prefix| name.starts_with(prefix));
    let counted = counted
        .iter()
        .filter(|(name, count)| **count > 0 && is_reason(name));
    counted
        .map(|(name, count)| (name.clone(), *count))
        .collect()
}

pub(crate) fn only(lines: &[Vec<u8>]) -> Option<Vec<u8>> {
    match lines {
        [line] => Some(line.clone()),
        _ => None,
    }
}

/// `traceparent` has the ids of `sentry-trace` and its flag; a deferred decision is none.
pub(crate) fn agrees(context: &[u8], got: &[u8]) -> bool {
    let Some((ids, flag)) = context.split_at_checked(49) else {
        return false;
    };
    let flags: &[u8] = if flag == b"-1" { b"01" } else { b"00" };
    got == [b"00-", ids, b"-", flags].concat()
}

fn is_sample_rand(text: &[u8]) -> bool {
    text.len() == 8
        && text
            .strip_prefix(b"0.")
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let end = value.iter().rev().take_while(|byte| is_space(byte)).count();
    value.get(start..value.len() - end).unwrap_or_default()
}
