//! `transport.headers`: what a collector wants to see in a POST besides what the filter writes.
//!
//! ```json
//! {"headers": {"authorization": "Bearer …", "x-scope-orgid": "edge"}}
//! ```
//! Values are secrets: no message repeats one, nor a name that is none.

use serde_json::Value;

use super::option::MAX_POSTED_HEADERS as MAX_HEADERS;
use super::option::{Group, Setting};
use super::options::MAX_POSTED_VALUE as MAX_VALUE;
use super::reader::Section;
use super::spans::is_token;
use crate::export::callout::HeaderLines;

/// What the filter, Envoy or the connection says already (RFC 9110, §7.2, §7.6.1, §8.6; RFC 9112,
/// §6.1; sentry-protocol.md §7.2), and what would make of the body or the exchange something else.
const RESERVED: &str =
    "host content-length content-type content-encoding transfer-encoding connection \
    keep-alive proxy-connection te trailer upgrade expect user-agent x-sentry-auth";

impl Section<'_> {
    /// Header lines for every POST, names in lower case.
    pub(super) fn post_headers(&mut self, option: &Setting<Group>) -> HeaderLines {
        let mut section = self.secret_section(option);
        let all = section.take_all();
        let mut lines = HeaderLines::default();
        let count = all.len();
        for (name, value) in all {
            if !is_token(&name) {
                let path = section.path("(no name)");
                let expected = "expected the name of a header, which is no pseudo header";
                section.problem(path, expected.to_owned());
                continue;
            }
            let (path, name) = (section.path(&name), name.to_ascii_lowercase());
            match line_value(&value) {
                _ if RESERVED.split(' ').any(|reserved| reserved == name) => {
                    let expected = "expected another name: this header is the filter's, Envoy's or the connection's own";
                    section.problem(path, expected.to_owned());
                }
                _ if lines.iter().any(|(known, _)| known == name) => {
                    section.problem(path, "expected each name once, in whatever case".to_owned());
                }
                Ok(value) => {
                    lines.add(&mut [(name.as_str(), value)].into_iter());
                }
                Err(found) => {
                    let expected = format!(
                        "expected a text of 1 to {MAX_VALUE} bytes without control characters, found {found}"
                    );
                    section.problem(path, expected);
                }
            }
        }
        if count > MAX_HEADERS {
            let message = format!("expected at most {MAX_HEADERS}, found {count}");
            self.problem(self.path(option.key), message);
        }
        lines
    }
}

/// The value without white space around it, which would be no part of it (RFC 9110, §5.5); else
/// what is there instead.
fn line_value(value: &Value) -> Result<&str, &'static str> {
    let text = value.as_str().ok_or("something else")?;
    let value = text.trim_matches([' ', '\t']);
    match text.len() {
        _ if value.is_empty() => Err("none"),
        0..=MAX_VALUE if value.contains(char::is_control) => Err("a control character"),
        0..=MAX_VALUE => Ok(value),
        _ => Err("more"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{EnvDefaults, FilterConfig};

    fn read(headers: &str) -> Result<FilterConfig, Vec<String>> {
        let json = format!(r#"{{"transport": {{"headers": {headers}}}}}"#);
        let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
        config.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_in_lower_case_and_values_without_white_space_around() {
        let config = read(r#"{"Authorization": " Bearer a b\t", "x-scope-orgid": "ü"}"#).unwrap();
        let lines: Vec<_> = config.transport.headers.iter().collect();
        assert_eq!(
            lines,
            [("authorization", "Bearer a b"), ("x-scope-orgid", "ü")]
        );
        assert!(read("{}")
            .unwrap()
            .transport
            .headers
            .iter()
            .next()
            .is_none());
        assert!(read("null").is_ok());
    }

    /// Whatever is wrong with it, and where it is right.
    #[test]
    fn no_value_is_ever_shown() {
        let long = "hush".repeat(1_025);
        let rows = [
            (
                r#"{":path": "hush"}"#.to_owned(),
                "(no name): expected the name",
            ),
            (
                r#"{"authorization: hush": "hush"}"#.to_owned(),
                "(no name): ",
            ),
            (r#"{"": "hush"}"#.to_owned(), "(no name): "),
            (
                r#"{"a": "hush\r\nx: hush"}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (r#"{"a": "hu\tsh"}"#.to_owned(), "found a control character"),
            (
                r#"{"a": "hush\u0000"}"#.to_owned(),
                "found a control character",
            ),
            (
                r#"{"a": "hush\u0085"}"#.to_owned(),
                "found a control character",
            ),
            (format!(r#"{{"a": "{long}"}}"#), "found more"),
            (r#"{"a": ["hush"]}"#.to_owned(), "found something else"),
            (
                r#"{"a": {"hush": "hush"}}"#.to_owned(),
                "found something else",
            ),
            (r#"{"a": 7}"#.to_owned(), "found something else"),
            (r#"{"a": null}"#.to_owned(), "found something else"),
            (r#"{"a": " \t"}"#.to_owned(), "found none"),
            (r#"{"A": "hush", "a": "hush"}"#.to_owned(), "each name once"),
            (r#""hush""#.to_owned(), "expected an object"),
        ];
        for (headers, problem) in rows {
            let problems = read(&headers).expect_err(&headers).concat();
            assert!(problems.contains(problem), "{headers}: {problems}");
            assert!(!problems.contains("hush"), "{headers}: {problems}");
        }
        let config = read(r#"{"authorization": "hush", "x-tenant": "hush"}"#).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("authorization") && !shown.contains("hush"));
    }

    #[test]
    fn what_others_write_is_refused() {
        for name in super::RESERVED.split(' ') {
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                let problems = read(&format!(r#"{{"{name}": "x"}}"#)).expect_err(&name);
                assert!(
                    problems[0].contains("expected another name"),
                    "{problems:?}"
                );
            }
        }
    }

    #[test]
    fn number_and_length_are_bounded() {
        let of = |count: usize| {
            let lines: Vec<_> = (0..count).map(|n| format!(r#""x-{n}": "v""#)).collect();
            format!("{{{}}}", lines.join(","))
        };
        assert!(read(&of(16)).is_ok());
        assert_eq!(
            read(&of(17)).unwrap_err(),
            ["transport.headers: expected at most 16, found 17"]
        );
        let longest = |bytes: usize| format!(r#"{{"a": "{}"}}"#, "x".repeat(bytes));
        assert!(read(&longest(4_096)).is_ok());
        assert!(read(&longest(4_097)).is_err());
    }
}
