//! What differs from request to request: rules by pattern, and the settings of an Envoy route (filter.md §2).
//!
//! ```json
//! {"match": {"path": "^/shops/([^/]+)/", "method": "^GET$", "header": {"x-team": "web"}}, "transaction": "/shops/$1", "traces_sample_rate": 0.5}
//! ```
//! For each field the first rule counts that matches and sets it. The settings of a route come before all rules.

use regex::bytes::Captures;

use crate::attribute::Attribute;
use crate::decimal::number;
use crate::headers::{Headers, AUTHORITY, METHOD, PATH};
use crate::pattern::{Pattern, Template};
use crate::route::{Source, TransactionName};
use crate::trace::sampling::SampleRate;

/// Whether outside callers decide about the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingTrace {
    /// A valid context is continued.
    Continue,
    /// Every request begins a trace.
    Restart,
}

/// Whether outside callers decide about sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingSampled {
    /// A decision that arrives is kept.
    Inherit,
    /// The decision is always ours.
    Ignore,
}

/// Which requests a rule is for: those that match every pattern it has.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Match {
    /// The method.
    pub method: Option<Pattern>,
    /// The host and port the client asked for.
    pub host: Option<Pattern>,
    /// The path without its query.
    pub path: Option<Pattern>,
    /// The name of the Envoy route.
    pub route: Option<Pattern>,
    /// The name of the Envoy cluster.
    pub cluster: Option<Pattern>,
    /// Header names, each with a pattern that one of its lines matches.
    pub headers: Vec<(String, Pattern)>,
}

/// What a rule sets.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Rule {
    /// Which requests it is for.
    pub matching: Match,
    /// The share of new traces that is sampled.
    pub traces_sample_rate: Option<SampleRate>,
    /// The transaction's name, with references to the groups of the path's pattern.
    pub transaction: Option<Template>,
    /// Whether no span is recorded.
    pub ignore: Option<bool>,
    /// Whether outside callers decide about the trace.
    pub incoming_trace: Option<IncomingTrace>,
    /// Whether outside callers decide about sampling.
    pub incoming_sampled: Option<IncomingSampled>,
    /// Whether the upstream gets the trace.
    pub propagate: Option<bool>,
    /// Whether documents tell the browser their trace.
    pub server_timing: Option<bool>,
}

/// What counts for one request, from rules only; a route's own settings are asked for later, and only where they matter.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Settings {
    /// The share of new traces that is sampled.
    pub traces_sample_rate: Option<SampleRate>,
    /// The transaction's name.
    pub transaction: Option<TransactionName>,
    /// Whether no span is recorded.
    pub ignore: Option<bool>,
    /// Whether outside callers decide about the trace.
    pub incoming_trace: Option<IncomingTrace>,
    /// Whether outside callers decide about sampling.
    pub incoming_sampled: Option<IncomingSampled>,
    /// Whether the upstream gets the trace.
    pub propagate: Option<bool>,
    /// Whether documents tell the browser their trace.
    pub server_timing: Option<bool>,
}

/// What a rule may ask about a request. An attribute is fetched once, however many rules ask for it.
struct Facts<'h, 'a> {
    headers: &'h Headers,
    attribute: &'a mut dyn FnMut(Attribute) -> Option<Vec<u8>>,
    route_name: Option<Option<Vec<u8>>>,
    cluster_name: Option<Option<Vec<u8>>>,
}

impl Facts<'_, '_> {
    fn route_name(&mut self) -> Option<&[u8]> {
        let fetch = || (self.attribute)(Attribute::RouteName);
        self.route_name.get_or_insert_with(fetch).as_deref()
    }

    fn cluster_name(&mut self) -> Option<&[u8]> {
        let fetch = || (self.attribute)(Attribute::ClusterName);
        self.cluster_name.get_or_insert_with(fetch).as_deref()
    }
}

