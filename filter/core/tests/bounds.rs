//! Every text that leaves is bounded by its name, whoever chose it and in whatever format: callers
//! and upstreams send as much as the host lets through.

mod host;

use std::collections::BTreeMap;

use host::Host;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{any_value, KeyValue};
use prost::Message;
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::tracer::StreamState;
use sentry_filter_core::worker::Worker;
use serde_json::Value;

/// What a text of that name may have, in bytes. Names that are not here may have as much as an
/// attribute.
const BOUNDS: [(&str, usize); 23] = [
    ("type", 16),
    ("event_id", 32),
    ("trace_id", 32),
    ("span_id", 16),
    ("parent_span_id", 16),
    ("status", 32),
    ("origin", 32),
    ("op", 32),
    ("source", 16),
    ("sent_at", 32),
    ("timestamp", 32),
    ("start_timestamp", 32),
    ("name", 200),
    ("transaction", 200),
    ("sentry.segment.name", 200),
    ("method", 16),
    ("http.request.method", 16),
    ("http.request.method_original", 64),
    ("url.scheme", 16),
    ("release", 200),
    ("environment", 64),
    ("server_name", 256),
    ("rpc.response.status_code", 32),
];
/// `url.path`, `description`, `query_string`, the lines of headers and everything else.
const MAX_TEXT: usize = 1_024;
/// The DSC of others is passed on as it came, as far as `baggage` may be long.
const MAX_DSC: usize = 8_192;

const FORMATS: [&str; 3] = ["transaction", "span_v2", "otlp"];

/// Every text with its name; of an array that of the array.
fn json_texts(name: &str, value: &Value, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((name.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| json_texts(name, item, texts)),
        // `{"type": "string", "value": …}` of a streamed span.
        Value::Object(fields) if fields.len() == 2 && fields.contains_key("value") => {
            json_texts(name, &fields["value"], texts);
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                texts.push(("(key)".to_owned(), name.clone()));
                json_texts(name, value, texts);
            }
        }
        _ => {}
    }
}

/// The texts of an `ExportTraceServiceRequest`, as OpenTelemetry's own types read it.
fn otlp_texts(body: &[u8], texts: &mut Vec<(String, String)>) {
    let request = ExportTraceServiceRequest::decode(body).expect("a request");
    let mut attributes = Vec::new();
    let mut spans = 0;
    for all in request.resource_spans {
        attributes.extend(all.resource.expect("a resource").attributes);
        for span in all.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans += 1;
            texts.push(("name".to_owned(), span.name));
            texts.extend(
                span.status
                    .map(|status| ("status".to_owned(), status.message)),
            );
            attributes.extend(span.attributes);
            attributes.extend(span.links.into_iter().flat_map(|link| link.attributes));
        }
    }
    assert_eq!(spans, 2);
    for KeyValue { key, value, .. } in attributes {
        texts.push(("(key)".to_owned(), key.clone()));
        match value.and_then(|value| value.value).expect("a value") {
            any_value::Value::StringValue(text) => texts.push((key, text)),
            any_value::Value::ArrayValue(lines) => {
                for line in lines.values {
                    if let Some(any_value::Value::StringValue(text)) = line.value {
                        texts.push((key.clone(), text));
                    }
                }
            }
            _ => {}
        }
    }
}

fn config(format: &str, more: &str) -> FilterConfig {
    let names: Vec<String> = (0..16)
        .map(|n| format!("x-{n}-{}", "n".repeat(120)))
        .collect();
    let names = serde_json::json!(names);
    let json = format!(
        r#"{{"dsn": "https://key@o1.ingest.sentry.io/42", "traces_sample_rate": 1, "send_default_pii": true,
            "release": "{}", "environment": "{}", "server_name": "{}",
            "capture_request_headers": {names}, "capture_response_headers": {names},
            "transport": {{"format": "{format}"}}{more}}}"#,
        "r".repeat(200),
        "e".repeat(64),
        "s".repeat(256),
    );
    FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).expect("a configuration")
}

