//! Every resource in `envoy/istio`, `envoy/envoy-gateway` and their like is what its project says
//! that it must be, its parts fit each other, and real Envoy carries a request with its
//! configuration. The definitions are in `tests/crds`.

mod rules;

use std::{collections::BTreeSet, fs, path::PathBuf};

use e2e::{
    cluster_at,
    envoy::{module, workspace},
    Gateway, Request,
};
use serde::Deserialize as _;
use serde_json::{json, Value};

const FOLDERS: [&str; 7] = [
    "istio",
    "envoy-gateway",
    "native/istio",
    "native/envoy-gateway",
    "kuma",
    "higress",
    "consul",
];

/// The kind whose definition says nothing about what is in it: any piece of Envoy's configuration.
const ENVOY_FILTER: &str = "EnvoyFilter";

#[test]
fn every_resource_is_as_its_definition_says() {
    let mut count = 0;
    for (file, resource) in defined() {
        let problems = problems(&resource);
        assert!(problems.is_empty(), "{file}: {problems:#?}");
        count += 1;
    }
    assert_eq!(count, 27);
}

/// What the check is worth: a slip of each kind is found.
#[test]
fn a_wrong_resource_is_refused() {
    let plugin = resource("istio/gateway.yaml", "WasmPlugin");
    for (pointer, value) in [
        ("/spec/failStrategy", json!("FAIL_RELOADED")),
        ("/spec/sha256", json!("sha256:0")),
        ("/spec/priority", json!("high")),
        ("/spec/vmConfig", json!({"environment": []})),
        ("/spec/vmConfig/env/0", json!({"value": "without a name"})),
    ] {
        let mut wrong = plugin.clone();
        *wrong.pointer_mut(pointer).expect(pointer) = value;
        assert!(!problems(&wrong).is_empty(), "{pointer}");
    }
}

/// A rule that cannot be evaluated counts as broken, and all can be read, also those that no
/// resource of ours reaches.
#[test]
fn every_rule_that_a_resource_reaches_holds() {
    let mut evaluated = 0;
    for (file, resource) in defined() {
        let verdict = rules::evaluate(&definition(&resource)["schema"], &resource);
        assert!(verdict.problems.is_empty(), "{file}: {verdict:#?}");
        evaluated += verdict.evaluated;
    }
    assert_eq!(evaluated, 145);
    let definitions = fs::read_dir(workspace("tests/crds")).expect("definitions");
    let definitions = definitions.filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let is_definition = path
            .extension()
            .is_some_and(|extension| extension == "json");
        is_definition.then(|| fs::read_to_string(path).expect("a definition"))
    });
    let rules =
        definitions.flat_map(|text| rules::all(&serde_json::from_str(&text).expect("JSON")));
    let rules: BTreeSet<_> = rules.collect();
    let unread: Vec<_> = rules.iter().filter(|(_, error)| error.is_some()).collect();
    println!(
        "{} rules in CEL, {} of them not read: {unread:#?}",
        rules.len(),
        unread.len()
    );
    assert_eq!((rules.len(), unread.len()), (115, 0), "{unread:#?}");
}

