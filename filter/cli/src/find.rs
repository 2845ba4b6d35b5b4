//! Finds plugin configurations in what operators keep them in: a file of its own, a Kubernetes
//! manifest, an Envoy file.

use std::collections::BTreeMap;

use sentry_filter_core::protobuf::Message;
use serde::Deserialize;
use serde_json::{Map, Value};

const WASM: &str = "extensions.filters.http.wasm.v3.Wasm";
const CORS: &str = "extensions.filters.http.cors.v3.Cors";
const MANAGER: &str = "http_connection_manager.v3.HttpConnectionManager";

/// One plugin configuration, as the module gets it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it stands.
    pub place: String,
    /// The bytes that the module is given.
    pub bytes: Vec<u8>,
    /// The same as JSON, if it is an object.
    pub document: Option<Map<String, Value>>,
    /// The VM's variables that the file gives a value.
    pub variables: BTreeMap<String, String>,
    /// The VM's variables whose value only the host knows.
    pub host_variables: Vec<String>,
    /// The clusters beside it, where all of them are known.
    pub clusters: Option<Vec<String>>,
    /// Whether the listener around it normalizes paths, where it is known.
    pub normalizes_path: Option<bool>,
    /// What works and will be regretted.
    pub warnings: Vec<String>,
}

/// Every plugin configuration in a text.
///
/// # Errors
/// Why there is none, for people.
pub fn find(text: &str) -> Result<Vec<Found>, String> {
    if text.trim_start().starts_with('{') {
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            return Ok(in_documents(vec![value], Some(text)));
        }
        if text.contains("\"@type\"") || text.contains("apiVersion") {
            return Err("neither JSON nor YAML".to_owned());
        }
        // The filter's own message names the place.
        return Ok(vec![Found::new("configuration", text.as_bytes().to_vec())]);
    }
    let documents = serde_norway::Deserializer::from_str(text)
        .map(Value::deserialize)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("neither JSON nor YAML: {error}"))?;
    let found = in_documents(documents, None);
    match found.is_empty() {
        true => Err("no configuration of this filter in it: expected one of its own, or an Envoy file, WasmPlugin, TrafficExtension, EnvoyFilter or EnvoyExtensionPolicy with a Wasm filter".to_owned()),
        false => Ok(found),
    }
}

fn in_documents(documents: Vec<Value>, text: Option<&str>) -> Vec<Found> {
    let mut all = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        match document["kind"].as_str() {
            Some("WasmPlugin") => all.push(in_istio(&document, &document["spec"])),
            Some("TrafficExtension") if document["spec"]["wasm"].is_object() => {
                all.push(in_istio(&document, &document["spec"]["wasm"]));
            }
            Some("EnvoyExtensionPolicy") => all.extend(in_envoy_gateway(&document)),
            _ if is_envoys(&document) => all.extend(in_envoy(&document)),
            _ => {
                let own = text.map_or_else(|| document.to_string(), str::to_owned);
                let mut found = Found::new("configuration", own.into_bytes());
                found.document = document.as_object().cloned();
                all.push(found);
            }
        }
    }
    // Other people's Wasm filters are none of our business.
    let is_ours = |found: &Found| found.place.to_lowercase().contains("sentry");
    if all.iter().any(is_ours) {
        all.retain(is_ours);
    }
    all
}

/// Whether a document is something of Envoy's or of Kubernetes', and no configuration of ours.
fn is_envoys(document: &Value) -> bool {
    const KEYS: [&str; 8] = [
        "@type",
        "apiVersion",
        "static_resources",
        "dynamic_resources",
        "resources",
        "admin",
        "node",
        "typed_config",
    ];
    document.is_array() || KEYS.iter().any(|key| document.get(key).is_some())
}

impl Found {
    fn new(place: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            place: place.into(),
            bytes,
            document: None,
            variables: BTreeMap::new(),
            host_variables: Vec::new(),
            clusters: None,
            normalizes_path: None,
            warnings: Vec::new(),
        }
    }

    /// A configuration that reaches the module as JSON.
    fn json(place: String, value: &Value) -> Self {
        let value = match value {
            Value::Null => &Value::Object(Map::new()),
            other => other,
        };
        Self {
            document: value.as_object().cloned(),
            ..Self::new(place, value.to_string().into_bytes())
        }
    }
}

fn named(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("(no name)").to_owned();
    format!(
        "{} {}",
        text(&document["kind"]),
        text(&document["metadata"]["name"])
    )
}

fn in_istio(document: &Value, plugin: &Value) -> Found {
    let url = plugin["url"].as_str().unwrap_or_default();
    let mut found = Found::json(
        format!("{} ({url})", named(document)),
        &plugin["pluginConfig"],
    );
    for variable in plugin["vmConfig"]["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        match variable["value"].as_str() {
            Some(value) if variable["valueFrom"] != "HOST" => {
                found.variables.insert(name, value.to_owned());
            }
            _ => found.host_variables.push(name),
        }
    }
    if plugin["failStrategy"] != "FAIL_RELOAD" {
        found.warnings.push("failStrategy is not FAIL_RELOAD: after a crash of the module its worker would answer 503, or go without it, for good".to_owned());
    }
    found
}

