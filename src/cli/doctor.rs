//! `pullgate doctor`: is it in force here, and which ways round are open.

use std::io::Write;
use std::path::PathBuf;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, compiled};
use crate::inspect::doctor::{self, Finding, Report, Request, Scene, Severity};
use crate::inspect::machine::Machine;

/// Check from where this client stands that pullgate is in force, and which ways round it are open
///
/// Run it on the host, in a VM, in a container: each sees its own resolver. It needs no root, and says
/// what it could not see.
///
/// Exit codes:
///   0   nothing above a note is open
///   1   something is
///   64  the command line is wrong
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Look at the files below this folder, and ask nobody
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let machine = arguments.root.as_ref().map_or_else(Machine::here, Machine::under);
    let settings = options.settings().ok().filter(|loaded| loaded.file.is_some()).map(|loaded| loaded.settings);
    let request = Request::default();
    let policy = settings.as_ref().and_then(|settings| compiled::from_settings(settings).ok());
    let scene = Scene::of(&machine, &request, settings.as_ref());
    let scene = scene.with_policy(policy.as_ref().map(|compiled| &compiled.snapshot));
    let report = options::block_on(async { Ok(doctor::examine(&scene).await) })?;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

/// Prints a report for people: problems first, what is fine last.
pub(super) fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "where: {}", report.place)?;
    for severity in [Severity::Problem, Severity::Warning, Severity::Note, Severity::Ok] {
        let found = report.findings.iter().filter(|finding| finding.severity == severity);
        found.into_iter().try_for_each(|finding| print_finding(finding, output))?;
    }
    report.unseen.iter().try_for_each(|what| writeln!(output, "unseen   {what}"))?;
    writeln!(output, "{}", summary(report))?;
    Ok(())
}

fn print_finding(finding: &Finding, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "{:8} {}", word(finding.severity), finding.title)?;
    if finding.severity == Severity::Ok {
        return Ok(());
    }
    if !finding.meaning.is_empty() {
        writeln!(output, "         {}", finding.meaning)?;
    }
    if let Some(fix) = &finding.fix {
        writeln!(output, "         fix: {fix}")?;
    }
    writeln!(output, "         see: README.md#{}", finding.section.anchor())?;
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Problem => "PROBLEM",
    }
}

fn summary(report: &Report) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let [problems, warnings, notes] = [Severity::Problem, Severity::Warning, Severity::Note].map(count);
    let [problems, warnings, notes] =
        [counted(problems, "problem"), counted(warnings, "warning"), counted(notes, "note")];
    format!("{problems}, {warnings}, {notes}")
}
