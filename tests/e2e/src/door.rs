//! Which of the two doors to Envoy the tests go through: `SENTRY_FILTER_DOOR`.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::{json, Value};

use crate::envoy::existing;

/// A way into Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The proxy-wasm module.
    Wasm,
    /// The dynamic module.
    Native,
}

/// The door that is asked for; Wasm unless it is said otherwise.
///
/// # Panics
/// If there is no such door.
pub fn door() -> Door {
    match env::var("SENTRY_FILTER_DOOR").as_deref() {
        Err(_) | Ok("" | "wasm") => Door::Wasm,
        Ok("native") => Door::Native,
        Ok(other) => panic!("SENTRY_FILTER_DOOR is {other:?}: the doors are wasm and native"),
    }
}

impl Door {
    /// What Envoy puts before the names of the filter's metrics.
    pub fn metric_prefix(self) -> &'static str {
        match self {
            Self::Wasm => "wasmcustom.",
            Self::Native => "dynamicmodulescustom.",
        }
    }

    /// What it puts before the names in the filter state.
    pub fn filter_state_prefix(self) -> &'static str {
        match self {
            Self::Wasm => "wasm.",
            Self::Native => "",
        }
    }
}

/// The built dynamic module.
///
/// # Panics
/// If it has not been built.
pub fn dynamic_module() -> PathBuf {
    existing(
        "SENTRY_FILTER_SO",
        "target/native/libsentry_filter.so",
        "make native",
    )
}

/// The filter as an entry of `http_filters`, in JSON, as a dynamic module.
pub fn dynamic_filter(name: &str, configuration: Option<&Value>, module: Option<&Path>) -> Value {
    let kind =
        "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
    let mut filter = json!({
        "@type": kind,
        "dynamic_module_config": dynamic_module_config(module),
        "filter_name": name,
    });
    if let Some(configuration) = configuration {
        filter["filter_config"] = configuration.clone();
    }
    json!({"name": name, "typed_config": filter})
}

/// What lives as long as the process, as an entry of `bootstrap_extensions`, in JSON.
pub fn bootstrap_extension(module: Option<&Path>) -> Value {
    let kind = "type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension";
    let extension = json!({
        "@type": kind,
        "dynamic_module_config": dynamic_module_config(module),
        "extension_name": "sentry",
    });
    json!({"name": "envoy.bootstrap.dynamic_modules", "typed_config": extension})
}

fn dynamic_module_config(module: Option<&Path>) -> Value {
    let module = module.map_or_else(dynamic_module, Path::to_owned);
    json!({"module": {"local": {"filename": module}}})
}
