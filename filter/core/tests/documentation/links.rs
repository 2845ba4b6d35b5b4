//! Every relative link and anchor of every page leads somewhere.

use std::collections::BTreeMap;
use std::path::Path;

use super::{files, read};

/// The page without fenced blocks, and its lines without code in them.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let spans = line.split('`').step_by(2);
            spans.for_each(|span| prose.push_str(span));
        }
        prose.push('\n');
    }
    assert!(!is_code, "a block that does not end");
    prose
}

/// Where `[text](target)` and `![text](target)` lead.
fn targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).map(|rest| {
        let (target, _) = rest.split_once(')').expect("the end of a link");
        target.to_owned()
    });
    targets.collect()
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> Vec<String> {
    let mut is_code = false;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let title = line.trim_start_matches('#');
        if is_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let anchor: String = title.trim().to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let count = seen.entry(anchor.clone()).or_default();
        anchors.push(match *count {
            0 => anchor,
            again => format!("{anchor}-{again}"),
        });
        *count += 1;
    }
    anchors
}

/// Whether a link of the page at `from` leads somewhere. Those to other sites are not followed.
fn leads_somewhere(from: &Path, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = match file {
        "" => from.to_owned(),
        file => from.parent().expect("a folder").join(file),
    };
    match anchor {
        None => path.exists(),
        Some(anchor) => path.is_file() && anchors(&read(&path)).iter().any(|found| found == anchor),
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = Vec::new();
    let (mut pages, mut links) = (0, 0);
    for page in files(&["md"]) {
        pages += 1;
        for target in targets(&read(&page)) {
            links += 1;
            if !leads_somewhere(&page, &target) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(pages > 20 && links > 100, "{pages} pages, {links} links");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let readme = super::root().join("README.md");
    for target in ["docs/none.md", "#none", "docs/cors.md#none", "LICENSE#none"] {
        assert!(!leads_somewhere(&readme, target), "{target}");
    }
    for target in ["docs/cors.md#page-loads", "#read-on", "docs", "LICENSE"] {
        assert!(leads_somewhere(&readme, target), "{target}");
    }
    let page = "[`a`](b.md) `[c](d)` ![e](f.png)\n```\n[g](h)\n```\n";
    assert_eq!(targets(page), ["b.md", "f.png"]);
    let page = "# A `b`, c\n```\n# no\n```\n## D\n### D\n";
    assert_eq!(anchors(page), ["a-b-c", "d", "d-1"]);
}
