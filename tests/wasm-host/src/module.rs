//! Finding, checking and compiling the module.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasmi::{CompilationMode, Config, Engine, ExternType, Module};

use crate::error::HostError;
use crate::imports::MODULES;

/// The environment variable that names another module than the workspace's release build.
pub const MODULE_VARIABLE: &str = "SENTRY_FILTER_WASM";

/// The bytes of the module under test.
pub fn module_bytes() -> Result<Vec<u8>, HostError> {
    let path = env::var_os(MODULE_VARIABLE).map_or_else(default_path, PathBuf::from);
    fs::read(&path).map_err(|_| HostError::Missing(path))
}

fn default_path() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    workspace
        .unwrap_or(Path::new("."))
        .join("target/wasm32-wasip1/release/sentry_filter.wasm")
}

/// The module under test, compiled once for all hosts of a test binary.
pub(crate) fn shared() -> Result<Module, HostError> {
    static MODULE: OnceLock<Result<Module, HostError>> = OnceLock::new();
    MODULE.get_or_init(|| compile(&module_bytes()?)).clone()
}

/// Compiles a module, and refuses it where Envoy would.
pub(crate) fn compile(bytes: &[u8]) -> Result<Module, HostError> {
    let mut config = Config::default();
    config.consume_fuel(true);
    // Lazy translation would be charged to whichever callback comes first.
    config.compilation_mode(CompilationMode::Eager);
    let module = Module::new(&Engine::new(&config), bytes)
        .map_err(|error| HostError::Invalid(error.to_string()))?;
    for (from, name) in imports_of(&module) {
        if !offers(&from, &name) {
            return Err(HostError::UnknownImport(format!("{from}.{name}")));
        }
    }
    match module.get_export("proxy_abi_version_0_2_1") {
        Some(ExternType::Func(_)) => Ok(module),
        _ => Err(HostError::NoAbiVersion),
    }
}

/// What the module under test imports, as `(module, name)`.
pub fn module_imports() -> Result<Vec<(String, String)>, HostError> {
    Ok(imports_of(&shared()?))
}

/// The names of what the module under test exports, sorted.
pub fn module_exports() -> Result<Vec<String>, HostError> {
    let module = shared()?;
    let mut names: Vec<_> = module
        .exports()
        .map(|export| export.name().to_owned())
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn imports_of(module: &Module) -> Vec<(String, String)> {
    module
        .imports()
        .map(|import| (import.module().to_owned(), import.name().to_owned()))
        .collect()
}

/// Whether Envoy offers that import.
pub fn offers(module: &str, name: &str) -> bool {
    offered().any(|offer| offer == (module, name))
}

/// All imports that Envoy offers, as `(module, name)`.
pub fn offered() -> impl Iterator<Item = (&'static str, &'static str)> {
    MODULES
        .iter()
        .flat_map(|(module, imports)| imports.iter().map(move |import| (*module, import.name)))
}
