//! What may leave the gateway (sentry-protocol.md §12): names stay, values that could tell who or what somebody is become `[Filtered]`.

use percent_encoding::percent_decode;

use super::attributes::{shortened, MAX_TEXT};
use crate::headers::Headers;

/// What stands in the place of a value that does not leave.
pub const FILTERED: &str = "[Filtered]";

/// Parts of names whose values never leave, compared without case (§12.1). They also hit harmless names, which is meant to be so.
const SENSITIVE: [&str; 17] = [
    "auth",
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "key",
    "jwt",
    "bearer",
    "sso",
    "saml",
    "csrf",
    "xsrf",
    "credentials",
    "session",
    "sid",
    "identity",
];
/// Further parts of header names, unless `send_default_pii` is on (§12.1).
const SENSITIVE_HEADERS: [&str; 5] = ["forwarded", "-ip", "remote-", "via", "-user"];
/// Further parts of cookie names (§12.3).
const SENSITIVE_COOKIES: [&str; 10] = [
    ".sid",
    "sessid",
    "remember",
    "oidc",
    "pkce",
    "nonce",
    "__secure-",
    "__host-",
    "mfa",
    "2fa",
];
/// Headers whose values are URLs, with the same secrets in them.
const URLS: [&str; 4] = [
    "referer",
    "location",
    "content-location",
    "x-envoy-original-path",
];

/// How much is recorded of all headers of a message together, in bytes, with [`LINE`] more for each
/// line. A span has no room for more.
const MAX_CAPTURED: usize = 8 * 1_024;
/// What a line costs besides its bytes.
const LINE: usize = 40;

/// What the operator wants to see.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DataConfig {
    /// Whether client addresses, user agents, query values and cookies leave.
    pub send_default_pii: bool,
    /// The request headers to record, in lower case.
    pub capture_request_headers: Vec<String>,
    /// The response headers to record, in lower case.
    pub capture_response_headers: Vec<String>,
}

impl DataConfig {
    /// A query without its `?`: every value is filtered, or, with `send_default_pii`, those with a sensitive name.
    pub fn query(&self, query: &str) -> String {
        let mut filtered = String::with_capacity(query.len());
        for (index, parameter) in query.split('&').enumerate() {
            if index > 0 {
                filtered.push('&');
            }
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (Some(name), value),
                None => (None, parameter),
            };
            if let Some(name) = name {
                filtered.push_str(name);
                filtered.push('=');
            }
            let decoded = percent_decode(name.unwrap_or(value).as_bytes()).decode_utf8_lossy();
            let may_leave = self.send_default_pii && !is_sensitive(&decoded, &[]);
            filtered.push_str(match may_leave || value.is_empty() {
                true => value,
                false => FILTERED,
            });
        }
        filtered
    }

    /// The lines of the headers that are recorded, by name. What is not there is absent. They are
    /// kept until the stream ends, so each is cut, and what is too much altogether is left out: the
    /// caller chooses how long and how many they are.
    pub fn capture(&self, names: &[String], headers: &Headers) -> Vec<(String, Vec<String>)> {
        let mut room = MAX_CAPTURED;
        let mut take = |line: String| {
            let line = shortened(line, MAX_TEXT).into_owned().into_boxed_str();
            room = room.checked_sub(line.len().saturating_add(LINE))?;
            Some(line.into_string())
        };
        names
            .iter()
            .map(|name| {
                let lines = self.lines(name, headers).into_iter();
                (name.clone(), lines.map_while(&mut take).collect::<Vec<_>>())
            })
            .filter(|(_, lines)| !lines.is_empty())
            .collect()
    }

    fn lines(&self, name: &str, headers: &Headers) -> Vec<String> {
        let mut lines = Vec::new();
        for line in headers.values(name) {
            let line = String::from_utf8_lossy(line);
            match name {
                "cookie" | "set-cookie" if !self.send_default_pii => {
                    lines.push(FILTERED.to_owned())
                }
                "cookie" => cookies(line.split(';'), &mut lines),
                "set-cookie" => cookies(line.split(';').take(1), &mut lines),
                _ => lines.push(self.header(name, &line)),
            }
        }
        lines
    }

    fn header(&self, name: &str, value: &str) -> String {
        let more: &[&str] = match self.send_default_pii {
            true => &[],
            false => &SENSITIVE_HEADERS,
        };
        if is_sensitive(name, more) {
            return FILTERED.to_owned();
        }
        match URLS.contains(&name) {
            true => self.url(value),
            false => value.to_owned(),
        }
    }

    /// A URL without credentials and with a filtered query; a fragment is dropped.
    fn url(&self, url: &str) -> String {
        let url = url.split('#').next().unwrap_or_default();
        let (url, query) = match url.split_once('?') {
            Some((url, query)) => (url, Some(self.query(query))),
            None => (url, None),
        };
        let mut filtered = match url.split_once("//") {
            Some((scheme, rest)) => {
                let authority = rest.split('/').next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                let path = rest.strip_prefix(authority).unwrap_or_default();
                format!("{scheme}//{host}{path}")
            }
            None => url.to_owned(),
        };
        if let Some(query) = query {
            filtered.push('?');
            filtered.push_str(&query);
        }
        filtered
    }
}

