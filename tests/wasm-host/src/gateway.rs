//! The host in sentences: one configured filter, and whole requests through it.

use std::time::Duration;

use crate::builder::Builder;
use crate::error::Trap;
use crate::host::{Answer, Host, CONTINUE};
use crate::maps::HeaderMap;
use crate::state::{Callout, Record};
use vectors::SentryTrace;

/// Configurations that tests start from.
pub mod config {
    /// A key, a host with an organisation, project 7.
    pub const DSN: &str = "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7";
    /// Everything is sampled.
    pub const SAMPLED: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "environment": "test", "release": "shop@1.2.3", "server_name": "gateway-1",
        "traces_sample_rate": 1.0
    }"#;
    /// Nothing is sampled, unless a trace comes in that is.
    pub const UNSAMPLED: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "environment": "test", "release": "shop@1.2.3", "server_name": "gateway-1",
        "traces_sample_rate": 0.0
    }"#;
    /// With a DSN and no rate: the decision is left to the services.
    pub const DEFERRED: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "environment": "test", "release": "shop@1.2.3", "server_name": "gateway-1"
    }"#;
    /// No DSN.
    pub const PROPAGATE_ONLY: &str = "{}";
    /// Everything is sampled, and every decision is told in a log line.
    pub const DEBUG: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "traces_sample_rate": 1.0, "debug": true
    }"#;
    /// Everything is sampled, and the client is told all there is.
    pub const TELLING: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "traces_sample_rate": 1.0, "server_timing": true, "propagate_traceparent": true,
        "response_headers": ["sentry-trace", "baggage", "traceparent"]
    }"#;
    /// Everything is sampled, streamed, and told of.
    pub const STREAMED: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "traces_sample_rate": 1.0, "send_default_pii": true, "request_start_header": true,
        "capture_request_headers": ["baggage", "cookie", "x-number"], "capture_response_headers": ["set-cookie", "server"],
        "transport": {"format": "span_v2"}
    }"#;
    /// Everything is sampled and goes to a collector.
    pub const OTLP: &str = r#"{
        "dsn": "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7",
        "traces_sample_rate": 1.0, "trace_ignore_status_codes": [404], "transport": {"format": "otlp"}
    }"#;
    /// Those under which a request with no headers is recorded.
    pub const RECORDING: [&str; 5] = [SAMPLED, DEBUG, TELLING, STREAMED, OTLP];
    /// All of them.
    pub const ALL: [&str; 8] = [
        SAMPLED,
        UNSAMPLED,
        DEFERRED,
        PROPAGATE_ONLY,
        DEBUG,
        TELLING,
        STREAMED,
        OTLP,
    ];
}

/// One worker with one configured filter. Its verbs panic on a trap, with the module's last words.
pub struct Gateway {
    /// The VM.
    pub host: Host,
    /// The root context of the configuration.
    pub root: u32,
}

impl Gateway {
    /// A worker whose filter accepted the configuration.
    pub fn start(configuration: &str) -> Self {
        Self::with(Host::builder(), configuration)
    }

    /// The same on a prepared host.
    pub fn with(builder: Builder, configuration: &str) -> Self {
        let mut host = builder.start().unwrap_or_else(|error| panic!("{error}"));
        let (root, accepted) = host
            .plugin(configuration)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert!(accepted, "refused {configuration}: {:#?}", host.logs());
        Self { host, root }
    }

    /// One request from its headers to the end of the stream.
    pub fn serve(&mut self, exchange: &Exchange) -> Served {
        let served = exchange.run(&mut self.host, self.root);
        let served = served.unwrap_or_else(|trap| panic!("{trap}"));
        served.assert_never_held();
        served
    }

    /// A tick after the flush interval; answers the callouts that it dispatched.
    pub fn flush(&mut self) -> Vec<Callout> {
        let known = self.host.callouts().len();
        let period = self.host.tick_period_ms(self.root).unwrap_or(1_000);
        self.host.advance(Duration::from_millis(period.into()));
        self.host
            .tick(self.root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        // A tick may end the root, and its callouts with it.
        let callouts = self.host.callouts().get(known..);
        callouts.unwrap_or_default().to_vec()
    }

    /// Answers all callouts under way with that status.
    pub fn answer_all(&mut self, code: u16) {
        for token in self.host.outstanding() {
            let answered = self.host.answer(token, &Answer::status(code));
            answered.unwrap_or_else(|trap| panic!("{trap}"));
        }
    }

    /// A metric of the filter, 0 if it was never defined.
    pub fn metric(&self, name: &str) -> u64 {
        self.host
            .metric(&format!("sentry_filter.{name}"))
            .unwrap_or_default()
    }

    /// All spans that were given up, whatever the reason.
    pub fn spans_discarded(&self) -> u64 {
        let metrics = self.host.metrics().iter();
        metrics
            .filter(|(name, _)| name.starts_with("sentry_filter.spans_discarded."))
            .map(|(_, value)| value)
            .sum()
    }

    /// The identity that holds at any moment.
    pub fn assert_every_span_is_accounted_for(&self) {
        let [recorded, sent, queued, in_flight] = [
            "spans_recorded",
            "spans_sent",
            "spans_queued",
            "spans_in_flight",
        ]
        .map(|name| self.metric(name));
        let discarded = self.spans_discarded();
        assert_eq!(
            recorded,
            sent + discarded + queued + in_flight,
            "recorded = sent {sent} + discarded {discarded} + queued {queued} + in flight {in_flight}"
        );
    }
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What the client sends, pseudo headers included.
    pub request: HeaderMap,
    /// What the upstream answers, `:status` included.
    pub response: HeaderMap,
    code: u16,
}

impl Exchange {
    /// A plain GET that gets a 200.
    pub fn get(path: &str) -> Self {
        Self::method("GET", path)
    }

