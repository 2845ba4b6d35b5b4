//! What `sentry-filter check --explain` says.

mod run;

use std::collections::BTreeSet;

use run::check;
use sentry_filter_cli::explain;
use sentry_filter_core::trace::propagation::Format;

/// A trace that arrives, and what is said about it.
const TRACE: &str = "bc6d53f15eb88f4320054569b8c553d4-b72fa28504b07285";

#[test]
fn decisions_are_explained() {
    let dsn = r#""dsn": "https://key@o1.ingest.sentry.io/1""#;
    let rate = r#""traces_sample_rate": 0.5"#;
    let arrived = format!("GET https://shop.example/api/7\nsentry-trace: {TRACE}");
    let rows: [(&str, String, String, &[&str]); 11] = [
        ("no DSN", "{}".to_owned(), format!("{arrived}-1"), &["trace: continued", "there is no DSN"]),
        ("no DSN, no trace", "{}".to_owned(), "GET /".to_owned(), &["trace: none: there is no DSN"]),
        ("kept yes", format!("{{{dsn}, {rate}}}"), format!("{arrived}-1"), &["continued from sentry-trace", "sampled: the decision arrived", "span: http.server /api/7"]),
        ("kept no", format!("{{{dsn}, {rate}}}"), format!("{arrived}-0"), &["not sampled: the decision arrived", "span: none", "as it is"]),
        ("yes without a rate", format!("{{{dsn}}}"), format!("{arrived}-1"), &["no span is recorded, since traces_sample_rate is not set"]),
        ("deferred", format!("{{{dsn}}}"), "GET /".to_owned(), &["trace: started", "deferred"]),
        ("ours", format!("{{{dsn}, {rate}}}"), arrived.clone(), &["sampled: no decision arrived, so we decide: the trace's number 0.125080 is below traces_sample_rate 0.5"]),
        ("refused", format!("{{{dsn}, {rate}}}"), format!("sentry-trace: {TRACE}-x"), &["restarted (refused)", "refused: sentry-trace (malformed_sampled): the sender"]),
        ("another's", format!("{{{dsn}, {rate}}}"), format!("{arrived}-1\nbaggage: sentry-org_id=2,sentry-trace_id={}", &TRACE[..32]), &["restarted (organisation)"]),
        ("a rule", format!("{{{dsn}, \"rules\": [{{\"match\": {{\"path\": \"^/api/\"}}, \"traces_sample_rate\": 1, \"transaction\": \"/api/{{id}}\"}}]}}"), arrived.clone(), &["is below a rule's traces_sample_rate 1", "span: http.server /api/{id} (source custom)"]),
        ("OPTIONS", format!("{{{dsn}, {rate}}}"), "OPTIONS /".to_owned(), &["trace: none: with OPTIONS"]),
    ];
    for (name, config, request, expected) in rows {
        let (code, printed) = check(&config, &["-", "--explain", &request]);
        assert_eq!(code, 0, "{name}: {printed}");
        for part in expected {
            assert!(printed.contains(part), "{name}: no {part:?} in\n{printed}");
        }
    }
}

#[test]
fn the_project_of_a_request_is_named_where_there_are_several() {
    let config = r#"{"dsn": "https://own@o1.ingest.sentry.io/1", "traces_sample_rate": 1, "rules": [
        {"match": {"path": "^/shop/"}, "dsn": "https://shop:hush@o7.ingest.sentry.io/7", "transport": {"cluster": "eu"}},
        {"match": {"path": "^/none/"}, "dsn": ""}]}"#;
    let rows: [(&str, &str, &[&str]); 7] = [
        (
            "/x",
            "{}",
            &["project: https://own@o1.ingest.sentry.io/1, through cluster \"sentry\"\n"],
        ),
        (
            "/shop/1",
            "{}",
            &[
                "project: https://shop@o7.ingest.sentry.io/7, through cluster \"eu\"\n",
                "sentry-public_key=shop",
                "sentry-org_id=7",
            ],
        ),
        (
            "/none/1",
            "{}",
            &[
                "trace: none: its route, or the first rule that names a project, has none",
                "belongs to no project",
                "span: none",
            ],
        ),
        (
            "/none/1",
            "{dsn: 'https://r@o9.ingest.sentry.io/9'}",
            &["project: https://r@o9.ingest.sentry.io/9, through cluster \"sentry\"\n"],
        ),
        (
            "/x",
            "{transport: {cluster: eu}}",
            &["project: https://own@o1.ingest.sentry.io/1, through cluster \"eu\"\n"],
        ),
        (
            "/x",
            "{transport.cluster: eu}",
            &["through cluster \"eu\"\n"],
        ),
        (
            "/x",
            "{dsn: 'https://o9.ingest.sentry.io/9'}",
            &[
                "project: none: the route's dsn has no public key before an @\n",
                "span: none",
            ],
        ),
    ];
    for (path, metadata, expected) in rows {
        let request = format!("GET {path}");
        let arguments = ["-", "--explain", &request, "--route-metadata", metadata];
        let (code, printed) = check(config, &arguments);
        assert_eq!(code, 0, "{path}: {printed}");
        assert!(!printed.contains("hush"), "{printed}");
        for part in expected {
            assert!(printed.contains(part), "{path}: no {part:?} in\n{printed}");
        }
    }
}

