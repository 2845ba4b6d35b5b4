//! Prints what the module keeps in its memory, for `make bench-memory`: bytes, a tab, and of what.

fn main() {
    for footprint in wasm_host::footprints() {
        println!("{}\t{}", footprint.bytes, footprint.what);
    }
}
