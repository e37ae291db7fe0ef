//! `pullgate policy`: what the files say, what is in force, what a change would change.

mod diff;
mod history;
mod test;
mod unused;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(super) use self::diff::print_changes;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, compiled};
use crate::config::PolicySource;
use crate::control::effective;
use crate::control::report::{FaultReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule};

/// What the policy files say, what is in force, what a change would change
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every fault and warning of a policy, each with its place
    ///
    /// Exit codes: 0 no fault (there may be warnings); 78 faults: a server would not take this policy.
    Lint {
        /// The policy folder [default: the settings' own]
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold the `[[assert]]` of a policy against what it decides
    ///
    /// Assertions are kept in the policy files: `name` or `image`, `client` or `group`, and what to `expect`. A server
    /// refuses a policy whose assertions do not hold; this shows each of them.
    ///
    /// Exit codes: 0 all hold; 1 one does not; 78 other faults.
    Test {
        /// The policy folder [default: the settings' own]
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the groups, rules and images in force
    ///
    /// Asks the running server; with PATH (or --policy) it shows what the files of a folder would put in force.
    Show {
        /// A policy folder, instead of what is in force
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show which verdicts on names and images differ between two policy folders
    ///
    /// With one folder: what would change if it were put in force on the running server, and which names that were asked
    /// for there in the last day would be decided otherwise, for whom and how often. With two it needs none, and
    /// shows a change for review: as Markdown for a comment on a pull request, or as SARIF 2.1.0 for code scanning, where
    /// what opens more is a warning, what opens to strangers an error, what closes a note.
    ///
    /// Exit codes: 0 the same verdicts; 1 different; 69 the server is not running; 78 a folder has faults.
    Diff(diff::Arguments),
    /// Show the rules of the running server that decided nothing for some days
    ///
    /// It reads when each rule last decided in the history that the server keeps, and says so if that does not reach
    /// back so many days. A rule that came into force since then counts as unused, too. Of an `[[images]]` each key with
    /// each of its values is a rule, if it is written.
    ///
    /// Exit codes: 0 also when there is none; 69 the server is not running, or keeps no history.
    Unused {
        /// For how many days
        #[arg(long, value_name = "N", default_value_t = 7)]
        days: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the last policies that were in force and are kept, to roll back to
    ///
    /// The server keeps the files of the last ten in its state directory.
    ///
    /// Exit codes: 0 also when there is none; 69 the server is not running.
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a kept policy in force instead of the files, until those change
    ///
    /// The policy files are not touched. `status`, the log and the metrics say so for as long as it lasts, over restarts
    /// too. It ends when the files change and are good, or with --end.
    ///
    /// Exit codes: 0 in force; 78 refused: not kept, or of no use any more; with --end: the files are faulty; 69 the
    /// server is not running.
    Rollback(history::Arguments),
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Lint { path, json } => lint(options, path.as_deref(), *json, output),
        Command::Test { path, json } => test::run(options, path.as_deref(), *json, output),
        Command::Show { path, json } => show(options, path.as_deref(), *json, output),
        Command::Unused { days, json } => unused::run(options, *days, *json, output),
        Command::Diff(arguments) => diff::run(options, arguments, output),
        Command::History { json } => history::show(options, *json, output),
        Command::Rollback(arguments) => history::roll_back(options, arguments, output),
    }
}

/// What `policy lint --json` prints.
#[derive(Debug, Serialize)]
struct LintReport {
    rules: usize,
    faults: Vec<FaultReport>,
    warnings: Vec<FaultReport>,
}

fn lint(options: &Options, path: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let source = path.map_or(loaded.settings.policy.source.clone(), |path| PolicySource::Directory(path.to_owned()));
    let compiled = compiled::compiled(&source, &loaded);
    let rules = compiled.as_ref().map_or(0, |compiled| compiled.snapshot.rule_count());
    let found = compiled.map_or_else(|found| found, |compiled| compiled.warnings);
    let faults = found.iter().filter(|diagnostic| diagnostic.is_fault()).count();
    if json {
        let (faults, warnings): (Vec<_>, Vec<_>) = found.iter().partition(|diagnostic| diagnostic.is_fault());
        output.json(&LintReport { rules, faults: FaultReport::all(faults), warnings: FaultReport::all(warnings) })?;
    } else {
        found.iter().try_for_each(|diagnostic| writeln!(output, "{diagnostic}"))?;
        match faults {
            0 => {
                let (rules, warnings) = (counted(rules, "rule"), counted(found.len(), "warning"));
                writeln!(output, "{rules}, {warnings}: a server takes this policy")?;
            }
            _ => writeln!(output, "{}: a server refuses this policy whole", counted(faults, "fault"))?,
        }
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::from(failure::CONFIG) })
}

fn show(options: &Options, path: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    let report = match path.or(options.policy()) {
        Some(path) => report_of(options, path)?,
        None => running(options)?,
    };
    if json {
        output.json(&report)?;
    } else {
        print_policy(&report, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report_of(options: &Options, folder: &Path) -> Result<PolicyReport, Failure> {
    let loaded = options.settings()?;
    Ok(effective::policy(&compiled::from_folder(folder, &loaded)?.snapshot, None))
}

fn running(options: &Options) -> Result<PolicyReport, Failure> {
    let client = options.client()?;
    options::block_on(async { Ok(client.policy().await?) })
}

fn print_policy(report: &PolicyReport, output: &mut Output) -> Result<(), Failure> {
    match report.generation {
        Some(generation) => writeln!(output, "in force: generation {generation}, digest {}", report.digest)?,
        None => writeln!(output, "digest {}", report.digest)?,
    }
    if !report.groups.is_empty() {
        writeln!(output)?;
        let head = ["group", "mode", "unlisted", "clients"].map(str::to_uppercase);
        let rows = report
            .groups
            .iter()
            .map(|group| [group.name.clone(), group.mode.clone(), group.unlisted.clone(), group.clients.join(", ")]);
        output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    }
    writeln!(output)?;
    let head = ["pattern", "kind", "entry", "mode", "path", "groups", "place"].map(str::to_uppercase);
    let rows = report.rules.iter().map(|rule| rule_row(rule, report.groups.is_empty()));
    output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    if !report.images.is_empty() {
        writeln!(output)?;
        let head = ["images of", "mode", "groups", "key", "value", "place"].map(str::to_uppercase);
        let rows = report.images.iter().flat_map(|images| images_rows(images, report.groups.is_empty()));
        output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn rule_row(rule: &PolicyRule, no_groups: bool) -> [String; 7] {
    let PolicyRule { pattern, kind, entry, mode, data_path, .. } = rule.clone();
    [pattern, kind, entry, mode, data_path, whose(&rule.groups, no_groups), place(rule)]
}

/// A row for each key of a table, in the order in which they are asked.
fn images_rows(images: &ImagesReport, no_groups: bool) -> impl Iterator<Item = [String; 6]> {
    images.keys.iter().map(move |ImageKeyReport { key, value, path, line }| {
        let (registry, mode, groups) = (images.registry.clone(), images.mode.clone(), whose(&images.groups, no_groups));
        [registry, mode, groups, key.clone(), value.clone(), format!("{}:{line}", path.display())]
    })
}

fn whose(groups: &[String], no_groups: bool) -> String {
    if no_groups { "everyone".to_owned() } else { groups.join(",") }
}

fn place(rule: &PolicyRule) -> String {
    match (&rule.path, rule.line) {
        (Some(path), Some(line)) => format!("{}:{line}", path.display()),
        _ => String::new(),
    }
}