/// Cookies as `name=value`; those without a name, and a header that has none at all, as `[Filtered]` (§12.3).
fn cookies<'v>(cookies: impl Iterator<Item = &'v str>, lines: &mut Vec<String>) {
    let known = lines.len();
    for cookie in cookies.map(str::trim) {
        let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
        match (name.trim(), value.trim()) {
            ("", "") => {}
            ("", _) => lines.push(FILTERED.to_owned()),
            (name, _) if is_sensitive(name, &SENSITIVE_COOKIES) => {
                lines.push(format!("{name}={FILTERED}"));
            }
            (name, value) => lines.push(format!("{name}={value}")),
        }
    }
    if lines.len() == known {
        lines.push(FILTERED.to_owned());
    }
}

/// Whether a name is one whose value must not leave.
fn is_sensitive(name: &str, more: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    SENSITIVE.iter().chain(more).any(|part| name.contains(part))
}

/// An authority without `user:password@`.
pub fn without_credentials(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(send_default_pii: bool) -> DataConfig {
        DataConfig {
            send_default_pii,
            ..DataConfig::default()
        }
    }

    #[test]
    fn the_values_of_a_query_stay_here_unless_asked_for() {
        let rows = [
            ("page=2", "page=[Filtered]", "page=2"),
            ("a=1&b=", "a=[Filtered]&b=", "a=1&b="),
            (
                "token=x&q=y=z",
                "token=[Filtered]&q=[Filtered]",
                "token=[Filtered]&q=y=z",
            ),
            (
                "access%5Ft%6Fken=x",
                "access%5Ft%6Fken=[Filtered]",
                "access%5Ft%6Fken=[Filtered]",
            ),
            ("somebody", "[Filtered]", "somebody"),
            ("API_KEY", "[Filtered]", "[Filtered]"),
            ("", "", ""),
        ];
        for (query, without, with) in rows {
            assert_eq!(config(false).query(query), without, "{query}");
            assert_eq!(config(true).query(query), with, "{query}");
        }
    }

    #[test]
    fn headers_are_recorded_by_the_rules_of_their_names() {
        let pairs: [(&[u8], &[u8]); 8] = [
            (b"Accept", b"text/html"),
            (b"accept", b"*/*"),
            (b"authorization", b"Bearer x"),
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"referer", b"https://me:pw@page.test/a?mail=x#top"),
            (b"cookie", b"theme=dark; JSESSIONID=1; ; lost"),
            (b"set-cookie", b"cart=7; Path=/; Secure"),
            (b"x-raw", b"\xff"),
        ];
        let headers = Headers::from_pairs(pairs);
        let names: Vec<String> = [
            "accept",
            "authorization",
            "x-forwarded-for",
            "referer",
            "cookie",
            "set-cookie",
            "x-raw",
            "x-none",
        ]
        .map(str::to_owned)
        .to_vec();
        let captured = |pii| config(pii).capture(&names, &headers);
        let expected: [(&str, &[&str], &[&str]); 7] = [
            ("accept", &["text/html", "*/*"], &["text/html", "*/*"]),
            ("authorization", &[FILTERED], &[FILTERED]),
            ("x-forwarded-for", &[FILTERED], &["10.0.0.1"]),
            (
                "referer",
                &["https://page.test/a?mail=[Filtered]"],
                &["https://page.test/a?mail=x"],
            ),
            (
                "cookie",
                &[FILTERED],
                &["theme=dark", "JSESSIONID=[Filtered]", FILTERED],
            ),
            ("set-cookie", &[FILTERED], &["cart=7"]),
            ("x-raw", &["\u{fffd}"], &["\u{fffd}"]),
        ];
        for (index, (name, without, with)) in expected.into_iter().enumerate() {
            for (lines, pii) in [(without, false), (with, true)] {
                let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                assert_eq!(captured(pii)[index], (name.to_owned(), lines), "pii {pii}");
            }
        }
        assert_eq!(captured(true).len(), expected.len());
    }

    #[test]
    fn cookies_that_say_nothing_are_one_filtered_line() {
        let headers = Headers::from_pairs([(b"cookie".as_slice(), b" ; =; ".as_slice())]);
        let names = ["cookie".to_owned()];
        let captured = config(true).capture(&names, &headers);
        assert_eq!(captured, [("cookie".to_owned(), vec![FILTERED.to_owned()])]);
    }
}
