//! The names that every span carries: release, environment, server name. What Sentry would throw away
//! is refused, with the rule that it breaks (docs.sentry.io, naming releases and environments).

use super::reader::Section;
use crate::span::attributes::shortened;

/// How long they may be, in bytes: Relay discards or cuts what is longer.
const MAX_ENVIRONMENT: usize = 64;
const MAX_RELEASE: usize = 200;
const MAX_SERVER_NAME: usize = 256;

/// What Sentry asks of a name.
struct Label {
    max: usize,
    /// Whether a blank one is refused, and does not mean that there is none.
    is_needed: bool,
    /// Words that mean nothing, compared without case.
    reserved: &'static [&'static str],
    /// Characters that it cannot have besides those that control.
    forbidden: &'static [(char, &'static str)],
}

const RELEASE: Label = Label {
    max: MAX_RELEASE,
    is_needed: true,
    reserved: &[".", "..", "latest"],
    forbidden: &[('/', "slash"), ('\\', "backslash")],
};
const ENVIRONMENT: Label = Label {
    max: MAX_ENVIRONMENT,
    is_needed: true,
    reserved: &[".", "..", "none"],
    forbidden: &[('/', "slash"), ('\\', "backslash"), (' ', "space")],
};
const SERVER_NAME: Label = Label {
    max: MAX_SERVER_NAME,
    is_needed: false,
    reserved: &[],
    forbidden: &[],
};

impl Section<'_> {
    pub(super) fn release(&mut self, variable: Option<&str>) -> Option<String> {
        let variable = variable.map(|text| ("SENTRY_RELEASE", text));
        self.label("release", &RELEASE, variable)
    }

    pub(super) fn environment(&mut self, variable: Option<&str>) -> Option<String> {
        let variable = variable.map(|text| ("SENTRY_ENVIRONMENT", text));
        self.label("environment", &ENVIRONMENT, variable)
    }

    /// Without one it is the id of Envoy's node, which is not the operator's to refuse here: it is
    /// made to fit.
    pub(super) fn server_name(&mut self, node_id: Option<&str>) -> Option<String> {
        let name = self.label("server_name", &SERVER_NAME, None);
        if name.is_some() || self.has_read("server_name") {
            return name;
        }
        let id: String = node_id?.chars().filter(|c| !c.is_control()).collect();
        let id = shortened(id.trim(), MAX_SERVER_NAME);
        (!id.is_empty()).then(|| id.into_owned())
    }

    /// A name without white space around it. An empty variable is none, as for Sentry's SDKs.
    fn label(
        &mut self,
        key: &'static str,
        label: &Label,
        variable: Option<(&str, &str)>,
    ) -> Option<String> {
        let (path, text) = match (self.text(key), variable) {
            (Some(text), _) => (self.path(key), text),
            (None, Some((name, text))) if !text.is_empty() && !self.has_read(key) => {
                (format!("environment variable {name}"), text.to_owned())
            }
            _ => return None,
        };
        let text = text.trim();
        let problem = match label.broken_rule(text) {
            Some(rule) => format!("expected {rule}, found {:?}", shortened(text, 60)),
            None if text.len() > label.max => {
                format!("expected at most {} bytes, found {}", label.max, text.len())
            }
            None => return Some(text.to_owned()).filter(|text| !text.is_empty()),
        };
        self.problem(path, problem);
        None
    }
}

impl Label {
    fn broken_rule(&self, text: &str) -> Option<String> {
        if text.is_empty() && self.is_needed {
            return Some("a text that is not blank".to_owned());
        }
        if self
            .reserved
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        {
            let words = self.reserved.join(" or ");
            return Some(format!(
                "something else than {words}, which Sentry discards"
            ));
        }
        let found = text.chars().find_map(|c| match c {
            '\n' => Some("newline"),
            '\t' => Some("tab"),
            c if c.is_control() => Some("control character"),
            c => {
                let c = if c.is_whitespace() { ' ' } else { c };
                let mut forbidden = self.forbidden.iter();
                forbidden
                    .find(|(known, _)| *known == c)
                    .map(|(_, name)| *name)
            }
        });
        found.map(|name| format!("a text without a {name}, with which Sentry discards it"))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{FilterConfig, Surroundings};

    /// The complaints about a value of a key.
    fn complaints(key: &str, value: &str) -> Option<String> {
        let json = serde_json::json!({ key: value }).to_string();
        let problems = FilterConfig::parse(json.as_bytes(), &Surroundings::default()).err()?;
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
            ("environment", "prod\u{a0}eu", "space"),
            ("environment", "a\nb", "newline"),
            ("environment", "a\u{0}b", "control"),
            ("environment", "None", "none"),
            ("environment", "none", "none"),
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
        let variables = Surroundings {
            environment: Some("staging\n".to_owned()),
            release: Some("\t1.0 ".to_owned()),
            node_id: Some(" edge\u{1}-1\n".to_owned()),
            ..Surroundings::default()
        };
        let read = |json: &str, surroundings| FilterConfig::parse(json.as_bytes(), surroundings);
        let config = read("{}", &variables).unwrap();
        assert_eq!(&*config.environment, "staging");
        assert_eq!(config.release.as_deref(), Some("1.0"));
        assert_eq!(config.server_name.as_deref(), Some("edge-1"));
        let own = r#"{"environment": " e\n", "release": "\n r ", "server_name": " n\t"}"#;
        let config = read(own, &variables).unwrap();
        assert_eq!(&*config.environment, "e");
        assert_eq!(config.release.as_deref(), Some("r"));
        assert_eq!(config.server_name.as_deref(), Some("n"));
    }

    #[test]
    fn a_variable_is_refused_alike() {
        let variables = |environment: &str, release: &str| Surroundings {
            environment: Some(environment.to_owned()),
            release: Some(release.to_owned()),
            ..Surroundings::default()
        };
        let problems = FilterConfig::parse(b"{}", &variables("prod/eu", " ")).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "environment variable SENTRY_ENVIRONMENT: expected a text without a slash, with which Sentry discards it, found \"prod/eu\"",
                "environment variable SENTRY_RELEASE: expected a text that is not blank, found \"\"",
            ]
        );
        // One that is not used is nobody's problem, and an empty one is none.
        let own = br#"{"environment": "prod", "release": "1"}"#;
        assert!(FilterConfig::parse(own, &variables("prod/eu", "latest")).is_ok());
        let config = FilterConfig::parse(b"{}", &variables("", "")).unwrap();
        assert_eq!((&*config.environment, config.release), ("production", None));
    }
}
