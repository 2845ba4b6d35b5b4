//! A comment refers only to pages that a reader can open, and to sections that they have.

use std::path::Path;

use super::{files, read, root};

/// What has comments.
const SOURCES: [&str; 9] = [
    "rs", "toml", "yaml", "py", "sh", "js", "mjs", "ru", "Makefile",
];

/// The lines that are comments. A reference may go over the end of one, so they are put together.
fn comments(source: &str) -> String {
    let mut text = String::new();
    for line in source.lines() {
        let line = line.trim_start();
        match line.starts_with("//") || line.starts_with('#') {
            true => {
                let words = line.trim_start_matches(['/', '!', '#']).trim_start();
                text.extend([words, " "]);
            }
            false => text.push('\n'),
        }
    }
    text
}

/// The pages that a text names, each with the sections that follow: `page.md §1.2, §3 and §4`.
fn citations(text: &str) -> Vec<(String, Vec<String>)> {
    let is_of_word = |letter: char| letter.is_alphanumeric() || "-_/".contains(letter);
    let is_of_name = |letter: char| letter == '.' || is_of_word(letter);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(".md") {
        let end = from + at + ".md".len();
        from = end;
        if text[end..].starts_with(is_of_word) {
            continue;
        }
        let name = text[..end]
            .rsplit(|letter: char| !is_of_name(letter))
            .next();
        let name = name.unwrap_or_default().trim_start_matches("./");
        let mut sections = Vec::new();
        let mut rest = &text[end..];
        while let Some((number, after)) = section(rest) {
            sections.push(number);
            rest = after;
        }
        found.push((name.to_owned(), sections));
    }
    found
}

/// The number of a section at the beginning of the text, and what follows.
fn section(text: &str) -> Option<(String, &str)> {
    let starts = [" §", ", §", " and §", "; §", " (F) and §"];
    let rest = starts.iter().find_map(|start| text.strip_prefix(start))?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
    Some((number.trim_end_matches('.').to_owned(), rest))
}

/// Whether the page has this section: a heading with its number, or an item of the numbered list in
/// the section above it.
fn has_section(page: &str, number: &str) -> bool {
    let numbers = |line: &str| {
        let title = line.trim_start_matches('#');
        let word = title.split_whitespace().next().unwrap_or_default();
        (title.len() < line.len()).then(|| word.trim_end_matches('.').to_owned())
    };
    let mut headings = page.lines().filter_map(numbers);
    if headings.any(|heading| heading == number) {
        return true;
    }
    let Some((above, item)) = number.rsplit_once('.') else {
        return false;
    };
    let mut is_there = false;
    for line in page.lines() {
        if let Some(heading) = numbers(line) {
            is_there = heading == above;
        } else if is_there && line.starts_with(&format!("{item}. ")) {
            return true;
        }
    }
    false
}

/// What is wrong with a reference out of this file.
fn problem(file: &Path, name: &str, sections: &[String]) -> Option<String> {
    let folder = file.parent().expect("a folder");
    let folders = [root(), root().join("docs"), root().join("docs/spec")];
    let mut places = folders.iter().map(|place| place.join(name));
    let page = places.find(|path| path.is_file());
    // A page beside the file, or beside what the file is about.
    let page = page.or_else(|| {
        let mut above = folder
            .ancestors()
            .take_while(|above| above.starts_with(root()));
        above.find_map(|above| Some(above.join(name)).filter(|path| path.is_file()))
    });
    let Some(page) = page else {
        return Some(format!("{}: there is no {name}", file.display()));
    };
    let text = read(&page);
    let missing = sections.iter().find(|number| !has_section(&text, number))?;
    Some(format!("{}: {name} has no §{missing}", file.display()))
}

#[test]
fn every_page_that_a_comment_cites_is_there() {
    let mut problems = Vec::new();
    let mut count = 0;
    for file in files(&SOURCES) {
        if file.ends_with("tests/documentation/citations.rs") {
            continue;
        }
        let Ok(source) = std::fs::read_to_string(&file) else {
            continue;
        };
        for (name, sections) in citations(&comments(&source)) {
            count += sections.len();
            problems.extend(problem(&file, &name, &sections));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 90, "{count} sections");
}

#[test]
fn a_page_or_section_that_is_not_there_is_found() {
    let text = comments("/// The rule (filter.md\n/// §3.1, §6), see `docs/cors.md`.\n");
    let found = citations(&text);
    let sections = vec!["3.1".to_owned(), "6".to_owned()];
    assert_eq!(found[0], ("filter.md".to_owned(), sections.clone()));
    assert_eq!(found[1], ("docs/cors.md".to_owned(), Vec::new()));
    let file = root().join("filter/core/src/lib.rs");
    assert_eq!(problem(&file, "filter.md", &sections), None);
    assert!(problem(&file, "none.md", &[]).is_some());
    for number in ["3.99", "99", "99.1"] {
        assert!(problem(&file, "filter.md", &[number.to_owned()]).is_some());
    }
}
