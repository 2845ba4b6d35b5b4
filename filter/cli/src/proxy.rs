//! Plugin configurations in Envoy's own files, in parts of them, and in what it shows of them.

use serde_json::{Map, Value};

use sentry_filter_core::protobuf::Message;

use crate::cluster::{self, Cluster};
use crate::document::Node;
use crate::finding::Level;
use crate::found::{Found, Host};

const WASM: &str = "extensions.filters.http.wasm.v3.Wasm";
const DYNAMIC: &str = "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const EXTENSION: &str = "bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension";
const CORS: &str = "extensions.filters.http.cors.v3.Cors";
const ROUTER: &str = "extensions.filters.http.router.v3.Router";
const MANAGER: &str = "http_connection_manager.v3.HttpConnectionManager";

/// Whether a document is something of Envoy's or of Kubernetes', and no configuration of ours.
pub fn is_envoys(document: &Node) -> bool {
    const KEYS: [&str; 9] = [
        "@type",
        "apiVersion",
        "static_resources",
        "dynamic_resources",
        "resources",
        "configs",
        "admin",
        "node",
        "typed_config",
    ];
    document.is_list()
        || KEYS.iter().any(|key| !document[*key].is_null())
        || document["type"].str() == "MeshProxyPatch"
}

/// Whether a document is the whole configuration of one Envoy.
pub fn is_whole(document: &Node) -> bool {
    ["static_resources", "dynamic_resources", "configs"]
        .iter()
        .any(|key| !document[*key].is_null())
}

/// Whether all clusters of that Envoy are in it.
pub fn has_all_clusters(document: &Node) -> bool {
    let is_static = document["static_resources"].is_object()
        && document["dynamic_resources"]["cds_config"].is_null()
        && document["dynamic_resources"]["ads_config"].is_null();
    is_static || parts(document).any(|part| part["@type"].str().ends_with("ClustersConfigDump"))
}

/// Its own clusters.
pub fn clusters(document: &Node) -> Vec<Cluster> {
    if !document["configs"].is_list() {
        return cluster::envoys(&document["static_resources"]);
    }
    let dumps = parts(document).filter(|part| part["@type"].str().ends_with("ClustersConfigDump"));
    dumps.flat_map(cluster::envoys).collect()
}

/// The parts of a config dump that count: the bootstrap repeats what the others have.
fn parts(document: &Node) -> impl Iterator<Item = &Node> {
    let parts = document["configs"].items().iter();
    parts.filter(|part| !part["@type"].str().ends_with("BootstrapConfigDump"))
}

/// The configurations in a document.
pub fn find(document: &Node) -> Vec<Found> {
    let mut walk = Walk::default();
    let has_tracer = !document["tracing"].is_null();
    let around = Around {
        has_tracer,
        ..Around::default()
    };
    if document["configs"].is_list() {
        parts(document).for_each(|part| walk.visit(part, around));
    } else {
        walk.visit(document, around);
        if document["static_resources"].is_object() {
            look_for_extension(document, &mut walk.all);
        }
    }
    walk.all
}

/// What a dynamic module cannot do without the part that lives as long as the process.
fn look_for_extension(document: &Node, all: &mut [Found]) {
    let extensions = document["bootstrap_extensions"].items().iter();
    let mut kinds = extensions.map(|extension| type_of(&extension["typed_config"]));
    if kinds.any(|kind| kind.ends_with(EXTENSION)) {
        return;
    }
    for found in all.iter_mut().filter(|found| found.is_dynamic) {
        let line = found.line;
        found.note(Level::Warning, "bootstrap_extensions has no envoy.bootstrap.dynamic_modules for the module: what ended since the last flush is lost when Envoy ends and when a listener is replaced", line);
    }
}

/// What stands around a filter.
#[derive(Debug, Default, Clone, Copy)]
struct Around {
    is_behind_cors: bool,
    is_behind_router: bool,
    is_last: bool,
    normalizes_path: Option<bool>,
    /// The bootstrap names a tracer for all.
    has_tracer: bool,
    /// The line on which the connection manager's own tracing is switched on.
    tracing: Option<usize>,
    /// Names the list of filters.
    chain: Option<usize>,
    is_disabled: bool,
}

