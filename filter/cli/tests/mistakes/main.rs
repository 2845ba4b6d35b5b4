//! The mistakes that operators make with whole files: each of the shipped files is clean once it
//! has a real DSN, and one slip in it is found, with its line.

mod kubernetes;

use std::fs;
use std::path::Path;

use assert_cmd::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const SHIPPED_DSN: &str = "https://00000000000000000000000000000001@o0.ingest.sentry.io/1";
const DSN: &str = "https://4d7f1b3c9a8e4f60b2c5d7e9f1a3b5c7@o4507.ingest.us.sentry.io/4508";
const HOST: &str = "o4507.ingest.us.sentry.io";
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A shipped file with a real DSN, its host and a real checksum.
fn shipped(name: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("envoy").join(name)).expect(name);
    text.replace(SHIPPED_DSN, DSN)
        .replace("o0.ingest.sentry.io", HOST)
        .replace(&"0".repeat(64), SHA256)
}

/// Runs the command; its exit code, and what it printed.
fn run(stdin: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    let output = command
        .current_dir(ROOT)
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("a run");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    (output.status.code().expect("an exit code"), text)
}

fn strict(text: &str) -> (i32, String) {
    let dsn = format!("SENTRY_DSN={DSN}");
    run(text, &["check", "-", "--strict", "--quiet", "--env", &dsn])
}

/// A file with one text in the place of another, which is there.
fn slip(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in the file");
    text.replace(from, to)
}

/// The lines from one that contains a text to the one before another.
fn block(text: &str, from: &str, to: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.contains(from));
    let mut lines = lines.peekable();
    let first = lines.next().expect(from);
    let rest = lines.take_while(|line| !line.contains(to));
    std::iter::once(first)
        .chain(rest)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The file is refused, with every expected text; where one ends with `@`, in the line that has
/// what follows it.
fn assert_found(name: &str, text: &str, expected: &str) {
    let (code, printed) = strict(text);
    assert_eq!(code, 1, "{name}: {printed}");
    let (expected, place) = expected.split_once(" @ ").unwrap_or((expected, ""));
    let line = printed.lines().find(|line| line.contains(expected));
    let line = line.unwrap_or_else(|| panic!("{name}: no {expected:?} in\n{printed}"));
    if !place.is_empty() {
        let number = 1 + text
            .lines()
            .position(|line| line.contains(place))
            .expect(place);
        assert!(
            line.contains(&format!("line {number})")),
            "{name}: {line} in\n{printed}"
        );
    }
}

#[test]
fn every_shipped_file_with_a_real_dsn_is_clean() {
    let files = [
        "envoy.yaml",
        "envoy-auth.yaml",
        "envoy-cors.yaml",
        "envoy-edge.yaml",
        "envoy-local.yaml",
        "envoy-tunnel.yaml",
        "consul/config-entries.yaml",
        "higress/wasm-plugin.yaml",
        "istio/gateway-api.yaml",
        "istio/gateway.yaml",
        "istio/sidecar.yaml",
        "istio/waypoint.yaml",
        "kuma/mesh-proxy-patch.yaml",
        "istio/traffic-extension.yaml",
        "envoy-gateway/extension-policy-image.yaml",
        "envoy-gateway/extension-policy-http.yaml",
        "envoy-gateway/extension-policy-private.yaml",
        "xds/listeners.yaml",
        "native/envoy.yaml",
        "native/istio/gateway.yaml",
        "native/envoy-gateway/extension-policy.yaml",
    ];
    for file in files {
        let (code, printed) = strict(&shipped(file));
        assert_eq!((code, printed.as_str()), (0, ""), "{file}");
    }
}

