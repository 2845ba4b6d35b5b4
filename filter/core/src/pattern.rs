//! Regular expressions of the operator's, on bytes: a path need not be text.

use std::fmt;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes. A configuration is shared by all requests of a worker, and each worker has its own.
const MAX_SIZE: usize = 256 * 1024;

/// A pattern that was compiled. It matches anywhere in a text unless it says `^` and `$`. Classes such as `\d` and `(?i)` mean ASCII.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub fn new(text: &str) -> Result<Self, String> {
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_SIZE)
            .dfa_size_limit(MAX_SIZE)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes"),
                error => error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            })
    }

    /// Whether it matches anywhere in a text.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// The groups of its first match.
    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        self.0.captures(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// A transaction's name with references to a pattern's groups: `$1`, `$name`, `${name}`; `$$` is a dollar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// A template for the groups of a pattern, or for none.
    ///
    /// # Errors
    /// The first group that is referred to and does not exist.
    pub fn new(text: String, pattern: Option<&Pattern>) -> Result<Self, String> {
        let exists = |name: &str| {
            let Some(Pattern(regex)) = pattern else {
                return false;
            };
            match name.parse::<usize>() {
                Ok(number) => number < regex.captures_len(),
                Err(_) => regex.capture_names().flatten().any(|known| known == name),
            }
        };
        let unknown = references(&text)
            .find(|name| !exists(name))
            .map(str::to_owned);
        unknown.map_or(Ok(Self(text)), Err)
    }

    /// The name for a match; without one the references are empty.
    pub fn expand(&self, captures: Option<&Captures<'_>>) -> String {
        let Self(text) = self;
        let Some(captures) = captures else {
            return text.replace("$$", "$");
        };
        let mut name = Vec::new();
        captures.expand(text.as_bytes(), &mut name);
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// The names that a template refers to, as the regex crate reads them.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || loop {
        let (_, behind) = rest.split_once('$')?;
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
            continue;
        }
        if let Some((name, behind)) = behind
            .strip_prefix('{')
            .and_then(|name| name.split_once('}'))
        {
            rest = behind;
            return Some(name);
        }
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let name = behind
            .split(|character| !is_name(character))
            .next()
            .unwrap_or_default();
        rest = behind.strip_prefix(name).unwrap_or_default();
        if !name.is_empty() {
            return Some(name);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_bytes_anywhere() {
        let pattern = Pattern::new(r"(?i)^/API/\d+").unwrap();
        assert!(pattern.matches(b"/api/42\xff"));
        assert!(!pattern.matches(b"/v1/api/42"));
    }

    #[test]
    fn what_does_not_compile_or_is_too_large_is_refused_on_one_line() {
        assert_eq!(Pattern::new("(").unwrap_err(), "error: unclosed group");
        assert_eq!(
            Pattern::new("a{1000}{1000}").unwrap_err(),
            "it needs more than 262144 bytes"
        );
        assert_eq!(
            Pattern::new(r"\p{Greek}").unwrap_err(),
            "error: Unicode not allowed here"
        );
    }

    #[test]
    fn a_template_takes_groups_by_number_and_name() {
        let pattern = Pattern::new("^/(?<shop>[^/]+)/items/([0-9]+)").unwrap();
        let template = Template::new("/${shop}/items/$2/$$".to_owned(), Some(&pattern)).unwrap();
        assert_eq!(
            template.expand(pattern.captures(b"/a/items/7").as_ref()),
            "/a/items/7/$"
        );
        assert_eq!(
            Template::new("/$3".to_owned(), Some(&pattern)),
            Err("3".to_owned())
        );
        assert_eq!(
            Template::new("/${page}".to_owned(), Some(&pattern)),
            Err("page".to_owned())
        );
        assert_eq!(Template::new("/$1".to_owned(), None), Err("1".to_owned()));
        assert_eq!(
            Template::new("/{id}$".to_owned(), None)
                .unwrap()
                .expand(None),
            "/{id}$"
        );
    }
}
