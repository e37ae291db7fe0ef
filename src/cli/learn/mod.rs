//! `pullgate learn`: which names clients lack, and what to add for them.

mod print;
mod window;

use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::window::{Command, Ran};
use super::draft_file::{self, Existing};
use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::Client;
use crate::control::report::{HistoryReport, HistoryRow, PolicyReport};
use crate::inspect::learn::{self, Report};

/// Find the names that clients lack, and propose what to add for them
///
/// It reads what the server keeps of the last days ([history] in the settings): names that were
/// denied, or would have been, by group, and the registry that the same client had asked for shortly
/// before, which most likely sent it there. For those names it proposes lines of policy: exact names,
/// or one * within a label where at least three names differ there alone; never a whole domain. Each
/// comes with how often, by how many, when, and a grade of what else it lets in:
///
///   low      one name, under a suffix of one owner
///   medium   one owner's name under a suffix where strangers get names too; a pattern; or little speaks for it
///   high     strangers get in; or it is a registry by itself
///
/// Names that were asked for after no registry are listed apart, and proposed with --all only. Images
/// that the gateway refused, or would have, are listed with the line of the [[images]] that lets each
/// through. Nothing is put in force: --output writes a policy file for people to read.
///
/// With --run it runs a command and looks at what was asked meanwhile. For so long one client is under
/// audit: every name resolves for it, but for what a [[deny]] forbids, and for nobody else. That ends with
/// the command, however it ends, and after --for in any case. Without --client it is this machine, as the
/// server sees it. A container engine asks from this machine when it pulls.
///
/// Examples:
///   pullgate learn --since 7d --group ci
///   pullgate learn --since 1d --output learned.toml
///   pullgate learn --run -- docker pull registry.corp.example/app
///   pullgate learn --run --client 10.20.0.7 --for 5m -- ssh build1 docker pull registry.corp.example/app
///
/// Exit codes:
///   0   also when nothing is missing
///   1   the command of --run failed
///   64  the command line is wrong, or --output names the policy folder
///   69  the server is not running, or keeps no history
///   74  reading or writing failed, the file of --output exists, or the command cannot be run
///   78  the server does not put the client under audit
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[allow(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "a terminal shows it as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Arguments {
    /// Since then: how long ago (`2d`), or a moment (`2026-11-27`, `2026-11-27T08:00:00Z`) [default: 7d]
    #[arg(long, value_name = "WHEN", conflicts_with = "run")]
    since: Option<String>,
    /// Only what this client asked for; with --run the client that is under audit
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// Only what this group's clients asked for
    #[arg(long, value_name = "GROUP", conflicts_with = "run")]
    group: Option<String>,
    /// Propose names that were asked for after no registry, too
    #[arg(long)]
    all: bool,
    /// Run the command behind -- and look at what is asked meanwhile
    #[arg(long, requires = "command")]
    run: bool,
    /// With --run: end the audit after so long, also if the command goes on
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "15m", requires = "run")]
    time: Duration,
    /// Write a policy file with what is proposed, outside the policy folder
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file of --output
    #[arg(long, requires = "output")]
    force: bool,
    /// Print the policy file instead of a table
    #[arg(long, conflicts_with = "json")]
    toml: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The command of --run, with its arguments
    #[arg(last = true, value_name = "COMMAND", requires = "run")]
    command: Vec<OsString>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct LearnReport<'r> {
    /// Since when was looked.
    since: &'r str,
    reaches_back_to: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'r Ran>,
    #[serde(flatten)]
    report: &'r Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'r Path>,
}

/// What was looked at.
struct Looked {
    /// As the server is asked, and people are told.
    since: String,
    history: HistoryReport,
    ran: Option<Ran>,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let server = options.client()?;
    if let Some(path) = &arguments.output {
        draft_file::refuse_policy_folder(path, options)?;
        refuse_existing(path, arguments)?;
    }
    let looked = options::block_on(look(&server, arguments))?;
    let policy = options::block_on(async { Ok(server.policy().await?) })?;
    let report = learn::learn(&looked.history.rows, &policy, arguments.all);
    let of = looked.of();
    if let Some(path) = &arguments.output {
        refuse_served_folders(path, &policy)?;
        let existing = if arguments.force { Existing::Overwrite } else { Existing::Keep };
        draft_file::write(path, &report.draft(&of).to_string(), existing)?;
    }
    if arguments.json {
        let Looked { since, history, ran } = &looked;
        let (reaches_back_to, written) = (&history.reaches_back_to, arguments.output.as_deref());
        output.json(&LearnReport { since, reaches_back_to, run: ran.as_ref(), report: &report, written })?;
    } else if arguments.toml {
        write!(output, "{}", report.draft(&of))?;
    } else {
        print::report(&report, &looked, output)?;
        print::next(&report, arguments.output.as_deref(), output)?;
    }
    let has_failed = looked.ran.is_some_and(|ran| ran.code != Some(0));
    Ok(if has_failed { ExitCode::from(failure::NO) } else { ExitCode::SUCCESS })
}

async fn look(server: &Client, arguments: &Arguments) -> Result<Looked, Failure> {
    if !arguments.run {
        let since = arguments.since.clone().unwrap_or_else(|| SINCE.to_owned());
        let history = missed(server, &arguments.filter(&since)).await?;
        return Ok(Looked { since, history, ran: None });
    }
    // Without a history nothing would be learned from what is opened.
    server.history(&[("limit", "0".to_owned())]).await?;
    let ran = window::run(server, Command::of(arguments)).await?;
    let history = window::settled(server, &ran).await?;
    Ok(Looked { since: ran.since.clone(), history, ran: Some(ran) })
}

/// The rows that tell of a denial.
async fn missed(server: &Client, filter: &[(&'static str, String)]) -> Result<HistoryReport, Failure> {
    let of_verdict = |verdict: &str| [filter, &[("verdict", verdict.to_owned())]].concat();
    let denied = server.history(&of_verdict("deny")).await?;
    let audited = server.history(&of_verdict("audit")).await?;
    let rows: Vec<HistoryRow> = denied.rows.into_iter().chain(audited.rows).collect();
    Ok(HistoryReport { rows, ..audited })
}

impl Arguments {
    fn filter(&self, since: &str) -> Vec<(&'static str, String)> {
        let given = [
            ("since", Some(since.to_owned())),
            ("client", self.client.map(|client| client.to_string())),
            ("group", self.group.clone()),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

impl Looked {
    /// What was looked at, in words.
    fn of(&self) -> String {
        if let Some(Ran { command, client, .. }) = &self.ran {
            return format!("by {client} while `{command}` ran");
        }
        let is_ago = humantime::parse_duration(&self.since).is_ok();
        let since = if is_ago { "in the last" } else { "since" };
        format!("{since} {} (the history reaches back to {})", self.since, self.history.reaches_back_to)
    }
}

/// Before a command is run: what it comes to could not be written.
fn refuse_existing(path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    if !path.exists() || arguments.force {
        return Ok(());
    }
    Err(Failure::Io(format!("{} exists; --force overwrites it", path.display())))
}

/// The server's own policy folder may be another than these settings'.
fn refuse_served_folders(path: &Path, policy: &PolicyReport) -> Result<(), Failure> {
    let files = policy.rules.iter().filter(|rule| rule.overlay.is_none()).filter_map(|rule| rule.path.as_deref());
    let mut folders: Vec<&Path> = files.filter(|file| file.is_absolute()).filter_map(Path::parent).collect();
    folders.dedup();
    folders.into_iter().try_for_each(|folder| draft_file::refuse_folder(path, folder))
}

/// How far is looked back if nobody says.
const SINCE: &str = "7d";
