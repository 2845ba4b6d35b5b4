//! Readers that share nothing with the filter's own, each as strict as the strictest service that
//! may stand behind it.

use sentry_filter_core::span::catalogue::{ProtocolRow, SpanRow, Type, PROTOCOL};
use serde_json::Value;
use vectors::is_id;

pub use vectors::SentryTrace;

/// The most members of a `baggage` that everybody passes on, and the most bytes.
pub const MAX_MEMBERS: usize = 64;
/// The most bytes of a `baggage` that everybody passes on.
pub const MAX_BYTES: usize = 8_192;

/// Reads a `traceparent` of version 00 with the flags that there are: the `sentry-trace` that says
/// the same.
pub fn traceparent(value: &[u8]) -> Option<SentryTrace> {
    let text = std::str::from_utf8(value).ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let ["00", trace_id, span_id, flags] = parts[..] else {
        return None;
    };
    Some(SentryTrace {
        trace_id: id(trace_id, 32)?,
        span_id: id(span_id, 16)?,
        sampled: match flags {
            "00" | "02" => Some(false),
            "01" | "03" => Some(true),
            _ => return None,
        },
    })
}

/// An id of that many hex digits.
fn id(text: &str, digits: usize) -> Option<String> {
    is_id(text, digits).then(|| text.to_owned())
}

/// A list member of a `baggage`, without the white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// All of it.
    pub raw: &'a [u8],
    /// Key and value without properties and white space, if it has the form of a member.
    pub pair: Option<(&'a [u8], &'a [u8])>,
}

impl Member<'_> {
    /// Whether it belongs to Sentry.
    pub fn is_sentry(&self) -> bool {
        self.raw.starts_with(b"sentry-")
    }

    /// The decoded value, if it is this `sentry-` member.
    pub fn sentry_value(&self, wanted: &str) -> Option<String> {
        let (key, value) = self.pair?;
        let is_wanted = percent_decoded(key.strip_prefix(b"sentry-")?) == wanted;
        is_wanted.then(|| percent_decoded(value))
    }
}

/// The members of all lines of a `baggage`, empty ones left out.
pub fn members<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<Member<'a>> {
    let mut members = Vec::new();
    for line in lines {
        for raw in line.split(|byte| *byte == b',').map(trimmed) {
            if !raw.is_empty() {
                members.push(Member {
                    raw,
                    pair: pair(raw),
                });
            }
        }
    }
    members
}

