//! `envoy/config.schema.json` is what the table of options says, and the filter's reader agrees
//! with it.

use jsonschema::Validator;
use sentry_filter_cli::table::{rows, table};
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use serde_json::{json, Map, Value};

const COMMITTED: &str = include_str!("../../../envoy/config.schema.json");
const PAGE: &str = include_str!("../../../docs/configuration.md");

fn schema() -> Value {
    serde_json::from_str(COMMITTED).expect("JSON")
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).expect("a schema")
}

fn is_read(config: &Value) -> bool {
    FilterConfig::parse(config.to_string().as_bytes(), &EnvDefaults::default()).is_ok()
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    assert!(
        COMMITTED == sentry_filter_cli::schema::schema(),
        "envoy/config.schema.json is out of date: run `make schema`"
    );
}

/// Configurations that are right.
const GOOD: &[&str] = &[
    "{}",
    r#"{"$schema": "https://files.example/config.schema.json", "debug": true}"#,
    r#"{"dsn": null, "rules": null, "transport": null, "cors": {"allow_headers": null}}"#,
    r#"{"dsn": ""}"#,
    r#"{"dsn": " HTTPS://key:secret@o1.ingest.sentry.io:8443/a/42 "}"#,
    r#"{"org_id": "0012"}"#,
    r#"{"org_id": " "}"#,
    r#"{"release": " gateway@1.0 beta\n", "environment": "\tprod-eu ", "server_name": " edge/1 a\n"}"#,
    r#"{"release": "none", "environment": "latest", "server_name": " "}"#,
    r#"{"release": "...", "environment": "..."}"#,
    r#"{"release": "ü", "environment": "größe", "server_name": "latest"}"#,
    r#"{"traces_sample_rate": 0}"#,
    r#"{"traces_sample_rate": 1.0}"#,
    r#"{"transport": {"timeout_ms": 5000.0, "path": "/x?y=z", "format": "otlp"}}"#,
    r#"{"trace_propagation_targets": []}"#,
    r#"{"trace_propagation_targets": ["", {"regex": "^https:"}]}"#,
    r#"{"rules": [{}, {"match": {"header": {"x-team": "^web$"}}, "transaction": "a"}]}"#,
    r#"{"rules": [{"match": {"path": "^/(a)/"}, "transaction": "/$1", "ignore": null}]}"#,
    r#"{"incoming": {"trace": "restart", "sampled": "ignore"}}"#,
    r#"{"response_headers": []}"#,
    r#"{"response_headers": ["baggage", "baggage"]}"#,
    r#"{"trace_ignore_status_codes": [404.0, [500, 599], [100, 100]]}"#,
    r#"{"capture_request_headers": ["Accept", "x_y", "accept"]}"#,
    r#"{"transport": {"headers": {"Authorization": " Bearer a b\t", "x-tenant": "u"}}}"#,
    r#"{"transport": {"headers": {}}}"#,
    r#"{"transport": {"headers": null}}"#,
    r#"{"send_default_pii": true}"#,
    r#"{"data_collection": {}}"#,
    r#"{"data_collection": {"user_info": true, "cookies": false, "url_query_params": {"allow": []}}}"#,
    r#"{"data_collection": {"http_headers": {"request": true, "response": {"deny": ["X-Team"]}}}}"#,
];

