//! Which requests take part, and what a transaction is called (filter.md §3.8, §6).

use std::borrow::Cow;

use crate::dsn::Dsn;
use crate::headers::{Headers, AUTHORITY, METHOD, PATH};
use crate::method::Method;
use crate::pattern::{Pattern, PatternSet, MAX_TEXT, WORK};
use crate::reading::{self, RequestPath};
use crate::text::{shortened, MAX_NAME};

/// Whether a trace may begin and a span be recorded with a request. Not with `OPTIONS`, which
/// nobody is interested in as a span, and not with requests to the receiver of the spans.
pub fn may_start(headers: &Headers, dsn: &Dsn, export_path: Option<&str>) -> bool {
    headers.value(METHOD) != Some(b"OPTIONS") && !is_receiver(headers, dsn, export_path)
}

/// Whether a request goes to the DSN's own receiver: to its host, below its path and `/api/` or to
/// the `transport.path` that spans are posted to.
pub fn is_receiver(headers: &Headers, dsn: &Dsn, export_path: Option<&str>) -> bool {
    let part = |name| headers.value(name).unwrap_or_default();
    dsn.is_host(part(AUTHORITY)) && dsn.is_receivers_path(part(PATH), export_path)
}

/// A part of the `trace_propagation_targets`: which URLs get the trace.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// URLs that contain a text.
    Text(String),
    /// URLs that a pattern matches.
    Pattern(Pattern),
}

/// How many bytes the states of the targets may take, roughly, per worker.
const MAX_STATES: usize = 1024 * 1024;

/// The `trace_propagation_targets`.
#[derive(Debug, Clone)]
pub struct Targets {
    list: Vec<Target>,
    set: PatternSet,
    /// Whether a target may ask for a port.
    has_ports: bool,
}

impl Targets {
    /// Puts the targets together.
    ///
    /// # Errors
    /// That they are too large together, on one line.
    pub fn new(mut list: Vec<Target>) -> Result<Self, String> {
        let texts = list.iter().filter_map(|target| match target {
            Target::Text(text) => Some(text),
            Target::Pattern(_) => None,
        });
        let texts = texts.flat_map(|text| [text.clone(), with_lower_case_host(text)]);
        let texts: Vec<Pattern> = texts.map(|text| Pattern::in_url(&text)).collect();
        let patterns = list.iter().filter_map(|target| match target {
            Target::Text(_) => None,
            Target::Pattern(pattern) => Some(pattern),
        });
        let set = PatternSet::new(texts.iter().chain(patterns), MAX_STATES)?;
        let has_port = |target: &Target| {
            let text = match target {
                Target::Text(text) => text,
                Target::Pattern(pattern) => pattern.as_str(),
            };
            text.replace("://", "").replace("(?:", "").contains(':')
        };
        let has_ports = list.iter().any(has_port);
        for target in &mut list {
            if let Target::Pattern(pattern) = target {
                pattern.keep_text();
            }
        }
        Ok(Self {
            list,
            set,
            has_ports,
        })
    }

    /// Whether the upstream of a request gets the trace. What is asked are scheme, host and path,
    /// never what a caller can add without asking for something else: credentials, query, fragment.
    /// The path has to match in whichever way it is read, the host with its default port or
    /// without.
    pub fn include(&self, headers: &Headers) -> bool {
        if self.set.is_empty() {
            return false;
        }
        let mut work = WORK;
        let paths = RequestPath::new(headers).readings();
        // The second one has the default port.
        let count = if self.has_ports { 2 } else { 1 };
        let mut origins = reading::origins(headers).into_iter().take(count);
        origins.any(|origin| {
            paths.iter().all(|path| {
                // More than that is not looked at.
                let path = path.get(..=MAX_TEXT).unwrap_or(path);
                let url = [&origin[..], path].concat();
                self.set.matches_any(&url, &mut work)
            })
        })
    }
}

/// Hosts are compared in lower case.
fn with_lower_case_host(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let host = rest.split('/').next().unwrap_or_default();
    let path = rest.strip_prefix(host).unwrap_or_default();
    let scheme = scheme.map(|scheme| format!("{}://", scheme.to_ascii_lowercase()));
    [
        &scheme.unwrap_or_default(),
        &host.to_ascii_lowercase(),
        path,
    ]
    .concat()
}

/// The set follows from the list.
impl PartialEq for Targets {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

/// How spans are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As transactions have always been: by path or URL where nobody has a better name.
    Transactions,
    /// By names of low cardinality, as sentry-conventions have them for HTTP
    /// (`model/name/http.json`).
    Conventions,
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
    pub fn as_str(self) -> &'static str {
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

