//! `sentry-filter`: checks configurations of the Sentry filter for Envoy.

use clap::{Parser, Subcommand};

/// Checks configurations of the Sentry filter for Envoy.
#[derive(Debug, Parser)]
#[command(name = "sentry-filter", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the JSON schema of the configuration.
    Schema,
}

fn main() {
    match Arguments::parse().command {
        Command::Schema => print!("{}", sentry_filter_cli::schema::schema()),
    }
}
