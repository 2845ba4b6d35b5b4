//! One load on two gateways, with the filter and without, and what is asked of the first.

use std::{cell::RefCell, sync::Arc, time::Duration};

use super::{
    blocks::LONGEST,
    loads::{PATIENCE, SAMPLED},
};
use e2e::{
    attacker::{Counts, Outcomes},
    envoy::cluster_at,
    Account, Gateway, Reply, Request, Route, Step, Upstream,
};
use serde_json::{json, Value};
use tokio::time::{interval, MissedTickBehavior};

/// What all live requests of a worker may keep together, unless it is configured.
const MAX_LIVE_BYTES: u64 = 64 << 20;
/// What a worker's VM, its queue and Envoy's allocator may take on top of it.
const MORE_BYTES: u64 = 64 << 20;
/// How many lines the filter may log, whatever is sent.
const LOG_LINES: usize = 20;
/// By how much a second round of the same load may raise what the first has left.
const GROWTH: u64 = 24 << 20;
const MIB: f64 = (1 << 20) as f64;

const FAULT: &str = "envoy.filters.http.fault";
const ENDPOINT: &str = "/api/7/envelope/";

/// A load and the gateway that it is for.
pub struct Scene {
    name: String,
    config: Value,
    receiver: Vec<Vec<Step>>,
    workers: u32,
    max_cpu: Option<f64>,
}

/// A gateway under attack, and the receiver of its spans.
pub struct Place {
    pub gateway: Gateway,
    pub receiver: Upstream,
    /// What became of the attacker's streams.
    pub outcomes: Arc<Outcomes>,
}

/// What one gateway went through.
#[derive(Clone, Debug, Default)]
pub struct Endured {
    /// What became of the attacker's streams.
    pub counts: Counts,
    /// Everybody else's requests.
    pub others: u64,
    /// Those of them that were not answered with 200.
    pub others_failed: u64,
    /// Envoy's memory before, and at most in the first and in the second round.
    pub resident: [u64; 3],
    /// Ticks of the processor.
    pub cpu: u64,
    /// Where the spans were at the end.
    pub account: Account,
    /// Where the error events were.
    pub events: Account,
    /// Requests that were left out because live requests kept too much.
    pub over_budget: u64,
    /// POSTs that the receiver got.
    pub posts: u64,
}

impl Scene {
    /// A gateway with one worker and a receiver that takes everything.
    pub fn new(name: impl Into<String>, config: Value) -> Self {
        let accepts = vec![Step::Send(Reply::status(200).to_bytes("POST"))];
        Self {
            name: name.into(),
            config,
            receiver: vec![accepts],
            workers: 1,
            max_cpu: None,
        }
    }

    /// Another receiver, which does one after the other, over and over again.
    pub fn receiver(self, scripts: Vec<Vec<Step>>) -> Self {
        Self {
            receiver: scripts,
            ..self
        }
    }

    pub fn workers(self, workers: u32) -> Self {
        Self { workers, ..self }
    }

    /// So many times the time of the processor that the same load takes without the filter, and no
    /// more.
    pub fn max_cpu(self, times: f64) -> Self {
        Self {
            max_cpu: Some(times),
            ..self
        }
    }

    /// Attacks twice in a row, without the filter and with it, and compares.
    pub async fn run(self, attack: impl AsyncFn(&Place)) -> Endured {
        let (control, _) = self.endure(false, &attack).await;
        let (endured, place) = self.endure(true, &attack).await;
        self.print(&endured, &control);
        self.check(&endured, &control, &place);
        endured
    }

