//! The bootstrap that most tests run: the shape of `envoy/envoy-local.yaml`, with routes for what
//! can go wrong.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{json, Map, Value};

use super::module;
use crate::door::{self, door, Door};

const ADMIN: &str =
    "admin:\n  address:\n    socket_address: { address: 127.0.0.1, port_value: 0 }\n";

/// What a test may choose about the bootstrap.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The plugin configuration as a protobuf `Any` in JSON; `None` leaves it out.
    pub configuration: Option<Value>,
    /// Variables for the module's environment.
    pub vm_environment: Vec<(String, String)>,
    /// The `vm_id`: filters with the same module, variables and `vm_id` share a VM.
    pub vm_id: String,
    /// Where the cluster `upstream` is.
    pub upstream: SocketAddr,
    /// Where the cluster `sentry` is.
    pub sentry: SocketAddr,
    /// Routes that are tried before the catch-all named `everything-else`.
    pub routes: Vec<Route>,
    /// Envoy's own tracing, as the `tracing` of its connection manager in JSON; `None` leaves it
    /// out.
    pub tracing: Option<Value>,
    /// Whether the filter is in the chain.
    pub has_filter: bool,
    /// The filter's module; `None` is the built one.
    pub module: Option<PathBuf>,
    /// The dynamic module; `None` is the built one.
    pub dynamic_module: Option<PathBuf>,
    /// Whether a dynamic module has its bootstrap extension.
    pub has_extension: bool,
    /// Other HTTP filters between the client and the filter, in JSON.
    pub filters_in_front: Vec<Value>,
    /// Other HTTP filters between the filter and the router, in JSON.
    pub filters_behind: Vec<Value>,
    /// More fields of the connection manager, in JSON.
    pub connection_manager: Map<String, Value>,
    /// More clusters, in JSON.
    pub clusters: Vec<Value>,
    /// The `transport_socket` of the listener, in JSON; `None` is plain text.
    pub transport_socket: Option<Value>,
    /// The `stats_config`, in JSON.
    pub stats_config: Option<Value>,
    /// Whether the filter runs only for routes that switch it on.
    pub is_disabled: bool,
}

/// A named route.
#[derive(Clone, Debug)]
pub struct Route {
    name: String,
    matches: Value,
    action: Value,
    metadata: Option<Value>,
    filters: Map<String, Value>,
}

impl Route {
    /// A route for the paths that the expression matches as a whole, to the upstream.
    pub fn new(name: &str, path_regex: &str) -> Self {
        Self {
            name: name.to_owned(),
            matches: json!({"safe_regex": {"regex": path_regex}}),
            action: json!({"route": {"cluster": "upstream"}}),
            metadata: None,
            filters: Map::new(),
        }
    }

    /// A route for every `CONNECT`, to the upstream.
    pub fn connect(name: &str) -> Self {
        Self {
            matches: json!({"connect_matcher": {}}),
            ..Self::new(name, "")
        }
    }

    /// The same, with settings for the filter: `metadata.filter_metadata.sentry`.
    pub fn metadata(self, sentry: Value) -> Self {
        Self {
            metadata: Some(json!({"filter_metadata": {"sentry": sentry}})),
            ..self
        }
    }

    /// The same, but to a cluster that has no host.
    pub fn to_no_host(self) -> Self {
        self.action(json!({"route": {"cluster": "no-host"}}))
    }

    /// The same, but to a host that refuses connections.
    pub fn to_refused(self) -> Self {
        self.action(json!({"route": {"cluster": "refused"}}))
    }

    /// The same with another action, such as `{"direct_response": {"status": 404}}`.
    pub fn action(self, action: Value) -> Self {
        Self { action, ..self }
    }

    /// The same, but only for requests with a header.
    pub fn with_header(mut self, name: &str) -> Self {
        self.matches["headers"] = json!([{"name": name, "present_match": true}]);
        self
    }

