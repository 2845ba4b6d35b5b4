//! Callbacks in orders that Envoy makes and in orders that it never makes: no trap, no stream held,
//! memory within bounds.

use std::env;
use std::time::Duration;

use wasm_host::{
    config, Answer, Cluster, Exchange, Gateway, HeaderMap, Host, Rng, Trap, When, CONTINUE,
};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
const STEPS: usize = 3_000;

#[test]
fn orders_that_envoy_could_make() {
    for seed in 1..=seeds() {
        Walk::new(seed, false).go(STEPS);
    }
}

#[test]
fn orders_that_envoy_never_makes() {
    for seed in (1..=seeds()).map(|seed| seed + 1_000_000) {
        Walk::new(seed, true).go(STEPS);
    }
}

/// How many walks each test takes; `make fuzz` asks for more.
fn seeds() -> u64 {
    env::var("RANDOM_ORDER_SEEDS").map_or(6, |number| number.parse().expect("a number of seeds"))
}

/// A receiver that is down for good: the queue is bounded, and so is the memory.
#[test]
fn memory_stays_flat_while_every_callout_is_refused() {
    let configuration = format!(
        r#"{{"dsn": "{}", "traces_sample_rate": 1.0, "transport": {{"max_queue_bytes": 65536}}}}"#,
        config::DSN
    );
    let mut gateway = Gateway::start(&configuration);
    gateway.host.set_cluster("sentry", Cluster::NoHealthyHost);
    let serve = |gateway: &mut Gateway, requests: usize| {
        for number in 0..requests {
            gateway.serve(&Exchange::get("/orders").header("x-number", number.to_string()));
            if number % 100 == 0 {
                gateway.flush();
            }
        }
    };
    serve(&mut gateway, 2_000);
    let warm = gateway.host.memory_pages();
    serve(&mut gateway, 20_000);
    println!(
        "{warm} pages after 2,000 requests, {} after 22,000",
        gateway.host.memory_pages()
    );
    assert_eq!(gateway.host.memory_pages(), warm);
    gateway.flush();
    gateway.assert_every_span_is_accounted_for();
    assert_eq!(gateway.metric("spans_recorded"), 2 * 22_000);
    assert!(gateway.metric("spans_discarded.queue_overflow") > 2 * 20_000);
}

/// The same with answers that never come, streams that are never logged, and a receiver that says
/// no.
#[test]
fn memory_stays_flat_whatever_the_receiver_does() {
    let answers = [
        None,
        Some(Answer::failed()),
        Some(Answer::status(500)),
        Some(Answer::status(200)),
    ];
    for answer in answers {
        let configuration = format!(
            r#"{{"dsn": "{}", "traces_sample_rate": 1.0, "transport": {{"max_queue_bytes": 65536}}}}"#,
            config::DSN
        );
        let mut gateway = Gateway::start(&configuration);
        let serve = |gateway: &mut Gateway, requests: usize| -> Result<(), Trap> {
            for number in 0..requests {
                gateway.serve(&Exchange::get("/orders"));
                let cut = gateway.host.create_stream(gateway.root)?;
                gateway
                    .host
                    .request_headers(cut, &Exchange::get("/cut").request, false)?;
                gateway.host.delete(cut)?;
                if number % 20 == 0 {
                    gateway.flush();
                    if let Some(answer) = &answer {
                        for token in gateway.host.outstanding() {
                            gateway.host.answer(token, answer)?;
                        }
                    }
                    gateway.host.forget();
                }
            }
            Ok(())
        };
        serve(&mut gateway, 500).unwrap_or_else(|trap| panic!("{trap}"));
        let warm = gateway.host.memory_pages();
        serve(&mut gateway, 1_500).unwrap_or_else(|trap| panic!("{trap}"));
        assert_eq!(gateway.host.memory_pages(), warm, "{answer:?}");
        gateway.flush();
        gateway.assert_every_span_is_accounted_for();
    }
}

/// A worker that is called at random.
struct Walk {
    host: Host,
    random: Rng,
    /// Whether it also does what no host does: ids of the dead and of nobody, callbacks twice or in
    /// the wrong place.
    mad: bool,
    roots: Vec<u32>,
    streams: Vec<u32>,
    done: Vec<String>,
}

