//! Bugsink, a self-hosted server for Sentry's events that nobody here wrote (`tests/receivers`),
//! with an empty database and one project.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::{client::Request, envoy::cluster_at, gateway::GatewayBuilder, receivers::Running};

/// The name of its cluster.
const CLUSTER: &str = "bugsink";

/// A running Bugsink; it ends with this.
#[derive(Debug)]
pub struct Bugsink {
    told: Told,
    address: SocketAddr,
    _process: Running,
}

/// What it says when it is ready.
#[derive(Debug, Deserialize)]
struct Told {
    address: String,
    dsn: String,
    token: String,
    user: String,
    password: String,
}

impl Bugsink {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// If it is not installed, or does not say where it listens.
    pub async fn start() -> Self {
        let (told, process) = Running::start("bugsink").await;
        let told: Told = serde_json::from_value(told).expect("what Bugsink says");
        let address = told.address.parse().expect("an address");
        Self {
            told,
            address,
            _process: process,
        }
    }

    /// Where the project's SDKs report.
    pub fn dsn(&self) -> &str {
        &self.told.dsn
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who may sign in to its pages, and with which password.
    pub fn user(&self) -> (&str, &str) {
        (&self.told.user, &self.told.password)
    }

    /// Adds it to a gateway, as a cluster with the name that this returns.
    pub fn behind(&self, builder: GatewayBuilder) -> (GatewayBuilder, &'static str) {
        let cluster = cluster_at(CLUSTER, Some(self.address));
        (builder.cluster(cluster), CLUSTER)
    }

    /// The project's issues, newest first: `id`, `calculated_type`, `calculated_value`,
    /// `transaction`, `digested_event_count` and more.
    pub async fn issues(&self) -> Vec<Value> {
        self.list("issues/?project=1").await
    }

    /// The events of an issue, as Sentry's SDKs would send them.
    ///
    /// # Panics
    /// If the issue has no id, or Bugsink does not answer as it should.
    pub async fn events(&self, issue: &Value) -> Vec<Value> {
        let issue = issue["id"].as_str().expect("the id of an issue");
        let mut events = Vec::new();
        for listed in self.list(&format!("events/?issue={issue}")).await {
            let id = listed["id"].as_str().expect("the id of an event");
            let mut event = self.ask(&format!("events/{id}/")).await;
            events.push(event["data"].take());
        }
        events
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let mut page = self.ask(path).await;
        match page["results"].take() {
            Value::Array(results) => results,
            other => panic!("a list of Bugsink's: {other}"),
        }
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = Request::get(format!("/api/canonical/0/{path}"))
            .host(&self.told.address)
            .header("authorization", format!("Bearer {}", self.told.token))
            .send(self.address)
            .await
            .expect("an answer of Bugsink");
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).expect("JSON of Bugsink")
    }
}