/// What that is worth: a slip of each kind is found.
#[test]
fn a_resource_that_breaks_a_rule_is_refused() {
    let rows = [
        (
            "istio/gateway.yaml",
            "WasmPlugin",
            "/spec/url",
            json!("ftp://registry.example/x"),
            ".spec.url: isURL(self)",
        ),
        (
            "istio/gateway.yaml",
            "WasmPlugin",
            "/spec/targetRefs",
            json!([{"name": "x", "kind": "Gateway"}]),
            ".spec: (has(self.selector) ? 1 : 0)",
        ),
        (
            "istio/gateway.yaml",
            "WasmPlugin",
            "/spec/selector/matchLabels",
            json!({"a": "*"}),
            ".spec.selector.matchLabels.a: !self.contains",
        ),
        (
            "istio/gateway.yaml",
            "WasmPlugin",
            "/spec/vmConfig/env/0",
            json!({"name": "A", "value": "b", "valueFrom": "HOST"}),
            ".spec.vmConfig.env[0]: ",
        ),
        (
            "istio/traffic-extension.yaml",
            "TrafficExtension",
            "/spec/lua",
            json!({"inlineCode": ""}),
            ".spec: has(self.wasm) != has(self.lua)",
        ),
        (
            "istio/gateway.yaml",
            "ServiceEntry",
            "/spec/ports/0/number",
            json!(65536),
            ".spec.ports[0].number: 0 < self",
        ),
        (
            "istio/gateway.yaml",
            "ServiceEntry",
            "/spec/resolution",
            json!("NONE"),
            ".spec: ((has(self.resolution)",
        ),
        (
            "istio/gateway.yaml",
            "DestinationRule",
            "/spec/trafficPolicy/connectionPool/tcp",
            json!({"connectTimeout": "0s"}),
            "connectTimeout: duration(self)",
        ),
        (
            "envoy-gateway/extension-policy-image.yaml",
            "EnvoyExtensionPolicy",
            "/spec/targetRefs/0/group",
            json!("apps"),
            ".spec: has(self.targetRefs)",
        ),
        (
            "envoy-gateway/envoy-proxy.yaml",
            "EnvoyProxy",
            "/spec/bootstrap",
            json!({}),
            ".spec.bootstrap: self.type == 'JSONPatch'",
        ),
    ];
    for (file, kind, pointer, value, expected) in rows {
        let mut wrong = resource(file, kind);
        let (parent, key) = pointer.rsplit_once('/').expect("a parent");
        let parent = wrong.pointer_mut(parent).expect(pointer);
        match parent {
            Value::Array(items) => items[0] = value,
            parent => parent[key] = value,
        }
        let problems = rules::evaluate(&definition(&wrong)["schema"], &wrong).problems;
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{pointer}: {problems:#?}"
        );
    }
}

/// Istio names a cluster `outbound|port|subset|host`.
#[test]
fn istios_parts_name_each_other() {
    for file in [
        "istio/gateway",
        "istio/gateway-api",
        "istio/sidecar",
        "istio/traffic-extension",
        "native/istio/gateway",
    ] {
        let path = format!("{file}.yaml");
        let entry = resource(&path, "ServiceEntry");
        let rule = resource(&path, "DestinationRule");
        let host = entry["spec"]["hosts"][0].as_str().expect("a host");
        let port = &entry["spec"]["ports"][0]["number"];
        let configuration = configurations()
            .into_iter()
            .find(|(name, _)| *name == path)
            .expect("a configuration");
        assert_eq!(
            configuration.1["transport"]["cluster"],
            format!("outbound|{port}||{host}")
        );
        assert_eq!(rule["spec"]["host"], host);
        let receiver = &entry["spec"]["endpoints"][0]["address"];
        assert_eq!(rule["spec"]["trafficPolicy"]["tls"]["sni"], *receiver);
        let names = &rule["spec"]["trafficPolicy"]["tls"]["subjectAltNames"];
        assert_eq!(*names, json!([receiver]));
        for part in [&entry, &rule] {
            assert_eq!(part["spec"]["exportTo"], json!(["."]));
        }
    }
}

