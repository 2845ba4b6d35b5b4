//! What a VM, a request and a trace may weigh in the module's memory, and that it is used again.

use wasm_host::footprints;

/// The most bytes of each. Budgets and no measurements: `make bench-memory` tells those.
const BUDGETS: [(&str, u64); 10] = [
    ("a VM with its configuration", 2 << 20),
    ("a rule with a pattern for the path", 16 << 10),
    ("a live request that is forwarded", 1 << 10),
    ("a live request that begins a trace, not sampled", 1 << 10),
    ("a live request that is recorded", 4 << 10),
    (
        "a live request that is forwarded, 57 kB of headers",
        1 << 10,
    ),
    ("a live request that is recorded, 57 kB of headers", 8 << 10),
    ("a queued trace, `otlp`", 4 << 10),
    ("a queued trace, `span_v2`", 6 << 10),
    ("a queued trace, `transaction`", 4 << 10),
];

#[test]
fn memory_is_within_its_budget_and_used_again() {
    let measured = footprints();
    let names: Vec<_> = measured.iter().map(|footprint| footprint.what).collect();
    assert_eq!(names, BUDGETS.map(|(what, _)| what));
    let mut wrong = Vec::new();
    for (footprint, (what, budget)) in measured.iter().zip(BUDGETS) {
        println!("{what}: {} of {budget} bytes", footprint.bytes);
        if footprint.bytes == 0 || footprint.bytes > budget || footprint.pages_again > 2 {
            wrong.push(footprint);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
