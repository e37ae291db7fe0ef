//! `pullgate log`: what was denied, for whom and why.

use std::io::Write;
use std::net::IpAddr;

use super::failure::Failure;
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::{HistoryRow, LogEntry};
use crate::control::{Client, ClientError};

/// Show what was denied, for whom and why
///
/// The server keeps the last 10,000 questions that `[log] queries` asks for: denied ones, if it
/// does not say. A burst beyond what it takes in is counted in its metrics, not kept. For a name that
/// nothing lists it shows which registry the client asked for within five seconds before: that may
/// have sent it there.
///
/// With --since it shows what the server keeps of the last days ([history] in the settings), allowed
/// questions and requests for images among it: for each hour what each client asked for, and how often.
///
/// Examples:
///   pullgate log                          the last 20
///   pullgate log --follow                 and what comes
///   pullgate log --client 10.20.0.5       of one client only
///   pullgate log --name ghcr.io --json    of a name and those below it, one JSON object a line
///   pullgate log --since 2d --denied      what was denied in the last two days, by the hour
///
/// Exit codes:
///   0   also when there is nothing
///   69  the server is not running, or went away while followed
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Go on with what comes, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Only questions of this client
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// Only this name and the names below it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// From the history, since then: how long ago (`2d`), or a moment (`2026-11-27`, `2026-11-27T08:00:00Z`)
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    since: Option<String>,
    /// With --since: only questions of this group's clients
    #[arg(long, requires = "since")]
    group: Option<String>,
    /// With --since: only what was denied
    #[arg(long, requires = "since")]
    denied: bool,
    /// How many at most, the newest of them [default: 20; with --since: 10000]
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<usize>,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    options::block_on(async {
        if arguments.since.is_some() {
            return look_back(&client, arguments, output).await;
        }
        if arguments.follow {
            return follow(&client, arguments, output).await;
        }
        for entry in client.log(&arguments.query()).await? {
            print(&entry, arguments.json, output)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows what the history has.
async fn look_back(client: &Client, arguments: &Arguments, output: &mut Output) -> Outcome {
    for row in client.history(&arguments.query()).await?.rows {
        if arguments.json {
            output.json_line(&row)?;
        } else {
            print_row(&row, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Listens before it looks back, so that nothing falls between; what it sees twice it prints once.
async fn follow(client: &Client, arguments: &Arguments, output: &mut Output) -> Outcome {
    let mut events = client.events(&arguments.filter()).await?;
    let mut seen = 0;
    for entry in client.log(&arguments.query()).await? {
        seen = entry.id;
        print(&entry, arguments.json, output)?;
    }
    output.finish()?;
    while let Some(entry) = events.next().await? {
        if entry.id > seen {
            print(&entry, arguments.json, output)?;
            output.finish()?;
        }
    }
    Err(ClientError::Ended.into())
}

impl Arguments {
    fn filter(&self) -> Vec<(&'static str, String)> {
        let client = self.client.map(|client| ("client", client.to_string()));
        let name = self.name.clone().map(|name| ("name", name));
        client.into_iter().chain(name).collect()
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.filter();
        let since = self.since.clone().map(|since| ("since", since));
        let group = self.group.clone().map(|group| ("group", group));
        let verdict = self.denied.then(|| ("verdict", "deny".to_owned()));
        query.extend(since.into_iter().chain(group).chain(verdict));
        let limit = if self.since.is_some() { HOURLY_ROWS } else { ENTRIES };
        query.push(("limit", self.limit.unwrap_or(limit).to_string()));
        query
    }
}

fn print(entry: &LogEntry, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return output.json_line(entry);
    }
    Ok(writeln!(output, "{entry}")?)
}

fn print_row(row: &HistoryRow, output: &mut Output) -> Result<(), Failure> {
    let HistoryRow { hour, client, group, verdict, reason, rule, after, count, .. } = row;
    let client = client.map_or("various clients".to_owned(), |client| client.to_string());
    let name = row.wanted().unwrap_or_else(|| "various names".to_owned());
    write!(output, "{}  {count:>6} x {verdict:5}  {client}  {name}  {reason}", hour.get(..16).unwrap_or(hour))?;
    if let Some(group) = group {
        write!(output, "  group {group}")?;
    }
    if let Some(rule) = rule {
        write!(output, "  rule {}", rule.pattern)?;
    }
    if let Some(pull) = after {
        write!(output, "  after {}", pull.name)?;
    }
    Ok(writeln!(output)?)
}

/// How many of the last entries are shown if nobody says.
const ENTRIES: usize = 20;
/// How many rows of the history.
const HOURLY_ROWS: usize = 10_000;
