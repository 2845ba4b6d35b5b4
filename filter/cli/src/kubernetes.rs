//! Plugin configurations in resources of Kubernetes, and what resources beside them say.

use serde_json::json;

use crate::cluster::{self, Cluster};
use crate::document::Node;
use crate::finding::Level;
use crate::found::{Found, Host};

/// The resources in a document: those of a list, as `kubectl get` prints them, or itself.
pub fn items(document: Node) -> Vec<Node> {
    let is_list = document["kind"].str().ends_with("List") && document["items"].is_list();
    match is_list {
        true => document["items"].items().to_vec(),
        false => vec![document],
    }
}

/// The configurations in a resource that has them as its own; `None` if it is none of these.
pub fn find(document: &Node) -> Option<Vec<Found>> {
    let spec = &document["spec"];
    let mut found = match document["kind"].str() {
        "WasmPlugin"
            if document["apiVersion"]
                .str()
                .starts_with("extensions.higress.io/") =>
        {
            vec![in_higress(document, spec)]
        }
        "WasmPlugin" => vec![in_istio(document, spec, spec)],
        "TrafficExtension" if spec["wasm"].is_object() => {
            vec![in_istio(document, spec, &spec["wasm"])]
        }
        "EnvoyExtensionPolicy" => in_envoy_gateway(document),
        "ProxyDefaults" | "ServiceDefaults" => in_consul(document),
        _ => return None,
    };
    let namespace = document["metadata"]["namespace"].text();
    for found in &mut found {
        found.namespace = Some(namespace.unwrap_or("default").to_owned());
    }
    Some(found)
}

fn named(document: &Node) -> String {
    let text = |node: &Node| node.text().unwrap_or("(no name)").to_owned();
    format!(
        "{} {}",
        text(&document["kind"]),
        text(&document["metadata"]["name"])
    )
}

/// What Istio's and Higress's plugins have in common.
fn plugin(document: &Node, spec: &Node, wasm: &Node, mut found: Found) -> Found {
    let url = wasm["url"].str();
    found.place = format!("{} ({url})", named(document));
    found.line = document["kind"].line;
    for variable in wasm["vmConfig"]["env"].items() {
        let name = variable["name"].str().to_owned();
        match variable["value"].text() {
            Some(value) if variable["valueFrom"].str() != "HOST" => {
                found.variable_lines.insert(name.clone(), variable.line);
                found.variables.insert(name, value.to_owned());
            }
            _ => found.host_variables.push(name),
        }
    }
    strategy(&wasm["failStrategy"], &mut found);
    let sha256 = &wasm["sha256"];
    let is_pinned = url.contains("@sha256:");
    if !(sha256.is_null() && (is_pinned || url.is_empty() || url.starts_with("file:"))) {
        found.checksum(
            sha256.text(),
            if sha256.is_null() {
                wasm["url"].line
            } else {
                sha256.line
            },
        );
    }
    phase(&spec["phase"], &mut found);
    found
}

fn strategy(strategy: &Node, found: &mut Found) {
    let line = match strategy.is_null() {
        true => found.line,
        false => strategy.line,
    };
    match (found.host, strategy.str()) {
        (Host::Higress, "FAIL_RELOAD") => found.note(Level::Problem, "failStrategy is FAIL_RELOAD, which Higress does not know: say FAIL_OPEN", line),
        (Host::Higress, "FAIL_OPEN") | (Host::Istio, "FAIL_RELOAD") => {}
        (Host::Higress, _) => found.note(Level::Warning, "failStrategy is not FAIL_OPEN: after a crash of the module, or without it, its worker would answer 503 for good", line),
        _ => found.note(Level::Warning, "failStrategy is not FAIL_RELOAD: after a crash of the module its worker would answer 503, or go without it, for good", line),
    }
}

fn phase(phase: &Node, found: &mut Found) {
    let line = if phase.is_null() {
        found.line
    } else {
        phase.line
    };
    match phase.str() {
        "AUTHN" => {}
        "" | "UNSPECIFIED_PHASE" => found.note(Level::Warning, "phase is not set, so the filter stands at the end of the chain: it sees no preflight that CORS answers, and no request that authentication or authorization refuses; say AUTHN", line),
        "AUTHZ" => found.note(Level::Warning, "phase is AUTHZ: a request that authentication refuses has no span, and its answer no trace; say AUTHN", line),
        "STATS" => found.note(Level::Warning, "phase is STATS: the filter stands behind CORS, authentication and authorization, and sees nothing that they answer; say AUTHN", line),
        other => found.note(Level::Problem, format!("phase is {other:?}, which is none: say AUTHN"), line),
    }
}

