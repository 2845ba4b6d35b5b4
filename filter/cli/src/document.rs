//! YAML and JSON as a tree that knows the line of each value, so that what is wrong with a file can
//! be shown where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};

/// How many values a file may come to once its aliases are followed: some ten times the largest
/// config dump that is known, and a bound for aliases of aliases.
const MAX_NODES: usize = 4_000_000;

/// How deep values may stand in each other, as in Envoy's own reader of JSON.
const MAX_DEPTH: usize = 100;

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// Where, from 1 on; 0 if that is not known.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl ReadError {
    /// Whether it is about a key that stands twice.
    pub fn is_duplicate(&self) -> bool {
        self.message.starts_with(DUPLICATE)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.message),
            line => write!(formatter, "line {line}: {}", self.message),
        }
    }
}

impl From<ScanError> for ReadError {
    fn from(error: ScanError) -> Self {
        Self {
            line: error.marker().line(),
            message: error.info().to_owned(),
        }
    }
}

/// A value, and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line, from 1 on; 0 if it is not known.
    pub line: usize,
    data: Data,
}

#[derive(Debug, Clone, PartialEq)]
enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text {
        text: String,
        style: TextStyle,
    },
    List(Vec<Node>),
    /// Each key with its own line.
    Object(Vec<(String, usize, Node)>),
}

/// Whether lines of a text are lines of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextStyle {
    Block,
    Other,
}

/// What an absent key has.
pub static NULL: Node = Node {
    line: 0,
    data: Data::Null,
};

impl Node {
    /// Every document of a text, JSON or YAML.
    ///
    /// # Errors
    /// What is not readable in it, or a key that stands twice in one object.
    pub fn parse(text: &str) -> Result<Vec<Self>, ReadError> {
        let json = text.trim_start().starts_with(['{', '[']);
        let value = if json {
            serde_json::from_str::<Value>(text).ok()
        } else {
            None
        };
        match (Builder::new(text).documents(), value) {
            // YAML has no pairs of surrogates, which JSON has.
            (Ok(documents), Some(value))
                if documents.len() == 1 && documents[0].to_json() == value =>
            {
                Ok(documents)
            }
            (Err(error), _) if error.is_duplicate() => Err(error),
            (_, Some(value)) => Ok(vec![Self::from(value)]),
            (documents, None) => documents,
        }
    }

    /// What a key has, in either of protobuf's spellings; null if it is absent.
    pub fn get(&self, key: &str) -> &Self {
        let Data::Object(entries) = &self.data else {
            return &NULL;
        };
        let find = |key: &str| entries.iter().find(|(name, ..)| name == key);
        let entry = find(key).or_else(|| find(&camel_case(key)));
        entry.map_or(&NULL, |(.., value)| value)
    }

    /// What a key has, however its letters are written; null if it is absent.
    pub fn in_any_case(&self, key: &str) -> &Self {
        let entries = self.entries().iter();
        let mut same = entries.filter(|(name, ..)| name.eq_ignore_ascii_case(key));
        same.next().map_or(&NULL, |(.., value)| value)
    }

    /// Whether it is absent or null.
    pub fn is_null(&self) -> bool {
        self.data == Data::Null
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.data, Data::Object(_))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.data, Data::List(_))
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        self.data == Data::Bool(true)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text; an empty one if it is something else.
    pub fn str(&self) -> &str {
        self.text().unwrap_or_default()
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<u64> {
        match &self.data {
            Data::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The values of a list; none if it is something else.
    pub fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The keys and values of an object, each with the key's line; none if it is something else.
    pub fn entries(&self) -> &[(String, usize, Self)] {
        match &self.data {
            Data::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The documents that a text is, as the bootstrap in a ConfigMap, with lines of the file
    /// around.
    pub fn embedded(&self) -> Vec<Self> {
        let Data::Text { text, style } = &self.data else {
            return Vec::new();
        };
        let mut documents = Self::parse(text).unwrap_or_default();
        for document in &mut documents {
            document.move_by(self.line, *style);
        }
        documents
    }

    /// A key that stands twice in a text that is a document.
    pub fn duplicate_key(&self) -> Option<ReadError> {
        let Data::Text { text, style } = &self.data else {
            return None;
        };
        let error = Self::parse(text).err().filter(ReadError::is_duplicate)?;
        let line = moved(error.line, self.line, *style);
        Some(ReadError { line, ..error })
    }

    /// Lines of a text's own become lines of the file.
    fn move_by(&mut self, text_line: usize, style: TextStyle) {
        self.line = moved(self.line, text_line, style);
        match &mut self.data {
            Data::List(items) => {
                for item in items {
                    item.move_by(text_line, style);
                }
            }
            Data::Object(entries) => {
                for (_, line, value) in entries {
                    *line = moved(*line, text_line, style);
                    value.move_by(text_line, style);
                }
            }
            _ => {}
        }
    }

    /// The line of an option, by its path, as `rules[0].match.host`; of the deepest part that is
    /// there.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        for part in path.split(['.', '[']) {
            let index = part.strip_suffix(']').map(str::parse::<usize>);
            let found = match index {
                Some(Ok(index)) => node.items().get(index).map(|item| (item.line, item)),
                _ => {
                    let entry = node.entries().iter().find(|(key, ..)| key == part);
                    entry.map(|(_, line, value)| (*line, value))
                }
            };
            let Some(found) = found else {
                break;
            };
            (line, node) = found;
        }
        line
    }

    /// The same without lines.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text { text, .. } => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Object(_) => Value::Object(self.to_object().unwrap_or_default()),
        }
    }

    /// The same without lines, if it is an object.
    pub fn to_object(&self) -> Option<Map<String, Value>> {
        let entries = self.is_object().then(|| self.entries())?;
        let pairs = entries
            .iter()
            .map(|(key, _, value)| (key.clone(), value.to_json()));
        Some(pairs.collect())
    }
}

