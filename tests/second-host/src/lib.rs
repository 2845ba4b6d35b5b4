//! The built module in `proxy-wasm-host`, a host on wasmtime that has nothing to do with Envoy:
//! what the ABI says and Envoy does not need to is asked for here. The attributes are those that a
//! simple proxy knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime};

use mini_sentry::{Headers, ReceivedRequest};
use proxy_wasm_host::abi::v0_2_1::types::{Action, LogLevel, MapType, MetricType, Status};
use proxy_wasm_host::abi::v0_2_1::{
    Access, CalloutId, Callouts, ContextId, Guest, Host, HttpCall, HttpCallRefusal,
    HttpCallResponse, InMemoryStore, Invocation, LogContext, LogSink, MetricId, PluginConfig,
    SharedServices, SharedValue, Started, StreamKind, StreamState, VmServices,
};
use proxy_wasm_host::{Engine, HeaderMap, Limits, Module, VecHeaderMap};

/// Header lines.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// The module is compiled once for all tests of a process.
static MODULE: OnceLock<(Host, Module)> = OnceLock::new();

fn compile() -> (Host, Module) {
    let path = std::env::var("SENTRY_FILTER_WASM").expect("SENTRY_FILTER_WASM names the module");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let engine = Engine::new().expect("an engine");
    let module = Module::new(&engine, &bytes).expect("the module compiles");
    let host = Host::new(&engine).expect("the host's functions");
    (host, module)
}

/// One filter in one VM. A trap of the module's is a panic of the test's.
pub struct Gateway {
    guest: Guest,
    root: ContextId,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
}

/// A request that went through the filter.
#[derive(Debug)]
pub struct Served {
    /// What the upstream got.
    pub forwarded: Lines,
    /// What the client got.
    pub returned: Lines,
    /// What access logs can tell.
    pub state: BTreeMap<String, Vec<u8>>,
}

/// What the filter posts.
#[derive(Debug, Clone)]
pub struct Callout {
    id: CalloutId,
    /// The upstream it names.
    pub upstream: String,
    /// Its header lines.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Gateway {
    /// Starts the module with a configuration; else what it logged.
    pub fn start(configuration: &str) -> Result<Self, Vec<String>> {
        Self::start_in(configuration, true)
    }

    /// Starts the module in a proxy that has no service for callouts.
    pub fn start_without_callouts(configuration: &str) -> Result<Self, Vec<String>> {
        Self::start_in(configuration, false)
    }

    fn start_in(configuration: &str, has_callouts: bool) -> Result<Self, Vec<String>> {
        let (host, module) = MODULE.get_or_init(compile);
        let (log, outbox) = (Arc::<Log>::default(), Arc::<Outbox>::default());
        let shared = Arc::<Shared>::default();
        let mut services = VmServices::new(log.clone()).with_shared(shared.clone());
        if has_callouts {
            services = services.with_callouts(outbox.clone());
        }
        let mut guest =
            Guest::new(host, module, services, &Limits::default()).expect("an instance");
        let plugin = PluginConfig::new().with_configuration(configuration);
        match guest.start(plugin).expect("a start without traps") {
            Started::Serving(root) => Ok(Self {
                guest,
                root,
                outbox,
                shared,
            }),
            _ => Err(lock(&log.0).clone()),
        }
    }

    /// How often the module wants a tick.
    pub fn tick_period(&self) -> Option<Duration> {
        self.guest.tick_period(self.root)
    }

    /// Lets a request and its answer pass.
    pub fn serve(&mut self, request: Lines, response: Lines) -> Served {
        let stream = Stream::new(request, response);
        let root = self.root;
        let (done, stream) = self.guest.with(stream, |scope| {
            let id = scope.on_context_create(Some(root))?;
            scope.expect_stream_kind(id, StreamKind::Http)?;
            let count = scope.stream().request.len() as u32;
            assert_eq!(scope.on_request_headers(id, count, true)?, Action::Continue);
            let count = scope.stream().response.len() as u32;
            assert_eq!(
                scope.on_response_headers(id, count, true)?,
                Action::Continue
            );
            scope.stream_mut().end();
            assert!(scope.on_done(id)?, "a stream is never held");
            scope.on_log(id)?;
            scope.on_delete(id)
        });
        done.expect("no trap");
        Served {
            forwarded: lines(&stream.request),
            returned: lines(&stream.response),
            state: stream.state,
        }
    }

    /// A tick; what is posted.
    pub fn flush(&mut self) -> Vec<Callout> {
        let root = self.root;
        self.guest.enter_root().on_tick(root).expect("no trap");
        std::mem::take(&mut *lock(&self.outbox.0))
    }

    /// Answers a callout; what is posted then.
    pub fn answer(&mut self, callout: &Callout, status: &str) -> Vec<Callout> {
        let root = self.root;
        let headers = vec![(b":status".as_slice().into(), status.as_bytes().into())];
        let mut scope = self.guest.enter_root();
        scope
            .on_http_call_response(root, callout.id, HttpCallResponse::received(headers))
            .expect("no trap");
        drop(scope);
        std::mem::take(&mut *lock(&self.outbox.0))
    }

    /// Sends all that waits, and takes it.
    pub fn flush_all(&mut self) -> Vec<Callout> {
        let mut all = self.flush();
        let mut next = 0;
        while let Some(callout) = all.get(next).cloned() {
            all.extend(self.answer(&callout, "200"));
            next += 1;
        }
        all
    }

