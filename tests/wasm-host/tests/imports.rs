//! What the module may ask of its host, and what the host does with a module that asks for more.

use wasm_host::{module_exports, module_imports, offers, Host, HostError, MODULE_VARIABLE};

#[test]
fn the_filter_imports_only_what_envoy_offers() {
    let imports = module_imports().unwrap_or_else(|error| panic!("{error}"));
    for (module, name) in &imports {
        println!("{module}.{name}");
        assert!(offers(module, name), "{module}.{name}");
        assert!(
            module != "env" || name.starts_with("proxy_"),
            "{name} is not of the ABI"
        );
    }
    assert!(imports.iter().any(|(module, _)| module == "env"));
}

#[test]
fn a_module_that_asks_for_more_does_not_load() {
    let asks = |module: &str, name: &str| {
        let text = format!(
            r#"(module
                (import "{module}" "{name}" (func (param i32 i32) (result i32)))
                (func (export "proxy_abi_version_0_2_1")))"#
        );
        match Host::builder().module(text).start() {
            Err(HostError::UnknownImport(name)) => name,
            other => panic!("{:?}", other.err()),
        }
    };
    assert_eq!(
        asks("env", "proxy_get_configuration"),
        "env.proxy_get_configuration"
    );
    assert_eq!(asks("env", "__cxa_throw"), "env.__cxa_throw");
    assert_eq!(
        asks("wasi_snapshot_preview1", "path_open"),
        "wasi_snapshot_preview1.path_open"
    );
    assert_eq!(
        asks("wasi_snapshot_preview2", "fd_write"),
        "wasi_snapshot_preview2.fd_write"
    );
}

#[test]
fn a_module_of_another_abi_does_not_load() {
    let text = r#"(module (func (export "proxy_abi_version_0_2_0")))"#;
    let refused = Host::builder().module(text).start();
    assert!(matches!(refused, Err(HostError::NoAbiVersion)));
}

#[test]
fn a_module_that_is_not_there_is_missed_with_the_way_to_build_it() {
    let message = HostError::Missing("sentry_filter.wasm".into()).to_string();
    assert!(message.contains("make wasm"), "{message}");
    assert!(
        message.contains("sentry_filter.wasm") && message.contains(MODULE_VARIABLE),
        "{message}"
    );
}

/// A host calls into the module for every callback that it exports, with every chunk of every body.
#[test]
fn the_filter_exports_no_callback_that_does_nothing() {
    let callbacks: Vec<String> = module_exports()
        .unwrap_or_else(|error| panic!("{error}"))
        .into_iter()
        .filter(|name| name.starts_with("proxy_on_"))
        .collect();
    println!("{callbacks:?}");
    let expected = [
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_done",
        "proxy_on_http_call_response",
        "proxy_on_log",
        "proxy_on_memory_allocate",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
        "proxy_on_tick",
        "proxy_on_vm_start",
    ];
    assert_eq!(callbacks, expected);
}