/// Configurations that are wrong, for a reason that a schema can say.
const BAD: &[&str] = &[
    r#"{"$schema": 7}"#,
    r#"{"transport": {"$schema": "x"}}"#,
    "[]",
    "7",
    "null",
    r#"{"tracesSampleRate": 1}"#,
    r#"{"cors": {"max_age": 1}}"#,
    r#"{"transport": {"retries": 1}}"#,
    r#"{"incoming": {"x": 1}}"#,
    r#"{"rules": [{"rate": 1}]}"#,
    r#"{"rules": [{"match": {"paths": "x"}}]}"#,
    r#"{"rules": [{"match": {"header": {"x": 1}}}]}"#,
    r#"{"rules": [{"match": {"header": {"x": null}}}]}"#,
    r#"{"rules": [{"match": 1}]}"#,
    r#"{"rules": [null]}"#,
    r#"{"rules": {}}"#,
    r#"{"rules": [{"transaction": ""}]}"#,
    r#"{"rules": [{"incoming": {"trace": "stop"}}]}"#,
    r#"{"rules": [{"traces_sample_rate": 2}]}"#,
    r#"{"dsn": 1}"#,
    r#"{"dsn": "ftp://key@host/1"}"#,
    r#"{"dsn": "https://host/1"}"#,
    r#"{"release": ""}"#,
    r#"{"release": " \n"}"#,
    r#"{"release": "acme/gateway@1.0"}"#,
    r#"{"release": "acme\\gateway"}"#,
    r#"{"release": "a\nb"}"#,
    r#"{"release": "a\tb"}"#,
    r#"{"release": "a\u007fb"}"#,
    r#"{"release": "."}"#,
    r#"{"release": " .. "}"#,
    r#"{"release": " Latest\n"}"#,
    r#"{"environment": ""}"#,
    r#"{"environment": " "}"#,
    r#"{"environment": "prod/eu"}"#,
    r#"{"environment": "prod\\eu"}"#,
    r#"{"environment": "prod eu"}"#,
    r#"{"environment": "a\nb"}"#,
    r#"{"environment": "a\u0001b"}"#,
    r#"{"environment": " NONE "}"#,
    r#"{"environment": ".."}"#,
    r#"{"server_name": "a\nb"}"#,
    r#"{"org_id": "acme"}"#,
    r#"{"org_id": 7}"#,
    r#"{"traces_sample_rate": "0.5"}"#,
    r#"{"max_traces_per_second": 0}"#,
    r#"{"max_traces_per_second": -1}"#,
    r#"{"debug": "yes"}"#,
    r#"{"debug": 1}"#,
    r#"{"incoming": {"trace": "stop"}}"#,
    r#"{"incoming": "restart"}"#,
    r#"{"trace_propagation_targets": [1]}"#,
    r#"{"trace_propagation_targets": [{}]}"#,
    r#"{"trace_propagation_targets": [{"regex": null}]}"#,
    r#"{"trace_propagation_targets": [{"regex": "a", "flags": "i"}]}"#,
    r#"{"response_headers": ["tracestate"]}"#,
    r#"{"response_headers": [null]}"#,
    r#"{"response_headers": "baggage"}"#,
    r#"{"trace_ignore_status_codes": [99]}"#,
    r#"{"trace_ignore_status_codes": [600]}"#,
    r#"{"trace_ignore_status_codes": [404.5]}"#,
    r#"{"trace_ignore_status_codes": ["404"]}"#,
    r#"{"trace_ignore_status_codes": [[500]]}"#,
    r#"{"trace_ignore_status_codes": [[500, 501, 502]]}"#,
    r#"{"capture_request_headers": [""]}"#,
    r#"{"data_collection": true}"#,
    r#"{"data_collection": {"userInfo": true}}"#,
    r#"{"data_collection": {"user_info": {"allow": []}}}"#,
    r#"{"data_collection": {"cookies": "deny"}}"#,
    r#"{"data_collection": {"cookies": {}}}"#,
    r#"{"data_collection": {"cookies": {"allow": null}}}"#,
    r#"{"data_collection": {"cookies": {"allow": "a"}}}"#,
    r#"{"data_collection": {"cookies": {"allow": [], "deny": []}}}"#,
    r#"{"data_collection": {"cookies": {"alow": []}}}"#,
    r#"{"data_collection": {"url_query_params": {"deny": [""]}}}"#,
    r#"{"data_collection": {"http_headers": true}}"#,
    r#"{"data_collection": {"http_headers": {"request": {"allow": [7]}}}}"#,
    r#"{"capture_request_headers": ["a b"]}"#,
    r#"{"capture_response_headers": [7]}"#,
    r#"{"transport": {"cluster": ""}}"#,
    r#"{"transport": {"path": "x"}}"#,
    r#"{"transport": {"path": "/a b"}}"#,
    r#"{"transport": {"format": "json"}}"#,
    r#"{"transport": {"timeout_ms": 1.5}}"#,
    r#"{"transport": {"headers": "x"}}"#,
    r#"{"transport": {"headers": ["x"]}}"#,
    r#"{"transport": {"headers": {":path": "x"}}}"#,
    r#"{"transport": {"headers": {"a b": "x"}}}"#,
    r#"{"transport": {"headers": {"": "x"}}}"#,
    r#"{"transport": {"headers": {"a": ""}}}"#,
    r#"{"transport": {"headers": {"a": " \t"}}}"#,
    r#"{"transport": {"headers": {"a": "x\ny"}}}"#,
    r#"{"transport": {"headers": {"a": "x\u0085y"}}}"#,
    r#"{"transport": {"headers": {"a": "ü"}}}"#,
    r#"{"transport": {"headers": {"a": 7}}}"#,
    r#"{"transport": {"headers": {"a": null}}}"#,
];

