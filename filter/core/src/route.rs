//! Which requests take part, and what a transaction is called (filter.md §3.8, §6).

use crate::dsn::Dsn;
use crate::headers::{Headers, AUTHORITY, METHOD, PATH, SCHEME};
use crate::pattern::Pattern;
use crate::span::attributes::{shortened, MAX_NAME};

/// Whether a trace may begin and a span be recorded with a request. Not with `OPTIONS`, which nobody
/// is interested in as a span, and not with requests to the receiver of the spans.
pub fn may_start(headers: &Headers, dsn: &Dsn, export_path: Option<&str>) -> bool {
    headers.value(METHOD) != Some(b"OPTIONS") && !is_receiver(headers, dsn, export_path)
}

/// Whether a request goes to the DSN's own receiver: to its host, below its path and `/api/` or to
/// the `transport.path` that spans are posted to.
pub fn is_receiver(headers: &Headers, dsn: &Dsn, export_path: Option<&str>) -> bool {
    let part = |name| headers.value(name).unwrap_or_default();
    dsn.is_receiver(part(AUTHORITY), part(PATH), export_path)
}

/// A part of the `trace_propagation_targets`: which URLs get the trace (sentry-protocol.md §6.1).
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// URLs that contain a text.
    Text(String),
    /// URLs that a pattern matches.
    Pattern(Pattern),
}

/// Whether the upstream of a request gets the trace. Without targets every upstream does; an empty list is none.
pub fn is_target(headers: &Headers, targets: Option<&[Target]>) -> bool {
    let Some(targets) = targets else {
        return true;
    };
    let part = |name| headers.value(name).unwrap_or_default();
    let url = [part(SCHEME), b"://", part(AUTHORITY), part(PATH)].concat();
    targets.iter().any(|target| match target {
        Target::Text(text) => {
            text.is_empty() || url.windows(text.len()).any(|part| part == text.as_bytes())
        }
        Target::Pattern(pattern) => pattern.matches(&url),
    })
}

/// What a transaction is called, and how good that name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionName {
    /// The name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a name comes from; Sentry groups the ones from `url` by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An Envoy route's name that is a template, or the name that its metadata gives.
    Route,
    /// The name that a rule gives.
    Custom,
    /// The path.
    Url,
}

impl Source {
    /// The word for it (sentry-protocol.md §9.1).
    pub fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Custom => "custom",
            Self::Url => "url",
        }
    }
}

impl TransactionName {
    /// A name, cut to what Relay leaves of it.
    pub fn new(name: &str, source: Source) -> Self {
        Self {
            name: shortened(name, MAX_NAME).into_owned(),
            source,
        }
    }

    /// Whether it is the template of a route, and not a name that a person made up or a path.
    pub fn is_template(&self) -> bool {
        self.source == Source::Route && self.name.contains('/')
    }

    /// The name that an Envoy route gives: its own, if it looks like a template.
    pub fn from_route(route_name: &[u8]) -> Option<Self> {
        let is_template = route_name.contains(&b'/');
        is_template.then(|| Self::new(&String::from_utf8_lossy(route_name), Source::Route))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_the_receiver_itself_take_no_part() {
        let dsn = Dsn::parse("https://key@sentry.example:8443/1").unwrap();
        let rows = [
            ("GET", "shop.example", "/api/1/", true),
            ("HEAD", "shop.example", "/api/1/", true),
            ("OPTIONS", "shop.example", "/", false),
            ("POST", "Sentry.Example:8443", "/api/1/envelope/", false),
            ("POST", "Sentry.Example:8443", "/", true),
        ];
        for (method, authority, path, expected) in rows {
            let lines = [
                (":method", method),
                (":authority", authority),
                (":path", path),
            ];
            let lines = lines.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(
                may_start(&Headers::from_pairs(lines), &dsn, None),
                expected,
                "{method} {authority}{path}"
            );
        }
    }

    #[test]
    fn a_route_name_counts_if_it_looks_like_a_template() {
        assert_eq!(TransactionName::from_route(b"default"), None);
        let name = TransactionName::from_route(b"/api/{id}").unwrap();
        assert_eq!(
            (name.name.as_str(), name.source),
            ("/api/{id}", Source::Route)
        );
    }
}