/// What is posted for a request with these headers, which its response has, too.
fn post(
    config: &FilterConfig,
    pairs: &[(String, String)],
    number: &dyn Fn(Attribute) -> Option<i64>,
    text: &dyn Fn(Attribute) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let lines = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let headers = Headers::from_pairs(lines);
    let mut host = Host {
        now_ns: 1,
        number,
        text,
        response: Some(headers.clone()),
        ..Host::default()
    };
    let mut worker = Worker::alone(config.clone());
    let outcome = worker.on_request(&headers, &mut host);
    assert!(outcome.request.span.is_some(), "a span");
    worker.on_end(&mut StreamState::Live(outcome.request), &mut host);
    worker.handle(Event::Shutdown, u64::MAX / 2);
    match worker.exporter().poll(u64::MAX / 2) {
        Some(Command::Post(callout)) => callout.body,
        other => panic!("{other:?}"),
    }
}

fn texts(format: &str, body: &[u8]) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    match format {
        "otlp" => otlp_texts(body, &mut texts),
        _ => {
            for line in body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let line = serde_json::from_slice(line).expect("a line of JSON");
                json_texts("", &line, &mut texts);
            }
        }
    }
    texts
}

#[test]
fn no_text_is_longer_than_its_bound() {
    let bounds = BTreeMap::from(BOUNDS);
    let fillers = ["a", "%3d", "\u{1F980}", "\"\u{1}", "a=b;c&", "/?"];
    let check = |format: &str, more: &str, filler: &str, method: &str| {
        let config = config(format, more);
        let giant = |prefix: &str| [prefix, &filler.repeat(9_000 / filler.len())].concat();
        let mut pairs = vec![
            (":method".to_owned(), method.to_owned()),
            (":path".to_owned(), giant("/")),
            ("content-type".to_owned(), "application/grpc".to_owned()),
        ];
        let captured = config.data.capture_request_headers.iter();
        let names = [":scheme", ":authority", "user-agent"].into_iter();
        let names = names.chain(captured.map(String::as_str));
        pairs.extend(names.map(|name| (name.to_owned(), giant(""))));
        if method.is_empty() {
            pairs[0].1 = giant("");
        }
        let number = |wanted: Attribute| match wanted {
            Attribute::RequestTime => Some(1_787_306_400_000_000_000),
            Attribute::RequestDuration => Some(1_000_000),
            Attribute::ResponseCode => Some(503),
            Attribute::ResponseFlags => Some(i64::MAX),
            _ => None,
        };
        let text = |_| Some(giant("/").into_bytes());
        let found = texts(format, &post(&config, &pairs, &number, &text));
        assert!(found.len() > 25, "{format}: {found:?}");
        for (name, text) in found {
            let bound = bounds.get(name.as_str()).copied().unwrap_or(MAX_TEXT);
            let length = text.len();
            assert!(
                length <= bound,
                "{format}, {filler:?}: {name} has {length} bytes"
            );
        }
    };
    for format in FORMATS {
        for filler in fillers {
            check(format, "", filler, "");
            let rules = r#", "rules": [{"match": {"path": "(.*)"}, "transaction": "$1"}]"#;
            check(format, rules, filler, "GET");
            check(format, "", filler, "CONNECT");
        }
    }
}

/// The DSC of others is passed on as it came, but not longer than `baggage` may be.
#[test]
fn a_dsc_that_arrived_has_no_more_than_baggage_may_have() {
    let own = "sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=49d0f7386ad645858ae85020e393bef3";
    let many: String = (0..5_000).map(|n| format!(",sentry-{n}=%FF{n}")).collect();
    let one = format!(",sentry-user={}", "%FF".repeat(2_600));
    for format in ["transaction", "span_v2"] {
        for more in [&many, &one] {
            let pairs = [
                (
                    "sentry-trace",
                    "771a43a4192642f0b136d5159a501700-1121201211212012-1".to_owned(),
                ),
                ("baggage", [own, more].concat()),
                (":path", "/".to_owned()),
            ];
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
            let body = post(&config(format, ""), &pairs, &|_| None, &|_| None);
            let header = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let header: Value = serde_json::from_slice(header).expect("a header");
            let mut found = Vec::new();
            json_texts("", &header["trace"], &mut found);
            let all: usize = found.iter().map(|(_, text)| text.len()).sum();
            assert!(all <= MAX_DSC, "{format}: {all} bytes");
        }
    }
}
