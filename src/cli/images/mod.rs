//! `pullgate images`: what it takes to decide about images, not only registries.

mod import;

use super::options::Options;
use super::output::Output;
use super::{ExitCode, Outcome};

/// Bring what decides about images: policies that exist elsewhere
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(import::Arguments),
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Import(arguments) => import::run(options, arguments, output),
    }
}
