use super::*;
use crate::attribute::Attribute;
use crate::config::{EnvDefaults, FilterConfig};

fn rules(json: &str) -> RuleSet {
    let json = format!(r#"{{"rules": {json}}}"#);
    let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
    config
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .trace
        .rules
}

fn settings(rules: &RuleSet, lines: &[(&str, &str)]) -> Settings {
    let lines = lines
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    crate::fixtures::Host::default()
        .serve(|calls| Settings::new(rules, &Headers::from_pairs(lines), calls))
}

/// What callers are trusted with where the path decides: the trace, and whether it is passed on.
fn trust(
    rules: &RuleSet,
    path: &str,
) -> (Option<IncomingTrace>, Option<IncomingSampled>, Option<bool>) {
    let settings = settings(rules, &[(":method", "GET"), (":path", path)]);
    (
        settings.incoming_trace,
        settings.incoming_sampled,
        settings.propagate,
    )
}

#[test]
fn a_rule_that_trusts_less_is_met_however_the_path_is_spelled() {
    let rules = rules(
        r#"[{"match": {"path": "^/public(/|$)"}, "propagate": false,
             "incoming": {"trace": "restart", "sampled": "ignore"}, "transaction": "public"}]"#,
    );
    let strict = (
        Some(IncomingTrace::Restart),
        Some(IncomingSampled::Ignore),
        Some(false),
    );
    // The path, and whether Envoy's normalization makes it the one of the rule.
    for (path, is_usual) in [
        ("/public", true),
        ("/public/a?x=/../..", true),
        ("/./public", true),
        ("/%70ublic", true),
        ("/%70%75%62%6C%69%63", true),
        ("/x/../public", true),
        ("/x/%2e%2e/public", true),
        ("/x/.%2E/public/", true),
        ("/..//../public", true),
        ("/x\\..\\public", true),
        ("/public/../public#/", true),
        ("//public", false),
        ("/%2Fpublic", false),
        ("/x/..%2fpublic", false),
        ("/x%5c..%5Cpublic", false),
        ("/x/..;a=b/public", false),
        ("/x//../public", false),
        // As it arrived; what Envoy makes of it is another one.
        ("/public/../internal", false),
        ("/public/%2e%2e/internal", false),
    ] {
        assert_eq!(trust(&rules, path), strict, "{path}");
        let settings = settings(&rules, &[(":path", path)]);
        assert_eq!(settings.transaction.is_some(), is_usual, "{path}");
    }
    for path in [
        "/",
        "/publicly",
        "/x/public",
        "/a%2Fpublic",
        "/?/public",
        "/#/public",
        "",
    ] {
        assert_eq!(trust(&rules, path), (None, None, None), "{path}");
    }
}

#[test]
fn a_rule_that_trusts_more_is_met_only_where_the_path_is_that_in_every_spelling() {
    let rules = rules(
        r#"[{"match": {"path": "^/internal/"}, "propagate": true,
             "incoming": {"trace": "continue", "sampled": "inherit"}}]"#,
    );
    let trusting = (
        Some(IncomingTrace::Continue),
        Some(IncomingSampled::Inherit),
        Some(true),
    );
    for path in [
        "/internal/",
        "/internal/./a",
        "/internal/a%2Fb",
        "/internal//a",
        "/internal/%41",
    ] {
        assert_eq!(trust(&rules, path), trusting, "{path}");
    }
    for path in [
        "/internal",
        "/internal/../public",
        "/internal/%2e%2e/public",
        "/internal/..%2fpublic",
        "/internal/..;/public",
        "/internal\\..\\public",
        "/./internal/",
        "/%69nternal/",
        "//internal/",
        "/x?/internal/",
    ] {
        assert_eq!(trust(&rules, path), (None, None, None), "{path}");
    }
}

