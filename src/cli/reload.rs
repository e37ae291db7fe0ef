//! `pullgate reload`: takes the policy files anew, and says what really happened.

use std::io::Write;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, policy, replay};
use crate::control::report::{DryRunReport, FaultReport, ReloadReport};
use crate::diagnostic::Severity;

/// Take the policy files anew, and say what really happened
///
/// A policy with a fault changes nothing: the faults are shown, and what was in force stays. Changed files are noticed
/// without this command too, within a second; it is for scripts that want to know the result.
///
/// With --dry-run it says what would come of it: every verdict that would change, or why the files would be refused; and
/// which names that were asked for in the last day would be decided otherwise, for whom and how often.
///
/// Exit codes: 0 in force now, or unchanged; 78 refused; 69 the server is not running. The same of what would be.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    replay: replay::Terms,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let Arguments { dry_run, replay, json } = arguments;
    if replay.is_given() && !dry_run {
        let message = "only what --dry-run would put in force is held against what was asked".to_owned();
        return Err(Failure::Usage { message, hint: Some("add --dry-run".to_owned()) });
    }
    let client = options.client()?;
    if *dry_run {
        let report = options::block_on(async { Ok(client.dry_run(replay.since()).await?) })?;
        if let DryRunReport::WouldApply { replay: None, .. } = &report {
            replay.regret("the server keeps no history");
        }
        return show_dry_run(&report, *json, output);
    }
    let report = options::block_on(async { Ok(client.reload().await?) })?;
    show(&report, *json, output)
}

/// What came of it, and the exit code that says so.
pub(super) fn show(report: &ReloadReport, json: bool, output: &mut Output) -> Outcome {
    if json {
        output.json(report)?;
    } else {
        print(report, output)?;
    }
    match report {
        ReloadReport::Refused { .. } => Ok(ExitCode::from(failure::CONFIG)),
        ReloadReport::Applied { .. } | ReloadReport::Unchanged { .. } => Ok(ExitCode::SUCCESS),
    }
}

fn show_dry_run(report: &DryRunReport, json: bool, output: &mut Output) -> Outcome {
    if json {
        output.json(report)?;
    } else {
        print_dry_run(report, output)?;
    }
    match report {
        DryRunReport::Refused { .. } => Ok(ExitCode::from(failure::CONFIG)),
        DryRunReport::WouldApply { .. } | DryRunReport::Unchanged { .. } => Ok(ExitCode::SUCCESS),
    }
}

fn print_dry_run(report: &DryRunReport, output: &mut Output) -> Result<(), Failure> {
    match report {
        DryRunReport::WouldApply { changes, replay, warnings } => {
            print_each(warnings, Severity::Warning);
            policy::print_changes(changes, false, output)?;
            replay.iter().try_for_each(|replay| replay::print(replay, output))?;
            writeln!(output, "would come into force: {} of verdicts", counted(changes.len(), "change"))?;
        }
        DryRunReport::Unchanged { warnings } => {
            print_each(warnings, Severity::Warning);
            writeln!(output, "would change nothing: the files say what is in force")?;
        }
        DryRunReport::Refused { faults } => {
            print_each(faults, Severity::Fault);
            eprintln!("would be refused: what is in force would stay");
        }
    }
    Ok(())
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