#[test]
fn a_dynamic_module_is_looked_at_like_a_wasm_filter() {
    let file = shipped("native/envoy.yaml");
    let extension = block(&file, "bootstrap_extensions:", "static_resources:");
    let rows = [
        (
            "no extension",
            extension,
            String::new(),
            "bootstrap_extensions has no envoy.bootstrap.dynamic_modules @ DynamicModuleFilter",
        ),
        (
            "another module's extension",
            "DynamicModuleBootstrapExtension".to_owned(),
            "Other".to_owned(),
            "bootstrap_extensions has no",
        ),
        (
            "a key that it does not know",
            "\"traces_sample_rate\"".to_owned(),
            "\"traces_sample_rat\"".to_owned(),
            "traces_sample_rat",
        ),
        (
            "another host",
            HOST.to_owned() + ", port_value: 443",
            "o1.ingest.de.sentry.io, port_value: 443".to_owned(),
            "leads to o1.ingest.de.sentry.io",
        ),
    ];
    for (name, from, to, expected) in rows {
        assert_found(name, &slip(&file, &from, &to), expected);
    }
    let policy = shipped("native/envoy-gateway/extension-policy.yaml");
    let rate = slip(&policy, "traces_sample_rate: 0.1", "traces_sample_rate: 10");
    assert_found("a rate", &rate, "traces_sample_rate: expected a number");
    let proxy = shipped("native/envoy-gateway/envoy-proxy.yaml");
    let order = "name: envoy.filters.http.dynamic_modules";
    let wrong = slip(&proxy, order, "name: envoy.filters.http.wasm");
    let both = format!("{wrong}---\n{policy}");
    assert_found(
        "the order",
        &both,
        "no filterOrder that puts envoy.filters.http.dynamic_modules",
    );
    let (code, printed) = strict(&format!("{proxy}---\n{policy}"));
    assert_eq!((code, printed.as_str()), (0, ""));
}

#[test]
fn the_way_from_the_dsn_to_the_cluster_is_followed() {
    let rows = [
        ("another host", HOST.to_owned() + ", port_value: 443", "o1.ingest.de.sentry.io, port_value: 443".to_owned(), "the DSN's host is o4507.ingest.us.sentry.io, and the cluster \"sentry\" leads to o1.ingest.de.sentry.io @ port_value: 443 }"),
        ("another DSN", format!("@{HOST}/4508"), "@sentry.shop.dev/7".to_owned(), "the DSN's host is sentry.shop.dev"),
        ("another port", "port_value: 443".to_owned(), "port_value: 8443".to_owned(), "the DSN says port 443, and the cluster \"sentry\" leads to port 8443"),
        ("a DSN with a port", format!("@{HOST}/4508"), format!("@{HOST}:9000/4508"), "the DSN says port 9000"),
        ("no name of a server", "        auto_host_sni: true\n".to_owned(), String::new(), "asks for no server name"),
        ("another name of a server", "auto_host_sni: true".to_owned(), "sni: o1.ingest.de.sentry.io".to_owned(), "(sni) that the cluster \"sentry\" asks for is o1.ingest.de.sentry.io @ sni: o1"),
        ("no authorities", "trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }".to_owned(), "{}".to_owned(), "no list of authorities"),
        ("any certificate", "trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }".to_owned(), "trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }\n            trust_chain_verification: ACCEPT_UNTRUSTED".to_owned(), "no list of authorities"),
        ("any name", "        auto_sni_san_validation: true\n".to_owned(), String::new(), "does not check whose certificate it is"),
        ("http", format!("https://4d7f1b3c9a8e4f60b2c5d7e9f1a3b5c7@{HOST}/4508"), format!("http://4d7f1b3c9a8e4f60b2c5d7e9f1a3b5c7@{HOST}:443/4508"), "the DSN is http, and the cluster \"sentry\" speaks TLS"),
        ("no cluster", "\n  - name: sentry\n".to_owned(), "\n  - name: sentry_io\n".to_owned(), "the file has no such cluster"),
        ("no type", "    type: LOGICAL_DNS\n".to_owned(), String::new(), "a host's name and no type"),
        ("the placeholder", DSN.to_owned(), SHIPPED_DSN.to_owned(), "dsn is the placeholder @ ingest.sentry.io/1\""),
        ("a documented DSN", DSN.to_owned(), format!("https://examplePublicKey@{HOST}/0"), "dsn is the placeholder"),
        ("a rate without a DSN", format!("\"dsn\": \"{DSN}\","), String::new(), "there is no dsn, nor a variable SENTRY_DSN @ \"traces_sample_rate\""),
        ("a variable", DSN.to_owned(), "${SENTRY_DSN}".to_owned(), "expands variables @ \"dsn\": "),
    ];
    for (name, from, to, expected) in rows {
        let mut text = slip(&shipped("envoy.yaml"), &from, &to);
        if name == "a rate without a DSN" {
            text = slip(
                &text,
                "[SENTRY_DSN, SENTRY_ENVIRONMENT",
                "[SENTRY_ENVIRONMENT",
            );
            let (code, printed) = run(&text, &["check", "-", "--strict", "-q"]);
            assert_eq!(code, 1, "{printed}");
            assert!(
                printed.contains(expected.split(" @ ").next().expect("a text")),
                "{printed}"
            );
            continue;
        }
        assert_found(name, &text, expected);
    }
    let whole = shipped("envoy.yaml");
    let socket = block(
        &whole,
        "    transport_socket:",
        "typed_extension_protocol_options",
    );
    let text = slip(&whole, &socket, "");
    assert_found(
        "no TLS",
        &text,
        "the DSN is https, and the cluster \"sentry\" has no TLS",
    );
    let raw = "    transport_socket:\n      name: envoy.transport_sockets.raw_buffer\n      typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}\n";
    assert_found("raw", &slip(&whole, &socket, raw), "has no TLS");
}

