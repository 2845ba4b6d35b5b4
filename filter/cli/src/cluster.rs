//! What is known of the clusters that a configuration's spans may go to: Envoy's own, wherever a
//! file has them, and those that Istio makes of a `ServiceEntry` and a `DestinationRule`.

use std::collections::BTreeSet;

use crate::document::Node;

/// A cluster, as far as a file tells.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: usize,
    /// What it leads to; nothing if only the control plane knows.
    pub endpoints: Option<Vec<Endpoint>>,
    /// How it encrypts.
    pub security: Security,
    /// Its kind needs addresses, and it has names.
    pub lacks_resolution: bool,
    /// In Kubernetes, the namespaces that see it; nothing is all of them.
    pub visible_in: Option<BTreeSet<String>>,
    /// What Istio makes of it is no cluster for callouts: why.
    pub unusable: Option<String>,
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u64,
    /// Where it stands.
    pub line: usize,
}

/// How a cluster encrypts.
#[derive(Debug, Clone, Default)]
pub enum Security {
    /// With nothing.
    #[default]
    None,
    /// The file does not tell.
    Unknown,
    /// With TLS.
    Tls(Tls),
}

/// The client's side of TLS.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Where it stands.
    pub line: usize,
    /// The server name that is asked for.
    pub sni: Option<String>,
    /// Where the server name stands.
    pub sni_line: usize,
    /// The server name follows the endpoint or the request.
    pub has_auto_sni: bool,
    /// Certificates are checked against a list of authorities, or are known.
    pub has_authorities: bool,
    /// The certificate has to be for a certain name.
    pub checks_name: bool,
    /// The names that it may be for, where they are plain texts.
    pub names: Vec<String>,
    /// Nobody but Istio's own workloads speaks it.
    pub is_mutual: bool,
}

/// Every cluster in a document that is Envoy's, in order.
pub fn envoys(document: &Node) -> Vec<Cluster> {
    let mut all = Vec::new();
    collect(document, &mut all);
    all
}

fn collect(node: &Node, all: &mut Vec<Cluster>) {
    if is_cluster(node) {
        all.push(envoy(node));
        return;
    }
    for item in node.items() {
        collect(item, all);
    }
    for (_, _, value) in node.entries() {
        collect(value, all);
    }
    if node.str().contains('\n') || node.str().contains("load_assignment") {
        for document in node.embedded() {
            collect(&document, all);
        }
    }
}

/// A cluster has a name, and says in one of a few ways what it leads to.
fn is_cluster(node: &Node) -> bool {
    let type_of = node["@type"].str();
    if type_of.ends_with("config.cluster.v3.Cluster") {
        return true;
    }
    let marks = [
        "load_assignment",
        "cluster_type",
        "connect_timeout",
        "eds_cluster_config",
    ];
    node["name"].text().is_some() && marks.iter().any(|mark| !node[*mark].is_null())
}

fn envoy(node: &Node) -> Cluster {
    let assignment = &node["load_assignment"];
    let mut endpoints = Vec::new();
    let mut is_known = assignment.is_object();
    for locality in assignment["endpoints"].items() {
        for endpoint in locality["lb_endpoints"].items() {
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            match (address["address"].text(), address["port_value"].number()) {
                (Some(host), Some(port)) => endpoints.push(Endpoint {
                    host: host.to_owned(),
                    port,
                    line: address.line,
                }),
                // A named port, a pipe, an internal listener.
                _ => is_known = false,
            }
        }
    }
    is_known &= !endpoints.is_empty();
    let kind = node["type"].str();
    let has_own_kind = !node["cluster_type"].is_null();
    let is_static = !has_own_kind && matches!(kind, "" | "STATIC");
    let is_address = |endpoint: &Endpoint| endpoint.host.parse::<std::net::IpAddr>().is_ok();
    Cluster {
        name: node["name"].str().to_owned(),
        line: node["name"].line,
        lacks_resolution: is_static && is_known && !endpoints.iter().all(is_address),
        endpoints: is_known.then_some(endpoints),
        security: envoys_security(node),
        visible_in: None,
        unusable: None,
    }
}

