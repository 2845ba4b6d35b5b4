//! What differs from request to request: rules by pattern, and the settings of an Envoy route.
//!
//! ```json
//! {"match": {"path": "^/shops/([^/]+)/", "method": "^GET$", "header": {"x-team": "web"}},
//!  "transaction": "/shops/$1", "traces_sample_rate": 0.5}
//! ```
//! For each field the first rule counts that matches and sets it. The settings of a route come
//! before all rules.

mod matching;

use crate::data::DataOptions;
use crate::headers::Headers;
use crate::host::HostCalls;
use crate::pattern::{Pattern, Template};
use crate::project::ProjectId;
use crate::route::{Source, TransactionName};
use crate::sampling::SampleRate;

pub use matching::RuleSet;

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
    /// The host the client asked for, in lower case, without its port.
    pub host: Option<Pattern>,
    /// The path without its query, as Envoy's normalization has it.
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
    /// The project that spans go to; none with an empty DSN.
    pub project: Option<Option<ProjectId>>,
}

impl Match {
    /// Its patterns are in the sets, and here only their texts are asked for any more.
    fn compiled(&mut self) {
        let Self {
            method,
            host,
            path,
            route,
            cluster,
            headers,
        } = self;
        let texts = [method, host, path, route, cluster];
        let texts = texts.into_iter().flatten();
        let headers = headers.iter_mut().map(|(_, pattern)| pattern);
        texts.chain(headers).for_each(Pattern::keep_text);
    }
}

/// What counts for one request, from rules only; a route's own settings are asked for later, and
/// only where they matter.
///
/// Rules can be a trust boundary, so callers must not get past one by the way in which they spell a
/// path, or by a text that is too long to be decided about. Where it is uncertain whether a request
/// matches, a rule that trusts callers less (`incoming` with `restart` or `ignore`, `propagate:
/// false`) counts, and one that trusts them more does not. All other settings go by the path as
/// Envoy's normalization has it.
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
    /// The project that spans go to; none with an empty DSN.
    pub project: Option<Option<ProjectId>>,
    /// The projects that it could be for all that is known, if that is more than one: as above, and
    /// `None` where no rule names one.
    pub possible_projects: Vec<Option<Option<ProjectId>>>,
}

impl Settings {
    /// What the rules say about a request.
    pub fn new(rules: &RuleSet, headers: &Headers, calls: &mut HostCalls<'_>) -> Self {
        let mut settings = Self::default();
        // Whether a rule matches for certain that names a project.
        let mut is_certain = false;
        rules.each_match(
            headers,
            &mut |attribute| calls.text(attribute),
            &mut |rule, verdict, find_groups| {
                let Rule {
                    matching: _,
                    traces_sample_rate,
                    transaction,
                    ignore,
                    incoming_trace,
                    incoming_sampled,
                    propagate,
                    server_timing,
                    project,
                } = rule;
                let trusts_less = |is_less: bool| match is_less {
                    true => verdict.is_possible,
                    false => verdict.is_certain,
                };
                let trace = incoming_trace.filter(|it| trusts_less(*it == IncomingTrace::Restart));
                let sampled =
                    incoming_sampled.filter(|it| trusts_less(*it == IncomingSampled::Ignore));
                let propagate = propagate.filter(|it| trusts_less(!*it));
                settings.incoming_trace = settings.incoming_trace.or(trace);
                settings.incoming_sampled = settings.incoming_sampled.or(sampled);
                settings.propagate = settings.propagate.or(propagate);
                if project.is_some() && !is_certain && verdict.is_possible {
                    is_certain = verdict.is_certain;
                    settings.add_possible(*project);
                }
                if !verdict.is_usual {
                    return;
                }
                if let (None, Some(template)) = (&settings.transaction, transaction) {
                    settings.transaction = name(template, find_groups);
                }
                settings.traces_sample_rate = settings.traces_sample_rate.or(*traces_sample_rate);
                settings.ignore = settings.ignore.or(*ignore);
                settings.server_timing = settings.server_timing.or(*server_timing);
                settings.project = settings.project.or(*project);
            },
        );
        if !is_certain && !settings.possible_projects.is_empty() {
            settings.add_possible(None);
        }
        settings
    }

    fn add_possible(&mut self, project: Option<Option<ProjectId>>) {
        if !self.possible_projects.contains(&project) {
            self.possible_projects.push(project);
        }
    }
}

/// The name that a template gives, unless nothing is in the groups, or they cost too much.
fn name(template: &Template, find_groups: matching::FindGroups<'_>) -> Option<TransactionName> {
    let mut name = None;
    match template.has_references() {
        true => {
            // What groups take of a path may have parameters, which are in no name.
            find_groups(&mut |groups| {
                let expanded = groups.map(|groups| template.expand(Some(&groups)));
                name = expanded.map(|name| DataOptions::default().path(&name));
            })
        }
        false => name = Some(template.expand(None)),
    }
    let name = name.filter(|name| !name.is_empty())?;
    Some(TransactionName::new(&name, Source::Custom))
}

#[cfg(test)]
mod tests;
