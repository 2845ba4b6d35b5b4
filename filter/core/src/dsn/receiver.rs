//! Whether a request goes to the receiver of the spans itself, as the filter's own POSTs do where
//! the way to Sentry leads through the gateway: to report those would be to report the reporting.
//!
//! ```text
//! https://key@host/sentry/42   host, host:443, HOST, host.   below /sentry/api/, or transport.path
//! ```
//! The rest of that host may be a site like any other.

use std::net::Ipv6Addr;

use super::Dsn;
use crate::reading::{host_and_port, normalized};

impl Dsn {
    /// Whether an `:authority` is the receiver's.
    pub fn is_host(&self, authority: &[u8]) -> bool {
        let (host, port) = host_and_port(authority);
        same_host(host, host_and_port(self.host.as_bytes()).0)
            && match port {
                None => self.port == self.scheme.default_port(),
                Some(digits) => {
                    std::str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(self.port))
                }
            }
    }

    /// Whether a path on that host is the receiver's. `export_path` is where spans are posted to,
    /// if that is not the DSN's to say (`transport.path`).
    pub fn is_receivers_path(&self, path: &[u8], export_path: Option<&str>) -> bool {
        if !path.starts_with(b"/") {
            return false;
        }
        let path = normalized(path);
        let own = normalized(self.path.as_bytes());
        let is_api = path
            .strip_prefix(own.strip_suffix(b"/").unwrap_or(&own))
            .is_some_and(|rest| rest.starts_with(b"/api/"));
        is_api || export_path.is_some_and(|export| normalized(export.as_bytes()) == path)
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

#[cfg(test)]
mod tests {
    use crate::fixtures::{stream_end, Host};
    use crate::headers::Headers;
    use crate::worker::Worker;
    use crate::{config::EnvDefaults, config::FilterConfig, route};

    /// In every format, with every DSN, wherever the spans go.
    #[test]
    fn what_the_filter_posts_goes_to_the_receiver() {
        let dsns = [
            "https://key@o1.ingest.sentry.io/42",
            "http://key@host:80/42",
            "http://key@Host.:9000/a/../b/%41/42",
            "https://key@[2001:DB8:0::1]:8443/sentry//42",
        ];
        let mut count = 0;
        for dsn in dsns {
            for format in ["transaction", "span_v2", "otlp"] {
                for path in [
                    "",
                    r#", "path": "/v1/./traces?tenant=a""#,
                    r#", "path": "/""#,
                ] {
                    let json = format!(
                        r#"{{"dsn": "{dsn}", "traces_sample_rate": 1, "transport": {{"format": "{format}"{path}}}}}"#
                    );
                    let config = FilterConfig::parse(json.as_bytes(), &EnvDefaults::default());
                    let config = config.unwrap();
                    let mut worker = Worker::alone(config.clone());
                    let request = [(b":method".as_slice(), b"GET".as_slice()), (b":path", b"/")];
                    let request = Headers::from_pairs(request);
                    let outcome = worker.on_request(&request, &mut Host::default());
                    let tracer = worker.tracer();
                    tracer.on_stream_info(outcome.request, stream_end(), || None);
                    worker.collect();
                    let callout = worker.exporter().next_callout(u64::MAX / 2).unwrap();
                    let lines = callout.headers.iter();
                    let headers = Headers::from_pairs(
                        lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
                    );
                    let (dsn, path) = (config.trace.dsn(), config.transport.path.as_deref());
                    assert!(route::is_receiver(&headers, dsn.unwrap(), path), "{json}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, dsns.len() * 9);
    }
}