    /// The same with a configuration for one of Envoy's HTTP filters: a protobuf `Any` in JSON.
    pub fn filter(mut self, name: &str, any: Value) -> Self {
        self.filters.insert(name.to_owned(), any);
        self
    }

    fn to_yaml(&self) -> String {
        let mut route = json!({
            "name": self.name, "match": self.matches, "typed_per_filter_config": self.filters,
        });
        for (key, value) in self.action.as_object().into_iter().flatten() {
            route[key] = value.clone();
        }
        if let Some(metadata) = &self.metadata {
            route["metadata"] = metadata.clone();
        }
        format!("              - {route}\n")
    }
}

impl Bootstrap {
    /// Between these two, with no configuration yet.
    pub fn between(upstream: SocketAddr, sentry: SocketAddr) -> Self {
        Self {
            configuration: None,
            vm_environment: Vec::new(),
            vm_id: String::new(),
            upstream,
            sentry,
            routes: vec![
                Route::new("/api/{id}", "/api/[^/]+"),
                Route::new("no-host", "/no-host").to_no_host(),
                Route::new("refused", "/refused").to_refused(),
            ],
            tracing: None,
            has_filter: true,
            module: None,
            dynamic_module: None,
            has_extension: true,
            filters_in_front: Vec::new(),
            filters_behind: Vec::new(),
            connection_manager: Map::new(),
            clusters: Vec::new(),
            transport_socket: None,
            stats_config: None,
            is_disabled: false,
        }
    }

    /// The text that Envoy reads. JSON is YAML, so whatever is variable is written as JSON.
    pub fn to_yaml(&self) -> String {
        let stats = match &self.stats_config {
            Some(config) => format!("stats_config: {config}\n"),
            None => String::new(),
        };
        format!(
            "{ADMIN}{stats}{}static_resources:\n  listeners:\n{}  clusters:\n{}",
            self.extensions(),
            self.listener(),
            self.all_clusters()
        )
    }

    /// The same, but with the listener in a file of its own, and clusters that come later in
    /// another, which Envoy reads again when another one is moved there.
    pub fn to_yaml_with_files(&self, listener: &Path, clusters: &Path) -> String {
        let source = |path| json!({"path_config_source": {"path": path}});
        let source = json!({"lds_config": source(listener), "cds_config": source(clusters)});
        let node = json!({"id": "edge", "cluster": "edges"});
        format!(
            "{ADMIN}{}node: {node}\ndynamic_resources: {source}\nstatic_resources:\n  clusters:\n{}",
            self.extensions(),
            self.all_clusters()
        )
    }

    /// The module's variables where its environment is that of Envoy's process.
    pub fn process_environment(&self) -> Vec<(String, String)> {
        match door() {
            Door::Wasm => Vec::new(),
            Door::Native => self.vm_environment.clone(),
        }
    }

    /// What lives as long as the process, and Wasm has nothing of.
    fn extensions(&self) -> String {
        match door() {
            Door::Native if self.has_extension && self.has_filter => {
                let extension = door::bootstrap_extension(self.dynamic_module.as_deref());
                format!("bootstrap_extensions: [{extension}]\n")
            }
            _ => String::new(),
        }
    }

    /// What stands in that file.
    pub fn listener_resource(&self) -> String {
        let kind = r#"  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener"#;
        let listener = self
            .listener()
            .replacen("  - name:", &format!("{kind}\n    name:"), 1);
        format!("resources:\n{listener}")
    }

    /// What stands in the file of the clusters that come later.
    pub fn cluster_resources(clusters: &[Value]) -> String {
        let kind = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
        let resource = |cluster: &Value| {
            let mut cluster = cluster.clone();
            cluster["@type"] = kind.into();
            cluster
        };
        let resources: Vec<_> = clusters.iter().map(resource).collect();
        json!({"resources": resources}).to_string()
    }

