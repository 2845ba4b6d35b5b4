//! OpenTelemetry's request, read with that project's own protobuf types: what Sentry's endpoint
//! takes (sentry-protocol.md §5.5), and what the filter promises.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{any_value, AnyValue, KeyValue},
    trace::v1::{span::SpanKind, status::StatusCode, Span as OtlpSpan},
};
use prost::Message;
use serde_json::Value;
use vectors::is_id;

use super::{
    span::{check_name, is_error, is_known, Format, Span},
    span_v2::check_family,
    transaction::STATUSES,
    validator::{Complaints, MAX_AGE_SECONDS, MAX_AHEAD_SECONDS, SDK_NAME, SDK_VERSION},
};

/// What Relay takes at most (sentry-protocol.md §5.5).
const MAX_BYTES: usize = 12 * 1024 * 1024;
const SAMPLED: u32 = 0x01;
const KNOWS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

type Attributes = BTreeMap<String, Value>;

/// The spans of a body, or complaints.
pub(super) fn check(body: &[u8], received_at: f64, complaints: &mut Complaints) -> Vec<Span> {
    complaints.unless(body.len() <= MAX_BYTES, "body", "over 12 MiB");
    let request = match ExportTraceServiceRequest::decode(body) {
        Ok(request) => request,
        Err(error) => {
            complaints.add("body", error);
            return Vec::new();
        }
    };
    // What these types do not know, or would write otherwise, is lost or changed on the way.
    complaints.unless(
        request.encode_to_vec() == body,
        "body",
        "unknown fields, or defaults that are written",
    );
    let [resource_spans] = request.resource_spans.as_slice() else {
        complaints.add(
            "body",
            format_args!("{} resources", request.resource_spans.len()),
        );
        return Vec::new();
    };
    let resource = resource_spans.resource.clone().unwrap_or_default();
    let mut resource = plain(&resource.attributes, "resource", complaints);
    let mut take = |name: &str| Some(resource.remove(name)?.as_str()?.to_owned());
    let environment = take("sentry.environment");
    let release = take("sentry.release");
    let same = [
        ("deployment.environment.name", environment.as_deref()),
        ("service.version", release.as_deref()),
        ("sentry.sdk.name", Some(SDK_NAME)),
        ("sentry.sdk.version", Some(SDK_VERSION)),
        ("sentry.platform", Some("other")),
    ];
    for (name, expected) in same {
        let found = take(name);
        complaints.unless(
            found.as_deref() == expected,
            "resource",
            format_args!("{name} is {found:?}"),
        );
    }
    complaints.unless(
        take("service.name").is_some(),
        "resource",
        "no service.name",
    );
    complaints.unless(environment.is_some(), "resource", "no environment");
    complaints.unless(
        resource.is_empty(),
        "resource",
        format_args!("unknown {resource:?}"),
    );
    let [scope_spans] = resource_spans.scope_spans.as_slice() else {
        complaints.add(
            "body",
            format_args!("{} scopes", resource_spans.scope_spans.len()),
        );
        return Vec::new();
    };
    let scope = scope_spans.scope.clone().unwrap_or_default();
    complaints.unless(
        scope.name == SDK_NAME && scope.version == SDK_VERSION,
        "scope",
        format_args!("{scope:?}"),
    );
    let spans: Vec<Span> = scope_spans
        .spans
        .iter()
        .enumerate()
        .map(|(index, span)| {
            let at = format!("spans/{index}");
            let span = read(span, &at, received_at, complaints);
            Span {
                environment: environment.clone(),
                release: release.clone(),
                ..span
            }
        })
        .collect();
    complaints.unless(!spans.is_empty(), "body", "no span");
    check_family(&spans, complaints);
    spans
}

