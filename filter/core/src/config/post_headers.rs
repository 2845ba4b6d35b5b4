//! `transport.headers`: what a collector wants to see in a POST besides what the filter writes.
//!
//! ```json
//! {"headers": {"authorization": "Bearer …", "x-scope-orgid": "edge"}}
//! ```
//! Values are secrets: no message repeats one, nor a name that is none.

use super::option::MAX_POSTED_HEADERS as MAX_HEADERS;
use super::option::{Group, Setting};
use super::options::MAX_POSTED_VALUE as MAX_VALUE;
use super::reader::Section;
use super::spans::is_token;
use crate::data::has_word;
use crate::export::callout::HeaderLines;

/// What the filter, Envoy or the connection says already (RFC 9110, §7.2, §7.6.1, §8.6; RFC 9112,
/// §6.1; sentry-protocol.md §7.2), and what would make of the body or the exchange something else.
const RESERVED: &str =
    "host content-length content-type content-encoding transfer-encoding connection \
    keep-alive proxy-connection te trailer upgrade expect user-agent x-sentry-auth";

impl Section<'_> {
    /// Header lines for every POST, names in lower case.
    pub(super) fn post_headers(&mut self, option: &Setting<Group>) -> HeaderLines {
        const VALUE: &str = "expected a text of 1 to 4096 visible ASCII characters";
        let mut section = self.section(option);
        let all = section.take_all();
        let mut lines = HeaderLines::default();
        let count = all.len();
        for (name, value) in all {
            let lower = name.to_ascii_lowercase();
            let value = value.as_str().map(str::trim).unwrap_or_default();
            let expected = if !is_token(&name) {
                "expected the name of a header, which is no pseudo header"
            } else if has_word(RESERVED, &lower) {
                "expected another name: this header is the filter's, Envoy's or the connection's own"
            } else if lines.iter().any(|(known, _)| known == lower) {
                "expected each name once, in whatever case"
            } else if !is_value(value) {
                VALUE
            } else {
                lines.add(&mut [(lower.as_str(), value)].into_iter());
                continue;
            };
            let shown = if is_token(&name) { &name } else { "(no name)" };
            section.problem(section.path(shown), expected.to_owned());
        }
        if count > MAX_HEADERS {
            let message = format!("expected at most {MAX_HEADERS}, found {count}");
            self.problem(self.path(option.key), message);
        }
        lines
    }
}

fn is_value(value: &str) -> bool {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    (1..=MAX_VALUE).contains(&value.len()) && value.bytes().all(is_visible)
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
        let config = read(r#"{"Authorization": " Bearer a b\t", "x-scope-orgid": "u"}"#).unwrap();
        let lines: Vec<_> = config.transport.headers.iter().collect();
        assert_eq!(
            lines,
            [("authorization", "Bearer a b"), ("x-scope-orgid", "u")]
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
            (
                r#"{"a": "hu\tsh"}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (
                r#"{"a": "hush\u0000"}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (r#"{"a": "hüsh"}"#.to_owned(), "headers.a: expected a text"),
            (
                r#"{"a": "hu\u0085sh"}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (
                format!(r#"{{"a": "{long}"}}"#),
                "headers.a: expected a text",
            ),
            (
                r#"{"a": ["hush"]}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (
                r#"{"a": {"hush": "hush"}}"#.to_owned(),
                "headers.a: expected a text",
            ),
            (r#"{"a": 7}"#.to_owned(), "headers.a: expected a text"),
            (r#"{"a": null}"#.to_owned(), "headers.a: expected a text"),
            (r#"{"a": " \t"}"#.to_owned(), "headers.a: expected a text"),
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