    fn all_clusters(&self) -> String {
        // Port 1 is nobody's: a connection to it is refused at once.
        let refused = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut clusters: String = [
            cluster("upstream", Some(self.upstream)),
            cluster("sentry", Some(self.sentry)),
            cluster("no-host", None),
            cluster("refused", Some(refused)),
        ]
        .concat();
        for more in &self.clusters {
            clusters.push_str(&format!("  - {more}\n"));
        }
        clusters
    }

    /// The filter as an entry of `http_filters`, in JSON, with its plugin configuration as a
    /// protobuf `Any`. Those with the same module and variables share a VM on each worker.
    pub fn filter(&self, name: &str, configuration: Option<&Value>) -> Value {
        if door() == Door::Native && self.module.is_none() {
            return door::dynamic_filter(name, configuration, self.dynamic_module.as_deref());
        }
        let variable = |(name, value): &(String, String)| (name.clone(), json!(value));
        let environment: Map<_, _> = self.vm_environment.iter().map(variable).collect();
        let module = self.module.clone().unwrap_or_else(module);
        let mut config = json!({
            "name": name,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": self.vm_id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
                "environment_variables": {"key_values": environment},
            },
        });
        if let Some(configuration) = configuration {
            config["configuration"] = configuration.clone();
        }
        let kind = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
        let typed_config = json!({"@type": kind, "config": config});
        json!({"name": name, "typed_config": typed_config, "disabled": self.is_disabled})
    }

    fn listener(&self) -> String {
        let tracing = match &self.tracing {
            Some(tracing) => format!("          tracing: {tracing}\n"),
            None => String::new(),
        };
        let more: String = self
            .connection_manager
            .iter()
            .map(|(name, value)| format!("          {name}: {value}\n"))
            .collect();
        let transport_socket = match &self.transport_socket {
            Some(socket) => format!("      transport_socket: {socket}\n"),
            None => String::new(),
        };
        let filters = |filters: &[Value]| -> String {
            let lines = filters.iter();
            lines
                .map(|filter| format!("          - {filter}\n"))
                .collect()
        };
        let in_front = filters(&self.filters_in_front);
        let behind = filters(&self.filters_behind);
        let filter = self.filter("sentry", self.configuration.as_ref());
        let filter = match self.has_filter {
            true => format!("          - {filter}\n"),
            false => String::new(),
        };
        let routes: String = self.routes.iter().map(Route::to_yaml).collect();
        format!(
            r#"  - name: gateway
    address:
      socket_address: {{ address: 127.0.0.1, port_value: 0 }}
    # Not every kernel spreads the connections of one client over the workers.
    connection_balance_config: {{ exact_balance: {{}} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
{tracing}{more}          http_filters:
{in_front}{filter}{behind}          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: nothing
              domains: [nothing.test]
            - name: everything
              domains: ["*"]
              routes:
{routes}              - name: everything-else
                match: {{ prefix: / }}
                route: {{ cluster: upstream }}
{transport_socket}"#
        )
    }
}

fn cluster(name: &str, address: Option<SocketAddr>) -> String {
    format!("  - {}\n", cluster_at(name, address))
}

/// A cluster of one host, or of none, in JSON.
pub fn cluster_at(name: &str, address: Option<SocketAddr>) -> Value {
    let endpoint = |address: SocketAddr| {
        let socket_address =
            json!({"address": address.ip().to_string(), "port_value": address.port()});
        json!({"endpoint": {"address": {"socket_address": socket_address}}})
    };
    let endpoints: Vec<_> = address.into_iter().map(endpoint).collect();
    let assignment = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]});
    json!({"name": name, "connect_timeout": "1s", "load_assignment": assignment})
}

/// A cluster of one host that speaks HTTP/2, in JSON.
pub fn http2_cluster_at(name: &str, address: SocketAddr) -> Value {
    let mut cluster = cluster_at(name, Some(address));
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    cluster
}