/// That cluster carries spans by TLS in the tests of `shipped_files.rs`; here it must be the same
/// one.
#[test]
fn envoy_gateways_cluster_is_the_one_that_is_tested() {
    let file = read("xds/clusters.yaml");
    let mut tested = parse(&file)
        .pop()
        .expect("a document")
        .pointer("/resources/1")
        .expect("the second cluster")
        .clone();
    tested.as_object_mut().expect("a cluster").remove("@type");
    let mut whole = tested.clone();
    let options =
        "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    tested
        .pointer_mut(options)
        .and_then(Value::as_object_mut)
        .expect("options of the protocol")
        .remove("http_filters");

    let production = parse(&read("envoy.yaml")).pop().expect("a document");
    assert_eq!(production["static_resources"]["clusters"][1], whole.take());

    let bootstrap = |file| {
        let proxy = resource(file, "EnvoyProxy");
        let text = proxy["spec"]["bootstrap"]["value"].as_str();
        parse(text.expect("a text")).pop().expect("a document")
    };
    let wasm = bootstrap("envoy-gateway/envoy-proxy.yaml");
    assert_eq!(wasm, json!({"static_resources": {"clusters": [tested]}}));

    // The dynamic module has its bootstrap extension beside it, as in the file for plain Envoy.
    let native = bootstrap("native/envoy-gateway/envoy-proxy.yaml");
    assert_eq!(
        native["static_resources"]["clusters"],
        json!([tested.clone()])
    );
    let file = "native/envoy-gateway/envoy-proxy.yaml";
    let path = resource(file, "EnvoyProxy")["spec"]["dynamicModules"][0]["source"]["local"]["path"]
        .as_str()
        .expect("a path")
        .to_owned();
    let production = parse(&read("native/envoy.yaml"));
    let mut extensions = production[0]["bootstrap_extensions"].clone();
    *extensions
        .pointer_mut("/0/typed_config/dynamic_module_config/module/local/filename")
        .expect("the module") = path.into();
    assert_eq!(native["bootstrap_extensions"], extensions);

    let patch = resource("envoy-gateway/envoy-patch-policy.yaml", "EnvoyPatchPolicy");
    let operation = &patch["spec"]["jsonPatches"][0]["operation"];
    assert_eq!(operation["value"], tested);

    let filter = resource("istio/waypoint.yaml", "EnvoyFilter");
    let patch = &filter["spec"]["configPatches"][0]["patch"];
    assert_eq!(patch["value"], tested);

    let patch = resource("kuma/mesh-proxy-patch.yaml", "MeshProxyPatch");
    let cluster = &patch["spec"]["default"]["appendModifications"][0]["cluster"];
    let cluster = parse(cluster["value"].as_str().expect("a text")).pop();
    assert_eq!(cluster.as_ref(), Some(&tested));

    let defaults = resource("consul/config-entries.yaml", "ProxyDefaults");
    let cluster = &defaults["spec"]["config"]["envoy_extra_static_clusters_json"];
    let cluster: Value =
        serde_json::from_str(cluster.as_str().expect("a text")).expect("JSON, which Consul reads");
    assert_eq!(cluster, tested);
}

/// Kuma's filter is put into the chain as it stands.
#[tokio::test]
async fn kumas_filter_runs_in_envoy() {
    let patch = resource("kuma/mesh-proxy-patch.yaml", "MeshProxyPatch");
    let modification = &patch["spec"]["default"]["appendModifications"][1]["httpFilter"];
    assert_eq!(modification["operation"], "AddFirst");
    let gateway = Gateway::builder().await.without_filter();
    let text = modification["value"].as_str().expect("a text");
    let text = text
        .replace("/etc/envoy/sentry_filter.wasm", &module().to_string_lossy())
        .replace(
            "https://00000000000000000000000000000001@o0.ingest.sentry.io/1",
            &gateway.dsn(),
        )
        .replace("\"traces_sample_rate\": 0.1", "\"traces_sample_rate\": 1");
    let filter = parse(&text).pop().expect("a filter");
    let name = filter["name"].as_str().expect("a name").to_owned();
    let gateway = gateway.in_front(&name, filter["typed_config"].clone());
    let gateway = gateway.start().await;
    gateway.pass(&Request::get("/healthz")).await;
    gateway.pass(&Request::get("/static/page.css")).await;
    let seen = gateway.pass(&Request::get("/plain")).await;
    let transaction = gateway.sentry.only_transaction().await;
    assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
}