#[test]
fn the_metadata_of_the_route_comes_before_rules_and_these_before_the_top_level() {
    let rule = r#"{"traces_sample_rate": 0.1, "transaction": "/rule", "ignore": true}"#;
    let config = |rules: &str| {
        format!(
            r#"{{"dsn": "https://key@o1.ingest.sentry.io/1", "traces_sample_rate": 0.125, "rules": [{rules}]}}"#
        )
    };
    let tell_rate = r#"{"ignore": false, "traces_sample_rate": 0.5, "transaction": "/checkout"}"#;
    let arrived = format!("GET /api/7\nsentry-trace: {TRACE}");
    let kept = format!("{arrived}-1");
    let rows: [(&str, &str, &str, &[&str]); 8] = [
        ("", "{}", &arrived, &["not sampled: no decision arrived, so we decide: the trace's number 0.125080 is not below traces_sample_rate 0.125\n", "span: none"]),
        (r#"{"traces_sample_rate": 1}"#, "{}", &arrived, &["is below a rule's traces_sample_rate 1 (which comes before traces_sample_rate 0.125)\n"]),
        (rule, "{}", &arrived, &["not sampled: a rule ignores the request", "span: none"]),
        (rule, tell_rate, &arrived, &[
            "0.125080 is below the route's traces_sample_rate 0.5 (which comes before a rule's traces_sample_rate 0.1, and traces_sample_rate 0.125)\n",
            "span: http.server /checkout (source route)",
        ]),
        // As people write it in YAML; numbers and flags in quotes count, too, and what the filter
        // does not know does not.
        (rule, "{ignore: 'false', traces_sample_rate: '1', other: [1], transaction: 7}", &arrived, &["is below the route's traces_sample_rate 1 (", "/rule (source custom)"]),
        ("", "ignore: true", &arrived, &["not sampled: the route ignores the request"]),
        ("", r#"{"ignore": true}"#, &kept, &["is kept; no span is recorded, since the route ignores the request"]),
        (rule, r#"{"ignore": false}"#, &kept, &["is kept; a span is recorded", "/rule (source custom)"]),
    ];
    for (rules, metadata, request, expected) in rows {
        let arguments = ["-", "--explain", request, "--route-metadata", metadata];
        let (code, printed) = check(&config(rules), &arguments);
        assert_eq!(code, 0, "{printed}");
        for part in expected {
            assert!(
                printed.contains(part),
                "{metadata}: no {part:?} in\n{printed}"
            );
        }
    }
}

/// The documented table of refused headers and the command say the same.
#[test]
fn the_advice_is_the_documented_one() {
    let page = include_str!("../../../docs/propagation.md");
    let (_, table) = page
        .split_once("\n## Refused headers\n")
        .expect("the chapter");
    let mut documented = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [reasons, _, todo] = cells.as_slice() else {
            panic!("{row}");
        };
        for reason in reasons.split('`').skip(1).step_by(2) {
            let mut errors = Format::ALL.into_iter().flat_map(|format| format.errors());
            let error = errors.find(|error| error.reason() == reason);
            let told = explain::advice(*error.unwrap_or_else(|| panic!("no {reason}")));
            assert_eq!(told, todo.trim_end_matches(" |"), "{reason}");
            assert!(documented.insert(reason), "{reason} twice");
        }
    }
    for error in Format::ALL.into_iter().flat_map(|format| format.errors()) {
        assert!(documented.contains(error.reason()), "no row for {error}");
    }
}
