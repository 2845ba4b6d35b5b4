//! Readers of other projects (`tests/oracles`), asked what they make of what was sent.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::envoy::workspace;

/// What a script of `tests/oracles` says of each line.
///
/// # Panics
/// If it is not installed, or has not said something of each line.
pub fn ask(script: &str, lines: &[String]) -> Vec<Value> {
    ask_program(
        &mut Command::new(workspace(".tools/oracles/bin/python")),
        script,
        &[],
        lines,
    )
}

/// The same of a script for Node, with the packages in a folder.
///
/// # Panics
/// As above.
pub fn ask_javascript(script: &str, packages: &str, lines: &[String]) -> Vec<Value> {
    let packages = workspace(packages);
    ask_program(&mut Command::new("node"), script, &[&packages], lines)
}

fn ask_program(
    program: &mut Command,
    script: &str,
    arguments: &[&Path],
    lines: &[String],
) -> Vec<Value> {
    let mut oracle = program
        .arg(workspace("tests/oracles").join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle: run `make oracles`");
    let mut input = oracle.stdin.take().expect("the oracle's input");
    let questions: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let asking = thread::spawn(move || input.write_all(questions.as_bytes()));
    let output = oracle.wait_with_output().expect("the oracle's end");
    let asked = asking.join().expect("a thread that writes");
    assert!(
        output.status.success() && asked.is_ok(),
        "{script} ended with {}: run `make oracles`",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let verdicts: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a verdict"))
        .collect();
    assert_eq!(verdicts.len(), lines.len(), "{script}");
    verdicts
}
