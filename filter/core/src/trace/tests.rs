mod projects;

use super::*;
use crate::attribute::Attribute;
use crate::config::{EnvDefaults, FilterConfig};
use crate::fixtures::Host;
use crate::fixtures::Value;
use crate::headers::{SENTRY_TRACE, TRACEPARENT};

const TRACE: &str = "771a43a4192642f0b136d5159a501700";
const INCOMING: &str = "771a43a4192642f0b136d5159a501700-7c51afd529da4a2a";
const BAGGAGE_IN: &str = "a=1;p,sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-public_key=key,sentry-release=r%201,b=2";

/// One request through a gateway. Random bytes count up from 1, so the first trace id is `0101…`
/// and the first span id after it `0202…`.
struct Scenario {
    config: String,
    headers: Vec<(&'static str, String)>,
    attributes: Vec<(Attribute, Value)>,
    entropy: bool,
}

fn gateway(config: &str) -> Scenario {
    Scenario {
        config: format!(
            r#"{{"dsn": "https://key@o1.ingest.sentry.io/2", "release": "r", {config} "environment": "test"}}"#
        ),
        headers: vec![(":method", "GET".to_owned()), (":path", "/x".to_owned())],
        attributes: Vec::new(),
        entropy: true,
    }
}

fn gateway_without_dsn() -> Scenario {
    Scenario {
        config: "{}".to_owned(),
        ..gateway("")
    }
}

/// What the upstream sees, and the parent of the recorded span.
#[derive(Debug, PartialEq)]
struct Seen {
    sentry_trace: Option<String>,
    baggage: Option<String>,
    recorded_below: Option<Option<String>>,
}

impl Scenario {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn without_entropy(mut self) -> Self {
        self.entropy = false;
        self
    }

    fn with_attribute(mut self, attribute: Attribute, value: &[u8]) -> Self {
        self.attributes
            .push((attribute, Value::Text(value.to_vec())));
        self
    }

    fn on_route(self, name: &str) -> Self {
        self.with_attribute(Attribute::RouteName, name.as_bytes())
    }

    fn decide(&self) -> TraceDecision {
        let config = FilterConfig::parse(self.config.as_bytes(), &EnvDefaults::default()).unwrap();
        let pairs = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = Headers::from_pairs(pairs);
        let mut host = Host {
            has_entropy: self.entropy,
            attributes: self.attributes.clone(),
            ..Host::default()
        };
        host.serve(|calls| decide(&headers, &config.trace, Limits::NONE, None, calls))
    }

    fn seen(&self) -> Seen {
        let decision = self.decide();
        let header = |name: &str| {
            let mutation = decision.mutations.iter().rfind(|mutation| match mutation {
                HeaderMutation::Set { name: set, .. } | HeaderMutation::Remove { name: set } => {
                    *set == name
                }
            });
            match mutation {
                Some(HeaderMutation::Set { value, .. }) => {
                    Some(String::from_utf8(value.clone()).unwrap())
                }
                Some(HeaderMutation::Remove { .. }) => None,
                None => self
                    .headers
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.clone()),
            }
        };
        Seen {
            sentry_trace: header(SENTRY_TRACE),
            baggage: header(BAGGAGE),
            recorded_below: decision
                .span
                .as_ref()
                .map(|span| span.parent_span_id.map(|id| id.to_string())),
        }
    }

    fn assert_untouched(self) {
        assert_eq!(self.decide().mutations, []);
        assert_eq!(self.decide().span, None);
    }

    fn assert_seen(self, sentry_trace: &str, baggage: &str, recorded_below: Option<Option<&str>>) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let expected = Seen {
            sentry_trace: text(sentry_trace),
            baggage: text(baggage),
            recorded_below: recorded_below.map(|parent| parent.map(str::to_owned)),
        };
        assert_eq!(self.seen(), expected);
    }
}

