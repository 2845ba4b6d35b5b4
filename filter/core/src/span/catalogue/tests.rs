//! Every row has its value, of its type, on its spans; every format writes the attributes that it is
//! said to write.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message;
use serde_json::Value as Json;

use super::*;
use crate::config::FilterConfig;
use crate::envelope::Format;
use crate::fixtures::{config, encoded, open_span, resource, stream_end};
use crate::headers::Headers;
use crate::route::{Naming, Source, TransactionName};
use crate::span::attributes::Value;
use crate::span::response_flags::ResponseFlags;
use crate::span::{OpenSpan, Request, Segment, StreamInfo};
use crate::trace::sentry_trace::SentryTrace;

const ALL_DATA: &str = r#""send_default_pii": true, "capture_request_headers": ["accept"], "release": "shop@1",
    "server_name": "edge-1","#;

/// A request and its end, of which everything is known.
fn everything(config: &FilterConfig) -> (OpenSpan, StreamInfo) {
    let headers = Headers::from_pairs([
        (b":method".as_slice(), b"PURGE".as_slice()),
        (b":scheme", b"https"),
        (b":authority", b"shop.example:8443"),
        (b":path", b"/shop.v1.Cart/Add?page=2"),
        (b"accept", b"text/html"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"Somebody/1"),
    ]);
    let request = Request::read(&headers, &config.data);
    let mut context = open_span("/").context;
    context.link = Some(SentryTrace {
        trace_id: context.trace_id,
        span_id: context.span_id,
        sampled: Some(true),
    });
    let name = TransactionName::new("/shop.v1.Cart/{method}", Source::Route);
    let mut span = OpenSpan::new(context, Some(name), request);
    let ends = open_span("/");
    (span.sent_ns, span.answered_ns) = (ends.sent_ns, ends.answered_ns);
    let mut end = StreamInfo {
        response_code: Some(503),
        response_flags: ResponseFlags::from_bits(1),
        request_size: Some(3),
        grpc_status: Some(14),
        tls_version: Some("TLSv1.3".to_owned()),
        client_address: Some("192.0.2.7:4711".to_owned()),
        ..stream_end()
    };
    let upstream = end.upstream.as_mut().expect("an upstream");
    upstream.attempts = 2;
    upstream.transport_failure = Some("delayed connect error".to_owned());
    upstream.tls_version = Some("TLSv1.2".to_owned());
    (span, end)
}

