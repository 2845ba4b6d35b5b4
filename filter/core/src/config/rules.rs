//! The keys that hold patterns: propagation targets and rules.

use serde_json::Value;

use super::reader::Section;
use crate::pattern::{Pattern, Template};
use crate::route::{Target, Targets};
use crate::route_metadata::RouteMetadata;
use crate::rules::{IncomingSampled, IncomingTrace, Match, Rule, RuleSet};
use crate::sampling::SampleRate;

impl Section<'_> {
    /// The `incoming` section, at the top and in a rule.
    pub(super) fn incoming(
        &mut self,
        key: &'static str,
    ) -> (Option<IncomingTrace>, Option<IncomingSampled>) {
        let mut section = self.section(key);
        let trace = section.keyword(
            "trace",
            [
                ("continue", IncomingTrace::Continue),
                ("restart", IncomingTrace::Restart),
            ],
        );
        let sampled = section.keyword(
            "sampled",
            [
                ("inherit", IncomingSampled::Inherit),
                ("ignore", IncomingSampled::Ignore),
            ],
        );
        section.finish();
        (trace, sampled)
    }

    /// A number of traces a second: above 0.
    pub(super) fn traces_per_second(&mut self, key: &'static str) -> Option<f64> {
        let is_some = |number: f64| number > 0.0 && number.is_finite();
        self.number(key, "expected a number above 0", |number| {
            is_some(number).then_some(number)
        })
    }

    /// Texts that a URL contains, and patterns that it matches.
    pub(super) fn targets(&mut self, key: &'static str) -> Option<Targets> {
        let list = self.list(key)?.into_iter();
        let list = list.filter_map(|(path, value)| self.target(path, value));
        let targets = Targets::new(list.collect());
        targets.map_err(|error| self.too_large(key, &error)).ok()
    }

    fn too_large(&mut self, key: &'static str, error: &str) {
        self.problem(self.path(key), format!("expected less: {error}"));
    }

    fn target(&mut self, path: String, value: Value) -> Option<Target> {
        match value {
            Value::String(text) => Some(Target::Text(text)),
            Value::Object(values) => {
                let mut section = self.element(&path, values);
                let pattern = section.pattern("regex");
                if pattern.is_none() && !section.has_read("regex") {
                    section.problem(
                        format!("{path}.regex"),
                        "expected a regular expression, found nothing".to_owned(),
                    );
                }
                section.finish();
                pattern.map(Target::Pattern)
            }
            other => {
                self.wrong(path, "expected a text or {\"regex\": …}", &other);
                None
            }
        }
    }

    /// The rules.
    pub(super) fn rules(&mut self, key: &'static str) -> RuleSet {
        let list = self.list(key).unwrap_or_default().into_iter();
        let list = list.filter_map(|(path, value)| self.rule(path, value));
        let rules = RuleSet::new(list.collect());
        rules
            .map_err(|error| self.too_large(key, &error))
            .unwrap_or_default()
    }

    fn rule(&mut self, path: String, value: Value) -> Option<Rule> {
        let Value::Object(values) = value else {
            self.wrong(path, "expected an object", &value);
            return None;
        };
        let mut section = self.element(&path, values);
        let matching = section.matching("match");
        let traces_sample_rate = section.number(
            "traces_sample_rate",
            "expected a number from 0 to 1",
            SampleRate::new,
        );
        let transaction = section.template("transaction", matching.path.as_ref());
        let ignore = section.flag("ignore");
        let (incoming_trace, incoming_sampled) = section.incoming("incoming");
        let propagate = section.flag("propagate");
        let server_timing = section.flag("server_timing");
        section.finish();
        Some(Rule {
            matching,
            traces_sample_rate,
            transaction,
            ignore,
            incoming_trace,
            incoming_sampled,
            propagate,
            server_timing,
        })
    }

    /// What a route sets for this filter: the keys of [`RouteMetadata`].
    pub(super) fn route(mut self) -> RouteMetadata {
        let traces_sample_rate = self.number(
            "traces_sample_rate",
            "expected a number from 0 to 1",
            SampleRate::new,
        );
        let transaction = self.text("transaction").and_then(|name| {
            let found = RouteMetadata::transaction(&name);
            if found.is_none() {
                let path = self.path("transaction");
                let message = format!("expected a name without control characters, found {name:?}");
                self.problem(path, message);
            }
            found
        });
        let ignore = self.flag("ignore");
        self.finish();
        RouteMetadata {
            traces_sample_rate,
            transaction,
            ignore,
        }
    }

    fn matching(&mut self, key: &'static str) -> Match {
        let mut section = self.section(key);
        let matching = Match {
            method: section.pattern("method"),
            host: section.host_pattern("host"),
            path: section.pattern("path"),
            route: section.pattern("route"),
            cluster: section.pattern("cluster"),
            headers: section.header_patterns("header"),
        };
        section.finish();
        matching
    }

    fn header_patterns(&mut self, key: &'static str) -> Vec<(String, Pattern)> {
        let mut section = self.section(key);
        let all = section.take_all();
        all.into_iter()
            .filter_map(|(name, value)| {
                let path = section.path(&name);
                match value {
                    Value::String(text) => {
                        Some((name.to_ascii_lowercase(), section.compile(path, &text)?))
                    }
                    other => {
                        section.wrong(path, "expected a regular expression", &other);
                        None
                    }
                }
            })
            .collect()
    }

    fn pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let text = self.text(key)?;
        self.compile(self.path(key), &text)
    }

    fn host_pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let text = self.text(key)?;
        self.checked(self.path(key), &text, Pattern::ignoring_case(&text))
    }

    fn compile(&mut self, path: String, text: &str) -> Option<Pattern> {
        self.checked(path, text, Pattern::new(text))
    }

    fn checked(
        &mut self,
        path: String,
        text: &str,
        pattern: Result<Pattern, String>,
    ) -> Option<Pattern> {
        pattern
            .map_err(|error| {
                self.problem(
                    path,
                    format!("expected a regular expression, found {text:?}: {error}"),
                )
            })
            .ok()
    }

    fn template(&mut self, key: &'static str, pattern: Option<&Pattern>) -> Option<Template> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.problem(
                self.path(key),
                "expected a name, found an empty text".to_owned(),
            );
            return None;
        }
        Template::new(&text, pattern)
            .map_err(|unknown| {
                let message = format!("expected references to groups of match.path, found ${unknown}, which it does not have");
                self.problem(self.path(key), message);
            })
            .ok()
    }
}
