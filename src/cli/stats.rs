//! `pullgate stats`: what was decided in the last days, added up.

use std::io::Write;
use std::net::IpAddr;

use super::failure::Failure;
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::{DeniedName, Pull, RuleUse, Stats, Sum};

/// Show what was decided in the last days, added up
///
/// By group, verdict and reason; the names, and at the gateway the images, that were denied most, with who
/// asked and the line that would allow a name; and the rules that decided most. It reads the history that
/// the server keeps ([history] in the settings).
///
/// Examples:
///   pullgate stats                        all that the history has
///   pullgate stats --since 24h            the last day
///   pullgate stats --group ci --top 100   the 100 names denied most to one group
///
/// Exit codes:
///   0   also when there is nothing
///   69  the server is not running, or keeps no history
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Only since then: how long ago (`2d`), or a moment (`2026-11-27`, `2026-11-27T08:00:00Z`)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only questions of this client
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// Only questions of this group's clients
    #[arg(long)]
    group: Option<String>,
    /// Only this name and the names below it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many denied names, and how many rules, at most
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    let stats = options::block_on(async { Ok(client.stats(&arguments.query()).await?) })?;
    if arguments.json {
        output.json(&stats)?;
    } else {
        print(&stats, arguments.top, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn query(&self) -> Vec<(&'static str, String)> {
        let Self { since, client, group, name, top, json: _ } = self;
        let given = [
            ("since", since.clone()),
            ("client", client.map(|client| client.to_string())),
            ("group", group.clone()),
            ("name", name.clone()),
            ("top", Some(top.to_string())),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

fn print(stats: &Stats, top: usize, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "The history reaches back to {}.", stats.reaches_back_to)?;
    if stats.totals.is_empty() {
        writeln!(output, "Nothing was asked.")?;
        return Ok(());
    }
    writeln!(output, "\nDecisions")?;
    output.table(&stats.totals.iter().map(total_row).collect::<Vec<_>>())?;
    if !stats.denied.is_empty() {
        writeln!(output, "\nDenied most")?;
        for denied in &stats.denied {
            print_denied(denied, output)?;
        }
    }
    if !stats.rules.is_empty() {
        writeln!(output, "\nRules that decided most")?;
        output.table(&stats.rules.iter().take(top).map(rule_row).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn total_row(sum: &Sum) -> [String; 4] {
    let group = sum.group.as_ref().map_or("no group".to_owned(), |group| format!("group {group}"));
    [format!("  {:>9}", sum.count), sum.verdict.to_string(), sum.reason.clone(), group]
}

fn print_denied(denied: &DeniedName, output: &mut Output) -> Result<(), Failure> {
    let DeniedName { verdict, reason, count, last, clients, after, line, .. } = denied;
    let wanted = denied.wanted();
    let clients: Vec<_> = clients.iter().map(ToString::to_string).collect();
    writeln!(output, "  {count:>9}  {verdict}  {wanted}  {reason}  last {last}  by {}", clients.join(", "))?;
    if let (Some(pull), Some(line)) = (after, line) {
        let place = Pull::place(pull);
        writeln!(output, "             after {}; if that sends downloads there, add to {place}: {line}", pull.name)?;
    }
    Ok(())
}

fn rule_row(used: &RuleUse) -> [String; 4] {
    let RuleUse { rule, count, last } = used;
    [format!("  {count:>9}"), rule.pattern.clone(), format!("{} {}", rule.kind, rule.entry), format!("last {last}")]
}
