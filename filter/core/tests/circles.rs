//! No file imports another one that imports it, over however many files. A circle is a room with
//! two doors that cannot be understood, tested or moved alone.
//!
//! What counts are the paths that begin with `crate::` or `super::`, in `use` declarations and in
//! the code; tests may import whatever they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The sources of each crate, by the root of this repository.
const CRATES: [&str; 5] = [
    "filter/core/src",
    "filter/wasm/src",
    "filter/wasm/codec/src",
    "filter/native/src",
    "filter/cli/src",
];

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_file_imports_itself_around_a_corner() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for sources in CRATES {
        let sources = root.join(sources);
        if !sources.exists() {
            continue;
        }
        let files = files(&sources);
        let graph = graph(&files);
        let arrows: usize = graph.values().map(BTreeSet::len).sum();
        assert!(arrows > 0, "{}: no imports at all", sources.display());
        assert_eq!(circle(&graph), None, "{}: files", sources.display());
        assert_eq!(circle(&rooms(&graph)), None, "{}: rooms", sources.display());
    }
}

#[test]
fn a_circle_is_found() {
    let files = [
        ("a", "use crate::b::{self, c::D};"),
        ("b", "mod c;\nuse c::D;"),
        ("b::c", "fn f() { crate::a::g() } // crate::b"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let found = circle(&graph(&files.into()));
    assert_eq!(found.as_deref(), Some("a -> b::c -> a"));

    let files = [
        ("a", "use crate::b::C;\n#[cfg(test)]\nmod tests {"),
        (
            "b",
            "use super::c;\n#[cfg(test)]\nmod tests { use crate::a; }",
        ),
        ("c", "use std::fmt;"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(circle(&graph(&files.into())), None);
}

/// The text of each module that is no test, by its path.
fn files(sources: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![sources.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if name == "tests" || name == "fixtures" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let module = path.strip_prefix(sources).expect("below it");
                let module = module.with_extension("").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("a text");
                files.insert(module.replace('/', "::"), text);
            }
        }
    }
    // The crate itself names all rooms.
    files.remove("lib");
    files.remove("main");
    files
}

fn graph(files: &BTreeMap<String, String>) -> Graph {
    let imports = |(module, text): (&String, &String)| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let code: String = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ");
        let mut found = BTreeSet::new();
        for (start, _) in code
            .match_indices("crate::")
            .chain(code.match_indices("super::"))
        {
            for path in paths(&code[start..]) {
                let imported = resolve(module, &path, files);
                found.extend(imported.filter(|imported| imported != module));
            }
        }
        (module.clone(), found)
    };
    files.iter().map(imports).collect()
}

/// The paths that a text begins with: one, or those of a group in braces.
fn paths(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (stem, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let Some(group) = rest.strip_prefix('{') else {
        return vec![stem.to_owned()];
    };
    let mut all = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices() {
        if depth == 0 && (c == ',' || c == '}') {
            let inner = paths(group[from..at].trim());
            all.extend(inner.iter().map(|inner| format!("{stem}{inner}")));
            from = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    all
}

/// The file that a path in a module leads to.
fn resolve(module: &str, path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut place: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").peekable();
    if parts.peek() == Some(&"crate") {
        place.clear();
        parts.next();
    }
    while parts.peek() == Some(&"super") {
        place.pop();
        parts.next();
    }
    place.extend(parts);
    (1..=place.len())
        .rev()
        .map(|length| place[..length].join("::"))
        .find(|name| files.contains_key(name))
}

/// The same with what stands below a room as that room.
fn rooms(graph: &Graph) -> Graph {
    let room = |module: &String| module.split("::").next().unwrap_or_default().to_owned();
    let mut rooms = Graph::new();
    for (module, imported) in graph {
        let own = room(module);
        let others = imported.iter().map(room).filter(|other| *other != own);
        let others: Vec<_> = others.collect();
        rooms.entry(own).or_default().extend(others);
    }
    rooms
}

/// A circle, if there is one: everything that imports nothing that is left is taken away until
/// nothing is, or a circle is.
fn circle(graph: &Graph) -> Option<String> {
    let mut left = graph.clone();
    loop {
        let is_free =
            |imported: &BTreeSet<String>| imported.iter().all(|one| !left.contains_key(one));
        let free: Vec<String> = left
            .iter()
            .filter(|(_, imported)| is_free(imported))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?]
            .iter()
            .find(|one| left.contains_key(*one))?;
        if let Some(start) = way.iter().position(|one| one == next) {
            let circle: Vec<&str> = way[start..].iter().map(String::as_str).collect();
            return Some(format!("{} -> {next}", circle.join(" -> ")));
        }
        way.push(next.clone());
    }
}
