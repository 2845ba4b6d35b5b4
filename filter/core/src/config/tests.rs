use super::*;
use crate::data::Collection;
use crate::dsn::Dsn;
use crate::envelope::Format;
use crate::export::callout::HeaderLines;
use crate::pattern::{Pattern, Template};
use crate::project::ProjectName;
use crate::route::{Target, Targets};
use crate::rules::{Match, Rule, RuleSet};

fn parse(json: &str) -> Result<FilterConfig, Vec<String>> {
    parse_in(json, &EnvDefaults::default())
}

fn parse_in(json: &str, env: &EnvDefaults) -> Result<FilterConfig, Vec<String>> {
    FilterConfig::parse(json.as_bytes(), env)
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn an_empty_object_only_forwards() {
    let config = parse("{}").unwrap();
    assert_eq!(config.trace.dsn(), None);
    assert_eq!(config.trace.traces_sample_rate, None);
    assert_eq!(&*config.resource.environment, "production");
    assert!(config.response.cors.allow_headers && config.response.cors.expose_headers);
    assert!(config.response.headers.sentry_trace && !config.response.headers.baggage);
    assert!(!config.trace.server_timing);
    assert_eq!(config.transport.cluster, "sentry");
    assert_eq!(config.transport.timeout_ms, 5_000);
    assert_eq!(config.transport.flush_interval_ms, 1_000);
    assert_eq!(config.transport.max_queue_bytes, 4 << 20);
    assert_eq!(config.transport.max_in_flight, 16);
}

#[test]
fn a_struct_is_read_as_envoy_passes_it_on() {
    // {"debug": true} as google.protobuf.Struct.
    let message = b"\x0a\x0b\x0a\x05debug\x12\x02\x20\x01";
    let config = FilterConfig::parse(message, &EnvDefaults::default()).unwrap();
    assert!(config.debug);
}

#[test]
fn numbers_may_be_texts_in_a_struct_but_not_in_json() {
    // {"traces_sample_rate": "0.25"}: what Envoy makes of `traces_sample_rate: 0.25` in YAML.
    let message = b"\x0a\x1c\x0a\x12traces_sample_rate\x12\x06\x1a\x040.25";
    let config = FilterConfig::parse(message, &EnvDefaults::default()).unwrap();
    assert_eq!(config.trace.traces_sample_rate, SampleRate::new(0.25));

    let problems =
        parse(r#"{"traces_sample_rate": "0.25", "transport": {"timeout_ms": "5"}}"#).unwrap_err();
    assert_eq!(
        problems,
        [
            "traces_sample_rate: expected a number from 0 to 1, found the text \"0.25\"",
            "transport.timeout_ms: expected a whole number from 1 to 600000, found the text \"5\"",
        ]
    );
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"{"dsn": "https://key@o7.ingest.sentry.io/42", "environment": "staging", "release": "1.2", "server_name": "edge",
            "org_id": "0012", "traces_sample_rate": 0.5, "strict_trace_continuation": true,
            "incoming": {"trace": "restart", "sampled": "ignore"}, "max_traces_per_second": 2.5, "continue_traceparent": false,
            "propagate_traceparent": true, "trace_propagation_targets": ["/api", {"regex": "^https:"}],
            "rules": [{"match": {"method": "GET", "host": "a", "path": "^/(.*)/", "route": "b", "cluster": "c", "header": {"X-Team": "web"}},
                       "traces_sample_rate": 1, "transaction": "/$1", "ignore": true, "propagate": false,
                       "incoming": {"trace": "continue", "sampled": "inherit"}, "server_timing": false,
                       "dsn": "https://other@o8.ingest.sentry.io/43", "transport": {"cluster": "eu"}}],
            "cors": {"allow_headers": false, "expose_headers": true}, "response_headers": ["baggage", "traceparent"], "server_timing": true,
            "request_start_header": true, "clear_route_cache": true, "upstream_spans": false, "trace_ignore_status_codes": [404.0, [500, 599]], "send_default_pii": true,
            "capture_request_headers": ["Accept", "accept"], "capture_response_headers": ["x-cache"],
            "client_reports": false, "debug": true,
            "transport": {"cluster": "relay", "format": "otlp", "path": "/x", "timeout_ms": 1.0, "flush_interval_ms": 10,
                          "max_queue_bytes": 2048, "max_in_flight": 3}}"#,
    )
    .unwrap();
    let dsn = |text: &str| Some(text.to_owned());
    let own = Dsn::parse("https://key@o7.ingest.sentry.io/42").ok();
    let projects = Projects::new(own, "relay", Some("12"));
    let other = ProjectName::new(dsn("https://other@o8.ingest.sentry.io/43"), dsn("eu")).unwrap();
    let other = projects.find(&other).unwrap();
    let expected = FilterConfig {
        trace: TraceOptions {
            projects: Arc::new(projects),
            receiver_path: Some("/x".to_owned()),
            labels: LabelsByProject::new(
                &"staging".into(),
                Some(&"1.2".into()),
                SampleRate::new(0.5),
            ),
            traces_sample_rate: SampleRate::new(0.5),
            strict_trace_continuation: true,
            incoming_trace: IncomingTrace::Restart,
            incoming_sampled: IncomingSampled::Ignore,
            max_traces_per_second: Some(2.5),
            continued: Formats::SENTRY,
            propagated: Formats::ALL,
            trace_propagation_targets: Targets::new(vec![
                Target::Text("/api".to_owned()),
                Target::Pattern(Pattern::new("^https:").unwrap()),
            ])
            .ok(),
            rules: RuleSet::new(vec![Rule {
                matching: Match {
                    method: Pattern::new("GET").ok(),
                    host: Pattern::new("a").ok(),
                    path: Pattern::new("^/(.*)/").ok(),
                    route: Pattern::new("b").ok(),
                    cluster: Pattern::new("c").ok(),
                    headers: vec![("x-team".to_owned(), Pattern::new("web").unwrap())],
                },
                traces_sample_rate: SampleRate::new(1.0),
                transaction: Template::new("/$1", Pattern::new("(a)").ok().as_ref()).ok(),
                ignore: Some(true),
                incoming_trace: Some(IncomingTrace::Continue),
                incoming_sampled: Some(IncomingSampled::Inherit),
                propagate: Some(false),
                server_timing: Some(false),
                project: Some(other),
            }])
            .unwrap(),
            server_timing: true,
            tells_baggage: true,
            request_start_header: true,
            upstream_spans: false,
            naming: crate::route::Naming::Conventions,
        },
        response: ResponseOptions {
            headers: ResponseHeaders {
                sentry_trace: false,
                baggage: true,
                traceparent: true,
            },
            cors: CorsOptions {
                allow_headers: false,
                expose_headers: true,
                allowed: Formats::ALL,
                exposed: Formats::ALL,
            },
        },
        resources: ByProject::default(),
        resource: Resource {
            dsn: None,
            environment: "staging".into(),
            release: Some("1.2".into()),
            server_name: Some("edge".to_owned()),
        },
        trace_ignore_status_codes: vec![404..=404, 500..=599],
        data: DataOptions {
            user_info: true,
            cookies: Collection::On,
            request_headers: Collection::On,
            response_headers: Collection::On,
            url_query_params: Collection::On,
            capture_request_headers: vec!["accept".to_owned()],
            capture_response_headers: vec!["x-cache".to_owned()],
        },
        capture_failures: None,
        debug: true,
        clear_route_cache: true,
        max_live_bytes: 64 << 20,
        transport: TransportOptions {
            headers: HeaderLines::default(),
            cluster: "relay".to_owned(),
            format: Format::Otlp,
            path: Some("/x".to_owned()),
            timeout_ms: 1,
            flush_interval_ms: 10,
            max_queue_bytes: 2_048,
            max_in_flight: 3,
            client_reports: false,
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn the_environment_fills_what_is_not_configured() {
    let some = |text: &str| Some(text.to_owned());
    let env = EnvDefaults {
        dsn: some("https://env@o7.ingest.sentry.io/1"),
        environment: some("from-env"),
        release: some("2.0"),
        traces_sample_rate: some(" 0.25 "),
        node_id: some("node-1"),
        quotes_numbers: false,
    };
    let config = parse_in("{}", &env).unwrap();
    assert_eq!(&**config.trace.dsn().unwrap().public_key(), "env");
    assert_eq!(&*config.resource.environment, "from-env");
    assert_eq!(config.resource.release.as_deref(), Some("2.0"));
    assert_eq!(config.resource.server_name, some("node-1"));
    let own = config.trace.own_project().unwrap();
    assert_eq!(own.org_id.as_deref(), Some("7"));
    assert_eq!(config.trace.traces_sample_rate, SampleRate::new(0.25));

    let own = r#"{"dsn": "", "environment": "own", "release": "3", "server_name": "n", "traces_sample_rate": 0}"#;
    let config = parse_in(own, &env).unwrap();
    assert_eq!(
        config.trace.dsn(),
        None,
        "an empty DSN switches the export off"
    );
    assert_eq!(&*config.resource.environment, "own");
    assert_eq!(config.resource.release.as_deref(), Some("3"));
    assert_eq!(config.resource.server_name, some("n"));
    assert_eq!(config.trace.traces_sample_rate, SampleRate::new(0.0));
}

#[test]
fn all_problems_are_named_at_once_and_no_dsn_is_repeated() {
    let problems = parse(
        r#"{"dsn": "https://public:hush@host:99999/1", "environment": 7, "traces_sample_rate": 2, "debug": "yes",
            "org_id": "acme", "tracesSampleRate": 1, "cors": {"allow_headers": 1, "max_age": 5},
            "response_headers": ["sentry-trace", "tracestate", 7], "server_timing": "private",
            "transport": {"cluster": "", "path": "x", "timeout_ms": 0, "max_in_flight": 1.5, "max_queue_bytes": -1, "retries": 3}}"#,
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "dsn: expected a DSN such as https://<public key>@o1.ingest.sentry.io/<project id>, found a port that is not a number from 1 to 65535",
            "environment: expected a text, found 7",
            "org_id: expected the digits of an organisation id as a text, found \"acme\"",
            "traces_sample_rate: expected a number from 0 to 1, found 2",
            "cors.allow_headers: expected true or false, found 1",
            "cors.max_age: unknown key; expected one of allow_headers, expose_headers",
            "response_headers[1]: expected \"sentry-trace\", \"baggage\" or \"traceparent\", found the text \"tracestate\"",
            "response_headers[2]: expected \"sentry-trace\", \"baggage\" or \"traceparent\", found 7",
            "server_timing: expected true or false, found the text \"private\"",
            "debug: expected true or false, found the text \"yes\"",
            "transport.cluster: expected the name of an Envoy cluster, found an empty text",
            "transport.path: expected a path that begins with / and has no white space, found \"x\"",
            "transport.timeout_ms: expected a whole number from 1 to 600000, found 0",
            "transport.max_queue_bytes: expected a whole number from 1024 to 134217728, found -1",
            "transport.max_in_flight: expected a whole number from 1 to 1024, found 1.5",
            "transport.retries: unknown key; expected one of cluster, format, path, headers, timeout_ms, flush_interval_ms, max_queue_bytes, max_in_flight",
            "tracesSampleRate: unknown key; expected one of dsn, environment, release, server_name, org_id, traces_sample_rate, \
             strict_trace_continuation, incoming, max_traces_per_second, continue_traceparent, propagate_traceparent, \
             trace_propagation_targets, rules, cors, response_headers, server_timing, \
             request_start_header, clear_route_cache, upstream_spans, trace_ignore_status_codes, capture_failures, data_collection, send_default_pii, capture_request_headers, capture_response_headers, client_reports, debug, max_live_bytes, transport",
        ]
    );
}

#[test]
fn problems_of_what_leaves_have_their_place() {
    let json = format!(
        r#"{{"environment": "{}", "release": "{}", "trace_ignore_status_codes": [404, 99, [500, 400], [500], "5xx", 600],
            "capture_request_headers": ["accept", "", "a b", 7], "capture_response_headers": "all", "transport": {{"format": "json"}}}}"#,
        "e".repeat(65),
        "r".repeat(201)
    );
    const CODES: &str = "expected a status code from 100 to 599 or a range such as [500, 599]";
    let problems = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).unwrap_err();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "environment: expected at most 64 bytes, found 65".to_owned(),
            "release: expected at most 200 bytes, found 201".to_owned(),
            format!("trace_ignore_status_codes[1]: {CODES}, found 99"),
            format!("trace_ignore_status_codes[2]: {CODES}, found a list"),
            format!("trace_ignore_status_codes[3]: {CODES}, found a list"),
            format!("trace_ignore_status_codes[4]: {CODES}, found the text \"5xx\""),
            format!("trace_ignore_status_codes[5]: {CODES}, found 600"),
            "capture_request_headers[1]: expected the name of a header, found the text \"\"".to_owned(),
            "capture_request_headers[2]: expected the name of a header, found the text \"a b\"".to_owned(),
            "capture_request_headers[3]: expected the name of a header, found 7".to_owned(),
            "capture_response_headers: expected a list, found the text \"all\"".to_owned(),
            "transport.format: expected \"transaction\" or \"span_v2\" or \"otlp\", found the text \"json\"".to_owned(),
        ]
    );
}

