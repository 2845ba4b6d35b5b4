//! Every import that the module has, refused with every status, from three moments on: the whole
//! life of a worker goes on without a trap, no stream is held, and no header changes that is not
//! ours.

use std::fmt::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};

use vectors::SentryTrace;
use wasm_host::{config, live, module_imports, Builder, Exchange, Host, Rng, When};

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
