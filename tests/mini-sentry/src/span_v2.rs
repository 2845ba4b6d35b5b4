//! Streamed spans: what Relay demands of them (sentry-protocol.md §10), and what the filter
//! promises.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use vectors::is_id;

use super::{
    span::{check_name, is_error, is_known, Format, Span},
    transaction::STATUSES,
    validator::{Complaints, MAX_AGE_SECONDS, MAX_AHEAD_SECONDS, SDK_NAME, SDK_VERSION},
};

/// How many spans an item may have.
const MAX_SPANS: usize = 1_000;
const CONTENT_TYPE: &str = "application/vnd.sentry.items.span.v2+json";

/// The spans of an item, or complaints.
pub(super) fn check(
    header: &Map<String, Value>,
    payload: &Map<String, Value>,
    dsc: Option<&Value>,
    received_at: f64,
    complaints: &mut Complaints,
) -> Vec<Span> {
    let at = "span item";
    complaints.unless(
        header.get("content_type").and_then(Value::as_str) == Some(CONTENT_TYPE),
        at,
        format_args!("content_type {:?}", header.get("content_type")),
    );
    for (key, value) in payload {
        let fine = match key.as_str() {
            "version" => *value == 2,
            "items" => value.is_array(),
            _ => false,
        };
        complaints.unless(fine, at, format_args!("{key} is {value}"));
    }
    complaints.unless(payload.contains_key("version"), at, "no version");
    let items = payload.get("items").and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    complaints.unless(
        (1..=MAX_SPANS).contains(&items.len()),
        at,
        format_args!("{} spans", items.len()),
    );
    complaints.unless(
        header.get("item_count").and_then(Value::as_u64) == Some(items.len() as u64),
        at,
        format_args!(
            "item_count {:?} of {}",
            header.get("item_count"),
            items.len()
        ),
    );
    let trace_id = dsc
        .and_then(|dsc| dsc.get("trace_id"))
        .and_then(Value::as_str);
    complaints.unless(trace_id.is_some(), "trace", "missing_dsc");
    let spans: Vec<Span> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            let at = format!("items/{index}");
            let Some(item) = item.as_object() else {
                complaints.add(&at, "not an object");
                return None;
            };
            let span = Reader {
                at: &at,
                item,
                complaints,
            }
            .span(received_at)?;
            complaints.unless(Some(&*span.trace_id) == trace_id, &at, "invalid_dsc");
            Some(span)
        })
        .collect();
    check_family(&spans, complaints);
    spans
}

/// Ids occur once, and what is no segment is below one of the same POST.
pub(super) fn check_family(spans: &[Span], complaints: &mut Complaints) {
    let mut ids = HashSet::new();
    for span in spans {
        complaints.unless(ids.insert(&span.span_id), "span_id", "seen before");
    }
    for span in spans.iter().filter(|span| !span.is_segment) {
        let is_below = |above: &&Span| {
            above.is_segment
                && above.trace_id == span.trace_id
                && Some(&above.span_id) == span.parent_span_id.as_ref()
        };
        complaints.unless(
            spans.iter().any(|above| is_below(&above)),
            "parent_span_id",
            "is of no segment here",
        );
    }
}

struct Reader<'a> {
    at: &'a str,
    item: &'a Map<String, Value>,
    complaints: &'a mut Complaints,
}

