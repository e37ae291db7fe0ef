//! What `setup` says: as text, and as the JSON of `--json`.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::restart::{self, ResultReport};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::inspect::doctor::Report;
use crate::inspect::setup::{self, Change, Command, Plan, Undone};

/// A plan, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct PlanReport {
    /// The target's name on the command line.
    target: &'static str,
    /// Whether the changes have been written.
    written: bool,
    /// Where what they replaced is kept, once they have been written.
    record: Option<PathBuf>,
    /// The files; none if all is as it should be.
    changes: Vec<ChangeReport>,
    /// What makes the changes count.
    commands: Vec<CommandReport>,
    /// What this leaves open or depends on.
    notes: Vec<String>,
    /// How the commands ended, with `--restart`.
    results: Vec<ResultReport>,
    /// What `pullgate doctor` says after `--write`.
    pub(super) doctor: Option<Report>,
}

/// A file that has to change.
#[derive(Debug, Serialize)]
struct ChangeReport {
    /// Its path on the machine.
    path: PathBuf,
    /// Why.
    why: String,
    /// The change in the unified format of diff(1).
    diff: String,
}

/// A command to run.
#[derive(Debug, Serialize)]
struct CommandReport {
    /// Program and arguments.
    line: Vec<String>,
    /// What it does, and what it disturbs.
    why: String,
}

/// What an undo restored.
#[derive(Debug, Serialize)]
pub(super) struct UndoReport {
    /// The target's name on the command line.
    target: &'static str,
    /// The files that are as they were before.
    restored: Vec<PathBuf>,
    /// What makes it count.
    commands: Vec<CommandReport>,
    /// How the commands ended, with `--restart`.
    results: Vec<ResultReport>,
}

impl PlanReport {
    /// What a plan says; `record` is where what it replaced is kept, if it has been written.
    pub(super) fn new(plan: &Plan, record: Option<PathBuf>, results: Vec<ResultReport>) -> Self {
        Self {
            target: plan.target,
            written: record.is_some(),
            record: record.filter(|_| !plan.changes.is_empty()),
            changes: plan.changes.iter().map(ChangeReport::new).collect(),
            commands: plan.commands.iter().map(CommandReport::new).collect(),
            notes: plan.notes.clone(),
            results,
            doctor: None,
        }
    }

    /// Writes it for people; `root` is the folder of the machine's files if it is another one.
    pub(super) fn print(&self, root: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
        if self.changes.is_empty() {
            writeln!(output, "{}: nothing to change, every file is as it should be", self.target)?;
            print_commands("If it has not been done since they were written, run:", &self.commands, &[], output)?;
            return print_notes(&self.notes, output);
        }
        for change in &self.changes {
            writeln!(output, "{}: {}\n{}", change.path.display(), change.why, visible(&change.diff))?;
        }
        print_commands(TO_RUN, &self.commands, &self.results, output)?;
        print_notes(&self.notes, output)?;
        match &self.record {
            Some(record) => writeln!(
                output,
                "Written. What was there before is kept in {}; `pullgate setup {} --undo{}` puts it back.",
                record.display(),
                self.target,
                root.map(|root| format!(" --root {}", root.display())).unwrap_or_default()
            )?,
            None => writeln!(output, "Nothing has been written: --write does it.")?,
        }
        Ok(())
    }
}

impl ChangeReport {
    fn new(change: &Change) -> Self {
        Self { path: change.path.clone(), why: change.why.clone(), diff: setup::diff(change) }
    }
}

impl CommandReport {
    fn new(command: &Command) -> Self {
        Self { line: command.line.clone(), why: command.why.clone() }
    }
}

impl UndoReport {
    /// What an undo of `target` restored.
    pub(super) fn new(target: &'static str, undone: &Undone, results: Vec<ResultReport>) -> Self {
        let commands = undone.commands.iter().map(CommandReport::new).collect();
        Self { target, restored: undone.restored.clone(), commands, results }
    }

    /// Writes it for people.
    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        if self.restored.is_empty() {
            writeln!(output, "{}: nothing to undo", self.target)?;
        }
        for path in &self.restored {
            writeln!(output, "restored {}", path.display())?;
        }
        print_commands(TO_RUN, &self.commands, &self.results, output)
    }
}

/// The commands that are left to run, or how they ended.
fn print_commands(
    title: &str,
    commands: &[CommandReport],
    results: &[ResultReport],
    output: &mut Output,
) -> Result<(), Failure> {
    for result in results {
        writeln!(output, "{}: {}", if result.ok { "done" } else { "FAILED" }, result.command)?;
        result.output.lines().try_for_each(|line| writeln!(output, "  {line}"))?;
    }
    let left = &commands[results.iter().filter(|result| result.ok).count()..];
    if !left.is_empty() {
        writeln!(output, "{title}")?;
    }
    let rows: Vec<_> =
        left.iter().map(|command| [format!("  {}", shown(command)), format!("# {}", command.why)]).collect();
    output.table(&rows)?;
    if !rows.is_empty() {
        writeln!(output)?;
    }
    Ok(())
}

/// A text from files, without what a terminal would obey.
fn visible(text: &str) -> String {
    let is_shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if is_shown(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

fn shown(command: &CommandReport) -> String {
    visible(&restart::shown(&command.line))
}

fn print_notes(notes: &[String], output: &mut Output) -> Result<(), Failure> {
    for note in notes {
        writeln!(output, "Note: {}", visible(note))?;
    }
    if !notes.is_empty() {
        writeln!(output)?;
    }
    Ok(())
}

const TO_RUN: &str = "Then run these, or have --restart do it:";
