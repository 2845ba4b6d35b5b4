//! The configurations in the README are accepted.

use sentry_filter_core::config::{FilterConfig, Surroundings};
use sentry_filter_core::cors::filter_order::FilterOrder;

#[test]
fn the_json_examples_are_accepted() {
    let readme = include_str!("../../../README.md");
    let mut examples = 0;
    for block in readme.split("```json\n").skip(1) {
        let (example, _) = block.split_once("```").expect("the end of an example");
        let config = FilterConfig::parse(example.as_bytes(), &Surroundings::default());
        assert!(config.is_ok(), "{:?}\n{example}", config.err());
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn every_key_of_the_configuration_is_in_its_table() {
    let readme = include_str!("../../../README.md");
    let unknown = FilterConfig::parse(
        br#"{"x": 1, "cors": {"x": 1}, "transport": {"x": 1}, "rules": [{"x": 1}]}"#,
        &Surroundings::default(),
    );
    for problem in unknown.expect_err("unknown keys") {
        let (_, keys) = problem
            .message
            .split_once("expected one of ")
            .expect("the known keys");
        for key in keys
            .split(", ")
            .filter(|key| !["cors", "incoming", "transport", "match"].contains(key))
        {
            let prefix = ["cors.", "transport."]
                .into_iter()
                .find(|section| problem.path.starts_with(section))
                .unwrap_or_default();
            assert!(
                readme.contains(&format!("| `{prefix}{key}` |")),
                "{prefix}{key}"
            );
        }
    }
}

#[test]
fn every_metric_is_in_its_table() {
    let readme = include_str!("../../../README.md");
    for metric in sentry_filter_core::metrics::Metric::all() {
        let name = metric.name();
        let mut parts = name.trim_start_matches("sentry_filter.").split('.');
        let (metric, reason) = (parts.next().expect("a name"), parts.next());
        let named = match reason {
            Some(reason) => {
                readme.contains(&format!("`{metric}.<reason>`"))
                    && readme.contains(&format!("`{reason}`"))
            }
            None => readme.contains(&format!("`{metric}`")),
        };
        assert!(named, "{name}");
    }
}

#[test]
fn the_warning_about_the_order_of_filters_is_quoted_as_it_is() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(FilterOrder::WARNING));
}

#[test]
fn every_attribute_of_a_span_is_explained() {
    let readme = include_str!("../../../README.md");
    let source = include_str!("../src/span/attributes.rs");
    let (code, _) = source.split_once("#[cfg(test)]").expect("the tests");
    let names = code.split('"').skip(1).step_by(2).filter(|text| {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_');
        text.contains('.') && text.bytes().all(is_name) && *text != "..."
    });
    let mut count = 0;
    for name in names {
        let explained = match name.strip_suffix('.') {
            Some(prefix) => readme.contains(&format!("`{prefix}.<name>`")),
            None => readme.contains(&format!("`{name}`")),
        };
        assert!(explained, "{name}");
        count += 1;
    }
    assert!(count > 30, "{count} names");
}

#[test]
fn every_status_and_format_is_named() {
    use sentry_filter_core::envelope::Format;
    use sentry_filter_core::span::SpanStatus;

    let readme = include_str!("../../../README.md");
    for code in [
        200, 400, 401, 403, 404, 409, 413, 429, 499, 500, 501, 503, 504,
    ] {
        let word = SpanStatus::from_http(Some(code)).word();
        assert!(readme.contains(&format!("`{word}`")), "{word}");
    }
    for format in Format::ALL {
        let row = format!("| `{}` |", format.word());
        assert!(readme.contains(&row), "{row}");
    }
}