fn in_istio(document: &Node, spec: &Node, wasm: &Node) -> Found {
    let found = Found {
        host: Host::Istio,
        ..Found::json(String::new(), &wasm["pluginConfig"])
    };
    let mut found = plugin(document, spec, wasm, found);
    let whom = json!([
        document["metadata"]["namespace"]
            .text()
            .unwrap_or("default"),
        spec["selector"].to_json(),
        spec["targetRefs"].to_json(),
        spec["match"].to_json(),
    ]);
    found.chain = Some(whom.to_string());
    for key in ["defaultConfig", "matchRules"] {
        let own = &spec[key];
        if !own.is_null() {
            found.note(Level::Problem, format!("{key} is Higress's (extensions.higress.io/v1alpha1): Istio's WasmPlugin has pluginConfig"), own.line);
        }
    }
    found
}

/// Higress hands over `pluginConfig`, or else `defaultConfig` with the rules as `_rules_`, which
/// its own plugins read.
fn in_higress(document: &Node, spec: &Node) -> Found {
    let default = &spec["defaultConfig"];
    let own = &spec["pluginConfig"];
    let is_off = spec["defaultConfigDisable"].is_true();
    let is_on = |rule: &&Node| !rule["configDisable"].is_true();
    let rules: Vec<_> = spec["matchRules"].items().iter().filter(is_on).collect();
    let config = match (own.is_null(), is_off) {
        (false, _) => own,
        (true, false) => default,
        (true, true) => &crate::document::NULL,
    };
    let found = Found {
        host: Host::Higress,
        ..Found::json(String::new(), config)
    };
    let mut found = plugin(document, spec, spec, found);
    found.chain = Some("higress".to_owned());
    if !own.is_null() {
        if !default.is_null() || !rules.is_empty() {
            found.note(Level::Warning, "pluginConfig is there, so Higress takes it and leaves out defaultConfig and matchRules", own.line);
        }
        return found;
    }
    if let Some(rule) = rules.first() {
        found.note(Level::Problem, "matchRules reach the filter as a key _rules_, which it does not know, so it refuses the configuration: leave matchRules out, and say what differs by host, path or route in the rules of defaultConfig", rule.line);
    } else if is_off {
        found.note(Level::Warning, "defaultConfigDisable is true and no rule is on: Higress does not load the filter at all", spec["defaultConfigDisable"].line);
    }
    found
}

fn in_envoy_gateway(document: &Node) -> Vec<Found> {
    let chain = json!([
        "gateway",
        document["metadata"]["namespace"].str(),
        document["spec"]["targetRefs"].to_json(),
        document["spec"]["targetRef"].to_json()
    ])
    .to_string();
    let modules = document["spec"]["dynamicModule"].items().iter();
    let modules = modules.map(|module| {
        let name = module["name"].text().unwrap_or("(no name)");
        Found {
            host: Host::EnvoyGateway,
            is_dynamic: true,
            line: module.line,
            chain: Some(chain.clone()),
            host_variables: crate::proxy::VARIABLES.map(str::to_owned).to_vec(),
            ..Found::json(
                format!("{}, dynamic module {name}", named(document)),
                &module["config"],
            )
        }
    });
    let extensions = document["spec"]["wasm"].items().iter();
    let extensions = extensions
        .map(|extension| {
            let name = extension["name"].text().unwrap_or("(no name)");
            let mut found = Found {
                host: Host::EnvoyGateway,
                ..Found::json(format!("{}, wasm {name}", named(document)), &extension["config"])
            };
            found.line = extension.line;
            found.chain = Some(chain.clone());
            let keys = extension["env"]["hostKeys"].items().iter();
            found.host_variables = keys.filter_map(Node::text).map(str::to_owned).collect();
            let open = &extension["failOpen"];
            if !open.is_true() {
                let line = if open.is_null() { found.line } else { open.line };
                found.note(Level::Warning, "failOpen is not true: after a crash of the module, or without it (a wrong sha256, a registry that is down), requests would be answered with 503", line);
            }
            let code = &extension["code"];
            for (kind, url) in [("http", "url"), ("image", "url")] {
                let source = &code[kind];
                if source.is_object() {
                    let sha256 = &source["sha256"];
                    let is_pinned = source[url].str().contains("@sha256:");
                    if !(sha256.is_null() && is_pinned) {
                        found.checksum(sha256.text(), if sha256.is_null() { source.line } else { sha256.line });
                    }
                }
            }
            found
        });
    modules.chain(extensions).collect()
}

