//! The tables of the documentation that are made of the code. `make tables` writes them.

use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::headers::Headers;
use sentry_filter_core::span::catalogue::{Convention, On, Place, PROTOCOL, SPAN};
use sentry_filter_core::span::Request;

use super::{read, root};

/// What stands between the marks of a table on a page is what it should be; with `DOCS=1` it is
/// written there.
#[track_caller]
fn assert_table(page: &str, name: &str, table: &str) {
    let path = root().join(page);
    let text = read(&path);
    let begin = format!("<!-- make tables: begin {name} -->\n");
    let (before, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{page} has no place for {name}"));
    let (found, after) = rest
        .split_once("<!-- end -->")
        .expect("the end of the table");
    if std::env::var_os("DOCS").is_some() {
        let text = [before, &begin, table, "<!-- end -->", after].concat();
        std::fs::write(&path, text).expect("the page");
    } else {
        assert_eq!(found, table, "{page}: run `make tables`");
    }
}

/// One test for the whole page, since it is one file.
#[test]
fn the_attributes_of_spans_are_those_of_the_catalogue() {
    let mut attributes =
        "| attribute | type | span | where it comes from | data |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in SPAN {
        let on = match row.on {
            On::Server => "gateway",
            On::Call => "call",
            On::Both => "both",
        };
        let data = row
            .data
            .option()
            .map_or_else(String::new, |option| format!("`{option}`"));
        attributes += &format!(
            "| `{}` | {} | {on} | {} | {data} |\n",
            row.attribute.shown(),
            row.value.as_str(),
            row.source
        );
    }
    assert_table("docs/spans.md", "attributes", &attributes);

    let mut protocol = "| attribute | of | what it says |\n|---|---|---|\n".to_owned();
    for row in PROTOCOL {
        let place = match row.place {
            Place::EnvelopeSpans => "spans of `transaction` and `span_v2`",
            Place::TypedSpans => "spans of `span_v2` and `otlp`",
            Place::StreamedSpans => "spans of `span_v2`",
            Place::StreamedSpansAndResource => "spans of `span_v2`, the resource of `otlp`",
            Place::Resource => "the resource of `otlp`",
            Place::Links => "links",
        };
        protocol += &format!(
            "| `{}` | {place} | {} |\n",
            row.attribute.as_str(),
            row.source
        );
    }
    assert_table("docs/spans.md", "protocol", &protocol);
}

/// What the page says of whose names they are.
#[test]
fn only_envoys_and_a_few_of_opentelemetrys_names_are_not_sentrys() {
    let of_spans = SPAN.map(|row| (row.attribute.as_str(), row.convention));
    let of_protocol = PROTOCOL.map(|row| (row.attribute.as_str(), row.convention));
    let all = || of_spans.into_iter().chain(of_protocol);
    for (name, convention) in all() {
        assert_eq!(
            name.starts_with("envoy."),
            convention == Convention::Envoy,
            "{name}"
        );
    }
    let others: Vec<_> = all()
        .filter(|(_, convention)| *convention == Convention::OpenTelemetry)
        .collect();
    let others: Vec<_> = others.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        others,
        [
            "http.request.method_original",
            "deployment.environment.name"
        ]
    );
}

/// What leaves of one request and its answer, for each category in each mode.
#[test]
fn the_modes_of_each_category_are_shown_as_they_are() {
    let request = Headers::from_pairs(
        [
            (":path", "/search?page=2&mail=me&token=x"),
            ("user-agent", "Somebody/1"),
            ("cookie", "theme=dark; lang=de; session=1"),
            ("accept", "text/html"),
            ("x-team", "web"),
            ("x-api-key", "k"),
            ("x-real-ip", "192.0.2.7"),
        ]
        .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let answer = Headers::from_pairs(
        [
            ("x-cache", "miss"),
            ("x-team", "web"),
            ("x-auth-id", "7"),
            ("set-cookie", "cart=7; Path=/"),
        ]
        .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let lines = |captured: &[(String, Vec<String>)]| {
        let shown = captured
            .iter()
            .map(|(name, lines)| format!("`{name}: {}`", lines.join("; ")));
        shown.collect::<Vec<_>>()
    };
    type Look<'l> = &'l dyn Fn(&Request, &[(String, Vec<String>)]) -> Vec<String>;
    let leaves = |collection: Option<String>, look: Look<'_>| {
        let config = match collection {
            Some(collection) => format!(r#"{{"data_collection": {collection}}}"#),
            None => "{}".to_owned(),
        };
        let data = FilterConfig::parse(config.as_bytes(), &EnvDefaults::default())
            .expect("a configuration")
            .data;
        let found = look(
            &Request::read(&request, &data),
            &data.capture_response(&answer),
        );
        match found.is_empty() {
            true => "nothing".to_owned(),
            false => found.join(", "),
        }
    };
    let rows: [(&str, &str, &[&str], Look<'_>); 5] = [
        (
            "user_info",
            r#"{"user_info": MODE}"#,
            &["x"],
            &|request, _| {
                let agent = request.user_agent.iter();
                agent
                    .map(|agent| format!("`user_agent.original: {agent}`"))
                    .collect()
            },
        ),
        (
            "cookies",
            r#"{"cookies": MODE}"#,
            &["lang"],
            &|request, answer| [lines(&request.headers), lines(answer)].concat(),
        ),
        (
            "http_headers.request",
            r#"{"http_headers": {"request": MODE}}"#,
            &["team"],
            &|request, _| lines(&request.headers),
        ),
        (
            "http_headers.response",
            r#"{"http_headers": {"response": MODE}}"#,
            &["team"],
            &|_, answer| lines(answer),
        ),
        (
            "url_query_params",
            r#"{"url_query_params": MODE}"#,
            &["mail"],
            &|request, _| {
                request
                    .query
                    .iter()
                    .map(|query| format!("`{query}`"))
                    .collect()
            },
        ),
    ];
    let mut table = "| category | not set | `false` | `true` | `{\"allow\": […]}` | `{\"deny\": […]}` |\n|---|---|---|---|---|---|\n".to_owned();
    for (category, config, parts, look) in rows {
        let of = |mode: &str| leaves(Some(config.replace("MODE", mode)), look);
        let (allow, deny) = match category {
            "user_info" => ("–".to_owned(), "–".to_owned()),
            _ => {
                let list = |mode: &str| {
                    let shown = format!("[\"{}\"]", parts.join("\", \""));
                    format!("`{shown}`: {}", of(&format!("{{\"{mode}\": {shown}}}")))
                };
                (list("allow"), list("deny"))
            }
        };
        table += &format!(
            "| `{category}` | {} | {} | {} | {allow} | {deny} |\n",
            leaves(None, look),
            of("false"),
            of("true"),
        );
    }
    assert_table("docs/privacy.md", "modes", &table);
}
