//! Each parser for itself: parse, format, parse again.

use std::collections::BTreeMap;

use sentry_filter_codec::header_map as map;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::dsn::Dsn;
use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::export::metrics::Metric;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::span::StreamInfo;
use sentry_filter_core::trace::baggage::{Baggage, SentryMembers};
use sentry_filter_core::trace::propagation::Format;
use sentry_filter_core::trace::tracestate as state;
use sentry_filter_core::worker::Worker;
use serde_json::Value;

use super::host::Host;
use super::input::{self, lines};
use super::request::{self, next_callout};
use super::strict::conserved;
use super::{readers, strict};

/// `sentry-trace`: what is accepted is written in the strict form, and the strict form is accepted
/// as it is.
pub fn sentry_trace(data: &[u8]) {
    header(Format::SentryTrace, data);
}

/// `traceparent`: what is accepted is written as version 00, and the strict form is accepted.
pub fn traceparent(data: &[u8]) {
    header(Format::Traceparent, data);
}

fn header(format: Format, data: &[u8]) {
    let strict = |value: &[u8]| match format {
        Format::SentryTrace => strict::SentryTrace::parse(value),
        Format::Traceparent => strict::traceparent(value),
    };
    // What a clear bit of `traceparent` says is left to the next one to decide.
    let decision = |sampled: Option<bool>| match format {
        Format::SentryTrace => sampled,
        Format::Traceparent => sampled.filter(|sampled| *sampled),
    };
    let extract = |lines: &[&[u8]]| {
        let lines = lines.iter().map(|line| (format.name().as_bytes(), *line));
        format.extract(&Headers::from_pairs(lines))
    };
    let lines = lines(data);
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let read = extract(&lines);
    if let [line] = &lines[..] {
        if strict(line).is_some() {
            let arrived = read.expect("strict").expect("a line");
            assert_eq!(format.inject(arrived.context, arrived.is_random), *line);
        }
    }
    let arrived = match read {
        Ok(arrived) => arrived,
        Err(error) => {
            assert!(format.errors().contains(&error), "{error} is not listed");
            return;
        }
    };
    assert_eq!(arrived.is_none(), lines.is_empty());
    let Some(arrived) = arrived else { return };
    let value = format.inject(arrived.context, arrived.is_random);
    let written = strict(&value).expect("what is written is strict");
    assert_eq!(decision(written.sampled), arrived.context.sampled);
    assert_eq!(extract(&[&value]), Ok(Some(arrived)));
}

/// `tracestate`: several lines mean what one line means, and each member stands for itself.
pub fn tracestate(data: &[u8]) {
    let lines = lines(data);
    let is_valid = state::is_valid(lines.iter().map(Vec::as_slice));
    let joined = lines.join(&b","[..]);
    assert_eq!(is_valid, state::is_valid([joined.as_slice()].into_iter()));
    if !is_valid {
        return;
    }
    let members = strict::members([joined.as_slice()]);
    assert!((1..=32).contains(&members.len()));
    for member in members {
        assert!(state::is_valid([member.raw].into_iter()));
        assert!(member.raw.is_ascii() && member.raw.contains(&b'='));
    }
}

/// `baggage`: members of others keep bytes and order within the limits, and what is written reads
/// the same.
pub fn baggage(data: &[u8]) {
    let lines = lines(data);
    let arrived = || lines.iter().map(Vec::as_slice);
    let baggage = Baggage::read(arrived());
    let all = strict::members(arrived());
    let usable: Vec<_> = all.iter().filter(|m| m.pair.is_some()).copied().collect();
    assert!(baggage.malformed() as usize >= all.len() - usable.len());
    assert!(baggage.malformed() == 0 || baggage.is_ambiguous());
    if !baggage.is_ambiguous() && !baggage.is_over_limits() {
        assert!(strict::fits(&usable));
        let lines: Vec<&[u8]> = arrived().collect();
        reads_alike(&lines, &baggage);
    }

    let changes = [("sampled", Some("false".into())), ("sample_rate", None)];
    let replaced = b"sentry-release=1";
    for sentry in [
        SentryMembers::Kept,
        SentryMembers::Changed(changes.into()),
        SentryMembers::Replaced(Vec::new()),
        SentryMembers::Replaced(replaced.to_vec()),
    ] {
        let written = baggage.write(&sentry);
        let Some(value) = written.value else {
            assert!(usable.is_empty() || baggage.is_over_limits() || baggage.has_sentry());
            continue;
        };
        conserved(&usable, &value);
        let again = Baggage::read([value.as_slice()].into_iter());
        assert_eq!((again.malformed(), again.is_over_limits()), (0, false));
        assert!(!again.is_ambiguous());
        reads_alike(&[&value], &again);
        assert_eq!(
            again.write(&SentryMembers::Kept).value.as_ref(),
            Some(&value)
        );
        if sentry == SentryMembers::Kept {
            let kept = strict::members([value.as_slice()]).len();
            let left_out = written.too_many.saturating_add(baggage.malformed());
            assert_eq!(left_out as usize, all.len() - kept);
            let raw: Vec<&[u8]> = usable.iter().map(|member| member.raw).collect();
            let is_ambiguous = baggage.has_sentry() && baggage.is_ambiguous();
            assert!(is_ambiguous || written.too_many > 0 || value == raw.join(&b","[..]));
            reads_alike(&[&value], &baggage);
        }
    }
}

