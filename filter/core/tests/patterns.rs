//! The search for many patterns at once finds what the regex crate finds for each of them.

use proptest::collection::vec;
use proptest::prelude::*;
use regex::bytes::RegexBuilder;
use sentry_filter_core::pattern::{Pattern, PatternSet, MAX_TEXT, WORK};

/// Parts of patterns: characters that texts have, and everything that looks around.
fn patterns() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => "[ab/.-]".prop_map(|text| regex::escape(&text)),
        2 => Just(".".to_owned()),
        1 => Just("[^a]".to_owned()),
        1 => Just(r"\w".to_owned()),
        1 => Just("(?i:A)".to_owned()),
        1 => Just("(?s-u:.)".to_owned()),
        1 => Just("ab/".to_owned()),
        1 => Just(String::new()),
        2 => Just("^".to_owned()),
        2 => Just("$".to_owned()),
        1 => Just("(?m:^)".to_owned()),
        1 => Just("(?m:$)".to_owned()),
        1 => Just("(?Rm:^)".to_owned()),
        1 => Just("(?Rm:$)".to_owned()),
        1 => Just(r"\b".to_owned()),
        1 => Just(r"\B".to_owned()),
        1 => Just(r"\b{start}".to_owned()),
        1 => Just(r"\b{end-half}".to_owned()),
        1 => Just(r"\A".to_owned()),
        1 => Just(r"\z".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            1 => vec(inner.clone(), 1..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            1 => inner.clone().prop_map(|part| format!("({part})")),
            1 => (inner, prop_oneof!["[*+?]", "[*+?]\\?", "\\{1,3\\}"])
                .prop_map(|(part, times)| format!("(?:{part}){times}")),
        ]
    })
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(b"aabb//.-A_\n\r\xff".to_vec()), 0..24)
}

