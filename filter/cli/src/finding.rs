//! What is found wrong.

use std::sync::Arc;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The filter, or Envoy, refuses it.
    Problem,
    /// It is valid, and probably a mistake.
    Warning,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The option, if it is about one.
    pub path: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where it stands; 0 if it is not known.
    pub line: usize,
}

impl Finding {
    /// A warning.
    pub fn warning(message: impl Into<String>, line: usize) -> Self {
        Self {
            level: Level::Warning,
            path: None,
            message: message.into(),
            line,
        }
    }
}

/// ` (file:line)`, as far as it is known.
pub fn location(file: Option<&Arc<str>>, line: usize) -> String {
    match (file, line) {
        (_, 0) => String::new(),
        (Some(file), line) => format!(" ({file}:{line})"),
        (None, line) => format!(" (line {line})"),
    }
}