/// Every SDK reads these lines as the filter has, unless they name two traces, which the filter
/// does not believe.
fn reads_alike(lines: &[&[u8]], baggage: &Baggage<'_>) {
    if baggage
        .sentry()
        .filter(|(key, _)| *key == "trace_id")
        .count()
        > 1
    {
        return;
    }
    let text = || String::from_utf8_lossy(&lines.join(&b"\n"[..])).into_owned();
    let read = readers::agreed(lines).unwrap_or_else(|differ| panic!("{differ}: {:?}", text()));
    let ours = baggage
        .sentry()
        .map(|(key, value)| (key.into(), value.into()));
    let ours: readers::Dsc = ours.collect();
    assert!(
        read.iter().all(|pair| ours.get(pair.0) == Some(pair.1)),
        "{:?}",
        text()
    );
    let fits = !baggage.is_over_limits() && baggage.malformed() == 0;
    assert!(!fits || read == ours, "{:?}", text());
}

/// The host's header map: what is read is written as it was, and a map never holds more than its
/// buffer.
pub fn header_map(data: &[u8]) {
    let pairs = input::headers(data);
    let pairs = || {
        pairs
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    };
    let written = map::write(pairs());
    let headers = map::read(written.clone()).expect("what is written reads");
    assert!(headers.iter().eq(pairs()));
    assert_eq!(map::write(headers.iter()), written);

    let Ok(headers) = map::read(data.to_vec()) else {
        return;
    };
    let held: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    assert!(held <= data.len());
    let written = map::write(headers.iter());
    let again = map::read(written).expect("what is written reads");
    assert!(again.iter().eq(headers.iter()));
    let names: BTreeMap<&[u8], ()> = headers.iter().map(|(name, _)| (name, ())).collect();
    for name in names
        .keys()
        .filter_map(|name| std::str::from_utf8(name).ok())
    {
        assert_eq!(headers.values(name).next(), headers.value(name));
        assert!(headers.value(name).is_some());
    }
}

/// The plugin configuration: refused with paths and without secrets, or the same as JSON and as
/// `google.protobuf.Struct`, and fit for use.
pub fn config(data: &[u8]) {
    const SECRET: &str = "key:hush-7f3a91";
    let env = EnvDefaults::default();
    let parsed = FilterConfig::parse(data, &env);
    if let Err(problems) = &parsed {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(!problem.path.is_empty());
            let is_clear = ["expected ", "unknown key; expected one of "];
            assert!(
                is_clear
                    .iter()
                    .any(|text| problem.message.starts_with(text)),
                "{problem}"
            );
        }
    }
    if let Ok(config) = &parsed {
        let headers = Headers::from_pairs([
            (b":path".as_slice(), b"/shops/1?q".as_slice()),
            (b":method", b"GET"),
        ]);
        Worker::alone(config.clone()).on_request(&headers, &mut Host::new(0));
    }
    let Ok(Value::Object(mut object)) = serde_json::from_slice(data) else {
        return;
    };
    let mut message = Vec::new();
    write_struct(&object, &mut message);
    if let (Ok(config), false) = (&parsed, object.is_empty()) {
        let again = FilterConfig::parse(&message, &env);
        assert_eq!(again.as_ref(), Ok(config), "as a Struct");
    }
    for dsn in [
        Value::from(format!("https://{SECRET}@/42")),
        Value::from(vec![SECRET]),
    ] {
        object.insert("dsn".to_owned(), dsn);
        let json = serde_json::to_vec(&object).expect("what was read can be written");
        let problems = FilterConfig::parse(&json, &env).expect_err("no DSN");
        let shown = format!("{problems:?}");
        assert!(!shown.contains("hush-7f3a91"), "{shown}");
    }
}

/// `google.protobuf.Struct`, as Envoy writes it.
fn write_struct(object: &serde_json::Map<String, Value>, message: &mut Vec<u8>) {
    for (key, value) in object {
        let (mut entry, mut written) = (Vec::new(), Vec::new());
        write_value(value, &mut written);
        write_field(0x0a, key.as_bytes(), &mut entry);
        write_field(0x12, &written, &mut entry);
        write_field(0x0a, &entry, message);
    }
}

