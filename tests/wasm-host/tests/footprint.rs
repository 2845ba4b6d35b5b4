//! What a VM, a request and a trace weigh in the module's memory, and that it is used again.

use wasm_host::footprints;

/// Bytes of each, as measured when they last changed for a reason, and how far apart two measured
/// values can lie: memory grows by pages of 64 KiB, which many of a kind share.
const MEASURED: [(&str, u64, u64); 10] = [
    ("a VM with its configuration", 1_179_648, 65_536),
    ("a rule with a pattern for the path", 3_932, 328),
    ("a live request that is forwarded", 196, 66),
    ("a live request that begins a trace, not sampled", 196, 66),
    ("a live request that is recorded", 917, 66),
    (
        "a live request that is forwarded, 57 kB of headers",
        1_245,
        66,
    ),
    (
        "a live request that is recorded, 57 kB of headers",
        3_145,
        66,
    ),
    ("a queued trace, `otlp`", 1_835, 66),
    ("a queued trace, `span_v2`", 3_866, 66),
    ("a queued trace, `transaction`", 2_818, 66),
];
/// A new compiler may lay out a little otherwise; a change of ours shows.
const TOLERANCE_PERCENT: u64 = 8;

#[test]
fn nothing_weighs_more_than_it_did_and_memory_is_used_again() {
    let footprints = footprints();
    let names: Vec<_> = footprints.iter().map(|footprint| footprint.what).collect();
    assert_eq!(names, MEASURED.map(|(what, ..)| what));
    let mut wrong = Vec::new();
    for (footprint, (what, was, step)) in footprints.iter().zip(MEASURED) {
        println!("{what}: {} bytes, was {was}", footprint.bytes);
        let allowed = step + was * TOLERANCE_PERCENT / 100;
        if footprint.bytes.abs_diff(was) > allowed || footprint.pages_again > 2 {
            wrong.push((footprint, was));
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nIf that is for a reason (or better), write the new numbers into this file"
    );
}