#[derive(Debug, Default)]
struct Walk {
    all: Vec<Found>,
    chains: usize,
}

impl Walk {
    fn visit(&mut self, node: &Node, around: Around) {
        if node.is_list() {
            self.list(node, around);
        } else if is_filter(node) {
            self.filter(node, around);
        } else if node.is_object() {
            self.object(node, around);
        } else if node.str().contains('\n') && node.str().contains("@type") {
            // A bootstrap in a ConfigMap, a patch in a text.
            for document in node.embedded() {
                let has_tracer = around.has_tracer || !document["tracing"].is_null();
                self.visit(
                    &document,
                    Around {
                        has_tracer,
                        ..around
                    },
                );
            }
        }
    }

    /// In a list of filters the order counts.
    fn list(&mut self, node: &Node, mut around: Around) {
        let before = around.chain;
        self.chains += 1;
        for item in node.items() {
            let config = &item["typed_config"];
            around.is_disabled = item["disabled"].is_true();
            around.chain = match is_filter(config) {
                true => Some(self.chains),
                false => before,
            };
            self.visit(item, around);
            around.is_behind_cors |= is(item, CORS, "envoy.filters.http.cors");
            around.is_behind_router |= is(item, ROUTER, "envoy.filters.http.router");
        }
    }

    fn object(&mut self, node: &Node, mut around: Around) {
        // The connection manager, which may be a part of a patch that leaves the rest as it is.
        if type_of(node).ends_with(MANAGER) && !node["http_filters"].is_null() {
            around.normalizes_path = Some(node["normalize_path"].is_true());
            let tracing = &node["tracing"];
            let is_on =
                tracing.is_object() && (around.has_tracer || !tracing["provider"].is_null());
            around.tracing = is_on.then_some(tracing.line);
        }
        let error = &node["error_state"];
        if error.is_object() {
            self.refused(error);
        }
        let patched = patched(node, around);
        for (key, _, inner) in node.entries() {
            // What is on its way out, or was refused, is not what runs.
            if !matches!(
                key.as_str(),
                "draining_state" | "drainingState" | "error_state" | "errorState"
            ) {
                self.visit(inner, patched);
            }
        }
    }

    /// An update that Envoy did not take.
    fn refused(&mut self, error: &Node) {
        let mut walk = Self::default();
        walk.visit(&error["failed_configuration"], Around::default());
        for mut found in walk.all {
            let details = error["details"].str();
            found.place = format!("{}, an update that Envoy refused", found.place);
            found.chain = None;
            found.note(
                Level::Problem,
                format!("Envoy refused this update and keeps what it had: {details}"),
                error.line,
            );
            self.all.push(found);
        }
    }

    fn filter(&mut self, node: &Node, around: Around) {
        // A TypedStruct, as in Istio's EnvoyFilter, has it one level further down.
        let inner = match node["value"].is_object() {
            true => &node["value"],
            false => node,
        };
        let mut found = match type_of(node).ends_with(DYNAMIC) {
            true => in_dynamic_module(inner, node.line),
            false => in_wasm_filter(&inner["config"], node.line),
        };
        found.normalizes_path = around.normalizes_path;
        found.chain = around.chain.map(|chain| chain.to_string());
        let line = found.line;
        if around.is_behind_cors {
            found.note(Level::Warning, "the filter stands behind envoy.filters.http.cors: it sees no preflight, and what it adds to the lists of answers is overwritten; put it in front", line);
        }
        if around.is_behind_router {
            found.note(Level::Problem, "the filter stands behind envoy.filters.http.router, which has to be the last: Envoy refuses such a chain; put it first", line);
        }
        if around.is_last && !around.is_behind_cors && !around.is_behind_router {
            found.note(Level::Warning, "the filter stands right before the router, behind CORS, authentication and whatever else is in the chain: it sees no preflight, and no request that those refuse; insert it first (INSERT_FIRST, AddFirst)", line);
        }
        if around.is_disabled {
            found.note(Level::Warning, "the filter is disabled here: it runs only for routes whose typed_per_filter_config switches it on", line);
        }
        if let Some(tracing) = around.tracing {
            found.note(Level::Warning, "Envoy's own tracer is on as well (tracing): it takes a decision of its own and writes a traceparent with other ids after this filter, so that one request is in two traces; leave one of them out", tracing);
        }
        self.all.push(found);
    }
}

