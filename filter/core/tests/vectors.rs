//! The tables of `tests/vectors`, on the core.

mod gateway;
#[path = "../fuzz/src/readers.rs"]
mod readers;

use std::collections::{BTreeMap, BTreeSet};

use gateway::Gateway;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::dsn::{Dsn, ParseDsnError};
use sentry_filter_core::export::metrics::Metric;
use sentry_filter_core::export::rate_limit::limit_s;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::route::is_receiver;
use sentry_filter_core::sampling::SampleRate;
use sentry_filter_core::span::Request;
use sentry_filter_core::trace::propagation::Format;
use serde_json::json;
use vectors::{expand, none_of, Header};

/// What a reader made of the lines of a header: what it writes, or its reason.
type Read = Result<String, &'static str>;

/// The lines of each format's table, as [`Format::extract`] reads them.
#[test]
fn headers() {
    for format in Format::ALL {
        check(vectors::headers(format.name()), |lines| {
            let name = format.name().as_bytes();
            let lines = lines.iter().map(|line| (name, line.as_slice()));
            match format.extract(&Headers::from_pairs(lines)) {
                Ok(arrived) => {
                    let arrived = arrived.expect("every row has a line");
                    assert_eq!(arrived.format, format);
                    Ok(text(&format.inject(arrived.context, arrived.is_random)))
                }
                Err(error) => Err(error.reason()),
            }
        });
    }
}

/// A format has a table, and a fuzz target.
#[test]
fn every_format_is_fuzzed() {
    let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    for format in Format::ALL {
        let target = format!("{targets}/{}.rs", format.name().replace('-', "_"));
        assert!(std::fs::exists(&target).unwrap(), "no {target}");
    }
}

#[test]
fn requests() {
    let mut failures = Vec::new();
    for (format, row) in vectors::requests() {
        let (seen, span) = Gateway::new(&row.config()).serve(&row);
        let mut complaints = row.check(&seen);
        let dsc = span.map(|context| context.dsc).unwrap_or_default();
        for (key, value) in &row.dsc {
            if dsc.get(key) != Some(value) {
                complaints.push(format!("{key} was read as {:?}", dsc.get(key)));
            }
        }
        let lines = seen.lines("baggage");
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        complaints.extend(readers::agreed(&lines).err());
        let complaints = complaints.iter();
        failures.extend(complaints.map(|what| format!("{format}: {}: {what}", row.name)));
    }
    none_of(&failures);
}

/// A reason without a row would be one that no layer has ever seen.
#[test]
fn every_reason_has_a_row() {
    let rows = vectors::requests();
    let counted: BTreeSet<&str> = rows
        .iter()
        .flat_map(|(_, row)| row.counted.keys().map(String::as_str))
        .collect();
    let is_reason = |metric: &Metric| {
        matches!(
            metric,
            Metric::HeadersRefused(..)
                | Metric::TracesRestarted(_)
                | Metric::BaggageMalformed
                | Metric::BaggageLimit
        )
    };
    let reasons = Metric::all().filter(is_reason).map(Metric::name);
    let reasons: Vec<String> = reasons.collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    for name in reasons {
        let reason = name.strip_prefix("sentry_filter.").unwrap();
        assert!(counted.contains(reason), "no row has {reason}");
        let mut counters = vectors::COUNTERS.iter();
        assert!(
            counters.any(|prefix| reason.starts_with(prefix)),
            "vectors::COUNTERS lacks {reason}"
        );
    }
}

#[test]
fn responses() {
    vectors::check_responses(|row| Gateway::new(&row.config()).respond(row));
}

#[test]
fn dsns() {
    let mut failures = Vec::new();
    for row in vectors::dsns() {
        let got = Dsn::parse(&row.text);
        let fits = match (&got, &row.url, &row.refuse) {
            (Ok(dsn), Some(url), None) => {
                let path = dsn.envelope_path();
                *url == format!("{}://{}{path}", dsn.scheme(), dsn.authority())
                    && row.public_key.as_deref() == Some(dsn.public_key())
                    && row.org_id.as_deref() == dsn.org_id()
            }
            (Err(error), None, Some(reason)) => part(*error) == reason,
            _ => false,
        };
        if !fits {
            failures.push(format!("{}: {got:?}", row.name));
        }
    }
    none_of(&failures);
}

/// What is read of a request and its answer, before there is a span.
#[test]
fn collected() {
    let mut failures = Vec::new();
    for row in vectors::collected() {
        let config = row.config().to_string();
        let data = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default());
        let data = data
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", row.name))
            .data;
        let headers = |lines: &[(String, Vec<u8>)]| {
            let lines = lines
                .iter()
                .map(|(name, value)| (name.as_bytes(), &value[..]));
            Headers::from_pairs(lines)
        };
        let mut lines = vec![(":path".to_owned(), row.target().as_bytes().to_vec())];
        lines.extend(row.lines());
        let request = Request::read(&headers(&lines), &data);
        let answer = data.capture_response(&headers(&row.answer_lines()));
        assert!(answer.is_empty() || data.reads_response(), "{}", row.name);
        failures.extend(row.check(|name| {
            let header = |prefix: &str, lines: &[(String, Vec<String>)]| {
                let name = name.strip_prefix(prefix)?;
                Some(json!(lines.iter().find(|(known, _)| known == name)?.1))
            };
            let text = match name {
                "url.path" => Some(&request.path),
                "url.query" => request.query.as_ref(),
                "user_agent.original" => request.user_agent.as_ref(),
                // That of the door.
                "client.address" => None,
                _ => {
                    return header("http.request.header.", &request.headers)
                        .or_else(|| header("http.response.header.", &answer))
                }
            };
            text.map(|text| json!(text))
        }));
    }
    none_of(&failures);
}

