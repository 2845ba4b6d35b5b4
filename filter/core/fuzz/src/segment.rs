//! A whole request of anybody's, with attributes of any kind, in every format: what leaves is well
//! formed, within the limits of Sentry, and holds no value that was not asked for.
//!
//! ```text
//! byte 0    the configuration: its format, and whether persons may be told of
//! then      header lines of the request and its answer; `@<attribute>: value` are attributes
//! ```

use std::sync::OnceLock;

use sentry_filter_codec::attributes::PrefetchedAttributes;
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::data::{Collection, DataOptions, FILTERED};
use sentry_filter_core::envelope::Format;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::tracer::StreamState;
use sentry_filter_core::worker::Worker;
use serde_json::Value;

use super::host::Host;
use super::request::{next_callout, parse};
use super::{input, strict};

const NOW_NS: u64 = 1_787_306_400_000_000_000;
/// What Relay leaves of a context (sentry-protocol.md §9.1).
const MAX_CONTEXT: usize = 8_192;

const ATTRIBUTES: [(&str, Attribute); 21] = [
    ("time", Attribute::RequestTime),
    ("duration", Attribute::RequestDuration),
    ("code", Attribute::ResponseCode),
    ("details", Attribute::ResponseCodeDetails),
    ("flags", Attribute::ResponseFlags),
    ("size", Attribute::ResponseSize),
    ("body", Attribute::RequestSize),
    ("grpc", Attribute::GrpcTrailer),
    ("grpc-header", Attribute::GrpcHeader),
    ("service-time", Attribute::UpstreamServiceTime),
    ("protocol", Attribute::RequestProtocol),
    ("tls", Attribute::TlsVersion),
    ("source", Attribute::SourceAddress),
    ("route", Attribute::RouteName),
    ("cluster", Attribute::ClusterName),
    ("address", Attribute::UpstreamAddress),
    ("attempts", Attribute::UpstreamRequestAttemptCount),
    ("pool", Attribute::UpstreamPoolReadyDuration),
    ("latency", Attribute::ResponseBackendLatency),
    ("failure", Attribute::UpstreamTransportFailureReason),
    ("upstream-tls", Attribute::UpstreamTlsVersion),
];

/// Whether everything holds for one request.
pub fn check(data: &[u8]) {
    let mut bytes = input::Bytes(data);
    let config = configuration(bytes.byte());
    let pairs = input::headers(bytes.0);
    let value = |name: &str| {
        let found = pairs
            .iter()
            .find(|(found, _)| found.strip_prefix(b"@") == Some(name.as_bytes()));
        found.map(|(_, value)| number(value).unwrap_or_else(|| value.clone()))
    };
    let lines = || pairs.iter().map(|(name, value)| (&name[..], &value[..]));
    let headers = Headers::from_pairs(lines());
    let mut host = Host::new(0);
    host.attributes = ATTRIBUTES
        .iter()
        .filter_map(|(name, attribute)| Some((*attribute, value(name)?)))
        .collect();
    // What a host says at once may be anything, too.
    host.prefetched = PrefetchedAttributes::read(value("list").unwrap_or_default());
    host.response = Some(headers.clone());
    let mut worker = Worker::alone(config.clone());
    let mut request = worker.on_request(&headers, &mut host).request;
    let Some(span) = &mut request.span else {
        return;
    };
    let first = pairs.first().map(|(_, value)| value.clone());
    span.answered_ns = number(&first.unwrap_or_default())
        .and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    let outcome = worker.on_end(&mut StreamState::Live(request), &mut host);
    if outcome.redirect_token.is_some() {
        worker.tracer().end();
    }
    let callout = next_callout(&mut worker, NOW_NS).expect("a segment to send");
    let spans = match config.transport.format {
        Format::Transaction => {
            let (_, event) = strict::envelope(&callout.body);
            limits(&event);
            1 + event["spans"].as_array().expect("spans").len()
        }
        Format::SpanV2 => strict::streamed_spans(&callout.body),
        Format::Otlp => strict::otlp_spans(&callout.body),
    };
    assert_eq!(spans, callout.quantity().spans as usize);
    for (_, value) in &pairs {
        query(&String::from_utf8_lossy(value));
    }
}

fn limits(event: &Value) {
    for (name, context) in event["contexts"].as_object().expect("contexts") {
        let length = context.to_string().len();
        assert!(length <= MAX_CONTEXT, "{name}: {length} bytes");
    }
    let spans = event["spans"].as_array().expect("spans").iter();
    for span in spans.chain([&event["contexts"]["trace"]]) {
        for (name, value) in span["data"].as_object().expect("attributes") {
            strict::attribute(name, value);
        }
    }
    let name = event["transaction"].as_str().expect("a name");
    assert!(name.len() <= 200 && !name.is_empty(), "{name:?}");
    for span in event["spans"].as_array().expect("spans") {
        let within = |key: &str| (span[key].as_str(), event[key].as_str());
        let (start, from) = within("start_timestamp");
        let (end, to) = within("timestamp");
        assert!(
            from <= start && start <= end && end <= to,
            "{span} of {event}"
        );
    }
}

/// A query keeps the names of its parameters, if they are names, and none of their values; filtered
/// again, it stays the same.
fn query(text: &str) {
    let filtered = DataOptions::default().query(text);
    let (before, after) = (text.split(['&', ';']), filtered.split(['&', ';']));
    assert_eq!(before.clone().count(), after.clone().count());
    for (before, after) in before.zip(after) {
        let named = before.split_once('=').and_then(|(name, _)| {
            let value = after.strip_prefix(name)?.strip_prefix('=')?;
            (!name.is_empty() && name.len() <= 64).then_some(value)
        });
        let value = named.unwrap_or(after);
        assert!(["", FILTERED].contains(&value), "{value:?} of {before:?}");
    }
    assert_eq!(DataOptions::default().query(&filtered), filtered);
    let all = DataOptions {
        url_query_params: Collection::On,
        ..DataOptions::default()
    };
    assert_eq!(all.query(&all.query(text)), all.query(text));
}

/// Digits stand for a number as Envoy writes it.
fn number(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    Some(number.to_le_bytes().to_vec())
}

fn configuration(byte: u8) -> &'static FilterConfig {
    static ALL: OnceLock<Vec<FilterConfig>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let config = |format: &str, pii: bool| {
            parse(&format!(
                r#"{{"dsn": "https://key@o1.ingest.sentry.io/42", "traces_sample_rate": 1, "server_name": "edge", "send_default_pii": {pii},
                    "capture_request_headers": ["accept", "cookie", "referer", "x-key", "x-user"],
                    "capture_response_headers": ["set-cookie", "location"], "transport": {{"format": "{format}"}}}}"#
            ))
        };
        ["transaction", "span_v2", "otlp"]
            .into_iter()
            .flat_map(|format| [config(format, false), config(format, true)])
            .collect()
    });
    &all[usize::from(byte.wrapping_sub(b'a')) % all.len()]
}
