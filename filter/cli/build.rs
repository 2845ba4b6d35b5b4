//! Puts the commit into the command's version.

use std::process::Command;

fn main() {
    // For those who build from an archive.
    println!("cargo::rerun-if-env-changed=SENTRY_FILTER_COMMIT");
    let given = std::env::var_os("SENTRY_FILTER_COMMIT").and_then(|name| name.into_string().ok());
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=SENTRY_FILTER_VERSION={version}");
}

/// One line of git's, if this is a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