/// What Kustomize makes of a base and an overlay is what the base is, with other values where the
/// overlay's patches say so; each place is there.
#[test]
fn the_overlay_changes_what_the_base_has() {
    let overlay = parse(&read("kustomize/istioctl/kustomization.yaml"));
    let overlay = &overlay[0];
    let base = "istio";
    assert_eq!(overlay["resources"], json!([format!("../../{base}")]));
    for folder in [base, "envoy-gateway"] {
        let kustomization = parse(&read(&format!("{folder}/kustomization.yaml")));
        for file in kustomization[0]["resources"].as_array().expect("resources") {
            let file = format!("{folder}/{}", file.as_str().expect("a file"));
            assert!(!parse(&read(&file)).is_empty(), "{file}");
        }
    }
    let mut resources = parse(&read("istio/gateway.yaml"));
    for resource in &mut resources {
        resource["metadata"]["namespace"] = overlay["namespace"].clone();
    }
    for patch in overlay["patches"].as_array().expect("patches") {
        let target = &patch["target"];
        let is_target = |resource: &&mut Value| {
            let group = resource["apiVersion"].as_str().unwrap_or_default();
            resource["metadata"]["name"] == target["name"]
                && (target["kind"].is_null() || resource["kind"] == target["kind"])
                && target["group"]
                    .as_str()
                    .is_none_or(|name| group.starts_with(name))
        };
        let mut targets: Vec<_> = resources.iter_mut().filter(is_target).collect();
        assert_eq!(targets.len(), 1, "{target}");
        let operations = parse(patch["patch"].as_str().expect("a text")).pop();
        for operation in operations.expect("operations").as_array().expect("a list") {
            assert_eq!(operation["op"], "replace");
            let path = operation["path"].as_str().expect("a path");
            let place = targets[0].pointer_mut(path);
            *place.unwrap_or_else(|| panic!("no {path}")) = operation["value"].clone();
        }
    }
    for resource in &resources {
        let problems = problems(resource);
        assert!(problems.is_empty(), "{problems:#?}");
    }
    let plugin = &resources[0]["spec"];
    assert_eq!(plugin["selector"]["matchLabels"]["istio"], "ingressgateway");
}

#[tokio::test]
async fn every_plugin_configuration_carries_a_request_to_a_transaction() {
    let configurations = configurations();
    assert_eq!(configurations.len(), 14);
    for (file, mut configuration) in configurations {
        configuration["traces_sample_rate"] = json!(1);
        // Of the file's receiver; here it is in the environment.
        configuration
            .as_object_mut()
            .expect("an object")
            .remove("dsn");
        let gateway = Gateway::builder().await;
        let dsn = gateway.dsn();
        if configuration["dsn"].is_string() {
            configuration["dsn"] = json!(dsn);
        }
        let mut gateway = gateway
            .configuration(&configuration.to_string())
            .vm_environment("SENTRY_DSN", &dsn);
        if let Some(cluster) = configuration["transport"]["cluster"].as_str() {
            let receiver = dsn
                .split(['@', '/'])
                .nth(3)
                .expect("the receiver's address");
            let receiver = receiver.parse().expect("an address");
            gateway = gateway.cluster(cluster_at(cluster, Some(receiver)));
        }
        let gateway = gateway.start().await;
        let seen = gateway.pass(&Request::get("/plain")).await;
        let transaction = gateway.sentry.wait_for(1).await.pop().expect(&file);
        assert_eq!(transaction.upstream_parent(), seen.sentry_trace().span_id);
        assert_eq!(transaction.text("/environment"), "production");
    }
}

