//! `pullgate completions`: what a shell needs to complete our command line.

use std::io::Write;

use clap_complete::Shell;

use super::output::Output;
use super::{ExitCode, Outcome};

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "pullgate", &mut script);
    output.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

const EXAMPLES: &str = "\
Examples:
  pullgate completions bash > /etc/bash_completion.d/pullgate
  pullgate completions zsh > /usr/local/share/zsh/site-functions/_pullgate
  pullgate completions fish > ~/.config/fish/completions/pullgate.fish";
