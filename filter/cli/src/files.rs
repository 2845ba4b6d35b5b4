//! Reads what the command is given: files, folders, standard input, a running Envoy.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::Report;
use crate::find::Inputs;

/// What was read.
#[derive(Debug, Default)]
pub struct Files {
    /// What is in it.
    pub inputs: Inputs,
    /// Files that are refused as they are.
    pub refused: Vec<Report>,
    /// What could not be read at all, for people.
    pub errors: Vec<String>,
}

/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;

impl Files {
    /// Adds a file, a folder with everything below it that is YAML or JSON, or, for `-`, standard
    /// input.
    pub fn add(&mut self, path: &Path) {
        if path == Path::new("-") {
            let mut text = String::new();
            match std::io::stdin().read_to_string(&mut text) {
                Ok(_) => self.text(None, &text, false),
                Err(error) => self.errors.push(format!("-: {error}")),
            }
        } else if path.is_dir() {
            let before = self.inputs.len();
            self.folder(path, 0);
            if self.inputs.len() == before && self.errors.is_empty() && self.refused.is_empty() {
                self.errors.push(format!(
                    "{}: no YAML and no JSON in this folder",
                    path.display()
                ));
            }
        } else {
            self.file(path, false);
        }
    }

    fn file(&mut self, path: &Path, is_one_of_many: bool) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(Some(path.to_string_lossy().into()), &text, is_one_of_many),
            Err(error) => self.errors.push(format!("{}: {error}", path.display())),
        }
    }

    fn text(&mut self, file: Option<Arc<str>>, text: &str, is_one_of_many: bool) {
        let name = file.as_deref().unwrap_or("-").to_owned();
        let Err(error) = self.inputs.add(file.clone(), text, is_one_of_many) else {
            return;
        };
        if error.is_duplicate() {
            self.refused
                .push(Report::unreadable(file.as_deref(), &error));
        } else if !is_one_of_many {
            self.errors.push(format!("{name}: {error}"));
        } else if text.to_lowercase().contains("sentry") {
            // A template, most of the time.
            self.errors.push(format!(
                "{name}: {error}; a template has to be rendered first"
            ));
        }
    }

    /// In the order of names. What begins with a dot is left out: Kubernetes keeps former versions
    /// of mounted files there.
    fn folder(&mut self, folder: &Path, depth: usize) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.errors.push(format!("{}: {error}", folder.display()));
                return;
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_hidden = name.starts_with('.');
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            let is_link = path.is_symlink();
            if is_hidden || name == "node_modules" {
                continue;
            } else if path.is_dir() && !is_link && depth < MAX_DEPTH {
                self.folder(&path, depth + 1);
            } else if path.is_file()
                && ["yaml", "yml", "json"].contains(&&*extension.to_lowercase())
            {
                self.file(&path, true);
            }
        }
    }
}
