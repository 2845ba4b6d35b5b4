//! The module looks for Envoy's callbacks in the process, so `cost` has to show its own.

fn main() {
    println!("cargo:rustc-link-arg-bin=cost=-rdynamic");
}
