use std::collections::BTreeMap;

use serde_json::{json, Value as Json};

use super::*;
use crate::fixtures::{config, encoded, finished_as, open_span, resource, segment_of, stream_end};
use crate::trace::sentry_trace::SentryTrace;

const NOW_NS: u64 = 1_787_306_500_000_000_000;
const MORE: &str = r#""release": "shop@1.2", "server_name": "edge-1", "environment": "test","#;

/// A segment that is called as the formats of typed spans have it.
fn segment(path: &str) -> Segment<'static> {
    finished_as(Naming::Conventions, open_span(path), stream_end())
}

fn body(format: Format, segments: &[Segment]) -> Vec<u8> {
    let config = config(MORE);
    let segments: Vec<_> = segments
        .iter()
        .map(|segment| encoded(segment, format, &config))
        .collect();
    format.body(&segments, None, resource(&config), NOW_NS)
}

/// An envelope's lines: header, item header, payload.
fn lines(body: &[u8]) -> [Json; 3] {
    let text = std::str::from_utf8(body).unwrap();
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let [header, item, payload] = lines.as_slice() else {
        panic!("{text}");
    };
    let parse = |line: &str| serde_json::from_str::<Json>(line).unwrap();
    assert_eq!(parse(item)["length"], payload.len());
    [parse(header), parse(item), parse(payload)]
}

fn sdk() -> Json {
    json!({"name": "sentry-filter.rust.proxy-wasm", "version": env!("CARGO_PKG_VERSION")})
}

#[test]
fn an_envelope_of_streamed_spans_has_the_form_of_the_protocol() {
    let [header, item, payload] = lines(&body(Format::SpanV2, &[segment("/cart")]));
    assert_eq!(
        header,
        json!({
            "dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42",
            "sdk": sdk(),
            "trace": {
                "trace_id": "771a43a4192642f0b136d5159a501700",
                "public_key": "49d0f7386ad645858ae85020e393bef3",
                "sample_rate": "0.25",
            },
            "sent_at": "2026-08-21T10:01:40.000000Z",
        })
    );
    assert_eq!(
        (&item["type"], &item["item_count"], &item["content_type"]),
        (
            &json!("span"),
            &json!(2),
            &json!("application/vnd.sentry.items.span.v2+json")
        )
    );
    assert_eq!(payload["version"], 2);
    let [server, call] = payload["items"].as_array().unwrap().as_slice() else {
        panic!("{payload}");
    };
    let text = |text: &str| json!({"type": "string", "value": text});
    let mut attributes = server["attributes"].clone();
    for (name, value) in [
        ("sentry.op", text("http.server")),
        ("sentry.origin", text("auto.http.envoy")),
        ("sentry.segment.id", text("7c51afd529da4a2a")),
        ("sentry.segment.name", text("GET")),
        ("sentry.segment.name.source", text("url")),
        ("sentry.status.message", text("not_found")),
        ("sentry.trace_lifecycle", text("stream")),
        ("sentry.kind", text("server")),
        ("sentry.platform", text("other")),
        ("sentry.sdk.name", text("sentry-filter.rust.proxy-wasm")),
        ("sentry.sdk.version", text(env!("CARGO_PKG_VERSION"))),
        ("sentry.environment", text("test")),
        ("sentry.release", text("shop@1.2")),
        ("service.name", text("edge-1")),
        (
            "http.response.status_code",
            json!({"type": "integer", "value": 404}),
        ),
        (
            "envoy.gateway_time_ms",
            json!({"type": "double", "value": 1.75}),
        ),
    ] {
        let found = attributes.as_object_mut().unwrap().remove(name);
        assert_eq!(found, Some(value), "{name}");
    }
    let mut server = server.clone();
    server["attributes"].take();
    assert_eq!(
        server,
        json!({
            "trace_id": "771a43a4192642f0b136d5159a501700",
            "span_id": "7c51afd529da4a2a",
            "parent_span_id": "1121201211212012",
            "name": "GET",
            "status": "error",
            "is_segment": true,
            "start_timestamp": 1_787_306_400.123_456,
            "end_timestamp": 1_787_306_400.154_456,
            "attributes": null,
        })
    );
    assert_eq!(call["is_segment"], false);
    assert_eq!(call["parent_span_id"], "7c51afd529da4a2a");
    assert_eq!(call["attributes"].get("sentry.segment.name.source"), None);
}

