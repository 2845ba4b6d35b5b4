//! How the host and the path of a request may be read.
//!
//! `/%70ublic`, `/./public` and `/x/../public` are ways to ask for `/public`, and
//! `API.shop.example:443` is a way to ask for `api.shop.example`. A rule is about what is asked
//! for, however it is spelled. Where Envoy and the service behind it may read a path in more than
//! one way, all readings are given, and whoever decides about trust has to look at each of them.

use std::borrow::Cow;

use crate::headers::{Headers, AUTHORITY, PATH, SCHEME};
use crate::pattern::MAX_TEXT;

/// The path of a request without query and fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPath<'h> {
    path: &'h [u8],
    /// Whether there is only one way to read it.
    is_plain: bool,
}

impl<'h> RequestPath<'h> {
    /// Finds the path in the request's headers.
    pub fn new(headers: &'h Headers) -> Self {
        Self::from_target(headers.value(PATH).unwrap_or_default())
    }

    fn from_target(target: &'h [u8]) -> Self {
        let (mut end, mut is_plain, mut before) = (target.len(), true, 0);
        for (at, byte) in target.iter().enumerate() {
            match byte {
                b'?' | b'#' => {
                    end = at;
                    break;
                }
                b'%' | b'\\' => is_plain = false,
                b'.' | b'/' if before == b'/' => is_plain = false,
                _ => {}
            }
            before = *byte;
        }
        Self {
            path: target.get(..end).unwrap_or(target),
            is_plain: is_plain || target.first() != Some(&b'/'),
        }
    }

    /// The readings of the path, each once. The first is that of Envoy's `normalize_path`: escapes
    /// of unreserved characters are decoded, dot segments are removed, a backslash is a slash
    /// (RFC 3986, section 6.2.2). The others are the path as it arrived, that of a service that
    /// decodes every escape, drops parameters of dot segments and merges slashes, and those that
    /// differ from the first in the case of the escapes that are left.
    pub fn readings(self) -> Vec<Cow<'h, [u8]>> {
        let arrived = Cow::Borrowed(self.path);
        if self.is_plain {
            return vec![arrived];
        }
        let normalized = normalize(self.path, false);
        let lenient = normalize(self.path, true);
        let mut others = vec![arrived, Cow::Owned(lenient)];
        if normalized.contains(&b'%') {
            // More than that is not looked at.
            let seen = normalized.get(..=MAX_TEXT).unwrap_or(&normalized);
            others.push(Cow::Owned(with_escapes(seen, u8::to_ascii_uppercase)));
            others.push(Cow::Owned(with_escapes(seen, u8::to_ascii_lowercase)));
        }
        let mut readings = vec![Cow::Owned(normalized)];
        for other in others {
            if !readings.contains(&other) {
                readings.push(other);
            }
        }
        readings
    }
}

/// A path without query and fragment, as Envoy's `normalize_path` and `merge_slashes` have it.
pub(crate) fn normalized(target: &[u8]) -> Vec<u8> {
    let mut path = normalize(RequestPath::from_target(target).path, false);
    path.dedup_by(|one, before| (*one, *before) == (b'/', b'/'));
    path
}

/// Removes what is only a matter of spelling, or, if it is lenient, what some service may take for
/// that.
fn normalize(path: &[u8], is_lenient: bool) -> Vec<u8> {
    let mut segments = Segments {
        path: vec![b'/'],
        begin: 1,
        is_lenient,
    };
    let mut rest = path.get(1..).unwrap_or_default();
    while let Some((byte, behind)) = rest.split_first() {
        let decoded = match byte {
            b'%' => unescape(behind).filter(|(byte, _)| is_lenient || is_unreserved(*byte)),
            _ => None,
        };
        let (byte, behind) = decoded.unwrap_or((*byte, behind));
        rest = behind;
        match byte {
            b'/' | b'\\' => segments.end(true),
            byte => segments.path.push(byte),
        }
    }
    segments.end(false);
    segments.path
}

/// A path that is written segment by segment.
struct Segments {
    path: Vec<u8>,
    /// Where the last segment begins, behind a slash.
    begin: usize,
    is_lenient: bool,
}

impl Segments {
    /// The last segment is complete; a slash follows, or nothing.
    fn end(&mut self, has_slash: bool) {
        let segment = self.path.get(self.begin..).unwrap_or_default();
        let name = match self.is_lenient {
            true => segment.split(|byte| *byte == b';').next(),
            false => None,
        };
        match name.unwrap_or(segment) {
            b"." => self.path.truncate(self.begin),
            b".." => {
                let parent = self.path.get(..self.begin.saturating_sub(1));
                let slash = parent.and_then(|parent| parent.iter().rposition(|it| *it == b'/'));
                self.path
                    .truncate(slash.map_or(1, |slash| slash.saturating_add(1)));
            }
            b"" if self.is_lenient => {}
            _ if has_slash => self.path.push(b'/'),
            _ => {}
        }
        self.begin = self.path.len();
    }
}