#[test]
fn receivers() {
    let mut failures = Vec::new();
    for row in vectors::receivers() {
        let dsn = Dsn::parse(&row.dsn).expect(&row.name);
        let path = expand(&row.path);
        let lines: [(&[u8], &[u8]); 2] =
            [(b":authority", row.authority.as_bytes()), (b":path", &path)];
        let headers = Headers::from_pairs(lines);
        if is_receiver(&headers, &dsn, row.export_path.as_deref()) != row.is_receiver {
            failures.push(row.name);
        }
    }
    none_of(&failures);
}

#[test]
fn rate_limits() {
    let mut failures = Vec::new();
    for row in vectors::answers() {
        let lines: Vec<_> = row
            .headers
            .iter()
            .map(|line| line.split_once(": ").expect("name: value"))
            .collect();
        let pairs = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = Headers::from_pairs(pairs);
        for category in vectors::CATEGORIES {
            let got = limit_s(&headers, Some(row.status), category, vectors::NOW_S);
            let expected = row.limits.get(category).or_else(|| row.limits.get("all"));
            if got != expected.copied() {
                failures.push(format!(
                    "{}: {category} {got:?}, expected {expected:?}",
                    row.name
                ));
            }
        }
    }
    none_of(&failures);
}

#[test]
fn sample_rates() {
    let mut failures = Vec::new();
    for row in vectors::rates() {
        let env = EnvDefaults {
            traces_sample_rate: Some(row.text.clone()),
            ..EnvDefaults::default()
        };
        let got = FilterConfig::parse(b"{}", &env).map(|config| config.trace.traces_sample_rate);
        let fits = match &got {
            Ok(rate) => !row.refuse && *rate == row.rate.and_then(SampleRate::new),
            Err(_) => row.refuse,
        };
        if !fits {
            failures.push(format!("{}: {got:?}", row.name));
        }
    }
    none_of(&failures);
}

/// Prints what the tables hold; `cargo test -- --nocapture` shows it.
#[test]
fn summary() {
    let mut formats: BTreeMap<&str, Summary> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (format, row) in vectors::requests() {
        let reasons = row.counted.keys();
        let refused: Vec<_> = reasons
            .filter(|name| name.contains("refused."))
            .cloned()
            .collect();
        formats
            .entry(format)
            .or_default()
            .add(&refused, row.why.is_some());
        assert!(
            names.insert((format, row.name.clone())),
            "{} twice",
            row.name
        );
    }
    for (about, row) in vectors::responses() {
        formats
            .entry(about)
            .or_default()
            .add(&[], row.why.is_some());
        assert!(
            names.insert((about, row.name.clone())),
            "{} twice",
            row.name
        );
    }
    for row in vectors::dsns() {
        let refused: Vec<_> = row.refuse.iter().cloned().collect();
        formats
            .entry("dsn")
            .or_default()
            .add(&refused, row.why.is_some());
    }
    for row in vectors::collected() {
        formats
            .entry("data collection")
            .or_default()
            .add(&[], false);
        assert!(
            names.insert(("data collection", row.name.clone())),
            "{} twice",
            row.name
        );
    }
    for row in vectors::receivers() {
        formats
            .entry("receiver")
            .or_default()
            .add(&[], row.why.is_some());
    }
    for row in vectors::answers() {
        formats
            .entry("rate limits")
            .or_default()
            .add(&[], row.why.is_some());
    }
    for row in vectors::rates() {
        let refused: Vec<_> = row
            .refuse
            .then(|| "number".to_owned())
            .into_iter()
            .collect();
        formats
            .entry("sample rate")
            .or_default()
            .add(&refused, row.why.is_some());
    }
    println!(
        "{:<13} {:>5} {:>9} {:>8} {:>8}",
        "format", "rows", "accepted", "refused", "settled"
    );
    for (
        format,
        Summary {
            rows,
            refused,
            settled,
        },
    ) in formats
    {
        let sum: u32 = refused.values().sum();
        println!(
            "{format:<13} {rows:>5} {:>9} {sum:>8} {settled:>8}",
            rows - sum
        );
        for (reason, count) in refused {
            println!("{:<13} {count:>24} {reason}", "");
        }
    }
}

#[derive(Default)]
struct Summary {
    rows: u32,
    refused: BTreeMap<String, u32>,
    settled: u32,
}

impl Summary {
    fn add(&mut self, refused: &[String], is_settled: bool) {
        self.rows += 1;
        self.settled += u32::from(is_settled);
        // Behind one reason for a row `traces_restarted.refused` says the same again.
        let reason = refused
            .iter()
            .find(|name| !name.starts_with("traces_restarted."));
        if let Some(reason) = reason.or(refused.first()) {
            *self.refused.entry(reason.clone()).or_default() += 1;
        }
    }
}

fn check(rows: Vec<Header>, read: impl Fn(&[Vec<u8>]) -> Read) {
    let mut failures = Vec::new();
    for row in rows {
        let lines: Vec<_> = row.lines.iter().map(|line| expand(line)).collect();
        let expected = row.accept.as_deref().ok_or(row.refuse.as_deref());
        let got = read(&lines);
        if got.as_deref().map_err(|reason| Some(*reason)) != expected {
            failures.push(format!("{}: {got:?}", row.name));
        }
    }
    none_of(&failures);
}

fn part(error: ParseDsnError) -> &'static str {
    match error {
        ParseDsnError::Scheme => "scheme",
        ParseDsnError::PublicKey => "public_key",
        ParseDsnError::Host => "host",
        ParseDsnError::Port => "port",
        ParseDsnError::ProjectId => "project_id",
        ParseDsnError::Character => "character",
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
