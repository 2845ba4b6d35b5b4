//! Prints the module's size and what it imports; fails past the budget, or on an import that Envoy
//! does not offer.

use std::io::Write;
use std::process::ExitCode;

use flate2::{write::GzEncoder, Compression};
use wasm_host::{module_bytes, module_imports, offers, HostError};

/// The most bytes the module may have.
const BUDGET: usize = 700_000;
/// The most bytes it may have when compressed.
const GZIP_BUDGET: usize = 240_000;

fn main() -> ExitCode {
    match report() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("size: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is within bounds.
fn report() -> Result<bool, HostError> {
    let bytes = module_bytes()?;
    let sizes = [
        ("module", bytes.len(), BUDGET),
        ("gzipped", gzipped(&bytes), GZIP_BUDGET),
    ];
    for (what, size, budget) in sizes {
        println!("{what:<8} {size:>7} bytes of {budget}");
    }
    let imports = module_imports()?;
    let unknown: Vec<_> = imports
        .iter()
        .filter(|(module, name)| !offers(module, name))
        .collect();
    println!(
        "imports  {:>7}, of them not offered by Envoy: {}",
        imports.len(),
        unknown.len()
    );
    for (module, name) in &unknown {
        println!("         {module}.{name}");
    }
    Ok(unknown.is_empty() && sizes.iter().all(|(_, size, budget)| size <= budget))
}

fn gzipped(bytes: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_or(usize::MAX, |bytes| bytes.len())
}
