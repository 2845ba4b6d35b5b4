//! `Access-Control-Request-Headers: baggage,sentry-trace,x-tenant`: what a browser asks to send
//! (Fetch, "CORS-preflight fetch").
//!
//! Many services compare the names asked for with their own list and refuse the whole preflight if
//! one is missing there. So they are not asked about the names that the filter adds to the
//! response: whether those are allowed follows from whether the page's origin is.

use super::{CorsOptions, CorsRequest};
use crate::headers::{trim, HeaderMutation, Headers, ACCESS_CONTROL_REQUEST_HEADERS};

/// Takes the names that the response will get anyway out of what a preflight asks for. The others
/// keep their order and spelling. `None` if there is nothing to change.
pub fn without_ours(headers: &Headers, options: CorsOptions) -> Option<HeaderMutation> {
    let name = ACCESS_CONTROL_REQUEST_HEADERS;
    if !options.allow_headers || !CorsRequest::is_preflight(headers) {
        return None;
    }
    let mut is_asked = false;
    let mut others: Vec<u8> = Vec::new();
    for asked in headers
        .values(name)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(trim)
    {
        let mut ours = options.allowed.headers();
        if ours.any(|ours| asked.eq_ignore_ascii_case(ours.as_bytes())) {
            is_asked = true;
        } else if !asked.is_empty() {
            if !others.is_empty() {
                // As browsers write it, without a space; some services split at the comma alone.
                others.push(b',');
            }
            others.extend_from_slice(asked);
        }
    }
    match (is_asked, others.is_empty()) {
        (false, _) => None,
        (true, true) => Some(HeaderMutation::Remove { name }),
        (true, false) => Some(HeaderMutation::Set {
            name,
            value: others,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::worker::Worker;

    fn mutation(config: &str, lines: &[(&str, &str)]) -> Option<HeaderMutation> {
        let bytes = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        without_ours(
            &Headers::from_pairs(bytes),
            fixtures::config(config).response.cors,
        )
    }

    /// A preflight that asks for these lines, with these options: what the service is asked for.
    fn asked(config: &str, lines: &[&str]) -> Option<String> {
        let preflight = [
            (":method", "OPTIONS"),
            ("origin", "https://page.example"),
            ("access-control-request-method", "PUT"),
        ];
        let lines = lines
            .iter()
            .map(|line| ("Access-Control-Request-Headers", *line));
        let all: Vec<_> = preflight.into_iter().chain(lines).collect();
        mutation(config, &all).map(|mutation| match mutation {
            HeaderMutation::Set { name, value } => {
                assert_eq!(name, ACCESS_CONTROL_REQUEST_HEADERS);
                String::from_utf8(value).unwrap()
            }
            HeaderMutation::Remove { name } => {
                assert_eq!(name, ACCESS_CONTROL_REQUEST_HEADERS);
                "(removed)".to_owned()
            }
        })
    }

    #[test]
    fn our_names_are_not_asked_for() {
        let rows: [(&[&str], Option<&str>); 16] = [
            (&[], None),
            (&[""], None),
            (&["x-tenant"], None),
            (&["x-sentry-trace,baggage2,traceparents"], None),
            (&["x a;q=1,\u{fffd}"], None),
            (&["baggage,sentry-trace,x-tenant"], Some("x-tenant")),
            (&["X-Tenant, Sentry-Trace , BAGGAGE"], Some("X-Tenant")),
            (&["x-b,baggage,X-A,\tsentry-trace,x-c"], Some("x-b,X-A,x-c")),
            (&["x-a", "baggage", "x-b, sentry-trace"], Some("x-a,x-b")),
            (&["baggage,sentry-trace"], Some("(removed)")),
            (&["traceparent", "tracestate"], Some("(removed)")),
            (&[" , sentry-trace,,\t"], Some("(removed)")),
            (&["baggage,baggage", "baggage"], Some("(removed)")),
            (&["x-a,,sentry-trace,"], Some("x-a")),
            (&["*,sentry-trace"], Some("*")),
            (&["\u{fffd} x,sentry-trace"], Some("\u{fffd} x")),
        ];
        for (lines, expected) in rows {
            assert_eq!(asked("", lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn they_are_the_names_that_the_answer_gets() {
        let line = &["baggage,tracestate,traceparent,sentry-trace"];
        let rows = [
            ("", Some("(removed)")),
            (
                r#""continue_traceparent": false,"#,
                Some("tracestate,traceparent"),
            ),
            (
                r#""continue_traceparent": false, "propagate_traceparent": true,"#,
                Some("(removed)"),
            ),
            (r#""cors": {"expose_headers": false},"#, Some("(removed)")),
            (r#""cors": {"allow_headers": false},"#, None),
        ];
        for (config, expected) in rows {
            assert_eq!(asked(config, line).as_deref(), expected, "{config}");
        }
    }

    /// Whether a browser misses something in the response depends on what it asked for, not on what
    /// is left of that.
    #[test]
    fn the_answer_is_judged_by_what_the_browser_asked_for() {
        let lines = [
            (":method", "OPTIONS"),
            ("origin", "https://page.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "baggage,sentry-trace"),
        ];
        let lines = lines.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut worker = Worker::alone(fixtures::config(""));
        let mut host = fixtures::Host::default();
        let outcome = worker.on_request(&Headers::from_pairs(lines), &mut host);
        let name = ACCESS_CONTROL_REQUEST_HEADERS;
        assert_eq!(outcome.mutations, [HeaderMutation::Remove { name }]);
        let response = outcome.request.response.unwrap();
        let CorsRequest::Preflight { carries_trace, .. } = response.cors else {
            panic!("no preflight");
        };
        assert!(carries_trace);
    }

    #[test]
    fn only_preflights_are_changed() {
        let options = (":method", "OPTIONS");
        let page = ("origin", "https://page.example");
        let asks = ("access-control-request-method", "PUT");
        let names = ("access-control-request-headers", "baggage,x-a");
        let two = ("origin", "https://page.example, https://other.example");
        let rows: [(&[(&str, &str)], bool); 8] = [
            (&[options, page, asks, names], true),
            (&[options, ("origin", "null"), asks, names], true),
            (&[(":method", "GET"), page, asks, names], false),
            (&[(":method", "options"), page, asks, names], false),
            (&[options, asks, names], false),
            (&[options, page, page, asks, names], false),
            (&[options, two, asks, names], false),
            (&[options, page, names], false),
        ];
        for (lines, is_changed) in rows {
            assert_eq!(mutation("", lines).is_some(), is_changed, "{lines:?}");
        }
    }
}
