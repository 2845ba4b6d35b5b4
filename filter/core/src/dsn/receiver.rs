//! Whether a request goes to the receiver of the spans itself, as the filter's own POSTs do where the
//! way to Sentry leads through the gateway: to report those would be to report the reporting.
//!
//! ```text
//! https://key@host/sentry/42   host, host:443, HOST, host.   below /sentry/api/, or transport.path
//! ```
//! The rest of that host may be a site like any other.

use std::net::Ipv6Addr;

use super::Dsn;
use crate::reading::{host_and_port, normalized};

impl Dsn {
    /// Whether a request with this authority and path goes to the receiver. `export_path` is where
    /// spans are posted to, if that is not the DSN's to say (`transport.path`).
    pub fn is_receiver(&self, authority: &[u8], path: &[u8], export_path: Option<&str>) -> bool {
        if !self.is_host(authority) || !path.starts_with(b"/") {
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
        let (host, port) = host_and_port(authority);
        let port = match port {
            None => Some(self.scheme.default_port()),
            Some(digits) => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok()),
        };
        port == Some(self.port) && same_host(host, host_and_port(self.host.as_bytes()).0)
    }
}

/// Names are compared without case, IPv6 addresses by what they mean.
fn same_host(one: &[u8], other: &[u8]) -> bool {
    fn address(host: &[u8]) -> Option<Ipv6Addr> {
        let literal = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
        std::str::from_utf8(literal).ok()?.parse().ok()
    }
    one.eq_ignore_ascii_case(other) || address(one).is_some_and(|one| address(other) == Some(one))
}
