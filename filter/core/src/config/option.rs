//! What an option is: its key, what it may be, and what it is if nobody sets it. The reader of a
//! configuration takes [`Setting`]s; the JSON schema and the table in docs/configuration.md are made
//! of [`Row`]s. Both come from one declaration in [`options`](super::options), and what the reader
//! has no use for is in the rows alone, so that it is in no module.

use serde_json::{json, Value};

/// How many headers of the operator's a POST may have.
pub(super) const MAX_POSTED_HEADERS: usize = 16;

/// One option, for its reader.
#[derive(Debug)]
pub struct Setting<K> {
    /// Its key.
    pub key: &'static str,
    /// What it may be.
    pub kind: K,
}

/// `true` or `false`; this one if it is not set.
#[derive(Debug)]
pub struct Flag(pub bool);

/// `true` or `false`, or what holds otherwise.
#[derive(Debug)]
pub struct OptionalFlag;

/// A whole number within bounds.
#[derive(Debug)]
pub struct Integer {
    /// The least that it may be.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// What it is if it is not set.
    pub default: u64,
}

/// A share, from 0 to 1.
#[derive(Debug)]
pub struct Share;

/// A number above 0.
#[derive(Debug)]
pub struct AboveZero;

/// One of a few words.
#[derive(Debug)]
pub struct Words<T: 'static> {
    /// The words.
    pub words: &'static [&'static str],
    /// What they mean, in the same order.
    pub meanings: &'static [T],
    /// Whether the first one counts if none is set.
    pub has_default: bool,
}

/// A text.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// The most bytes, without white space around it.
    pub max_bytes: Option<usize>,
    /// Whether it has to have a character.
    pub is_filled: bool,
    /// What it is if it is not set.
    pub default: Option<&'static str>,
}

/// A list.
#[derive(Debug)]
pub struct List {
    /// How many there may be.
    pub most: Option<usize>,
    /// What it is if it is not set; `None` is something that no list says.
    pub default: Option<&'static [&'static str]>,
}

/// What is collected of values that have names: `true`, `false`, or by parts of the names; whether
/// the names alone if it is not set, instead of nothing.
#[derive(Debug)]
pub struct Collected(pub bool);

/// A section with options of its own, or with keys that the operator chooses.
#[derive(Debug)]
pub struct Group;

/// What a value may be, for those who show it.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// A number above 0.
    AboveZero,
    /// One of these.
    Words(&'static [&'static str]),
    /// A text, and a pattern that says what a schema can say about it. The filter says more.
    Text(Text, Option<&'static str>),
    /// A list of that, of so many at most.
    List(&'static Self, Option<usize>),
    /// A list of two.
    Pair(&'static Self),
    /// One of these.
    OneOf(&'static [Self]),
    /// An object with these options, all of which may be left out.
    Group(&'static [Row]),
    /// An object with this one option, which may not be left out.
    Object(&'static str, &'static Self),
    /// The same, where it says something that the object is there.
    OptionalGroup(&'static [Row]),
    /// An object whose keys are the operator's.
    Map(&'static Self),
    /// The same, whose keys are names of headers, of which there may be so many.
    Headers(&'static Self, usize),
}

/// An option as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its key.
    pub key: &'static str,
    /// What it does, line by line. Its end says what counts where there is no default:
    /// `Unset: …`. A link is relative to docs/configuration.md.
    pub about: &'static [&'static str],
    /// What it may be.
    pub values: Values,
    /// What it is if it is not set, if a value says so.
    pub default: fn() -> Option<Value>,
}

impl Flag {
    pub(super) const fn values(&self) -> Values {
        Values::Flag
    }

    pub(super) fn default(&self) -> Option<Value> {
        Some(json!(self.0))
    }
}

impl OptionalFlag {
    pub(super) const fn values(&self) -> Values {
        Values::Flag
    }

    pub(super) fn default(&self) -> Option<Value> {
        None
    }
}

impl Integer {
    pub(super) const fn values(&self) -> Values {
        Values::Integer(self.least, self.most)
    }

    pub(super) fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl Share {
    /// What is said about another value.
    pub const EXPECTED: &'static str = "expected a number from 0 to 1";

    pub(super) const fn values(&self) -> Values {
        Values::Share
    }

    pub(super) fn default(&self) -> Option<Value> {
        None
    }
}

impl AboveZero {
    pub(super) const fn values(&self) -> Values {
        Values::AboveZero
    }

    pub(super) fn default(&self) -> Option<Value> {
        None
    }
}

impl<T> Words<T> {
    pub(super) const fn values(&self) -> Values {
        Values::Words(self.words)
    }

    pub(super) fn default(&self) -> Option<Value> {
        let first = self.words.first().filter(|_| self.has_default);
        first.map(|word| json!(word))
    }
}

impl Text {
    /// Any text.
    pub const ANY: Self = Self {
        max_bytes: None,
        is_filled: false,
        default: None,
    };

    pub(super) const fn values(self) -> Values {
        Values::Text(self, None)
    }

    /// What a pattern says, too.
    pub(super) const fn like(self, pattern: &'static str) -> Values {
        Values::Text(self, Some(pattern))
    }

    pub(super) fn default(&self) -> Option<Value> {
        self.default.map(|text| json!(text))
    }
}

impl List {
    /// What is in it.
    pub(super) const fn of(&self, values: &'static Values) -> Values {
        Values::List(values, self.most)
    }

    pub(super) fn default(&self) -> Option<Value> {
        self.default.map(|list| json!(list))
    }
}

impl Collected {
    /// The lists of the modes that have one.
    pub const PARTS: [Setting<List>; 2] = [Self::parts("allow"), Self::parts("deny")];
    /// The most bytes of a part of a name.
    pub const MAX_PART: usize = 64;
    /// How many of them there may be.
    const MAX_PARTS: usize = 64;

    const fn parts(key: &'static str) -> Setting<List> {
        let kind = List {
            most: Some(Self::MAX_PARTS),
            default: None,
        };
        Setting { key, kind }
    }

    pub(super) const fn values(&self) -> Values {
        const PART: Values = Text {
            max_bytes: Some(Collected::MAX_PART),
            ..Text::ANY
        }
        .like(r"^\S+$");
        const PARTS: Values = Values::List(&PART, Some(Collected::MAX_PARTS));
        Values::OneOf(&[
            Values::Flag,
            Values::Object("allow", &PARTS),
            Values::Object("deny", &PARTS),
        ])
    }

    pub(super) fn default(&self) -> Option<Value> {
        Some(match self.0 {
            true => json!({"allow": []}),
            false => json!(false),
        })
    }
}

impl Group {
    /// Its options.
    pub(super) const fn of(&self, rows: &'static [Row]) -> Values {
        Values::Group(rows)
    }

    /// Its options, where it says something that it is there.
    pub(super) const fn optional(&self, rows: &'static [Row]) -> Values {
        Values::OptionalGroup(rows)
    }

    /// Names of headers, with such values.
    pub(super) const fn headers(&self, values: &'static Values) -> Values {
        Values::Headers(values, MAX_POSTED_HEADERS)
    }

    /// Keys that the operator chooses, with such values.
    pub(super) const fn map(&self, values: &'static Values) -> Values {
        Values::Map(values)
    }

    pub(super) fn default(&self) -> Option<Value> {
        None
    }
}