fn envoys_security(cluster: &Node) -> Security {
    if !cluster["transport_socket_matches"].items().is_empty() {
        return Security::Unknown;
    }
    let socket = &cluster["transport_socket"];
    if socket.is_null() {
        return Security::None;
    }
    let name = socket["name"].str();
    let kind = socket["typed_config"]["@type"].str();
    if kind.ends_with("RawBuffer") || name == "envoy.transport_sockets.raw_buffer" {
        return Security::None;
    }
    let Some(context) = context(&socket["typed_config"]) else {
        return Security::Unknown;
    };
    // A TypedStruct has it one level further down.
    let context = match context["value"].is_object() {
        true => &context["value"],
        false => context,
    };
    let options = cluster["typed_extension_protocol_options"].entries();
    let protocol = options
        .iter()
        .find(|(name, ..)| name.ends_with("upstreams.http.v3.HttpProtocolOptions"));
    let upstream = |key: &str| {
        protocol
            .is_some_and(|(_, _, options)| options["upstream_http_protocol_options"][key].is_true())
    };
    let common = &context["common_tls_context"];
    let combined = &common["combined_validation_context"];
    let validations = [
        &common["validation_context"],
        &combined["default_validation_context"],
    ];
    let is_set = |key: &str| {
        validations
            .iter()
            .any(|validation| !validation[key].is_null())
    };
    let secrets = [
        &common["validation_context_sds_secret_config"],
        &combined["validation_context_sds_secret_config"],
        &common["validation_context_certificate_provider_instance"],
    ];
    let has_secret = secrets.iter().any(|secret| !secret.is_null());
    let accepts_all = validations
        .iter()
        .any(|validation| validation["trust_chain_verification"].str() == "ACCEPT_UNTRUSTED");
    let is_pinned = is_set("verify_certificate_hash") || is_set("verify_certificate_spki");
    let has_authorities = [
        "trusted_ca",
        "system_root_certs",
        "ca_certificate_provider_instance",
        "custom_validator_config",
    ]
    .iter()
    .any(|key| is_set(key));
    let mut names = Vec::new();
    let mut has_pattern = false;
    for validation in validations {
        let typed = validation["match_typed_subject_alt_names"].items();
        let typed = typed.iter().map(|item| &item["matcher"]);
        for matcher in typed.chain(validation["match_subject_alt_names"].items()) {
            match matcher["exact"].text() {
                Some(name) => names.push(name.to_owned()),
                None => has_pattern = true,
            }
        }
    }
    let sni = &context["sni"];
    let auto_validation =
        context["auto_sni_san_validation"].is_true() || upstream("auto_san_validation");
    Security::Tls(Tls {
        line: socket.line,
        sni: sni
            .text()
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        sni_line: sni.line,
        has_auto_sni: context["auto_host_sni"].is_true() || upstream("auto_sni"),
        has_authorities: (has_authorities || has_secret || is_pinned) && !accepts_all,
        checks_name: !names.is_empty() || has_pattern || auto_validation || is_pinned || has_secret,
        names: if has_pattern { Vec::new() } else { names },
        is_mutual: false,
    })
}

/// The TLS of a transport socket, also below one that wraps it (PROXY protocol, QUIC, a proxy, a
/// tap).
fn context(node: &Node) -> Option<&Node> {
    let is_tls = |node: &Node| {
        node["@type"].str().ends_with("UpstreamTlsContext")
            || node["type_url"].str().ends_with("UpstreamTlsContext")
    };
    if is_tls(node) {
        return Some(node);
    }
    let quic = &node["upstream_tls_context"];
    if quic.is_object() {
        return Some(quic);
    }
    let inner = &node["transport_socket"]["typed_config"];
    inner.is_object().then(|| context(inner)).flatten()
}