impl Settings {
    /// What the rules say about a request.
    pub fn of(
        rules: &[Rule],
        headers: &Headers,
        attribute: &mut dyn FnMut(Attribute) -> Option<Vec<u8>>,
    ) -> Self {
        let mut settings = Self::default();
        let mut facts = Facts {
            headers,
            attribute,
            route_name: None,
            cluster_name: None,
        };
        for rule in rules {
            let Some(path_captures) = rule.matching.matches(&mut facts) else {
                continue;
            };
            let Rule {
                matching: _,
                traces_sample_rate,
                transaction,
                ignore,
                incoming_trace,
                incoming_sampled,
                propagate,
                server_timing,
            } = rule;
            settings.transaction = settings.transaction.or_else(|| {
                let name = transaction.as_ref()?.expand(path_captures.as_ref());
                // Groups may be empty.
                (!name.is_empty()).then(|| TransactionName::new(&name, Source::Custom))
            });
            settings.traces_sample_rate = settings.traces_sample_rate.or(*traces_sample_rate);
            settings.ignore = settings.ignore.or(*ignore);
            settings.incoming_trace = settings.incoming_trace.or(*incoming_trace);
            settings.incoming_sampled = settings.incoming_sampled.or(*incoming_sampled);
            settings.propagate = settings.propagate.or(*propagate);
            settings.server_timing = settings.server_timing.or(*server_timing);
        }
        settings
    }
}

impl Match {
    /// The groups of the path's pattern if everything matches; the outer `None` is no match.
    fn matches<'h>(&self, facts: &mut Facts<'h, '_>) -> Option<Option<Captures<'h>>> {
        let Self {
            method,
            host,
            path,
            route,
            cluster,
            headers: header,
        } = self;
        let headers = facts.headers;
        let agrees = |pattern: &Option<Pattern>, value: Option<&[u8]>| {
            pattern
                .as_ref()
                .is_none_or(|pattern| value.is_some_and(|value| pattern.matches(value)))
        };
        let matches = agrees(method, headers.value(METHOD))
            && agrees(host, headers.value(AUTHORITY))
            && header
                .iter()
                .all(|(name, pattern)| headers.values(name).any(|value| pattern.matches(value)))
            && (route.is_none() || agrees(route, facts.route_name()))
            && (cluster.is_none() || agrees(cluster, facts.cluster_name()));
        match path {
            _ if !matches => None,
            None => Some(None),
            Some(pattern) => pattern.captures(path_of(headers)).map(Some),
        }
    }
}

/// What an Envoy route's own metadata says: `metadata.filter_metadata.sentry`.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct RouteMetadata {
    /// The share of new traces that is sampled.
    pub traces_sample_rate: Option<SampleRate>,
    /// The transaction's name.
    pub transaction: Option<TransactionName>,
    /// Whether no span is recorded.
    pub ignore: Option<bool>,
}

impl RouteMetadata {
    /// Reads the attribute: a map in the form of header maps, whose values are a text, a double of 8 bytes or a boolean of one (seen on Envoy 1.40).
    /// What is something else is as if it were absent. A `null` among them makes Envoy refuse the whole attribute.
    pub fn read(attribute: Option<Vec<u8>>) -> Self {
        let values = attribute
            .and_then(|bytes| Headers::from_serialized(bytes).ok())
            .unwrap_or_default();
        Self {
            traces_sample_rate: values.value("traces_sample_rate").and_then(read_rate),
            transaction: values
                .value("transaction")
                .and_then(read_text)
                .map(|name| TransactionName::new(name, Source::Route)),
            ignore: values.value("ignore").and_then(read_flag),
        }
    }
}

/// A text that says something. Doubles, booleans, lists and objects have control characters in them.
fn read_text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

/// A boolean, or the text that a quoted one is.
fn read_flag(value: &[u8]) -> Option<bool> {
    match value {
        [1] | b"true" => Some(true),
        [0] | b"false" => Some(false),
        _ => None,
    }
}

