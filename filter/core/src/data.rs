//! What may leave the gateway (develop.sentry.dev, data collection): names stay, values that could
//! tell a secret, or who somebody is, become `[Filtered]`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::headers::Headers;
use crate::text::{shortened, MAX_TEXT};

/// A host name has at most 253 bytes, and a port behind it.
pub(crate) const MAX_HOST: usize = 260;
/// What stands in the place of a value that does not leave.
pub const FILTERED: &str = "[Filtered]";

/// Parts of names whose values never leave, compared without case: Sentry's list, with `cookie` of
/// its SDK for JavaScript and `symfony` of the one for Python, and with what signed URLs and
/// certificates have. They also hit harmless names, which is meant to be so.
const SENSITIVE: &str = "auth token secret password passwd pwd key jwt bearer sso saml csrf xsrf \
    credential session sid identity cookie symfony passphrase signature cert";
/// Further parts of the names of headers: a client's certificate as nginx and HAProxy pass it on.
const SENSITIVE_HEADERS: &str = "x-ssl ssl-client";
/// Further parts of the names of headers that tell of a person, unless `send_default_pii` is on.
const PERSONAL: &str =
    "forwarded -ip remote- via -user user- clientip client-ip socketip realip -addr \
    client-principal email -ua viewer-";
/// Further parts of cookie names.
const SENSITIVE_COOKIES: &str = ".sid sessid remember oidc pkce nonce __secure- __host- mfa 2fa";
/// Parts of the names of headers whose values are URLs or paths, with the same secrets in them.
const URLS: &str = "referer location url -uri path redirect destination sourcemap content-base";
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
pub struct DataOptions {
    /// Whether client addresses, user agents, query values and cookies leave.
    pub send_default_pii: bool,
    /// The request headers to record, in lower case.
    pub capture_request_headers: Vec<String>,
    /// The response headers to record, in lower case.
    pub capture_response_headers: Vec<String>,
}

/// The lines of a header that are recorded, as long as there is room.
struct Captured<'r> {
    lines: Vec<String>,
    room: &'r mut usize,
}

impl Captured<'_> {
    /// Adds a line, cut; `None` if there is no room for it.
    fn add(&mut self, line: String) -> Option<()> {
        let line = shortened(line, MAX_TEXT).into_owned().into_boxed_str();
        *self.room = self.room.checked_sub(line.len().saturating_add(LINE))?;
        self.lines.push(line.into_string());
        Some(())
    }
}

impl DataOptions {
    /// A query without its `?`: every value is filtered, or, with `send_default_pii`, those with a
    /// sensitive name. What has no name is a value. Some services take `;` for `&`.
    pub fn query(&self, query: &str) -> String {
        let mut filtered = String::with_capacity(query.len());
        self.write_query(query, &mut filtered);
        filtered
    }

    fn write_query(&self, query: &str, filtered: &mut String) {
        each(query, b"&;", &mut |parameter, separator| {
            self.parameter(parameter, filtered);
            filtered.push_str(separator);
        });
    }

    fn parameter(&self, parameter: &str, filtered: &mut String) {
        let (mut name, mut value) = cut(parameter, b"=");
        value = value.get(1..).unwrap_or_default();
        if !is_name(name) || name.len() == parameter.len() || is_padding(parameter, value) {
            (name, value) = ("", parameter);
        } else {
            filtered.push_str(name);
            filtered.push('=');
        }
        let may_leave = || {
            let judged = if name.is_empty() { value } else { name };
            self.send_default_pii && !is_sensitive(judged, "") && !hides_secret(value, b"=:")
        };
        filtered.push_str(match value.is_empty() || may_leave() {
            true => value,
            false => FILTERED,
        });
    }

    /// A path, or a URL up to its query, without credentials, and with the parameters of its
    /// segments (`/cart;jsessionid=1`) filtered like those of a query.
    pub fn path(&self, path: &str) -> String {
        let mut filtered = String::with_capacity(path.len());
        self.write_path(path, &mut filtered);
        filtered
    }

    fn write_path(&self, path: &str, filtered: &mut String) {
        if !has(path, b";=%@:") {
            return filtered.push_str(path);
        }
        // Whether a scheme was there, and the slashes behind it.
        let (mut is_scheme, mut slashes) = (true, 0_u8);
        each(path, b"/\\", &mut |segment, separator| {
            self.segment(segment, is_scheme && slashes > 1, filtered);
            (is_scheme, slashes) = match segment {
                "" => (is_scheme, slashes.saturating_add(1)),
                _ => (segment.ends_with(':'), 1),
            };
            filtered.push_str(separator);
        });
    }