fn with_everything<R>(config: &FilterConfig, look: impl FnOnce(&Segment<'_>) -> R) -> R {
    let (span, end) = everything(config);
    let name = span.name(&end);
    let response = [("x-cache".to_owned(), vec!["miss".to_owned()])];
    look(&span.finish(&end, Naming::Conventions, &name, &response))
}

#[test]
fn every_row_has_a_value_of_its_type_on_its_spans() {
    with_everything(&config(ALL_DATA), |segment| {
        let spans = [
            (&segment.server, On::Call),
            (&segment.upstream[0], On::Server),
        ];
        for (span, other) in spans {
            for row in SPAN {
                let name = row.attribute.as_str();
                let mut found = span.attributes.iter();
                let found = found.find(|(found, _)| {
                    SpanRow::find(found).is_some_and(|it| it.attribute == row.attribute)
                });
                if row.on == other {
                    assert!(found.is_none(), "{name} of {:?}", span.kind);
                    continue;
                }
                let (_, value) = found.unwrap_or_else(|| panic!("no {name} of {:?}", span.kind));
                let is_of_type = match row.value {
                    Type::Text => matches!(value, Value::Text(_)),
                    Type::Integer => matches!(value, Value::Integer(_)),
                    Type::Double => matches!(value, Value::Double(_)),
                    Type::Texts => matches!(value, Value::Texts(_)),
                };
                assert!(is_of_type, "{name} is {value:?}");
            }
        }
    });
}

/// What is personal is in no attribute while its category is off.
#[test]
fn what_is_about_a_person_is_marked_as_such() {
    let names = |config: &FilterConfig| {
        with_everything(config, |segment| {
            let all = segment.server.attributes.iter();
            all.map(|(name, value)| format!("{name}={value:?}"))
                .collect::<BTreeSet<_>>()
        })
    };
    let with = names(&config(ALL_DATA));
    let without = names(&config(r#""server_name": "edge-1","#));
    let found = with.difference(&without);
    let found: BTreeSet<_> = found
        .map(|shown| shown.split_once('=').expect("a name").0)
        // The door asks for it only if it may leave.
        .chain(["client.address", "client.port"])
        .collect();
    for name in &found {
        let row = SpanRow::find(name).expect("a row");
        assert!(
            row.data.option().is_some(),
            "{name} depends on data_collection"
        );
    }
    for row in SPAN {
        // The response's headers are given to the fixture as they are.
        let is_found = found
            .iter()
            .any(|name| SpanRow::find(name).is_some_and(|it| it.attribute == row.attribute));
        let is_marked = row.data != Data::Technical && row.data != Data::ResponseHeaders;
        assert_eq!(is_found, is_marked, "{}", row.attribute.as_str());
    }
}

fn is_protocol(name: &&str) -> bool {
    SpanRow::find(name).is_none()
}

fn keys(object: &Json) -> BTreeSet<&str> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .filter(is_protocol)
        .collect()
}

fn otlp_keys(attributes: &[KeyValue]) -> BTreeSet<&str> {
    attributes
        .iter()
        .map(|it| it.key.as_str())
        .filter(is_protocol)
        .collect()
}

fn rows(places: &[Place]) -> BTreeSet<&'static str> {
    let rows = PROTOCOL
        .into_iter()
        .filter(|row| places.contains(&row.place));
    rows.map(|row| row.attribute.as_str()).collect()
}

#[test]
fn every_format_writes_the_rows_of_the_protocol() {
    let config = config(ALL_DATA);
    let body = |format: Format| {
        with_everything(&config, |segment| {
            let encoded = encoded(segment, format, &config);
            format.body(&[encoded], None, resource(&config), 0)
        })
    };
    let payload = |format: Format| -> Json {
        let body = body(format);
        let line = body.split(|byte| *byte == b'\n').nth(2).expect("a payload");
        serde_json::from_slice(line).expect("JSON")
    };
    let links = rows(&[Place::Links]);

    let event = payload(Format::Transaction);
    let trace = &event["contexts"]["trace"];
    assert_eq!(keys(&trace["data"]), rows(&[Place::EnvelopeSpans]));
    assert_eq!(
        keys(&event["spans"][0]["data"]),
        rows(&[Place::EnvelopeSpans])
    );
    assert_eq!(keys(&trace["links"][0]["attributes"]), links);

    let streamed = payload(Format::SpanV2);
    let (server, call) = (&streamed["items"][0], &streamed["items"][1]);
    let mut of_spans = rows(&[
        Place::EnvelopeSpans,
        Place::TypedSpans,
        Place::StreamedSpans,
        Place::StreamedSpansAndResource,
    ]);
    assert_eq!(keys(&server["attributes"]), of_spans);
    assert!(of_spans.remove(ProtocolAttribute::SegmentNameSource.as_str()));
    assert_eq!(keys(&call["attributes"]), of_spans);
    assert_eq!(keys(&server["links"][0]["attributes"]), links);

    let otlp = body(Format::Otlp);
    let request = ExportTraceServiceRequest::decode(&*otlp).expect("OpenTelemetry's request");
    let resource_spans = &request.resource_spans[0];
    let resource = resource_spans.resource.as_ref().expect("a resource");
    assert_eq!(
        otlp_keys(&resource.attributes),
        rows(&[Place::StreamedSpansAndResource, Place::Resource])
    );
    let server = &resource_spans.scope_spans[0].spans[0];
    assert_eq!(otlp_keys(&server.attributes), rows(&[Place::TypedSpans]));
    assert_eq!(otlp_keys(&server.links[0].attributes), links);
}