#[test]
fn what_is_collected_is_said_once_and_in_one_of_its_modes() {
    const MODES: &str = r#"expected true, false, {"allow": [names]} or {"deny": [names]}"#;
    const BOTH: &str =
        "send_default_pii: expected only one of send_default_pii and data_collection, \
        found both; data_collection is the newer one and says more";
    let rows = [
        (
            r#"{"data_collection": {"userInfo": 1, "cookies": "all", "url_query_params": {"allow": ["", "a"], "deny": []},
                "http_headers": {"request": {"deny": "x"}, "response": {"only": []}}}}"#,
            vec![
                format!("data_collection.cookies: {MODES}, found the text \"all\""),
                "data_collection.http_headers.request.deny: expected a list, found the text \"x\"".to_owned(),
                "data_collection.http_headers.response.only: unknown key; expected one of allow, deny".to_owned(),
                format!("data_collection.http_headers.response: {MODES}, found an object"),
                "data_collection.url_query_params.allow[0]: expected a part of a name, found the text \"\"".to_owned(),
                format!("data_collection.url_query_params: {MODES}, found an object"),
                "data_collection.userInfo: unknown key; expected one of user_info, cookies, http_headers, url_query_params".to_owned(),
            ],
        ),
        (
            r#"{"data_collection": {"cookies": {"deny": ["a", " ", 7]}, "user_info": "yes"}, "send_default_pii": 1}"#,
            vec![
                "data_collection.user_info: expected true or false, found the text \"yes\"".to_owned(),
                "data_collection.cookies.deny[1]: expected a part of a name, found the text \" \"".to_owned(),
                "data_collection.cookies.deny[2]: expected a part of a name, found 7".to_owned(),
                "send_default_pii: expected true or false, found 1".to_owned(),
                BOTH.to_owned(),
            ],
        ),
        (r#"{"data_collection": {}, "send_default_pii": false}"#, vec![BOTH.to_owned()]),
    ];
    for (json, expected) in rows {
        assert_eq!(parse(json).unwrap_err(), expected, "{json}");
    }
    let data = parse(
        r#"{"data_collection": {"user_info": true, "cookies": {"allow": ["Theme"]}, "http_headers": {"response": {"deny": []}}}}"#,
    );
    let expected = DataOptions {
        user_info: true,
        cookies: Collection::Allow("theme ".to_owned()),
        response_headers: Collection::Deny(String::new()),
        ..DataOptions::default()
    };
    assert_eq!(data.unwrap().data, expected);
    assert_eq!(
        parse(r#"{"send_default_pii": false}"#).unwrap().data,
        DataOptions::default()
    );
}

