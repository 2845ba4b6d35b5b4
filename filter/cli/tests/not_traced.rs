//! Which requests never have a span: said by a plain check, and by an explanation.

use assert_cmd::Command;

/// Runs `sentry-filter check` on a configuration; what it printed.
fn check(config: &str, arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    command.args(["check", "-"]).args(arguments);
    let output = command.write_stdin(config).output().expect("a run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_never_has_a_span_is_said_without_being_asked() {
    let rows = [
        (
            r#"{"dsn": "https://key:hush@shop.example:443/sentry/1", "traces_sample_rate": 1}"#,
            vec!["shop.example/sentry/api/… (the DSN's own receiver; the rest of shop.example is traced)"],
        ),
        (
            r#"{"dsn": "http://key@collector:4318/1", "traces_sample_rate": 1, "transport": {"path": "/v1/traces"}}"#,
            vec![
                "collector:4318/api/… (the DSN's own receiver; the rest of collector:4318 is traced)",
                "collector:4318/v1/traces (transport.path)",
            ],
        ),
        (r#"{"traces_sample_rate": 1}"#, vec![]),
    ];
    for (config, expected) in rows {
        let printed = check(config, &[]);
        let left_out: Vec<_> = printed
            .lines()
            .filter_map(|line| line.strip_prefix("  no span for requests to "))
            .collect();
        assert_eq!(left_out, expected);
        assert_eq!(printed.contains("method OPTIONS"), !expected.is_empty());
    }
    let receiver = "POST http://shop.example/sentry/api/1/envelope/";
    for (request, is_left_out) in [(receiver, true), ("GET http://shop.example/", false)] {
        let config = r#"{"dsn": "http://key@shop.example/sentry/1", "traces_sample_rate": 1}"#;
        let printed = check(config, &["--explain", request]);
        assert_eq!(printed.contains("  span: none"), is_left_out, "{printed}");
    }
}