/// Whether it is a filter through one of the two doors.
fn is_filter(node: &Node) -> bool {
    let kind = type_of(node);
    kind.ends_with(WASM) || kind.ends_with(DYNAMIC)
}

fn is(filter: &Node, kind: &str, name: &str) -> bool {
    type_of(&filter["typed_config"]).ends_with(kind) || filter["name"].str() == name
}

/// Where a patch puts its filter: Istio's EnvoyFilter, Kuma's MeshProxyPatch.
fn patched(node: &Node, mut around: Around) -> Around {
    let (operation, neighbour) = if node["applyTo"].str() == "HTTP_FILTER" {
        let filter = &node["match"]["listener"]["filterChain"]["filter"];
        (
            node["patch"]["operation"].str(),
            filter["subFilter"]["name"].str(),
        )
    } else if node["httpFilter"].is_object() {
        let modification = &node["httpFilter"];
        (
            modification["operation"].str(),
            modification["match"]["name"].str(),
        )
    } else {
        return around;
    };
    let is_router = neighbour == "envoy.filters.http.router";
    match operation {
        "INSERT_AFTER" | "AddAfter" => {
            around.is_behind_router |= is_router;
            around.is_behind_cors |= neighbour == "envoy.filters.http.cors";
        }
        "ADD" | "AddLast" => around.is_behind_router = true,
        "INSERT_BEFORE" | "AddBefore" => around.is_last |= is_router,
        _ => {}
    }
    around
}

fn type_of(node: &Node) -> &str {
    let own = node["@type"].str();
    match own.ends_with("TypedStruct") {
        true => node["type_url"].str(),
        false => own,
    }
}

/// The variables that the filter reads where its environment is that of Envoy's process.
pub const VARIABLES: [&str; 4] = [
    "SENTRY_DSN",
    "SENTRY_ENVIRONMENT",
    "SENTRY_RELEASE",
    "SENTRY_TRACES_SAMPLE_RATE",
];

fn in_dynamic_module(config: &Node, line: usize) -> Found {
    let module = &config["dynamic_module_config"];
    let file = module["module"]["local"]["filename"].text();
    let name = config["filter_name"].text().unwrap_or("(no name)");
    let place = match file.or(module["name"].text()) {
        Some(file) => format!("dynamic module {name} ({file})"),
        None => format!("dynamic module {name}"),
    };
    let configuration = &config["filter_config"];
    let mut found = in_any(configuration);
    found.place = place;
    found.line = line;
    found.host = Host::Envoy;
    found.is_dynamic = true;
    if let Some(key) = configuration["value"].duplicate_key() {
        found.note(Level::Problem, key.message, key.line);
    }
    found.host_variables = VARIABLES.map(str::to_owned).to_vec();
    found
}

/// The configuration in a protobuf `Any`.
fn in_any(configuration: &Node) -> Found {
    let value = &configuration["value"];
    let kind = configuration["@type"].str();
    match value.text() {
        Some(text) if kind.ends_with("StringValue") => Found {
            document: serde_json::from_str(text).ok(),
            options: value.embedded().into_iter().next().filter(Node::is_object),
            bytes: text.as_bytes().to_vec(),
            ..Found::default()
        },
        None if value.is_object() && kind.ends_with("Struct") => {
            let object = value.to_object().unwrap_or_default();
            Found {
                bytes: bytes_of(&object),
                document: Some(object),
                options: Some(value.clone()),
                ..Found::default()
            }
        }
        _ => {
            let mut found = Found::default();
            let message = "the configuration is read from a StringValue or a Struct (\"@type\" and \"value\")";
            found.note(Level::Warning, message, configuration.line);
            found
        }
    }
}