/// What a schema cannot say: the filter alone refuses these. The schema's own description lists
/// them.
const ONLY_THE_FILTER: &[&str] = &[
    r#"{"rules": [{"match": {"path": "("}}]}"#,
    r#"{"trace_propagation_targets": [{"regex": "a{1000}{1000}"}]}"#,
    r#"{"rules": [{"match": {"path": "(a)"}, "transaction": "$2"}]}"#,
    r#"{"dsn": "https://key@host:99999/1"}"#,
    r#"{"trace_ignore_status_codes": [[500, 400]]}"#,
    r#"{"environment": "üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü"}"#,
    r#"{"transport": {"headers": {"X-Sentry-Auth": "x"}}}"#,
    r#"{"transport": {"headers": {"a": "x", "A": "x"}}}"#,
];

#[test]
fn schema_and_filter_agree() {
    let validator = validator();
    let rows = [
        (GOOD, true, true),
        (BAD, false, false),
        (ONLY_THE_FILTER, true, false),
    ];
    for (configs, in_schema, in_filter) in rows {
        for text in configs {
            let config: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(validator.is_valid(&config), in_schema, "schema: {text}");
            assert_eq!(is_read(&config), in_filter, "filter: {text}");
        }
    }
}

/// A document with one value in it, at a path of keys.
fn document(path: &[String], value: Value) -> Value {
    path.iter()
        .rev()
        .fold(value, |value, key| json!({ key.as_str(): value }))
}

/// Calls back for every option, with its path and its part of the schema.
fn each_option(schema: &Value, path: &[String], visit: &mut dyn FnMut(&[String], &Value)) {
    for (key, part) in schema["properties"].as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(key)].concat();
        match part.get("properties") {
            Some(_) => each_option(part, &path, visit),
            None => visit(&path, part),
        }
    }
}

#[test]
fn schema_and_filter_agree_at_every_bound() {
    let validator = validator();
    let mut bounds = 0;
    each_option(&schema(), &[], &mut |path, part| {
        let mut rows = Vec::new();
        if let Some(least) = part["minimum"].as_i64() {
            rows.extend([(json!(least), true), (json!(least - 1), false)]);
        }
        if let Some(most) = part["maximum"].as_i64() {
            rows.extend([(json!(most), true), (json!(most + 1), false)]);
        }
        if let Some(most) = part["maxLength"].as_u64() {
            let text = |len: u64| json!("x".repeat(usize::try_from(len).expect("a length")));
            rows.extend([(text(most), true), (text(most + 1), false)]);
        }
        if let Some(least) = part["minLength"].as_u64() {
            assert_eq!(least, 1);
            rows.extend([(json!("x"), true), (json!(""), false)]);
        }
        if let Some(most) = part["maxItems"].as_u64() {
            let is_code = path.last().is_some_and(|key| key.ends_with("status_codes"));
            let item = if is_code { json!(404) } else { json!("x") };
            let list =
                |len: u64| json!(vec![item.clone(); usize::try_from(len).expect("a length")]);
            rows.extend([(list(most), true), (list(most + 1), false)]);
        }
        for word in part["enum"].as_array().into_iter().flatten() {
            rows.push((word.clone(), true));
        }
        for (value, is_right) in rows {
            bounds += 1;
            let config = document(path, value);
            assert_eq!(validator.is_valid(&config), is_right, "schema: {config}");
            assert_eq!(is_read(&config), is_right, "filter: {config}");
        }
        // What is of no type of its own is refused by both.
        let config = document(path, json!({"no": {"such": "option"}}));
        assert!(
            !validator.is_valid(&config) && !is_read(&config),
            "{config}"
        );
    });
    assert!(bounds > 30, "{bounds}");
}

