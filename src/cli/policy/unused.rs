//! `pullgate policy unused`: the rules that nobody needed.

use std::io::Write;

use super::super::failure::Failure;
use super::super::options::{self, Options};
use super::super::output::{Output, counted};
use super::super::{ExitCode, Outcome};
use crate::control::report::{PolicyRule, UnusedReport};

pub(super) fn run(options: &Options, days: u32, json: bool, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.unused(days).await?) })?;
    if json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &UnusedReport, output: &mut Output) -> Result<(), Failure> {
    let UnusedReport { days, reaches_back_to, is_complete, rules, left_out: _ } = report;
    let (rules_text, days_text) = (counted(rules.len(), "rule"), counted(*days as usize, "day"));
    writeln!(output, "{rules_text} without a hit in {days_text}")?;
    if !is_complete {
        writeln!(output, "the history only reaches back to {reaches_back_to}: what was used before is not known")?;
    }
    output.table(&rules.iter().map(row).collect::<Vec<_>>())
}

fn row(rule: &PolicyRule) -> [String; 3] {
    let PolicyRule { pattern, kind, entry, path, line, .. } = rule;
    let place = path.as_ref().zip(*line).map(|(path, line)| format!("{}:{line}", path.display()));
    [format!("  {pattern}"), format!("{kind} {entry}"), place.unwrap_or_default()]
}
