//! The keys that say which spans leave, and with what in them.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::option::{List, Setting};
use super::reader::Section;

impl Section<'_> {
    /// Status codes, and ranges of them that include both ends: `[404, [500, 599]]`.
    pub(super) fn status_codes(
        &mut self,
        option: &Setting<List>,
    ) -> Option<Vec<RangeInclusive<u16>>> {
        const EXPECTED: &str =
            "expected a status code from 100 to 599 or a range such as [500, 599]";
        let list = self.list(option)?;
        let mut codes = Vec::new();
        for (path, value) in list {
            let (first, last) = match &value {
                Value::Array(ends) => match ends.as_slice() {
                    [first, last] => (self.status_code(first), self.status_code(last)),
                    _ => (None, None),
                },
                code => (self.status_code(code), self.status_code(code)),
            };
            match first.zip(last) {
                Some((first, last)) if first <= last => codes.push(first..=last),
                _ => self.wrong(path, EXPECTED, &value),
            }
        }
        Some(codes)
    }

    fn status_code(&self, value: &Value) -> Option<u16> {
        let code = self.whole(value)?;
        u16::try_from(code)
            .ok()
            .filter(|code| (100..=599).contains(code))
    }

    /// Names of headers, in lower case, each once.
    pub(super) fn header_names(&mut self, option: &Setting<List>) -> Vec<String> {
        let list = self.list(option).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for (path, value) in list {
            match value.as_str().filter(|name| is_token(name)) {
                Some(name) => {
                    let name = name.to_ascii_lowercase();
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                None => self.wrong(path, "expected the name of a header", &value),
            }
        }
        names
    }
}

/// Whether it is a token of RFC 9110, §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_tchar)
}
