//! What may leave the gateway (develop.sentry.dev, data collection): names stay, values that could
//! tell a secret, or who somebody is, become `[Filtered]`.

mod collection;
mod names;

use crate::headers::Headers;
use crate::text::{shortened, MAX_TEXT};
use names::{cut_last, decoded, has, has_part, hides_secret, is_name, is_padding, is_sensitive};

pub use collection::Collection;
pub(crate) use names::{cut, each, has_word};

/// A host name has at most 253 bytes, and a port behind it.
pub(crate) const MAX_HOST: usize = 260;
/// What stands in the place of a value that does not leave.
pub const FILTERED: &str = "[Filtered]";

/// Further parts of the names of headers: a client's certificate as nginx and HAProxy pass it on.
const SENSITIVE_HEADERS: &str = "x-ssl ssl-client";
/// Further parts of the names of headers that tell of a person, unless `user_info` is on.
const PERSONAL: &str =
    "forwarded -ip remote- via -user user- clientip client-ip socketip realip -addr \
    client-principal email -ua viewer-";
/// Further parts of the names of cookies, as Sentry's SDK for JavaScript has them.
const SENSITIVE_COOKIES: &str = ".sid sessid remember oidc pkce nonce __secure- __host- awsalb \
    awselb akamai __stripe cognito firebase supabase sb- mfa 2fa";
/// Parts of the names of headers whose values are URLs or paths, with the same secrets in them.
const URLS: &str = "referer location url -uri path redirect destination sourcemap content-base";

/// How much is recorded of all headers of a message together, in bytes, with [`LINE`] more for each
/// line, and for each name that the message chose. A span has no room for more.
const MAX_CAPTURED: usize = 8 * 1_024;
/// What a line costs besides its bytes.
const LINE: usize = 40;
/// In how many lines of a message those are looked for that nobody has named: Envoy takes 100
/// unless its operator says otherwise, and each name is looked for in all of them.
const MAX_LINES: usize = 256;
/// How many headers of a message are recorded.
const MAX_HEADERS: usize = 64;
/// How long the name of a header may be that the message chose.
const MAX_HEADER_NAME: usize = 128;

/// What the operator wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOptions {
    /// Whether client addresses, user agents and headers that tell of a person leave.
    pub user_info: bool,
    /// Cookies, in `cookie` and `set-cookie`.
    pub cookies: Collection,
    /// The request's other headers.
    pub request_headers: Collection,
    /// The response's other headers.
    pub response_headers: Collection,
    /// The parameters of queries.
    pub url_query_params: Collection,
    /// The request headers to record whatever their collection is, in lower case.
    pub capture_request_headers: Vec<String>,
    /// The response headers to record whatever their collection is, in lower case.
    pub capture_response_headers: Vec<String>,
}

/// Nothing but the names of a query's parameters.
impl Default for DataOptions {
    fn default() -> Self {
        Self {
            user_info: false,
            cookies: Collection::Off,
            request_headers: Collection::Off,
            response_headers: Collection::Off,
            url_query_params: Collection::NAMES,
            capture_request_headers: Vec::new(),
            capture_response_headers: Vec::new(),
        }
    }
}

/// The lines of a header that are recorded, as long as there is room.
struct Captured<'r> {
    lines: Vec<String>,
    room: &'r mut usize,
}

impl Captured<'_> {
    /// Adds a line, cut; `None` if there is no room for it.
    #[inline(never)]
    fn add(&mut self, line: String) -> Option<()> {
        let line = shortened(line, MAX_TEXT).into_owned().into_boxed_str();
        self.charge(line.len())?;
        self.lines.push(line.into_string());
        Some(())
    }

    /// Takes room for a text; `None` if there is not so much.
    fn charge(&mut self, len: usize) -> Option<()> {
        *self.room = self.room.checked_sub(len.saturating_add(LINE))?;
        Some(())
    }
}

impl DataOptions {
    /// A query without its `?`, with the values filtered that do not leave. What has no name is a
    /// value. Some services take `;` for `&`.
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
            // What is allowed is so by its name.
            let is_judged =
                name.is_empty() && !matches!(self.url_query_params, Collection::Allow(_));
            let judged = if is_judged { value } else { name };
            leaves(&self.url_query_params, judged, "") && !hides_secret(value, b"=:")
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

    /// Whether anything of a response's headers is recorded.
    pub fn reads_response(&self) -> bool {
        let is_off = self.response_headers.is_off() && self.cookies.is_off();
        !is_off || !self.capture_response_headers.is_empty()
    }

    /// The lines of the request's headers that are recorded, by name. What is not there is absent.
    /// They are kept until the stream ends, so each is cut, and what is too much altogether is left
    /// out: the caller chooses how long and how many they are.
    pub fn capture_request(&self, headers: &Headers) -> Vec<(String, Vec<String>)> {
        self.capture(
            &self.capture_request_headers,
            &self.request_headers,
            headers,
        )
    }

