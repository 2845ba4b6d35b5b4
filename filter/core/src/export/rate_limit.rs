//! How long a receiver wants nothing: `X-Sentry-Rate-Limits` and `Retry-After`, sentry-protocol.md
//! §11.1 with the choices of filter.md §11.
//!
//! ```text
//! X-Sentry-Rate-Limits: 60:transaction;span:key, 2700::organization
//!                       seconds : categories (none: all) : what follows is of no interest
//! ```

use crate::date;
use crate::decimal::Decimal;
use crate::headers::{trim, Headers};

/// The header that limits categories, on any response.
const RATE_LIMITS: &str = "x-sentry-rate-limits";
/// The header that limits everything, on 429.
const RETRY_AFTER: &str = "retry-after";
/// How long to wait where no time can be read, in seconds.
const DEFAULT_S: u64 = 60;
/// Nothing lasts longer, in seconds.
const MAX_S: u64 = 24 * 60 * 60;

/// How many seconds from now on nothing of a category may be sent, as a response says; `None` if it
/// says nothing about it.
///
/// `now_s` is the time in seconds since the epoch, for a `Retry-After` that is a date.
pub fn limit_s(headers: &Headers, status: Option<u16>, category: &str, now_s: u64) -> Option<u64> {
    let quotas = headers
        .values(RATE_LIMITS)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .filter_map(Quota::parse);
    // A quota for other categories is one, too: only a header without any is as good as none.
    if quotas.clone().next().is_some() {
        return quotas
            .filter(|quota| quota.limits(category))
            .map(|quota| quota.seconds)
            .max();
    }
    (status == Some(429)).then(|| {
        headers
            .value(RETRY_AFTER)
            .and_then(|value| retry_after_s(value, now_s))
            .unwrap_or(DEFAULT_S)
            .min(MAX_S)
    })
}

/// One quota, as Relay reads it: a category without a name is none, and no category is all of them.
struct Quota<'a> {
    seconds: u64,
    categories: &'a [u8],
}

impl<'a> Quota<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = Some(trim(text)).filter(|text| !text.is_empty())?;
        let mut fields = text.split(|byte| *byte == b':');
        Some(Self {
            seconds: seconds(trim(fields.next()?))
                .unwrap_or(DEFAULT_S)
                .min(MAX_S),
            categories: fields.next().unwrap_or_default(),
        })
    }

    fn limits(&self, category: &str) -> bool {
        let mut named = self
            .categories
            .split(|byte| *byte == b';')
            .map(trim)
            .filter(|named| !named.is_empty())
            .peekable();
        named.peek().is_none() || named.any(|named| named.eq_ignore_ascii_case(category.as_bytes()))
    }
}

/// Seconds, or a date in the future.
fn retry_after_s(value: &[u8], now_s: u64) -> Option<u64> {
    seconds(trim(value)).or_else(|| {
        let date = std::str::from_utf8(trim(value)).ok()?;
        http_date_s(date)?
            .checked_sub(now_s)
            .filter(|left| *left > 0)
    })
}

/// A number of seconds that is not negative, fractions rounded up.
fn seconds(text: &[u8]) -> Option<u64> {
    Some(Decimal::parse(std::str::from_utf8(text).ok()?)?.ceil())
}

/// The seconds since the epoch of an IMF-fixdate, `Wed, 21 Oct 2015 07:28:13 GMT`: the one form of
/// date that servers send (RFC 9110).
fn http_date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, "GMT") = (parts.next()?, parts.next()?) else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = u32::try_from(month.checked_add(1)?).ok()?;
    let days = date::day([digits(year, 4)?, month, digits(day, 2)?])?;
    let mut time = time.split(':');
    let mut part = || digits(time.next()?, 2);
    let (hour, minute, second) = (part()?, part()?, part()?);
    // A leap second is the next one.
    if hour > 23 || minute > 59 || second > 60 || time.next().is_some() {
        return None;
    }
    let seconds = hour
        .wrapping_mul(3_600)
        .wrapping_add(minute.wrapping_mul(60))
        .wrapping_add(second);
    Some(
        u64::from(days)
            .wrapping_mul(86_400)
            .wrapping_add(seconds.into()),
    )
}