impl Reader<'_> {
    fn span(&mut self, received_at: f64) -> Option<Span> {
        const FIELDS: [&str; 10] = [
            "trace_id",
            "span_id",
            "parent_span_id",
            "name",
            "status",
            "is_segment",
            "start_timestamp",
            "end_timestamp",
            "links",
            "attributes",
        ];
        for key in self.item.keys() {
            let known = FIELDS.contains(&key.as_str());
            self.unless(known, format!("unknown field {key}"));
        }
        let trace_id = self.id("trace_id", 32)?;
        let span_id = self.id("span_id", 16)?;
        let parent_span_id = match self.item.get("parent_span_id") {
            Some(_) => Some(self.id("parent_span_id", 16)?),
            None => None,
        };
        let is_segment = self.item.get("is_segment").and_then(Value::as_bool);
        self.unless(is_segment.is_some(), "is_segment".to_owned());
        let name = self.text("name");
        self.unless(!name.is_empty() && !name.contains('?'), "name".to_owned());
        let (start, end) = (
            self.time("start_timestamp", received_at),
            self.time("end_timestamp", received_at),
        );
        self.unless(
            start <= end,
            format!("ends at {end:?}, starts at {start:?}"),
        );
        let mut attributes = self.attributes();
        let common = Common::take(&mut attributes, is_segment?, &span_id, self);
        let state = self.text("status");
        let expected = if is_error(&common.status) {
            "error"
        } else {
            "ok"
        };
        self.unless(
            state == expected,
            format!("status {state:?} of {}", common.status),
        );
        for (name, value) in &attributes {
            if let Err(what) = is_known(name, value) {
                self.unless(false, what);
            }
        }
        let span = Span {
            format: Format::SpanV2,
            trace_id,
            span_id,
            parent_span_id,
            is_segment: is_segment?,
            name,
            source: common.source,
            op: common.op,
            origin: common.origin,
            kind: common.kind,
            status: common.status,
            start_us: start?,
            end_us: end?,
            environment: common.environment,
            release: common.release,
            attributes,
            links: self.links(),
        };
        if let Err(what) = check_name(&span) {
            self.unless(false, what);
        }
        Some(span)
    }

    fn unless(&mut self, fine: bool, what: String) {
        self.complaints.unless(fine, self.at, what);
    }

    fn text(&self, key: &str) -> String {
        let text = self.item.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    }

    fn id(&mut self, key: &str, digits: usize) -> Option<String> {
        let id = self.text(key);
        self.unless(is_id(&id, digits), format!("{key} is not an id: {id:?}"));
        is_id(&id, digits).then_some(id)
    }

    /// Microseconds since the epoch: a number with at most six decimals.
    fn time(&mut self, key: &str, received_at: f64) -> Option<u64> {
        let seconds = self
            .item
            .get(key)
            .filter(|value| value.is_number())
            .and_then(Value::as_f64);
        let age = received_at - seconds.unwrap_or(f64::NAN);
        let recent = (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age);
        self.unless(recent, format!("{key}: timestamp {seconds:?}"));
        seconds.map(|seconds| (seconds * 1e6).round() as u64)
    }

    /// The attributes as plain values; their types must be what they say.
    fn attributes(&mut self) -> BTreeMap<String, Value> {
        let mut plain = BTreeMap::new();
        let attributes = self
            .item
            .get("attributes")
            .and_then(Value::as_object)
            .cloned();
        for (name, attribute) in attributes.unwrap_or_default() {
            match untyped(&attribute) {
                Some(value) => {
                    plain.insert(name, value);
                }
                None => self.unless(false, format!("attribute {name}: {attribute}")),
            }
        }
        plain
    }

    fn links(&mut self) -> Vec<String> {
        let links = self.item.get("links").and_then(Value::as_array).cloned();
        let mut read = Vec::new();
        for link in links.unwrap_or_default() {
            let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
            let kind = untyped(&link["attributes"]["sentry.link.type"]);
            let kind = kind
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let fine = is_id(&text("trace_id"), 32)
                && is_id(&text("span_id"), 16)
                && link.get("sampled").is_none_or(Value::is_boolean)
                && kind == "follows_from";
            self.unless(fine, format!("link {link}"));
            read.push(format!("{}-{} {kind}", text("trace_id"), text("span_id")));
        }
        read
    }
}

/// The plain value of `{"type": …, "value": …}`, if the value is of that type and says something.
fn untyped(attribute: &Value) -> Option<Value> {
    let attribute = attribute.as_object().filter(|fields| fields.len() == 2)?;
    let value = attribute.get("value")?;
    let fits = match attribute.get("type")?.as_str()? {
        "string" => value.as_str().is_some_and(|text| !text.is_empty()),
        "integer" => value.is_i64() || value.is_u64(),
        "double" => value.is_f64(),
        "boolean" => value.is_boolean(),
        "array" => value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_string)),
        _ => false,
    };
    fits.then(|| value.clone())
}

/// What is an attribute in one format and a field in another.
#[derive(Default)]
struct Common {
    op: String,
    origin: String,
    kind: String,
    status: String,
    source: Option<String>,
    environment: Option<String>,
    release: Option<String>,
}

impl Common {
    fn take(
        attributes: &mut BTreeMap<String, Value>,
        is_segment: bool,
        span_id: &str,
        reader: &mut Reader<'_>,
    ) -> Self {
        let mut take = |name: &str| {
            let value = attributes.remove(name)?;
            Some(value.as_str()?.to_owned())
        };
        let status = take("sentry.status.message");
        let (kind, op) = match is_segment {
            true => ("server", "http.server"),
            false => ("client", "http.client"),
        };
        let required = [
            ("sentry.op", op),
            ("sentry.origin", "auto.http.envoy"),
            ("sentry.kind", kind),
            ("sentry.trace_lifecycle", "stream"),
            ("sentry.platform", "other"),
            ("sentry.sdk.name", SDK_NAME),
            ("sentry.sdk.version", SDK_VERSION),
        ];
        for (name, expected) in required {
            let found = take(name);
            reader.unless(
                found.as_deref() == Some(expected),
                format!("{name} is {found:?}"),
            );
        }
        let segment_id = take("sentry.segment.id").unwrap_or_default();
        let fits = is_id(&segment_id, 16) && (segment_id == span_id) == is_segment;
        reader.unless(fits, format!("sentry.segment.id is {segment_id:?}"));
        let segment_name = take("sentry.segment.name").unwrap_or_default();
        let fits = !segment_name.is_empty() && (!is_segment || segment_name == reader.text("name"));
        reader.unless(fits, format!("sentry.segment.name is {segment_name:?}"));
        let source = take("sentry.segment.name.source");
        let fits = match source.as_deref() {
            Some(word) => is_segment && ["custom", "url", "route"].contains(&word),
            None => !is_segment,
        };
        reader.unless(fits, format!("sentry.segment.name.source is {source:?}"));
        let status = status.unwrap_or_else(|| "ok".to_owned());
        reader.unless(
            STATUSES.contains(&status.as_str()),
            format!("status {status:?}"),
        );
        let environment = take("sentry.environment");
        reader.unless(environment.is_some(), "no sentry.environment".to_owned());
        let release = take("sentry.release");
        take("service.name");
        Self {
            op: op.to_owned(),
            origin: "auto.http.envoy".to_owned(),
            kind: kind.to_owned(),
            status,
            source,
            environment,
            release,
        }
    }
}

#[cfg(test)]
mod tests;
