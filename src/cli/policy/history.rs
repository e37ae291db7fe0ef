//! `pullgate policy history` and `policy rollback`: the policies that were in force, and one of them in force again.

use std::io::Write;

use super::super::options::{self, Options};
use super::super::output::Output;
use super::super::{ExitCode, Outcome, reload};
use crate::control::report::KeptReport;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The generation, as `policy history` shows it
    #[arg(required_unless_present = "end")]
    generation: Option<u64>,
    /// End the rollback: put the policy files in force again
    #[arg(long, conflicts_with = "generation")]
    end: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn show(options: &Options, json: bool, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.policy_history().await?) })?;
    if json {
        output.json(&report)?;
    } else if report.generations.is_empty() {
        writeln!(output, "no policy is kept")?;
    } else {
        let head = ["generation", "in force since", "digest", ""].map(str::to_uppercase);
        let row = |kept: &KeptReport| {
            let mark = match &report.rollback {
                Some(rollback) if kept.in_force => format!("in force, rolled back to by {}", rollback.by),
                _ if kept.in_force => "in force".to_owned(),
                _ => String::new(),
            };
            // As many characters as tell digests apart.
            [kept.generation.to_string(), kept.since.clone(), kept.digest.chars().take(12).collect(), mark]
        };
        output.table(&std::iter::once(head).chain(report.generations.iter().map(row)).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn roll_back(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.roll_back(arguments.generation).await?) })?;
    reload::show(&report, arguments.json, output)
}
