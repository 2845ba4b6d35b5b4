//! `check --send-test --formats` at a receiver in every mood: what it says of each format.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use mini_sentry::{Answer, MiniSentry, PUBLIC_KEY};
use serde_json::Value;

/// Runs the command, and returns its exit code and, for each format, its verdict and what it means.
async fn formats(config: String) -> (i32, Vec<(String, String, String)>) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    command.args(["check", "-", "--send-test", "--formats", "--output", "json"]);
    command.write_stdin(config);
    // The receiver lives in this process.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("a run");
    let reports: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_format = |one: &Value| {
        (
            text(&one["format"]),
            text(&one["verdict"]),
            text(&one["meaning"]),
        )
    };
    let formats = reports[0]["formats"].as_array().expect("formats");
    (
        output.status.code().expect("an exit code"),
        formats.iter().map(of_format).collect(),
    )
}

fn config(dsn: &str, format: &str) -> String {
    format!(r#"{{"dsn": "{dsn}", "transport": {{"format": "{format}", "timeout_ms": 2000}}}}"#)
}

fn verdicts(told: &[(String, String, String)]) -> Vec<(&str, &str)> {
    told.iter()
        .map(|(format, verdict, _)| (format.as_str(), verdict.as_str()))
        .collect()
}

fn all(verdict: &str) -> [(&str, &str); 3] {
    ["transaction", "span_v2", "otlp"].map(|format| (format, verdict))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_receiver_takes_each_of_them() {
    for configured in ["transaction", "span_v2", "otlp"] {
        let sentry = MiniSentry::start().await;
        let (code, told) = formats(config(sentry.dsn(), configured)).await;
        assert_eq!(verdicts(&told), all("accepted"), "{configured}");
        assert_eq!(code, 0);
        assert_eq!(sentry.wait_for_segments(3).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_known_says_nothing_of_formats() {
    let sentry = MiniSentry::start().await;
    let dsn = sentry.dsn().replace(PUBLIC_KEY, "0123");
    let answer = |status| Answer::Status {
        status,
        headers: Vec::new(),
        delay: Duration::ZERO,
    };
    for status in [401, 403] {
        sentry.answer(answer(status));
        let (code, told) = formats(config(sentry.dsn(), "transaction")).await;
        assert_eq!(
            (code, verdicts(&told)),
            (3, all("unknown").to_vec()),
            "{status}"
        );
    }
    // The strict receiver itself answers such a request with 400 and says why.
    sentry.answer(answer(200));
    let (code, _) = formats(config(&dsn, "transaction")).await;
    assert_eq!(code, 3);
    assert!(!sentry.take_violations().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_mood() {
    let day = "86400:transaction;span:organization";
    let rows = [
        (404, vec![], all("refused")),
        (400, vec![], all("refused")),
        (405, vec![], all("refused")),
        (413, vec![], all("refused")),
        (415, vec![], all("refused")),
        (501, vec![], all("refused")),
        (302, vec![], all("unknown")),
        (429, vec![], all("unknown")),
        (429, vec![("x-sentry-rate-limits", day)], all("unknown")),
        (500, vec![], all("unknown")),
        (503, vec![], all("unknown")),
        // A server that collects errors only, as Bugsink.
        (200, vec![("x-sentry-rate-limits", day)], all("refused")),
        // A quota that is used up for now.
        (
            200,
            vec![("x-sentry-rate-limits", "60::organization")],
            all("unknown"),
        ),
        (
            200,
            vec![("x-sentry-rate-limits", "86400:span:organization")],
            [
                ("transaction", "accepted"),
                ("span_v2", "refused"),
                ("otlp", "refused"),
            ],
        ),
        (
            200,
            vec![("x-sentry-rate-limits", "86400:error:organization")],
            all("accepted"),
        ),
    ];
    for (status, headers, expected) in rows {
        let sentry = MiniSentry::start().await;
        sentry.answer(Answer::Status {
            status,
            headers: headers.clone(),
            delay: Duration::ZERO,
        });
        let (_, told) = formats(config(sentry.dsn(), "otlp")).await;
        assert_eq!(verdicts(&told), expected, "{status} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_says_nothing() {
    let sentry = MiniSentry::start().await;
    sentry.answer(Answer::Reset);
    let (code, told) = formats(config(sentry.dsn(), "otlp")).await;
    assert_eq!((code, verdicts(&told)), (3, all("unknown").to_vec()));

    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let (code, told) = formats(config(&format!("http://key@127.0.0.1:{port}/1"), "otlp")).await;
    assert_eq!((code, verdicts(&told)), (3, all("unknown").to_vec()));
    assert!(told[0].2.contains("the connection was refused"), "{told:?}");
}

/// A collector: it takes OTLP where `transport.path` says, and has no place for envelopes. The exit
/// code is that of the configured format.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_takes_the_one_that_it_knows() {
    for (rejected, verdict, code) in [(0, "accepted", 0), (1, "refused", 3)] {
        let port = collector(rejected);
        let config = format!(
            r#"{{"dsn": "http://key@127.0.0.1:{port}/1", "transport": {{"format": "otlp", "path": "/v1/traces"}}}}"#
        );
        let (found, told) = formats(config).await;
        let expected = [
            ("transaction", "refused"),
            ("span_v2", "refused"),
            ("otlp", verdict),
        ];
        assert_eq!((found, verdicts(&told)), (code, expected.to_vec()));
    }
}

/// Answers three requests: 404, but to `/v1/traces`, with so many rejected spans.
fn collector(rejected: u8) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            // The body is there with the headers, or not needed.
            let mut buffer = [0; 65_536];
            while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                let count = stream.read(&mut buffer).expect("a request");
                request.extend_from_slice(&buffer[..count]);
            }
            let is_known = request.starts_with(b"POST /v1/traces ");
            // ExportTraceServiceResponse.partial_success.rejected_spans
            let body: &[u8] = match (is_known, rejected) {
                (true, 1..) => &[0x0a, 0x02, 0x08, rejected],
                _ => &[],
            };
            let status = if is_known { "200 OK" } else { "404 Not Found" };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("an answer");
            stream.write_all(body).expect("a body");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut request);
        }
    });
    port
}

/// For people: a line for each, and which one is configured.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_printed_line_by_line() {
    let sentry = MiniSentry::start().await;
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    command.args(["check", "-", "--send-test", "--formats"]);
    command.write_stdin(config(sentry.dsn(), "span_v2"));
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("a run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = sentry.address();
    for line in [
        format!("  format transaction: accepted: http://{address}/api/7/envelope/: 200: "),
        format!("  format span_v2 (configured): accepted: http://{address}/api/7/envelope/: 200: "),
        format!(
            "  format otlp: accepted: http://{address}/api/7/integration/otlp/v1/traces/: 200: "
        ),
    ] {
        assert!(printed.contains(&line), "no {line:?} in\n{printed}");
    }
    // Without a test there is nothing to compare.
    let mut alone = Command::cargo_bin("sentry-filter").expect("the binary");
    alone.args(["check", "-", "--formats"]).write_stdin("{}");
    assert_eq!(alone.output().expect("a run").status.code(), Some(2));
}
