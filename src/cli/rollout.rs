//! `pullgate rollout`: how far each group is on its way from audit to enforcement.

use std::io::Write;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, overlay};
use crate::control::report::{GroupRollout, Lack, LackedName, RolloutReport};
use crate::observe::log::to_the_minute;

/// Show what each group still lacks to be enforced
///
/// For each group what its clients asked in the last days, and what of it the policy in force would deny
/// if it were enforced: how often, when last, which names. From that what is missing before a group under
/// audit can be enforced: names to add or to do without, a history that is long enough, clients that ask
/// at all. It reads the history that the server keeps ([history] in the settings); how a roll-out goes,
/// step by step, is in docs/rollout.md.
///
/// Examples:
///   pullgate rollout                      the last 7 days
///   pullgate rollout --days 3 --json      fewer, as data
///
/// Exit codes:
///   0   no group under audit lacks anything
///   1   one does
///   69  the server is not running, or keeps no history
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[allow(clippy::doc_link_with_quotes, reason = "a terminal shows it as it stands")]
pub(super) struct Arguments {
    /// How many days without anything to deny a group needs
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.rollout(arguments.days).await?) })?;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    let is_missing = report.groups.iter().any(|group| !group.missing.is_empty());
    Ok(if is_missing { ExitCode::from(failure::NO) } else { ExitCode::SUCCESS })
}

fn print(report: &RolloutReport, output: &mut Output) -> Result<(), Failure> {
    let RolloutReport { days, reaches_back_to, groups } = report;
    writeln!(
        output,
        "in the last {} (the history reaches back to {reaches_back_to})\n",
        counted(*days as usize, "day")
    )?;
    let head = ["group", "mode", "clients", "asked a day", "denied a day", "would deny a day", "last"];
    output.table(&std::iter::once(head.map(str::to_uppercase)).chain(groups.iter().map(row)).collect::<Vec<_>>())?;
    writeln!(output)?;
    groups.iter().try_for_each(|group| print_group(group, *days, output))
}

fn row(group: &GroupRollout) -> [String; 7] {
    let GroupRollout { mode, overlay, clients, asked_a_day, denied_a_day, would_deny_a_day, .. } = group;
    let by = if overlay.is_some() { " (overlay)" } else { "" };
    let last = group.last_would_deny.as_deref().map_or_else(|| "-".to_owned(), to_the_minute);
    [
        name(group).to_owned(),
        format!("{mode}{by}"),
        clients.to_string(),
        asked_a_day.to_string(),
        denied_a_day.to_string(),
        would_deny_a_day.to_string(),
        last,
    ]
}

fn name(group: &GroupRollout) -> &str {
    group.group.as_deref().unwrap_or("everyone")
}

/// What a group lacks, a line each; else what to do about it.
fn print_group(group: &GroupRollout, days: u32, output: &mut Output) -> Result<(), Failure> {
    let name = name(group);
    if group.mode != "audit" {
        return Ok(writeln!(output, "{name}: enforced")?);
    }
    for lack in &group.missing {
        writeln!(output, "{name}: {}", told(lack, group, days))?;
    }
    if !group.missing.is_empty() {
        return Ok(());
    }
    let place = group.path.as_ref().zip(group.line).map(|(path, line)| format!(" ({}:{line})", path.display()));
    let whose = if group.group.is_some() { "the group" } else { "`[policy]` of the settings" };
    let days = counted(days as usize, "day");
    let place = place.unwrap_or_default();
    Ok(writeln!(
        output,
        "{name}: nothing would have been denied for {days}: set `mode = \"enforce\"` in {whose}{place}"
    )?)
}

/// What is missing, and what helps.
fn told(lack: &Lack, group: &GroupRollout, days: u32) -> String {
    let of_group = group.group.as_ref().map(|name| format!(" --group {name}")).unwrap_or_default();
    match lack {
        Lack::Names { .. } => {
            format!("{lack}: {}; run `pullgate learn{of_group}`", listed(&group.names, group.names_in_all))
        }
        Lack::Images { .. } => {
            format!("{lack}: {}; run `pullgate learn{of_group}`", listed(&group.images, group.images_in_all))
        }
        Lack::VariousNames { .. } => format!("{lack}: a client asks for more names than are kept of one in an hour"),
        Lack::History { .. } => format!("{lack} of {days}"),
        Lack::Silence => format!("{lack}: `pullgate doctor` says whether they ask pullgate at all"),
        Lack::Overlay => match &group.overlay {
            Some(own) => format!("{lack}: {}", overlay::line(own)),
            None => lack.to_string(),
        },
    }
}

fn listed(lacked: &[LackedName], in_all: usize) -> String {
    let shown = lacked.iter().take(MAX_NAMES);
    let shown: Vec<String> = shown.map(|name| format!("{} ({})", name.name, name.count)).collect();
    match in_all.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Names of a group that are shown.
const MAX_NAMES: usize = 5;
