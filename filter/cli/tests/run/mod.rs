//! The command, run.

use assert_cmd::Command;

/// The folder of the whole project.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs the command; its exit code, what it printed, and its complaints.
pub fn run(stdin: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("sentry-filter").expect("the binary");
    let output = command
        .current_dir(ROOT)
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("a run");
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    (output.status.code().expect("an exit code"), out, err)
}

/// Runs `sentry-filter check`; its exit code, and all that it printed.
pub fn check(stdin: &str, arguments: &[&str]) -> (i32, String) {
    let (code, out, err) = run(stdin, &[&["check"], arguments].concat());
    (code, out + &err)
}