impl Walk {
    fn new(seed: u64, mad: bool) -> Self {
        let host = Host::builder().seed(seed).start();
        Self {
            host: host.unwrap_or_else(|error| panic!("{error}")),
            random: Rng::new(seed),
            mad,
            roots: Vec::new(),
            streams: Vec::new(),
            done: Vec::new(),
        }
    }

    fn go(mut self, steps: usize) {
        for step in 0..steps {
            if let Err(trap) = self.step() {
                let last = &self.done[self.done.len().saturating_sub(12)..];
                panic!("step {step}, {trap}\nafter {last:#?}");
            }
        }
        println!("{} pages", self.host.memory_pages());
        assert_eq!(self.host.called_out_of_place(), [""; 0]);
        assert!(
            self.host.memory_pages() < 16 * 16,
            "16 MiB are the floor of the contract"
        );
    }

    fn step(&mut self) -> Result<(), Trap> {
        if self.roots.is_empty() {
            return self.configure();
        }
        if self.mad && self.random.below(3) == 0 {
            return self.mad_step();
        }
        match self.random.below(24) {
            0 => self.configure(),
            1 if self.roots.len() > 1 => {
                let at = self.random.below(self.roots.len());
                let root = self.roots.swap_remove(at);
                self.say("shut down", root);
                self.host.shut_down(root).map(drop)
            }
            2..=6 if self.streams.len() < 50 => {
                let root = *self.random.pick(&self.roots);
                let stream = self.host.create_stream(root)?;
                self.streams.push(stream);
                self.say("stream", stream);
                if self.random.below(8) > 0 {
                    self.request_headers(stream)?;
                }
                Ok(())
            }
            7..=9 => self.on_stream(Self::request_rest),
            10..=12 => self.on_stream(Self::response),
            13..=16 => {
                let Some(stream) = self.take_stream() else {
                    return Ok(());
                };
                self.say("finish", stream);
                Exchange::get("/").attributes_at_end(&mut self.host, stream);
                self.host.finish(stream)
            }
            17..=18 => {
                let root = *self.random.pick(&self.roots);
                self.say("tick", root);
                self.host.tick(root)
            }
            19..=20 => self.answer(),
            21 => {
                let seconds = self.random.below(30) as u64;
                self.host.advance(Duration::from_secs(seconds));
                Ok(())
            }
            22 => {
                match self.random.below(3) {
                    0 => self.host.remove_cluster("sentry"),
                    1 => self.host.set_cluster("sentry", Cluster::NoHealthyHost),
                    _ => self.host.set_cluster("sentry", Cluster::Accepts),
                }
                Ok(())
            }
            _ => {
                self.host.forget();
                Ok(())
            }
        }
    }

    fn mad_step(&mut self) -> Result<(), Trap> {
        const CALLBACKS: [(&str, usize); 27] = [
            ("proxy_on_context_create", 2),
            ("proxy_on_vm_start", 2),
            ("proxy_on_configure", 2),
            ("proxy_on_tick", 1),
            ("proxy_on_done", 1),
            ("proxy_on_log", 1),
            ("proxy_on_delete", 1),
            ("proxy_on_request_headers", 3),
            ("proxy_on_request_body", 3),
            ("proxy_on_request_trailers", 2),
            ("proxy_on_request_metadata", 2),
            ("proxy_on_response_headers", 3),
            ("proxy_on_response_body", 3),
            ("proxy_on_response_trailers", 2),
            ("proxy_on_response_metadata", 2),
            ("proxy_on_http_call_response", 5),
            ("proxy_on_queue_ready", 2),
            ("proxy_on_foreign_function", 3),
            ("proxy_on_new_connection", 1),
            ("proxy_on_downstream_data", 3),
            ("proxy_on_upstream_data", 3),
            ("proxy_on_downstream_connection_close", 2),
            ("proxy_on_upstream_connection_close", 2),
            ("proxy_on_grpc_receive_initial_metadata", 3),
            ("proxy_on_grpc_receive", 3),
            ("proxy_on_grpc_receive_trailing_metadata", 3),
            ("proxy_on_grpc_close", 3),
        ];
        const HOLDS: [&str; 6] = [
            "proxy_on_request_headers",
            "proxy_on_request_body",
            "proxy_on_request_trailers",
            "proxy_on_response_headers",
            "proxy_on_response_body",
            "proxy_on_response_trailers",
        ];
        if self.random.below(30) == 0 {
            let import = *self.random.pick(&[
                "proxy_http_call",
                "proxy_get_property",
                "proxy_get_header_map_pairs",
            ]);
            let first = self.host.calls(import) + 5;
            self.host.refuse(import, 10, When::FromCall(first));
        }
        if self.random.below(20) == 0 {
            self.host.behave();
        }
        let (callback, count) = *self.random.pick(&CALLBACKS);
        let mut args = vec![self.any_id()];
        while args.len() < count {
            let arg = self.any_id();
            args.push(arg);
        }
        self.done.push(format!("{callback}{args:?}"));
        let answer = self.host.raw(args[0], callback, &args)?;
        if HOLDS.contains(&callback) {
            assert_eq!(answer.unwrap_or(CONTINUE), CONTINUE, "{callback}{args:?}");
        }
        Ok(())
    }

