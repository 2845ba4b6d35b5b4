//! Every import that the module has, refused with every status, from three moments on: the whole
//! life of a worker goes on without a trap, no stream is held, and no header changes that is not
//! ours.

use std::fmt::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use vectors::SentryTrace;
use wasm_host::{
    config, module_imports, Answer, Builder, Cluster, Exchange, HeaderMap, Host, Rng, Trap, When,
    CONTINUE,
};

/// The statuses of the ABI, and one that nobody has defined. WASI has other numbers; to a module
/// any of them is an error.
const STATUSES: [u32; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99];

#[test]
fn from_the_first_instruction_on() {
    every_import_with_every_status(When::Always);
}

#[test]
fn from_configuration_on() {
    every_import_with_every_status(When::FromConfiguration);
}

#[test]
fn after_configuration() {
    every_import_with_every_status(When::AfterConfiguration);
}

#[test]
fn from_the_second_call_on() {
    every_import_with_every_status(When::FromCall(2));
}

#[test]
fn in_one_callback_only() {
    let callbacks = [
        "_initialize",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
        "proxy_on_log",
        "proxy_on_tick",
        "proxy_on_http_call_response",
        "proxy_on_done",
        "proxy_on_delete",
    ];
    let mut failures = Failures::default();
    for import in after_a_life_without_refusals().called() {
        for callback in callbacks {
            failures.note(&[(import, 10, When::During(callback))]);
        }
    }
    failures.report();
}

#[test]
fn everything_at_once() {
    let mut failures = Failures::default();
    let imports = imports();
    for when in [
        When::Always,
        When::AfterConfiguration,
        When::FromCall(2),
        When::FromCall(50),
    ] {
        for status in STATUSES {
            let plan: Vec<_> = imports
                .iter()
                .map(|import| (import.as_str(), status, when))
                .collect();
            failures.note(&plan);
        }
    }
    failures.report();
}

#[test]
fn whole_families_of_imports() {
    let families: [&[&str]; 6] = [
        &["proxy_http_call"],
        &["proxy_set_tick_period_milliseconds"],
        &[
            "proxy_define_metric",
            "proxy_increment_metric",
            "proxy_record_metric",
            "proxy_get_metric",
        ],
        &["proxy_get_property", "proxy_set_property"],
        &["proxy_get_shared_data", "proxy_set_shared_data"],
        &[
            "proxy_get_current_time_nanoseconds",
            "clock_time_get",
            "random_get",
        ],
    ];
    let mut failures = Failures::default();
    for choice in 0_u32..1 << families.len() {
        let chosen = families
            .iter()
            .enumerate()
            .filter(|(bit, _)| choice & (1 << bit) != 0);
        let plan: Vec<_> = chosen
            .flat_map(|(_, family)| *family)
            .map(|import| (*import, 12, When::Always))
            .collect();
        failures.note(&plan);
    }
    failures.report();
}

#[test]
fn any_few_at_any_time() {
    let imports = imports();
    let mut random = Rng::new(42);
    let mut failures = Failures::default();
    for _ in 0..300 {
        let plan: Vec<_> = (0..2 + random.below(4))
            .map(|_| {
                let import = random.pick(&imports).as_str();
                let first = 1 + random.below(30) as u64;
                (import, *random.pick(&STATUSES), When::FromCall(first))
            })
            .collect();
        failures.note(&plan);
    }
    failures.report();
}

