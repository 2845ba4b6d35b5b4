//! How a page load learns its trace:
//! `Server-Timing: sentry-trace;desc="771a…1700-7c51…4a2a-1", baggage;desc="sentry-trace_id=771a…"`
//! (sentry-protocol.md §6.5). Sentry's browser SDK reads it from the document's own navigation
//! entry, unless the page has a `<meta>` tag.

use crate::headers::{trim, Elements, Headers, SERVER_TIMING};
use crate::trace::sentry_trace::SentryTrace;

/// Whether a line of ours can stand behind the ones that are there: none of them names a metric of
/// ours, and none ends inside a quoted text, where ours would become a part of it.
pub fn has_room(response: &Headers) -> bool {
    response.values(SERVER_TIMING).all(|line| {
        let mut metrics = Elements::new(line);
        let has_ours = metrics.any(|metric| {
            let name = metric.split(|byte| *byte == b';').next();
            matches!(trim(name.unwrap_or_default()), b"sentry-trace" | b"baggage")
        });
        !has_ours && !metrics.ended_in_quotes()
    })
}

/// The line. Without members of ours there is no `baggage` in it.
pub fn value(context: SentryTrace, baggage: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    push_metric(&mut value, "sentry-trace", &context.to_value());
    if !baggage.is_empty() {
        value.extend_from_slice(b", ");
        push_metric(&mut value, "baggage", baggage);
    }
    value
}

/// `name;desc="…"`, as a quoted-string of RFC 9110 (§5.6.4).
fn push_metric(value: &mut Vec<u8>, name: &str, description: &[u8]) {
    value.extend_from_slice(name.as_bytes());
    value.extend_from_slice(b";desc=\"");
    for byte in description {
        if matches!(byte, b'"' | b'\\') {
            value.push(b'\\');
        }
        value.push(*byte);
    }
    value.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        let context = SentryTrace::read(
            [b"771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-0".as_slice()].into_iter(),
        );
        let context = context.unwrap().unwrap();
        let written = value(context, br#"sentry-release=a"b\c"#);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"sentry-trace;desc="771a43a4192642f0b136d5159a501700-7c51afd529da4a2a-0", baggage;desc="sentry-release=a\"b\\c""#
        );
        assert!(!value(context, b"")
            .windows(7)
            .any(|part| part == b"baggage"));
    }

    #[test]
    fn there_is_room_unless_a_metric_is_ours_or_a_quote_is_open() {
        let rows = [
            ("", true),
            ("cache;desc=\"hit, sentry-trace\";dur=1, db", true),
            ("db;desc=\"a\\\"b\", app", true),
            ("app, sentry-trace;desc=\"x\"", false),
            ("baggage ;desc=x", false),
            ("x-sentry-trace;dur=1", true),
            ("db;desc=\"open", false),
            ("db;desc=\"open\\\"", false),
        ];
        for (line, expected) in rows {
            let response = Headers::from_pairs([(b"server-timing".as_slice(), line.as_bytes())]);
            assert_eq!(has_room(&response), expected, "{line}");
        }
    }
}
