//! The keys that say which spans leave, and with what in them.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::option::{Collected, List, Setting};
use super::options::{self, data_collection, http_headers};
use super::reader::Section;
use crate::data::{Collection, DataOptions};

impl Section<'_> {
    /// What may leave.
    #[inline(never)]
    pub(super) fn data(&mut self) -> DataOptions {
        let mut section = self.section(&options::DATA_COLLECTION);
        let mut data = DataOptions {
            user_info: section.flag(&data_collection::USER_INFO),
            cookies: section.collection(&data_collection::COOKIES),
            ..DataOptions::default()
        };
        let mut headers = section.section(&data_collection::HTTP_HEADERS);
        data.request_headers = headers.collection(&http_headers::REQUEST);
        data.response_headers = headers.collection(&http_headers::RESPONSE);
        headers.finish();
        data.url_query_params = section.collection(&data_collection::URL_QUERY_PARAMS);
        section.finish();
        let (newer, older) = (&options::DATA_COLLECTION, &options::SEND_DEFAULT_PII);
        let is_everything = self.optional_flag(older) == Some(true);
        if self.has_read(newer.key) && self.has_read(older.key) {
            let (newer, older) = (newer.key, older.key);
            let message = format!("expected only one of {older} and {newer}, found both; {newer} is the newer one and says more");
            self.problem(self.path(older), message);
        }
        if is_everything {
            data = DataOptions {
                user_info: true,
                cookies: Collection::On,
                request_headers: Collection::On,
                response_headers: Collection::On,
                url_query_params: Collection::On,
                ..data
            };
        }
        data.capture_request_headers = self.header_names(&options::CAPTURE_REQUEST_HEADERS);
        data.capture_response_headers = self.header_names(&options::CAPTURE_RESPONSE_HEADERS);
        data
    }

    #[inline(never)]
    fn collection(&mut self, option: &Setting<Collected>) -> Collection {
        const EXPECTED: &str = r#"expected true, false, {"allow": [names]} or {"deny": [names]}"#;
        let path = self.path(option.key);
        match self.take(option.key) {
            None if option.kind.0 => Collection::NAMES,
            None => Collection::Off,
            Some(Value::Bool(true)) => Collection::On,
            Some(Value::Bool(false)) => Collection::Off,
            Some(Value::Object(values)) => {
                let mut section = self.element(&path, values);
                let [allow, deny] = Collected::PARTS;
                let parts = (section.parts(&allow), section.parts(&deny));
                let is_one = section.has_read(allow.key) != section.has_read(deny.key);
                section.finish();
                if !is_one {
                    self.problem(path, format!("{EXPECTED}, found an object"));
                }
                match parts {
                    (Some(parts), _) => Collection::Allow(parts),
                    (None, parts) => Collection::Deny(parts.unwrap_or_default()),
                }
            }
            Some(other) => {
                self.wrong(path, EXPECTED, &other);
                Collection::Off
            }
        }
    }

    /// Parts of names, in lower case, with a space behind each.
    #[inline(never)]
    fn parts(&mut self, option: &Setting<List>) -> Option<String> {
        let mut parts = String::new();
        for (path, value) in self.list(option)? {
            match value.as_str().filter(|part| is_part(part)) {
                Some(part) => parts.extend([&part.to_ascii_lowercase(), " "]),
                None => self.wrong(path, "expected a part of a name", &value),
            }
        }
        Some(parts)
    }

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

/// Whether it can be a part of a name, which has no white space in it.
fn is_part(part: &str) -> bool {
    let is_long = part.len() > Collected::MAX_PART;
    !part.is_empty() && !is_long && !part.contains(char::is_whitespace)
}

/// Whether it is a token of RFC 9110, §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_tchar)
}
