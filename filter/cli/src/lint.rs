//! What is valid and probably a mistake, once the configuration is read: the DSN, and the way from
//! it to the cluster that the spans are posted to.

use std::collections::BTreeMap;

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::project::Project;

use crate::cluster::{Cluster, Endpoint, Security, Tls};
use crate::finding::Finding;
use crate::found::{Found, Host};

/// Where spans are to go: the parts of a DSN.
struct Target<'d> {
    is_https: bool,
    host: &'d str,
    port: u64,
}

impl<'d> Target<'d> {
    fn new(scheme: &str, authority: &'d str) -> Self {
        let is_https = scheme == "https";
        let default = if is_https { 443 } else { 80 };
        let parts = authority
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let (host, port) = match parts {
            Some((host, port)) => (host, port.parse().unwrap_or(default)),
            None => (authority, default),
        };
        Self {
            is_https,
            host: host.trim_start_matches('[').trim_end_matches(']'),
            port,
        }
    }

    fn is(&self, name: &str) -> bool {
        let plain = |name: &str| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            match name.as_str() {
                "localhost" | "::1" => "127.0.0.1".to_owned(),
                _ => name,
            }
        };
        plain(self.host) == plain(name)
    }
}

/// Everything that is probably a mistake.
pub fn lint(
    found: &Found,
    config: &FilterConfig,
    variables: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut all = Vec::new();
    no_dsn(found, config, variables, &mut all);
    for (id, project) in config.trace.projects.iter() {
        let is_own = Some(id) == config.trace.projects.own();
        for finding in of_project(found, project, is_own) {
            if !all.contains(&finding) {
                all.push(finding);
            }
        }
    }
    all
}

/// What is said of the top level's project, or of one that a rule names.
fn of_project(found: &Found, project: &Project, is_own: bool) -> Vec<Finding> {
    let mut all = Vec::new();
    let dsn = &project.dsn;
    let place = |key| found.line_of(if is_own { key } else { "rules" });
    let target = Target::new(dsn.scheme(), dsn.authority());
    if is_placeholder(&target, dsn.public_key()) {
        all.push(Finding::warning("dsn is the placeholder of an example: no Sentry takes its spans. The real one is in Sentry under Settings > Projects > Client Keys", place("dsn")));
    }
    let name = &*project.cluster;
    let line = place("transport.cluster");
    let visible = found.clusters.iter().filter(|cluster| cluster.name == name);
    let (visible, hidden): (Vec<_>, Vec<_>) = visible.partition(|cluster| sees(found, cluster));
    match (visible.first(), hidden.first()) {
        (Some(cluster), _) => of_cluster(&target, cluster, &mut all),
        (None, Some(_)) => all.push(Finding::warning(format!("transport.cluster is {name:?}, and its ServiceEntry is exported to other namespaces only (exportTo): the proxy has no such cluster"), line)),
        (None, None) => all.extend(no_cluster(found, name, line)),
    }
    all
}

/// A rate, and nowhere to send what it samples.
fn no_dsn(
    found: &Found,
    config: &FilterConfig,
    variables: &BTreeMap<String, String>,
    all: &mut Vec<Finding>,
) {
    let has_rate = config.trace.traces_sample_rate.is_some()
        || config
            .trace
            .rules
            .rules()
            .iter()
            .any(|rule| rule.traces_sample_rate.is_some());
    let comes_later = found.host_variables.iter().any(|name| name == "SENTRY_DSN")
        && !variables.contains_key("SENTRY_DSN");
    if config.trace.projects.is_empty() && has_rate && !comes_later {
        let message = "traces_sample_rate is set, and there is no dsn, nor a variable SENTRY_DSN: nothing is started, recorded or sent";
        all.push(Finding::warning(
            message,
            found.line_of("traces_sample_rate"),
        ));
    }
}

fn is_placeholder(target: &Target<'_>, key: &str) -> bool {
    let host = target.host.to_ascii_lowercase();
    let is_local = !host.contains('.') || host.starts_with("127.") || host.contains(':');
    let reserved = [
        "example.com",
        "example.org",
        "example.net",
        "example",
        "invalid",
    ];
    let is_reserved = reserved
        .iter()
        .any(|name| host == *name || host.ends_with(&format!(".{name}")));
    let plain: String = key.to_ascii_lowercase().replace(['_', '-'], "");
    let words = [
        "examplepublickey",
        "publickey",
        "yourpublickey",
        "yourkey",
        "changeme",
    ];
    let zeros = key.len() >= 16 && key.bytes().rev().skip(1).all(|byte| byte == b'0');
    let is_word = words.contains(&plain.as_str()) || key.contains(['<', '{', '$']);
    host.starts_with("o0.ingest.") || is_reserved || ((zeros || is_word) && !is_local)
}

fn sees(found: &Found, cluster: &Cluster) -> bool {
    match (&found.namespace, &cluster.visible_in) {
        (Some(namespace), Some(visible)) => visible.contains(namespace),
        _ => true,
    }
}

