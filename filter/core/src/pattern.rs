//! Regular expressions of the operator's, on bytes: a path need not be text.
//!
//! The syntax and the automaton are the regex crate's; the search is ours. All patterns that are
//! asked about one text are one [`PatternSet`], and one pass over the text answers all of them.
//! Measured in this module, gzipped: the crate's own lazy DFA costs 27 kB more than the search
//! without it, with its literal prefilters 74 kB more; a set that is searched without a DFA takes
//! time with the number of patterns, and callers choose the text.

mod bits;
mod cache;
mod groups;
mod set;

use std::fmt;

use regex_automata::nfa::thompson::{BuildError, NFA};
use regex_automata::util::primitives::PatternID;
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};
use regex_syntax::{Error, ParserBuilder};

pub use bits::Bits;
pub use cache::MAX_TEXT;
pub use groups::Groups;
pub use set::{PatternSet, WORK};

/// How large a compiled pattern may be, in bytes. A configuration is shared by all requests of a
/// worker, and each worker has its own.
const MAX_SIZE: usize = 256 * 1024;

/// A pattern that compiles. It matches anywhere in a text unless it says `^` and `$`. Classes such
/// as `\d` and `(?i)` mean ASCII.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    hir: Hir,
    /// The names of its groups, the whole match first.
    groups: Vec<Option<String>>,
}