/// A number of so many digits.
fn digits(text: &str, count: usize) -> Option<u32> {
    // The standard parser takes a leading `+`.
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_445_412_480; // Wed, 21 Oct 2015 07:28:00 GMT

    fn limit(status: u16, lines: &[(&str, &str)]) -> Option<u64> {
        let pairs = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        limit_s(
            &Headers::from_pairs(pairs),
            Some(status),
            "transaction",
            NOW_S,
        )
    }

    #[test]
    fn quotas_limit_their_categories_on_any_answer() {
        let rows = [
            ("13:error;transaction", Some(13)),
            ("13:error", None),
            ("13:error,15:transaction;error", Some(15)),
            ("60:transaction:key, 1:transaction:organization", Some(60)),
            ("60::organization", Some(60)),
            ("13", Some(13)),
            ("x", Some(60)),
            ("x:transaction", Some(60)),
            ("-1:transaction", Some(60)),
            ("0.2:transaction", Some(1)),
            (" 7 : Transaction ; span : key ", Some(7)),
            ("120:error:project:reason, 60:session:foo", None),
            (
                "30::bar, 120:invalid:invalid, 4711:foo;bar;baz;security:project",
                Some(30),
            ),
            ("5:all", None),
            ("5:unknown, 6:transaction", Some(6)),
            ("99999999:transaction", Some(MAX_S)),
            ("5:;:organization", Some(5)),
            ("5: ; ", Some(5)),
            ("5:error;;", None),
            ("", None),
            (" , ", None),
        ];
        for (value, expected) in rows {
            assert_eq!(limit(200, &[(RATE_LIMITS, value)]), expected, "{value}");
        }
    }

    #[test]
    fn quotas_may_come_in_several_lines() {
        let lines = [(RATE_LIMITS, "5:error"), (RATE_LIMITS, "7:transaction")];
        assert_eq!(limit(200, &lines), Some(7));
    }

    #[test]
    fn retry_after_counts_on_429_where_no_quota_does() {
        let rows = [
            (200, "42", None),
            (503, "42", None),
            (429, "42", Some(42)),
            (429, " 1.5 ", Some(2)),
            (429, "Wed, 21 Oct 2015 07:28:13 GMT", Some(13)),
            (429, "Wed, 21 Oct 2015 07:27:59 GMT", Some(60)),
            (429, "-5", Some(60)),
            (429, "soon", Some(60)),
            (429, "1e3", Some(60)),
            (429, "99999999", Some(MAX_S)),
        ];
        for (status, value, expected) in rows {
            assert_eq!(
                limit(status, &[(RETRY_AFTER, value)]),
                expected,
                "{status} {value}"
            );
        }
        assert_eq!(limit(429, &[]), Some(60));
        assert_eq!(limit(200, &[]), None);
        assert_eq!(
            limit(429, &[(RETRY_AFTER, "42"), (RATE_LIMITS, "13:transaction")]),
            Some(13)
        );
        assert_eq!(
            limit(429, &[(RETRY_AFTER, "42"), (RATE_LIMITS, "13:error")]),
            None
        );
        assert_eq!(
            limit(429, &[(RETRY_AFTER, "42"), (RATE_LIMITS, "13:unknown")]),
            None
        );
        assert_eq!(
            limit(429, &[(RETRY_AFTER, "42"), (RATE_LIMITS, "")]),
            Some(42)
        );
    }

    /// As another library reads the other form of the same time.
    #[test]
    fn a_date_is_read_as_it_is_written() {
        let theirs = |text: &str| {
            let time = humantime::parse_rfc3339(text).ok()?;
            Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
        };
        for (ours, rfc3339) in [
            ("Wed, 21 Oct 2015 07:28:13 GMT", "2015-10-21T07:28:13Z"),
            ("Thu, 29 Feb 2024 23:59:59 GMT", "2024-02-29T23:59:59Z"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
            ("Fri, 31 Dec 2100 00:00:00 GMT", "2100-12-31T00:00:00Z"),
        ] {
            assert_eq!(http_date_s(ours), theirs(rfc3339), "{ours}");
            assert!(http_date_s(ours).is_some(), "{ours}");
        }
        for wrong in [
            "Wed, 30 Feb 2024 00:00:00 GMT",
            "Wed, 21 Oct 2015 24:00:00 GMT",
            "Wed, 21 Oct 2015 07:60:00 GMT",
            "Wed, 21 Oct 2015 07:28:61 GMT",
            "Wed, 21 Oct 2015 07:28 GMT",
            "Wed, 21 Oct 2015 07:28:13:00 GMT",
            "Wed, +1 Oct 2015 07:28:13 GMT",
            "Wed, 1 Oct 2015 07:28:13 GMT",
            "Wed, 21 Okt 2015 07:28:13 GMT",
            "Wed, 21 Oct 15 07:28:13 GMT",
            "Wed, 21 Oct 2015 07:28:13 CET",
        ] {
            assert_eq!(http_date_s(wrong), None, "{wrong}");
        }
    }
}
