//! Which rules are for a request: all patterns of all rules are asked at once.
//!
//! A request can be read in more than one way (see [`crate::reading`]), and a text may be too long
//! to be decided about, so a match can also be uncertain. What that means depends on what the rule
//! sets: see [`super::Settings`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Rule;
use crate::attribute::Attribute;
use crate::headers::{Headers, METHOD};
use crate::pattern::{Bits, Groups, Pattern, PatternSet, WORK};
use crate::reading::{self, RequestPath};

/// How many bytes the states of all sets of patterns may take together, roughly, per worker.
const MAX_STATES: usize = 4 * 1024 * 1024;
/// What the states of one set may take in any case, in bytes.
const MIN_STATES: usize = 64 * 1024;

/// What is known about whether a request matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It does, in whichever way it is read.
    pub(super) is_certain: bool,
    /// It does as Envoy's normalization has it.
    pub(super) is_usual: bool,
    /// It does in some way of reading it, or it might for all that is known.
    pub(super) is_possible: bool,
}

/// The verdicts about all patterns of a set.
#[derive(Debug, Default)]
struct Verdicts {
    certain: Bits,
    usual: Bits,
    possible: Bits,
}

/// The rules, with their patterns in sets.
#[derive(Debug, Default, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    conditions: Vec<Conditions>,
    method: Option<Field>,
    host: Option<Field>,
    path: Option<Field>,
    route: Option<Field>,
    cluster: Option<Field>,
    /// The headers that rules ask for, by their names in lower case.
    headers: Vec<(String, Field)>,
    /// The rules that ask for none.
    without_headers: Bits,
    all: Bits,
}

/// All patterns for one text.
#[derive(Debug, Clone)]
struct Field {
    set: PatternSet,
    /// The rules that have each of the patterns.
    rules: Vec<Vec<usize>>,
    /// The rules that have none.
    others: Bits,
}

/// What a rule asks: the places of its patterns in their fields.
#[derive(Debug, Default, Clone)]
struct Conditions {
    method: Option<usize>,
    host: Option<usize>,
    path: Option<usize>,
    route: Option<usize>,
    cluster: Option<usize>,
    /// The place of the header, and that of the pattern.
    headers: Vec<(usize, usize)>,
}

/// Patterns that become a field, each text once.
#[derive(Default)]
struct Collected<'r> {
    patterns: Vec<&'r Pattern>,
    places: BTreeMap<&'r str, usize>,
    rules: Vec<Vec<usize>>,
}

impl<'r> Collected<'r> {
    fn add(&mut self, rule: usize, pattern: &'r Pattern) -> usize {
        let next = self.patterns.len();
        let place = *self.places.entry(pattern.as_str()).or_insert(next);
        if place == next {
            self.patterns.push(pattern);
            self.rules.push(Vec::new());
        }
        if let Some(rules) = self.rules.get_mut(place) {
            rules.push(rule);
        }
        place
    }

    fn place(&mut self, rule: usize, pattern: Option<&'r Pattern>) -> Option<usize> {
        pattern.map(|pattern| self.add(rule, pattern))
    }

    fn field(self, rules: usize, max_states: usize) -> Result<Option<Field>, String> {
        if self.patterns.is_empty() {
            return Ok(None);
        }
        let mut others = Bits::all(rules);
        for rule in self.rules.iter().flatten() {
            others.remove(*rule);
        }
        Ok(Some(Field {
            set: PatternSet::new(self.patterns.into_iter(), max_states)?,
            rules: self.rules,
            others,
        }))
    }
}

impl Field {
    /// Adds the rules whose pattern may match.
    fn add_possible(&self, verdicts: &Verdicts, rules: &mut Bits) {
        for pattern in verdicts.possible.iter() {
            for rule in self.rules.get(pattern).into_iter().flatten() {
                rules.add(*rule);
            }
        }
    }
}

/// What is known about a request so far.
struct Narrowed {
    work: u32,
    /// The rules that may match.
    candidates: Bits,
}

impl Narrowed {
    /// Asks the patterns for a text, by its readings, the usual one first. A text that is not there
    /// matches nothing.
    fn ask<T: AsRef<[u8]>>(&mut self, field: Option<&Field>, readings: &[T]) -> Verdicts {
        let Some(field) = field else {
            return Verdicts::default();
        };
        let verdicts = Verdicts::of_readings(&field.set, readings, &mut self.work);
        let mut rules = field.others.clone();
        field.add_possible(&verdicts, &mut rules);
        self.candidates.intersect(&rules);
        verdicts
    }
}

