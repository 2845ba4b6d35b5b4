//! A gateway with everything around it: one builder, and one verb to send a request through it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mini_sentry::{Certificate, MiniSentry};
use serde_json::{json, Map, Value};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    client::{Request, Response},
    envoy::{Bootstrap, Envoy, Launch, Route},
    upstream::{RecordedRequest, Upstream},
};

/// How many spans a request has that reaches the upstream: the gateway's own, and the call.
pub const SPANS: u64 = 2;

/// A started gateway. Its receiver is dropped first, so that Envoy's log is shown if the receiver
/// has a complaint.
#[derive(Debug)]
pub struct Gateway {
    /// The fake Sentry.
    pub sentry: MiniSentry,
    /// The service behind the gateway.
    pub upstream: Upstream,
    /// The gateway itself.
    pub envoy: Envoy,
    /// The files of what can be replaced, if there are any, and what the listener is made of.
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    folder: TempDir,
    bootstrap: Bootstrap,
}

/// A gateway to be started; its receiver and its upstream run already.
#[derive(Debug)]
pub struct GatewayBuilder {
    sentry: MiniSentry,
    upstream: Upstream,
    bootstrap: Bootstrap,
    concurrency: u32,
    has_files: bool,
}

/// A request that was answered, seen from both sides.
#[derive(Debug)]
pub struct Exchange {
    /// What the client got.
    pub response: Response,
    /// What the upstream got, if the request came that far.
    pub upstream: Option<RecordedRequest>,
}

impl Gateway {
    /// A gateway that is yet to be configured.
    pub async fn builder() -> GatewayBuilder {
        let (sentry, upstream) = (MiniSentry::start().await, Upstream::start().await);
        let bootstrap = Bootstrap::between(upstream.address(), sentry.address());
        GatewayBuilder {
            sentry,
            upstream,
            bootstrap,
            concurrency: 1,
            has_files: false,
        }
    }

    /// A gateway with the usual configuration and these keys on top; see
    /// [`GatewayBuilder::config`].
    pub async fn start(config: Value) -> Self {
        Self::builder().await.config(config).start().await
    }

    /// Sends a request and gathers what became of it.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn send(&self, request: &Request) -> Exchange {
        let response = request
            .send(self.envoy.address())
            .await
            .expect("a response of the gateway");
        let mut upstream = self.upstream.take(request.path());
        assert!(
            upstream.len() <= 1,
            "the upstream got a request {} times",
            upstream.len()
        );
        Exchange {
            response,
            upstream: upstream.pop(),
        }
    }

    /// Sends a request that must reach the upstream and be answered with 200, and returns what the
    /// upstream got.
    ///
    /// # Panics
    /// If it is answered otherwise.
    pub async fn pass(&self, request: &Request) -> RecordedRequest {
        let exchange = self.send(request).await;
        assert_eq!(
            exchange.response.status,
            200,
            "status of {}",
            request.path().escape_ascii()
        );
        exchange.upstream.expect("the request at the upstream")
    }

    /// Replaces the configuration by the usual one with these keys on top, while requests come.
    /// Envoy takes it in its own time.
    ///
    /// # Panics
    /// If the listener is in no file.
    pub fn reconfigure(&mut self, config: Value) {
        let text = usual(self.sentry.dsn(), config).to_string();
        self.replace_listener(|bootstrap| {
            bootstrap.configuration = Some(any("StringValue", text.into()));
        });
    }

    /// Replaces the listener by one of a changed bootstrap. Envoy takes it in its own time.
    ///
    /// # Panics
    /// If the listener is in no file.
    pub fn replace_listener(&mut self, change: impl FnOnce(&mut Bootstrap)) {
        let files = self.files.as_mut().expect("a listener in a file");
        change(&mut files.bootstrap);
        files.write_listener();
    }

    /// Removes the listener. Envoy does so in its own time.
    ///
    /// # Panics
    /// If the listener is in no file.
    pub fn remove_listener(&mut self) {
        let files = self.files.as_ref().expect("a listener in a file");
        files.write(&files.listener(), "resources: []\n");
    }

    /// Adds clusters, in JSON, in the place of those that were added before. Envoy takes them in
    /// its own time.
    ///
    /// # Panics
    /// If the gateway was started without files.
    pub fn set_clusters(&self, clusters: &[Value]) {
        let files = self.files.as_ref().expect("clusters in a file");
        files.write(&files.clusters(), &Bootstrap::cluster_resources(clusters));
    }

    /// Sends `count` requests at once, to `/burst/0` and on, each of which must be answered
    /// with 200.
    ///
    /// # Panics
    /// If one is answered otherwise.
    pub async fn burst(&self, count: usize) {
        let mut requests = JoinSet::new();
        for index in 0..count {
            let address = self.envoy.address();
            requests
                .spawn(async move { Request::get(format!("/burst/{index}")).send(address).await });
        }
        while let Some(response) = requests.join_next().await {
            let response = response
                .expect("a client that does not panic")
                .expect("a response of the gateway");
            assert_eq!(response.status, 200, "status of a request of the burst");
        }
    }
}

