//! `pullgate reload`: takes the policy files anew, and says what really happened.

use std::io::Write;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::{FaultReport, ReloadReport};
use crate::diagnostic::Severity;

/// Take the policy files anew, and say what really happened
///
/// A policy with a fault changes nothing: the faults are shown, and what was in force stays. Changed files are noticed
/// without this command too, within a second; it is for scripts that want to know the result.
///
/// Exit codes: 0 in force now, or unchanged; 78 refused; 69 the server is not running.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.reload().await?) })?;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    match report {
        ReloadReport::Refused { .. } => Ok(ExitCode::from(failure::CONFIG)),
        ReloadReport::Applied { .. } | ReloadReport::Unchanged { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Good news go to standard output; faults and warnings to standard error, where `systemctl reload` keeps them.
fn print(report: &ReloadReport, output: &mut Output) -> Result<(), Failure> {
    match report {
        ReloadReport::Applied { generation, warnings } => {
            print_each(warnings, Severity::Warning);
            writeln!(output, "in force: generation {generation}")?;
        }
        ReloadReport::Unchanged { generation, warnings } => {
            print_each(warnings, Severity::Warning);
            writeln!(output, "unchanged: generation {generation} stays in force")?;
        }
        ReloadReport::Refused { faults } => {
            print_each(faults, Severity::Fault);
            eprintln!("refused: what was in force stays in force");
        }
    }
    Ok(())
}

fn print_each(faults: &[FaultReport], severity: Severity) {
    for fault in faults {
        eprintln!("{}", fault.clone().into_diagnostic(severity));
    }
}