/// A cluster that is not among those that are known.
fn no_cluster(found: &Found, name: &str, line: usize) -> Option<Finding> {
    let is_istios = name.starts_with("outbound|") && name.split('|').count() == 4;
    let waits = "spans would wait, and be lost when the queue is full";
    let message = match found.host {
        Host::Istio | Host::Higress if !is_istios => {
            if ["PassthroughCluster", "BlackHoleCluster"].contains(&name) {
                return Some(Finding::warning(format!("transport.cluster is {name:?}, which does not lead to the DSN's host: {waits}"), line));
            }
            let form = match found.host {
                Host::Istio => "outbound|80||sentry-ingest.internal, made of a ServiceEntry",
                _ => "outbound|443||sentry.dns, made of a registry in the McpBridge",
            };
            format!("transport.cluster is {name:?}, and the control plane makes no cluster of such a name ({form}): {waits}")
        }
        _ if !found.has_all_clusters => return None,
        Host::Istio => {
            let names: Vec<_> = found
                .clusters
                .iter()
                .map(|cluster| cluster.name.as_str())
                .filter(|name| name.starts_with("outbound|"))
                .collect();
            if names.is_empty() {
                return None;
            }
            format!("transport.cluster is {name:?}, and no ServiceEntry here makes it, only {}: {waits}", names.join(", "))
        }
        _ => format!("transport.cluster is {name:?}, and the file has no such cluster: {waits}"),
    };
    Some(Finding::warning(message, line))
}

fn of_cluster(target: &Target<'_>, cluster: &Cluster, all: &mut Vec<Finding>) {
    if cluster.name.is_empty() {
        return;
    }
    let name = &cluster.name;
    if let Some(why) = &cluster.unusable {
        all.push(Finding::warning(
            format!("the cluster {name:?} takes no spans: {why}"),
            cluster.line,
        ));
    }
    if cluster.lacks_resolution {
        all.push(Finding::warning(format!("the cluster {name:?} has a host's name and no type, so Envoy refuses it (STATIC takes addresses only): say type: LOGICAL_DNS or STRICT_DNS"), cluster.line));
    }
    if let Some(endpoints) = &cluster.endpoints {
        all.extend(of_endpoints(target, name, endpoints));
    }
    let proxies = cluster.endpoints.as_deref().unwrap_or_default();
    match &cluster.security {
        Security::Unknown => {}
        Security::None if target.is_https => all.push(Finding::warning(format!("the DSN is https, and the cluster {name:?} has no TLS: spans and the key would go unencrypted, and a receiver that wants TLS answers 400 or nothing"), cluster.line)),
        Security::None => {}
        Security::Tls(tls) => of_tls(target, name, tls, proxies, all),
    }
}

fn of_endpoints(target: &Target<'_>, name: &str, endpoints: &[Endpoint]) -> Option<Finding> {
    let is_address = |host: &str| host.parse::<std::net::IpAddr>().is_ok();
    let first = endpoints.first()?;
    // An address may well be that of the name.
    let same = endpoints.iter().find(|endpoint| {
        target.is(&endpoint.host) || (is_address(&endpoint.host) && !is_address(target.host))
    });
    match same {
        None => Some(Finding::warning(
            format!("the DSN's host is {}, and the cluster {name:?} leads to {}: right only if that passes spans on to Sentry", target.host, first.host),
            first.line,
        )),
        Some(_) if endpoints.iter().any(|endpoint| endpoint.port == target.port) => None,
        Some(endpoint) => Some(Finding::warning(
            format!("the DSN says port {}, and the cluster {name:?} leads to port {}", target.port, endpoint.port),
            endpoint.line,
        )),
    }
}

fn of_tls(
    target: &Target<'_>,
    name: &str,
    tls: &Tls,
    proxies: &[Endpoint],
    all: &mut Vec<Finding>,
) {
    if tls.is_mutual {
        all.push(Finding::warning(format!("the cluster {name:?} speaks ISTIO_MUTUAL, which only workloads of the mesh understand: say SIMPLE"), tls.line));
        return;
    }
    if !target.is_https {
        all.push(Finding::warning(format!("the DSN is http, and the cluster {name:?} speaks TLS: say https in the DSN, or leave TLS out"), tls.line));
    }
    let is_right = |name: &str| {
        target.is(name)
            || proxies
                .iter()
                .any(|endpoint| endpoint.host.eq_ignore_ascii_case(name))
    };
    let is_name = target.host.parse::<std::net::IpAddr>().is_err();
    match &tls.sni {
        Some(sni) if !is_right(sni) => all.push(Finding::warning(format!("the server name (sni) that the cluster {name:?} asks for is {sni}, and the DSN's host is {}", target.host), tls.sni_line)),
        None if !tls.has_auto_sni && is_name => all.push(Finding::warning(format!("the cluster {name:?} asks for no server name: set sni to {}, or auto_host_sni; many receivers refuse a handshake without one", target.host), tls.line)),
        _ => {}
    }
    if !tls.has_authorities {
        all.push(Finding::warning(format!("the cluster {name:?} has no list of authorities (trusted_ca, caCertificates): it accepts any certificate, and whoever stands in between reads the spans and the key"), tls.line));
    } else if !tls.checks_name {
        all.push(Finding::warning(format!("the cluster {name:?} does not check whose certificate it is (auto_sni_san_validation, match_typed_subject_alt_names, subjectAltNames): it accepts one for any name"), tls.line));
    }
    let fits = |pattern: &str| match pattern.strip_prefix("*.") {
        Some(domain) => target
            .host
            .split_once('.')
            .is_some_and(|(_, rest)| rest == domain),
        None => is_right(pattern),
    };
    if !tls.names.is_empty() && !tls.names.iter().any(|name| fits(name)) {
        all.push(Finding::warning(
            format!(
                "the cluster {name:?} accepts certificates for {} only, and the DSN's host is {}",
                tls.names.join(", "),
                target.host
            ),
            tls.line,
        ));
    }
}
