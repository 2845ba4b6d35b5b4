//! The names that every span carries: release, environment, server name. What Sentry would discard
//! is refused, with the rule that it breaks (docs.sentry.io, naming releases and environments).

use super::option::{Setting, Text};
use super::options;
use super::reader::Section;
use crate::text::shortened;

/// What Sentry asks of a name.
struct Label {
    /// The rule that is broken by words that are reserved, by characters that are forbidden, and by
    /// being blank. A name without one may be blank, which means that there is none.
    rule: &'static str,
    /// Words that mean nothing, compared without case.
    reserved: [&'static str; 3],
    /// Characters that it cannot have besides those that control.
    forbidden: &'static [u8],
    /// Where else it may come from.
    variable: &'static str,
}

const RELEASE: Label = Label {
    rule: "expected a release that Sentry takes: without slash, backslash, newline, tab or other control character, not blank, and not \".\", \"..\" or \"latest\"",
    reserved: [".", "..", "latest"],
    forbidden: b"/\\",
    variable: "environment variable SENTRY_RELEASE",
};
const ENVIRONMENT: Label = Label {
    rule: "expected an environment that Sentry takes: without slash, backslash, space, newline or control character, not blank, and not \".\", \"..\" or \"None\"",
    reserved: [".", "..", "none"],
    forbidden: b"/\\ ",
    variable: "environment variable SENTRY_ENVIRONMENT",
};
const SERVER_NAME: Label = Label {
    rule: "expected a name without newline, tab or other control character",
    reserved: ["\n"; 3],
    forbidden: b"",
    variable: "",
};

impl Section<'_> {
    pub(super) fn release(&mut self, variable: Option<&str>) -> Option<String> {
        self.label(&options::RELEASE, &RELEASE, variable)
    }

    pub(super) fn environment(&mut self, variable: Option<&str>) -> Option<String> {
        self.label(&options::ENVIRONMENT, &ENVIRONMENT, variable)
    }

    /// Without one it is the id of Envoy's node, which is not the operator's to refuse here: what
    /// does not fit is cut, and one that Sentry would discard is none.
    pub(super) fn server_name(&mut self, node_id: Option<&str>) -> Option<String> {
        let option = &options::SERVER_NAME;
        let name = self.label(option, &SERVER_NAME, None);
        if self.has_read(option.key) {
            return name;
        }
        let id = node_id.map(str::trim).filter(|id| SERVER_NAME.keeps(id))?;
        let max_bytes = option.kind.max_bytes.unwrap_or(usize::MAX);
        Some(shortened(id, max_bytes).into_owned())
    }

    /// A name without white space around it. An empty variable is none, as for Sentry's SDKs.
    fn label(
        &mut self,
        option: &Setting<Text>,
        label: &Label,
        variable: Option<&str>,
    ) -> Option<String> {
        let key = option.key;
        let (path, text) = match self.text(option) {
            Some(text) => (self.path(key), text),
            None if self.has_read(key) => return None,
            None => {
                let text = variable.filter(|text| !text.is_empty())?;
                (label.variable.to_owned(), text.to_owned())
            }
        };
        let text = text.trim();
        if text.is_empty() && label.forbidden.is_empty() {
            return None;
        }
        let max_bytes = option.kind.max_bytes.unwrap_or(usize::MAX);
        if text.len() > max_bytes {
            let message = format!("expected at most {max_bytes} bytes, found {}", text.len());
            self.problem(path, message);
        } else if !label.keeps(text) {
            self.wrong(path, label.rule, &text.into());
        }
        Some(text.to_owned())
    }
}