fn write_value(value: &Value, message: &mut Vec<u8>) {
    match value {
        Value::Null => message.extend_from_slice(&[0x08, 0]),
        Value::Number(number) => {
            message.push(0x11);
            let number = number.as_f64().unwrap_or_default();
            message.extend_from_slice(&number.to_le_bytes());
        }
        Value::String(text) => write_field(0x1a, text.as_bytes(), message),
        Value::Bool(flag) => message.extend_from_slice(&[0x20, (*flag).into()]),
        Value::Object(object) => {
            let mut inner = Vec::new();
            write_struct(object, &mut inner);
            write_field(0x2a, &inner, message);
        }
        Value::Array(values) => {
            let mut list = Vec::new();
            for value in values {
                let mut inner = Vec::new();
                write_value(value, &mut inner);
                write_field(0x0a, &inner, &mut list);
            }
            write_field(0x32, &list, message);
        }
    }
}

fn write_field(tag: u8, bytes: &[u8], message: &mut Vec<u8>) {
    message.push(tag);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push((length % 0x80) as u8 | 0x80);
        length /= 0x80;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
}

/// The DSN: what is shown of it reads the same, and nothing of it can break out of a header line.
pub fn dsn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(dsn) = Dsn::parse(text) else { return };
    let shown = dsn.to_string();
    let again = Dsn::parse(&shown).expect("what is shown reads");
    assert_eq!(again.to_string(), shown);
    let parts = |dsn: &Dsn| {
        (
            dsn.public_key().to_owned(),
            dsn.scheme(),
            dsn.authority().to_owned(),
            dsn.envelope_path(),
            dsn.org_id().map(str::to_owned),
        )
    };
    assert_eq!(parts(&again), parts(&dsn));
    let path = dsn.envelope_path();
    for part in [dsn.authority(), &path, dsn.public_key()] {
        assert!(part.bytes().all(|byte| byte.is_ascii_graphic()), "{part:?}");
    }
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    let auth = dsn.auth("client/1");
    assert!(auth
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    if let Some(org_id) = dsn.org_id() {
        assert!(org_id == "0" || !org_id.starts_with('0'));
        assert!(!org_id.is_empty() && org_id.bytes().all(|byte| byte.is_ascii_digit()));
    }
}

/// Rate limits, as the answer to a callout: nothing is closed for more than a day, a span that was
/// sent is sent or lost, and 429 always closes.
pub fn rate_limits(data: &[u8]) {
    const NOW_NS: u64 = 1_445_412_480_000_000_000; // Wed, 21 Oct 2015 07:28:00 GMT
    const DAY_NS: u64 = 24 * 3_600 * 1_000_000_000;
    let mut worker = Worker::alone(request::configuration(b'd').clone());
    let mut host = Host::new(0);
    let mut record = |worker: &mut Worker, now_ns: u64| {
        let outcome = worker.on_request(&Headers::default(), &mut host);
        let end = StreamInfo {
            start_ns: Some(now_ns),
            duration_ns: Some(0),
            ..StreamInfo::default()
        };
        assert!(outcome.request.span.is_some(), "everything is sampled");
        let tracer = worker.tracer();
        tracer.on_stream_info(outcome.request, end, || None);
    };
    record(&mut worker, NOW_NS);
    let callout = next_callout(&mut worker, NOW_NS).expect("a span waits");
    worker.handle(Event::Posted(callout, 1), NOW_NS);
    // What was counted until here is told.
    while worker.exporter().poll(NOW_NS).is_some() {}

    let pairs = input::headers(data);
    let pairs = pairs.iter().map(|(name, value)| (&name[..], &value[..]));
    let headers = Headers::from_pairs(pairs);
    let mut body = Vec::new;
    let response = CalloutResponse::new(&headers, &mut body);
    worker.handle(Event::Response(1, response), NOW_NS);
    assert!(worker.exporter().is_idle());
    let metrics: Vec<Metric> = Metric::all().collect();
    let mut changes = Vec::new();
    while let Some(command) = worker.exporter().poll(NOW_NS) {
        if let Command::ChangeMetric(index, change) = command {
            changes.push((index, change));
        }
    }
    let fate: i64 = changes
        .iter()
        .filter(|(index, _)| {
            let metric = metrics[*index];
            matches!(metric, Metric::SpansSent | Metric::SpansDiscarded(_))
        })
        .map(|(_, change)| *change)
        .sum();
    assert_eq!(fate, 1, "{changes:?}");

    record(&mut worker, NOW_NS);
    let is_open = next_callout(&mut worker, NOW_NS).is_some();
    let has_quotas = headers.value("x-sentry-rate-limits").is_some();
    // The three digits of it, not `0429`.
    let is_429 = headers.value(":status") == Some(b"429");
    let must_close = is_429 && headers.value("retry-after").is_none();
    if !has_quotas && (must_close || !is_429) {
        assert_eq!(is_open, !must_close);
    }
    let tomorrow_ns = NOW_NS + DAY_NS;
    record(&mut worker, tomorrow_ns);
    let callout = next_callout(&mut worker, tomorrow_ns);
    strict::envelope(&callout.expect("nothing lasts longer than a day").body);
}
