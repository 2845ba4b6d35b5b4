//! What may leave the gateway (develop.sentry.dev, data collection): names stay, values that could
//! tell a secret, or who somebody is, become `[Filtered]`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::attributes::{shortened, MAX_TEXT};
use super::request::MAX_HOST;
use crate::headers::Headers;

/// What stands in the place of a value that does not leave.
pub const FILTERED: &str = "[Filtered]";

/// Parts of names whose values never leave, compared without case: Sentry's list, with `cookie` of
/// its SDK for JavaScript and `symfony` of the one for Python, and with what signed URLs and
/// certificates have. They also hit harmless names, which is meant to be so.
const SENSITIVE: [&str; 22] = [
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
    "credential",
    "session",
    "sid",
    "identity",
    "cookie",
    "symfony",
    "passphrase",
    "signature",
    "cert",
];
/// Names that are too short for that.
const SENSITIVE_NAMES: [&str; 5] = ["sig", "pass", "pin", "otp", "hmac"];
/// Further parts of the names of headers: a client's certificate as nginx and HAProxy pass it on.
const SENSITIVE_HEADERS: [&str; 2] = ["x-ssl", "ssl-client"];
/// Further parts of the names of headers that tell of a person, unless `send_default_pii` is on.
const PERSONAL: [&str; 15] = [
    "forwarded",
    "-ip",
    "remote-",
    "via",
    "-user",
    "user-",
    "clientip",
    "client-ip",
    "socketip",
    "realip",
    "-addr",
    "client-principal",
    "email",
    "-ua",
    "viewer-",
];
/// Further parts of cookie names.
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
/// What the words end with in names of headers whose values are URLs or paths, with the same secrets
/// in them.
const URLS: [&str; 9] = [
    "referer",
    "referrer",
    "location",
    "url",
    "uri",
    "path",
    "redirect",
    "destination",
    "sourcemap",
];
/// How long the name of a parameter may be; what is longer is no name.
const MAX_PARAMETER: usize = 64;
/// How many times a value may be percent-encoded and still be understood.
const MAX_ENCODED: usize = 3;

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
    /// A query without its `?`: every value is filtered, or, with `send_default_pii`, those with a
    /// sensitive name. What has no name is a value. Some services take `;` for `&`.
    pub fn query(&self, query: &str) -> String {
        let mut filtered = String::with_capacity(query.len());
        for part in query.split_inclusive(['&', ';']) {
            let parameter = part.trim_end_matches(['&', ';']);
            self.parameter(parameter, &mut filtered);
            filtered.push_str(part.strip_prefix(parameter).unwrap_or_default());
        }
        filtered
    }

    fn parameter(&self, parameter: &str, filtered: &mut String) {
        let named = parameter.split_once('=');
        let named = named.filter(|(name, value)| is_name(name) && !is_padding(parameter, value));
        let (name, value) = named.unwrap_or(("", parameter));
        if named.is_some() {
            filtered.push_str(name);
            filtered.push('=');
        }
        let may_leave = || {
            let is_secret = match name {
                "" => is_sensitive(value, &[]),
                name => is_sensitive(name, &[]),
            };
            self.send_default_pii && !is_secret && !hides_secret(value, &['=', ':'])
        };
        filtered.push_str(match value.is_empty() || may_leave() {
            true => value,
            false => FILTERED,
        });
    }

    /// A path, or a URL up to its query, without credentials, and with the parameters of its
    /// segments (`/cart;jsessionid=1`) filtered like those of a query.
    pub fn path<'p>(&self, path: &'p str) -> Cow<'p, str> {
        if !path.contains([';', '=', '%', '@', ':']) {
            return Cow::Borrowed(path);
        }
        let mut filtered = String::with_capacity(path.len());
        let (mut before, mut last) = ("", "");
        for (index, part) in path.split_inclusive(['/', '\\']).enumerate() {
            let segment = part.trim_end_matches(['/', '\\']);
            let has_scheme = before.ends_with(':') || (index == 2 && before.is_empty());
            let is_authority = index > 1 && last.is_empty() && has_scheme;
            self.segment(segment, is_authority, &mut filtered);
            filtered.push_str(part.strip_prefix(segment).unwrap_or_default());
            (before, last) = (last, segment);
        }
        Cow::Owned(filtered)
    }

    fn segment(&self, segment: &str, is_authority: bool, filtered: &mut String) {
        let segment = match segment.rsplit_once('@') {
            Some((user, host)) if is_authority || user.contains(':') => host,
            _ => segment,
        };
        if is_authority {
            // What is no port was the beginning of a password with a `/` or `?` in it.
            let port = segment.rsplit(':').next().unwrap_or_default();
            let has_port = !segment.contains(':')
                || port.ends_with(']')
                || port.bytes().all(|byte| byte.is_ascii_digit());
            // What is longer was cut, perhaps in front of its `@`.
            let is_host = has_port && segment.len() <= MAX_HOST;
            return filtered.push_str(if is_host { segment } else { FILTERED });
        }
        // An encoded semicolon is one for some services.
        let at = segment.find(';').or_else(|| segment.find("%3B"));
        let at = at.or_else(|| segment.find("%3b"));
        let end = at.unwrap_or(segment.len());
        let (name, parameters) = segment.split_at_checked(end).unwrap_or((segment, ""));
        match hides_secret(name, &['=']) {
            true => self.parameter(name, filtered),
            false => filtered.push_str(name),
        }
        let len = if parameters.starts_with(';') { 1 } else { 3 };
        if let Some((separator, parameters)) = parameters.split_at_checked(len) {
            filtered.push_str(separator);
            filtered.push_str(&self.query(parameters));
        }
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
            // Twice as much as leaves: what is filtered may become shorter.
            let cut = line.get(..MAX_TEXT.saturating_mul(2));
            let line = String::from_utf8_lossy(cut.unwrap_or(line));
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
        let is_url = || {
            let mut words = name.split(['-', '_', '.']);
            words.any(|word| URLS.iter().any(|url| word.ends_with(url)))
        };
        // The names of WSGI have underscores.
        let person = || {
            let name = name.replace('_', "-");
            PERSONAL.iter().any(|part| name.contains(part)) || name == "from" || name == "ip"
        };
        if is_sensitive(name, &SENSITIVE_HEADERS) || (!self.send_default_pii && person()) {
            return FILTERED.to_owned();
        }
        match name {
            // RFC 8288: `<URL>; rel="next", <URL>; rel="prev"`.
            "link" if value.contains('<') => {
                let mut filtered = String::with_capacity(value.len());
                let mut is_inside = false;
                for part in value.split_inclusive(['<', '>']) {
                    let text = part.trim_end_matches(['<', '>']);
                    filtered.push_str(&match is_inside {
                        true => self.url(text),
                        false => self.text(text),
                    });
                    filtered.push_str(part.strip_prefix(text).unwrap_or_default());
                    is_inside = part.ends_with('<');
                }
                filtered
            }
            // `5; url=/next`, or without `url=`.
            "refresh" => {
                let (seconds, url) = value
                    .split_at_checked(refresh_len(value))
                    .unwrap_or_default();
                [seconds, &self.url(url)].concat()
            }
            _ if name == "link" || is_url() => self.url(value),
            _ => self.text(value),
        }
    }

    /// A text with URLs in it, or without.
    fn text(&self, text: &str) -> String {
        let has_url = |text: &str| text.contains("//") || text.contains('?');
        if !has_url(text) {
            return match hides_secret(text, &['=', ':']) {
                true => FILTERED.to_owned(),
                false => text.to_owned(),
            };
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')');
        let mut filtered = String::with_capacity(text.len());
        for part in text.split_inclusive(ends) {
            let word = part.trim_end_matches(ends);
            match word {
                _ if has_url(word) => filtered.push_str(&self.url(word)),
                _ if hides_secret(word, &['=', ':']) => filtered.push_str(FILTERED),
                _ => filtered.push_str(word),
            }
            filtered.push_str(part.strip_prefix(word).unwrap_or_default());
        }
        filtered
    }

    /// A URL without credentials and with a filtered query; a fragment is dropped.
    fn url(&self, url: &str) -> String {
        let url = url.split('#').next().unwrap_or_default();
        match url.split_once('?') {
            Some((url, query)) => match self.path(url) {
                // The rest of a password, perhaps.
                path if path.ends_with("//[Filtered]") => path.into_owned(),
                path => [&path, "?", &self.query(query)].concat(),
            },
            None => self.path(url).into_owned(),
        }
    }
}

