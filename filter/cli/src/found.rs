//! What is found of a plugin configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::cluster::Cluster;
use crate::document::Node;
use crate::finding::{Finding, Level};

/// One plugin configuration, as the module gets it, and what stands around it.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Where it stands.
    pub place: String,
    /// The file, if it is one.
    pub file: Option<Arc<str>>,
    /// The line on which the filter begins.
    pub line: usize,
    /// The bytes that the module is given.
    pub bytes: Vec<u8>,
    /// The same as JSON, if it is an object.
    pub document: Option<Map<String, Value>>,
    /// The same with its lines, where they are known.
    pub options: Option<Node>,
    /// The VM's variables that the file gives a value.
    pub variables: BTreeMap<String, String>,
    /// Where they stand.
    pub variable_lines: BTreeMap<String, usize>,
    /// The VM's variables whose value only the host knows.
    pub host_variables: Vec<String>,
    /// The clusters that the filter may send to.
    pub clusters: Vec<Cluster>,
    /// Whether there are no others.
    pub has_all_clusters: bool,
    /// Whether the listener around it normalizes paths, where it is known.
    pub normalizes_path: Option<bool>,
    /// Whose file it is.
    pub host: Host,
    /// Whether the filter is a dynamic module.
    pub is_dynamic: bool,
    /// In Kubernetes.
    pub namespace: Option<String>,
    /// The requests that it is for, as far as it can be compared.
    pub chain: Option<String>,
    /// What is wrong with what stands around it.
    pub findings: Vec<Finding>,
}

/// Whose file a configuration is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Host {
    /// A file of its own.
    #[default]
    Own,
    /// Envoy, or something that adds to its configuration.
    Envoy,
    /// Istio's WasmPlugin or TrafficExtension.
    Istio,
    /// Higress's WasmPlugin.
    Higress,
    /// Envoy Gateway.
    EnvoyGateway,
}

impl Found {
    /// A configuration that reaches the module as JSON.
    pub fn json(place: String, node: &Node) -> Self {
        let value = match node.to_json() {
            Value::Null => Value::Object(Map::new()),
            other => other,
        };
        Self {
            place,
            line: node.line,
            bytes: value.to_string().into_bytes(),
            document: value.as_object().cloned(),
            options: node.is_object().then(|| node.clone()),
            ..Self::default()
        }
    }

    /// Notes something about what stands around it.
    pub fn note(&mut self, level: Level, message: impl Into<String>, line: usize) {
        self.findings.push(Finding {
            level,
            path: None,
            message: message.into(),
            line,
        });
    }

    /// Whether its name, its file or its image says that it is this filter.
    pub(crate) fn is_named_sentry(&self) -> bool {
        self.place.to_lowercase().contains("sentry")
    }

    /// The line of an option, or of the variable that stands for it.
    pub fn line_of(&self, path: &str) -> usize {
        let is_set = self
            .document
            .as_ref()
            .is_some_and(|document| document.contains_key(path));
        let variable = format!("SENTRY_{}", path.to_uppercase());
        if let Some(line) = self.variable_lines.get(&variable).filter(|_| !is_set) {
            return *line;
        }
        let options = self.options.as_ref();
        options.map_or(self.line, |options| options.line_of(path))
    }
}