    /// The counters and gauges, without the filter's prefix.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        let values = lock(&self.shared.values);
        let metrics = values.values().filter_map(|(name, value)| {
            let name = name.strip_prefix("sentry_filter.")?;
            Some((
                name.to_owned(),
                u64::try_from(*value).expect("never below zero"),
            ))
        });
        metrics.collect()
    }
}

impl Callout {
    /// The same as the receiver gets it.
    pub fn received(&self) -> ReceivedRequest {
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            if !name.starts_with(':') {
                headers.push(name, value.as_bytes());
            }
        }
        ReceivedRequest {
            method: self.headers[":method"].clone(),
            path: self.headers[":path"].clone(),
            authority: self.headers[":authority"].clone(),
            version: "HTTP/1.1".to_owned(),
            sni: None,
            headers,
            body: self.body.clone(),
            received_at: SystemTime::now(),
        }
    }
}

/// A request and its answer, with what the proxy knows about them.
struct Stream {
    request: VecHeaderMap,
    response: VecHeaderMap,
    properties: BTreeMap<&'static str, Vec<u8>>,
    state: BTreeMap<String, Vec<u8>>,
}

impl Stream {
    fn new(request: Lines, response: Lines) -> Self {
        let number = |number: i64| number.to_le_bytes().to_vec();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("a clock").as_nanos();
        let properties = BTreeMap::from([
            (
                "request.time",
                number(i64::try_from(now).expect("this age")),
            ),
            ("request.protocol", b"HTTP/1.1".to_vec()),
            ("source.address", b"192.0.2.7:51234".to_vec()),
        ]);
        Self {
            request: request.into(),
            response: response.into(),
            properties,
            state: BTreeMap::new(),
        }
    }

    /// What is only known at the end.
    fn end(&mut self) {
        let status = self.response.get(b":status").unwrap_or_default();
        let code = String::from_utf8_lossy(&status).parse().unwrap_or(0_i64);
        let properties = [
            ("response.code", code.to_le_bytes().to_vec()),
            ("request.duration", 25_000_000_i64.to_le_bytes().to_vec()),
            ("upstream.address", b"192.0.2.9:8080".to_vec()),
        ];
        self.properties.extend(properties);
    }
}

impl StreamState for Stream {
    fn header_map(
        &mut self,
        _: Invocation,
        _: Access,
        map: MapType,
    ) -> Result<&mut dyn HeaderMap, Status> {
        match map {
            MapType::HttpRequestHeaders => Ok(&mut self.request),
            MapType::HttpResponseHeaders => Ok(&mut self.response),
            _ => Err(Status::BadArgument),
        }
    }

    fn property(&mut self, _: Invocation, path: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Status> {
        let path = String::from_utf8_lossy(&path.join(&b'.')).into_owned();
        let value = self.properties.get(path.as_str()).ok_or(Status::NotFound)?;
        out.extend_from_slice(value);
        Ok(())
    }

    fn set_property(&mut self, _: Invocation, path: &[&[u8]], value: &[u8]) -> Result<(), Status> {
        let path = String::from_utf8_lossy(&path.join(&b'.')).into_owned();
        self.state.insert(path, value.to_vec());
        Ok(())
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl LogSink for Log {
    fn log(&self, _: LogContext<'_>, _: LogLevel, message: &[u8]) {
        lock(&self.0).push(String::from_utf8_lossy(message).into_owned());
    }
}

#[derive(Default)]
struct Outbox(Mutex<Vec<Callout>>);

impl Callouts for Outbox {
    fn http_call(
        &self,
        _: Invocation,
        id: CalloutId,
        request: HttpCall<'_>,
    ) -> Result<(), HttpCallRefusal> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = request.headers.iter();
        lock(&self.0).push(Callout {
            id,
            upstream: text(&request.upstream),
            headers: headers
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body: request.body.into_owned(),
        });
        Ok(())
    }
}

/// The crate's own store, and the metrics by their names.
#[derive(Default)]
struct Shared {
    store: InMemoryStore,
    values: Mutex<HashMap<MetricId, (String, i64)>>,
}

impl SharedServices for Shared {
    fn get_shared_data(
        &self,
        call: Invocation,
        vm: &[u8],
        key: &[u8],
    ) -> Result<SharedValue, Status> {
        self.store.get_shared_data(call, vm, key)
    }

    fn set_shared_data(
        &self,
        call: Invocation,
        vm: &[u8],
        key: &[u8],
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), Status> {
        self.store.set_shared_data(call, vm, key, value, cas)
    }

    fn define_metric(
        &self,
        call: Invocation,
        vm: &[u8],
        kind: MetricType,
        name: &[u8],
    ) -> Result<MetricId, Status> {
        let id = self.store.define_metric(call, vm, kind, name)?;
        let name = String::from_utf8_lossy(name).into_owned();
        lock(&self.values).entry(id).or_insert((name, 0));
        Ok(id)
    }

    fn increment_metric(
        &self,
        call: Invocation,
        metric: MetricId,
        delta: i64,
    ) -> Result<(), Status> {
        self.store.increment_metric(call, metric, delta)?;
        let mut values = lock(&self.values);
        let (_, value) = values.get_mut(&metric).ok_or(Status::NotFound)?;
        *value += delta;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test has panicked with it")
}

fn lines(map: &VecHeaderMap) -> Lines {
    use proxy_wasm_host::HeaderMapExt;
    map.pairs()
}