#[test]
fn problems_of_rules_and_targets_have_their_place() {
    let problems = parse(
        r#"{"incoming": {"trace": "stop", "sampled": 1, "x": 2}, "max_traces_per_second": 0, "trace_propagation_targets": [1, {"regex": "("}, {}],
            "rules": [{"match": {"path": "(a)", "paths": "b", "header": {"x": 1, "y": "["}}, "transaction": "$2", "rate": 1},
                      7, {"transaction": "", "match": 1}, {"transaction": "$1"}, {"match": {"path": "a{1000}{1000}"}}]}"#,
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "incoming.trace: expected \"continue\" or \"restart\", found the text \"stop\"",
            "incoming.sampled: expected \"inherit\" or \"ignore\", found 1",
            "incoming.x: unknown key; expected one of trace, sampled",
            "max_traces_per_second: expected a number above 0, found 0",
            "trace_propagation_targets[0]: expected a text or {\"regex\": …}, found 1",
            "trace_propagation_targets[1].regex: expected a regular expression, found \"(\": error: unclosed group",
            "trace_propagation_targets[2].regex: expected a regular expression, found nothing",
            "rules[0].match.header.x: expected a regular expression, found 1",
            "rules[0].match.header.y: expected a regular expression, found \"[\": error: unclosed character class",
            "rules[0].match.paths: unknown key; expected one of method, host, path, route, cluster, header",
            "rules[0].transaction: expected references to groups of match.path, found $2, which it does not have",
            "rules[0].rate: unknown key; expected one of match, traces_sample_rate, transaction, ignore, incoming, propagate, server_timing, dsn, transport",
            "rules[1]: expected an object, found 7",
            "rules[2].match: expected an object, found 1",
            "rules[2].transaction: expected a name, found an empty text",
            "rules[3].transaction: expected references to groups of match.path, found $1, which it does not have",
            "rules[4].match.path: expected a regular expression, found \"a{1000}{1000}\": it needs more than 262144 bytes",
        ]
    );
}

