//! `pullgate images`: what the image gateway needs beside a policy.

mod ca;
mod import;

use super::options::Options;
use super::output::Output;
use super::{ExitCode, Outcome};

/// The image gateway: its authority, and rules that others have
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Ca(ca::Arguments),
    Import(import::Arguments),
}

impl Arguments {
    /// The options of [`Options`] that the command does something with.
    pub(super) fn used_options(&self) -> &'static [&'static str] {
        match &self.command {
            Command::Ca(arguments) => arguments.used_options(),
            Command::Import(_) => &["--config"],
        }
    }
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Ca(arguments) => ca::run(options, arguments, output),
        Command::Import(arguments) => import::run(options, arguments, output),
    }
}