/// Whether members in this number and of these bytes fit into one header.
pub fn fits(members: &[Member<'_>]) -> bool {
    let bytes: usize = members.iter().map(|member| member.raw.len()).sum();
    members.len() <= MAX_MEMBERS && bytes + members.len().saturating_sub(1) <= MAX_BYTES
}

fn pair(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEPARATORS: &[u8] = b"(),/:;<=>?@[\\]{}\"";
    let end = raw.iter().position(|byte| *byte == b';');
    let pair = &raw[..end.unwrap_or(raw.len())];
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let key = trimmed(&pair[..equals]);
    let is_token = |byte: &u8| (0x21..=0x7e).contains(byte) && !SEPARATORS.contains(byte);
    // For some readers a key is what it is decoded to.
    let is_plain = key.starts_with(b"sentry-") || !percent_decoded(key).starts_with("sentry-");
    let is_key = !key.is_empty() && key.iter().all(is_token) && is_plain;
    is_key.then(|| (key, trimmed(&pair[equals + 1..])))
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (
        text.iter().position(is_text),
        text.iter().rposition(is_text),
    ) {
        (Some(first), Some(last)) => &text[first..=last],
        _ => &[],
    }
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let hex = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a text is what percent coding leaves of anything, or a plus sign, which may stand for a
/// space.
pub fn is_percent_encoded(text: &[u8]) -> bool {
    let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~%+".contains(byte);
    text.iter().all(is_known)
}

/// Whether a written `baggage` keeps the limits, and of others' members all that fit, from the
/// left, byte for byte.
pub fn conserved(usable: &[Member<'_>], written: &[u8]) {
    let written = members([written]);
    assert!(fits(&written), "{} members", written.len());
    assert!(written.iter().all(|member| member.pair.is_some()));
    let theirs = |members: &[Member<'_>]| -> Vec<Vec<u8>> {
        let others = members.iter().filter(|member| !member.is_sentry());
        others.map(|member| member.raw.to_vec()).collect()
    };
    let (before, after) = (theirs(usable), theirs(&written));
    assert!(before.starts_with(&after), "{after:?} of {before:?}");
    if let Some(next) = before.get(after.len()) {
        // Ours have their room first: those that are written, or those that arrived.
        let is_full = |ours: &[Member<'_>]| {
            let ours = ours.iter().filter(|member| member.is_sentry());
            let theirs = written.iter().filter(|member| !member.is_sentry());
            let mut all: Vec<_> = ours.chain(theirs).copied().collect();
            all.extend(members([next.as_slice()]));
            !fits(&all)
        };
        assert!(
            is_full(&written) || is_full(usable),
            "{:?} would have fitted",
            String::from_utf8_lossy(next)
        );
    }
}

/// The envelope header and the payload of the only item of an envelope.
///
/// # Panics
/// If it is no envelope.
pub fn envelope(body: &[u8]) -> (Value, Value) {
    let (header, rest) = line(body);
    let (item, rest) = line(rest);
    let length = item["length"].as_u64().expect("the item has a length");
    let length = usize::try_from(length).expect("a length in memory");
    assert!(length <= rest.len(), "the item is cut off");
    let (payload, rest) = rest.split_at(length);
    let rest = rest
        .strip_prefix(b"\n")
        .expect("the item is longer than it says");
    reports(rest);
    let event: Value = serde_json::from_slice(payload).expect("the payload is JSON");
    assert_eq!(item["type"], event["type"]);
    assert_eq!(header["event_id"], event["event_id"]);
    (header, event)
}

/// An envelope of streamed spans: as many as it says, of the trace that its DSC names.
///
/// # Panics
/// If it is none.
pub fn streamed_spans(body: &[u8]) -> usize {
    let (header, rest) = line(body);
    let (item, rest) = line(rest);
    assert_eq!(item["type"], "span");
    let length = item["length"].as_u64().expect("the item has a length") as usize;
    let (payload, rest) = rest.split_at(length);
    reports(rest.strip_prefix(b"\n").expect("the item's end"));
    let payload: Value = serde_json::from_slice(payload).expect("the payload is JSON");
    let spans = payload["items"].as_array().expect("spans");
    assert_eq!(item["item_count"], spans.len());
    for span in spans {
        assert_eq!(span["trace_id"], header["trace"]["trace_id"]);
        assert!(span["start_timestamp"].as_f64() <= span["end_timestamp"].as_f64());
        for (name, typed) in span["attributes"].as_object().expect("attributes") {
            let r#type = attribute(name, &typed["value"]);
            let r#type = if r#type == Type::Texts {
                "array"
            } else {
                r#type.as_str()
            };
            assert_eq!(typed["type"], r#type, "{name}");
        }
    }
    spans.len()
}

/// OpenTelemetry's request: one resource, one scope, and every field as long as it says. The number
/// of spans.
///
/// # Panics
/// If it is none.
pub fn otlp_spans(body: &[u8]) -> usize {
    let [(1, resource_spans)] = fields(body)[..] else {
        panic!("not one ResourceSpans");
    };
    let [(1, _), (2, scope_spans)] = fields(resource_spans)[..] else {
        panic!("not a resource and one ScopeSpans");
    };
    let spans = fields(scope_spans);
    let is_span = |(number, span): &&(u64, &[u8])| *number == 2 && !fields(span).is_empty();
    assert_eq!(spans.iter().filter(is_span).count() + 1, spans.len());
    for (_, span) in spans.iter().filter(is_span) {
        for (_, attribute) in fields(span).iter().filter(|(number, _)| *number == 9) {
            let [(1, name), (2, _)] = fields(attribute)[..] else {
                panic!("not a name and a value");
            };
            row(std::str::from_utf8(name).expect("a text"));
        }
    }
    spans.len() - 1
}

/// The type of an attribute.
///
/// # Panics
/// If it has no such attribute.
fn row(name: &str) -> Type {
    let is_protocol = |row: &ProtocolRow| row.attribute.as_str() == name;
    match SpanRow::find(name) {
        Some(row) => row.value,
        None if PROTOCOL.iter().any(is_protocol) => Type::Text,
        None => panic!("{name} is not in the catalogue"),
    }
}

/// The type of an attribute, of which its value is.
///
/// # Panics
/// If the catalogue has no such attribute, or the value is of another type.
pub fn attribute(name: &str, value: &Value) -> Type {
    let r#type = row(name);
    let fits = match r#type {
        Type::Text => value.as_str().is_some_and(|text| !text.is_empty()),
        Type::Integer => value.is_u64(),
        Type::Double => value.is_f64(),
        Type::Texts => {
            let lines = value.as_array().map(Vec::as_slice).unwrap_or_default();
            !lines.is_empty() && lines.iter().all(Value::is_string)
        }
    };
    assert!(fits, "{name} is {value}");
    r#type
}

/// The fields of a message; what is no text, bytes or message has no bytes here.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                0
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            wire => panic!("wire type {wire}"),
        };
        let (value, rest) = message.split_at(length);
        message = rest;
        fields.push((tag >> 3, if tag & 7 == 2 { value } else { &[] }));
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().expect("a varint ends");
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes");
}

/// What may follow: reports of what was lost, each with a number.
///
/// # Panics
/// If it is something else.
pub fn reports(mut rest: &[u8]) {
    while !rest.is_empty() {
        let (item, payload) = line(rest);
        assert_eq!(item["type"], "client_report");
        let length = item["length"].as_u64().expect("the item has a length") as usize;
        let (payload, after) = payload.split_at(length);
        let report: Value = serde_json::from_slice(payload).expect("the payload is JSON");
        let discarded = report["discarded_events"].as_array().expect("a list");
        assert!(!discarded.is_empty() && payload.len() <= 4_096);
        for one in discarded {
            assert!(one["quantity"].as_u64() > Some(0), "{one}");
        }
        rest = after.strip_prefix(b"\n").expect("the item's end");
    }
}

fn line(body: &[u8]) -> (Value, &[u8]) {
    let end = body.iter().position(|byte| *byte == b'\n');
    let (line, rest) = body.split_at(end.expect("a line ends"));
    let value: Value = serde_json::from_slice(line).expect("a line is JSON");
    assert!(value.is_object(), "{value}");
    (value, &rest[1..])
}