/// A double, or the text that Envoy's YAML reader makes of a number with a point.
fn read_rate(value: &[u8]) -> Option<SampleRate> {
    let text = std::str::from_utf8(value).ok();
    let double = || SampleRate::new(f64::from_le_bytes(value.try_into().ok()?));
    text.and_then(|text| number(text.trim()))
        .map_or_else(double, SampleRate::new)
}

/// The path without query and fragment.
fn path_of(headers: &Headers) -> &[u8] {
    headers
        .value(PATH)
        .and_then(|path| path.split(|byte| matches!(byte, b'?' | b'#')).next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `metadata.filter_metadata.sentry` of a route comes back as from Envoy 1.40.
    #[test]
    fn the_metadata_of_a_route_is_read_as_envoy_writes_it() {
        let empty = RouteMetadata::default();
        let named = |name: &str| {
            Some(TransactionName {
                name: name.to_owned(),
                source: Source::Route,
            })
        };
        let rows: [(&str, &[u8], RouteMetadata); 5] = [
            (
                "{ignore: true, traces_sample_rate: 0.5, transaction: /x/{y}}",
                b"\x03\0\0\0\x06\0\0\0\x01\0\0\0\x12\0\0\0\x03\0\0\0\x0b\0\0\0\x06\0\0\0\
                  ignore\0\x01\0traces_sample_rate\x000.5\0transaction\0/x/{y}\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(0.5),
                    transaction: named("/x/{y}"),
                    ignore: Some(true),
                },
            ),
            (
                "{ignore: false, traces_sample_rate: 1, transaction: name}",
                b"\x03\0\0\0\x0b\0\0\0\x04\0\0\0\x12\0\0\0\x08\0\0\0\x06\0\0\0\x01\0\0\0\
                  transaction\0name\0traces_sample_rate\0\0\0\0\0\0\0\xf0?\0ignore\0\0\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(1.0),
                    transaction: named("name"),
                    ignore: Some(false),
                },
            ),
            (
                "{ignore: \"true\", transaction: 7, traces_sample_rate: \"0.25\"}",
                b"\x03\0\0\0\x06\0\0\0\x04\0\0\0\x0b\0\0\0\x08\0\0\0\x12\0\0\0\x04\0\0\0\
                  ignore\0true\0transaction\0\0\0\0\0\0\0\x1c@\0traces_sample_rate\x000.25\0",
                RouteMetadata {
                    traces_sample_rate: SampleRate::new(0.25),
                    transaction: None,
                    ignore: Some(true),
                },
            ),
            (
                "{transaction: x, o: {k: true}}",
                b"\x02\0\0\0\x01\0\0\0\x10\0\0\0\x0b\0\0\0\x01\0\0\0\
                  o\0\x01\0\0\0\x01\0\0\0\x01\0\0\0k\0\x01\0\0transaction\0x\0",
                RouteMetadata {
                    transaction: named("x"),
                    ..empty.clone()
                },
            ),
            ("{}", b"\0\0\0\0", empty.clone()),
        ];
        for (yaml, bytes, expected) in rows {
            assert_eq!(
                RouteMetadata::read(Some(bytes.to_vec())),
                expected,
                "{yaml}"
            );
        }
        assert_eq!(RouteMetadata::read(None), empty, "nothing");
    }

    #[test]
    fn what_is_none_of_the_settings_leaves_them_to_the_rules() {
        let pairs: [(&[u8], &[u8]); 3] = [
            (b"traces_sample_rate", b"often"),
            (b"transaction", b""),
            (b"ignore", b"\0\0\0\0\0\0\xf0?"),
        ];
        let bytes = crate::headers::serialize(pairs.into_iter());
        assert_eq!(RouteMetadata::read(Some(bytes)), RouteMetadata::default());
        let whole = b"\x01\0\0\0\x06\0\0\0\x01\0\0\0ignore\0\x01\0";
        assert_eq!(RouteMetadata::read(Some(whole.to_vec())).ignore, Some(true));
        let torn = whole.get(..18).unwrap_or_default().to_vec();
        assert_eq!(RouteMetadata::read(Some(torn)), RouteMetadata::default());
    }
}