/// The verdicts about those headers that are there.
#[derive(Default)]
struct ByHeader {
    verdicts: Vec<Verdicts>,
    /// Which of them is about each of the headers that rules ask for, counted from 1; 0 is none.
    numbers: Vec<usize>,
}

impl ByHeader {
    fn get(&self, header: usize) -> Option<&Verdicts> {
        self.verdicts.get(self.numbers.get(header)?.checked_sub(1)?)
    }

    /// Adds those about a line; one of a header's lines has to match.
    fn add(&mut self, header: usize, line: Verdicts) {
        let Some(number) = self.numbers.get_mut(header) else {
            return;
        };
        let known = number
            .checked_sub(1)
            .and_then(|it| self.verdicts.get_mut(it));
        match known {
            Some(known) => known.unite(&line),
            None => {
                self.verdicts.push(line);
                *number = self.verdicts.len();
            }
        }
    }
}

impl RuleSet {
    /// Puts the patterns of the rules together.
    ///
    /// # Errors
    /// That they are too large together, on one line.
    pub fn new(mut rules: Vec<Rule>) -> Result<Self, String> {
        let [mut method, mut host, mut path, mut route, mut cluster] =
            std::array::from_fn(|_| Collected::default());
        let mut headers: BTreeMap<&str, Collected<'_>> = BTreeMap::new();
        for (name, _) in rules.iter().flat_map(|rule| &rule.matching.headers) {
            headers.entry(name).or_default();
        }
        let names: Vec<String> = headers.keys().map(|name| (*name).to_owned()).collect();
        let mut conditions = Vec::with_capacity(rules.len());
        let mut without_headers = Bits::new(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let matching = &rule.matching;
            let mut asked = Vec::new();
            for (name, pattern) in &matching.headers {
                let collected = headers.get_mut(name.as_str());
                if let (Ok(place), Some(collected)) = (names.binary_search(name), collected) {
                    asked.push((place, collected.add(index, pattern)));
                }
            }
            if asked.is_empty() {
                without_headers.add(index);
            }
            conditions.push(Conditions {
                method: method.place(index, matching.method.as_ref()),
                host: host.place(index, matching.host.as_ref()),
                path: path.place(index, matching.path.as_ref()),
                route: route.place(index, matching.route.as_ref()),
                cluster: cluster.place(index, matching.cluster.as_ref()),
                headers: asked,
            });
        }
        let parts = names.len().saturating_add(5);
        let max_states = MAX_STATES.checked_div(parts).unwrap_or_default();
        let max_states = max_states.max(MIN_STATES);
        let count = rules.len();
        let field = |collected: Collected<'_>| collected.field(count, max_states);
        let mut header_fields = Vec::new();
        for (name, (_, collected)) in names.into_iter().zip(headers) {
            header_fields.extend(field(collected)?.map(|field| (name, field)));
        }
        let (method, host, path) = (field(method)?, field(host)?, field(path)?);
        let (route, cluster) = (field(route)?, field(cluster)?);
        for rule in &mut rules {
            rule.matching.compiled();
        }
        Ok(Self {
            all: Bits::all(rules.len()),
            rules,
            conditions,
            method,
            host,
            path,
            route,
            cluster,
            headers: header_fields,
            without_headers,
        })
    }

