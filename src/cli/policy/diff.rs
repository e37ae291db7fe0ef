//! `pullgate policy diff`: what a change would change, for people, for a pull request, for code scanning.

mod markdown;
mod sarif;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::failure::{self, Failure};
use super::super::options::Options;
use super::super::output::Output;
use super::super::{ExitCode, Outcome, compiled};
use crate::control::diff::{Change, changes};
use crate::control::explain;
use crate::control::report::{FaultReport, PolicyReport};
use crate::diagnostic::Diagnostic;
use crate::policy::compile::Compiled;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy as it is; alone: the policy as it might be
    old: PathBuf,
    /// The policy as it might be
    new: Option<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print JSON: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line a change
    Text,
    /// A table, for a comment on a pull request
    Markdown,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// An array of changes
    Json,
}

/// What there is to review.
struct Review<'r> {
    /// The folder of the new policy.
    folder: &'r Path,
    changes: Vec<Change>,
    /// Whether other terms differ than verdicts.
    is_same: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    let format = if arguments.json { Format::Json } else { arguments.format };
    let folder = arguments.new.as_ref().unwrap_or(&arguments.old);
    let old = match &arguments.new {
        Some(_) => super::report_of(options, &arguments.old)?,
        None => without_overlays(super::running(options)?),
    };
    match compiled::folder(folder, &options.settings()?) {
        Ok(Compiled { snapshot, warnings }) => {
            let new = explain::policy(&snapshot, None);
            let changes = changes(&old, &new, &FaultReport::all(&warnings));
            show(&Review { folder, changes, is_same: old.digest == new.digest }, format, output)
        }
        Err(found) => refuse(folder, found, format, output),
    }
}

/// What is in force by the policy files: a folder is compared with those.
fn without_overlays(mut policy: PolicyReport) -> PolicyReport {
    policy.rules.retain(|rule| rule.overlay.is_none());
    policy
}

fn show(review: &Review<'_>, format: Format, output: &mut Output) -> Outcome {
    match format {
        Format::Text => print_changes(&review.changes, review.is_same, output)?,
        Format::Json => output.json(&review.changes)?,
        Format::Markdown => write!(output, "{}", markdown::changes(review))?,
        Format::Sarif => output.json(&sarif::changes(review))?,
    }
    Ok(if review.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

/// A new policy with faults: what reads the output for a review is told them in its own form.
fn refuse(folder: &Path, found: Vec<Diagnostic>, format: Format, output: &mut Output) -> Outcome {
    match format {
        Format::Text | Format::Json => return Err(Failure::Faults(found)),
        Format::Markdown => write!(output, "{}", markdown::faults(&found))?,
        Format::Sarif => output.json(&sarif::faults(folder, &found))?,
    }
    Ok(ExitCode::from(failure::CONFIG))
}

/// A line a change, as text.
pub(in crate::cli) fn print_changes(changes: &[Change], is_same: bool, output: &mut Output) -> Result<(), Failure> {
    changes.iter().try_for_each(|change| print_change(change, output))?;
    if changes.is_empty() && !is_same {
        writeln!(output, "{ONLY_TERMS}")?;
    }
    Ok(())
}

fn print_change(change: &Change, output: &mut Output) -> Result<(), Failure> {
    let Change { group, subject, old, new, strangers, .. } = change;
    let whose = group.as_ref().map(|group| format!("  group {group}")).unwrap_or_default();
    match (old, new) {
        (Some(old), Some(new)) => writeln!(output, "~ {subject}: {old} -> {new}{whose}")?,
        (None, Some(new)) => writeln!(output, "+ {subject}: {new}{whose}")?,
        (Some(old), None) => writeln!(output, "- {subject}: {old}{whose}")?,
        (None, None) => {}
    }
    if let Some(strangers) = strangers {
        writeln!(output, "  opens to strangers: {strangers}")?;
    }
    Ok(())
}

/// What is said of policies that differ in no verdict.
const ONLY_TERMS: &str = "no verdict differs, but other terms of the entries do";