#[test]
fn a_dsn_in_the_place_of_a_key_is_not_repeated() {
    let problems = parse(r#"{"https://public:hush@host/1": "dsn"}"#).unwrap_err();
    assert!(
        problems[0].starts_with("(no key): unknown key"),
        "{problems:?}"
    );
    assert!(!problems[0].contains("hush"), "{problems:?}");
}

#[test]
fn what_is_no_object_is_refused() {
    let rows = [
        ("", "found nothing"),
        ("  \n", "found nothing"),
        ("[]", "found a list"),
        ("\"https://key:hush@host/1\"", "found a text"),
        (
            "{\"dsn\": ",
            "found bad JSON: EOF while parsing a value at line 1 column 8",
        ),
    ];
    for (json, expected) in rows {
        let problems = parse(json).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{json:?}: {problems:?}");
        };
        assert!(
            problem.starts_with("plugin configuration: expected a JSON object"),
            "{problem}"
        );
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains("hush"), "{problem}");
    }
}

#[test]
fn problems_of_the_environment_name_the_variable() {
    let env = EnvDefaults {
        dsn: Some("https://key:hush@/1".to_owned()),
        traces_sample_rate: Some("half".to_owned()),
        ..EnvDefaults::default()
    };
    let problems = parse_in("{}", &env).unwrap_err();
    assert_eq!(
        problems,
        [
            "environment variable SENTRY_DSN: expected a DSN such as https://<public key>@o1.ingest.sentry.io/<project id>, \
             found no usable host behind the @",
            "environment variable SENTRY_TRACES_SAMPLE_RATE: expected a number from 0 to 1, found \"half\"",
        ]
    );
}

