//! Rules and routes that name another project.

use super::*;
use crate::project::ProjectName;
use crate::route_metadata::RouteMetadata;

const TEAMS: &str = r#""traces_sample_rate": 1, "rules": [
    {"match": {"path": "^/shop/"}, "dsn": "https://shop@o7.ingest.sentry.io/7"},
    {"match": {"path": "^/none/"}, "dsn": ""}],"#;

fn at(path: &str) -> Scenario {
    let mut scenario = gateway(TEAMS);
    scenario.headers = vec![(":method", "GET".to_owned()), (":path", path.to_owned())];
    scenario
}

fn member(seen: &Seen, name: &str) -> Option<String> {
    let members = seen.baggage.as_deref().unwrap_or_default().split(',');
    let prefix = format!("sentry-{name}=");
    let mut values = members.filter_map(|member| member.strip_prefix(&prefix));
    values.next().map(str::to_owned)
}

#[test]
fn a_trace_that_begins_is_the_projects() {
    for (path, key, org_id) in [("/x", "key", "1"), ("/shop/1", "shop", "7")] {
        let seen = at(path).seen();
        assert_eq!(member(&seen, "public_key").as_deref(), Some(key), "{path}");
        assert_eq!(member(&seen, "org_id").as_deref(), Some(org_id), "{path}");
    }
    let none = at("/none/1").decide();
    assert_eq!((none.origin, none.project), (TraceOrigin::None, None));
    let traced = at("/none/1").with(SENTRY_TRACE, format!("{INCOMING}-1"));
    assert_eq!(traced.decide().span, None, "nothing is recorded");
}

/// Whoever could choose the project by the way in which a path is spelled could choose whose traces
/// are continued.
#[test]
fn a_trace_goes_on_within_its_organisation_however_the_path_is_spelled() {
    let rows = [
        ("/x", "1", true),
        ("/x", "7", false),
        ("/shop/1", "7", true),
        ("/shop/1", "1", false),
        // Who reads them differently takes them for the one or for the other.
        ("/%73hop/1", "7", false),
        ("/%73hop/1", "1", false),
        ("/x;/../shop/1", "1", false),
        ("/%2e%2e%2fshop/1", "1", false),
        ("//shop/1", "1", false),
        ("//shop/1", "7", false),
        ("/shop/..%2fx", "1", false),
        ("/shop/..%2fx", "7", false),
    ];
    for (path, org_id, continues) in rows {
        let request = at(path)
            .with(SENTRY_TRACE, format!("{INCOMING}-0"))
            .with(BAGGAGE, format!("sentry-org_id={org_id}"));
        let origin = request.decide().origin;
        let expected = match continues {
            true => TraceOrigin::Continued(Format::SentryTrace),
            false => TraceOrigin::Restarted(RestartReason::Organisation),
        };
        assert_eq!(origin, expected, "{path} {org_id}");
    }
}

/// Also where Envoy's reading of the path belongs to no project.
#[test]
fn a_path_that_could_be_a_projects_is_asked_for_its_organisation() {
    let none = r#"{"dsn": "https://key@o42.ingest.sentry.io/2", "rules": [{"match": {"path": "^/internal/"}, "dsn": ""}]}"#;
    let only = r#"{"rules": [{"match": {"path": "^/shop/"}, "dsn": "https://shop@o5.ingest.sentry.io/7"}]}"#;
    let rows = [
        (only, "/shop/1", false),
        (only, "//shop/1", false),
        (only, "/%2fshop/1", false),
        (only, "/x/..;/shop/1", false),
        (only, "/other", true),
        (none, "/other", false),
        (none, "/internal/..%2fother", false),
        (none, "/internal/..;/other", false),
        (none, "/internal/other", true),
    ];
    for (config, path, continues) in rows {
        let mut scenario = gateway("");
        scenario.config = config.to_owned();
        scenario.headers = vec![(":method", "GET".to_owned()), (":path", path.to_owned())];
        let decision = scenario
            .with(SENTRY_TRACE, format!("{INCOMING}-0"))
            .with(BAGGAGE, "sentry-org_id=6")
            .decide();
        let is_continued = decision.origin == TraceOrigin::Continued(Format::SentryTrace);
        assert_eq!(
            is_continued, continues,
            "{config} {path} {:?}",
            decision.origin
        );
    }
}

#[test]
fn a_rule_without_a_project_makes_no_other_one_possible() {
    let rules = r#""rules": [{"match": {"path": "^/shop/"}, "ignore": true}],"#;
    let mut scenario = gateway(rules);
    scenario.headers = vec![
        (":method", "GET".to_owned()),
        (":path", "//shop/".to_owned()),
    ];
    let decision = scenario
        .with(SENTRY_TRACE, format!("{INCOMING}-0"))
        .with(BAGGAGE, "sentry-org_id=1")
        .decide();
    let expected = TraceOrigin::Continued(Format::SentryTrace);
    assert_eq!(decision.origin, expected);
}

fn on_route_with(config: &str, dsn: &str, path: &str) -> TraceDecision {
    let config = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default()).unwrap();
    let lines = [(":method", "GET"), (":path", path), (":authority", "host")];
    let lines = lines.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let mut host = Host {
        metadata: RouteMetadata {
            project: ProjectName::new(Some(dsn.to_owned()), None),
            ..RouteMetadata::default()
        },
        ..Host::default()
    };
    let headers = Headers::from_pairs(lines);
    host.serve(|calls| decide(&headers, &config.trace, Limits::NONE, None, calls))
}

#[test]
fn a_route_comes_before_all_rules() {
    let config = gateway(TEAMS).config;
    let route = "https://route@o9.ingest.sentry.io/9";
    for path in ["/x", "/shop/1", "/none/1"] {
        let decision = on_route_with(&config, route, path);
        assert!(decision.span.is_some(), "{path}");
        assert_eq!(decision.project.map(|id| id.place()), Some(2), "{path}");
    }
    let decision = on_route_with(&config, "", "/shop/1");
    assert_eq!((decision.project, decision.span), (None, None));
    assert_eq!(decision.wrong_project, None);
}

#[test]
fn a_route_without_a_usable_dsn_is_nobodys() {
    let config = gateway(TEAMS).config;
    let decision = on_route_with(&config, "https://host/1", "/x");
    assert!(matches!(decision.wrong_project, Some(ProjectError::Dsn(_))));
    assert_eq!(decision.origin, TraceOrigin::None);
    assert_eq!((decision.project, decision.span), (None, None));
}

/// A filter that only forwards asks no route, and one whose routes alone name projects is one.
#[test]
fn where_no_project_is_configured_routes_name_none() {
    let decision = on_route_with("{}", "https://key@host/1", "/x");
    assert_eq!(
        (decision.project, decision.origin),
        (None, TraceOrigin::None)
    );
}

#[test]
fn no_request_to_the_receiver_of_any_project_is_recorded() {
    for host in ["o1.ingest.sentry.io", "o7.ingest.sentry.io"] {
        let mut scenario = at("/api/7/envelope/");
        scenario.headers.push((":authority", host.to_owned()));
        assert_eq!(scenario.decide().span, None, "{host}");
    }
    let mut scenario = at("/api/7/envelope/");
    let other = "o8.ingest.sentry.io".to_owned();
    scenario.headers.push((":authority", other));
    assert!(scenario.decide().span.is_some(), "another host");
}