fn read(span: &OtlpSpan, at: &str, received_at: f64, complaints: &mut Complaints) -> Span {
    let mut unless = |fine: bool, what: String| complaints.unless(fine, at, what);
    let (trace_id, span_id) = (hex(&span.trace_id), hex(&span.span_id));
    unless(is_id(&trace_id, 32), format!("trace_id {trace_id:?}"));
    unless(is_id(&span_id, 16), format!("span_id {span_id:?}"));
    let parent_span_id = (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id));
    let fits = parent_span_id.as_ref().is_none_or(|id| is_id(id, 16));
    unless(fits, format!("parent_span_id {parent_span_id:?}"));
    let is_segment = span.kind == SpanKind::Server as i32;
    unless(
        is_segment || span.kind == SpanKind::Client as i32,
        format!("kind {}", span.kind),
    );
    let is_remote = is_segment && parent_span_id.is_some();
    let flags = SAMPLED | KNOWS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
    unless(span.flags == flags, format!("flags {:#x}", span.flags));
    unless(
        !span.name.is_empty() && !span.name.contains('?'),
        format!("name {:?}", span.name),
    );
    unless(
        span.start_time_unix_nano <= span.end_time_unix_nano,
        "ends before it starts".to_owned(),
    );
    for time in [span.start_time_unix_nano, span.end_time_unix_nano] {
        let age = received_at - time as f64 / 1e9;
        let recent = (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age);
        unless(recent, format!("{age} s old"));
    }
    unless(
        span.trace_state.is_empty() && span.events.is_empty(),
        "trace state or events".to_owned(),
    );
    let mut attributes = plain(&span.attributes, at, complaints);
    let mut take = |name: &str| Some(attributes.remove(name)?.as_str()?.to_owned());
    let op = take("sentry.op").unwrap_or_default();
    let origin = take("sentry.origin").unwrap_or_default();
    let word = take("sentry.status.message").unwrap_or_else(|| "ok".to_owned());
    let segment_id = take("sentry.segment.id").unwrap_or_default();
    let segment_name = take("sentry.segment.name").unwrap_or_default();
    let source = take("sentry.segment.name.source");
    let mut unless = |fine: bool, what: String| complaints.unless(fine, at, what);
    let expected = if is_segment {
        "http.server"
    } else {
        "http.client"
    };
    unless(op == expected, format!("sentry.op {op:?}"));
    unless(
        origin == "auto.http.envoy",
        format!("sentry.origin {origin:?}"),
    );
    unless(
        is_id(&segment_id, 16) && (segment_id == span_id) == is_segment,
        format!("sentry.segment.id {segment_id:?}"),
    );
    unless(
        !segment_name.is_empty() && (!is_segment || segment_name == span.name),
        format!("sentry.segment.name {segment_name:?}"),
    );
    unless(source.is_some() == is_segment, format!("source {source:?}"));
    unless(
        STATUSES.contains(&word.as_str()),
        format!("status {word:?}"),
    );
    let status = span.status.clone().unwrap_or_default();
    let fits = match is_error(&word) {
        true => status.code == StatusCode::Error as i32 && status.message == word,
        false => span.status.is_none(),
    };
    unless(fits, format!("status {status:?} of {word:?}"));
    for (name, value) in &attributes {
        if let Err(what) = is_known(name, value) {
            unless(false, what);
        }
    }
    let mut links = Vec::new();
    for link in &span.links {
        let kind = plain(&link.attributes, at, complaints).remove("sentry.link.type");
        let kind = kind
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let (trace_id, span_id) = (hex(&link.trace_id), hex(&link.span_id));
        let fits = is_id(&trace_id, 32) && is_id(&span_id, 16) && kind == "follows_from";
        complaints.unless(fits, at, format_args!("link {link:?}"));
        links.push(format!("{trace_id}-{span_id} {kind}"));
    }
    let span = Span {
        format: Format::Otlp,
        trace_id,
        span_id,
        parent_span_id,
        is_segment,
        name: span.name.clone(),
        source,
        op,
        origin,
        kind: if is_segment { "server" } else { "client" }.to_owned(),
        status: word,
        start_us: span.start_time_unix_nano / 1_000,
        end_us: span.end_time_unix_nano / 1_000,
        environment: None,
        release: None,
        attributes,
        links,
    };
    if let Err(what) = check_name(&span) {
        complaints.add(at, what);
    }
    span
}

/// Attributes as plain values, each name once, none of them empty.
fn plain(attributes: &[KeyValue], at: &str, complaints: &mut Complaints) -> Attributes {
    let mut read = Attributes::new();
    for KeyValue { key, value, .. } in attributes {
        match value.as_ref().and_then(plain_value) {
            Some(value) => {
                let is_new = read.insert(key.clone(), value).is_none();
                complaints.unless(is_new, at, format_args!("attribute {key} twice"));
            }
            None => complaints.add(at, format_args!("attribute {key} is {value:?}")),
        }
    }
    read
}

fn plain_value(value: &AnyValue) -> Option<Value> {
    match value.value.as_ref()? {
        any_value::Value::StringValue(text) => (!text.is_empty()).then(|| text.clone().into()),
        any_value::Value::BoolValue(flag) => Some((*flag).into()),
        any_value::Value::IntValue(number) => Some((*number).into()),
        any_value::Value::DoubleValue(number) => Some((*number).into()),
        any_value::Value::ArrayValue(array) => {
            let values: Option<Vec<_>> = array.values.iter().map(plain_value).collect();
            values.filter(|values| !values.is_empty()).map(Value::Array)
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
