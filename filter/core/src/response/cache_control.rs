//! `Cache-Control: private, max-age=60`: whether a cache that serves several people may keep an answer (RFC 9111).
//!
//! A trace id in a shared copy would put all its readers into one trace, so an answer counts as private only where that is certain:
//!
//! - `no-store`, or `private` without field names: the standard forbids it (§5.2.2);
//! - the request had `Authorization`, and the answer has none of `public`, `s-maxage`, `must-revalidate`: the standard forbids it (§3.5);
//! - the answer has `Set-Cookie`, no `Expires`, and no directive but `no-cache`: the standard leaves it to the caches' heuristics (§4.2.2, §7.3), and
//!   those that serve several people leave it alone, as one visitor's cookie would go to all.
//!
//! Fields that speak to such caches alone (`CDN-Cache-Control` and its kin, RFC 9213; `Surrogate-Control`; `X-Accel-Expires`) may overrule
//! `Cache-Control`, so with one of them nothing is certain.

use crate::headers::{trim, Elements, Headers, CACHE_CONTROL, EXPIRES, SET_COOKIE};

/// Directives with which an answer to an authorized request may be shared (RFC 9111, §3.5).
const SHARE_AUTHORIZED: [&str; 3] = ["public", "s-maxage", "must-revalidate"];
/// Whether it is certain that no shared cache keeps the answer. `is_authorized`: the request had `Authorization`.
pub fn is_private(answer: &Headers, is_authorized: bool) -> bool {
    if answer.iter().any(|(name, _)| is_for_shared_caches(name)) {
        return false;
    }
    let forbids = directives(answer).any(|found| found.is("no-store") || found.is_plain("private"));
    let shares =
        || directives(answer).any(|found| SHARE_AUTHORIZED.iter().any(|name| found.is(name)));
    let has_cookie = answer.value(SET_COOKIE).is_some();
    let says_nothing = || {
        answer.value(EXPIRES).is_none()
            && directives(answer).all(|found| found.is_plain("no-cache"))
    };
    forbids || (is_authorized && !shares()) || (has_cookie && says_nothing())
}

fn is_for_shared_caches(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_targeted = name != CACHE_CONTROL.as_bytes() && name.ends_with(CACHE_CONTROL.as_bytes());
    is_targeted || matches!(&name[..], b"surrogate-control" | b"x-accel-expires")
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

fn directives(answer: &Headers) -> impl Iterator<Item = Directive<'_>> {
    answer
        .values(CACHE_CONTROL)
        .flat_map(Elements::of)
        .filter(|element| !element.is_empty())
        .map(Directive)
}