/// Else the tables above would prove less than they say.
#[test]
fn a_life_without_refusals_calls_every_import_that_the_filter_has_a_use_for() {
    const USED: [&str; 18] = [
        "proxy_log",
        "proxy_get_buffer_bytes",
        "proxy_get_property",
        "proxy_get_current_time_nanoseconds",
        "proxy_set_tick_period_milliseconds",
        "proxy_get_header_map_pairs",
        "proxy_replace_header_map_value",
        "proxy_remove_header_map_value",
        "proxy_get_header_map_value",
        "proxy_add_header_map_value",
        "proxy_set_property",
        "proxy_http_call",
        "proxy_define_metric",
        "proxy_increment_metric",
        "proxy_done",
        "random_get",
        "environ_get",
        "environ_sizes_get",
    ];
    let host = after_a_life_without_refusals();
    let called = host.called();
    println!("called: {called:?}");
    for import in USED {
        assert!(called.contains(import), "{import} was never called");
    }
    assert_eq!(host.called_out_of_place(), [""; 0]);
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_and_nothing_is_done() {
    for status in STATUSES {
        let builder = Host::builder().refuse("proxy_get_buffer_bytes", status, When::Always);
        let mut host = builder.start().unwrap_or_else(|error| panic!("{error}"));
        let (root, accepted) = host
            .plugin(config::SAMPLED)
            .unwrap_or_else(|trap| panic!("{trap}"));
        let served = Exchange::get("/")
            .run(&mut host, root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        served.assert_never_held();
        assert!(!accepted, "status {status}");
        assert_eq!(served.forwarded, served.exchange.request);
        host.tick(root).unwrap_or_else(|trap| panic!("{trap}"));
        assert!(host.callouts().is_empty());
    }
}

#[test]
fn what_is_refused_is_counted() {
    for import in [
        "proxy_get_header_map_pairs",
        "proxy_replace_header_map_value",
        "proxy_http_call",
        "proxy_get_property",
        "random_get",
    ] {
        let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
        live(&mut host).unwrap_or_else(|trap| panic!("{trap}"));
        let before = host
            .metric("sentry_filter.host_calls_refused")
            .unwrap_or_default();
        let (root, _) = host
            .plugin(config::SAMPLED)
            .unwrap_or_else(|trap| panic!("{trap}"));
        host.refuse(import, 10, When::Always);
        Exchange::get("/")
            .run(&mut host, root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        host.tick(root).unwrap_or_else(|trap| panic!("{trap}"));
        host.tick(root).unwrap_or_else(|trap| panic!("{trap}"));
        let after = host
            .metric("sentry_filter.host_calls_refused")
            .unwrap_or_default();
        assert!(after > before, "{import}");
    }
}

/// A host that says that there are no headers, in whatever way, has not given them: every request
/// has some.
#[test]
fn headers_that_are_not_given_are_not_absent() {
    for status in [0, 1, 2, 10, 99] {
        let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
        let (root, _) = host
            .plugin(config::SAMPLED)
            .unwrap_or_else(|trap| panic!("{trap}"));
        host.refuse("proxy_get_header_map_pairs", status, When::Always);
        let exchange = Exchange::get("/").header("baggage", "a=1").header(
            "sentry-trace",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-1",
        );
        let served = exchange
            .run(&mut host, root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert_eq!(served.forwarded, served.exchange.request, "status {status}");
    }
}

#[test]
fn without_random_numbers_nothing_is_invented() {
    let builder = Host::builder().refuse("random_get", 52, When::Always);
    let mut host = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (root, _) = host
        .plugin(config::SAMPLED)
        .unwrap_or_else(|trap| panic!("{trap}"));
    for _ in 0..5 {
        let served = Exchange::get("/")
            .run(&mut host, root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert_eq!(served.forwarded, served.exchange.request);
    }
    // What arrives goes on as it came: a span of our own would need an id.
    let arrives = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-1";
    let served = Exchange::get("/")
        .header("sentry-trace", arrives)
        .run(&mut host, root)
        .unwrap_or_else(|trap| panic!("{trap}"));
    assert_eq!(served.forwarded, served.exchange.request);
    host.tick(root).unwrap_or_else(|trap| panic!("{trap}"));
    assert!(host.callouts().is_empty(), "nothing is recorded");
    // As soon as there are some, traces begin.
    host.behave();
    let served = Exchange::get("/")
        .run(&mut host, root)
        .unwrap_or_else(|trap| panic!("{trap}"));
    let begun = SentryTrace::parse(served.forwarded.only("sentry-trace"));
    assert!(begun.is_some_and(|begun| begun.sampled == Some(true)));
}

fn every_import_with_every_status(when: When) {
    let host = after_a_life_without_refusals();
    let called = host.called();
    let mut failures = Failures::default();
    for import in imports() {
        // The SDK's traits bring imports that nothing calls: one status proves that.
        let statuses = if called.contains(import.as_str()) {
            &STATUSES[..]
        } else {
            &STATUSES[..1]
        };
        for status in statuses {
            failures.note(&[(&import, *status, when)]);
        }
    }
    failures.report();
}

fn after_a_life_without_refusals() -> Host {
    let mut host = builder().start().unwrap_or_else(|error| panic!("{error}"));
    live(&mut host).unwrap_or_else(|trap| panic!("{trap}"));
    host
}

fn builder() -> Builder {
    Host::builder()
        .env("SENTRY_RELEASE", "edge@1")
        .property(&["xds", "node", "id"], "node-a")
}

/// The names of what the module imports, but for the one that ends it.
fn imports() -> Vec<String> {
    let imports = module_imports().unwrap_or_else(|error| panic!("{error}"));
    let names = imports.into_iter().map(|(_, name)| name);
    names.filter(|name| name != "proc_exit").collect()
}

/// The plans that went wrong, and how.
#[derive(Default)]
struct Failures {
    runs: usize,
    refused: usize,
    found: Vec<String>,
}

impl Failures {
    fn note(&mut self, plan: &[(&str, u32, When)]) {
        self.runs += 1;
        let mut builder = builder();
        for (import, status, when) in plan {
            builder = builder.refuse(import, *status, *when);
        }
        let mut host = match builder.start() {
            Ok(host) => host,
            Err(error) => return self.found.push(format!("{plan:?}: {error}")),
        };
        match catch_unwind(AssertUnwindSafe(|| live(&mut host))) {
            Ok(Ok(())) => {}
            Ok(Err(trap)) => self.found.push(format!("{plan:?}: {trap}")),
            Err(_) => self.found.push(format!("{plan:?}: the assertion above")),
        }
        self.refused += usize::from(host.refused() > 0);
    }

    fn report(self) {
        println!(
            "{} plans, {} of them refused something",
            self.runs, self.refused
        );
        assert!(self.refused > 0, "nothing was refused");
        let mut list = String::new();
        for failure in self.found.iter().take(20) {
            writeln!(list, "{failure}").expect("a string takes it");
        }
        assert!(
            self.found.is_empty(),
            "{} of {} plans failed:\n{list}",
            self.found.len(),
            self.runs
        );
    }
}

/// The life of a worker, every callback in it, with good and bad turns.
fn live(host: &mut Host) -> Result<(), Trap> {
    let (quiet, _) = host.plugin(config::PROPAGATE_ONLY)?;
    let (root, _) = host.plugin(config::SAMPLED)?;
    let (deferred, _) = host.plugin(config::DEFERRED)?;
    requests(host, root, ALL)?;
    requests(host, quiet, SOME)?;
    requests(host, deferred, SOME)?;
    half_streams(host, root)?;
    answers(host, root)?;
    strangers(host, root)?;
    clusters(host, root)?;

    host.shut_down(quiet)?;
    requests(host, root, SOME)?;
    Exchange::get("/last").run(host, root)?;
    host.shut_down(root)?;
    host.advance(Duration::from_secs(1));
    for token in host.outstanding() {
        host.answer(token, &Answer::status(200))?;
    }
    if host.has_context(root) {
        host.tick(root)?;
        host.delete(root)?;
    }
    let (next, _) = host.plugin(config::SAMPLED)?;
    requests(host, next, SOME)?;
    Exchange::get("/last").run(host, next)?;
    host.shut_down(next)?;
    for token in host.outstanding() {
        host.answer(token, &Answer::status(200))?;
    }
    Ok(())
}

const ALL: usize = usize::MAX;
const SOME: usize = 2;

fn requests(host: &mut Host, root: u32, how_many: usize) -> Result<(), Trap> {
    const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
    let baggage = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,sentry-release=web@1,other=1";
    let exchanges = [
        Exchange::get("/sampled")
            .header("sentry-trace", format!("{TRACE}-1"))
            .header("baggage", baggage),
        Exchange::get("/bad")
            .header("sentry-trace", "nonsense")
            .header("baggage", baggage),
        Exchange::granted("/granted"),
        Exchange::get("/plain"),
        Exchange::get("/not")
            .header("sentry-trace", format!("{TRACE}-0"))
            .status(404),
        Exchange::get("/open")
            .header("sentry-trace", TRACE)
            .status(500),
        Exchange::get("/upper").header("sentry-trace", TRACE.to_uppercase()),
        Exchange::get("/two")
            .header("sentry-trace", format!("{TRACE}-1"))
            .header("sentry-trace", "x"),
        Exchange::method("OPTIONS", "/preflight").header("origin", "https://shop.example"),
        Exchange::method("POST", "/own").to("o42.ingest.sentry.example"),
    ];
    for exchange in exchanges.iter().take(how_many) {
        let served = exchange.run(host, root)?;
        served.assert_never_held();
        served.assert_only_our_headers_changed();
    }
    host.tick(root)
}

/// Streams that skip callbacks, end early, or are told everything.
fn half_streams(host: &mut Host, root: u32) -> Result<(), Trap> {
    let exchange = Exchange::get("/half");
    let empty = HeaderMap::new();
    let unborn = host.create_stream(root)?;
    host.finish(unborn)?;
    let cut = host.create_stream(root)?;
    assert_eq!(
        host.request_headers(cut, &exchange.request, false)?,
        CONTINUE
    );
    let whole = host.create_stream(root)?;
    assert_eq!(host.request_headers(whole, &empty, false)?, CONTINUE);
    assert_eq!(host.request_body(whole, b"body", false)?, CONTINUE);
    assert_eq!(host.request_trailers(whole, &empty)?, CONTINUE);
    host.finish(cut)?;
    assert_eq!(host.response_headers(whole, &empty, false)?, CONTINUE);
    assert_eq!(host.response_body(whole, b"", true)?, CONTINUE);
    assert_eq!(host.response_trailers(whole, &empty)?, CONTINUE);
    host.log(whole)?;
    host.log(whole)?;
    host.finish(whole)
}

fn answers(host: &mut Host, root: u32) -> Result<(), Trap> {
    let answers = [
        Answer::status(200),
        Answer::failed(),
        Answer::status(500),
        Answer::status(200).with("x-sentry-rate-limits", "5:transaction;error:key, x:y"),
        Answer::status(429).with("retry-after", "1"),
    ];
    for answer in answers {
        Exchange::get("/answered").run(host, root)?;
        host.advance(Duration::from_secs(2));
        host.tick(root)?;
        for token in host.outstanding() {
            host.answer(token, &answer)?;
            host.deliver(root, token, &answer)?;
        }
        host.tick(root)?;
    }
    host.advance(Duration::from_secs(90));
    host.tick(root)
}

/// Ids and tokens that were never given out, or are gone.
fn strangers(host: &mut Host, root: u32) -> Result<(), Trap> {
    for token in [0, 4_711, u32::MAX] {
        host.deliver(root, token, &Answer::status(200))?;
        host.deliver(999, token, &Answer::failed())?;
    }
    let gone = host.create_stream(root)?;
    host.finish(gone)?;
    for id in [gone, 999, 0, u32::MAX] {
        host.raw(id, "proxy_on_log", &[id])?;
        host.raw(id, "proxy_on_done", &[id])?;
        host.raw(id, "proxy_on_delete", &[id])?;
        host.raw(id, "proxy_on_tick", &[id])?;
        let held = host.raw(id, "proxy_on_request_headers", &[id, 3, 1])?;
        assert_eq!(held.unwrap_or(CONTINUE), CONTINUE);
        let held = host.raw(id, "proxy_on_response_headers", &[id, 3, 1])?;
        assert_eq!(held.unwrap_or(CONTINUE), CONTINUE);
    }
    Ok(())
}

fn clusters(host: &mut Host, root: u32) -> Result<(), Trap> {
    for cluster in [Some(Cluster::NoHealthyHost), None, Some(Cluster::Accepts)] {
        match cluster {
            Some(cluster) => host.set_cluster("sentry", cluster),
            None => host.remove_cluster("sentry"),
        }
        Exchange::get("/cluster").run(host, root)?;
        host.advance(Duration::from_secs(1));
        host.tick(root)?;
    }
    Ok(())
}
