//! The documentation says what the code does, and refers to nothing that is not there.

mod citations;
mod links;
mod tables;

use std::path::{Path, PathBuf};

use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::cors::filter_order::FilterOrder;

const README: &str = include_str!("../../../../README.md");
const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const CORS: &str = include_str!("../../../../docs/cors.md");
const DELIVERY: &str = include_str!("../../../../docs/delivery.md");
const FAILURES: &str = include_str!("../../../../docs/failures.md");
const METRICS: &str = include_str!("../../../../docs/metrics.md");
const PROJECTS: &str = include_str!("../../../../docs/projects.md");
const PRIVACY: &str = include_str!("../../../../docs/privacy.md");
const PROPAGATION: &str = include_str!("../../../../docs/propagation.md");
const SPANS: &str = include_str!("../../../../docs/spans.md");

/// The folder of the whole project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files of the project with one of these extensions: what it is made of, without what was
/// built, installed or vendored.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    fn visit(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_str().unwrap_or_default();
            let kind = entry.file_type().expect("its kind");
            let is_other = ["target", "vendor", "node_modules", "corpus"].contains(&name);
            if kind.is_dir() && !is_other && !name.starts_with('.') {
                visit(&path, extensions, found);
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            if kind.is_file() && extensions.contains(&extension.unwrap_or(name)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), extensions, &mut found);
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a page below this heading, up to the next one that is no deeper.
fn chapter<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, part) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{heading}"));
    let depth = heading.find(' ').expect("a heading");
    let mut end = part.len();
    for level in 1..=depth {
        let next = part.find(&format!("\n{} ", "#".repeat(level)));
        end = end.min(next.unwrap_or(end));
    }
    part.get(..end).expect("a part")
}

#[test]
fn the_readme_fits_on_a_few_screens() {
    let lines = README.lines().count();
    assert!(lines <= 150, "{lines} lines: move what is long into docs/");
}

#[test]
fn the_json_examples_are_accepted() {
    let mut examples = 0;
    for page in [CONFIGURATION, PRIVACY, SPANS, DELIVERY, FAILURES, PROJECTS] {
        for block in page.split("```json\n").skip(1) {
            let (example, _) = block.split_once("```").expect("the end of an example");
            let config = FilterConfig::parse(example.as_bytes(), &EnvDefaults::default());
            assert!(config.is_ok(), "{:?}\n{example}", config.err());
            examples += 1;
        }
    }
    assert_eq!(examples, 6);
}

#[test]
fn every_key_of_the_configuration_is_in_its_table() {
    let unknown = FilterConfig::parse(
        br#"{"x": 1, "cors": {"x": 1}, "capture_failures": {"x": 1}, "transport": {"x": 1}, "data_collection": {"x": 1, "http_headers": {"x": 1}}, "rules": [{"x": 1}]}"#,
        &EnvDefaults::default(),
    );
    for problem in unknown.expect_err("unknown keys") {
        let (_, keys) = problem
            .message
            .split_once("expected one of ")
            .expect("the known keys");
        let heading = match problem.path.starts_with("rules") {
            true => "## Rules",
            false => "## Options",
        };
        let table = chapter(CONFIGURATION, heading);
        for key in keys.split(", ").filter(|key| {
            ![
                "cors",
                "incoming",
                "capture_failures",
                "transport",
                "match",
                "data_collection",
                "http_headers",
            ]
            .contains(key)
        }) {
            let prefix = [
                "cors.",
                "capture_failures.",
                "transport.",
                "data_collection.http_headers.",
                "data_collection.",
            ]
            .into_iter()
            .find(|section| problem.path.starts_with(section))
            .unwrap_or_default();
            let row = format!("\n| `{prefix}{key}` |");
            assert!(table.contains(&row), "{prefix}{key}");
        }
    }
}

#[test]
fn every_metric_is_in_its_table() {
    for metric in sentry_filter_core::export::metrics::Metric::all() {
        let name = metric.name();
        let mut parts = name.trim_start_matches("sentry_filter.").split('.');
        let (metric, reason) = (parts.next().expect("a name"), parts.next());
        let shown = match reason {
            Some(_) => format!("`{metric}.<reason>`"),
            None => format!("`{metric}`"),
        };
        // The metric is in the first cell of its row, its reasons are in the second one, or those
        // of refused headers in a table of their own.
        let row = METRICS.lines().find_map(|line| {
            let (metrics, told) = line.strip_prefix("| ")?.split_once(" | ")?;
            metrics.contains(&shown).then_some(told)
        });
        let row = row.unwrap_or_else(|| panic!("{name}"));
        let reasons = match row.contains("propagation.md#refused-headers") {
            true => chapter(PROPAGATION, "## Refused headers"),
            false => row,
        };
        if let Some(reason) = reason {
            assert!(reasons.contains(&format!("`{reason}`")), "{name}");
        }
    }
}

/// The table of kinds is the code's own.
#[test]
fn every_kind_of_failure_is_in_its_table() {
    let mut table = "| details or flag | kind | whose |\n|---|---|---|\n".to_owned();
    sentry_filter_core::failure::kind::each_row(&mut |mark, name, whose| {
        let rest = if mark.ends_with('_') { "…" } else { "" };
        table.push_str(&format!("| `{mark}{rest}` | `{name}` | {whose} |\n"));
    });
    let (_, shown) = FAILURES
        .split_once("<!-- kinds: begin -->\n")
        .expect("the table");
    let (shown, _) = shown.split_once("<!-- end -->").expect("its end");
    assert!(shown == table, "docs/failures.md is to have:\n{table}");
}

#[test]
fn the_warning_about_the_order_of_filters_is_quoted_as_it_is() {
    assert!(CORS.contains(FilterOrder::WARNING));
}

#[test]
fn every_status_and_format_is_named() {
    use sentry_filter_core::envelope::Format;
    use sentry_filter_core::span::SpanStatus;

    let statuses = chapter(SPANS, "## Statuses");
    for code in [
        200, 400, 401, 403, 404, 409, 413, 429, 499, 500, 501, 503, 504,
    ] {
        let word = SpanStatus::from_http(Some(code)).as_str();
        assert!(statuses.contains(&format!("`{word}`")), "{word}");
    }
    let formats = chapter(SPANS, "## Formats");
    for format in Format::ALL {
        let row = format!("\n| `{}` |", format.as_str());
        assert!(formats.contains(&row), "{row}");
    }
}
