//! What a running Envoy tells at its admin interface.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// The admin interface of one Envoy.
#[derive(Debug)]
pub struct Admin {
    url: String,
    agent: ureq::Agent,
}

/// How long an answer may take, and how long one may be.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BYTES: u64 = 256 << 20;

impl Admin {
    /// The interface at a URL, as `http://127.0.0.1:9901`; `http://` may be left out.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let url = match url.split_once("://") {
            None => format!("http://{url}"),
            Some(("http" | "https", _)) => url.to_owned(),
            Some(_) => {
                return Err(format!(
                    "--admin: expected a URL as http://127.0.0.1:9901, found {url:?}"
                ))
            }
        };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .build()
            .into();
        Ok(Self { url, agent })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("{}{path}", self.url);
        let unreachable = |error: ureq::Error| {
            format!("{url}: {error}: is this the admin interface (Envoy: 9901 in the example files, Istio: 15000, Envoy Gateway: 19000), and can it be reached from here (kubectl port-forward)?")
        };
        let mut response = self.agent.get(&url).call().map_err(unreachable)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(format!(
                "{url}: {status}: not the admin interface of an Envoy"
            ));
        }
        let body = response.body_mut().with_config().limit(MAX_BYTES);
        body.read_to_string().map_err(unreachable)
    }

    fn json(&self, path: &str) -> Result<Value, String> {
        let text = self.get(path)?;
        serde_json::from_str(&text).map_err(|error| {
            format!(
                "{}{path}: {error}: not the admin interface of an Envoy",
                self.url
            )
        })
    }

    /// Its whole configuration.
    ///
    /// # Errors
    /// Why there is none.
    pub fn config_dump(&self) -> Result<Value, String> {
        let dump = self.json("/config_dump")?;
        match dump["configs"].is_array() {
            true => Ok(dump),
            false => Err(format!(
                "{}/config_dump: not the admin interface of an Envoy",
                self.url
            )),
        }
    }

    /// Its version and its state.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn server_info(&self) -> Result<Value, String> {
        self.json("/server_info")
    }

    /// Its clusters, with their hosts.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn clusters(&self) -> Result<Value, String> {
        self.json("/clusters?format=json")
    }

    /// The counters and gauges that have to do with Wasm, by name.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn stats(&self) -> Result<BTreeMap<String, u64>, String> {
        let text = self.get("/stats?filter=wasm")?;
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        });
        Ok(pairs.collect())
    }
}
