//! Resources of Kubernetes, and what has to fit beside them.

use super::{assert_found, shipped, slip, strict, DSN, HOST, SHA256};

#[test]
fn istios_resources_fit_each_other() {
    let rows = [
        ("another port", "cluster: outbound|80||", "cluster: outbound|443||", "no ServiceEntry here makes it, only outbound|80||sentry-ingest.internal @ cluster: outbound|443||"),
        ("another host", "cluster: outbound|80||sentry-ingest.internal", "cluster: outbound|80||sentry.internal", "no ServiceEntry here makes it"),
        ("Envoy's name", "cluster: outbound|80||sentry-ingest.internal", "cluster: sentry", "the control plane makes no cluster of such a name"),
        ("no name", "    transport:\n      # Istio's name for the cluster of the ServiceEntry below: direction, port, subset, host.\n      cluster: outbound|80||sentry-ingest.internal\n", "", "transport.cluster is \"sentry\", and the control plane makes no cluster"),
        ("another server name", "sni: o4507.ingest.us.sentry.io", "sni: sentry-ingest.internal", "asks for is sentry-ingest.internal @ sni: sentry-ingest"),
        ("no server name", "      sni: o4507.ingest.us.sentry.io\n", "", "asks for no server name"),
        ("another name in the certificate", "subjectAltNames: [o4507.ingest.us.sentry.io]", "subjectAltNames: [sentry-ingest.internal]", "accepts certificates for sentry-ingest.internal only"),
        ("no authorities", "      caCertificates: /etc/ssl/certs/ca-certificates.crt\n", "", "no list of authorities"),
        ("no TLS", "mode: SIMPLE", "mode: DISABLE", "has no TLS"),
        ("the mesh's TLS", "mode: SIMPLE", "mode: ISTIO_MUTUAL", "only workloads of the mesh understand"),
        ("another address", "- address: o4507.ingest.us.sentry.io", "- address: o1.ingest.de.sentry.io", "leads to o1.ingest.de.sentry.io @ - address"),
        ("plain port", "targetPort: 443", "targetPort: 80", "leads to port 80"),
        ("no resolution", "resolution: DNS_ROUND_ROBIN", "resolution: NONE", "has no resolution"),
        ("for another namespace", "exportTo: [\".\"]\n  location", "exportTo: [other]\n  location", "exported to other namespaces only"),
        ("phase STATS", "phase: AUTHN", "phase: STATS", "phase is STATS @ phase:"),
        ("phase AUTHZ", "phase: AUTHN", "phase: AUTHZ", "phase is AUTHZ @ phase:"),
        ("no phase", "  phase: AUTHN\n", "", "phase is not set"),
        ("no such phase", "phase: AUTHN", "phase: AUTH", "phase is \"AUTH\", which is none @ phase:"),
        ("the default strategy", "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN", "failStrategy is not FAIL_RELOAD @ failStrategy:"),
        ("a checksum of the image's form", "sha256: \"9f86", "sha256: \"sha256:9f86", "64 hexadecimal digits @ sha256:"),
        ("the placeholder", SHA256, "0000000000000000000000000000000000000000000000000000000000000000", "sha256 is the placeholder"),
        ("Higress's key", "  pluginConfig:", "  defaultConfig:", "defaultConfig is Higress's"),
    ];
    for (name, from, to, expected) in rows {
        assert_found(
            name,
            &slip(&shipped("istio/gateway.yaml"), from, to),
            expected,
        );
        if name != "Higress's key" && !from.starts_with("  ") {
            let text = shipped("istio/sidecar.yaml");
            assert_found(name, &slip(&text, from, to), expected);
        }
    }
    let twice = format!(
        "{}\n---\n{}",
        shipped("istio/gateway.yaml"),
        shipped("istio/traffic-extension.yaml")
    );
    assert_found("twice", &twice, "twice for the same requests");
    let traced = format!("{}\n---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t}}\nspec: {{tracing: [{{randomSamplingPercentage: 10}}]}}\n", shipped("istio/gateway.yaml"));
    assert_found("traced", &traced, "the proxy's own tracer is on as well");
}