/// All files with the plugin configurations in them.
fn configurations() -> Vec<(String, Value)> {
    let found = resources().into_iter().filter_map(|(file, resource)| {
        let spec = &resource["spec"];
        let text = |text: &Value| serde_json::from_str(text.as_str()?).ok();
        let configuration = match resource["kind"].as_str()? {
            "WasmPlugin" if spec["defaultConfig"].is_object() => spec["defaultConfig"].clone(),
            "WasmPlugin" => spec["pluginConfig"].clone(),
            "TrafficExtension" => spec["wasm"]["pluginConfig"].clone(),
            "EnvoyExtensionPolicy" => match &spec["wasm"] {
                Value::Null => spec["dynamicModule"][0]["config"].clone(),
                wasm => wasm[0]["config"].clone(),
            },
            ENVOY_FILTER => {
                let filter = &spec["configPatches"][0]["patch"]["value"]["typed_config"];
                filter["filter_config"]["value"].clone()
            }
            "MeshProxyPatch" => {
                let modification = &spec["default"]["appendModifications"][1]["httpFilter"];
                let filter = parse(modification["value"].as_str()?).pop()?;
                text(&filter["typed_config"]["config"]["configuration"]["value"])?
            }
            "ServiceDefaults" => {
                let plugin = &spec["envoyExtensions"][0]["arguments"]["pluginConfig"];
                text(&plugin["configuration"])?
            }
            _ => return None,
        };
        Some((file, configuration))
    });
    found.collect()
}

fn resource(file: &str, kind: &str) -> Value {
    parse(&read(file))
        .into_iter()
        .find(|resource| resource["kind"] == kind)
        .unwrap_or_else(|| panic!("{file} has no {kind}"))
}

/// The resources whose kind has a definition in `tests/crds`.
fn defined() -> impl Iterator<Item = (String, Value)> {
    let all = resources().into_iter();
    all.filter(|(_, resource)| resource["kind"] != ENVOY_FILTER)
}

fn resources() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(workspace("envoy").join(folder)).expect(folder);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect(folder).path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().expect("a name").to_string_lossy();
            let file = format!("{folder}/{name}");
            // Kustomize's own files are no resources.
            let found = parse(&read(&file)).into_iter();
            let found = found.filter(|resource| resource["kind"] != "Kustomization");
            all.extend(found.map(|resource| (file.clone(), resource)));
        }
    }
    all
}

fn read(file: &str) -> String {
    fs::read_to_string(workspace("envoy").join(file)).expect(file)
}

fn parse(yaml: &str) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(yaml);
    let documents = documents.map(Value::deserialize).collect::<Result<_, _>>();
    documents.expect("YAML")
}

/// The definition of a resource's kind.
fn definition(resource: &Value) -> Value {
    let kind = resource["kind"].as_str().expect("a kind");
    let is_higress = resource["apiVersion"] == "extensions.higress.io/v1alpha1";
    let file = match is_higress {
        // Istio's has the same name.
        true => format!("higress-{kind}.json"),
        false => format!("{kind}.json"),
    };
    let path = workspace("tests/crds").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{kind}: {error}"));
    serde_json::from_str(&text).expect("a definition in JSON")
}

/// What is wrong with a resource, by the definition of its kind.
fn problems(resource: &Value) -> Vec<String> {
    let kind = resource["kind"].as_str().expect("a kind");
    let mut definition = definition(resource);
    let version = format!(
        "{}/{}",
        definition["group"].as_str().expect("a group"),
        definition["version"].as_str().expect("a version")
    );
    let schema = &mut definition["schema"];
    schema["properties"]["apiVersion"] = json!({"const": version});
    schema["properties"]["kind"] = json!({"const": kind});
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "required": ["name", "namespace"],
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": {"type": "object"},
        },
    });
    close(schema);
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let problems = validator.iter_errors(resource);
    problems.map(|problem| problem.to_string()).collect()
}

/// Makes a schema of Kubernetes' one that says what Kubernetes does: no field but those that are
/// named, and `null` where it is allowed.
fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    if fields.get("nullable") == Some(&json!(true)) {
        let kind = fields.get("type").cloned().expect("a type");
        fields.insert("type".to_owned(), json!([kind, "null"]));
    }
    let is_open = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    if fields.contains_key("properties") && !is_open {
        fields.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(key) {
            close(inner);
        }
    }
}
