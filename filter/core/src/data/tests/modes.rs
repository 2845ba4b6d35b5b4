//! The modes of each category, and how much of a stranger's headers is kept in the widest of them.

use super::*;

fn allow(parts: &[&str]) -> Collection {
    Collection::Allow(parts.join(" "))
}

fn deny(parts: &[&str]) -> Collection {
    Collection::Deny(parts.join(" "))
}

fn captured(data: &DataOptions, lines: &[(&str, &str)]) -> Vec<String> {
    let lines = lines
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let captured = data.capture_request(&Headers::from_pairs(lines));
    captured
        .iter()
        .map(|(name, lines)| format!("{name}: {}", lines.join(" | ")))
        .collect()
}

#[test]
fn parameters_leave_by_their_names() {
    let query = "page=2&Token=x&lost&q%75ery=y&page=https%3A%2F%2Fa%3Ftoken%3Dx";
    let rows = [
        (Collection::Off, "[F]&Token=[F]&[F]&q%75ery=[F]&[F]"),
        (Collection::On, "2&Token=[F]&lost&q%75ery=y&[F]"),
        (Collection::NAMES, "[F]&Token=[F]&[F]&q%75ery=[F]&[F]"),
        (allow(&["page", "token"]), "2&Token=[F]&[F]&q%75ery=[F]&[F]"),
        (allow(&["query"]), "[F]&Token=[F]&[F]&q%75ery=y&[F]"),
        (deny(&["query", "lo"]), "2&Token=[F]&[F]&q%75ery=[F]&[F]"),
        (deny(&[]), "2&Token=[F]&lost&q%75ery=y&[F]"),
    ];
    for (url_query_params, expected) in rows {
        let data = DataOptions {
            url_query_params,
            ..DataOptions::default()
        };
        // The first and the last are `page`.
        let (first, rest) = expected.split_once('&').unwrap();
        let (rest, last) = rest.rsplit_once('&').unwrap();
        let expected = format!("page={first}&{rest}&page={last}").replace("[F]", FILTERED);
        assert_eq!(data.query(query), expected, "{:?}", data.url_query_params);
        assert_eq!(data.query(&expected), expected);
    }
}

#[test]
fn a_query_leaves_a_header_with_its_category() {
    let of = |url_query_params| {
        let data = DataOptions {
            url_query_params,
            ..DataOptions::default()
        };
        let lines = [("referer", "https://page.test/a?mail=x#top")];
        captured(&named(&["referer"], data), &lines).concat()
    };
    assert_eq!(of(Collection::Off), "referer: https://page.test/a");
    assert_eq!(
        of(Collection::NAMES),
        "referer: https://page.test/a?mail=[Filtered]"
    );
    assert_eq!(of(Collection::On), "referer: https://page.test/a?mail=x");
}

#[test]
fn cookies_leave_by_their_names_whatever_other_headers_do() {
    let lines = [
        ("cookie", "theme=dark; lang=de; JSESSIONID=1; lost"),
        ("accept", "a/b"),
        ("cookie", "theme=light"),
    ];
    let rows = [
        (Collection::Off, None),
        (
            Collection::On,
            Some("theme=dark | lang=de | JSESSIONID=[F] | [F] | theme=light"),
        ),
        (
            allow(&["the", "session"]),
            Some("theme=dark | lang=[F] | JSESSIONID=[F] | [F] | theme=light"),
        ),
        (
            deny(&["the"]),
            Some("theme=[F] | lang=de | JSESSIONID=[F] | [F] | theme=[F]"),
        ),
    ];
    for (cookies, expected) in rows {
        let data = DataOptions {
            cookies,
            ..DataOptions::default()
        };
        let expected = expected.map(|lines| format!("cookie: {lines}").replace("[F]", FILTERED));
        assert_eq!(
            captured(&data, &lines),
            Vec::from_iter(expected.clone()),
            "{:?}",
            data.cookies
        );
        let all = DataOptions {
            request_headers: Collection::On,
            ..data
        };
        let expected = expected.into_iter().chain(["accept: a/b".to_owned()]);
        assert_eq!(
            captured(&all, &lines),
            expected.collect::<Vec<_>>(),
            "{:?}",
            all.cookies
        );
    }
}

