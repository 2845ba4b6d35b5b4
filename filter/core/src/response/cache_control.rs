//! `Cache-Control: private, max-age=60`: whether a cache that serves several people may keep an
//! answer (RFC 9111).
//!
//! A trace id in a shared copy would put all its readers into one trace, so a response counts as
//! private only where that is certain:
//!
//! - `no-store`, or `private` without field names: the standard forbids it (§5.2.2);
//! - the request had `Authorization`, and the response has none of `public`, `s-maxage`,
//!   `must-revalidate`: the standard forbids it (§3.5);
//! - the response has `Set-Cookie`, no `Expires`, and no directive but `no-cache`: the standard
//!   leaves it to the caches' heuristics (§4.2.2, §7.3), and those that serve several people leave
//!   it alone, as one visitor's cookie would go to all.
//!
//! Fields that speak to such caches alone may overrule `Cache-Control`, so with one of them nothing
//! is certain: `CDN-Cache-Control` and its kin (RFC 9213; Cloudflare, Vercel, Netlify, LiteSpeed
//! and others put their name before it), `Surrogate-Control` (Fastly, Varnish), `Edge-Control`
//! (Akamai), `X-Accel-Expires` (nginx), `X-Reverse-Proxy-TTL` and its like (Varnish). Tags, such as
//! `Surrogate-Key`, are not among them: they say what a copy is called, not that there may be one.

use crate::headers::{trim, Elements, Headers, CACHE_CONTROL, EXPIRES, SET_COOKIE};

/// What the names of other fields end in that speak to shared caches alone.
const FOR_SHARED_CACHES: [&str; 7] = [
    "surrogate-control",
    "edge-control",
    "accel-expires",
    "surrogate-max-age",
    "cdn-expires",
    "proxy-ttl",
    "cache-ttl",
];
/// Directives with which a response to an authorized request may be shared (RFC 9111, §3.5).
const SHARE_AUTHORIZED: [&str; 3] = ["public", "s-maxage", "must-revalidate"];

/// Whether it is certain that no shared cache keeps the response. `is_authorized`: the request had
/// `Authorization`.
pub fn is_private(response: &Headers, is_authorized: bool) -> bool {
    if response.iter().any(|(name, _)| is_for_shared_caches(name)) {
        return false;
    }
    let forbids =
        directives(response).any(|found| found.is("no-store") || found.is_plain("private"));
    let shares =
        || directives(response).any(|found| SHARE_AUTHORIZED.iter().any(|name| found.is(name)));
    let has_cookie = response.value(SET_COOKIE).is_some();
    let says_nothing = || {
        response.value(EXPIRES).is_none()
            && directives(response).all(|found| found.is_plain("no-cache"))
    };
    forbids || (is_authorized && !shares()) || (has_cookie && says_nothing())
}

fn is_for_shared_caches(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_targeted = name != CACHE_CONTROL.as_bytes() && name.ends_with(CACHE_CONTROL.as_bytes());
    is_targeted
        || FOR_SHARED_CACHES
            .iter()
            .any(|end| name.ends_with(end.as_bytes()))
}

/// One directive, as it was written.
struct Directive<'a>(&'a [u8]);

impl Directive<'_> {
    fn is(&self, name: &str) -> bool {
        let found = self.0.split(|byte| *byte == b'=').next();
        trim(found.unwrap_or_default()).eq_ignore_ascii_case(name.as_bytes())
    }

    fn is_plain(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.as_bytes())
    }
}

fn directives(response: &Headers) -> impl Iterator<Item = Directive<'_>> {
    response
        .values(CACHE_CONTROL)
        .flat_map(Elements::new)
        .filter(|element| !element.is_empty())
        .map(Directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_to_shared_caches_alone_is_known() {
        let is_private = |name: &str| {
            let lines = [
                (b"cache-control".as_slice(), b"private".as_slice()),
                (name.as_bytes(), b"x"),
            ];
            is_private(&Headers::from_pairs(lines), false)
        };
        for name in [
            "CDN-Cache-Control",
            "Cloudflare-CDN-Cache-Control",
            "Vercel-CDN-Cache-Control",
            "Netlify-CDN-Cache-Control",
            "Fastly-Cache-Control",
            "X-LiteSpeed-Cache-Control",
            "X-Magento-Cache-Control",
            "Surrogate-Control",
            "X-Surrogate-Control",
            "Edge-Control",
            "EDGE-CONTROL",
            "Akamai-Edge-Control",
            "X-Accel-Expires",
            "X-Reverse-Proxy-TTL",
            "X-Cache-TTL",
        ] {
            assert!(!is_private(name), "{name}");
        }
        for name in [
            "Cache-Control",
            "Surrogate-Key",
            "Cache-Tag",
            "X-Cache",
            "Age",
            "Vary",
        ] {
            assert!(is_private(name), "{name}");
        }
    }
}
