//! Every query of the dashboard, and every rule of the alerts, in a real Prometheus that scrapes
//! two real Envoys: one shows reasons as labels, as the shipped files have it, the other as the
//! ends of names, as an Envoy does that nobody told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::{envoy::workspace, eventually, Gateway, Request};
use serde_json::{json, Value};
use tempfile::TempDir;

/// How long the traffic lasts: three points of a subquery of 15 s, and one to spare.
const TRAFFIC: Duration = Duration::from_secs(50);

struct Prometheus {
    process: Child,
    address: SocketAddr,
    _files: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Scrapes each job's Envoy every second.
    async fn start(jobs: &[(&str, SocketAddr)]) -> Self {
        let files = TempDir::new().expect("a folder");
        let scrapes: Vec<_> = jobs.iter().map(|(job, admin)| json!({
            "job_name": job,
            "metrics_path": "/stats/prometheus",
            "static_configs": [{"targets": [admin.to_string()], "labels": {"namespace": "edge"}}],
        })).collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [workspace("envoy/monitoring/alerts.yaml")],
            "scrape_configs": scrapes,
        });
        let file = files.path().join("prometheus.yaml");
        fs::write(&file, config.to_string()).expect("a file");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let program = std::env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                files.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus (on Debian, apt-get install prometheus)");
        let prometheus = Self {
            process,
            address,
            _files: files,
        };
        let ready = eventually(async || {
            let response = Request::get("/-/ready").send(address).await.ok()?;
            (response.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "Prometheus was not ready in time");
        prometheus
    }

    async fn get(&self, path: &str) -> Value {
        let response = Request::get(path)
            .send(self.address)
            .await
            .expect("an answer");
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// The series of a query, by their labels, with their values.
    async fn query(&self, expression: &str) -> Result<BTreeMap<String, f64>, String> {
        let encoded: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let series = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let pair = |series: &Value| {
            let value = series["value"][1].as_str().unwrap_or_default();
            (
                series["metric"].to_string(),
                value.parse().unwrap_or(f64::NAN),
            )
        };
        Ok(series.iter().map(pair).collect())
    }
}

/// The dashboard's queries, each with its panel's title, for some jobs.
fn queries(jobs: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(workspace("envoy/monitoring/dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("a query");
            let expression = expression
                .replace("$__rate_interval", "45s")
                .replace("$job", jobs)
                .replace("$namespace", ".*")
                .replace("$instance", ".*")
                .replace("$cluster", "sentry");
            assert!(
                !expression.contains('$') || expression.contains("\"$1\""),
                "{expression}"
            );
            all.push((
                panel["title"].as_str().expect("a title").to_owned(),
                expression,
            ));
        }
    }
    all
}

async fn gateway(stats_config: Option<Value>) -> Gateway {
    let builder = Gateway::builder().await.config(json!({}));
    match stats_config {
        Some(config) => builder.stats_config(config).start().await,
        None => builder.start().await,
    }
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_every_rule_has_an_answer() {
    let file = fs::read_to_string(workspace("envoy/envoy.yaml")).expect("a file");
    let shipped: Value = serde_norway::from_str(&file).expect("YAML");
    let with_labels = gateway(Some(shipped["stats_config"].clone())).await;
    let with_suffixes = gateway(None).await;
    let gateways = [&with_labels, &with_suffixes];
    let jobs = ["labels", "suffixes"];
    let admins = gateways.map(|gateway| gateway.envoy.admin_address());
    let prometheus = Prometheus::start(&[(jobs[0], admins[0]), (jobs[1], admins[1])]).await;

    let end = tokio::time::Instant::now() + TRAFFIC;
    while tokio::time::Instant::now() < end {
        for gateway in gateways {
            gateway.pass(&Request::get("/api/1")).await;
            let refused = Request::get("/api/2")
                .header("sentry-trace", "x")
                .header("baggage", "a");
            gateway.pass(&refused).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    // Each kind of Envoy by itself, and both at once.
    let mut seen = Vec::new();
    for selected in [jobs[0], jobs[1], ".*"] {
        let mut results = BTreeMap::new();
        for (panel, query) in queries(selected) {
            let series = prometheus.query(&query).await;
            let series = series.unwrap_or_else(|error| panic!("{panel}: {error}: {query}"));
            assert!(
                !series.is_empty(),
                "{panel} shows nothing for {selected}: {query}"
            );
            let is_number = series.values().all(|value| value.is_finite());
            assert!(is_number, "{panel}: {series:?}: {query}");
            let series: BTreeSet<_> = series.into_keys().collect();
            results.insert((panel, query.replace(selected, "")), series);
        }
        seen.push(results);
    }
    let (labels, suffixes) = (seen[0].values(), seen[1].values());
    for (labels, suffixes) in labels.zip(suffixes) {
        assert_eq!(
            labels, suffixes,
            "the same reasons in both ways to show them"
        );
    }
    let reasons: BTreeSet<_> = seen[2].values().flatten().cloned().collect();
    for reason in ["queue_overflow", "accepted", "organisation", "limit"] {
        assert!(
            reasons.contains(&json!({"reason": reason}).to_string()),
            "{reasons:#?}"
        );
    }
    assert!(
        reasons.contains(&json!({"header": "sentry_trace", "reason": "wrong_length"}).to_string()),
        "{reasons:#?}"
    );
    let spans = prometheus
        .query("sum(sentry_filter_spans_recorded) / sum(sentry_filter_requests)")
        .await;
    assert_eq!(
        spans.expect("a number").into_values().collect::<Vec<_>>(),
        [2.0],
        "each request has two spans"
    );

    let answer = prometheus.get("/api/v1/rules").await;
    let rules = answer["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert!(rules.len() > 10, "{rules:#?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        // All is well here.
        assert_eq!(rule["alerts"].as_array().map_or(0, Vec::len), 0, "{rule:#}");
    }
    for name in [
        "sentry_filter:spans_discarded:rate10m",
        "sentry_filter:callouts:rate10m",
    ] {
        let series = prometheus.query(name).await.expect("a rule's series");
        let jobs_seen: BTreeSet<_> = series
            .keys()
            .filter_map(|labels| {
                serde_json::from_str::<Value>(labels).ok()?["job"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(jobs_seen.len(), 2, "{name}: {series:?}");
        assert!(series.len() >= 12, "{name}: {series:?}");
    }
}

/// Each alert has cases in which it fires, and others in which it does not.
#[test]
fn every_alert_is_tried_both_ways() {
    let read = |path: &str| -> Value {
        let text = fs::read_to_string(workspace(path)).expect(path);
        serde_norway::from_str(&text).expect("YAML")
    };
    let rules = read("envoy/monitoring/alerts.yaml");
    let tests = read("tests/monitoring/alerts_test.yaml");
    let rules = rules["groups"][0]["rules"]
        .as_array()
        .expect("rules")
        .iter();
    let cases = tests["tests"].as_array().expect("tests");
    for alert in rules.filter_map(|rule| rule["alert"].as_str()) {
        let of_alert = cases
            .iter()
            .map(|case| &case["alert_rule_test"][0])
            .filter(|test| test["alertname"] == alert);
        let (quiet, firing): (Vec<_>, Vec<_>) =
            of_alert.partition(|test| test["exp_alerts"].as_array().is_none_or(Vec::is_empty));
        assert!(!quiet.is_empty() && !firing.is_empty(), "{alert}");
    }
}
