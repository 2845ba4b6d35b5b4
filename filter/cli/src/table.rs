//! The configuration as a table in Markdown, for docs/configuration.md: the words and bounds of the
//! schema, in the order of the types.

use serde_json::Value;
use serde_norway::Value as Ordered;

use crate::schema::{self, Document};

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

/// Every option, in the order of the types.
pub fn rows() -> Vec<Row> {
    let schema = schema::with_links();
    let mut rows = Vec::new();
    // JSON in memory is in the order of the alphabet; YAML keeps the order of the fields.
    let defaults = serde_norway::to_value(Document::default()).unwrap_or_default();
    visit(&defaults, &schema, &schema, "", &mut rows);
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

fn visit(options: &Ordered, part: &Value, schema: &Value, prefix: &str, rows: &mut Vec<Row>) {
    for (key, default) in options.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let option = &part["properties"][key];
        let path = format!("{prefix}{key}");
        match option["anyOf"][0]["$ref"].as_str() {
            Some(reference) if default.is_mapping() => {
                let section = schema.pointer(reference.trim_start_matches('#'));
                let section = section.unwrap_or(&Value::Null);
                visit(default, section, schema, &format!("{path}."), rows);
            }
            _ => rows.push(row(path, option)),
        }
    }
}

fn row(key: String, option: &Value) -> Row {
    let words = option["description"].as_str().unwrap_or_default();
    let (meaning, unset) = words.split_once(UNSET).unwrap_or((words, ""));
    let default = match &option["default"] {
        Value::Null => unset.trim_end_matches('.').to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    Row {
        key,
        values: values(option),
        default,
        meaning: meaning.to_owned(),
    }
}

/// What a value may be, in words.
fn values(option: &Value) -> String {
    let kinds = [&option["type"], &option["type"][0]];
    let kind = kinds.iter().find_map(|kind| kind.as_str());
    let words = option["enum"]
        .as_array()
        .or(option["items"]["enum"].as_array());
    let words = words.map(|words| {
        let words = words.iter().filter_map(Value::as_str);
        let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
        words.join(", ")
    });
    let bounds = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
    ];
    let [least, most, above, items, length] = bounds.map(|bound| option[bound].as_u64());
    match (kind, words) {
        (Some("array"), Some(words)) => format!("list of {words}"),
        (_, Some(words)) => words,
        (Some("array"), None) => with_bound("list", items.map(|most| format!("at most {most}"))),
        (Some("boolean"), None) => "`true`, `false`".to_owned(),
        (Some("string"), None) => {
            with_bound("text", length.map(|most| format!("at most {most} bytes")))
        }
        (_, None) => match (least, most, above) {
            (Some(least), Some(most), _) => format!("{least} to {most}"),
            (_, _, Some(above)) => format!("above {above}"),
            _ => "number".to_owned(),
        },
    }
}

fn with_bound(kind: &str, bound: Option<String>) -> String {
    bound.map_or_else(|| kind.to_owned(), |bound| format!("{kind}, {bound}"))
}