    /// The same with another method.
    pub fn method(method: &str, path: &str) -> Self {
        let request = HeaderMap::new()
            .with(":authority", "shop.example")
            .with(":path", path)
            .with(":method", method)
            .with(":scheme", "https")
            .with("user-agent", "a-client/1.0")
            .with("accept", "*/*")
            .with("x-forwarded-proto", "https")
            .with("x-request-id", "6f1c1e0a-8d7b-4d0c-9a54-0d6f2f7f3b11");
        let response = HeaderMap::new()
            .with(":status", "200")
            .with("content-type", "application/json")
            .with("server", "an-upstream");
        Self {
            request,
            response,
            code: 200,
        }
    }

    /// The same with one more request header line.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.request.add(name, value);
        self
    }

    /// The same to another host.
    pub fn to(mut self, authority: &str) -> Self {
        self.request.set(b":authority", authority.as_bytes());
        self
    }

    /// The same with another status of the response.
    pub fn status(mut self, code: u16) -> Self {
        self.response.set(b":status", code.to_string().as_bytes());
        self.code = code;
        self
    }

    /// A page of another origin that is let in, with an answer to which every kind of line is
    /// added.
    pub fn granted(path: &str) -> Self {
        Self::get(path)
            .header("origin", "https://page.example")
            .nothing_said()
            .response_header("content-type", "text/html")
            .response_header("cache-control", "private")
            .response_header("access-control-allow-origin", "https://page.example")
            .response_header("access-control-expose-headers", "x-total")
    }

    /// The same, but the response says nothing about its content.
    pub fn nothing_said(mut self) -> Self {
        self.response.remove(b"content-type");
        self
    }

    /// The same with one more response header line.
    pub fn response_header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.response.add(name, value);
        self
    }

    /// Runs the exchange through a filter, with the attributes that Envoy has in each phase.
    pub fn run(&self, host: &mut Host, root: u32) -> Result<Served, Trap> {
        let stream = host.create_stream(root)?;
        let mut served = Served::new(self.clone(), stream);
        served.note(host, CONTINUE);

        self.attributes_at_request(host, stream);
        let action = host.request_headers(stream, &self.request, true)?;
        served.forwarded = host.request_headers_of(stream);
        served.note(host, action);

        host.advance(Duration::from_millis(25));
        self.attributes_at_response(host, stream);
        let action = host.response_headers(stream, &self.response, false)?;
        served.returned = host.response_headers_of(stream);
        served.note(host, action);
        let action = host.response_body(stream, b"{}", true)?;
        served.note(host, action);

        self.attributes_at_end(host, stream);
        host.log(stream)?;
        served.note(host, CONTINUE);
        host.done(stream)?;
        served.note(host, CONTINUE);
        host.delete(stream)?;
        served.note(host, CONTINUE);
        Ok(served)
    }

    /// What is known when the request headers are read.
    pub fn attributes_at_request(&self, host: &mut Host, stream: u32) {
        let now = host.now_ns().to_le_bytes();
        host.set_property(stream, &["request", "time"], now);
        host.set_property(stream, &["request", "protocol"], "HTTP/1.1");
        host.set_property(stream, &["source", "address"], "192.0.2.7:51234");
        host.set_property(stream, &["destination", "address"], "192.0.2.1:8080");
        host.set_property(stream, &["xds", "route_name"], "orders");
        host.set_property(stream, &["xds", "cluster_name"], "upstream");
        host.set_property(stream, &["xds", "virtual_host_name"], "shop");
        host.set_property(stream, &["request", "size"], 0_i64.to_le_bytes());
        host.set_property(stream, &["response", "flags"], 0_i64.to_le_bytes());
    }

    /// What is known from the response headers on.
    pub fn attributes_at_response(&self, host: &mut Host, stream: u32) {
        host.set_property(
            stream,
            &["response", "code"],
            i64::from(self.code).to_le_bytes(),
        );
        host.set_property(stream, &["response", "code_details"], "via_upstream");
        host.set_property(stream, &["response", "grpc_status"], 2_i64.to_le_bytes());
        host.set_property(stream, &["upstream", "address"], "192.0.2.9:9000");
        host.set_property(
            stream,
            &["upstream", "request_attempt_count"],
            1_i64.to_le_bytes(),
        );
        host.set_property(
            stream,
            &["upstream", "cx_pool_ready_duration"],
            30_000_i64.to_le_bytes(),
        );
    }

    /// What is known only at the end.
    pub fn attributes_at_end(&self, host: &mut Host, stream: u32) {
        host.set_property(
            stream,
            &["request", "duration"],
            25_000_000_i64.to_le_bytes(),
        );
        host.set_property(stream, &["request", "total_size"], 412_i64.to_le_bytes());
        host.set_property(stream, &["response", "size"], 2_i64.to_le_bytes());
        host.set_property(stream, &["response", "total_size"], 230_i64.to_le_bytes());
        host.set_property(
            stream,
            &["response", "backend_latency"],
            20_000_000_i64.to_le_bytes(),
        );
    }
}

