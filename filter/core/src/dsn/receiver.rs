//! Whether a request goes to the receiver of the spans itself, as the filter's own POSTs do where the
//! way to Sentry leads through the gateway: to report those would be to report the reporting.
//!
//! ```text
//! https://key@host/sentry/42   host, host:443, HOST, host.   below /sentry/api/, or transport.path
//! ```
//! The rest of that host may be a site like any other.

use std::net::Ipv6Addr;

use super::Dsn;

impl Dsn {
    /// Whether a request with this authority and path goes to the receiver. `export_path` is where
    /// spans are posted to, if that is not the DSN's to say (`transport.path`).
    pub fn is_receiver(&self, authority: &[u8], path: &[u8], export_path: Option<&str>) -> bool {
        if !self.is_host(authority) {
            return false;
        }
        let path = normalized(path);
        let own = normalized(self.path.as_bytes());
        let is_api = path
            .strip_prefix(own.strip_suffix(b"/").unwrap_or(&own))
            .is_some_and(|rest| rest.starts_with(b"/api/"));
        is_api || export_path.is_some_and(|export| normalized(export.as_bytes()) == path)
    }

    fn is_host(&self, authority: &[u8]) -> bool {
        // An IPv6 literal ends with its bracket, and has colons of its own.
        let digits = |port: &&[u8]| port.iter().all(u8::is_ascii_digit);
        let mut parts = authority.rsplitn(2, |byte| *byte == b':');
        let (host, port) = match (parts.next().filter(digits), parts.next()) {
            (Some(port), Some(host)) => (host, port),
            _ => (authority, b"".as_slice()),
        };
        same_host(host, self.host.as_bytes())
            && match port {
                b"" => self.port == self.scheme.default_port(),
                port => std::str::from_utf8(port).is_ok_and(|port| port.parse() == Ok(self.port)),
            }
    }
}

/// Names are compared without case and without the dot that may stand behind a full one, IPv6
/// addresses by what they mean.
fn same_host(one: &[u8], other: &[u8]) -> bool {
    fn without_dot(host: &[u8]) -> &[u8] {
        host.strip_suffix(b".").unwrap_or(host)
    }
    fn address(host: &[u8]) -> Option<Ipv6Addr> {
        let literal = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
        std::str::from_utf8(literal).ok()?.parse().ok()
    }
    without_dot(one).eq_ignore_ascii_case(without_dot(other))
        || address(one).is_some_and(|one| address(other) == Some(one))
}

/// A path without query and fragment, as RFC 3986 (section 6.2.2) has it: what needs no escape is not
/// escaped, and dot segments are resolved. Repeated slashes count as one. `/` is empty.
fn normalized(path: &[u8]) -> Vec<u8> {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let path = unescaped(path.get(..end.unwrap_or(path.len())).unwrap_or_default());
    let mut normal = Vec::with_capacity(path.len());
    let mut is_folder = false;
    for segment in path.split(|byte| *byte == b'/') {
        is_folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = normal.iter().rposition(|byte| *byte == b'/');
                normal.truncate(parent.unwrap_or(0));
            }
            segment => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
            }
        }
    }
    if is_folder && !normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

/// Letters, digits, `-`, `.`, `_` and `~` mean the same escaped or not.
fn unescaped(path: &[u8]) -> Vec<u8> {
    fn escaped(rest: &[u8]) -> Option<u8> {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        let [b'%', high, low, ..] = *rest else {
            return None;
        };
        let code = hex(high)?.checked_mul(16)?.checked_add(hex(low)?)?;
        u8::try_from(code)
            .ok()
            .filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
    }
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        let byte = escaped(rest);
        plain.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => others.get(2..).unwrap_or_default(),
            None => others,
        };
    }
    plain
}