#[test]
fn a_sampled_trace_is_continued_with_the_gateways_span() {
    gateway(r#""traces_sample_rate": 0,"#)
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(BAGGAGE, BAGGAGE_IN)
        .assert_seen(
            &format!("{TRACE}-0202020202020202-1"),
            BAGGAGE_IN,
            Some(Some("7c51afd529da4a2a")),
        );
}

#[test]
fn the_dsc_of_a_continued_trace_is_what_arrived_decoded() {
    let decision = gateway(r#""traces_sample_rate": 1,"#)
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(BAGGAGE, BAGGAGE_IN)
        .decide();
    let dsc = serde_json::to_string(&decision.span.unwrap().dsc).unwrap();
    assert_eq!(
        dsc,
        format!(r#"{{"trace_id":"{TRACE}","public_key":"key","release":"r 1"}}"#)
    );
}

#[test]
fn a_gateway_that_records_nothing_forwards_the_context_byte_for_byte() {
    for flag in ["", "-0", "-1"] {
        let headers = |scenario: Scenario| {
            scenario
                .with(SENTRY_TRACE, format!("{INCOMING}{flag}"))
                .with(BAGGAGE, BAGGAGE_IN)
        };
        headers(gateway_without_dsn()).assert_untouched();
        headers(gateway("")).assert_untouched();
        headers(gateway(""))
            .with(":method", "OPTIONS")
            .assert_untouched();
        if flag != "-1" {
            headers(gateway(r#""traces_sample_rate": 0,"#)).assert_untouched();
        }
    }
    let not_sampled =
        gateway(r#""traces_sample_rate": 1,"#).with(SENTRY_TRACE, format!("{INCOMING}-0"));
    not_sampled.assert_untouched();
}

#[test]
fn a_deferred_decision_is_taken_with_the_sample_rand_of_the_trace() {
    let deferred = |rate: &str, baggage: &str| {
        gateway(&format!(r#""traces_sample_rate": {rate},"#))
            .with(SENTRY_TRACE, INCOMING)
            .with(BAGGAGE, baggage)
    };
    let baggage = "sentry-sample_rand=0.25";
    deferred("0.25", baggage).assert_untouched();
    deferred("0.26", baggage).assert_seen(
        &format!("{TRACE}-0202020202020202-1"),
        "sentry-sample_rand=0.25,sentry-sample_rate=0.26",
        Some(Some("7c51afd529da4a2a")),
    );
    // Derived from the trace id, 0.692…
    deferred("0.692", "a=1").assert_untouched();
    deferred("0.70", "a=1").assert_seen(
        &format!("{TRACE}-0202020202020202-1"),
        "a=1",
        Some(Some("7c51afd529da4a2a")),
    );
}

#[test]
fn a_new_trace_has_a_full_dsc_behind_the_members_of_others() {
    let expected = "a=1,b=2;p,sentry-trace_id=01010101010101010101010101010101,sentry-public_key=key,sentry-sample_rand=0.003921,\
                    sentry-sample_rate=1,sentry-sampled=true,sentry-environment=test,sentry-release=r,sentry-org_id=1";
    let trace = "01010101010101010101010101010101-0303030303030303-1";
    let new =
        || gateway(r#""traces_sample_rate": 1,"#).with(BAGGAGE, "a=1, b=2;p,sentry-release=other");
    new().assert_seen(trace, expected, Some(None));
    new().on_route("/api/{id}").assert_seen(
        trace,
        &format!("{expected},sentry-transaction=%2Fapi%2F%7Bid%7D"),
        Some(None),
    );
}

/// The transaction is called as the segment will be, which goes by the format.
#[test]
fn a_new_trace_names_its_transaction_as_the_format_does() {
    for (format, name) in [
        ("transaction", "%2Fapi%2F%7Bid%7D"),
        ("span_v2", "GET%20%2Fapi%2F%7Bid%7D"),
        ("otlp", "GET%20%2Fapi%2F%7Bid%7D"),
    ] {
        let options = format!(r#""traces_sample_rate": 1, "transport": {{"format": "{format}"}},"#);
        let seen = gateway(&options).on_route("/api/{id}").seen();
        let baggage = seen.baggage.expect("a new trace has one");
        let member = format!(",sentry-transaction={name}");
        assert!(baggage.ends_with(&member), "{format}: {baggage}");
    }
}

#[test]
fn a_new_trace_that_is_not_sampled_says_so() {
    gateway(r#""traces_sample_rate": 0,"#).assert_seen(
        "01010101010101010101010101010101-0202020202020202-0",
        "sentry-trace_id=01010101010101010101010101010101,sentry-public_key=key,sentry-sample_rand=0.003921,sentry-sample_rate=0,\
         sentry-sampled=false,sentry-environment=test,sentry-release=r,sentry-org_id=1",
        None,
    );
}

#[test]
fn in_deferred_mode_a_new_trace_has_no_decision() {
    gateway("").on_route("/api/{id}").assert_seen(
        "01010101010101010101010101010101-0202020202020202",
        "sentry-trace_id=01010101010101010101010101010101,sentry-public_key=key,sentry-sample_rand=0.003921,sentry-environment=test,\
         sentry-release=r,sentry-org_id=1",
        None,
    );
}

#[test]
fn a_refused_context_is_replaced_or_removed() {
    let refused = |scenario: Scenario| {
        scenario
            .with(SENTRY_TRACE, "nonsense")
            .with(BAGGAGE, "a=1,sentry-release=r")
    };
    let decision = refused(gateway(r#""traces_sample_rate": 1,"#)).decide();
    assert_eq!(
        decision.rejections.refused.get(Format::SentryTrace),
        Some(HeaderError::WrongLength)
    );
    assert_eq!(
        decision.origin,
        TraceOrigin::Restarted(RestartReason::Refused)
    );

    let decision = refused(gateway_without_dsn()).decide();
    assert_eq!(
        decision.rejections.refused.get(Format::SentryTrace),
        Some(HeaderError::WrongLength)
    );
    assert_eq!(decision.origin, TraceOrigin::None);
    refused(gateway_without_dsn()).assert_seen("", "a=1", None);
    gateway_without_dsn()
        .with(BAGGAGE, "sentry-release=r")
        .assert_seen("", "", None);
}

#[test]
fn repairs_are_written_even_where_nothing_is_recorded() {
    gateway_without_dsn()
        .with(SENTRY_TRACE, format!("{}-1", INCOMING.to_uppercase()))
        .assert_seen(&format!("{INCOMING}-1"), "", None);
}

#[test]
fn members_of_another_trace_are_dropped() {
    let other = "a=1,sentry-trace_id=01010101010101010101010101010101,sentry-sampled=true";
    gateway_without_dsn()
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .with(BAGGAGE, other)
        .assert_seen(&format!("{INCOMING}-1"), "a=1", None);
}

#[test]
fn another_organisations_trace_is_not_continued() {
    let request = |config: &str, org_id: &str| {
        gateway(config)
            .with(SENTRY_TRACE, format!("{INCOMING}-1"))
            .with(BAGGAGE, format!("sentry-org_id={org_id}"))
            .decide()
            .origin
    };
    assert_eq!(
        request("", "1"),
        TraceOrigin::Continued(Format::SentryTrace)
    );
    assert_eq!(
        request("", "2"),
        TraceOrigin::Restarted(RestartReason::Organisation)
    );
    assert_eq!(request("", ""), TraceOrigin::Continued(Format::SentryTrace));
    assert_eq!(
        request(r#""strict_trace_continuation": true,"#, ""),
        TraceOrigin::Restarted(RestartReason::Organisation)
    );
    assert_eq!(
        request(r#""org_id": "2","#, "2"),
        TraceOrigin::Continued(Format::SentryTrace)
    );
}

#[test]
fn without_random_bytes_nothing_begins_and_nothing_breaks() {
    let new = || gateway(r#""traces_sample_rate": 1,"#).without_entropy();
    new().assert_untouched();
    new()
        .with(SENTRY_TRACE, format!("{INCOMING}-1"))
        .assert_untouched();
    new()
        .with(SENTRY_TRACE, "nonsense")
        .assert_seen("", "", None);
}

#[test]
fn options_begin_no_trace() {
    gateway(r#""traces_sample_rate": 1,"#)
        .with(":method", "OPTIONS")
        .seen();
    let scenario = Scenario {
        headers: vec![(":method", "OPTIONS".to_owned())],
        ..gateway(r#""traces_sample_rate": 1,"#)
    };
    scenario.assert_untouched();
}

#[test]
fn a_decision_reads_as_a_line() {
    let line = |scenario: Scenario| scenario.decide().to_string();
    let sampled = || gateway(r#""traces_sample_rate": 1,"#);
    assert_eq!(
        line(sampled().with(SENTRY_TRACE, format!("{INCOMING}-1"))),
        format!("trace continued from sentry-trace, upstream gets {TRACE}-0202020202020202-1, span recorded")
    );
    assert_eq!(
        line(sampled().with(SENTRY_TRACE, "nonsense")),
        "trace restarted (refused), sentry-trace refused (wrong_length), \
         upstream gets 01010101010101010101010101010101-0303030303030303-1, span recorded"
    );
    assert_eq!(
        line(gateway_without_dsn()),
        "no trace, upstream gets none, no span"
    );
}

mod options;
