//! What is collected of a request and its answer.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::request::{configured, header_lines};

/// A configuration, a request with its answer, and attributes of the gateway's own span.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// What the row is about.
    pub name: String,
    config: String,
    target: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    response: Vec<String>,
    attributes: BTreeMap<String, Value>,
}

impl Collected {
    /// The configuration, with the DSN that all have.
    pub fn config(&self) -> Value {
        configured(&self.name, Some(&self.config))
    }

    /// The path with its query.
    pub fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("/orders")
    }

    /// The request's header lines.
    pub fn lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.name, &self.headers)
    }

    /// The answer's header lines.
    pub fn answer_lines(&self) -> Vec<(String, Vec<u8>)> {
        header_lines(&self.name, &self.response)
    }

    /// Everything that an attribute does not say as the row has it; `found` gives the value of one
    /// that is there.
    pub fn check(&self, found: impl Fn(&str) -> Option<Value>) -> Vec<String> {
        let is_absent = |value: &Value| match value {
            Value::Array(lines) => lines.is_empty(),
            value => value == "",
        };
        let wrong = |(name, expected): (&String, &Value)| {
            let found = found(name);
            let expected = Some(expected).filter(|value| !is_absent(value));
            let complaint = || format!("{}: {name} is {found:?}, not {expected:?}", self.name);
            (found.as_ref() != expected).then(complaint)
        };
        self.attributes.iter().filter_map(wrong).collect()
    }
}