#[test]
fn the_defaults_of_the_schema_are_the_filters() {
    let mut defaults = json!({});
    each_option(&schema(), &[], &mut |path, part| {
        let mut object = &mut defaults;
        for key in path {
            object = object
                .as_object_mut()
                .expect("an object")
                .entry(key.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
        }
        *object = part["default"].clone();
    });
    assert!(defaults["transport"]["timeout_ms"].is_number());
    // What is on where it is there has defaults of its own.
    let captures = defaults["capture_failures"].take();
    assert_eq!(captures["origin"], "gateway");
    let read = |config: &Value| {
        FilterConfig::parse(config.to_string().as_bytes(), &EnvDefaults::default()).expect("right")
    };
    assert_eq!(read(&defaults), read(&json!({})));
    let captures = json!({"capture_failures": captures});
    assert_eq!(read(&captures), read(&json!({"capture_failures": {}})));
}

/// The keys that the reader asks for, in its order, as it lists them where one is unknown.
fn keys_of_the_filter(config: &str) -> Vec<String> {
    let problems = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default());
    let problems = problems.expect_err("an unknown key");
    let (_, keys) = problems[0]
        .message
        .split_once("expected one of ")
        .expect("a list of keys");
    keys.split(", ").map(str::to_owned).collect()
}

/// The keys of a section and of those in it, with their paths.
fn keys_below(path: &str) -> Vec<String> {
    let config = path
        .split_terminator('.')
        .rev()
        .fold(r#"{"x": 1}"#.to_owned(), |inner, key| {
            format!(r#"{{"{key}": {inner}}}"#)
        });
    let keys = keys_of_the_filter(&config).into_iter();
    let all = keys.flat_map(|key| match key.as_str() {
        "incoming" | "cors" | "capture_failures" | "transport" | "data_collection"
        | "http_headers" => keys_below(&format!("{path}{key}.")),
        _ => vec![format!("{path}{key}")],
    });
    all.collect()
}

#[test]
fn the_options_of_the_table_are_read_in_its_order() {
    let keys: Vec<_> = rows().into_iter().map(|row| row.key).collect();
    assert_eq!(keys, keys_below(""));
}

#[test]
fn the_documented_table_is_the_generated_one() {
    let (_, part) = PAGE
        .split_once("<!-- make schema: begin -->\n")
        .expect("the table");
    let (shown, _) = part.split_once("<!-- end -->").expect("its end");
    assert!(
        shown == table(),
        "the table of options is out of date: run `make schema`"
    );
    for row in rows() {
        for cell in [&row.values, &row.default, &row.meaning] {
            assert!(!cell.is_empty() && !cell.contains('|'), "{row:?}");
        }
    }
    for link in ["](#", ".md)", ".md#"] {
        assert!(!COMMITTED.contains(link), "links are for the page alone");
    }
}

#[test]
fn the_documented_table_of_rules_has_the_words_of_the_schema() {
    let (_, chapter) = PAGE.split_once("\n## Rules\n").expect("the chapter");
    let (chapter, _) = chapter.split_once("\n## ").expect("its end");
    let mut shown: Vec<_> = chapter
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    shown.sort_unstable();
    let schema = schema();
    let fields = schema["properties"]["rules"]["items"]["properties"].as_object();
    let expected: Vec<_> = fields
        .expect("fields")
        .iter()
        .filter(|(key, _)| *key != "match")
        .map(|(key, part)| {
            let meaning = part["description"].as_str().expect("a description");
            format!("| `{key}` | {meaning} |")
        })
        .collect();
    assert_eq!(shown, expected);
}
