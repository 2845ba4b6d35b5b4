//! `capture_failures`: which failures become error events.
//!
//! ```json
//! {"status_codes": [[500, 599]], "origin": "gateway", "max_per_minute": 30}
//! ```

use super::option::{Group, Setting};
use super::options::capture_failures as options;
use super::reader::Section;
use crate::failure::FailureOptions;

impl Section<'_> {
    /// `{}` is the section with all its defaults; without it nothing is captured.
    pub(super) fn capture_failures(&mut self, option: &Setting<Group>) -> Option<FailureOptions> {
        let mut section = self.section(option);
        let status_codes = section.status_codes(&options::STATUS_CODES);
        let origin = section.keyword(&options::ORIGIN).unwrap_or_default();
        let max_per_minute = section.integer(&options::MAX_PER_MINUTE);
        section.finish();
        self.has_read(option.key).then(|| FailureOptions {
            status_codes: status_codes.unwrap_or_else(|| vec![500..=599]),
            origin,
            max_per_minute: u32::try_from(max_per_minute).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EnvDefaults, FilterConfig};
    use crate::failure::Origin;

    fn read(value: &str) -> Result<Option<FailureOptions>, Vec<String>> {
        let json = format!(r#"{{"capture_failures": {value}}}"#);
        let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
        config
            .map(|config| config.capture_failures)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn it_is_off_unless_it_is_there() {
        let off = FilterConfig::parse(b"{}", &EnvDefaults::default()).unwrap();
        assert_eq!(off.capture_failures, None);
        assert_eq!(read("null").unwrap(), None);
        let defaults = FailureOptions {
            status_codes: vec![500..=599],
            origin: Origin::Gateway,
            max_per_minute: 30,
        };
        assert_eq!(read("{}").unwrap(), Some(defaults));
        let all =
            read(r#"{"status_codes": [404, [502, 504]], "origin": "any", "max_per_minute": 1}"#);
        let expected = FailureOptions {
            status_codes: vec![404..=404, 502..=504],
            origin: Origin::Any,
            max_per_minute: 1,
        };
        assert_eq!(all.unwrap(), Some(expected));
        let none = read(r#"{"status_codes": []}"#).unwrap().unwrap();
        assert!(!none.includes(503));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("true", "capture_failures: expected an object, found true"),
            (r#"{"status_codes": [99]}"#, "capture_failures.status_codes[0]: expected a status code from 100 to 599 or a range such as [500, 599], found 99"),
            (r#"{"status_codes": 500}"#, "capture_failures.status_codes: expected a list, found 500"),
            (r#"{"origin": "upstream"}"#, "capture_failures.origin: expected \"gateway\" or \"any\", found the text \"upstream\""),
            (r#"{"max_per_minute": 0}"#, "capture_failures.max_per_minute: expected a whole number from 1 to 10000, found 0"),
            (r#"{"max_per_minute": 10001}"#, "capture_failures.max_per_minute: expected a whole number from 1 to 10000, found 10001"),
            (r#"{"level": "error"}"#, "capture_failures.level: unknown key; expected one of status_codes, origin, max_per_minute"),
        ];
        for (value, problem) in rows {
            assert_eq!(read(value).unwrap_err(), [problem], "{value}");
        }
    }
}