    async fn endure(&self, has_filter: bool, attack: &impl AsyncFn(&Place)) -> (Endured, Place) {
        let place = self.place(has_filter).await;
        // A first request, so that memory is that of a gateway at work.
        place.gateway.pass(&traced()).await;
        let mut endured = Endured {
            resident: [place.gateway.envoy.resident_bytes(); 3],
            ..Endured::default()
        };
        let before = place.gateway.envoy.cpu_ticks();
        for round in [1, 2] {
            let seen = RefCell::new((&mut endured, round));
            tokio::select! {
                () = attack(&place) => (),
                () = watch(&place, &seen) => (),
            }
            sample(&place, &mut endured, round).await;
        }
        endured.cpu = place.gateway.envoy.cpu_ticks() - before;
        endured.counts = place.outcomes.counts();
        if has_filter {
            // The filter still does what it is for. What it tells then is all that there was
            // before.
            let told = place.gateway.envoy.stat("spans_recorded").await;
            place.gateway.pass(&traced()).await;
            let is_told = |account: &Account| account.recorded > told;
            endured.account = place.gateway.envoy.wait_for_account(is_told).await;
            endured.events = place.gateway.envoy.wait_for_events(|_| true).await;
        }
        endured.over_budget = place.gateway.envoy.stat("requests_over_budget").await;
        (endured, place)
    }

    async fn place(&self, has_filter: bool) -> Place {
        let receiver = Upstream::start().await;
        receiver.replies("POST", ENDPOINT, self.receiver.clone());
        let mut config = self.config.clone();
        config["transport"]["cluster"] = "receiver".into();
        let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
        let all = json!({"numerator": 100});
        let held = json!({"@type": fault, "delay": {"fixed_delay": "600s", "percentage": all}});
        let local = json!({"direct_response": {"status": 200}});
        let any_origin = json!({"header": {"key": "access-control-allow-origin", "value": "*"}});
        let mut open = local.clone();
        open["response_headers_to_add"] = json!([any_origin]);
        let builder = Gateway::builder().await.config(config);
        let answer = |lines: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{lines}transfer-encoding: chunked\r\n\r\n");
            vec![Step::Send((head + "4\r\nhalf\r\n").into()), Step::Hang]
        };
        let upstream = builder.upstream();
        upstream.script("GET", "/half", answer(""));
        let names = "a,".repeat(LONGEST / 6);
        let lists = [
            "access-control-allow-headers",
            "access-control-expose-headers",
            "vary",
        ];
        let reply = Reply::status(200).header("access-control-allow-origin", "*");
        let reply = lists
            .iter()
            .fold(reply, |reply, name| reply.header(name, &names));
        upstream.reply("OPTIONS", "/lists", reply.clone());
        upstream.reply("GET", "/lists", reply);
        let long = format!("x-long: {}\r\n", "a".repeat(LONGEST));
        upstream.script("GET", "/answers", answer(&long));
        let mut many = cluster_at("many", Some(upstream.address()));
        let unbounded = json!({
            "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
        });
        // The service is slower than Envoy where thousands of connections begin at once.
        many["connect_timeout"] = "60s".into();
        many["circuit_breakers"] = json!({"thresholds": [unbounded]});
        let many_answers = json!({"route": {"cluster": "many", "timeout": "0s"}});
        upstream.script("GET", "/never", vec![Step::Hang]);
        let builder = builder
            .cluster(many)
            .cluster(cluster_at("receiver", Some(receiver.address())))
            .behind(FAULT, json!({"@type": fault}))
            .route(Route::new("/held", "/held.*").filter(FAULT, held))
            .route(Route::new("/local", "/local.*").action(local))
            .route(Route::new("/open", "/open.*").action(open))
            .route(Route::new("/answers", "/answers").action(many_answers))
            .concurrency(self.workers);
        let builder = match has_filter {
            true => builder,
            false => builder.without_filter(),
        };
        Place {
            gateway: builder.start().await,
            receiver,
            outcomes: Arc::default(),
        }
    }

    fn print(&self, endured: &Endured, control: &Endured) {
        let added = |endured: &Endured| format!("{:.0}", endured.added() as f64 / MIB);
        let failed = |endured: &Endured| endured.counts.failed() + endured.others_failed;
        let Account {
            recorded,
            sent,
            discarded,
            ..
        } = &endured.account;
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.2} | {recorded} | {sent} | {} | {} |",
            self.name,
            endured.counts.sent,
            failed(endured),
            failed(control),
            added(endured),
            added(control),
            endured.times(control),
            discarded.values().sum::<u64>(),
            endured.over_budget,
        );
    }

    fn check(&self, endured: &Endured, control: &Endured, place: &Place) {
        let name = &self.name;
        let Place { gateway, .. } = place;
        let log = gateway.envoy.log();
        // What Envoy says when a call into the VM fails, and what the module says before it panics.
        let dead = ["[error][wasm]", "[critical]", "panicked"];
        let is_dead = |line: &&str| dead.iter().any(|word| line.contains(word));
        assert_eq!(
            log.lines().find(is_dead),
            None,
            "{name}: the VM died; {endured:?}"
        );
        let lines = log.lines().filter(|line| line.contains("wasm log"));
        let lines = lines.count();
        assert!(
            lines <= LOG_LINES,
            "{name}: the filter logged {lines} lines"
        );

        let (mine, theirs) = (endured.counts, control.counts);
        assert!(
            mine.failed() <= theirs.failed(),
            "{name}: {mine:?}, without the filter {theirs:?}"
        );
        let (mine, theirs) = (endured.others_failed, control.others_failed);
        assert!(
            mine <= theirs,
            "{name}: {mine} others' requests failed, without the filter {theirs}"
        );

        let [_, first, second] = endured.resident;
        let more = endured.added().saturating_sub(control.added());
        let bound = (MAX_LIVE_BYTES + MORE_BYTES) * u64::from(self.workers);
        assert!(
            more <= bound,
            "{name}: {more} bytes more than without the filter"
        );
        let growth = |[_, first, second]: [u64; 3]| second.saturating_sub(first);
        let allowed = growth(control.resident) + GROWTH;
        assert!(
            growth(endured.resident) <= allowed,
            "{name}: from {first} to {second} bytes"
        );
        if let Some(max) = self.max_cpu {
            let times = endured.times(control);
            assert!(
                times <= max,
                "{name}: {times} times the time of the processor, at most {max}"
            );
        }
    }
}

