//! `sentry-filter`: checks configurations of the Sentry filter for Envoy.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use sentry_filter_cli::admin::Admin;
use sentry_filter_cli::check::{check, Report};
use sentry_filter_cli::doctor::diagnose;
use sentry_filter_cli::explain::{explain, Request};
use sentry_filter_cli::files::Files;
use sentry_filter_cli::find::NOTHING;
use sentry_filter_cli::formats::try_formats;
use sentry_filter_cli::print;
use sentry_filter_cli::schema::schema;
use sentry_filter_cli::send_test::{authorities, send_test, send_tests_of_rules};
use sentry_filter_cli::table::table;
use serde_json::json;

/// Checks configurations of the Sentry filter for Envoy.
#[derive(Debug, Parser)]
#[command(name = "sentry-filter", version = env!("SENTRY_FILTER_VERSION"))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check configurations: every problem, or what they come to; explain a decision; send a test
    /// span
    Check(Check),
    /// Say why there are no spans in Sentry: asks a running Envoy
    Doctor(Doctor),
    /// Print the JSON schema of the configuration
    Schema {
        /// Print the options as a table in Markdown instead
        #[arg(long)]
        markdown: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Check configurations, with the code of the filter itself.
///
/// They are found in a file of their own (JSON or YAML), and in a WasmPlugin (Istio, Higress),
/// TrafficExtension, EnvoyFilter, EnvoyExtensionPolicy or MeshProxyPatch, an Envoy bootstrap, a
/// listener, or the config dump of a running Envoy, also in several documents. What stands around
/// them is checked, too: the way to the DSN's host, and the place in the chain. Files that are
/// given together are looked at together.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  the filter takes every configuration, and the receiver the test span\n  1  a configuration has problems, or with --strict warnings\n  2  wrong arguments, or nothing to check\n  3  the receiver did not take the test span"
)]
struct Check {
    /// Files, folders (every YAML and JSON below), or - for standard input
    #[arg(required_unless_present = "admin")]
    files: Vec<PathBuf>,
    /// Check what a running Envoy has, as http://127.0.0.1:9901
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Warnings are problems
    #[arg(long)]
    strict: bool,
    /// Print what is wrong, and nothing else
    #[arg(long, short)]
    quiet: bool,
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
    /// Post one in each format, and say which of them the receiver takes
    #[arg(long, requires = "send_test")]
    formats: bool,
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

/// Say why there are no spans in Sentry.
///
/// Asks the admin interface of a running Envoy, which changes nothing: is the filter in the chain,
/// what is wrong with its configuration, is its cluster there and healthy, and what do its counters
/// say.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  nothing keeps spans from Sentry\n  1  something does, or with --strict may do\n  2  wrong arguments, or no answer from Envoy"
)]
struct Doctor {
    /// Envoy's admin interface
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
    /// Warnings are problems
    #[arg(long)]
    strict: bool,
    /// Print what is wrong, and nothing else
    #[arg(long, short)]
    quiet: bool,
    /// A variable of the VM, as SENTRY_DSN=…, where only the host knows it
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
    let result = match Arguments::parse().command {
        Command::Schema { markdown: true } => Ok((table(), 0)),
        Command::Schema { markdown: false } => Ok((schema(), 0)),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sentry-filter", &mut text);
            Ok((String::from_utf8_lossy(&text).into_owned(), 0))
        }
        Command::Man => manual().map(|text| (text, 0)),
        Command::Doctor(arguments) => examine(&arguments),
        Command::Check(arguments) => run(&arguments),
    };
    let (text, code) = match result {
        Ok(result) => result,
        Err(message) => return failed(&message),
    };
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads has seen enough, as `head` does.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => failed(&error.to_string()),
        _ => ExitCode::from(code),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("sentry-filter: {message}");
    ExitCode::from(2)
}

