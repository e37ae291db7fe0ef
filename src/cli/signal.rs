//! `pullgate signal`: whether those arrive who are to be told.

use std::io::Write;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::SignalsReport;

/// Try the signals that the running server sends by itself
///
/// `[[signal]]` of the settings names webhooks and commands that are told when the policy is refused, an upstream is down,
/// and so on.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send each webhook and command a test, and show which arrive
    ///
    /// Exit codes: 0 all arrive; 1 one does not, or there is none; 69 the server is not running.
    Test {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let Command::Test { json } = arguments.command;
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.test_signals().await?) })?;
    if json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    let all_arrive = !report.signals.is_empty() && report.signals.iter().all(|signal| signal.error.is_none());
    Ok(if all_arrive { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn print(report: &SignalsReport, output: &mut Output) -> Result<(), Failure> {
    if report.signals.is_empty() {
        writeln!(output, "nobody is told anything: write a `[[signal]]` into the settings")?;
    }
    for signal in &report.signals {
        match &signal.error {
            None => writeln!(output, "sent      {}", signal.to)?,
            Some(error) => writeln!(output, "not sent  {}: {error}", signal.to)?,
        }
    }
    Ok(())
}