fn in_wasm_filter(config: &Node, line: usize) -> Found {
    let vm = &config["vm_config"];
    let name = config["name"].text().unwrap_or("(no name)");
    let file = vm["code"]["local"]["filename"].text();
    let remote = &vm["code"]["remote"];
    let place = match file.or(remote["http_uri"]["uri"].text()) {
        Some(file) => format!("Wasm filter {name} ({file})"),
        None => format!("Wasm filter {name}"),
    };
    let value = &config["configuration"]["value"];
    let mut found = in_any(&config["configuration"]);
    found.place = place;
    found.line = line;
    found.host = Host::Envoy;
    if let Some(key) = value.duplicate_key() {
        found.note(Level::Problem, key.message, key.line);
    }
    let variables = &vm["environment_variables"];
    for (name, _, value) in variables["key_values"].entries() {
        let json = value.to_json();
        let text = value.text().map_or_else(|| json.to_string(), str::to_owned);
        found.variable_lines.insert(name.clone(), value.line);
        found.variables.insert(name.clone(), text);
    }
    let names = variables["host_env_keys"].items().iter();
    found.host_variables = names.filter_map(Node::text).map(str::to_owned).collect();
    let policy = &config["failure_policy"];
    if policy.str() != "FAIL_RELOAD" {
        let line = if policy.is_null() { line } else { policy.line };
        found.note(Level::Warning, "failure_policy is not FAIL_RELOAD: after a crash of the module its worker would answer 503, or go without it, for good", line);
    }
    runtime(vm, &mut found);
    remote_code(config, remote, &mut found);
    found
}

fn runtime(vm: &Node, found: &mut Found) {
    let runtime = &vm["runtime"];
    let Some(name) = runtime.text().filter(|name| !name.is_empty()) else {
        return;
    };
    let only = "Envoy's released binaries have envoy.wasm.runtime.v8 alone";
    match name {
        "envoy.wasm.runtime.v8" => {}
        "envoy.wasm.runtime.wamr" | "envoy.wasm.runtime.wasmtime" | "envoy.wasm.runtime.wavm" => {
            found.note(Level::Warning, format!("vm_config.runtime is {name}, and {only}: they do not start with another one"), runtime.line);
        }
        "envoy.wasm.runtime.null" => found.note(Level::Problem, "vm_config.runtime is envoy.wasm.runtime.null, which runs no modules: say envoy.wasm.runtime.v8", runtime.line),
        _ => found.note(Level::Problem, format!("vm_config.runtime is {name:?}, which no Envoy has: say envoy.wasm.runtime.v8 ({only})"), runtime.line),
    }
}

/// Code that Envoy fetches by itself.
fn remote_code(config: &Node, remote: &Node, found: &mut Found) {
    if remote.is_null() {
        return;
    }
    let sha256 = &remote["sha256"];
    found.checksum(sha256.text(), sha256.line.max(remote.line));
    if config["failure_policy"].str() == "FAIL_OPEN" || config["fail_open"].is_true() {
        found.note(Level::Warning, "the code comes from a web server, and the filter fails open: while it cannot be fetched, requests pass without the filter, and there are no counters that would tell", remote.line);
    }
}

impl Found {
    /// Whether the checksum of a module or an image can be one. `None` is an absent one.
    pub fn checksum(&mut self, sha256: Option<&str>, line: usize) {
        let Some(text) = sha256.filter(|text| !text.is_empty()) else {
            self.note(
                Level::Warning,
                "the module has no sha256: whatever the registry or the server gives is run",
                line,
            );
            return;
        };
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || digits.len() != text.len() {
            self.note(Level::Problem, format!("sha256 has to be 64 hexadecimal digits, found {text:?}: the module would not be loaded"), line);
        } else if digits.bytes().all(|byte| byte == digits.as_bytes()[0]) {
            self.note(
                Level::Warning,
                "sha256 is the placeholder of the example files: the module would not be loaded",
                line,
            );
        }
    }
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