/// A dynamic module gets a `google.protobuf.Struct` as JSON, in which Envoy's YAML reader has made
/// a text of every number with a point.
#[test]
fn numbers_may_be_texts_where_a_host_quotes_them() {
    let json = r#"{"traces_sample_rate": "0.5", "max_traces_per_second": "10.0"}"#;
    let env = EnvDefaults {
        quotes_numbers: true,
        ..EnvDefaults::default()
    };
    assert_eq!(
        parse_in(json, &env).unwrap().trace.max_traces_per_second,
        Some(10.0)
    );
    assert_eq!(parse(json).unwrap_err().len(), 2);
    assert!(parse_in(r#"{"traces_sample_rate": "half"}"#, &env).is_err());
}

#[test]
fn the_settings_of_a_route_are_those_of_its_metadata() {
    let parse = |json: &str| FilterConfig::parse_route(json.as_bytes());
    let all = parse(r#"{"traces_sample_rate": "0.5", "transaction": "/a/{id}", "ignore": true}"#);
    let all = all.unwrap();
    assert_eq!(all.ignore, Some(true));
    assert_eq!(all.transaction.unwrap().name, "/a/{id}");
    assert!(all.traces_sample_rate.is_some());
    assert_eq!(parse("{}").unwrap(), RouteMetadata::default());
    for json in [
        r#"{"dsn": "https://a@b/1", "transport": {"cluster": "eu"}}"#,
        r#"{"dsn": "https://a@b/1", "transport.cluster": "eu"}"#,
    ] {
        let some = |text: &str| Some(text.to_owned());
        let name = ProjectName::new(some("https://a@b/1"), some("eu"));
        assert_eq!(parse(json).unwrap().project, name);
    }
    for (wrong, paths) in [
        ("[]", vec!["plugin configuration"]),
        (
            r#"{"traces_sample_rate": 2, "debug": true}"#,
            vec!["traces_sample_rate", "debug"],
        ),
        (
            r#"{"transaction": "a\nb", "ignore": 1}"#,
            vec!["transaction", "ignore"],
        ),
        (r#"{"transaction": ""}"#, vec!["transaction"]),
        (r#"{"dsn": "https://hush@host"}"#, vec!["dsn"]),
        (
            r#"{"transport": {"cluster": ""}}"#,
            vec!["transport.cluster"],
        ),
    ] {
        let problems = parse(wrong).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| &problem.path).collect();
        assert_eq!(found, paths, "{wrong}");
    }
}