#[test]
fn higresss_plugin_is_read_as_its_controller_does() {
    let plugin = format!(
        "apiVersion: extensions.higress.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: sentry, namespace: higress-system}}\nspec:\n  url: oci://registry.dev/sentry-filter:0.1.0\n  sha256: {SHA256}\n  phase: AUTHN\n  failStrategy: FAIL_OPEN\n  defaultConfig:\n    dsn: {DSN}\n    traces_sample_rate: 0.1\n    transport: {{cluster: outbound|443||sentry.dns}}\n"
    );
    assert_eq!(strict(&plugin), (0, String::new()));
    assert_found(
        "a key",
        &slip(&plugin, "traces_sample_rate", "trace_sample_rate"),
        "trace_sample_rate: unknown key; did you mean traces_sample_rate? @ trace_sample_rate",
    );
    let rules = format!("{plugin}  matchRules:\n  - ingress: [default/shop]\n    config: {{traces_sample_rate: 1}}\n");
    assert_found(
        "rules",
        &rules,
        "matchRules reach the filter as a key _rules_ @ - ingress",
    );
    assert_found(
        "the strategy",
        &slip(&plugin, "FAIL_OPEN", "FAIL_RELOAD"),
        "which Higress does not know @ failStrategy",
    );
    assert_found(
        "the default strategy",
        &slip(&plugin, "  failStrategy: FAIL_OPEN\n", ""),
        "failStrategy is not FAIL_OPEN",
    );
    let off = rules.replace("  - ingress", "  - configDisable: true\n    ingress");
    assert_eq!(strict(&off), (0, String::new()));
    assert_found(
        "off",
        &format!("{plugin}  defaultConfigDisable: true\n"),
        "does not load the filter at all",
    );
    assert_found("both", &format!("{plugin}  pluginConfig: {{dsn: \"{DSN}\", traces_sample_rate: 1, transport: {{cluster: outbound|443||sentry.dns}}}}\n"), "leaves out defaultConfig");
    let bridge = format!("{plugin}---\napiVersion: networking.higress.io/v1\nkind: McpBridge\nmetadata: {{name: default}}\nspec:\n  registries:\n  - {{name: sentry, type: dns, domain: {HOST}, port: 443}}\n");
    assert_eq!(strict(&bridge), (0, String::new()));
    assert_found(
        "the registry",
        &slip(&bridge, "name: sentry, type", "name: glitchtip, type"),
        "no such cluster",
    );
}

#[test]
fn envoy_gateways_resources_fit_each_other() {
    let policy = shipped("envoy-gateway/extension-policy-image.yaml");
    let proxy = shipped("envoy-gateway/envoy-proxy.yaml");
    let both = format!("{policy}\n---\n{proxy}");
    assert_eq!(strict(&both), (0, String::new()));
    for (name, from, to, expected) in [
        ("another host", "address: o4507.ingest.us.sentry.io", "address: o1.ingest.de.sentry.io", "leads to o1.ingest.de.sentry.io @ address: o1"),
        ("another cluster", "- name: sentry\n          type", "- name: sentry-io\n          type", "no such cluster"),
        ("no order", "  filterOrder:\n", "  otherOrder:\n", "no filterOrder"),
        ("no variable", "- name: SENTRY_DSN", "- name: SENTRY_KEY", "hostKeys names SENTRY_DSN"),
        ("a checksum", SHA256, "9f86d081884c7d659a2feaa0c55ad015", "64 hexadecimal digits"),
        ("no checksum", "        sha256: \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n", "", "no sha256"),
        ("closed", "failOpen: true", "failOpen: false", "failOpen is not true @ failOpen: false"),
        ("traced", "  filterOrder:\n", "  telemetry: {tracing: {provider: {host: otel}}}\n  filterOrder:\n", "own tracer is on"),
    ] {
        assert_found(name, &slip(&both, from, to), expected);
    }
}

#[test]
fn other_meshes_files_are_followed_to_their_clusters() {
    let rows = [
        (
            "istio/waypoint.yaml",
            "        name: sentry\n        type",
            "        name: sentri\n        type",
            "makes no cluster of such a name",
        ),
        (
            "istio/waypoint.yaml",
            "address: o4507",
            "address: o4508",
            "leads to o4508.ingest",
        ),
        (
            "istio/gateway-api.yaml",
            "sni: o4507",
            "sni: o4508",
            "asks for is o4508",
        ),
        (
            "kuma/mesh-proxy-patch.yaml",
            "AddFirst",
            "AddLast",
            "behind envoy.filters.http.router",
        ),
        (
            "kuma/mesh-proxy-patch.yaml",
            "address: o4507",
            "address: o4508",
            "leads to o4508.ingest @ address: o4508",
        ),
        (
            "kuma/mesh-proxy-patch.yaml",
            "\"traces_sample_rate\"",
            "\"trace_sample_rate\"",
            "did you mean traces_sample_rate? @ trace_sample_rate",
        ),
        (
            "higress/wasm-plugin.yaml",
            "domain: o4507",
            "domain: o4508",
            "leads to o4508.ingest @ domain",
        ),
        (
            "higress/wasm-plugin.yaml",
            "protocol: https",
            "protocol: http",
            "has no TLS",
        ),
        (
            "higress/wasm-plugin.yaml",
            "port: 443",
            "port: 8443",
            "no such cluster",
        ),
        (
            "consul/config-entries.yaml",
            "\"address\": \"o4507",
            "\"address\": \"o4508",
            "leads to o4508.ingest",
        ),
        (
            "consul/config-entries.yaml",
            "\"traces_sample_rate\"",
            "\"trace_sample_rate\"",
            "did you mean traces_sample_rate? @ trace_sample_rate",
        ),
        (
            "consul/config-entries.yaml",
            "runtime: v8",
            "runtime: wamr",
            "have v8 alone @ runtime: wamr",
        ),
        (
            "consul/config-entries.yaml",
            "listenerType: inbound",
            "listenerType: both",
            "listenerType is \"both\"",
        ),
    ];
    for (file, from, to, expected) in rows {
        assert_found(file, &slip(&shipped(file), from, to), expected);
    }
}