impl Endured {
    /// By how much Envoy's memory has grown at most.
    fn added(&self) -> u64 {
        let [before, first, second] = self.resident;
        first.max(second).saturating_sub(before)
    }

    /// How many times the time of the processor that the other one took.
    fn times(&self, control: &Self) -> f64 {
        self.cpu.max(1) as f64 / control.cpu.max(1) as f64
    }
}

/// A request whose trace is sampled.
fn traced() -> Request {
    Request::get("/api/afterwards").header("sentry-trace", SAMPLED)
}

/// Everybody else, and a look at Envoy, ten times a second.
async fn watch(place: &Place, seen: &RefCell<(&mut Endured, usize)>) {
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let response = Request::get("/api/1")
            .send_within(PATIENCE, place.gateway.envoy.address())
            .await;
        let mut found = Endured::default();
        sample(place, &mut found, 0).await;
        let (endured, round) = &mut *seen.borrow_mut();
        endured.others += 1;
        if response.map_or(true, |response| response.status != 200) {
            endured.others_failed += 1;
        }
        endured.resident[*round] = endured.resident[*round].max(found.resident[0]);
        endured.posts += found.posts;
    }
}

async fn sample(place: &Place, endured: &mut Endured, round: usize) {
    let Place {
        gateway, receiver, ..
    } = place;
    let resident = gateway.envoy.resident_bytes();
    endured.resident[round] = endured.resident[round].max(resident);
    endured.account = gateway.envoy.wait_for_account(|_| true).await;
    gateway.upstream.take_if(|_| true);
    endured.posts += receiver.take_if(|_| true).len() as u64;
}
