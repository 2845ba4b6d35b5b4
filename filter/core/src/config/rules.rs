//! The keys that hold patterns: propagation targets and rules.

use serde_json::Value;

use super::option::{AboveZero, Group, List, Setting, Text};
use super::options::{matching, rule, rule_incoming};
use super::reader::Section;
use crate::pattern::{Pattern, Template};
use crate::project::Projects;
use crate::route::{Target, Targets};
use crate::route_metadata::RouteMetadata;
use crate::rules::{Match, Rule, RuleSet};

impl Section<'_> {
    /// A number of traces a second: above 0.
    pub(super) fn traces_per_second(&mut self, option: &Setting<AboveZero>) -> Option<f64> {
        let is_some = |number: f64| number > 0.0 && number.is_finite();
        self.number(option.key, "expected a number above 0", |number| {
            is_some(number).then_some(number)
        })
    }

    /// Texts that a URL contains, and patterns that it matches.
    pub(super) fn targets(&mut self, option: &Setting<List>) -> Option<Targets> {
        let list = self.list(option)?.into_iter();
        let list = list.filter_map(|(path, value)| self.target(path, value));
        let targets = Targets::new(list.collect());
        targets
            .map_err(|error| self.too_large(option.key, &error))
            .ok()
    }

    fn too_large(&mut self, key: &'static str, error: &str) {
        self.problem(self.path(key), format!("expected less: {error}"));
    }

    fn target(&mut self, path: String, value: Value) -> Option<Target> {
        match value {
            Value::String(text) => Some(Target::Text(text)),
            Value::Object(values) => {
                let mut section = self.element(&path, values);
                let text = section.text_of("regex");
                let pattern = text.and_then(|text| section.compile(section.path("regex"), &text));
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
    pub(super) fn rules(&mut self, option: &Setting<List>, projects: &Projects) -> RuleSet {
        let list = self.list(option).unwrap_or_default().into_iter();
        let list = list.filter_map(|(path, value)| self.rule(path, value, projects));
        let rules = RuleSet::new(list.collect());
        rules
            .map_err(|error| self.too_large(option.key, &error))
            .unwrap_or_default()
    }

    fn rule(&mut self, path: String, value: Value, projects: &Projects) -> Option<Rule> {
        let Value::Object(values) = value else {
            self.wrong(path, "expected an object", &value);
            return None;
        };
        let mut section = self.element(&path, values);
        let matching = section.matching(&rule::MATCH);
        let traces_sample_rate = section.share(&rule::TRACES_SAMPLE_RATE);
        let transaction = section.template(&rule::TRANSACTION, matching.path.as_ref());
        let ignore = section.optional_flag(&rule::IGNORE);
        let mut incoming = section.section(&rule::INCOMING);
        let incoming_trace = incoming.keyword(&rule_incoming::TRACE);
        let incoming_sampled = incoming.keyword(&rule_incoming::SAMPLED);
        incoming.finish();
        let propagate = section.optional_flag(&rule::PROPAGATE);
        let server_timing = section.optional_flag(&rule::SERVER_TIMING);
        let project = section.project(projects);
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
            project,
        })
    }

    /// What a route sets for this filter: the keys of [`RouteMetadata`].
    pub(super) fn route(mut self) -> RouteMetadata {
        let traces_sample_rate = self.share(&rule::TRACES_SAMPLE_RATE);
        let transaction = self.text(&rule::TRANSACTION).and_then(|name| {
            let found = RouteMetadata::transaction(&name);
            if found.is_none() {
                let path = self.path(rule::TRANSACTION.key);
                let message = format!("expected a name without control characters, found {name:?}");
                self.problem(path, message);
            }
            found
        });
        let ignore = self.optional_flag(&rule::IGNORE);
        let project = self.route_project();
        self.finish();
        RouteMetadata {
            traces_sample_rate,
            transaction,
            ignore,
            project,
        }
    }

    fn matching(&mut self, option: &Setting<Group>) -> Match {
        let mut section = self.section(option);
        let matching = Match {
            method: section.pattern(&matching::METHOD),
            host: section.host_pattern(&matching::HOST),
            path: section.pattern(&matching::PATH),
            route: section.pattern(&matching::ROUTE),
            cluster: section.pattern(&matching::CLUSTER),
            headers: section.header_patterns(&matching::HEADER),
        };
        section.finish();
        matching
    }

    fn header_patterns(&mut self, option: &Setting<Group>) -> Vec<(String, Pattern)> {
        let mut section = self.section(option);
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

    fn pattern(&mut self, option: &Setting<Text>) -> Option<Pattern> {
        let text = self.text(option)?;
        self.compile(self.path(option.key), &text)
    }

    fn host_pattern(&mut self, option: &Setting<Text>) -> Option<Pattern> {
        let text = self.text(option)?;
        let pattern = Pattern::ignoring_case(&text);
        self.checked(self.path(option.key), &text, pattern)
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

    fn template(&mut self, option: &Setting<Text>, pattern: Option<&Pattern>) -> Option<Template> {
        let key = option.key;
        let text = self.text(option)?;
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