impl Label {
    fn keeps(&self, text: &str) -> bool {
        let is_bad = |byte: u8| byte.is_ascii_control() || self.forbidden.contains(&byte);
        let mut reserved = self.reserved.iter();
        !text.is_empty()
            && !reserved.any(|word| text.eq_ignore_ascii_case(word))
            && !text.bytes().any(is_bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EnvDefaults, FilterConfig};

    /// The complaints about a value of a key.
    fn complaints(key: &str, value: &str) -> Option<String> {
        let json = serde_json::json!({ key: value }).to_string();
        let problems = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default()).err()?;
        Some(problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_sentry_discards_is_refused_with_its_rule() {
        let rows = [
            ("release", "acme/gateway@1.0", "slash"),
            ("release", "acme\\gateway", "backslash"),
            ("release", "a\nb", "newline"),
            ("release", "a\tb", "tab"),
            ("release", "a\rb", "control"),
            ("release", "a\u{7f}b", "control"),
            ("release", ".", ".."),
            ("release", "..", ".."),
            ("release", "latest", "latest"),
            ("release", " LATEST\n", "latest"),
            ("release", "", "blank"),
            ("release", " \n", "blank"),
            ("environment", "prod/eu", "slash"),
            ("environment", "prod\\eu", "backslash"),
            ("environment", "prod eu", "space"),
            ("environment", "a\nb", "newline"),
            ("environment", "a\u{0}b", "control"),
            ("environment", "None", "None"),
            ("environment", "none", "None"),
            ("environment", ".", ".."),
            ("environment", " ", "blank"),
            ("server_name", "a\nb", "newline"),
            ("server_name", "a\u{1b}b", "control"),
        ];
        for (key, value, rule) in rows {
            let complaints = complaints(key, value).unwrap_or_else(|| panic!("{key} {value:?}"));
            let is_named =
                complaints.starts_with(&format!("{key}: expected ")) && complaints.contains(rule);
            assert!(is_named, "{value:?}: {complaints}");
        }
        let long = "x".repeat(200);
        for (key, value) in [
            ("release", "gateway@1.0 beta"),
            ("release", "none"),
            ("release", "ü@1"),
            ("release", long.as_str()),
            ("environment", "latest"),
            ("environment", "prod\u{a0}eu"),
            ("environment", "größe"),
            ("server_name", "edge/1 a"),
            ("server_name", "latest"),
            ("server_name", ""),
            ("release", "a\u{a0}b"),
        ] {
            assert_eq!(complaints(key, value), None, "{value:?}");
        }
        for (key, most) in [("release", 200), ("environment", 64), ("server_name", 256)] {
            let fits = format!(" {}\n", "x".repeat(most));
            assert_eq!(complaints(key, &fits), None, "{key}");
            let too_long = complaints(key, &"x".repeat(most + 1)).unwrap();
            assert_eq!(
                too_long,
                format!("{key}: expected at most {most} bytes, found {}", most + 1)
            );
        }
    }

    #[test]
    fn what_surrounds_them_is_trimmed_wherever_they_come_from() {
        let variables = EnvDefaults {
            environment: Some("staging\n".to_owned()),
            release: Some("\t1.0 ".to_owned()),
            node_id: Some(" edge-1\n".to_owned()),
            ..EnvDefaults::default()
        };
        let read = |json: &str, env: &EnvDefaults| FilterConfig::parse(json.as_bytes(), env);
        let config = read("{}", &variables).unwrap();
        assert_eq!(&*config.resource.environment, "staging");
        assert_eq!(config.resource.release.as_deref(), Some("1.0"));
        assert_eq!(config.resource.server_name.as_deref(), Some("edge-1"));
        let node = |id: &str| EnvDefaults {
            node_id: Some(id.to_owned()),
            ..EnvDefaults::default()
        };
        assert_eq!(
            read("{}", &node("a\nb")).unwrap().resource.server_name,
            None
        );
        let long = read("{}", &node(&"x".repeat(300))).unwrap();
        assert_eq!(long.resource.server_name.map(|name| name.len()), Some(256));
        let own = r#"{"environment": " e\n", "release": "\n r ", "server_name": " n\t"}"#;
        let config = read(own, &variables).unwrap();
        assert_eq!(&*config.resource.environment, "e");
        assert_eq!(config.resource.release.as_deref(), Some("r"));
        assert_eq!(config.resource.server_name.as_deref(), Some("n"));
    }

    #[test]
    fn a_variable_is_refused_alike() {
        let variables = |environment: &str, release: &str| EnvDefaults {
            environment: Some(environment.to_owned()),
            release: Some(release.to_owned()),
            ..EnvDefaults::default()
        };
        let problems = FilterConfig::parse(b"{}", &variables("prod/eu", " ")).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                format!(
                    "environment variable SENTRY_ENVIRONMENT: {}, found the text \"prod/eu\"",
                    ENVIRONMENT.rule
                ),
                format!(
                    "environment variable SENTRY_RELEASE: {}, found the text \"\"",
                    RELEASE.rule
                ),
            ]
        );
        // One that is not used is nobody's problem, and an empty one is none.
        let own = br#"{"environment": "prod", "release": "1"}"#;
        assert!(FilterConfig::parse(own, &variables("prod/eu", "latest")).is_ok());
        let config = FilterConfig::parse(b"{}", &variables("", "")).unwrap();
        assert_eq!(
            (&*config.resource.environment, config.resource.release),
            ("production", None)
        );
    }
}
