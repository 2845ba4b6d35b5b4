//! The vendored SDK is the published one but for one feature.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The lines that were added.
const GATE: &str = "#[cfg(feature = \"contexts\")]";

/// A file as it was published.
fn published(text: &str) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.retain(|line| *line != GATE);
    // The table of features and the empty line behind it.
    if let Some(at) = lines.iter().position(|line| *line == "[features]") {
        let length = lines[at..].iter().position(|line| line.is_empty());
        lines.drain(at..=at + length.expect("an end of the table"));
    }
    lines.join("\n")
}

#[test]
fn all_that_was_changed_is_one_feature() {
    let vendor = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../filter/vendor");
    let sums = fs::read_to_string(vendor.join("published.sha256")).expect("checksums");
    let mut files = 0;
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("a checksum and a name");
        let file = vendor.join("proxy-wasm").join(name);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let digest = Sha256::digest(published(&text));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sum, "{name}");
        files += 1;
    }
    let sources = fs::read_dir(vendor.join("proxy-wasm/src")).expect("sources");
    assert_eq!(files, 4 + sources.count(), "a file that was not published");
}