impl GatewayBuilder {
    /// The usual configuration with these keys on top; a key of `null` is left out.
    ///
    /// Usual is: the receiver's DSN, every trace recorded, and a flush that keeps no test waiting.
    pub fn config(self, config: Value) -> Self {
        let usual = usual(self.sentry.dsn(), config);
        self.configuration(&usual.to_string())
    }

    /// Keeps the listener in a file, so that [`Gateway::reconfigure`] can replace it, and has
    /// another for [`Gateway::set_clusters`].
    pub fn with_files(mut self) -> Self {
        self.has_files = true;
        self
    }

    /// Loads another module than the built one.
    pub fn module(mut self, path: PathBuf) -> Self {
        self.bootstrap.module = Some(path);
        self
    }

    /// The plugin configuration as any text, right or wrong.
    pub fn configuration(self, text: &str) -> Self {
        self.any("StringValue", text.into())
    }

    /// The plugin configuration as a protobuf `Struct`.
    pub fn configuration_struct(self, config: Value) -> Self {
        self.any("Struct", config)
    }

    fn any(mut self, kind: &str, value: Value) -> Self {
        self.bootstrap.configuration = Some(any(kind, value));
        self
    }

    /// Sets a variable in the module's environment.
    pub fn vm_environment(mut self, name: &str, value: &str) -> Self {
        self.bootstrap
            .vm_environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Loads another dynamic module than the built one.
    pub fn dynamic_module(mut self, path: &Path) -> Self {
        self.bootstrap.dynamic_module = Some(path.to_owned());
        self
    }

    /// Takes the bootstrap extension of a dynamic module away.
    pub fn without_extension(mut self) -> Self {
        self.bootstrap.has_extension = false;
        self
    }

    /// Adds a route before the others.
    pub fn route(mut self, route: Route) -> Self {
        self.bootstrap.routes.insert(0, route);
        self
    }

    /// Turns on Envoy's own tracing, with the OpenTelemetry tracer, for every request. Its spans go
    /// to a collector that refuses connections: what it does to headers needs none that answers.
    pub fn with_opentelemetry(mut self) -> Self {
        let collector = json!({"envoy_grpc": {"cluster_name": "refused"}, "timeout": "1s"});
        let tracer = json!({
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": collector,
            "service_name": "gateway",
        });
        let provider = json!({"name": "envoy.tracers.opentelemetry", "typed_config": tracer});
        self.bootstrap.tracing = Some(json!({"provider": provider}));
        self
    }

    /// Takes the filter out of the chain.
    pub fn without_filter(mut self) -> Self {
        self.bootstrap.has_filter = false;
        self
    }

    /// Leaves the filter in the chain, switched off but for routes that switch it on.
    pub fn disabled(mut self) -> Self {
        self.bootstrap.is_disabled = true;
        self
    }

    /// Puts another HTTP filter between the client and the filter: its name and its configuration
    /// as a protobuf `Any` in JSON.
    pub fn in_front(mut self, name: &str, any: Value) -> Self {
        let filter = json!({"name": name, "typed_config": any});
        self.bootstrap.filters_in_front.push(filter);
        self
    }

    /// Puts another HTTP filter between the filter and the router.
    pub fn behind(mut self, name: &str, any: Value) -> Self {
        let filter = json!({"name": name, "typed_config": any});
        self.bootstrap.filters_behind.push(filter);
        self
    }

    /// Puts the filter a second time between itself and the router: the usual configuration with
    /// these keys on top.
    pub fn with_second_filter(mut self, config: Value) -> Self {
        let text = usual(self.sentry.dsn(), config).to_string();
        let configuration = any("StringValue", text.into());
        let filter = self.bootstrap.filter("second", Some(&configuration));
        self.bootstrap.filters_behind.push(filter);
        self
    }

    /// Sets a field of Envoy's connection manager, in JSON.
    pub fn connection_manager(mut self, name: &str, value: Value) -> Self {
        self.bootstrap
            .connection_manager
            .insert(name.to_owned(), value);
        self
    }

    /// Takes requests with TLS only.
    pub fn with_tls(mut self, certificate: &Certificate) -> Self {
        self.bootstrap.transport_socket = Some(certificate.transport_socket());
        self
    }

    /// Adds a cluster, in JSON.
    pub fn cluster(mut self, cluster: Value) -> Self {
        self.bootstrap.clusters.push(cluster);
        self
    }

    /// Where the receiver is.
    pub fn sentry_address(&self) -> std::net::SocketAddr {
        self.sentry.address()
    }

    /// Where the upstream is.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// With a `stats_config`, in JSON.
    pub fn stats_config(mut self, config: Value) -> Self {
        self.bootstrap.stats_config = Some(config);
        self
    }

    /// Puts nothing where the receiver should be: connections are refused.
    pub fn with_sentry_down(mut self) -> Self {
        self.bootstrap.sentry.set_port(1);
        self
    }

    /// The number of workers; one unless it is said otherwise.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// The DSN of the receiver.
    pub fn dsn(&self) -> String {
        self.sentry.dsn().to_owned()
    }

    /// Starts Envoy and waits until it takes requests.
    pub async fn start(self) -> Gateway {
        let Self {
            sentry,
            upstream,
            bootstrap,
            concurrency,
            has_files,
        } = self;
        let files = has_files.then(|| Files::new(bootstrap.clone()));
        let yaml = match &files {
            Some(files) => bootstrap.to_yaml_with_files(&files.listener(), &files.clusters()),
            None => bootstrap.to_yaml(),
        };
        let variables = bootstrap.process_environment();
        let mut launch = Launch::bootstrap(yaml).concurrency(concurrency);
        for (name, value) in &variables {
            launch = launch.environment(name, value);
        }
        let envoy = launch.start().await;
        Gateway {
            sentry,
            upstream,
            envoy,
            files,
        }
    }

    /// Starts an Envoy that must refuse its configuration, and returns its log.
    pub async fn expect_refused(self) -> String {
        let mut launch = Launch::bootstrap(self.bootstrap.to_yaml());
        for (name, value) in &self.bootstrap.process_environment() {
            launch = launch.environment(name, value);
        }
        launch.expect_refused().await
    }
}

impl Exchange {
    /// Asserts that the gateway answered in the upstream's place.
    #[track_caller]
    pub fn assert_answered_by_gateway(&self, status: u16) {
        assert_eq!(self.response.status, status);
        assert!(self.upstream.is_none(), "the request reached the upstream");
    }
}

impl Files {
    fn new(bootstrap: Bootstrap) -> Self {
        let folder = TempDir::new().expect("a folder for Envoy's files");
        let files = Self { folder, bootstrap };
        files.write(&files.clusters(), &Bootstrap::cluster_resources(&[]));
        files.write_listener();
        files
    }

    fn listener(&self) -> PathBuf {
        self.folder.path().join("listener.yaml")
    }

    fn clusters(&self) -> PathBuf {
        self.folder.path().join("clusters.yaml")
    }

    fn write_listener(&self) {
        self.write(&self.listener(), &self.bootstrap.listener_resource());
    }

    /// Envoy looks when a file is moved to that place.
    fn write(&self, path: &Path, text: &str) {
        let next = self.folder.path().join("next.yaml");
        fs::write(&next, text).expect("the file written");
        fs::rename(next, path).expect("the file moved");
    }
}

/// The usual configuration with these keys on top.
fn usual(dsn: &str, config: Value) -> Value {
    let mut merged = json!({
        "dsn": dsn,
        "traces_sample_rate": 1.0,
        "environment": "e2e",
        "release": "gateway@1.2.3",
        "org_id": "42",
        "transport": {"flush_interval_ms": 50},
    });
    merge(&mut merged, config);
    merged
}

fn any(kind: &str, value: Value) -> Value {
    let kind = format!("type.googleapis.com/google.protobuf.{kind}");
    json!({"@type": kind, "value": value})
}

/// Merges objects key by key; anything else is replaced, and `null` removes.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert_with(|| Map::new().into()), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}