/// How long the beginning of a `refresh` is that is no URL.
fn refresh_len(value: &str) -> usize {
    let behind = value
        .split_once([';', ','])
        .map_or(value, |(_, behind)| behind);
    let url = behind.trim_start();
    let is_named = url
        .get(..3)
        .is_some_and(|name| name.eq_ignore_ascii_case("url"));
    let url = match url.split_once('=') {
        Some((name, url)) if is_named && name.trim_end().len() == 3 => url,
        _ => url,
    };
    let url = url.trim_start_matches([' ', '"', '\'']);
    value.len().saturating_sub(url.len())
}

/// Cookies as `name=value`; those without a name, and a header that has none at all, as `[Filtered]`.
fn cookies<'v>(cookies: impl Iterator<Item = &'v str>, lines: &mut Vec<String>) {
    let known = lines.len();
    for cookie in cookies.map(str::trim) {
        let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
        match (name.trim(), value.trim()) {
            ("", "") => {}
            ("", _) => lines.push(FILTERED.to_owned()),
            (name, value)
                if is_sensitive(name, &SENSITIVE_COOKIES) || hides_secret(value, &['=', ':']) =>
            {
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
    let name = decoded(name).to_ascii_lowercase();
    SENSITIVE.iter().chain(more).any(|part| name.contains(part))
        || SENSITIVE_NAMES.contains(&name.as_str())
}

/// Whether a value has names of its own, and a sensitive one among them: it is a URL, a form, a list
/// or JSON. `ends` are the characters that end a name.
fn hides_secret(value: &str, ends: &[char]) -> bool {
    if !value.contains(['=', ':', '%', '@', '<']) {
        return false;
    }
    let value = decoded(value);
    if value.contains(['{', '<']) || value.contains("\":") {
        return is_sensitive(&value, &[]);
    }
    let has_user = |url: &str| {
        let authority = url.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.contains('@')
    };
    let is_boundary = |c: char| matches!(c, '&' | ';' | '?' | '#' | ',' | '/');
    value.split("//").skip(1).any(has_user)
        || value.split(is_boundary).any(|part| {
            let (name, _) = part.rsplit_once(ends).unwrap_or_default();
            is_sensitive(name, &[])
        })
}

/// Whether the text in front of `=` is a name, and not a value that has such a character in it.
fn is_name(name: &str) -> bool {
    let is_no_name = |c: char| matches!(c, '=' | '&' | ';' | '?' | '#' | '/' | '"' | '{' | '<');
    !name.is_empty() && name.len() <= MAX_PARAMETER && !decoded(name).contains(is_no_name)
}

/// Whether what seems to be the end of a name is the padding of Base64. A single `=` is one only
/// behind as many characters as Base64 has, and as no name does.
fn is_padding(parameter: &str, value: &str) -> bool {
    let is_base64 = || {
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
        parameter.len() >= 16 && parameter.len() % 4 == 0 && parameter.bytes().all(is_digit)
    };
    match value {
        "" => is_base64(),
        _ => value.bytes().all(|byte| byte == b'='),
    }
}

/// A text without its percent-encoding, however often it was encoded.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_ENCODED {
        if !text.contains('%') {
            break;
        }
        let next = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        text = Cow::Owned(next);
    }
    text
}

/// An authority without `user:password@`.
pub fn without_credentials(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
