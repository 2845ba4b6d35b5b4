//! Reads one section of a JSON configuration key by key and remembers everything that was wrong on
//! the way.

use serde_json::{Map, Value};

use super::option::{Flag, Group, Integer, List, OptionalFlag, Setting, Share, Text, Words};
use super::{protobuf_struct, Problem};
use crate::decimal::{self, number};
use crate::sampling::SampleRate;

/// How much of a text is repeated in a message, in characters.
const SHOWN: usize = 60;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }

    fn add(&mut self, path: String, message: String) {
        self.list.push(Problem { path, message });
    }
}

/// One object of the configuration. Keys are taken out one by one; what is left at the end is
/// unknown.
pub(super) struct Section<'p> {
    prefix: String,
    values: Vec<(String, Value)>,
    /// Whether the values lost their types on the way: Envoy's YAML reader makes a text of every
    /// number with a point, so that a `Struct` written as YAML has `"0.25"` where the operator
    /// wrote 0.25.
    is_struct: bool,
    known: Vec<&'static str>,
    read: Vec<&'static str>,
    problems: &'p mut Problems,
}

/// `$schema` is for editors: the address of the JSON schema of this document.
fn is_schema((key, value): &(String, Value)) -> bool {
    key == "$schema" && (value.is_string() || value.is_null())
}

/// A configuration is read once, so that these are cold: for the compiler, a reason to make them
/// small.
impl<'p> Section<'p> {
    /// The whole configuration; `None` if it is no object.
    pub(super) fn root(
        configuration: &[u8],
        quotes_numbers: bool,
        problems: &'p mut Problems,
    ) -> Option<Self> {
        let path = || "plugin configuration".to_owned();
        if configuration.iter().all(u8::is_ascii_whitespace) {
            let message = "expected a JSON object, found nothing; {} is a filter that only forwards trace headers";
            problems.add(path(), message.to_owned());
            return None;
        }
        let found = match serde_json::from_slice(configuration) {
            Ok(Value::Object(values)) => {
                return Some(Self::whole_document(values, quotes_numbers, problems));
            }
            Ok(other) => kind(&other).to_owned(),
            Err(error) => match protobuf_struct::parse(configuration) {
                Some(values) => return Some(Self::whole_document(values, true, problems)),
                // The parser's message names a place, never the text that stands there.
                None => format!("bad JSON: {error}"),
            },
        };
        problems.add(path(), format!("expected a JSON object, found {found}"));
        None
    }

    fn whole_document(
        values: Map<String, Value>,
        is_struct: bool,
        problems: &'p mut Problems,
    ) -> Self {
        let mut root = Self::new(String::new(), values, is_struct, problems);
        root.values.retain(|entry| !is_schema(entry));
        root
    }

    fn new(
        prefix: String,
        values: Map<String, Value>,
        is_struct: bool,
        problems: &'p mut Problems,
    ) -> Self {
        Self {
            prefix,
            // A few dozen at most are looked through: a map with all that takes one out of it would
            // be a hundredth of the module.
            values: values.into_iter().collect(),
            is_struct,
            known: Vec::new(),
            read: Vec::new(),
            problems,
        }
    }

    /// A key with the names of the sections it is in.
    #[cold]
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Notes something that is wrong.
    #[cold]
    pub(super) fn problem(&mut self, path: String, message: String) {
        self.problems.add(path, message);
    }

    /// Whether the key was there, with a usable value or not.
    pub(super) fn has_read(&self, key: &str) -> bool {
        self.read.contains(&key)
    }

