//! The tables of `tests/vectors`, on the core.

use sentry_filter_core::trace::sentry_trace::SentryTrace;
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    lines: Vec<String>,
    accept: Option<String>,
    refuse: Option<String>,
    #[allow(dead_code, reason = "for the reader")]
    why: Option<String>,
}

#[test]
fn sentry_trace() {
    let table: Table =
        toml::from_str(include_str!("../../../tests/vectors/sentry_trace.toml")).unwrap();
    let mut failures = Vec::new();
    for row in table.row {
        let lines = row.lines.iter().map(|line| line.as_bytes());
        let (accepted, refused) = match SentryTrace::read(lines) {
            Ok(received) => {
                let received = received.expect("every row has a line");
                let forwarded = String::from_utf8(received.value.to_value()).unwrap();
                let unchanged = row.lines == [forwarded.clone()];
                assert_eq!(received.canonical, unchanged, "{}", row.name);
                (Some(forwarded), None)
            }
            Err(error) => (None, Some(error.reason().to_owned())),
        };
        if (&accepted, &refused) != (&row.accept, &row.refuse) {
            failures.push(format!("{}: {accepted:?} {refused:?}", row.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