#[test]
fn headers_leave_by_their_names_and_those_that_are_asked_for_besides() {
    let lines = [
        (":path", "/a"),
        ("Accept", "a/b"),
        ("x-team", "web"),
        ("authorization", "Bearer x"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-team", "api"),
    ];
    // Unnamed, then with `x-team` and `authorization` in `capture_request_headers`.
    let rows = [
        (Collection::Off, "", "x-team: web | api, authorization: [F]"),
        (
            Collection::On,
            "accept: a/b, x-team: web | api, authorization: [F], x-forwarded-for: [F]",
            "x-team: web | api, authorization: [F], accept: a/b, x-forwarded-for: [F]",
        ),
        (
            allow(&["acc", "auth"]),
            "accept: a/b, x-team: [F] | [F], authorization: [F], x-forwarded-for: [F]",
            "x-team: web | api, authorization: [F], accept: a/b, x-forwarded-for: [F]",
        ),
        (
            deny(&["team"]),
            "accept: a/b, x-team: [F] | [F], authorization: [F], x-forwarded-for: [F]",
            "x-team: [F] | [F], authorization: [F], accept: a/b, x-forwarded-for: [F]",
        ),
    ];
    for (request_headers, unnamed, with_names) in rows {
        let data = DataOptions {
            request_headers,
            ..DataOptions::default()
        };
        let mode = format!("{:?}", data.request_headers);
        let show = |data: &DataOptions| captured(data, &lines).join(", ").replace(FILTERED, "[F]");
        assert_eq!(show(&data), unnamed, "{mode}");
        assert_eq!(
            show(&named(&["x-team", "authorization"], data.clone())),
            with_names,
            "{mode}"
        );
        let known = DataOptions {
            user_info: true,
            ..data
        };
        let is_shown = known.request_headers != Collection::Off && !mode.starts_with("Allow");
        assert_eq!(show(&known).contains("192.0.2.7"), is_shown, "{mode}");
    }
}

/// A caller chooses how many headers there are, and how long their names and lines.
#[test]
fn what_is_kept_of_a_strangers_headers_is_bounded() {
    let all = DataOptions {
        request_headers: Collection::On,
        cookies: Collection::On,
        ..named(&["x-last"], config(true))
    };
    let kept = |lines: Vec<(String, String)>| {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let captured = all.capture_request(&Headers::from_pairs(lines));
        let of = |(name, lines): &(String, Vec<String>)| {
            name.len() + lines.iter().map(|line| line.len() + LINE).sum::<usize>()
        };
        (
            captured.len(),
            captured.iter().map(of).sum::<usize>(),
            captured[0].0.clone(),
        )
    };
    let last = || ("x-last".to_owned(), "1".to_owned());
    let many = (0..1_000)
        .map(|n| (format!("x-{n}"), "1".to_owned()))
        .chain([last()]);
    let (count, bytes, first) = kept(many.collect());
    assert_eq!(
        (count, &*first),
        (MAX_HEADERS, "x-last"),
        "what is asked for comes first"
    );
    assert!(bytes <= MAX_CAPTURED, "{bytes}");
    let long = (0..100)
        .map(|n| (format!("x-{n}-{}", "n".repeat(100)), "v".repeat(10_000)))
        .chain([last()]);
    let (count, bytes, _) = kept(long.collect());
    assert!(count < 10 && bytes <= MAX_CAPTURED, "{count}, {bytes}");
    let lines = (0..5_000)
        .map(|_| ("x-one".to_owned(), String::new()))
        .chain([last()]);
    let (count, bytes, _) = kept(lines.collect());
    assert!(count == 2 && bytes <= MAX_CAPTURED, "{bytes}");
    // Envoy's own bound is 100 lines.
    let late = (0..MAX_LINES)
        .map(|_| ("x-one".to_owned(), "1".to_owned()))
        .chain([("x-late".to_owned(), "1".to_owned()), last()]);
    let (count, _, first) = kept(late.collect());
    assert_eq!(
        (count, &*first),
        (2, "x-last"),
        "what is asked for is found"
    );
    let odd = [
        ("n".repeat(129), "1"),
        (":x".to_owned(), "1"),
        ("x y".to_owned(), "1"),
        (String::new(), "1"),
    ];
    let odd = odd
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .chain([last()]);
    assert_eq!(kept(odd.collect()).0, 1, "these are names of no header");
}

#[test]
fn as_many_of_a_strangers_headers_are_kept_as_there_is_room_for() {
    let data = DataOptions {
        request_headers: Collection::On,
        ..DataOptions::default()
    };
    let lines = (0..80).map(|n| (format!("x-caller-{n}"), "v".repeat(500)));
    let lines: Vec<_> = lines.collect();
    let lines = lines
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let captured = data.capture_request(&Headers::from_pairs(lines));
    assert_eq!(captured.len(), MAX_CAPTURED / (10 + LINE + 500 + LINE));
}
