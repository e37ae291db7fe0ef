//! `pullgate policy diff`: what a change would change, for people, for a pull request, for code scanning.

mod markdown;
mod sarif;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::failure::{self, Failure};
use super::super::options::{self, Options};
use super::super::output::Output;
use super::super::{ExitCode, Outcome, compiled, replay};
use crate::control::diff::{Change, changes};
use crate::control::effective;
use crate::control::replay::Replaying;
use crate::control::report::{FaultReport, PolicyReport, ReplayReport};
use crate::diagnostic::Diagnostic;
use crate::policy::compile::Compiled;
use crate::policy::snapshot::Snapshot;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy as it is; alone: the policy as it might be
    old: PathBuf,
    /// The policy as it might be
    new: Option<PathBuf>,
    #[command(flatten)]
    replay: replay::Terms,
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
    /// An array of changes; against the running server an object with `changes` and `replay`
    Json,
}

/// What there is to review.
struct Review<'r> {
    /// The folder of the new policy.
    folder: &'r Path,
    changes: Vec<Change>,
    /// Whether other terms differ than verdicts.
    is_same: bool,
    /// What of the running server's last questions would be decided otherwise.
    replay: Option<ReplayReport>,
}

/// What `--json` prints of a policy against the running server.
#[derive(Debug, Serialize)]
struct DiffReport<'r> {
    changes: &'r [Change],
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'r ReplayReport>,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    if arguments.new.is_some() && arguments.replay.is_given() {
        let message = "between two folders nothing is replayed: that takes a running server's history".to_owned();
        return Err(Failure::Usage { message, hint: Some("name one folder".to_owned()) });
    }
    let format = if arguments.json { Format::Json } else { arguments.format };
    let folder = arguments.new.as_ref().unwrap_or(&arguments.old);
    let old = match &arguments.new {
        Some(_) => super::report_of(options, &arguments.old)?,
        None => without_overlays(super::running(options)?),
    };
    match compiled::folder(folder, &options.settings()?) {
        Ok(Compiled { snapshot, warnings }) => {
            let new = effective::policy(&snapshot, None);
            let changes = changes(&old, &new, &FaultReport::all(&warnings));
            let is_same = old.digest == new.digest;
            // The same policy decides alike, and between two folders there is nobody who was asked.
            let replay = match arguments.new {
                None if !is_same => replayed(options, &arguments.replay, &snapshot)?,
                _ => None,
            };
            let review = Review { folder, changes, is_same, replay };
            match (&arguments.new, format) {
                (None, Format::Json) => {
                    output.json(&DiffReport { changes: &review.changes, replay: review.replay.as_ref() })?;
                    Ok(exit_code(&review))
                }
                _ => show(&review, format, output),
            }
        }
        Err(found) => refuse(folder, found, format, output),
    }
}

/// What is in force by the policy files: a folder is compared with those.
fn without_overlays(mut policy: PolicyReport) -> PolicyReport {
    policy.rules.retain(|rule| rule.overlay.is_none());
    policy
}

/// What the running server was asked, judged by the new policy; `None`: nobody wants it, or no history is kept.
fn replayed(options: &Options, terms: &replay::Terms, new: &Snapshot) -> Result<Option<ReplayReport>, Failure> {
    let Some(since) = terms.since() else { return Ok(None) };
    let client = options.client()?;
    match options::block_on(async { Ok(client.asked(since).await) })? {
        Ok(asked) => {
            let reaches_back_to = asked.reaches_back_to.clone();
            Ok(Some(Replaying::of(asked, new).finish(since.to_owned(), reaches_back_to)))
        }
        Err(error) => {
            terms.regret(&error.to_string());
            Ok(None)
        }
    }
}

fn show(review: &Review<'_>, format: Format, output: &mut Output) -> Outcome {
    match format {
        Format::Text => {
            print_changes(&review.changes, review.is_same, output)?;
            review.replay.iter().try_for_each(|replay| replay::print(replay, output))?;
        }
        Format::Json => output.json(&review.changes)?,
        Format::Markdown => write!(output, "{}", markdown::changes(review))?,
        Format::Sarif => output.json(&sarif::changes(review))?,
    }
    Ok(exit_code(review))
}

fn exit_code(review: &Review<'_>) -> ExitCode {
    if review.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) }
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
