//! `X-Sentry-Auth`, read by the letter (sentry-protocol.md §7.2).
//!
//! ```text
//! Sentry sentry_version=7, sentry_client=<name>/<version>, sentry_key=<public>
//! ```
//! The order of the fields is free; a field that is not expected, missing or there twice is
//! refused.

use std::collections::BTreeMap;

/// Says what is wrong with the value.
pub(super) fn check(value: &str, expected: &BTreeMap<&str, &str>) -> Result<(), String> {
    let fields = value
        .strip_prefix("Sentry ")
        .ok_or("does not begin with \"Sentry \"")?;
    let mut found = BTreeMap::new();
    for field in fields.split(", ") {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| format!("field without `=`: {field:?}"))?;
        if found.insert(name, value).is_some() {
            return Err(format!("{name} twice"));
        }
    }
    match found == *expected {
        true => Ok(()),
        false => Err(format!("expected {expected:?}, got {found:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_order_and_nothing_else() {
        let expected = BTreeMap::from([("sentry_version", "7"), ("sentry_key", "abc")]);
        assert_eq!(
            check("Sentry sentry_version=7, sentry_key=abc", &expected),
            Ok(())
        );
        assert_eq!(
            check("Sentry sentry_key=abc, sentry_version=7", &expected),
            Ok(())
        );
        for bad in [
            "",
            "Sentry",
            "Bearer sentry_version=7, sentry_key=abc",
            "Sentry sentry_version=7",
            "Sentry sentry_version=8, sentry_key=abc",
            "Sentry sentry_version=7, sentry_key=abcd",
            "Sentry sentry_version=7, sentry_key=abc, sentry_key=abc",
            "Sentry sentry_version=7, sentry_key=abc, sentry_secret=x",
            "Sentry sentry_version=7,sentry_key=abc",
            "Sentry sentry_version=7, sentry_key=abc,",
        ] {
            assert!(check(bad, &expected).is_err(), "{bad:?}");
        }
    }
}