/// A request that went through the filter.
#[derive(Clone, Debug)]
pub struct Served {
    /// What was sent.
    pub exchange: Exchange,
    /// The stream context, deleted by now.
    pub stream: u32,
    /// What the upstream got.
    pub forwarded: HeaderMap,
    /// The response headers that the client got.
    pub returned: HeaderMap,
    /// What each callback did, in order.
    pub records: Vec<Record>,
    actions: Vec<(&'static str, u32)>,
}

impl Served {
    fn new(exchange: Exchange, stream: u32) -> Self {
        Self {
            exchange,
            stream,
            forwarded: HeaderMap::new(),
            returned: HeaderMap::new(),
            records: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn note(&mut self, host: &Host, action: u32) {
        self.records.push(host.last().clone());
        self.actions.push((host.last().callback, action));
    }

    /// No callback held the stream.
    pub fn assert_never_held(&self) {
        for (callback, action) in &self.actions {
            assert_eq!(*action, CONTINUE, "{callback} held the stream");
        }
    }

    /// The filter changed no header but its own, and wrote nothing that would end a line unless it
    /// came so.
    pub fn assert_only_our_headers_changed(&self) {
        const REQUEST: [&str; 4] = ["sentry-trace", "baggage", "traceparent", "tracestate"];
        /// Added where it is wanted, never changed.
        const START: &str = "x-request-start";
        const RESPONSE: [&str; 6] = [
            "sentry-trace",
            "baggage",
            "traceparent",
            "server-timing",
            "access-control-allow-headers",
            "access-control-expose-headers",
        ];
        let request = &self.exchange.request;
        let mut forwarded = self.forwarded.without(&REQUEST);
        if request.values(START).is_empty() {
            let written = forwarded.values(START);
            let is_time = |value: &[u8]| value.starts_with(b"t=") && value.len() < 30;
            assert!(written.len() <= 1 && written.iter().all(|value| is_time(value)));
            forwarded = forwarded.without(&[START]);
        }
        // Of what a preflight asks for, the names that the answer gets are left out.
        const ASKS: &str = "access-control-request-headers";
        let asks = |headers: &HeaderMap| -> Vec<String> {
            let lines = headers.values(ASKS).into_iter();
            lines
                .flat_map(|line| line.split(|byte| *byte == b','))
                .map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned())
                .filter(|name| {
                    let is_ours = |ours: &&str| name.eq_ignore_ascii_case(ours);
                    !name.is_empty() && !REQUEST.iter().any(is_ours)
                })
                .collect()
        };
        assert_eq!(asks(&forwarded), asks(request));
        forwarded = forwarded.without(&[ASKS]);
        // Some services take these for `sentry-trace`.
        const MERGING: [&str; 2] = ["sentry_trace", "sentry.trace"];
        let request_without = request.without(&REQUEST).without(&[ASKS]);
        let request_without = request_without.without(&MERGING);
        assert_eq!(forwarded, request_without);
        let response = &self.exchange.response;
        assert_eq!(
            self.returned.without(&RESPONSE),
            response.without(&RESPONSE)
        );
        for write in self.records.iter().flat_map(|record| &record.writes) {
            let ends_line =
                |value: &[u8]| value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            let came = request.values(&write.name).into_iter().any(ends_line);
            assert!(!write.name.is_empty(), "{write:?}");
            assert!(came || !ends_line(&write.value), "{write:?}");
        }
    }

    /// The `sentry-trace` that the upstream got. Panics unless it is exactly one, in canonical
    /// form.
    pub fn sentry_trace(&self) -> SentryTrace {
        let value = self.forwarded.only("sentry-trace");
        SentryTrace::parse(value).unwrap_or_else(|| panic!("not canonical: {value}"))
    }

    /// What one callback did.
    pub fn record(&self, callback: &str) -> &Record {
        let record = self
            .records
            .iter()
            .find(|record| record.callback == callback);
        record.unwrap_or_else(|| panic!("{callback} did not run"))
    }

    /// The imports that were called, in order, over all callbacks.
    pub fn host_calls(&self) -> Vec<&'static str> {
        self.records
            .iter()
            .flat_map(|record| record.host_calls.clone())
            .collect()
    }

    /// The fuel burned, over all callbacks.
    pub fn fuel(&self) -> u64 {
        self.records.iter().map(|record| record.fuel).sum()
    }
}