    /// The rules, the first first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Calls back for each rule that a request matches or may match, in their order, with what is
    /// known about that and with what finds the groups of its path.
    pub(super) fn each_match(
        &self,
        headers: &Headers,
        attribute: &mut dyn FnMut(Attribute) -> Option<Vec<u8>>,
        matched: &mut dyn FnMut(&Rule, Verdict, FindGroups<'_>),
    ) {
        if self.rules.is_empty() {
            return;
        }
        let mut narrowed = Narrowed {
            work: WORK,
            candidates: self.all.clone(),
        };
        let by_method = narrowed.ask(self.method.as_ref(), headers.value(METHOD).as_slice());
        let hosts = self.host.as_ref().map(|_| reading::host_readings(headers));
        let by_host = narrowed.ask(self.host.as_ref(), &hosts.unwrap_or_default());
        let paths = self
            .path
            .as_ref()
            .map(|_| RequestPath::new(headers).readings());
        let paths = paths.unwrap_or_default();
        let by_path = narrowed.ask(self.path.as_ref(), &paths);
        let by_header = self.ask_headers(headers, &mut narrowed);
        let Narrowed {
            mut work,
            candidates,
        } = narrowed;
        // Attributes cost a call of the host, and are asked for where they decide.
        let mut ask = |field: &Option<Field>, name| {
            let (field, text) = (field.as_ref(), attribute(name));
            let verdicts =
                field.map(|field| Verdicts::of_readings(&field.set, text.as_slice(), &mut work));
            verdicts.unwrap_or_default()
        };
        let (mut by_route, mut by_cluster) = (None, None);
        let mut all = Vec::new();
        for index in candidates.iter() {
            let Some(conditions) = self.conditions.get(index) else {
                continue;
            };
            let mut verdict = Verdict::CERTAIN;
            verdict.join(&by_method, conditions.method);
            verdict.join(&by_host, conditions.host);
            verdict.join(&by_path, conditions.path);
            let none = Verdicts::default();
            for (header, pattern) in &conditions.headers {
                verdict.join(by_header.get(*header).unwrap_or(&none), Some(*pattern));
            }
            if verdict.is_possible && conditions.route.is_some() {
                let known = by_route.get_or_insert_with(|| ask(&self.route, Attribute::RouteName));
                verdict.join(known, conditions.route);
            }
            if verdict.is_possible && conditions.cluster.is_some() {
                let known =
                    by_cluster.get_or_insert_with(|| ask(&self.cluster, Attribute::ClusterName));
                verdict.join(known, conditions.cluster);
            }
            if verdict.is_possible {
                all.push((index, verdict, conditions.path));
            }
        }
        for (index, verdict, pattern) in all {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            let mut find_groups = |to: GroupsTo<'_>| {
                let field = self.path.as_ref();
                let groups = field.zip(pattern).zip(paths.first());
                to(groups.and_then(|((field, pattern), path)| {
                    field.set.groups(pattern, path, &mut work)
                }));
            };
            matched(rule, verdict, &mut find_groups);
        }
    }

    fn ask_headers(&self, headers: &Headers, narrowed: &mut Narrowed) -> ByHeader {
        let mut all = ByHeader::default();
        if self.headers.is_empty() {
            return all;
        }
        all.numbers = vec![0; self.headers.len()];
        let mut rules = self.without_headers.clone();
        for (name, value) in headers.iter() {
            // Envoy's names are in lower case.
            let name = match name.iter().any(u8::is_ascii_uppercase) {
                true => Cow::Owned(name.to_ascii_lowercase()),
                false => Cow::Borrowed(name),
            };
            let known = |(known, _): &(String, Field)| known.as_bytes().cmp(&name);
            let Ok(place) = self.headers.binary_search_by(known) else {
                continue;
            };
            let Some((_, field)) = self.headers.get(place) else {
                continue;
            };
            let line = Verdicts::of_line(&field.set, value, &mut narrowed.work);
            field.add_possible(&line, &mut rules);
            all.add(place, line);
        }
        narrowed.candidates.intersect(&rules);
        all
    }
}

/// Finds the groups of a rule's path.
pub(super) type FindGroups<'f> = &'f mut dyn FnMut(GroupsTo<'_>);
/// Takes the groups of a path, if they were found.
pub(super) type GroupsTo<'f> = &'f mut dyn FnMut(Option<Groups<'_>>);

impl Verdict {
    const CERTAIN: Self = Self {
        is_certain: true,
        is_usual: true,
        is_possible: true,
    };

    /// A pattern has to match as well, if there is one.
    fn join(&mut self, verdicts: &Verdicts, pattern: Option<usize>) {
        if let Some(pattern) = pattern {
            self.is_certain &= verdicts.certain.has(pattern);
            self.is_usual &= verdicts.usual.has(pattern);
            self.is_possible &= verdicts.possible.has(pattern);
        }
    }
}

impl Verdicts {
    fn of_readings<T: AsRef<[u8]>>(set: &PatternSet, readings: &[T], work: &mut u32) -> Self {
        let Some((usual, others)) = readings.split_first() else {
            return Self::default();
        };
        let mut verdicts = Self::of_line(set, usual.as_ref(), work);
        for other in others {
            let found = set.search(other.as_ref(), work);
            verdicts.certain.intersect(&found.matched);
            verdicts.possible.unite(&found.matched);
            verdicts.possible.unite(&found.undecided);
        }
        verdicts
    }

    fn of_line(set: &PatternSet, text: &[u8], work: &mut u32) -> Self {
        let found = set.search(text, work);
        let mut possible = found.undecided;
        possible.unite(&found.matched);
        Self {
            certain: found.matched.clone(),
            usual: found.matched,
            possible,
        }
    }

    fn unite(&mut self, other: &Self) {
        self.certain.unite(&other.certain);
        self.usual.unite(&other.usual);
        self.possible.unite(&other.possible);
    }
}

/// The sets follow from the rules.
impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}
