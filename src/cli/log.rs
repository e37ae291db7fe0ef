//! `pullgate log`: what was denied, for whom and why.

use std::io::Write;
use std::net::IpAddr;

use super::failure::Failure;
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::{LogEntry, Pull};
use crate::control::{Client, ClientError};

/// Show what was denied, for whom and why
///
/// The server keeps the last 10,000 questions that `[log] queries` asks for: denied ones, if it
/// does not say. A burst beyond what it takes in is counted in its metrics, not kept. For a name that
/// nothing lists it shows which registry the client asked for within five seconds before: that may
/// have sent it there.
///
/// Examples:
///   pullgate log                          the last 20
///   pullgate log --follow                 and what comes
///   pullgate log --client 10.20.0.5       of one client only
///   pullgate log --name ghcr.io --json    of a name and those below it, one JSON object a line
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
    /// How many at most, the newest of them
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    options::block_on(async {
        if arguments.follow {
            return follow(&client, arguments, output).await;
        }
        for entry in client.log(&arguments.query()).await? {
            print(&entry, arguments.json, output)?;
        }
        Ok(ExitCode::SUCCESS)
    })
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
        query.push(("limit", self.limit.to_string()));
        query
    }
}

fn print(entry: &LogEntry, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return output.json_line(entry);
    }
    let LogEntry { at, client, name, verdict, reason, .. } = entry;
    write!(output, "{at}  {verdict:5}  {client}  {name}")?;
    if let Some(image) = &entry.image {
        write!(output, "/{image}")?;
    }
    if let Some(wanted) = entry.record_type.as_ref().or(entry.action.as_ref()) {
        write!(output, " {wanted}")?;
    }
    write!(output, "  {reason}")?;
    if let Some(group) = &entry.group {
        write!(output, "  group {group}")?;
    }
    if let Some(rule) = &entry.rule {
        write!(output, "  rule {rule}")?;
    }
    if let Some(pull) = &entry.after {
        let line = Pull::line(name);
        write!(output, "  after {}; if that sends downloads there, add to {}: {line}", pull.name, pull.place())?;
    }
    Ok(writeln!(output)?)
}