/// The case of escapes that stay says nothing.
#[test]
fn escapes_are_the_same_in_either_case() {
    let rules = rules(r#"[{"match": {"path": "^/caf%C3%A9"}, "incoming": {"trace": "restart"}}]"#);
    for path in ["/caf%C3%A9", "/caf%c3%a9", "/%63af%c3%A9"] {
        assert_eq!(
            trust(&rules, path).0,
            Some(IncomingTrace::Restart),
            "{path}"
        );
    }
}

#[test]
fn a_host_is_the_same_in_any_case_with_any_port_and_final_dot() {
    for pattern in [r"^api\\.shop\\.example$", r"^API\\.shop\\.[a-z]+$"] {
        let rules = rules(&format!(
            r#"[{{"match": {{"host": "{pattern}"}}, "incoming": {{"trace": "restart"}}, "transaction": "api"}}]"#
        ));
        for host in [
            "api.shop.example",
            "API.Shop.EXAMPLE",
            "api.shop.example:443",
            "api.shop.example:8443",
            "api.shop.example.",
            "Api.shop.example.:443",
            "user:password@api.shop.example:1",
        ] {
            let settings = settings(&rules, &[(":authority", host)]);
            assert_eq!(
                settings.incoming_trace,
                Some(IncomingTrace::Restart),
                "{host}"
            );
            assert!(settings.transaction.is_some(), "{host}");
        }
        for host in [
            "xapi.shop.example",
            "api.shop.example.org",
            "api.shop.example@other.example",
        ] {
            let settings = settings(&rules, &[(":authority", host)]);
            assert_eq!(settings.incoming_trace, None, "{pattern} {host}");
        }
    }
    let rules = rules(r#"[{"match": {"host": "^public\\."}, "incoming": {"trace": "restart"}}]"#);
    let settings = settings(&rules, &[(":authority", "public.example@api.example")]);
    assert_eq!(
        settings.incoming_trace,
        Some(IncomingTrace::Restart),
        "either may be meant"
    );
}

/// Of a text that is longer than what is looked at, nobody knows whether it matches.
#[test]
fn a_text_that_is_too_long_to_be_decided_is_trusted_less() {
    let rules = rules(
        r#"[{"match": {"path": "/admin$"}, "transaction": "admin", "propagate": false,
             "incoming": {"trace": "restart", "sampled": "ignore"}},
            {"match": {"path": "^/internal/.*/own$"}, "incoming": {"trace": "continue"}}]"#,
    );
    let strict = (
        Some(IncomingTrace::Restart),
        Some(IncomingSampled::Ignore),
        Some(false),
    );
    let long = "a".repeat(57_000);
    for path in [
        format!("/{long}/admin"),
        format!("/{long}/other"),
        format!("/internal/{long}/own"),
    ] {
        assert_eq!(trust(&rules, &path), strict);
        assert_eq!(settings(&rules, &[(":path", &path)]).transaction, None);
    }
    // Dots far behind what is looked at count.
    let path = format!("/admin/{}{}", "b/".repeat(10_000), "../".repeat(10_001));
    assert_eq!(trust(&rules, &format!("{path}admin")), strict);
    assert_eq!(
        settings(&rules, &[(":path", &format!("{path}admin"))])
            .transaction
            .map(|it| it.name),
        Some("admin".to_owned())
    );

    let rules = self::rules(
        r#"[{"match": {"path": "^/public/"}, "incoming": {"trace": "restart"}, "transaction": "public"},
            {"match": {"header": {"x-internal": "yes"}}, "incoming": {"trace": "continue"}},
            {"match": {"header": {"x-outside": "yes"}}, "incoming": {"trace": "restart"}},
            {"match": {"host": "^a+$"}, "incoming": {"sampled": "inherit"}}]"#,
    );
    // What the beginning decides is decided.
    let path = format!("/public/{long}");
    assert_eq!(trust(&rules, &path).0, Some(IncomingTrace::Restart));
    assert!(settings(&rules, &[(":path", &path)]).transaction.is_some());
    assert_eq!(trust(&rules, &format!("/other/{long}")).0, None);
    let header = |name, value: &str| settings(&rules, &[(name, value)]).incoming_trace;
    let late = format!("{long}yes");
    assert_eq!(header("x-internal", "yes"), Some(IncomingTrace::Continue));
    assert_eq!(header("x-internal", &late), None);
    assert_eq!(header("x-outside", &late), Some(IncomingTrace::Restart));
    assert_eq!(
        settings(&rules, &[(":authority", &long)]).incoming_sampled,
        None
    );
}

#[test]
fn a_header_matches_by_one_of_its_lines_whatever_its_names_case() {
    let rules = rules(
        r#"[{"match": {"header": {"X-Team": "^web$", "x-kind": "a"}}, "ignore": true},
            {"match": {"header": {"x-team": "^search$"}}, "ignore": false}]"#,
    );
    let ignore = |lines: &[(&str, &str)]| settings(&rules, lines).ignore;
    assert_eq!(
        ignore(&[("x-team", "ops"), ("X-TEAM", "web"), ("x-kind", "a")]),
        Some(true)
    );
    assert_eq!(ignore(&[("x-team", "web")]), None);
    assert_eq!(
        ignore(&[("x-team", "search"), ("x-kind", "a")]),
        Some(false)
    );
    assert_eq!(ignore(&[("x-kind", "a")]), None);
}

/// The host is asked for its attributes once, and not where the other conditions fail.
#[test]
fn attributes_are_asked_for_where_they_decide() {
    let rules = rules(
        r#"[{"match": {"path": "^/a", "route": "^r$"}, "transaction": "1"},
            {"match": {"path": "^/a", "route": "^s$", "cluster": "c"}, "transaction": "2"},
            {"match": {"path": "^/a", "cluster": "c"}, "transaction": "3"}]"#,
    );
    for (path, route, expected, asked) in [
        ("/b", "r", None, 0),
        ("/a", "r", Some("1"), 2),
        ("/a", "s", Some("2"), 2),
        ("/a", "t", Some("3"), 2),
    ] {
        let pair = (&b":path"[..], path.as_bytes());
        let mut host = crate::fixtures::Host {
            attributes: vec![
                (Attribute::RouteName, route.into()),
                (Attribute::ClusterName, "c".into()),
            ],
            ..crate::fixtures::Host::default()
        };
        let settings =
            host.serve(|calls| Settings::new(&rules, &Headers::from_pairs([pair]), calls));
        let calls = host.asked;
        let name = settings.transaction.map(|transaction| transaction.name);
        assert_eq!(
            (name.as_deref(), calls),
            (expected, asked),
            "{path} {route}"
        );
    }
}

#[test]
fn a_rule_whose_groups_are_empty_leaves_the_name_to_the_next() {
    let rules = rules(
        r#"[{"match": {"path": "^/x?(y?)"}, "transaction": "$1"},
            {"match": {"path": "^/(.)"}, "transaction": "second $1"}]"#,
    );
    for (path, expected) in [("/xy", "y"), ("/x", "second x"), ("/%78y", "y")] {
        let name = settings(&rules, &[(":path", path)]).transaction;
        assert_eq!(
            name.map(|name| name.name).as_deref(),
            Some(expected),
            "{path}"
        );
    }
}
