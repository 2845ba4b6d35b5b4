//! `sentry-filter check`, run.

use assert_cmd::Command;

/// The folder of the whole project.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs `sentry-filter check`; its exit code, and what it printed.
pub fn check(stdin: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    let output = command
        .current_dir(ROOT)
        .arg("check")
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("a run");
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(printed).expect("text");
    (output.status.code().expect("an exit code"), text)
}