/// The clusters that Istio makes of each `ServiceEntry`, with what a `DestinationRule` says.
pub fn istios(entries: &[&Node], rules: &[&Node]) -> Vec<Cluster> {
    let mut all = Vec::new();
    for entry in entries {
        let spec = &entry["spec"];
        let namespace = entry["metadata"]["namespace"].text().unwrap_or("default");
        let exports = spec["exportTo"].items();
        let sees_all = exports.is_empty() || exports.iter().any(|name| name.str() == "*");
        let visible_in = exports.iter().map(|name| match name.str() {
            "." => namespace.to_owned(),
            other => other.to_owned(),
        });
        let visible_in: BTreeSet<_> = visible_in.collect();
        for host in spec["hosts"].items() {
            let rule = rules
                .iter()
                .find(|rule| rule["spec"]["host"].str() == host.str());
            let subsets = rule.map_or(&[] as &[_], |rule| rule["spec"]["subsets"].items());
            for port in spec["ports"].items() {
                let Some(number) = port["number"].number() else {
                    continue;
                };
                let plain = std::iter::once(("", None));
                let subsets = subsets
                    .iter()
                    .map(|subset| (subset["name"].str(), Some(subset)));
                for (subset, policy) in plain.chain(subsets) {
                    all.push(Cluster {
                        name: format!("outbound|{number}|{subset}|{}", host.str()),
                        line: host.line,
                        endpoints: istios_endpoints(spec, host, port, number),
                        security: istios_security(rule.unwrap_or(&&crate::document::NULL), policy, number),
                        lacks_resolution: false,
                        visible_in: (!sees_all).then(|| visible_in.clone()),
                        unusable: match spec["resolution"].str() {
                            "" | "NONE" => Some("its ServiceEntry has no resolution (NONE), so the cluster goes where a connection was going already, and the filter's has no such place: say resolution: DNS_ROUND_ROBIN or DNS".to_owned()),
                            _ => None,
                        },
                    });
                }
            }
        }
    }
    all
}

fn istios_endpoints(spec: &Node, host: &Node, port: &Node, number: u64) -> Option<Vec<Endpoint>> {
    let target = port["targetPort"].number().unwrap_or(number);
    let name = port["name"].str();
    let endpoints = spec["endpoints"].items();
    if !spec["workloadSelector"].is_null() {
        return None;
    }
    if endpoints.is_empty() {
        return Some(vec![Endpoint {
            host: host.str().to_owned(),
            port: target,
            line: host.line,
        }]);
    }
    let endpoints = endpoints.iter().map(|endpoint| {
        Some(Endpoint {
            host: endpoint["address"].text()?.to_owned(),
            port: endpoint["ports"][name].number().unwrap_or(target),
            line: endpoint["address"].line,
        })
    });
    endpoints.collect()
}

/// What counts first: of the subset, of the port, of the host.
fn istios_security(rule: &Node, subset: Option<&Node>, port: u64) -> Security {
    let mut policies = Vec::new();
    for policy in [
        subset.map(|subset| &subset["trafficPolicy"]),
        Some(&rule["spec"]["trafficPolicy"]),
    ]
    .into_iter()
    .flatten()
    {
        let levels = policy["portLevelSettings"].items().iter();
        policies.extend(levels.filter(|level| level["port"]["number"].number() == Some(port)));
        policies.push(policy);
    }
    let tls = policies
        .into_iter()
        .map(|policy| &policy["tls"])
        .find(|tls| tls.is_object());
    let Some(tls) = tls else {
        return Security::None;
    };
    let mode = tls["mode"].str();
    if matches!(mode, "" | "DISABLE") {
        return Security::None;
    }
    let names: Vec<_> = tls["subjectAltNames"]
        .items()
        .iter()
        .map(|name| name.str().to_owned())
        .collect();
    let sni = &tls["sni"];
    let secret = !tls["credentialName"].is_null();
    Security::Tls(Tls {
        line: tls.line,
        sni: sni.text().map(str::to_owned),
        sni_line: sni.line,
        has_auto_sni: false,
        has_authorities: (!tls["caCertificates"].is_null() || secret)
            && !tls["insecureSkipVerify"].is_true(),
        checks_name: !names.is_empty(),
        names,
        is_mutual: mode == "ISTIO_MUTUAL",
    })
}