/// What is wrong with a pattern. The error's own text is a drawing of the pattern over several
/// lines, and to draw it would be a hundredth of the module.
fn kind(error: &Error) -> String {
    let kind: &dyn fmt::Display = match error {
        Error::Parse(error) => error.kind(),
        Error::Translate(error) => error.kind(),
        _ => &"no regular expression",
    };
    format!("error: {kind}")
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::parse(text, false)
    }

    /// Reads a pattern that matches letters in either case, as if it began with `(?i)`.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub fn ignoring_case(text: &str) -> Result<Self, String> {
        Self::parse(text, true)
    }

    fn parse(text: &str, ignores_case: bool) -> Result<Self, String> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(ignores_case)
            .build()
            .parse(text)
            .map_err(|error| kind(&error))?;
        let nfa = compile(&[&hir], MAX_SIZE).map_err(|error| match error.size_limit() {
            Some(limit) => format!("it needs more than {limit} bytes"),
            None => error.to_string(),
        })?;
        let groups = nfa.group_info().pattern_names(PatternID::ZERO);
        Ok(Self {
            text: text.to_owned(),
            groups: groups.map(|name| name.map(str::to_owned)).collect(),
            hir,
        })
    }

    /// Matches URLs that contain a text. One with a scheme in it begins where the URL does.
    pub fn in_url(text: &str) -> Self {
        let literal = Hir::literal(text.as_bytes());
        let is_absolute = text.contains("://");
        let anchored = || {
            let letters = ClassBytes::new([ClassBytesRange::new(b'a', b'z')]);
            let scheme = Hir::repetition(Repetition {
                min: 0,
                max: None,
                greedy: true,
                sub: Box::new(Hir::class(Class::Bytes(letters))),
            });
            Hir::concat(vec![Hir::look(Look::Start), scheme, literal.clone()])
        };
        Self {
            text: text.to_owned(),
            hir: if is_absolute { anchored() } else { literal },
            groups: Vec::new(),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Forgets everything but the text: the pattern is in a set.
    pub fn keep_text(&mut self) {
        self.hir = Hir::empty();
        self.groups = Vec::new();
    }

    /// The group of that number or name.
    fn group(&self, name: &str) -> Option<usize> {
        match name.parse::<usize>() {
            Ok(number) => (number < self.groups.len()).then_some(number),
            Err(_) => self
                .groups
                .iter()
                .position(|known| known.as_deref() == Some(name)),
        }
    }
}

fn compile(patterns: &[&Hir], max_size: usize) -> Result<NFA, Box<BuildError>> {
    NFA::compiler()
        .configure(NFA::config().utf8(false).nfa_size_limit(Some(max_size)))
        .build_many_from_hir(patterns)
        .map_err(Box::new)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A transaction's name with references to a pattern's groups: `$1`, `$name`, `${name}`; `$$` is a
/// dollar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// A template for the groups of a pattern, or for none.
    ///
    /// # Errors
    /// The first group that is referred to and does not exist.
    pub fn new(text: &str, pattern: Option<&Pattern>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            literal.push_str(before);
            let (name, behind) = reference(behind);
            rest = behind;
            match name {
                // A dollar that begins no reference, or `$$`.
                None => literal.push('$'),
                Some(name) => {
                    let group = pattern.and_then(|pattern| pattern.group(name));
                    let group = group.ok_or_else(|| name.to_owned())?;
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Group(group));
                }
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Self(parts))
    }

    /// Whether the name depends on a match.
    pub fn has_references(&self) -> bool {
        let Self(parts) = self;
        parts.iter().any(|part| matches!(part, Part::Group(_)))
    }

    /// The name for a match; without one the references are empty.
    pub fn expand(&self, groups: Option<&Groups<'_>>) -> String {
        let Self(parts) = self;
        let mut name = Vec::new();
        for part in parts {
            name.extend_from_slice(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Group(group) => groups.map_or(b"", |groups| groups.get(*group)),
            });
        }
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// The name that stands behind a dollar, if it is a reference, and what follows.
fn reference(behind: &str) -> (Option<&str>, &str) {
    if let Some(rest) = behind.strip_prefix('$') {
        return (None, rest);
    }
    let braced = behind
        .strip_prefix('{')
        .and_then(|name| name.split_once('}'));
    if let Some((name, rest)) = braced {
        return (Some(name), rest);
    }
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let end = behind
        .find(|character| !is_name(character))
        .unwrap_or(behind.len());
    match behind.split_at_checked(end) {
        Some((name, rest)) if !name.is_empty() => (Some(name), rest),
        _ => (None, behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_bytes_anywhere() {
        let pattern = Pattern::new(r"(?i)^/API/\d+").unwrap();
        let set = PatternSet::new([&pattern].into_iter(), 1 << 20).unwrap();
        assert!(set.matches_any(b"/api/42\xff", &mut { WORK }));
        assert!(!set.matches_any(b"/v1/api/42", &mut { WORK }));
    }

    #[test]
    fn what_does_not_compile_or_is_too_large_is_refused_on_one_line() {
        let rows = [
            ("(", "error: unclosed group"),
            ("a{1000}{1000}", "it needs more than 262144 bytes"),
            (r"\p{Greek}", "error: Unicode not allowed here"),
        ];
        for (text, expected) in rows {
            assert_eq!(Pattern::new(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_template_takes_groups_by_number_and_name() {
        let pattern = Pattern::new("^/(?<shop>[^/]+)/items/([0-9]+)").unwrap();
        let set = PatternSet::new([&pattern].into_iter(), 1 << 20).unwrap();
        let groups = set.groups(0, b"/a/items/7", &mut { WORK });
        let rows = [
            ("/${shop}/items/$2/$$", Ok("/a/items/7/$")),
            ("$shop-$1$2", Ok("a-a7")),
            ("$0$", Ok("/a/items/7$")),
            ("/$3", Err("3")),
            ("/${page}", Err("page")),
            ("/$shop_", Err("shop_")),
        ];
        for (text, expected) in rows {
            let name = Template::new(text, Some(&pattern))
                .map(|template| template.expand(groups.as_ref()));
            assert_eq!(name.as_deref().map_err(String::as_str), expected, "{text}");
        }
        assert_eq!(Template::new("/$1", None), Err("1".to_owned()));
        let plain = Template::new("/{id}$", None).unwrap();
        assert!(!plain.has_references());
        assert_eq!(plain.expand(None), "/{id}$");
    }
}
