//! The configuration as a JSON schema, for editors: the rows of `sentry_filter_core`'s table of
//! options, which the filter reads its configuration with. The tests of this crate hold schema and
//! reader together, at every bound.

use sentry_filter_core::config::option::{Row, Text, Values};
use sentry_filter_core::config::options;
use serde_json::{json, Map, Value};

/// What the schema says of the whole configuration.
const ABOUT: &str = "The plugin configuration of the Sentry filter for Envoy. What a schema cannot say is checked by \
    the filter and by `sentry-filter check`: whether a regular expression compiles, whether `transaction` names groups that `match.path` has, \
    the parts of a DSN, that a range begins below its end, and lengths in bytes.";

/// A token of RFC 9110, §5.6.2.
const HEADER_NAME: &str = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$";

/// The schema, JSON Schema 2020-12, with a line's end at its end.
pub fn schema() -> String {
    let mut schema = object(options::ALL);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Sentry filter for Envoy");
    schema["description"] = json!(ABOUT);
    // Not an option of the filter, which passes over it.
    schema["properties"]["$schema"] = json!({"description": "Where this schema is, for editors.", "default": null, "type": ["string", "null"]});
    format!("{schema:#}\n")
}

/// Every option with what it is if it is not set, as a configuration; `null` where no value says
/// so.
pub fn defaults() -> Value {
    defaults_of(options::ALL)
}

/// What an option does, as one line, links included.
pub fn about(row: &Row) -> String {
    let lines: Vec<_> = row.about.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

fn defaults_of(rows: &'static [Row]) -> Value {
    let fields = rows.iter().map(|row| {
        let value = match row.values {
            Values::Group(rows) => defaults_of(rows),
            _ => (row.default)().unwrap_or_default(),
        };
        (row.key.to_owned(), value)
    });
    Value::Object(fields.collect())
}

/// An object whose fields may be left out, or be `null`, which is the same.
fn object(rows: &'static [Row]) -> Value {
    let mut fields = Map::new();
    for row in rows {
        let mut field = or_null(values(row.values));
        field["description"] = json!(without_links(&about(row)));
        if let Some(default) = (row.default)() {
            field["default"] = default;
        }
        fields.insert(row.key.to_owned(), field);
    }
    json!({"type": "object", "properties": fields, "additionalProperties": false})
}

fn values(values: Values) -> Value {
    match values {
        Values::Flag => json!({"type": "boolean"}),
        Values::Integer(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Values::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Values::AboveZero => json!({"type": "number", "exclusiveMinimum": 0}),
        Values::Words(words) => json!({"type": "string", "enum": words}),
        Values::Text(text, pattern) => self::text(text, pattern),
        Values::List(of, most) => {
            let mut list = json!({"type": "array", "items": self::values(*of)});
            if let Some(most) = most {
                list["maxItems"] = json!(most);
            }
            list
        }
        Values::Pair(of) => {
            let one = self::values(*of);
            json!({"type": "array", "prefixItems": [one, one], "minItems": 2, "maxItems": 2})
        }
        Values::OneOf(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| self::values(*kind)).collect();
            json!({"anyOf": kinds})
        }
        Values::Group(rows) => object(rows),
        Values::Object(key, of) => json!({
            "type": "object",
            "properties": {key: self::values(*of)},
            "required": [key],
            "additionalProperties": false
        }),
        Values::OptionalGroup(rows) => object(rows),
        Values::Headers(of, most) => json!({
            "type": "object",
            "propertyNames": {"pattern": HEADER_NAME},
            "additionalProperties": self::values(*of),
            "maxProperties": most
        }),
        Values::Map(of) => json!({"type": "object", "additionalProperties": self::values(*of)}),
    }
}

fn text(text: Text, pattern: Option<&str>) -> Value {
    let mut schema = json!({"type": "string"});
    if let Some(pattern) = pattern {
        schema["pattern"] = json!(pattern);
    }
    if let Some(most) = text.max_bytes {
        schema["maxLength"] = json!(most);
    }
    if text.is_filled {
        schema["minLength"] = json!(1);
    }
    schema
}

/// The same, or `null`.
fn or_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        kinds.push(json!({"type": "null"}));
        return schema;
    }
    schema["type"] = json!([schema["type"], "null"]);
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    schema
}

/// `[words](…)` becomes its words: an editor does not have the pages.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, words) = before.rsplit_once('[').unwrap_or(("", before));
        plain.extend([before, words]);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain + rest
}
