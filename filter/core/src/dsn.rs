//! The DSN, which names where spans go and on whose account: sentry-protocol.md §7.1, with the
//! choices of filter.md §11.
//!
//! ```text
//! https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42
//! scheme  public key [:secret]             host [:port] [path] /project id
//! ```

mod receiver;

use std::error::Error;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

/// A DSN that was read and is usable.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    scheme: Scheme,
    public_key: Arc<str>,
    secret: Option<String>,
    host: String,
    port: u16,
    /// Host and port, as far as it is not the scheme's.
    authority: String,
    path: String,
    project_id: String,
    /// All of it without the secret.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a text is not a DSN. The messages never repeat any of it, since it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseDsnError {
    /// No `http://` or `https://` in front.
    Scheme,
    /// Nothing between the scheme and the `@`.
    PublicKey,
    /// Not a host name, an IPv4 address or an IPv6 address in brackets.
    Host,
    /// Not a number from 1 to 65535.
    Port,
    /// Nothing behind the last slash.
    ProjectId,
    /// White space, a control character or one that is not ASCII; neither a header nor a request
    /// line could carry it.
    Character,
}

impl fmt::Display for ParseDsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "no http:// or https:// in front",
            Self::PublicKey => "no public key before an @",
            Self::Host => "no usable host behind the @",
            Self::Port => "a port that is not a number from 1 to 65535",
            Self::ProjectId => "no project id at the end",
            Self::Character => "a character that does not belong into a DSN",
        })
    }
}

impl Error for ParseDsnError {}

impl FromStr for Dsn {
    type Err = ParseDsnError;

    fn from_str(text: &str) -> Result<Self, ParseDsnError> {
        Self::parse(text)
    }
}

impl Dsn {
    /// Reads a DSN. White space around it is not part of it.
    ///
    /// # Errors
    /// The first part, from left to right, that is missing or unusable.
    #[cold]
    pub fn parse(text: &str) -> Result<Self, ParseDsnError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(ParseDsnError::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ => return Err(ParseDsnError::Scheme),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ParseDsnError::Character);
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').ok_or(ParseDsnError::PublicKey)?;
        let (public_key, secret) = credentials.split_once(':').unwrap_or((credentials, ""));
        if public_key.is_empty() {
            return Err(ParseDsnError::PublicKey);
        }
        let (host, port) = parse_address(address)?;
        let mut segments: Vec<&str> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let project_id = segments.pop().ok_or(ParseDsnError::ProjectId)?.to_owned();
        let port = port.unwrap_or(scheme.default_port());
        let authority = match port == scheme.default_port() {
            true => host.clone(),
            false => format!("{host}:{port}"),
        };
        let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
        let text = format!(
            "{}://{public_key}@{authority}{path}/{project_id}",
            scheme.as_str()
        );
        Ok(Self {
            scheme,
            public_key: public_key.into(),
            secret: (!secret.is_empty()).then(|| secret.to_owned()),
            host,
            port,
            authority,
            path,
            project_id,
            text,
        })
    }

    /// The key that names the account; it is no secret.
    pub fn public_key(&self) -> &Arc<str> {
        &self.public_key
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme.as_str()
    }

    /// Host and, unless it is the scheme's default, port: what goes into `:authority`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The DSN without its secret: what the envelope header carries.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path that takes envelopes.
    pub fn envelope_path(&self) -> String {
        format!("{}/api/{}/envelope/", self.path, self.project_id)
    }

    /// What is below this path on the DSN's host is the receiver's own.
    pub fn api_path(&self) -> String {
        format!("{}/api/", self.path)
    }

    /// The path that takes OpenTelemetry's spans, sentry-protocol.md §5.5.
    pub fn otlp_path(&self) -> String {
        format!(
            "{}/api/{}/integration/otlp/v1/traces/",
            self.path, self.project_id
        )
    }

    /// The organisation that the host names: `o<digits>.` in front, without leading zeros
    /// (filter.md §11).
    pub fn org_id(&self) -> Option<&str> {
        let (label, _) = self.host.split_once('.')?;
        let digits = label.strip_prefix('o')?;
        normalize_org_id(digits)
    }

    /// The value of `X-Sentry-Auth` for a client, sentry-protocol.md §7.2. It may hold the secret.
    pub fn auth(&self, client: &str) -> String {
        let mut auth = format!(
            "Sentry sentry_version=7, sentry_client={client}, sentry_key={}",
            self.public_key
        );
        if let Some(secret) = &self.secret {
            auth.push_str(", sentry_secret=");
            auth.push_str(secret);
        }
        auth
    }
}

/// Without its secret.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An organisation id as it is compared and sent: digits without leading zeros; `None` for anything
/// else.
pub(crate) fn normalize_org_id(digits: &str) -> Option<&str> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        // Only zeros: the last of them is the id.
        "" => digits.get(digits.len().saturating_sub(1)..),
        significant => Some(significant),
    }
}