    /// An id of a root, a stream, somebody dead, somebody to come, or nobody.
    fn any_id(&mut self) -> u32 {
        match self.random.below(8) {
            0..=1 if !self.roots.is_empty() => *self.random.pick(&self.roots),
            2..=4 if !self.streams.is_empty() => *self.random.pick(&self.streams),
            5 => 0,
            6 => u32::MAX,
            _ => u32::try_from(self.random.below(2_000)).unwrap_or_default(),
        }
    }

    fn configure(&mut self) -> Result<(), Trap> {
        if self.roots.len() > 5 {
            return Ok(());
        }
        let (root, accepted) = self.host.plugin(self.random.pick(&config::ALL))?;
        self.say("configure", root);
        assert!(accepted || self.mad);
        self.roots.push(root);
        Ok(())
    }

    fn request_headers(&mut self, stream: u32) -> Result<(), Trap> {
        let flag = *self.random.pick(&["-1", "-0", "", "-x"]);
        let mut exchange = Exchange::get("/orders");
        for _ in 0..self.random.below(3) {
            exchange = exchange.header("sentry-trace", format!("{TRACE}{flag}"));
        }
        exchange.attributes_at_request(&mut self.host, stream);
        self.say("request headers", stream);
        let action = self
            .host
            .request_headers(stream, &exchange.request, false)?;
        assert_eq!(action, CONTINUE);
        Ok(())
    }

    fn request_rest(&mut self, stream: u32) -> Result<(), Trap> {
        self.say("request body and trailers", stream);
        let len = self.random.below(100);
        assert_eq!(
            self.host.request_body(stream, &vec![b'x'; len], false)?,
            CONTINUE
        );
        assert_eq!(
            self.host.request_trailers(stream, &HeaderMap::new())?,
            CONTINUE
        );
        Ok(())
    }

    fn response(&mut self, stream: u32) -> Result<(), Trap> {
        self.say("response", stream);
        let code = *self.random.pick(&[200, 204, 404, 503]);
        let exchange = match self.random.below(2) {
            0 => Exchange::get("/").status(code),
            _ => Exchange::granted("/").status(code),
        };
        exchange.attributes_at_response(&mut self.host, stream);
        assert_eq!(
            self.host
                .response_headers(stream, &exchange.response, false)?,
            CONTINUE
        );
        assert_eq!(self.host.response_body(stream, b"{}", false)?, CONTINUE);
        assert_eq!(
            self.host.response_trailers(stream, &HeaderMap::new())?,
            CONTINUE
        );
        Ok(())
    }

    fn answer(&mut self) -> Result<(), Trap> {
        let outstanding = self.host.outstanding();
        if outstanding.is_empty() {
            return Ok(());
        }
        let token = *self.random.pick(&outstanding);
        let answer = match self.random.below(6) {
            0 => Answer::failed(),
            1 => Answer::status(429).with("retry-after", "3"),
            2 => Answer::status(500),
            _ => Answer::status(200),
        };
        self.say("answer", token);
        self.host.answer(token, &answer)
    }

    fn on_stream(&mut self, act: fn(&mut Self, u32) -> Result<(), Trap>) -> Result<(), Trap> {
        if self.streams.is_empty() {
            return Ok(());
        }
        let stream = *self.random.pick(&self.streams);
        act(self, stream)
    }

    fn take_stream(&mut self) -> Option<u32> {
        let at = self.random.below(self.streams.len());
        (at < self.streams.len()).then(|| self.streams.swap_remove(at))
    }

    fn say(&mut self, what: &str, id: u32) {
        self.done.push(format!("{what} {id}"));
    }
}