/// The byte that two hexadecimal digits stand for, and what follows.
fn unescape(behind: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = behind.split_first_chunk::<2>()?;
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let high = digit(digits[0])?.checked_mul(16)?;
    Some((high | digit(digits[1])?, rest))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The same with the digits of escapes in another case.
fn with_escapes(path: &[u8], case: fn(&u8) -> u8) -> Vec<u8> {
    let mut digits = 0_u8;
    let changed = path.iter().map(|byte| {
        let is_digit = digits > 0;
        digits = match byte {
            b'%' => 2,
            _ => digits.saturating_sub(1),
        };
        if is_digit {
            case(byte)
        } else {
            *byte
        }
    });
    changed.collect()
}

/// The readings of the host that a request asks for, in lower case, without a port and final dots.
/// What looks like credentials is left out of the first.
pub fn host_readings(headers: &Headers) -> Vec<Vec<u8>> {
    let Some(authority) = headers.value(AUTHORITY) else {
        return Vec::new();
    };
    let authority = authority.get(..=MAX_TEXT).unwrap_or(authority);
    let read = |authority: &[u8]| host_and_port(authority).0.to_ascii_lowercase();
    let mut readings = vec![read(without_userinfo(authority))];
    if authority.contains(&b'@') {
        readings.push(read(authority));
    }
    readings
}

fn without_userinfo(authority: &[u8]) -> &[u8] {
    let last = authority.rsplit(|byte| *byte == b'@').next();
    last.unwrap_or_default()
}

/// The host without final dots, and the port if one is given.
pub(crate) fn host_and_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let split = || {
        let colon = authority.iter().rposition(|byte| *byte == b':')?;
        let (host, port) = authority.split_at_checked(colon)?;
        let port = port.get(1..)?;
        // An IPv6 address has colons of its own, in brackets.
        let is_port = port.iter().all(u8::is_ascii_digit)
            && (host.last() == Some(&b']') || !host.contains(&b':'));
        is_port.then_some((host, port))
    };
    let (mut host, port) = split().map_or((authority, None), |(host, port)| (host, Some(port)));
    while let [rest @ .., b'.'] = host {
        host = rest;
    }
    (host, port.filter(|port| !port.is_empty()))
}

