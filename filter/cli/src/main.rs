//! `sentry-filter`: checks configurations of the Sentry filter for Envoy.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sentry_filter_cli::check::{check, Report};
use sentry_filter_cli::explain::{explain, Request};
use sentry_filter_cli::find::find;
use sentry_filter_cli::schema::schema;
use sentry_filter_cli::send_test::{authorities, send_test};
use sentry_filter_cli::table::table;
use serde_json::{json, Value};

/// Checks configurations of the Sentry filter for Envoy.
#[derive(Debug, Parser)]
#[command(name = "sentry-filter", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration: every problem, or what it comes to; explain a decision; send a test
    /// span
    Check(Check),
    /// Print the JSON schema of the configuration
    Schema {
        /// Print the options as a table in Markdown instead
        #[arg(long)]
        markdown: bool,
    },
}

/// Check a configuration, with the code of the filter itself.
///
/// It is found in a file of its own (JSON or YAML), and in a WasmPlugin, TrafficExtension,
/// EnvoyFilter or EnvoyExtensionPolicy, an Envoy bootstrap or a listener, also in several
/// documents.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  the filter takes every configuration, and the receiver the test span\n  1  a configuration has problems\n  2  wrong arguments, or nothing to check\n  3  the receiver did not take the test span"
)]
struct Check {
    /// The file, or - for standard input
    file: PathBuf,
    /// Say what is decided about a request, and why: lines `name: value`, the first may be
    /// `METHOD URL`
    #[arg(long, value_name = "HEADERS")]
    explain: Option<String>,
    /// A header of that request, as `name: value`
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        requires = "explain"
    )]
    headers: Vec<String>,
    /// The name of the Envoy route of that request
    #[arg(long, requires = "explain")]
    route: Option<String>,
    /// The name of the Envoy cluster of that request
    #[arg(long, requires = "explain")]
    cluster: Option<String>,
    /// What the metadata of that route has in filter_metadata.sentry, as {"traces_sample_rate":
    /// 0.5}
    #[arg(long, value_name = "OBJECT", requires = "explain")]
    route_metadata: Option<String>,
    /// Post one span to the DSN, in the configured format, and explain the answer
    #[arg(long)]
    send_test: bool,
    /// The authorities, in PEM, of which one has to have signed the receiver's certificate, instead
    /// of those that browsers know
    #[arg(long, value_name = "FILE", requires = "send_test")]
    ca: Option<PathBuf>,
    /// A variable of the VM, as SENTRY_DSN=…; wins over those in the file (vmConfig.env,
    /// environment_variables). This command's own environment is not read
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

fn variable(text: &str) -> Result<(String, String), String> {
    const NAMES: [&str; 4] = [
        "SENTRY_DSN",
        "SENTRY_ENVIRONMENT",
        "SENTRY_RELEASE",
        "SENTRY_TRACES_SAMPLE_RATE",
    ];
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    match NAMES.contains(&name) {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(format!("expected one of {}", NAMES.join(", "))),
    }
}

fn main() -> ExitCode {
    let (text, code) = match Arguments::parse().command {
        Command::Schema { markdown: true } => (table(), ExitCode::SUCCESS),
        Command::Schema { markdown: false } => (schema(), ExitCode::SUCCESS),
        Command::Check(arguments) => match run(&arguments) {
            Ok(reports) => (printed(&reports, arguments.output), exit_code(&reports)),
            Err(message) => return failed(&message),
        },
    };
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => code,
        Err(error) => failed(&error.to_string()),
        Ok(()) => code,
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("sentry-filter: {message}");
    ExitCode::from(2)
}

fn exit_code(reports: &[Report]) -> ExitCode {
    if reports.iter().any(|report| !report.problems.is_empty()) {
        return ExitCode::from(1);
    }
    let failed = |report: &Report| report.test.as_ref().is_some_and(|test| !test.accepted);
    ExitCode::from(if reports.iter().any(failed) { 3 } else { 0 })
}

fn run(arguments: &Check) -> Result<Vec<Report>, String> {
    let request = match &arguments.explain {
        None => None,
        Some(text) => {
            let mut request = Request::parse(text, &arguments.headers)?;
            request.route.clone_from(&arguments.route);
            request.cluster.clone_from(&arguments.cluster);
            let metadata = arguments.route_metadata.as_deref().map(Request::metadata);
            request.metadata = metadata
                .transpose()
                .map_err(|message| format!("--route-metadata: {message}"))?
                .unwrap_or_default();
            Some(request)
        }
    };
    let in_file = |file: &Path, message: &str| format!("{}: {message}", file.display());
    let authorities = match &arguments.ca {
        None => authorities(None),
        Some(file) => std::fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(|pem| authorities(Some(&pem)))
            .map_err(|message| in_file(file, &message)),
    }?;
    let file = arguments.file.as_path();
    let text = read(file).map_err(|error| in_file(file, &error.to_string()))?;
    let all = find(&text).map_err(|message| in_file(file, &message))?;
    let variables: BTreeMap<_, _> = arguments.env.iter().cloned().collect();
    let reports = all.iter().map(|found| {
        let (mut report, config) = check(found, &variables);
        if let Some(config) = config {
            report.explanation = request.as_ref().map(|request| explain(&config, request));
            report.test = arguments
                .send_test
                .then(|| send_test(&config, &authorities));
        }
        report
    });
    Ok(reports.collect())
}

fn read(file: &Path) -> std::io::Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn printed(reports: &[Report], output: Output) -> String {
    match output {
        Output::Json => format!("{:#}\n", json!(reports)),
        Output::Text => reports.iter().flat_map(lines).collect(),
    }
}

/// A report for people, line by line, each with its end.
fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![report.place.clone()];
    for problem in &report.problems {
        lines.push(format!("  problem: {}: {}", problem.path, problem.message));
    }
    for warning in &report.warnings {
        lines.push(format!("  warning: {warning}"));
    }
    if let Some(effective) = &report.effective {
        lines.push("  the filter takes it; in effect:".to_owned());
        options("", effective, &mut lines);
    }
    for what in &report.not_traced {
        lines.push(format!("  no span for {what}"));
    }
    if let Some(explanation) = &report.explanation {
        lines.push(format!("  trace: {}", explanation.trace));
        for refused in &explanation.refused {
            lines.push(format!("  refused: {refused}"));
        }
        lines.push(format!("  sampling: {}", explanation.sampling));
        let span = explanation.span.as_deref().unwrap_or("none");
        lines.push(format!("  span: {span}"));
        for header in &explanation.headers {
            lines.push(format!("  upstream gets: {header}"));
        }
        if explanation.headers.is_empty() {
            lines.push("  upstream gets the request as it is".to_owned());
        }
    }
    if let Some(test) = &report.test {
        let status = test
            .status
            .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let (url, meaning) = (&test.url, &test.meaning);
        lines.push(format!("  test span to {url}: {status}: {meaning}"));
        if let Some(trace_id) = test.trace_id.as_ref().filter(|_| test.accepted) {
            lines.push(format!("  its trace: {trace_id}"));
        }
    }
    lines.iter_mut().for_each(|line| line.push('\n'));
    lines
}

/// Options as `key: value`, in the order of their names; what is not set is left out.
fn options(prefix: &str, values: &Value, lines: &mut Vec<String>) {
    for (key, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(_) => options(&format!("{prefix}{key}."), value, lines),
            other => lines.push(format!("    {prefix}{key}: {other}")),
        }
    }
}
