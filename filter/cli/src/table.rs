//! The configuration as a table in Markdown, for docs/configuration.md: the options in their order.

use sentry_filter_core::config::option::{self, Values};
use sentry_filter_core::config::options;

use crate::schema;

/// What a description ends with, where an option has no default: what counts instead.
const UNSET: &str = " Unset: ";

/// One option.
#[derive(Debug)]
pub struct Row {
    /// Its path, as `transport.format`.
    pub key: String,
    /// What it may be.
    pub values: String,
    /// What it is if it is not set.
    pub default: String,
    /// What it means.
    pub meaning: String,
}

/// Every option, in order.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    visit(options::ALL, "", &mut rows);
    rows
}

/// The table, with a line's end at its end.
pub fn table() -> String {
    let rows = rows().into_iter().map(|row| {
        let Row {
            key,
            values,
            default,
            meaning,
        } = row;
        format!("| `{key}` | {values} | {default} | {meaning} |\n")
    });
    let head = "| key | values | default | meaning |\n|---|---|---|---|\n";
    std::iter::once(head.to_owned()).chain(rows).collect()
}

fn visit(options: &'static [option::Row], prefix: &str, rows: &mut Vec<Row>) {
    for option in options {
        let key = format!("{prefix}{}", option.key);
        match option.values {
            Values::Group(options) | Values::OptionalGroup(options) => {
                visit(options, &format!("{key}."), rows)
            }
            _ => rows.push(row(key, option)),
        }
    }
}

fn row(key: String, row: &option::Row) -> Row {
    let about = schema::about(row);
    let (meaning, unset) = about.split_once(UNSET).unwrap_or((&about, ""));
    let default = (row.default)();
    Row {
        key,
        values: values(row.values),
        default: match default.as_ref().map(|value| (value, value.as_str())) {
            None => unset.trim_end_matches('.').to_owned(),
            Some((_, Some(text))) => format!("`{text}`"),
            Some((value, None)) => format!("`{value}`"),
        },
        meaning: meaning.to_owned(),
    }
}

/// What a value may be, in words.
fn values(values: Values) -> String {
    let at_most = |most: Option<usize>, kind: &str, unit: &str| match most {
        Some(most) => format!("{kind}, at most {most}{unit}"),
        None => kind.to_owned(),
    };
    match values {
        Values::Flag => "`true`, `false`".to_owned(),
        Values::Integer(least, most) => format!("{least} to {most}"),
        Values::Share => "0 to 1".to_owned(),
        Values::AboveZero => "above 0".to_owned(),
        Values::Words(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Values::Text(text, _) => at_most(text.max_bytes, "text", " bytes"),
        Values::List(Values::Words(words), _) => {
            format!("list of {}", self::values(Values::Words(words)))
        }
        Values::List(_, most) => at_most(most, "list", ""),
        Values::Pair(_) => "list of two".to_owned(),
        Values::OneOf(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| self::values(*kind)).collect();
            kinds.join(", or ")
        }
        Values::Headers(_, most) => at_most(Some(most), "object", ""),
        Values::Object(key, _) => format!("`{{\"{key}\": …}}`"),
        Values::Group(_) | Values::OptionalGroup(_) | Values::Map(_) => "object".to_owned(),
    }
}