    fn segment(&self, segment: &str, is_authority: bool, filtered: &mut String) {
        let (user, host) = cut_last(segment, b"@");
        let segment = match host {
            Some(host) if is_authority || has(user, b":") => host,
            _ => segment,
        };
        if is_authority {
            // What is no port was the beginning of a password with a `/` or `?` in it. What is too
            // long was cut, perhaps in front of its `@`.
            let port = cut_last(segment, b":").1.unwrap_or_default();
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || port.ends_with(']');
            let is_host = is_port && segment.len() <= MAX_HOST;
            return filtered.push_str(if is_host { segment } else { FILTERED });
        }
        let (name, parameters) = cut(segment, b";");
        match hides_secret(name, b"=") {
            true => self.parameter(name, filtered),
            false => filtered.push_str(name),
        }
        if let Some((separator, parameters)) = parameters.split_at_checked(1) {
            filtered.push_str(separator);
            self.write_query(parameters, filtered);
        }
    }

    /// The lines of the headers that are recorded, by name. What is not there is absent. They are
    /// kept until the stream ends, so each is cut, and what is too much altogether is left out: the
    /// caller chooses how long and how many they are.
    pub fn capture(&self, names: &[String], headers: &Headers) -> Vec<(String, Vec<String>)> {
        let mut room = MAX_CAPTURED;
        names
            .iter()
            .map(|name| {
                let mut captured = Captured {
                    lines: Vec::new(),
                    room: &mut room,
                };
                // Ends where there is no more room.
                let _ = self.capture_lines(name, headers, &mut captured);
                (name.clone(), captured.lines)
            })
            .filter(|(_, lines)| !lines.is_empty())
            .collect()
    }

    fn capture_lines(
        &self,
        name: &str,
        headers: &Headers,
        captured: &mut Captured<'_>,
    ) -> Option<()> {
        for line in headers.values(name) {
            // Twice as much as leaves: what is filtered may become shorter.
            let cut = line.get(..MAX_TEXT.saturating_mul(2));
            let line = String::from_utf8_lossy(cut.unwrap_or(line));
            match name {
                "cookie" | "set-cookie" if !self.send_default_pii => {
                    captured.add(FILTERED.to_owned())?;
                }
                "cookie" => cookies(line.split(';'), captured)?,
                "set-cookie" => cookies(line.split(';').take(1), captured)?,
                _ => captured.add(self.header(name, &line))?,
            }
        }
        Some(())
    }

    fn header(&self, name: &str, value: &str) -> String {
        // The names of WSGI have underscores.
        let dashed = name.replace('_', "-");
        let person = || has_part(&dashed, PERSONAL) || matches!(name, "from" | "ip");
        if is_sensitive(&dashed, SENSITIVE_HEADERS) || (!self.send_default_pii && person()) {
            return FILTERED.to_owned();
        }
        let mut filtered = String::with_capacity(value.len());
        match name {
            // RFC 8288: `<URL>; rel="next", <URL>; rel="prev"`.
            "link" if has(value, b"<") => {
                let mut is_inside = false;
                each(value, b"<>", &mut |part, separator| {
                    match is_inside {
                        true => self.url(part, &mut filtered),
                        false => self.text(part, &mut filtered),
                    }
                    filtered.push_str(separator);
                    is_inside = separator == "<";
                });
            }
            // `5; url=/next`, or without `url=`.
            "refresh" => {
                let (seconds, url) = value
                    .split_at_checked(refresh_len(value))
                    .unwrap_or_default();
                filtered.push_str(seconds);
                self.url(url, &mut filtered);
            }
            _ if name == "link" || has_part(&dashed, URLS) => self.url(value, &mut filtered),
            _ => self.text(value, &mut filtered),
        }
        filtered
    }

    /// A text with URLs in it, or without.
    fn text(&self, text: &str, filtered: &mut String) {
        let is_url = |text: &str| text.contains("//") || has(text, b"?");
        let ends: &[u8] = if is_url(text) { b" \t\"'<>()" } else { b"" };
        each(text, ends, &mut |word, separator| {
            match word {
                _ if is_url(word) => self.url(word, filtered),
                _ if hides_secret(word, b"=:") => filtered.push_str(FILTERED),
                _ => filtered.push_str(word),
            }
            filtered.push_str(separator);
        });
    }

    /// A URL without credentials and with a filtered query; a fragment is dropped.
    fn url(&self, url: &str, filtered: &mut String) {
        let (url, _) = cut(url, b"#");
        let (url, query) = cut(url, b"?");
        self.write_path(url, filtered);
        // Behind an authority that is none the rest of a password may be.
        if !query.is_empty() && !filtered.ends_with("//[Filtered]") {
            filtered.push('?');
            self.write_query(query.get(1..).unwrap_or_default(), filtered);
        }
    }
}

// The functions below are called from many places: inlined into each they are 2 kB more.

/// Calls back with every part of a text and the separator behind it, which is empty at the end.
/// Separators are ASCII characters.
#[inline(never)]
pub(crate) fn each(text: &str, separators: &[u8], part: &mut dyn FnMut(&str, &str)) {
    let mut rest = text;
    loop {
        let (before, behind) = cut(rest, separators);
        let (separator, more) = behind.split_at_checked(1).unwrap_or_default();
        part(before, separator);
        if separator.is_empty() {
            return;
        }
        rest = more;
    }
}