fn parse_address(address: &str) -> Result<(String, Option<u16>), ParseDsnError> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (literal, rest) = bracketed.split_once(']').ok_or(ParseDsnError::Host)?;
        literal
            .parse::<Ipv6Addr>()
            .map_err(|_| ParseDsnError::Host)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(ParseDsnError::Host),
        };
        // Written as it came: a shorter form of the same address would be another `:authority`.
        return Ok((format!("[{literal}]"), port));
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (address, None),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(ParseDsnError::Host);
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn parse_port(text: &str) -> Result<u16, ParseDsnError> {
    // The standard parser takes a leading `+`.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseDsnError::Port);
    }
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ParseDsnError::Port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_dsns_name_their_receiver() {
        let rows = [
            (
                "https://abc@sentry.io:1234/subpath/123",
                "https://sentry.io:1234",
                "/subpath/api/123/envelope/",
            ),
            (
                "https://abc:@sentry.io/123/321",
                "https://sentry.io",
                "/123/api/321/envelope/",
            ),
            (
                "https://abc@sentry.io/321?sample.rate=0.1&other=value",
                "https://sentry.io",
                "/api/321/envelope/",
            ),
            (
                "https://abc@[::ffff:192.0.2.1]/123",
                "https://[::ffff:192.0.2.1]",
                "/api/123/envelope/",
            ),
            (
                "https://abc@[::1]:8443/123",
                "https://[::1]:8443",
                "/api/123/envelope/",
            ),
            (
                "https://username@domain:8888/42",
                "https://domain:8888",
                "/api/42/envelope/",
            ),
            (
                "http://username:@domain:8888/pathone/pathtwo/pid",
                "http://domain:8888",
                "/pathone/pathtwo/api/pid/envelope/",
            ),
            (
                "  http://key@host//a//id/ ",
                "http://host",
                "/a/api/id/envelope/",
            ),
            (
                "HTTP://key@host:80/123?foo=bar#frag",
                "http://host",
                "/api/123/envelope/",
            ),
        ];
        for (text, receiver, path) in rows {
            let dsn = Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                format!("{}://{}", dsn.scheme(), dsn.authority()),
                receiver,
                "{text}"
            );
            assert_eq!(dsn.envelope_path(), path, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_dsn_is_refused() {
        let rows = [
            ("", ParseDsnError::Scheme),
            ("://abc@sentry.io/123", ParseDsnError::Scheme),
            ("httpx://abc@sentry.io/123", ParseDsnError::Scheme),
            ("ftp://abc@sentry.io/123", ParseDsnError::Scheme),
            ("https://@sentry.io/123", ParseDsnError::PublicKey),
            ("https://sentry.io/123", ParseDsnError::PublicKey),
            ("https://abc@/123", ParseDsnError::Host),
            ("https://abc@[::1/123", ParseDsnError::Host),
            ("https://abc@[fe80::1%25eth0]/123", ParseDsnError::Host),
            ("https://abc@ho*st/123", ParseDsnError::Host),
            ("https://abc@host:abc/123", ParseDsnError::Port),
            ("https://abc@host:+1/123", ParseDsnError::Port),
            ("https://abc@host:0/123", ParseDsnError::Port),
            ("https://abc@host:65536/123", ParseDsnError::Port),
            ("https://abc@host:/123", ParseDsnError::Port),
            ("https://abc@123", ParseDsnError::ProjectId),
            ("https://abc@sentry.io/", ParseDsnError::ProjectId),
            (
                "https://abc@sentry.io/1\r\nx-evil: 1",
                ParseDsnError::Character,
            ),
        ];
        for (text, error) in rows {
            assert_eq!(Dsn::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_secret_is_sent_but_never_shown() {
        let dsn = Dsn::parse("https://key:hush@host/1").unwrap();
        assert!(dsn
            .auth("client/1")
            .ends_with("sentry_key=key, sentry_secret=hush"));
        assert_eq!(dsn.to_string(), "https://key@host/1");
        assert_eq!(format!("{dsn:?}"), "https://key@host/1");
    }

    #[test]
    fn the_organisation_is_in_the_first_label_of_the_host() {
        let rows = [
            ("o1.ingest.sentry.io", Some("1")),
            ("o123.ingest.de.sentry.io", Some("123")),
            ("o123.example.com", Some("123")),
            ("o012300.ingest.sentry.io", Some("12300")),
            ("o0.ingest.sentry.io", Some("0")),
            ("o000.ingest.sentry.io", Some("0")),
            ("oabc.ingest.sentry.io", None),
            ("o.ingest.sentry.io", None),
            ("oX123.ingest.sentry.io", None),
            ("o123", None),
            ("sentry.io", None),
        ];
        for (host, org_id) in rows {
            let dsn = Dsn::parse(&format!("https://key@{host}/1")).unwrap();
            assert_eq!(dsn.org_id(), org_id, "{host}");
        }
    }

    #[test]
    fn what_we_accept_the_sdk_accepts_with_the_same_values() {
        for text in [
            "https://abc@sentry.io:1234/subpath/123",
            "http://username:@domain:8888/pathone/pathtwo/42",
            "https://key@o1.ingest.sentry.io/42",
        ] {
            let ours = Dsn::parse(text).unwrap();
            let theirs: sentry_types::Dsn = text.parse().unwrap();
            assert_eq!(&**ours.public_key(), theirs.public_key());
            let port = theirs.port();
            let url = theirs.envelope_api_url().to_string();
            assert_eq!(
                format!(
                    "{}://{}{}",
                    ours.scheme(),
                    ours.authority(),
                    ours.envelope_path()
                ),
                url,
                "port {port}"
            );
        }
    }
}
