//! The tables of `tests/vectors`, through real Envoy; and what Sentry's own SDKs make of what came
//! out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use e2e::{envoy::workspace, eventually, Baggage, Gateway, Request, SentryTrace, SPANS};
use serde::Deserialize;
use serde_json::{json, Value};
use tokio::sync::OnceCell;
use vectors::{none_of, Seen};

/// A row and what the upstream got of it.
type Served = (vectors::Request, Seen);

/// What came of all rows.
#[derive(Default)]
struct Outcome {
    served: Vec<Served>,
    /// What Envoy's stats say otherwise than the rows of a configuration together, and what the
    /// fake Sentry refused.
    complaints: Vec<String>,
}

/// All rows, served once for all tests of this file.
static OUTCOME: OnceCell<Outcome> = OnceCell::const_new();

#[tokio::test]
async fn the_upstream_sees_what_the_tables_say() {
    let outcome = OUTCOME.get_or_init(serve_all).await;
    let mut failures = outcome.complaints.clone();
    for (row, seen) in &outcome.served {
        let complaints = row.check(seen);
        failures.extend(
            complaints
                .iter()
                .map(|what| format!("{}: {what}", row.name)),
        );
    }
    none_of(&failures);
}

#[tokio::test]
async fn the_python_sdk_continues_what_we_send_on() {
    let python = workspace(".tools/scene/python/bin/python");
    let mut oracle = Command::new(python);
    oracle.arg(workspace("tests/oracles/read_context.py"));
    ask("Python", oracle).await;
}

#[tokio::test]
async fn the_javascript_sdks_continue_what_we_send_on() {
    for version in ["browser-9", "browser-10", "browser-11"] {
        let mut oracle = Command::new("node");
        oracle.arg(workspace("tests/oracles/read_context.mjs"));
        oracle.arg(workspace(".tools/sdks/node_modules").join(version));
        ask(version, oracle).await;
    }
}

async fn serve_all() -> Outcome {
    let mut by_config: BTreeMap<String, Vec<vectors::Request>> = BTreeMap::new();
    for (_, row) in vectors::requests() {
        let rows = by_config.entry(row.config().to_string()).or_default();
        rows.push(row);
    }
    let mut outcome = Outcome::default();
    for rows in by_config.into_values() {
        serve(rows, &mut outcome).await;
    }
    outcome
}

/// Serves rows of one configuration. Envoy's stats tell sums only, which are compared here.
async fn serve(rows: Vec<vectors::Request>, outcome: &mut Outcome) {
    let builder = Gateway::builder().await;
    let mut config = rows[0].config();
    if config["dsn"] == vectors::DSN {
        config["dsn"] = json!(builder.dsn());
    }
    config["transport"] = json!({"flush_interval_ms": 50});
    let gateway = builder.configuration(&config.to_string()).start().await;

    let count = rows.len();
    let mut expected = BTreeMap::from([("requests".to_owned(), count as u64)]);
    for row in rows {
        let mut request = Request::new(row.method.as_deref().unwrap_or("GET"), "/orders");
        for (name, value) in row.lines() {
            request = request.header(&name, value);
        }
        let got = gateway.pass(&request).await;
        let lines = got.headers.iter();
        let seen = Seen {
            lines: lines
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            ..Seen::default()
        };
        for (name, count) in &row.counted {
            *expected.entry(name.clone()).or_default() += count;
        }
        if row.recorded {
            *expected.entry("spans_recorded".to_owned()).or_default() += SPANS;
        }
        outcome.served.push((row, seen));
    }
    let begin = outcome.served.len() - count;
    let mut last = BTreeMap::new();
    let counted = eventually(async || {
        last = gateway.envoy.stats().await;
        last.retain(|name, count| *count > 0 && is_about_rows(name));
        (last == expected).then_some(())
    });
    if counted.await.is_none() {
        let what = format!("{config}: counted {last:?}, expected {expected:?}");
        outcome.complaints.push(what);
    } else {
        outcome
            .complaints
            .extend(unlinked(&gateway, &outcome.served[begin..]).await);
    }
    // Taken here, so that one refused envelope does not hide what comes of the other rows.
    for violation in gateway.sentry.take_violations() {
        let what = format!("{config}: Sentry refused a span: {violation}");
        outcome.complaints.push(what);
    }
}

/// Of the rows that are recorded: those whose span id the upstream got and Sentry did not.
async fn unlinked(gateway: &Gateway, served: &[Served]) -> Vec<String> {
    let recorded = served.iter().filter(|(row, _)| row.recorded);
    let arrived = eventually(async || {
        let requests = gateway.sentry.requests().len();
        (requests >= recorded.clone().count()).then_some(())
    });
    if arrived.await.is_none() {
        return vec![format!("{} POSTs", gateway.sentry.requests().len())];
    }
    let segments = gateway.sentry.segments();
    let spans = segments
        .iter()
        .flat_map(|one| one.calls.iter().chain([&one.server]));
    let ids: BTreeSet<&str> = spans.map(|span| span.span_id.as_str()).collect();
    let told = |seen: &Seen| SentryTrace::parse(seen.lines("sentry-trace").first()?);
    recorded
        .filter_map(|(row, seen)| {
            let told = told(seen)?;
            let is_known = ids.contains(told.span_id.as_str());
            (!is_known).then(|| format!("{}: Sentry has no span {}", row.name, told.span_id))
        })
        .collect()
}