fn in_envoy_gateway(document: &Value) -> Vec<Found> {
    let extensions = document["spec"]["wasm"].as_array();
    extensions
        .into_iter()
        .flatten()
        .map(|extension| {
            let name = extension["name"].as_str().unwrap_or("(no name)");
            let mut found = Found::json(format!("{}, wasm {name}", named(document)), &extension["config"]);
            let keys = extension["env"]["hostKeys"].as_array();
            found.host_variables = texts(keys);
            if extension["failOpen"] != true {
                found.warnings.push("failOpen is not true: after a crash of the module, or without it, requests would be answered with 503".to_owned());
            }
            found
        })
        .collect()
}

fn texts(list: Option<&Vec<Value>>) -> Vec<String> {
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn in_envoy(document: &Value) -> Vec<Found> {
    let mut all = Vec::new();
    walk(document, Around::default(), &mut all);
    let statics = &document["static_resources"];
    // Clusters that come by CDS are in another file.
    if statics.is_object() && document["dynamic_resources"]["cds_config"].is_null() {
        let clusters = statics["clusters"].as_array().into_iter().flatten();
        let names = clusters.filter_map(|cluster| cluster["name"].as_str());
        let names: Vec<_> = names.map(str::to_owned).collect();
        for found in &mut all {
            found.clusters = Some(names.clone());
        }
    }
    all
}

/// What stands around a filter.
#[derive(Debug, Default, Clone, Copy)]
struct Around {
    is_behind_cors: bool,
    normalizes_path: Option<bool>,
}

fn walk(value: &Value, mut around: Around, all: &mut Vec<Found>) {
    match value {
        Value::Array(items) => {
            // In a list of filters the order counts.
            for item in items {
                walk(item, around, all);
                around.is_behind_cors |= type_of(&item["typed_config"]).ends_with(CORS);
            }
        }
        Value::Object(_) if type_of(value).ends_with(WASM) => {
            // A TypedStruct, as in Istio's EnvoyFilter, has it one level further down.
            let config = match value.get("value") {
                Some(inner) => &inner["config"],
                None => &value["config"],
            };
            let mut found = in_wasm_filter(config, around.is_behind_cors);
            found.normalizes_path = around.normalizes_path;
            all.push(found);
        }
        Value::Object(object) => {
            // The connection manager, which may be a part of a patch that leaves the rest as it is.
            if type_of(value).ends_with(MANAGER) && object.contains_key("http_filters") {
                around.normalizes_path = Some(value["normalize_path"] == true);
            }
            for inner in object.values() {
                walk(inner, around, all);
            }
        }
        _ => {}
    }
}

fn type_of(value: &Value) -> &str {
    let own = value["@type"].as_str().unwrap_or_default();
    match own.ends_with("TypedStruct") {
        true => value["type_url"].as_str().unwrap_or_default(),
        false => own,
    }
}

fn in_wasm_filter(config: &Value, is_behind_cors: bool) -> Found {
    let vm = &config["vm_config"];
    let name = config["name"].as_str().unwrap_or("(no name)");
    let file = vm["code"]["local"]["filename"].as_str();
    let place = match file {
        Some(file) => format!("Wasm filter {name} ({file})"),
        None => format!("Wasm filter {name}"),
    };
    let configuration = &config["configuration"];
    let value = &configuration["value"];
    let kind = configuration["@type"].as_str().unwrap_or_default();
    let mut found = match value {
        Value::String(text) if kind.ends_with("StringValue") => Found {
            document: serde_json::from_str(text).ok(),
            ..Found::new(place, text.as_bytes().to_vec())
        },
        Value::Object(object) if kind.ends_with("Struct") => Found {
            document: Some(object.clone()),
            ..Found::new(place, bytes_of(object))
        },
        _ => {
            let mut found = Found::new(place, Vec::new());
            let message = "the configuration is read from a StringValue or a Struct (\"@type\" and \"value\")";
            found.warnings.push(message.to_owned());
            found
        }
    };
    let variables = &vm["environment_variables"];
    for (name, value) in variables["key_values"].as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        found.variables.insert(name.clone(), value);
    }
    found.host_variables = texts(variables["host_env_keys"].as_array());
    if config["failure_policy"] != "FAIL_RELOAD" {
        found.warnings.push("failure_policy is not FAIL_RELOAD: after a crash of the module its worker would answer 503, or go without it, for good".to_owned());
    }
    if is_behind_cors {
        found.warnings.push("the filter stands behind envoy.filters.http.cors: it sees no preflight, and what it adds to the lists of answers is overwritten; put it in front".to_owned());
    }
    found
}

/// A `google.protobuf.Struct`, as Envoy hands it to the module.
fn bytes_of(object: &Map<String, Value>) -> Vec<u8> {
    let mut message = Message::default();
    write_object(object, &mut message);
    message.into_bytes()
}

fn write_object(object: &Map<String, Value>, message: &mut Message) {
    for (key, value) in object {
        message.message(1, |entry| {
            entry.bytes(1, key.as_bytes());
            entry.message(2, |message| write_value(value, message));
        });
    }
}

fn write_value(value: &Value, message: &mut Message) {
    match value {
        Value::Null => message.number(1, 0),
        Value::Bool(flag) => message.number(4, i64::from(*flag)),
        Value::Number(number) => message.double(2, number.as_f64().unwrap_or_default()),
        Value::String(text) => message.bytes(3, text.as_bytes()),
        Value::Object(object) => message.message(5, |message| write_object(object, message)),
        Value::Array(items) => message.message(6, |list| {
            for item in items {
                list.message(1, |message| write_value(item, message));
            }
        }),
    };
}