#[test]
fn other_ways_to_say_the_same_of_tls_are_no_mistake() {
    let whole = shipped("envoy.yaml");
    let socket = block(
        &whole,
        "    transport_socket:",
        "typed_extension_protocol_options",
    );
    let tls = |context: &str| {
        format!("    transport_socket:\n      name: tls\n      typed_config:\n        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n        {context}\n")
    };
    let rows = [
        tls(&format!("sni: {HOST}\n        common_tls_context: {{combined_validation_context: {{default_validation_context: {{match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{suffix: .sentry.io}}}}]}}, validation_context_sds_secret_config: {{name: ca}}}}}}")),
        tls(&format!("sni: {HOST}\n        autoSniSanValidation: true\n        commonTlsContext: {{validationContext: {{systemRootCerts: {{}}}}}}")),
        "    transport_socket_matches: [{name: a, match: {}, transport_socket: {name: x}}]\n".to_owned(),
    ];
    for row in &rows {
        let text = slip(&whole, &socket, row);
        let (code, printed) = strict(&text);
        assert_eq!((code, printed.as_str()), (0, ""), "{row}");
    }
    // An address may be that of the name; a name in another case is the same.
    for (from, to) in [
        (
            format!("{HOST}, port_value: 443"),
            "34.120.195.249, port_value: 443".to_owned(),
        ),
        (
            format!("{HOST}, port_value: 443"),
            format!("{}., port_value: 443", HOST.to_uppercase()),
        ),
    ] {
        let (code, printed) = strict(&slip(&whole, &from, &to));
        assert_eq!((code, printed.as_str()), (0, ""), "{to}");
    }
}