/// Consul's extension `builtin/wasm`, whose arguments are read in any case.
fn in_consul(document: &Node) -> Vec<Found> {
    let extensions = document["spec"]["envoyExtensions"].items().iter();
    let ours = extensions.filter(|extension| extension["name"].str() == "builtin/wasm");
    ours.map(|extension| {
        let arguments = &extension["arguments"];
        let plugin = arguments.in_any_case("pluginConfig");
        let name = plugin.in_any_case("name").text().unwrap_or("(no name)");
        let configuration = plugin.in_any_case("configuration");
        let text = configuration.text().unwrap_or_default();
        let mut found = Found {
            place: format!("{}, wasm {name}", named(document)),
            line: extension.line,
            host: Host::Envoy,
            bytes: text.as_bytes().to_vec(),
            document: serde_json::from_str(text).ok(),
            options: configuration.embedded().into_iter().next(),
            ..Found::default()
        };
        if let Some(key) = configuration.duplicate_key() {
            found.note(Level::Problem, key.message, key.line);
        }
        let vm = plugin.in_any_case("vmConfig");
        let env = vm.in_any_case("environmentVariables");
        let keys = env.in_any_case("hostEnvKeys").items().iter();
        found.host_variables = keys.filter_map(Node::text).map(str::to_owned).collect();
        let runtime = vm.in_any_case("runtime");
        if !matches!(runtime.str(), "" | "v8") {
            found.note(Level::Warning, format!("runtime is {}, and Envoy's released binaries have v8 alone: they do not start with another one", runtime.str()), runtime.line);
        }
        for (key, wanted) in [("protocol", "http"), ("listenerType", "inbound")] {
            let value = arguments.in_any_case(key);
            let is_right = value.str() == wanted || (key == "listenerType" && value.str() == "outbound");
            if !is_right {
                found.note(Level::Problem, format!("{key} is {:?}: say {wanted}", value.str()), value.line.max(arguments.line));
            }
        }
        found
    })
    .collect()
}

/// The clusters that control planes make of resources.
pub fn clusters(documents: &[&Node]) -> Vec<Cluster> {
    let of_kind = |kind: &str| {
        let documents = documents.iter().copied();
        documents
            .filter(|node| node["kind"].str() == kind)
            .collect::<Vec<_>>()
    };
    let mut all = cluster::istios(&of_kind("ServiceEntry"), &of_kind("DestinationRule"));
    for bridge in of_kind("McpBridge") {
        for registry in bridge["spec"]["registries"].items() {
            let kind = registry["type"].str();
            let port = match kind {
                "static" => 80,
                _ => registry["port"].number().unwrap_or(80),
            };
            let domain = &registry["domain"];
            let endpoint = cluster::Endpoint {
                host: domain.str().to_owned(),
                port,
                line: domain.line,
            };
            all.push(Cluster {
                name: format!("outbound|{port}||{}.{kind}", registry["name"].str()),
                line: registry["name"].line,
                endpoints: (kind == "dns").then(|| vec![endpoint]),
                // Higress's TLS checks by its own defaults, and asks for the domain.
                security: match registry["protocol"].str() {
                    "http" | "http2" | "grpc" => cluster::Security::None,
                    _ => cluster::Security::Unknown,
                },
                ..Cluster::default()
            });
        }
    }
    all
}

/// What other resources say about the filters.
pub fn look_around(all: &mut [Found], documents: &[&Node]) {
    for found in all {
        match found.host {
            Host::EnvoyGateway => beside_envoy_gateway(found, documents),
            Host::Istio => beside_istio(found, documents),
            _ => {}
        }
    }
}

fn beside_envoy_gateway(found: &mut Found, documents: &[&Node]) {
    let proxies: Vec<_> = documents
        .iter()
        .filter(|node| node["kind"].str() == "EnvoyProxy")
        .collect();
    let Some(proxy) = proxies.first() else {
        return;
    };
    let spec = &proxy["spec"];
    let (filter, what) = match found.is_dynamic {
        true => ("envoy.filters.http.dynamic_modules", "a dynamic module"),
        false => ("envoy.filters.http.wasm", "Wasm"),
    };
    let is_first = spec["filterOrder"].items().iter().any(|order| {
        order["name"].str() == filter && order["before"].str() == "envoy.filters.http.cors"
    });
    if !is_first {
        found.note(Level::Warning, format!("the EnvoyProxy has no filterOrder that puts {filter} before envoy.filters.http.cors: by default {what} stands behind CORS and authentication"), 0);
    }
    if found.is_dynamic {
        return traced(&spec["telemetry"]["tracing"], found);
    }
    let container = &spec["provider"]["kubernetes"]["envoyDeployment"]["container"];
    let daemon = &spec["provider"]["kubernetes"]["envoyDaemonSet"]["container"];
    let env = container["env"].items().iter().chain(daemon["env"].items());
    let names: Vec<_> = env.map(|variable| variable["name"].str()).collect();
    for wanted in found.host_variables.clone() {
        if !names.contains(&wanted.as_str()) {
            found.note(Level::Warning, format!("hostKeys names {wanted}, and the EnvoyProxy gives the container no such variable"), 0);
        }
    }
    traced(&spec["telemetry"]["tracing"], found);
}

fn beside_istio(found: &mut Found, documents: &[&Node]) {
    let telemetries = documents
        .iter()
        .filter(|node| node["kind"].str() == "Telemetry");
    for telemetry in telemetries {
        let on = telemetry["spec"]["tracing"]
            .items()
            .iter()
            .find(|tracing| !tracing["disableSpanReporting"].is_true());
        if let Some(tracing) = on {
            traced(tracing, found);
        }
    }
}

fn traced(tracing: &Node, found: &mut Found) {
    if tracing.is_object() {
        found.note(Level::Warning, "the proxy's own tracer is on as well: it takes a decision of its own and writes a traceparent with other ids after this filter, so that one request is in two traces; leave one of them out", 0);
    }
}