fn peer(pattern: &str) -> regex::bytes::Regex {
    let built = RegexBuilder::new(pattern).unicode(false).build();
    built.unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

fn set(patterns: &[String], max_states: usize) -> PatternSet {
    let patterns: Vec<_> = patterns
        .iter()
        .map(|text| Pattern::new(text).unwrap())
        .collect();
    PatternSet::new(patterns.iter(), max_states).unwrap()
}

proptest! {
    #[test]
    fn each_pattern_of_a_set_matches_where_it_matches_alone(
        patterns in vec(patterns(), 1..8),
        texts in vec(texts(), 1..6),
        // Some caches forget all the time.
        max_states in prop_oneof![Just(0_usize), Just(500), Just(1 << 20)],
    ) {
        let set = set(&patterns, max_states);
        let none = set.search(b"", &mut 0).matched;
        for text in &texts {
            let found = set.search(text, &mut u32::MAX.clone());
            let mut any = false;
            for (place, pattern) in patterns.iter().enumerate() {
                let expected = peer(pattern).is_match(text);
                any |= expected;
                prop_assert_eq!(found.matched.has(place), expected, "{:?} in {:?}", pattern, text);
                prop_assert!(!found.undecided.has(place));
            }
            prop_assert_eq!(set.matches_any(text, &mut u32::MAX.clone()), any);
            prop_assert!(any || found.matched == none);
        }
    }

    #[test]
    fn its_groups_are_those_that_it_has_alone(pattern in patterns(), text in texts()) {
        let found = set(&["x".to_owned(), pattern.clone(), "(a)".to_owned()], 1 << 20);
        let groups = found.groups(1, &text, &mut u32::MAX.clone());
        let expected = peer(&pattern);
        let expected = expected.captures(&text);
        prop_assert_eq!(groups.is_some(), expected.is_some(), "{:?} in {:?}", pattern, text);
        if let (Some(groups), Some(expected)) = (groups, expected) {
            for (place, group) in expected.iter().enumerate() {
                let group = group.map_or(&b""[..], |group| group.as_bytes());
                prop_assert_eq!(groups.get(place), group, "{:?} in {:?}, {}", &pattern, &text, place);
            }
        }
    }

    /// Whatever the bounds do, nothing is said to match that does not, and nothing that matches is
    /// said not to.
    #[test]
    fn a_search_that_had_to_stop_says_nothing_wrong(
        patterns in vec(patterns(), 1..8),
        text in texts(),
        before in 0..3_usize,
        mut work in 0..600_u32,
    ) {
        let text = [vec![b'a'; MAX_TEXT - 8 * before], text].concat();
        let found = set(&patterns, 1 << 20).search(&text, &mut work);
        for (place, pattern) in patterns.iter().enumerate() {
            let is_match = peer(pattern).is_match(&text);
            prop_assert!(!found.matched.has(place) || is_match, "{:?} in {:?}", pattern, text);
            let is_known = found.matched.has(place) || found.undecided.has(place);
            prop_assert!(is_known || !is_match, "{:?} in {:?}", pattern, text);
            prop_assert!(!found.matched.has(place) || !found.undecided.has(place));
        }
    }
}

/// Texts that are longer than what is looked at.
#[test]
fn a_pattern_is_decided_by_the_beginning_of_a_long_text_or_not_at_all() {
    let long = |begin: &str, end: &str| {
        let length = MAX_TEXT - begin.len() - end.len();
        [begin, &"a".repeat(length), end].concat()
    };
    let full = long("/x/", "/end");
    let longer = format!("{full}a");
    // The pattern, and whether it matches the text that has just room, and the longer one.
    let rows = [
        ("^/x/", Some(true), Some(true)),
        ("/end", Some(true), Some(true)),
        ("/end$", Some(true), None),
        ("/end(?:$|a)", Some(true), None),
        ("/enda", Some(false), None),
        ("^/y/", Some(false), Some(false)),
        ("^/x/.*/y", Some(false), None),
        ("^/x/a*$", Some(false), Some(false)),
        ("/y", Some(false), None),
        (r"end\b", Some(true), Some(false)),
        (r"end\B", Some(false), Some(true)),
        ("^$", Some(false), Some(false)),
    ];
    let patterns: Vec<_> = rows
        .iter()
        .map(|(pattern, ..)| (*pattern).to_owned())
        .collect();
    let set = set(&patterns, 1 << 20);
    for (text, which) in [(&full, 0), (&longer, 1)] {
        let found = set.search(text.as_bytes(), &mut { WORK });
        for (place, (pattern, at_full, at_longer)) in rows.iter().enumerate() {
            let expected = [at_full, at_longer][which];
            let is = match (found.matched.has(place), found.undecided.has(place)) {
                (true, _) => Some(true),
                (false, true) => None,
                (false, false) => Some(false),
            };
            // An unanchored pattern may always match later on.
            let expected = match (expected, which, pattern.starts_with('^')) {
                (Some(false), 1, false) => &None,
                _ => expected,
            };
            assert_eq!(is, *expected, "{pattern}, text {which}");
        }
    }
}

#[test]
fn groups_are_looked_for_as_far_as_the_pattern_is() {
    let set = set(&["^/(a+)(/end)".to_owned(), "(b)$".to_owned()], 1 << 20);
    let a = "a".repeat(MAX_TEXT - 5);
    let text = format!("/{a}/endb");
    let groups = set.groups(0, text.as_bytes(), &mut { WORK }).unwrap();
    assert_eq!(groups.get(1).len(), a.len());
    assert_eq!((groups.get(2), groups.get(9)), (&b"/end"[..], &b""[..]));
    assert_eq!(set.groups(1, text.as_bytes(), &mut { WORK }), None);
    assert_eq!(
        set.groups(0, text.as_bytes(), &mut 100),
        None,
        "too much work"
    );
}

/// What has been learned from one text is not paid for again by the next one.
#[test]
fn states_are_built_once() {
    let patterns: Vec<_> = (0..200).map(|each| format!("shop-{each}/items")).collect();
    let set = set(&patterns, 1 << 20);
    let mut first = WORK;
    assert!(set.search(b"/shop-17/items/4", &mut first).matched.has(17));
    assert!(first < WORK);
    let mut second = WORK;
    assert!(set.search(b"/shop-17/items/4", &mut second).matched.has(17));
    assert_eq!(second, WORK);
}

#[test]
fn patterns_that_are_too_large_together_are_refused() {
    let patterns: Vec<_> = (0..400)
        .map(|each| format!("x{each}[a-z]{{900}}"))
        .collect();
    let patterns: Vec<_> = patterns
        .iter()
        .map(|text| Pattern::new(text).unwrap())
        .collect();
    let error = PatternSet::new(patterns.iter(), 1 << 20).unwrap_err();
    assert_eq!(error, "the patterns need more than 16777216 bytes together");
}