/// Counters that rows name, and gauges that have to come down to nothing.
fn is_about_rows(name: &str) -> bool {
    const COUNTERS: [&str; 8] = [
        "requests",
        "spans_recorded",
        "spans_queued",
        "spans_in_flight",
        "sentry_trace_refused.",
        "traceparent_refused.",
        "traces_restarted.",
        "baggage_members_dropped.",
    ];
    COUNTERS.iter().any(|counter| name.starts_with(counter))
}

/// What an SDK makes of the two headers.
#[derive(Debug, Deserialize)]
struct Continued {
    trace_id: String,
    parent_span_id: Option<String>,
    sampled: Option<bool>,
    dsc: BTreeMap<String, Value>,
}

/// Feeds every context that the upstream got to an SDK.
async fn ask(sdk: &str, mut oracle: Command) {
    let contexts: Vec<_> = OUTCOME
        .get_or_init(serve_all)
        .await
        .served
        .iter()
        .filter(|(_, seen)| !seen.lines("sentry-trace").is_empty())
        .collect();
    let mut questions = String::new();
    for (_, seen) in &contexts {
        let texts =
            |name| -> Vec<String> { seen.lines(name).iter().map(|line| latin1(line)).collect() };
        let question =
            json!({"sentry_trace": texts("sentry-trace").join(","), "baggage": texts("baggage")});
        questions.push_str(&format!("{question}\n"));
    }
    let oracle = oracle.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut oracle = oracle.unwrap_or_else(|error| {
        panic!("{sdk}'s SDK is not there, `make scene oracles` installs it: {error}")
    });
    let mut stdin = oracle.stdin.take().expect("a pipe");
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let answers = oracle.wait_with_output().expect("the oracle's answers");
    let asked = asking.join().expect("a thread that writes");
    assert!(
        answers.status.success() && asked.is_ok(),
        "{sdk}'s SDK could not be asked, `make scene oracles` installs it"
    );
    let answers = String::from_utf8(answers.stdout).expect("JSON");
    let answers: Vec<Continued> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    assert_eq!(answers.len(), contexts.len());
    let mut failures = Vec::new();
    for ((row, seen), answer) in contexts.iter().zip(&answers) {
        if let Some(what) = complaint(row, seen, answer) {
            failures.push(format!("{}: {what}", row.name));
        }
    }
    println!(
        "{sdk}'s SDK continued {} contexts",
        answers.len() - failures.len()
    );
    none_of(&failures);
}

fn complaint(row: &vectors::Request, seen: &Seen, answer: &Continued) -> Option<String> {
    let sent = &seen.lines("sentry-trace")[0];
    let sent = latin1(sent);
    let Some(context) = SentryTrace::parse(&sent) else {
        return Some(format!("not canonical: {sent:?}"));
    };
    let same = answer.trace_id == context.trace_id
        && answer.parent_span_id.as_ref() == Some(&context.span_id)
        && answer.sampled == context.sampled;
    if !same {
        return Some(format!("{sent} was read as {answer:?}"));
    }
    // One of our own is read as it is meant, and one that came by every SDK as it stands there.
    let is_ours = row.baggage.as_ref().is_some_and(vectors::Lines::has_head);
    let lines = seen.lines("baggage");
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    // Members of others may be no text.
    let text = String::from_utf8_lossy(&lines.join(&b","[..])).into_owned();
    let baggage = Baggage::from_lines(&[text.as_bytes()]);
    let sent: BTreeSet<&str> = baggage.sentry_keys().into_iter().collect();
    // SDKs add a number where none came, or none that they can read.
    let own = "sample_rand";
    let read = answer.dsc.keys().map(String::as_str);
    if let Some(key) = read
        .filter(|key| *key != own)
        .find(|key| !sent.contains(key))
    {
        return Some(format!("sentry-{key} was read and never sent"));
    }
    for key in sent {
        // JavaScript reads it as a number and keeps that.
        let read = answer.dsc.get(key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let fits = match key {
            _ if key == own && !is_ours => true,
            "sample_rand" => {
                read.map(|read| read.parse::<f64>()) == baggage.sentry(key).map(|sent| sent.parse())
            }
            // An empty text is absent for some, and says nothing to the others.
            _ => read.unwrap_or_default() == baggage.sentry(key).unwrap_or_default(),
        };
        if !fits {
            return Some(format!(
                "sentry-{key} was read as {:?}",
                answer.dsc.get(key)
            ));
        }
    }
    None
}

/// Bytes as the text that servers make of header values.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