#[test]
fn spans_of_one_trace_share_an_envelope() {
    let [_, item, payload] = lines(&body(Format::SpanV2, &[segment("/a"), segment("/b")]));
    assert_eq!(item["item_count"], 4);
    let names: Vec<_> = payload["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    let (server, call) = ("GET", "GET shop.example");
    assert_eq!(names, [server, call, server, call]);
}

/// Trap of sentry-protocol.md §2.8: what was forwarded stays, but Sentry would drop spans without a
/// DSC, or with another trace's.
#[test]
fn streamed_spans_always_have_a_dsc_of_their_trace() {
    let other = "99999999999999999999999999999999";
    let key = "49d0f7386ad645858ae85020e393bef3";
    let trace = ("trace_id", "771a43a4192642f0b136d5159a501700");
    let rows: [&[(&str, &str)]; 8] = [
        &[],
        &[trace, ("public_key", key), ("user", "x")],
        &[trace, ("public_key", key), ("replay_id", "null")],
        &[trace, ("public_key", key), ("sample_rate", "1.")],
        &[
            trace,
            ("public_key", key),
            ("segment_name", "/a"),
            ("transaction", "/b"),
        ],
        &[("environment", "production")],
        &[("trace_id", other), ("public_key", key)],
        &[
            ("trace_id", "771a43a4192642f0b136d5159a501700"),
            ("public_key", "short"),
        ],
    ];
    for entries in rows {
        let mut segment = segment("/");
        segment.context.to_mut().dsc = Dsc::frozen(entries.iter().copied());
        let [header, ..] = lines(&body(Format::SpanV2, &[segment]));
        let expected = json!({"trace_id": "771a43a4192642f0b136d5159a501700", "public_key": key});
        assert_eq!(header["trace"], expected, "{entries:?}");
    }
}

#[test]
fn a_context_that_was_not_continued_is_a_link_in_every_format() {
    let mut segment = segment("/");
    segment.context.to_mut().link = Some(SentryTrace {
        trace_id: TraceId::from_hex(b"99999999999999999999999999999999").unwrap(),
        span_id: crate::id::SpanId::from_hex(b"8888888888888888").unwrap(),
        sampled: Some(true),
    });
    let link = |kind: Json| {
        json!([{
            "trace_id": "99999999999999999999999999999999",
            "span_id": "8888888888888888",
            "sampled": true,
            "attributes": {"sentry.link.type": kind},
        }])
    };
    let segments = [segment];
    let [.., payload] = lines(&body(Format::Transaction, &segments));
    assert_eq!(
        payload["contexts"]["trace"]["links"],
        link(json!("follows_from"))
    );
    let [.., payload] = lines(&body(Format::SpanV2, &segments));
    let typed = json!({"type": "string", "value": "follows_from"});
    assert_eq!(payload["items"][0]["links"], link(typed));
    assert_eq!(payload["items"][1].get("links"), None);
    let otlp = body(Format::Otlp, &segments);
    let needle = b"follows_from";
    assert!(otlp.windows(needle.len()).any(|part| part == needle));
}

#[test]
fn formats_differ_in_where_they_go_and_how_they_are_limited() {
    let config = config("");
    let dsn = config.trace.dsn().unwrap();
    let rows: BTreeMap<_, _> = Format::ALL
        .map(|format| (format.as_str(), (format.path(dsn), format.category())))
        .into_iter()
        .collect();
    let expected = BTreeMap::from([
        (
            "transaction",
            ("/api/42/envelope/".to_owned(), "transaction"),
        ),
        ("span_v2", ("/api/42/envelope/".to_owned(), "span")),
        (
            "otlp",
            ("/api/42/integration/otlp/v1/traces/".to_owned(), "span"),
        ),
    ]);
    assert_eq!(rows, expected);
}

#[test]
fn a_body_of_nothing_is_none_that_panics() {
    for format in Format::ALL {
        let _ = format.body(&[], None, resource(&config("")), NOW_NS);
    }
    let empty = segment_of("", |end| *end = Default::default());
    for format in Format::ALL {
        assert!(!body(format, std::slice::from_ref(&empty)).is_empty());
    }
}

/// As another library writes it.
#[test]
fn a_time_is_written_in_every_day_of_five_centuries() {
    use std::time::{Duration, UNIX_EPOCH};
    let theirs = |ns: u64| {
        let time = UNIX_EPOCH + Duration::from_nanos(ns);
        humantime::format_rfc3339_micros(time).to_string()
    };
    const DAY_NS: u64 = 86_400_000_000_000;
    for day in 0..u64::MAX / DAY_NS {
        let ns = day * DAY_NS + day * 467_083_123_457 % DAY_NS;
        assert_eq!(timestamp(ns), theirs(ns), "{ns}");
    }
    for ns in [0, 999, 1_000, DAY_NS - 1, DAY_NS, u64::MAX] {
        assert_eq!(timestamp(ns), theirs(ns), "{ns}");
    }
}