/// Scheme, host and port of a request as a URL begins with them, in lower case; where the port is
/// the scheme's own, without and with it.
pub fn origins(headers: &Headers) -> Vec<Vec<u8>> {
    let value = |name| headers.value(name).unwrap_or_default();
    let scheme = value(SCHEME).to_ascii_lowercase();
    let (scheme, default): (&[u8], &[u8]) = match &scheme[..] {
        b"https" => (b"https", b"443"),
        b"http" => (b"http", b"80"),
        _ => (b"", b""),
    };
    let authority = value(AUTHORITY);
    let authority = authority.get(..=MAX_TEXT).unwrap_or(authority);
    let (host, port) = host_and_port(without_userinfo(authority));
    let host = host.to_ascii_lowercase();
    let plain = [scheme, b"://", &host].concat();
    let with = |port: &[u8]| [&plain, &b":"[..], port].concat();
    match port {
        Some(port) if port != default => vec![with(port)],
        _ if default.is_empty() => vec![plain],
        _ => {
            let explicit = with(default);
            vec![plain, explicit]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_readings(path: &str, expected: &[&str]) {
        let readings = RequestPath::from_target(path.as_bytes()).readings();
        let readings: Vec<_> = readings
            .iter()
            .map(|it| String::from_utf8_lossy(it))
            .collect();
        assert_eq!(readings, expected, "{path}");
    }

    #[test]
    fn a_path_that_is_spelled_plainly_has_one_reading() {
        for path in [
            "",
            "*",
            "/",
            "/a",
            "/a/",
            "/a.b/.../c",
            "/a..b",
            "/a;b=.",
            "relative/../x",
        ] {
            assert_readings(path, &[path]);
        }
    }

    #[test]
    fn the_first_reading_is_the_one_by_envoys_normalization() {
        let rows = [
            ("/./public", "/public"),
            ("/%70ublic", "/public"),
            ("/%50ublic", "/Public"),
            ("/x/../public", "/public"),
            ("/x/%2e%2E/public", "/public"),
            ("/x/.%2e/public", "/public"),
            ("/../../public", "/public"),
            ("/x\\..\\public", "/public"),
            ("/public/.", "/public/"),
            ("/public/..", "/"),
            ("/a/b/c/../..", "/a/"),
            ("/a//../b", "/a/b"),
            ("//public", "//public"),
            ("/.public", "/.public"),
            ("/..public/...", "/..public/..."),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%", "/a%"),
            ("/a%2", "/a%2"),
            ("/a%zz", "/a%zz"),
            ("/a%2%35", "/a%25"),
            ("/%2570ublic", "/%2570ublic"),
            ("/caf%c3%a9", "/caf%c3%a9"),
        ];
        for (path, expected) in rows {
            let readings = RequestPath::from_target(path.as_bytes()).readings();
            assert_eq!(String::from_utf8_lossy(&readings[0]), expected, "{path}");
            assert!(readings.iter().any(|it| **it == *path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn what_a_service_may_take_for_the_same_is_another_reading() {
        assert_readings("//public", &["//public", "/public"]);
        assert_readings("/x/..;/public", &["/x/..;/public", "/public"]);
        assert_readings("/x//../public", &["/x/public", "/x//../public", "/public"]);
        assert_readings("/a%2fb", &["/a%2fb", "/a/b", "/a%2Fb"]);
        assert_readings(
            "/x/%2e%2e%2fpublic",
            &[
                "/x/..%2fpublic",
                "/x/%2e%2e%2fpublic",
                "/public",
                "/x/..%2Fpublic",
            ],
        );
        assert_readings("/a%5Cb", &["/a%5Cb", "/a/b", "/a%5cb"]);
        assert_readings("/a%3Fb", &["/a%3Fb", "/a?b", "/a%3fb"]);
    }

    #[test]
    fn a_path_ends_where_its_query_or_fragment_begins() {
        for target in ["/a?b#c", "/a#b?c", "/a"] {
            let headers = Headers::from_pairs([(b":path".as_slice(), target.as_bytes())]);
            assert_eq!(RequestPath::new(&headers).path, b"/a");
        }
        assert_eq!(RequestPath::new(&Headers::default()).path, b"");
    }

    #[test]
    fn a_host_is_read_without_case_port_and_final_dot() {
        let rows: [(&str, &[&str]); 10] = [
            ("api.shop.example", &["api.shop.example"]),
            ("API.Shop.example:443", &["api.shop.example"]),
            ("api.shop.example.", &["api.shop.example"]),
            ("api.shop.example.:8443", &["api.shop.example"]),
            ("api.shop.example:", &["api.shop.example"]),
            ("[2001:DB8::1]:80", &["[2001:db8::1]"]),
            ("[2001:db8::1]", &["[2001:db8::1]"]),
            ("2001:db8::1", &["2001:db8::1"]),
            ("user@api.example:1", &["api.example", "user@api.example"]),
            ("", &[""]),
        ];
        for (authority, expected) in rows {
            let pair = (b":authority".as_slice(), authority.as_bytes());
            let readings = host_readings(&Headers::from_pairs([pair]));
            let readings: Vec<_> = readings
                .iter()
                .map(|it| String::from_utf8_lossy(it))
                .collect();
            assert_eq!(readings, expected, "{authority}");
        }
        assert!(host_readings(&Headers::default()).is_empty());
    }

    #[test]
    fn an_origin_has_its_schemes_port_or_has_it_not() {
        let rows: [(&str, &str, &[&str]); 8] = [
            (
                "https",
                "A.example",
                &["https://a.example", "https://a.example:443"],
            ),
            (
                "HTTPS",
                "a.example:443",
                &["https://a.example", "https://a.example:443"],
            ),
            (
                "http",
                "a.example.:80",
                &["http://a.example", "http://a.example:80"],
            ),
            ("https", "a.example:80", &["https://a.example:80"]),
            ("http", "b.example@a.example:81", &["http://a.example:81"]),
            ("b.example", "a.example", &["://a.example"]),
            ("", "a.example:80", &["://a.example:80"]),
            ("http", "", &["http://", "http://:80"]),
        ];
        for (scheme, authority, expected) in rows {
            let pairs = [(":scheme", scheme), (":authority", authority)];
            let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let origins = origins(&Headers::from_pairs(pairs));
            let origins: Vec<_> = origins
                .iter()
                .map(|it| String::from_utf8_lossy(it))
                .collect();
            assert_eq!(origins, expected, "{scheme} {authority}");
        }
    }
}