impl Index<&str> for Node {
    type Output = Self;

    fn index(&self, key: &str) -> &Self {
        self.get(key)
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(flag) => Data::Bool(flag),
            Value::Number(number) => Data::Number(number),
            Value::String(text) => Data::Text {
                text,
                style: TextStyle::Other,
            },
            Value::Array(items) => Data::List(items.into_iter().map(Self::from).collect()),
            Value::Object(entries) => Data::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, 0, Self::from(value)))
                    .collect(),
            ),
        };
        Self { line: 0, data }
    }
}

/// The line of the file that a text's own line is.
fn moved(line: usize, text_line: usize, style: TextStyle) -> usize {
    match (style, line) {
        (_, 0) | (TextStyle::Other, _) => text_line,
        // A block begins where its first line does, behind the mark.
        (TextStyle::Block, line) => text_line.saturating_add(line).saturating_sub(1),
    }
}

/// `typed_config` as `typedConfig`: Envoy reads both.
fn camel_case(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut is_upper = false;
    for char in key.chars() {
        match char {
            '_' => is_upper = true,
            char if is_upper => {
                camel.push(char.to_ascii_uppercase());
                is_upper = false;
            }
            char => camel.push(char),
        }
    }
    camel
}

/// How the error of a key that stands twice begins.
const DUPLICATE: &str = "the key ";

/// Makes trees of a parser's events.
struct Builder<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            events: Parser::new_from_str(text),
            anchors: BTreeMap::new(),
            nodes: 0,
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, usize), ReadError> {
        let event = self
            .events
            .next_event()
            .unwrap_or(Ok((Event::StreamEnd, saphyr_parser::Span::default())))?;
        Ok((event.0, event.1.start.line()))
    }

    fn documents(mut self) -> Result<Vec<Node>, ReadError> {
        let mut documents = Vec::new();
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(_) => {
                    let (event, line) = self.next()?;
                    documents.push(self.node(event, line, 0)?);
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), ReadError> {
        self.nodes = self.nodes.saturating_add(nodes);
        match self.nodes > MAX_NODES {
            true => Err(ReadError {
                line,
                message: "too many values, most of them by aliases".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, ReadError> {
        let before = self.nodes;
        self.count(1, line)?;
        if depth > MAX_DEPTH {
            let message = "values stand too deep in each other".to_owned();
            return Err(ReadError { line, message });
        }
        let (anchor, data) = match event {
            Event::Alias(anchor) => {
                let (node, nodes) = self.anchors.get(&anchor).cloned().ok_or(ReadError {
                    line,
                    message: "an alias of something that is not finished".to_owned(),
                })?;
                self.count(nodes, line)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref()))
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => items.push(self.node(event, line, depth + 1)?),
                    }
                }
                (anchor, Data::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Data::Object(self.entries(depth)?)),
            _ => (0, Data::Null),
        };
        let node = Node { line, data };
        if anchor > 0 {
            let nodes = self.nodes.saturating_sub(before);
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(String, usize, Node)>, ReadError> {
        let mut entries: Vec<(String, usize, Node)> = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                other => {
                    // A list or an object as a key: nothing that Envoy or Kubernetes reads.
                    self.node(other, line, depth + 1)?;
                    let message = "expected a text as the key".to_owned();
                    return Err(ReadError { line, message });
                }
            };
            if let Some(first) = lines.insert(key.clone(), line) {
                let message = format!("{DUPLICATE}{key:?} is there twice, first in line {first}: only one of them would count");
                return Err(ReadError { line, message });
            }
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line, depth + 1)?;
            entries.push((key, line, value));
        }
    }
}

/// A scalar by YAML's core schema.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Data {
    let is_text =
        tag.is_some_and(|tag| tag.suffix == "str" || (tag.handle == "!" && tag.suffix.is_empty()));
    if style == ScalarStyle::Plain && !is_text {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
            "true" | "True" | "TRUE" => return Data::Bool(true),
            "false" | "False" | "FALSE" => return Data::Bool(false),
            _ => {}
        }
        if let Some(number) = number(text) {
            return Data::Number(number);
        }
    }
    let style = match style {
        ScalarStyle::Literal => TextStyle::Block,
        _ => TextStyle::Other,
    };
    Data::Text {
        text: text.to_owned(),
        style,
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|char: char| char.is_ascii_digit() || char == '.') {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = plain.parse::<u64>() {
        return Some(Number::from(number));
    }
    if let Ok(number) = plain.parse::<i64>() {
        return Some(Number::from(number));
    }
    let is_float = plain
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    is_float
        .then(|| plain.parse::<f64>().ok())
        .flatten()
        .and_then(Number::from_f64)
}

#[cfg(test)]
mod tests;