    /// A section inside this one; an empty one if it is absent or no object.
    #[cold]
    pub(super) fn section(&mut self, option: &Setting<Group>) -> Section<'_> {
        let key = option.key;
        let values = match self.take(key) {
            Some(Value::Object(values)) => values,
            Some(other) => {
                // A text may be a secret that belongs into the section.
                let found = match other {
                    Value::String(_) => Value::from("…"),
                    other => other,
                };
                self.wrong(self.path(key), "expected an object", &found);
                Map::new()
            }
            None => Map::new(),
        };
        let prefix = self.path(&format!("{key}."));
        Section::new(prefix, values, self.is_struct, self.problems)
    }

    /// A text of a section that is yet to be read, or its default.
    #[cold]
    pub(super) fn peek(&self, section: &Setting<Group>, option: &Setting<Text>) -> &str {
        let mut values = self.values.iter();
        let section = values.find(|(key, _)| key == section.key);
        let text = section.and_then(|(_, values)| values.get(option.key)?.as_str());
        text.or(option.kind.default).unwrap_or_default()
    }

    /// The values of a list, each with its path; none if it is absent or no list. Too many are
    /// noted.
    #[cold]
    pub(super) fn list(&mut self, option: &Setting<List>) -> Option<Vec<(String, Value)>> {
        let key = option.key;
        let values = match self.take(key)? {
            Value::Array(values) => values,
            other => {
                self.wrong(self.path(key), "expected a list", &other);
                return None;
            }
        };
        if let Some(most) = option.kind.most.filter(|most| values.len() > *most) {
            let message = format!("expected at most {most}, found {}", values.len());
            self.problem(self.path(key), message);
        }
        let path = |index| format!("{}[{index}]", self.path(key));
        let values = values.into_iter().enumerate();
        Some(values.map(|(index, value)| (path(index), value)).collect())
    }

    /// A section from a list.
    #[cold]
    pub(super) fn element(&mut self, path: &str, values: Map<String, Value>) -> Section<'_> {
        Section::new(format!("{path}."), values, self.is_struct, self.problems)
    }

    /// Every key of the section that is left, with its value: for sections whose keys are the
    /// operator's own.
    pub(super) fn take_all(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.values)
    }

    /// One of a few words.
    #[cold]
    pub(super) fn keyword<T: Copy>(&mut self, option: &Setting<Words<T>>) -> Option<T> {
        let Words {
            words,
            meanings,
            has_default,
        } = option.kind;
        let Some(value) = self.take(option.key) else {
            return meanings.first().copied().filter(|_| has_default);
        };
        let mut known = words.iter().zip(meanings);
        let found = known.find(|(word, _)| value.as_str() == Some(word));
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            let expected = format!("expected {}", words.join(" or "));
            self.wrong(self.path(option.key), &expected, &value);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A text.
    pub(super) fn text(&mut self, option: &Setting<Text>) -> Option<String> {
        self.text_of(option.key)
    }

    /// A text, under a key that is no option's.
    #[cold]
    pub(super) fn text_of(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(self.path(key), "expected a text", &other);
                None
            }
        }
    }

    /// A text that no message may repeat.
    #[cold]
    pub(super) fn secret_text(&mut self, option: &Setting<Text>) -> Option<String> {
        let key = option.key;
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                let message = format!("expected a text, found {}", kind(&other));
                self.problem(self.path(key), message);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, option: &Setting<Flag>) -> bool {
        self.bool(option.key).unwrap_or(option.kind.0)
    }

    /// The same, where something else may say it.
    pub(super) fn optional_flag(&mut self, option: &Setting<OptionalFlag>) -> Option<bool> {
        self.bool(option.key)
    }

    #[cold]
    fn bool(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(flag) => Some(flag),
            other => {
                self.wrong(self.path(key), "expected true or false", &other);
                None
            }
        }
    }

    /// A rate.
    pub(super) fn share(&mut self, option: &Setting<Share>) -> Option<SampleRate> {
        self.number(option.key, Share::EXPECTED, SampleRate::new)
    }

    /// A number that something can be made of.
    #[cold]
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        make: impl FnOnce(f64) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let made = self.as_f64(&value).and_then(make);
        if made.is_none() {
            self.wrong(self.path(key), expected, &value);
        }
        made
    }

    /// A whole number within bounds, or its default. A `Struct` configuration has no integers, so
    /// `5000.0` is one.
    #[cold]
    pub(super) fn integer(&mut self, option: &Setting<Integer>) -> u64 {
        let Integer {
            least,
            most,
            default,
        } = option.kind;
        let Some(value) = self.take(option.key) else {
            return default;
        };
        match self.whole(&value) {
            Some(whole) if (least..=most).contains(&whole) => whole,
            _ => {
                let expected = format!("expected a whole number from {least} to {most}");
                self.wrong(self.path(option.key), &expected, &value);
                default
            }
        }
    }

    /// Ends the section: every key that nobody asked for is unknown.
    #[cold]
    pub(super) fn finish(self) {
        let known = self.known.join(", ");
        for (key, _) in &self.values {
            // What is no key at all may be anything, also a DSN.
            let is_key =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            let shown = if !key.is_empty() && key.bytes().all(is_key) {
                shorten(key)
            } else {
                "(no key)".to_owned()
            };
            let path = format!("{}{shown}", self.prefix);
            self.problems
                .add(path, format!("unknown key; expected one of {known}"));
        }
    }

    /// A whole number that is not negative, also where it lost its type.
    #[cold]
    pub(super) fn whole(&self, value: &Value) -> Option<u64> {
        value.as_u64().or_else(|| {
            let number = self.as_f64(value).filter(|number| number.fract() == 0.0)?;
            // Saturates, and what saturates is out of bounds.
            (number >= 0.0).then_some(number as u64)
        })
    }

    fn as_f64(&self, value: &Value) -> Option<f64> {
        match value {
            Value::String(text) if self.is_struct => number(text),
            other => other.as_f64(),
        }
    }

    /// The value of a key, if it is there.
    #[cold]
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let mut found = self.values.extract_if(.., |(found, _)| found == key);
        let (_, value) = found.next()?;
        drop(found);
        if value.is_null() {
            return None;
        }
        self.read.push(key);
        Some(value)
    }

    /// Notes a value that is not what was expected.
    #[cold]
    pub(super) fn wrong(&mut self, path: String, expected: &str, found: &Value) {
        let found = match found {
            Value::String(text) => format!("the text {:?}", shorten(text)),
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => whole.to_string(),
                (None, Some(number)) => decimal::text(number),
                (None, None) => kind(found).to_owned(),
            },
            Value::Bool(flag) => flag.to_string(),
            other => kind(other).to_owned(),
        };
        self.problem(path, format!("{expected}, found {found}"));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