    /// The template of a route, if it is one and not a name that a person made up or a path; without
    /// a method in front.
    pub fn route(&self) -> Option<&str> {
        let is_template = self.source == Source::Route && self.name.contains('/');
        let name = is_template.then_some(&*self.name)?;
        let is_method = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase());
        match name.split_once(' ') {
            Some((method, path)) if is_method(method) && path.starts_with('/') => Some(path),
            _ => Some(name),
        }
    }

    /// What the segment of a request with this method is called. By the conventions that is the
    /// method and the route, else the method alone; a name that a person made up stays.
    pub fn of_segment(&self, naming: Naming, method: Method) -> Cow<'_, str> {
        let method = method.as_str();
        match (naming, self.source, self.route()) {
            (Naming::Conventions, _, Some(route)) => {
                shortened([method, " ", route].concat(), MAX_NAME)
            }
            (Naming::Conventions, Source::Url, None) => Cow::Borrowed(method),
            _ => Cow::Borrowed(&self.name),
        }
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

    fn targets(list: &[&str]) -> Targets {
        let list = list.iter().map(|text| match text.strip_prefix("re:") {
            Some(pattern) => Target::Pattern(Pattern::new(pattern).unwrap()),
            None => Target::Text((*text).to_owned()),
        });
        Targets::new(list.collect()).unwrap()
    }

    fn include(list: &[&str], scheme: &str, authority: &str, path: &str) -> bool {
        let pairs = [
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ];
        let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        targets(list).include(&Headers::from_pairs(pairs))
    }

    #[test]
    fn targets_are_about_scheme_host_and_path() {
        let rows = [
            ("internal.example", "https", "api.internal.example", "/"),
            (
                "INTERNAL.example",
                "https",
                "API.Internal.Example:8443",
                "/",
            ),
            ("https://api.example/", "https", "api.example:443", "/"),
            ("https://api.example:443/", "https", "api.example", "/"),
            ("HTTP://Api.example:80/V1", "http", "api.example.", "/V1"),
            ("//api.example/v1", "http", "user:pw@api.example", "/v1?x"),
            ("api.example:8443", "https", "API.example:8443", "/"),
            ("/V1/", "https", "api.example", "/V1/a"),
            ("/V1/", "https", "api.example", "/a/../V1/b/V1/"),
            ("", "https", "api.example", "/"),
            (
                "re:^https://api[.]example/v[0-9]/",
                "https",
                "API.example:443",
                "/v1/",
            ),
            ("re:[.]example:443/", "https", "api.example", "/"),
        ];
        for (target, scheme, authority, path) in rows {
            let is_one = include(&["other.test", target], scheme, authority, path);
            assert!(is_one, "{target}: {scheme} {authority} {path}");
        }
    }

    #[test]
    fn nothing_that_a_caller_adds_makes_a_target() {
        let rows = [
            ("internal.example", "partner.test", "/?u=internal.example"),
            ("internal.example", "partner.test", "/#internal.example"),
            ("internal.example", "partner.test", "/#?internal.example"),
            ("internal.example", "internal.example@partner.test", "/"),
            (
                "internal.example",
                "internal.example:pw@partner.test:443",
                "/",
            ),
            (
                "https://internal.example/",
                "partner.test",
                "/https://internal.example/",
            ),
            (
                "://internal.example",
                "partner.test",
                "/x://internal.example/",
            ),
            (
                "re:internal[.]example",
                "partner.test",
                "/?u=internal.example",
            ),
            (
                "re:internal[.]example",
                "partner.test",
                "/a?x#internal.example",
            ),
            (
                "re:^https://partner.*internal",
                "partner.test",
                "/?internal",
            ),
            ("/internal/", "partner.test", "/internal/../public"),
            ("/internal/", "partner.test", "/internal/..%2fpublic"),
            ("/internal/", "partner.test", "/%69nternal/"),
            ("http://partner.test", "partner.test", "/"),
            ("partner.test:80/", "partner.test", "/"),
        ];
        for (target, authority, path) in rows {
            let is_one = include(&["other.test", target], "https", authority, path);
            assert!(!is_one, "{target}: {authority} {path}");
        }
        assert!(!include(&[], "https", "partner.test", "/"));
        // The end of so long a URL is not looked at.
        let long = "a".repeat(57_000);
        assert!(!include(
            &["/end"],
            "https",
            "partner.test",
            &format!("/{long}/end")
        ));
        assert!(!include(
            &["re:a$"],
            "https",
            "partner.test",
            &format!("/{long}")
        ));
        assert!(include(
            &["partner.test"],
            "https",
            "partner.test",
            &format!("/{long}")
        ));
    }

    #[test]
    fn names_by_convention_are_of_low_cardinality() {
        let rows = [
            (
                "/api/{id}",
                Source::Route,
                Method::Get,
                "GET /api/{id}",
                Some("/api/{id}"),
            ),
            (
                "GET /api/{id}",
                Source::Route,
                Method::Head,
                "HEAD /api/{id}",
                Some("/api/{id}"),
            ),
            (
                "team/shop",
                Source::Route,
                Method::Get,
                "GET team/shop",
                Some("team/shop"),
            ),
            (
                "Get /x",
                Source::Route,
                Method::Get,
                "GET Get /x",
                Some("Get /x"),
            ),
            (
                "GET x/y",
                Source::Route,
                Method::Get,
                "GET GET x/y",
                Some("GET x/y"),
            ),
            (
                "/api/{id}",
                Source::Route,
                Method::Other,
                "_OTHER /api/{id}",
                Some("/api/{id}"),
            ),
            ("checkout", Source::Route, Method::Get, "checkout", None),
            ("/shops/7", Source::Custom, Method::Get, "/shops/7", None),
            ("/api/7", Source::Url, Method::Get, "GET", None),
            (
                "CONNECT shop.example:443",
                Source::Url,
                Method::Connect,
                "CONNECT",
                None,
            ),
        ];
        for (name, source, method, expected, route) in rows {
            let name = TransactionName::new(name, source);
            let found = name.of_segment(Naming::Conventions, method);
            assert_eq!(found, expected, "{name:?}");
            let found = name.of_segment(Naming::Transactions, method);
            assert_eq!(found, name.name, "{name:?}");
            assert_eq!(name.route(), route, "{name:?}");
        }
        let long = TransactionName::new(&"/a".repeat(200), Source::Route);
        let long = long.of_segment(Naming::Conventions, Method::Get);
        assert_eq!(long.len(), MAX_NAME);
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