    /// The same of a response's headers.
    pub fn capture_response(&self, headers: &Headers) -> Vec<(String, Vec<String>)> {
        self.capture(
            &self.capture_response_headers,
            &self.response_headers,
            headers,
        )
    }

    #[inline(never)]
    fn capture(
        &self,
        named: &[String],
        collection: &Collection,
        headers: &Headers,
    ) -> Vec<(String, Vec<String>)> {
        let mut names = named.to_vec();
        if !collection.is_off() || !self.cookies.is_off() {
            for (name, _) in headers.iter().take(MAX_LINES) {
                if names.len() >= MAX_HEADERS {
                    break;
                }
                // A name that begins with a colon is none of a header's.
                let is_name = (1..=MAX_HEADER_NAME).contains(&name.len())
                    && !name.starts_with(b":")
                    && name.iter().all(u8::is_ascii_graphic);
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                let of = if is_cookie(&name) {
                    &self.cookies
                } else {
                    collection
                };
                if is_name && !of.is_off() && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut room = MAX_CAPTURED;
        let mut all = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let is_named = index < named.len();
            // What the operator names is shown, unless it is denied.
            let shows = match collection {
                Collection::Off | Collection::Allow(_) if is_named => true,
                collection => collection.has(&name),
            };
            let mut captured = Captured {
                lines: Vec::new(),
                room: &mut room,
            };
            // Ends where there is no more room.
            if is_named || captured.charge(name.len()).is_some() {
                let lines = if is_named { usize::MAX } else { MAX_LINES };
                let lines = headers.iter().take(lines);
                let lines = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
                let lines = lines.map(|(_, value)| value);
                let _ = self.capture_lines(&name, shows, lines, &mut captured);
            }
            if !captured.lines.is_empty() {
                all.push((name, captured.lines));
            }
        }
        all
    }

    fn capture_lines<'h>(
        &self,
        name: &str,
        shows: bool,
        lines: impl Iterator<Item = &'h [u8]>,
        captured: &mut Captured<'_>,
    ) -> Option<()> {
        for line in lines {
            // Twice as much as leaves: what is filtered may become shorter.
            let cut = line.get(..MAX_TEXT.saturating_mul(2));
            let line = String::from_utf8_lossy(cut.unwrap_or(line));
            match name {
                "cookie" | "set-cookie" if self.cookies.is_off() => {
                    captured.add(FILTERED.to_owned())?;
                }
                "cookie" => cookies(&line, usize::MAX, &self.cookies, captured)?,
                "set-cookie" => cookies(&line, 1, &self.cookies, captured)?,
                _ if shows => captured.add(self.header(name, &line))?,
                _ => captured.add(FILTERED.to_owned())?,
            }
        }
        Some(())
    }

    fn header(&self, name: &str, value: &str) -> String {
        // The names of WSGI have underscores.
        let dashed = name.replace('_', "-");
        let person = || has_part(&dashed, PERSONAL) || matches!(name, "from" | "ip");
        if is_sensitive(&dashed, SENSITIVE_HEADERS) || (!self.user_info && person()) {
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
        let is_off = self.url_query_params.is_off();
        if !is_off && !query.is_empty() && !filtered.ends_with("//[Filtered]") {
            filtered.push('?');
            self.write_query(query.get(1..).unwrap_or_default(), filtered);
        }
    }
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

/// The first cookies of a line as `name=value`; those without a name, and a header that has none at all, as
/// `[Filtered]`.
fn cookies(
    line: &str,
    most: usize,
    collection: &Collection,
    captured: &mut Captured<'_>,
) -> Option<()> {
    let known = captured.lines.len();
    for cookie in line.split(';').take(most).map(str::trim) {
        let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
        match (name.trim(), value.trim()) {
            ("", "") => {}
            ("", _) => captured.add(FILTERED.to_owned())?,
            (name, value) => {
                let leaves = leaves(collection, name, SENSITIVE_COOKIES);
                let leaves = leaves && !hides_secret(value, b"=:");
                captured.add([name, "=", if leaves { value } else { FILTERED }].concat())?;
            }
        }
    }
    match captured.lines.len() == known {
        true => captured.add(FILTERED.to_owned()),
        false => Some(()),
    }
}

fn is_cookie(name: &str) -> bool {
    matches!(name, "cookie" | "set-cookie")
}

/// Whether the value with a name leaves; `more` are further parts of names that say that they are a
/// secret.
#[inline(never)]
fn leaves(collection: &Collection, name: &str, more: &str) -> bool {
    // By default nothing does: no name has to be looked at.
    !matches!(collection, Collection::Allow(parts) if parts.is_empty())
        && collection.has(&decoded(name).to_ascii_lowercase())
        && !is_sensitive(name, more)
}

/// An authority without `user:password@`.
pub fn without_credentials(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