#[test]
fn the_place_in_the_chain_is_checked() {
    let whole = shipped("envoy.yaml");
    let filter = block(
        &whole,
        "          - name: sentry",
        "- name: envoy.filters.http.router",
    );
    let router = block(
        &whole,
        "          - name: envoy.filters.http.router",
        "route_config",
    );
    let chain = format!("{filter}{router}");
    let behind = slip(&whole, &chain, &format!("{router}{filter}"));
    assert_found(
        "behind the router",
        &behind,
        "behind envoy.filters.http.router",
    );
    let twice = slip(&whole, &chain, &format!("{filter}{filter}{router}"));
    assert_found(
        "twice",
        &twice,
        "twice for the same requests, the other one (line ",
    );
    let renamed = filter.replace("name: sentry", "name: sentry-2");
    let twice = slip(&whole, &chain, &format!("{filter}{renamed}{router}"));
    assert_found(
        "twice, with two names",
        &twice,
        "twice for the same requests",
    );
    let cors = "          - name: envoy.filters.http.cors\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors\n";
    let behind = slip(&whole, &chain, &format!("{cors}{filter}{router}"));
    assert_found("behind CORS", &behind, "behind envoy.filters.http.cors");
    let off = filter.replace(
        "          - name: sentry\n",
        "          - name: sentry\n            disabled: true\n",
    );
    assert_found(
        "off",
        &slip(&whole, &filter, &off),
        "the filter is disabled here",
    );
    let tracing = "          stat_prefix: gateway\n          tracing:\n            provider:\n              name: envoy.tracers.opentelemetry\n";
    let text = slip(&whole, "          stat_prefix: gateway\n", tracing);
    assert_found(
        "native tracing",
        &text,
        "Envoy's own tracer is on as well @ provider:",
    );
    let bootstrap = "tracing:\n  http: {name: envoy.tracers.zipkin}\nadmin:";
    let on = slip(
        &slip(&whole, "admin:", bootstrap),
        "          stat_prefix: gateway\n",
        "          stat_prefix: gateway\n          tracing: {}\n",
    );
    assert_found(
        "native tracing of all",
        &on,
        "Envoy's own tracer is on as well",
    );
    // Not on without a tracer, and not without the listener's word.
    for text in [
        slip(
            &whole,
            "          stat_prefix: gateway\n",
            "          stat_prefix: gateway\n          tracing: {}\n",
        ),
        slip(&whole, "admin:", bootstrap),
    ] {
        assert_eq!(strict(&text), (0, String::new()));
    }
    for (runtime, expected) in [
        (
            "envoy.wasm.runtime.wasmtime",
            "released binaries have envoy.wasm.runtime.v8 alone",
        ),
        (
            "envoy.wasm.runtime.wamr",
            "released binaries have envoy.wasm.runtime.v8 alone",
        ),
        ("envoy.wasm.runtime.null", "which runs no modules"),
        ("v8", "which no Envoy has"),
        ("envoy.wasm.runtime.V8", "which no Envoy has"),
    ] {
        let text = slip(
            &whole,
            "runtime: envoy.wasm.runtime.v8",
            &format!("runtime: {runtime}"),
        );
        assert_found(runtime, &text, &format!("{expected} @ runtime: {runtime}"));
    }
}

const ENVOY_FILTER: &str = r#"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: sentry, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: sentry
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          value:
            config:
              name: sentry
              failure_policy: FAIL_RELOAD
              vm_config: {runtime: envoy.wasm.runtime.v8, code: {local: {filename: /etc/sentry_filter.wasm}}}
              configuration:
                "@type": type.googleapis.com/google.protobuf.StringValue
                value: '{"dsn": "DSN", "traces_sample_rate": 0.1}'
"#;

#[test]
fn the_place_of_a_patch_is_checked() {
    let filter = ENVOY_FILTER.replace("DSN", DSN);
    assert_eq!(strict(&filter), (0, String::new()));
    for (operation, expected) in [
        ("INSERT_AFTER", "behind envoy.filters.http.router"),
        ("ADD", "behind envoy.filters.http.router"),
        ("INSERT_BEFORE", "right before the router"),
    ] {
        let text = slip(&filter, "INSERT_FIRST", operation);
        assert_found(operation, &text, expected);
    }
    let text = slip(
        &slip(&filter, "INSERT_FIRST", "INSERT_AFTER"),
        "subFilter: {name: envoy.filters.http.router}",
        "subFilter: {name: envoy.filters.http.cors}",
    );
    assert_found("behind CORS", &text, "behind envoy.filters.http.cors");
}