/// A text up to the first of some ASCII characters, and from there on.
#[inline(never)]
pub(crate) fn cut<'t>(text: &'t str, separators: &[u8]) -> (&'t str, &'t str) {
    let at = text.bytes().position(|byte| separators.contains(&byte));
    text.split_at_checked(at.unwrap_or(text.len()))
        .unwrap_or_default()
}

/// A text up to the last of some ASCII characters, and behind it, if it is there.
#[inline(never)]
fn cut_last<'t>(text: &'t str, separators: &[u8]) -> (&'t str, Option<&'t str>) {
    let at = text.bytes().rposition(|byte| separators.contains(&byte));
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (text, None),
    }
}

#[inline(never)]
fn has(text: &str, bytes: &[u8]) -> bool {
    text.bytes().any(|byte| bytes.contains(&byte))
}

/// What stands around the parts of a `refresh`.
const AROUND: &[char] = &[';', ',', ' ', '=', '"', '\''];

/// How long the beginning of a `refresh` is that is no URL.
fn refresh_len(value: &str) -> usize {
    let (seconds, behind) = cut(value, b";,");
    let mut url = if behind.is_empty() { seconds } else { behind };
    let (name, named) = cut(url, b"=");
    if name.trim_matches(AROUND).eq_ignore_ascii_case("url") {
        url = named;
    }
    let url = url.trim_start_matches(AROUND);
    value.len().saturating_sub(url.len())
}

/// Cookies as `name=value`; those without a name, and a header that has none at all, as
/// `[Filtered]`.
fn cookies<'v>(cookies: impl Iterator<Item = &'v str>, captured: &mut Captured<'_>) -> Option<()> {
    let known = captured.lines.len();
    for cookie in cookies.map(str::trim) {
        let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
        match (name.trim(), value.trim()) {
            ("", "") => {}
            ("", _) => captured.add(FILTERED.to_owned())?,
            (name, value)
                if is_sensitive(name, SENSITIVE_COOKIES) || hides_secret(value, b"=:") =>
            {
                captured.add(format!("{name}={FILTERED}"))?;
            }
            (name, value) => captured.add(format!("{name}={value}"))?,
        }
    }
    match captured.lines.len() == known {
        true => captured.add(FILTERED.to_owned()),
        false => Some(()),
    }
}

/// Whether a name is one whose value must not leave; `more` are further parts of such names.
#[inline(never)]
fn is_sensitive(name: &str, more: &str) -> bool {
    let name = decoded(name).to_ascii_lowercase();
    // Names that are too short to be looked for as parts.
    matches!(name.as_str(), "sig" | "pass" | "pin" | "otp" | "hmac")
        || has_part(&name, SENSITIVE)
        || has_part(&name, more)
}

/// Whether one of some words is a part of a name.
#[inline(never)]
fn has_part(name: &str, words: &str) -> bool {
    let mut has_part = false;
    each(words, b" ", &mut |word, _| {
        has_part |= !word.is_empty() && name.contains(word)
    });
    has_part
}

/// Whether a value has names of its own, and a sensitive one among them, or credentials: it is a
/// URL, a form, a list or JSON. `ends` are the characters that end a name.
#[inline(never)]
fn hides_secret(value: &str, ends: &[u8]) -> bool {
    if !has(value, b"=:%@<") {
        return false;
    }
    let value = decoded(value);
    if has(&value, b"{<") || value.contains("\":") {
        return is_sensitive(&value, "");
    }
    let (mut is_secret, mut slashes) = (false, 0_u8);
    each(&value, b"&;?#,/ ", &mut |part, separator| {
        // The name is all in front of the last of them.
        let (name, value) = cut_last(part, ends);
        let name = value.map_or("", |_| name);
        is_secret |= is_sensitive(name, "") || (slashes > 1 && has(part, b"@"));
        slashes = match (part, separator) {
            ("", "/") => slashes.saturating_add(1),
            (_, "/") => 1,
            _ => 0,
        };
    });
    is_secret
}

/// Whether the text in front of `=` is a name, and not a value that has such a character in it.
fn is_name(name: &str) -> bool {
    let is_short = (1..=MAX_PARAMETER).contains(&name.len());
    is_short && !has(&decoded(name), b"=&;?#/\"{<")
}

/// Whether what seems to be the end of a name is the padding of Base64. A single `=` is one only
/// behind as many characters as Base64 has, and as few names do.
fn is_padding(parameter: &str, value: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    let is_long = parameter.len() >= 16 && parameter.len().is_multiple_of(4);
    match value {
        "" => is_long && parameter.bytes().all(is_digit),
        _ => value.bytes().all(|byte| byte == b'='),
    }
}

/// A text without its percent-encoding, however often it was encoded.
#[inline(never)]
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
