//! A list of header names, as `Access-Control-Allow-Headers` and `Access-Control-Expose-Headers`
//! have it.
//!
//! ```text
//! content-type, x-team
//! ```
//! What is missing goes behind it as a line of its own, which means the same as a longer line (RFC
//! 9110, §5.3): what was there keeps its bytes, also where it is no list that a browser would read.

use super::allow_credentials;
use crate::headers::{trim, HeaderAddition, Headers};
use crate::trace::propagation::Formats;

/// Adds the names that a header lacks, compared without case; `None` if it lacks none. `*` stands
/// for all of them, but not with credentials.
pub fn add(response: &Headers, header: &'static str, wanted: Formats) -> Option<HeaderAddition> {
    let has = |name: &'static str| has_any(response, header, std::iter::once(name));
    if has("*") && !allow_credentials::is_allowed(response) {
        return None;
    }
    let missing: Vec<&str> = wanted.headers().filter(|name| !has(name)).collect();
    (!missing.is_empty()).then(|| HeaderAddition {
        name: header,
        value: missing.join(", ").into_bytes(),
    })
}

/// Whether a list has one of these names.
pub fn has_any(
    headers: &Headers,
    list: &'static str,
    names: impl Iterator<Item = &'static str> + Clone,
) -> bool {
    headers
        .values(list)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(trim)
        .any(|listed| {
            let mut names = names.clone();
            names.any(|name| listed.eq_ignore_ascii_case(name.as_bytes()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::ACCESS_CONTROL_EXPOSE_HEADERS;

    #[test]
    fn only_what_is_missing_is_added() {
        let wanted = Formats::SENTRY;
        let rows: [(&[&str], bool, Option<&str>); 9] = [
            (&[], false, Some("sentry-trace, baggage")),
            (&[""], false, Some("sentry-trace, baggage")),
            (&["content-type"], false, Some("sentry-trace, baggage")),
            (&["Sentry-Trace ,\tBAGGAGE"], false, None),
            (&["baggage", "x, sentry-trace"], false, None),
            (&["x-sentry-trace,baggage"], false, Some("sentry-trace")),
            (&["x,*"], false, None),
            (&["*"], true, Some("sentry-trace, baggage")),
            (&["\u{fffd}, sentry-trace"], false, Some("baggage")),
        ];
        for (lines, allows_credentials, expected) in rows {
            let name = ACCESS_CONTROL_EXPOSE_HEADERS.as_bytes();
            let lines_with_name = lines.iter().map(|line| (name, line.as_bytes()));
            let credentials = [(
                b"access-control-allow-credentials".as_slice(),
                b"true".as_slice(),
            )];
            let response = Headers::from_pairs(
                lines_with_name.chain(credentials.into_iter().filter(|_| allows_credentials)),
            );
            let added = add(&response, ACCESS_CONTROL_EXPOSE_HEADERS, wanted);
            let expected = expected.map(|value| HeaderAddition {
                name: ACCESS_CONTROL_EXPOSE_HEADERS,
                value: value.as_bytes().to_vec(),
            });
            assert_eq!(added, expected, "{lines:?}");
        }
    }
}
