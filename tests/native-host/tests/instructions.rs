//! What the dynamic module, as it is built for Envoy, executes for a request and how often it asks
//! for memory: counted by valgrind, so the same on a busy machine. What Envoy does for it is not in
//! there, and neither is what the C library does.
//!
//! `make test-instructions` runs it; it needs valgrind and `make native`.
#![cfg(feature = "valgrind")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the counts of a request may differ by: another compiler, another random number.
const TOLERANCE_PERCENT: u64 = 5;
/// Requests of the shorter run and how many more the longer one has: what is counted is the
/// difference.
const FIRST: u64 = 100;
const MORE: u64 = 1_000;

const DSN: &str = "https://0123456789abcdef0123456789abcdef@o42.ingest.sentry.example/7";
const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
const BAGGAGE: &str = "baggage=sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,sentry-sampled=false,sentry-environment=production,other=1";

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    instructions: u64,
    allocations: u64,
}

/// Reads what callgrind has written: the instructions of the module's own code, and its calls of
/// the allocator.
fn read(file: &Path, module: &str) -> Count {
    let text = fs::read_to_string(file).expect("callgrind's file");
    let (mut objects, mut functions) = (HashMap::new(), HashMap::new());
    let mut count = Count {
        instructions: 0,
        allocations: 0,
    };
    let (mut is_module, mut callee) = (false, String::new());
    let mut is_call = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            is_module = full(&mut objects, name).ends_with(module);
        } else if let Some(name) = line.strip_prefix("cob=") {
            full(&mut objects, name);
        } else if let Some(name) = line.strip_prefix("fn=") {
            full(&mut functions, name);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = full(&mut functions, name);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            is_call = true;
            let times = calls
                .split(' ')
                .next()
                .and_then(|times| times.parse::<u64>().ok());
            let allocates = matches!(
                callee.as_str(),
                "malloc" | "calloc" | "realloc" | "posix_memalign" | "aligned_alloc"
            );
            if is_module && allocates {
                count.allocations += times.expect("how often");
            }
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line after a call has what is below it, which counts where it stands itself.
            if is_module && !is_call {
                let cost = line
                    .split(' ')
                    .nth(1)
                    .and_then(|cost| cost.parse::<u64>().ok());
                count.instructions += cost.unwrap_or_default();
            }
            is_call = false;
        }
    }
    assert_ne!(count.instructions, 0, "{module} is not in there");
    count
}

/// A name that is written once with its number, `(7) name`, and by its number from then on.
fn full(known: &mut HashMap<String, String>, name: &str) -> String {
    match name.split_once(' ') {
        Some((number, name)) => {
            known.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => known.get(name).cloned().unwrap_or_default(),
    }
}

fn run(module: &Path, configuration: &str, requests: u64, headers: &[String]) -> Count {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("callgrind.out");
    let valgrind = Command::new(env::var_os("VALGRIND").unwrap_or("valgrind".into()))
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env!("CARGO_BIN_EXE_cost"))
        .arg(module)
        .args([configuration, &requests.to_string()])
        .args(headers)
        .output()
        .expect("valgrind");
    let said = String::from_utf8_lossy(&valgrind.stderr);
    assert!(valgrind.status.success(), "{said}");
    let name = module.file_name().expect("a file").to_string_lossy();
    read(&out, &name)
}

fn measure(configuration: &str, headers: &[String]) -> Count {
    let module = env::var_os("SENTRY_FILTER_SO").expect("SENTRY_FILTER_SO names the module");
    let module = PathBuf::from(module);
    let [first, second] =
        [FIRST, FIRST + MORE].map(|requests| run(&module, configuration, requests, headers));
    let each = |first: u64, second: u64| (second - first).div_ceil(MORE);
    Count {
        instructions: each(first.instructions, second.instructions),
        allocations: each(first.allocations, second.allocations),
    }
}

#[test]
fn no_path_executes_more_than_it_did() {
    let with = |rate: &str, more: &str| {
        // No tick comes within the minute, but full batches go.
        format!(
            r#"{{"dsn": "{DSN}", "traces_sample_rate": {rate}, {more} "transport": {{"flush_interval_ms": 60000, "format": "otlp"}}}}"#
        )
    };
    let rules = (0..20).map(|each| format!(r#"{{"match": {{"path": "^/shops/{each}/items/[0-9]+$"}}, "transaction": "/shops/{each}/items/{{id}}"}}"#));
    let rules = format!(r#""rules": [{}],"#, rules.collect::<Vec<_>>().join(","));
    let arrives = |sampled: u8| {
        vec![
            format!("sentry-trace={TRACE}-{sampled}"),
            BAGGAGE.to_owned(),
        ]
    };
    let origin = vec!["origin=https://shop.example".to_owned()];
    let transaction = with("1.0", "").replace("otlp", "transaction");
    // Instructions and allocations of a request, from its headers to its share of a POST.
    let expected = [
        ("forwarded", with("0.0", ""), arrives(0), 18_151, 21),
        ("nothing sampled", with("0.0", ""), Vec::new(), 7_467, 10),
        (
            "nothing sampled, 20 rules",
            with("0.0", &rules),
            Vec::new(),
            8_632,
            16,
        ),
        (
            "nothing sampled, another origin",
            with("0.0", ""),
            origin,
            11_288,
            14,
        ),
        (
            "nothing sampled, client told nothing",
            with("0.0", r#""response_headers": [],"#),
            Vec::new(),
            6_937,
            8,
        ),
        ("recorded, otlp", with("1.0", ""), Vec::new(), 31_356, 38),
        (
            "continued and recorded, otlp",
            with("1.0", ""),
            arrives(1),
            39_999,
            45,
        ),
        ("recorded, transaction", transaction, Vec::new(), 63_913, 55),
    ];
    let mut wrong = Vec::new();
    for (what, configuration, headers, instructions, allocations) in expected {
        let found = measure(&configuration, &headers);
        println!(
            "{what}: {} instructions, {} allocations",
            found.instructions, found.allocations
        );
        let is_about =
            found.instructions.abs_diff(instructions) * 100 <= instructions * TOLERANCE_PERCENT;
        if !is_about || found.allocations != allocations {
            wrong.push(format!(
                "{what}: {found:?} instead of {instructions} and {allocations}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nIf that is for a reason (or better), write the new numbers into this file"
    );
}