/// The page of the command, and one section for each of its own commands.
fn manual() -> Result<String, String> {
    let mut text = Vec::new();
    let mut command = Arguments::command();
    command.build();
    let render = |command: &clap::Command, text: &mut Vec<u8>| {
        clap_mangen::Man::new(command.clone()).render(text)
    };
    render(&command, &mut text).map_err(|error| error.to_string())?;
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        render(inner, &mut text).map_err(|error| error.to_string())?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn examine(arguments: &Doctor) -> Result<(String, u8), String> {
    let admin = Admin::new(&arguments.admin)?;
    let variables: BTreeMap<_, _> = arguments.env.iter().cloned().collect();
    let diagnosis = diagnose(&admin, &variables)?;
    let is_bad = diagnosis.has_problem() || (arguments.strict && diagnosis.has_warning());
    let text = match arguments.output {
        Output::Json => format!("{:#}\n", json!(diagnosis)),
        Output::Text => print::diagnosis(&diagnosis, arguments.quiet),
    };
    Ok((text, u8::from(is_bad)))
}

fn exit_code(reports: &[Report], strict: bool) -> u8 {
    let is_bad =
        |report: &Report| !report.problems.is_empty() || (strict && !report.warnings.is_empty());
    if reports.iter().any(is_bad) {
        return 1;
    }
    if reports.iter().any(Report::is_not_taken) {
        3
    } else {
        0
    }
}

fn run(arguments: &Check) -> Result<(String, u8), String> {
    let request = request(arguments)?;
    let in_file = |file: &Path, message: &str| format!("{}: {message}", file.display());
    let authorities = match &arguments.ca {
        None => authorities(None),
        Some(file) => std::fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(|pem| authorities(Some(&pem)))
            .map_err(|message| in_file(file, &message)),
    }?;
    let mut files = Files::default();
    for file in &arguments.files {
        files.add(file);
    }
    if let Some(url) = &arguments.admin {
        files
            .inputs
            .add_config_dump(Admin::new(url)?.config_dump()?);
    }
    let all = files.inputs.find();
    if all.is_empty() && files.refused.is_empty() && files.errors.is_empty() {
        return Err(match (arguments.files.as_slice(), &arguments.admin) {
            (_, Some(url)) => format!("{url}: no listener has the filter"),
            ([file], None) => in_file(file, NOTHING),
            _ => NOTHING.to_owned(),
        });
    }
    let variables: BTreeMap<_, _> = arguments.env.iter().cloned().collect();
    let mut reports = files.refused;
    reports.extend(all.iter().map(|found| {
        let (mut report, config) = check(found, &variables);
        if let Some(config) = config {
            report.explanation = request.as_ref().map(|request| explain(&config, request));
            if arguments.formats {
                report.formats = try_formats(&config, &authorities);
            } else if arguments.send_test {
                report.tests_of_rules = send_tests_of_rules(&config, &authorities);
                let is_top_levels =
                    config.trace.dsn().is_some() || report.tests_of_rules.is_empty();
                report.test = is_top_levels.then(|| send_test(&config, &authorities));
            }
        }
        report
    }));
    for error in &files.errors {
        eprintln!("sentry-filter: {error}");
    }
    let code = match files.errors.is_empty() {
        true => exit_code(&reports, arguments.strict),
        false => 2,
    };
    let text = match arguments.output {
        Output::Json => format!("{:#}\n", json!(reports)),
        Output::Text => print::reports(&reports, arguments.quiet),
    };
    Ok((text, code))
}

fn request(arguments: &Check) -> Result<Option<Request>, String> {
    let Some(text) = &arguments.explain else {
        return Ok(None);
    };
    let mut request = Request::parse(text, &arguments.headers)?;
    request.route.clone_from(&arguments.route);
    request.cluster.clone_from(&arguments.cluster);
    let metadata = arguments.route_metadata.as_deref().map(Request::metadata);
    request.metadata = metadata
        .transpose()
        .map_err(|message| format!("--route-metadata: {message}"))?
        .unwrap_or_default();
    Ok(Some(request))
}
