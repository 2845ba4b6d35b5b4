//! Finds plugin configurations in what operators keep them in: a file of its own, a Kubernetes
//! manifest, an Envoy file, what a running Envoy shows of its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::document::{Node, ReadError};
use crate::finding::{location, Level};
use crate::found::{Found, Host};
use crate::{kubernetes, proxy};

/// Everything that one call of the command looks at, together: a cluster may be in one file and
/// the filter in another.
#[derive(Debug, Default)]
pub struct Inputs {
    documents: Vec<Document>,
}

#[derive(Debug)]
struct Document {
    file: Option<Arc<str>>,
    node: Node,
    /// The text of a JSON document, which reaches the module as it is.
    text: Option<String>,
    /// Found in a folder, where most files are about something else.
    is_one_of_many: bool,
}

/// Every plugin configuration in a text.
///
/// # Errors
/// Why there is none, for people.
pub fn find(text: &str) -> Result<Vec<Found>, String> {
    let mut inputs = Inputs::default();
    inputs
        .add(None, text, false)
        .map_err(|error| error.to_string())?;
    let found = inputs.find();
    match found.is_empty() {
        true => Err(NOTHING.to_owned()),
        false => Ok(found),
    }
}

/// Options that hardly anybody else has: in a folder, a file with one of them is a configuration of
/// this filter.
const OPTIONS: [&str; 5] = [
    "dsn",
    "traces_sample_rate",
    "transport",
    "incoming",
    "trace_propagation_targets",
];

/// What is said of a text without a configuration.
pub const NOTHING: &str = "no configuration of this filter in it: expected one of its own, or an Envoy file, a config dump, WasmPlugin, TrafficExtension, EnvoyFilter, EnvoyExtensionPolicy or MeshProxyPatch with a Wasm filter or a dynamic module";

impl Inputs {
    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Adds what a running Envoy shows of its configuration.
    pub fn add_config_dump(&mut self, dump: Value) {
        self.documents.push(Document {
            file: None,
            node: Node::from(dump),
            text: None,
            is_one_of_many: false,
        });
    }

    /// Adds a text; one of the many of a folder is looked at only if it has to do with this filter.
    ///
    /// # Errors
    /// Why it is neither YAML nor JSON, or a key that stands twice.
    pub fn add(
        &mut self,
        file: Option<Arc<str>>,
        text: &str,
        is_one_of_many: bool,
    ) -> Result<(), ReadError> {
        let is_json = text.trim_start().starts_with('{');
        match Node::parse(text) {
            Ok(nodes) => {
                let texts = is_json.then(|| text.to_owned());
                self.documents.extend(
                    nodes
                        .into_iter()
                        .filter(|node| !node.is_null())
                        .flat_map(kubernetes::items)
                        .map(|node| Document {
                            file: file.clone(),
                            node,
                            text: texts.clone(),
                            is_one_of_many,
                        }),
                );
                Ok(())
            }
            // The filter's own message names the place in a configuration that is bad JSON.
            Err(error)
                if is_json && !error.is_duplicate() && !is_others(text) && !is_one_of_many =>
            {
                self.documents.push(Document {
                    file,
                    node: Node::from(Value::Null),
                    text: Some(text.to_owned()),
                    is_one_of_many,
                });
                Ok(())
            }
            Err(error) if error.is_duplicate() => Err(error),
            Err(error) => Err(ReadError {
                message: format!("neither JSON nor YAML: {}", error.message),
                ..error
            }),
        }
    }

    /// Every configuration of this filter.
    pub fn find(&self) -> Vec<Found> {
        let mut all = Vec::new();
        for document in &self.documents {
            let mut found = in_document(document);
            let scope = self.scope(document);
            for found in &mut found {
                found.file.clone_from(&document.file);
                found.clusters.clone_from(&scope.0);
                found.has_all_clusters = scope.1;
            }
            // Other people's Wasm filters are none of our business.
            if found.iter().any(Found::is_named_sentry) {
                found.retain(Found::is_named_sentry);
            }
            all.extend(found);
        }
        if all.iter().any(Found::is_named_sentry) {
            all.retain(|found| found.is_named_sentry() || found.host == Host::Own);
        }
        let documents: Vec<_> = self
            .documents
            .iter()
            .map(|document| &document.node)
            .collect();
        kubernetes::look_around(&mut all, &documents);
        note_copies(&mut all);
        all
    }

    /// The clusters that filters of a document may send to, and whether there are no others.
    fn scope(&self, document: &Document) -> (Vec<Cluster>, bool) {
        let node = &document.node;
        let mut own = match proxy::is_whole(node) {
            true => proxy::clusters(node),
            false => Vec::new(),
        };
        if proxy::has_all_clusters(node) {
            return (own, true);
        }
        let parts = self
            .documents
            .iter()
            .map(|document| &document.node)
            .filter(|node| !proxy::is_whole(node));
        let parts: Vec<_> = parts.collect();
        for part in &parts {
            own.extend(cluster::envoys(part));
        }
        own.extend(kubernetes::clusters(&parts));
        // Files that have clusters for each other have this one, too.
        let has_all = !own.is_empty() && (!proxy::is_whole(node) || !parts.is_empty());
        (own, has_all)
    }
}

/// Whether a text that is no JSON was meant for somebody else.
fn is_others(text: &str) -> bool {
    text.contains("\"@type\"") || text.contains("apiVersion")
}

fn in_document(document: &Document) -> Vec<Found> {
    let node = &document.node;
    if let Some(found) = kubernetes::find(node) {
        return found;
    }
    if proxy::is_envoys(node) {
        return proxy::find(node);
    }
    let is_likely = OPTIONS.iter().any(|option| !node[*option].is_null());
    if document.is_one_of_many && !is_likely {
        return Vec::new();
    }
    let own = document.text.clone();
    let own = own.unwrap_or_else(|| node.to_json().to_string());
    vec![Found {
        place: "configuration".to_owned(),
        line: node.line,
        bytes: own.into_bytes(),
        document: node.to_object(),
        options: node.is_object().then(|| node.clone()),
        ..Found::default()
    }]
}

/// The same filter twice in one chain: two spans for each request.
fn note_copies(all: &mut [Found]) {
    let mut first: BTreeMap<(Option<Arc<str>>, String), String> = BTreeMap::new();
    for found in all.iter_mut() {
        let Some(chain) = found.chain.clone() else {
            continue;
        };
        // In Kubernetes the file does not matter.
        let file = match found.namespace {
            Some(_) => None,
            None => found.file.clone(),
        };
        match first.get(&(file.clone(), chain.clone())) {
            None => {
                let place = location(found.file.as_ref(), found.line);
                first.insert((file, chain), place);
            }
            Some(place) => {
                let message = format!("the filter is there twice for the same requests, the other one{place}: each would have two spans of the gateway's");
                found.note(Level::Warning, message, found.line);
            }
        }
    }
}
