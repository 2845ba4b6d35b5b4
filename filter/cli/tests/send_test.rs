//! The test span, at a receiver that is stricter than Sentry: in every format, and by TLS with an
//! authority that no browser knows.

use std::path::Path;

use assert_cmd::Command;
use mini_sentry::{Certificate, Format, MiniSentry, PUBLIC_KEY};
use tempfile::TempDir;

/// Runs `sentry-filter check --send-test` with a configuration that says so much; its exit code,
/// and what it printed.
async fn send_test(dsn: &str, format: &str, arguments: &[&str]) -> (i32, String) {
    let config = format!(
        r#"{{"dsn": "{dsn}", "environment": "test", "transport": {{"format": "{format}"}}}}"#
    );
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    command.args(["check", "-", "--send-test"]).args(arguments);
    command.write_stdin(config);
    // The receiver lives in this process.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("a run");
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(printed).expect("text");
    (output.status.code().expect("an exit code"), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_taken_by_a_strict_receiver() {
    let otlp = "/api/7/integration/otlp/v1/traces/";
    for (word, format, path, name) in [
        (
            "transaction",
            Format::Transaction,
            "/api/7/envelope/",
            "/sentry-filter-test",
        ),
        ("span_v2", Format::SpanV2, "/api/7/envelope/", "GET"),
        ("otlp", Format::Otlp, otlp, "GET"),
    ] {
        let sentry = MiniSentry::start().await;
        let (code, printed) = send_test(sentry.dsn(), word, &[]).await;
        assert_eq!(code, 0, "{word}: {printed}");
        let span = sentry.only_segment().await.server;
        assert_eq!(span.format, format);
        assert_eq!(
            (span.name.as_str(), span.op.as_str()),
            (name, "http.server")
        );
        assert_eq!(span.environment.as_deref(), Some("test"));
        for part in [
            format!("its trace: {}\n", span.trace_id),
            format!(
                "http://{}{path}: 200: the receiver took the span",
                sentry.address()
            ),
        ] {
            assert!(printed.contains(&part), "no {part:?} in\n{printed}");
        }
    }
}

/// What was accepted above was checked: a key that the receiver does not know is told.
#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_refused_with_another_key() {
    for format in ["transaction", "span_v2", "otlp"] {
        let sentry = MiniSentry::start().await;
        let dsn = sentry.dsn().replace(PUBLIC_KEY, "0123");
        let (code, printed) = send_test(&dsn, format, &[]).await;
        assert_eq!(code, 3, "{format}: {printed}");
        let violations = sentry.take_violations();
        assert!(!violations.is_empty(), "{format}: {printed}");
    }
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_an_authority_of_its_own_is_trusted_if_that_is_given() {
    let folder = TempDir::new().expect("a folder");
    let [ours, another, misnamed] =
        ["localhost", "localhost", "other.test"].map(Certificate::for_name);
    let file = |name: &str, certificate: &Certificate| {
        written(folder.path(), name, certificate.authority_pem())
    };
    let [ours_pem, another_pem, misnamed_pem] = [
        ("ours", &ours),
        ("another", &another),
        ("misnamed", &misnamed),
    ]
    .map(|(name, certificate)| file(name, certificate));
    let both = written(
        folder.path(),
        "both",
        &format!("{}{}", another.authority_pem(), ours.authority_pem()),
    );

    let sentry = MiniSentry::start_with_tls(&ours).await;
    for ca in [&ours_pem, &both] {
        let before = sentry.requests().len();
        let (code, printed) = send_test(sentry.dsn(), "otlp", &["--ca", ca]).await;
        assert_eq!(code, 0, "{printed}");
        sentry.wait_for_segments(before + 1).await;
    }
    let requests = sentry.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].sni.as_deref(), Some("localhost"));

    let stranger = MiniSentry::start_with_tls(&misnamed).await;
    let stranger_dsn = stranger.dsn().replace("other.test", "localhost");
    let rows: [(&str, &[&str]); 3] = [
        (sentry.dsn(), &[]),
        (sentry.dsn(), &["--ca", &another_pem]),
        (&stranger_dsn, &["--ca", &misnamed_pem]),
    ];
    for (dsn, arguments) in rows {
        let (code, printed) = send_test(dsn, "otlp", arguments).await;
        assert_eq!(code, 3, "{printed}");
        assert!(printed.contains("the TLS handshake failed"), "{printed}");
    }
    assert_eq!(sentry.requests().len(), 2);
    assert!(stranger.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_authorities_is_a_wrong_argument() {
    let folder = TempDir::new().expect("a folder");
    let empty = written(folder.path(), "empty", "");
    let torn = written(
        folder.path(),
        "torn",
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
    );
    for ca in [empty.as_str(), &torn, "/no/such/file"] {
        let (code, printed) = send_test("http://key@127.0.0.1:1/1", "otlp", &["--ca", ca]).await;
        assert_eq!(code, 2, "{printed}");
        assert!(printed.contains(ca), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_project_of_a_rule_gets_one() {
    let (own, other) = (MiniSentry::start().await, MiniSentry::start().await);
    let config = format!(
        r#"{{"dsn": "{}", "rules": [{{"match": {{"path": "^/shop/"}}, "dsn": "{}"}}]}}"#,
        own.dsn(),
        other.dsn()
    );
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    command
        .args(["check", "-", "--send-test"])
        .write_stdin(config);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("a run");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for sentry in [own, other] {
        let line = format!("test span to http://{}/", sentry.address());
        assert!(printed.contains(&line), "no {line} in\n{printed}");
        sentry.only_segment().await;
    }
}
