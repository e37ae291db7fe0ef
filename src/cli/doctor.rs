//! `pullgate doctor`: is it in force here, and which ways round are open.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, compiled};
use crate::address::{self, DNS_PORT};
use crate::control::report::StatusReport;
use crate::control::{Client, ClientError};
use crate::inspect::doctor::{self, Finding, Report, Request, Scene, Severity};
use crate::inspect::machine::Machine;
use crate::name::DomainName;

/// Check from where this client stands that pullgate is in force, and which ways round it are open
///
/// Run it on the host, in a VM, in a container: each sees its own resolver. It needs no root, and says
/// what it could not see. It tries other resolvers, to see whether clients can reach them: see --no-foreign.
///
/// Exit codes:
///   0   nothing above a note is open
///   1   something is
///   64  the command line is wrong
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Try this name server instead of the configured ones; may be repeated [port: 53 if not given]
    #[arg(long = "server", value_name = "ADDR", value_parser = server_address)]
    servers: Vec<SocketAddr>,
    /// A name that must resolve [default: a host of an allowed registry]
    #[arg(long, value_name = "NAME")]
    allowed: Option<DomainName>,
    /// A name that must not [default: a host of a known registry that is not allowed]
    #[arg(long, value_name = "NAME")]
    denied: Option<DomainName>,
    /// A resolver that clients must not reach; may be repeated [default: well-known public ones]
    #[arg(long = "foreign", value_name = "ADDR", value_parser = server_address)]
    foreign: Vec<SocketAddr>,
    /// Try no other resolver
    #[arg(long, conflicts_with = "foreign")]
    no_foreign: bool,
    /// How long one question may take [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Look at the files below this folder, and ask nobody but each --server
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    arguments.check()?;
    let machine = arguments.root.as_ref().map_or_else(Machine::here, Machine::under);
    let report = examine(options, &machine, &arguments.request())?;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

/// What `pullgate doctor` without options says of this machine.
pub(super) fn here(options: &Options) -> Result<Report, Failure> {
    let request = Request { foreign: doctor::public_resolvers(), ..Request::default() };
    examine(options, &Machine::here(), &request)
}

/// Examines a machine; what a server on it says of itself, and what it was told, is taken into account.
fn examine(options: &Options, machine: &Machine, request: &Request) -> Result<Report, Failure> {
    let mut unseen = Report::default();
    options::block_on(async {
        let client = options.client().ok().filter(|_| machine.is_here());
        let status = match &client {
            Some(client) => ask_own(client, &mut unseen).await,
            None => None,
        };
        let loaded = options.settings_of(machine);
        if loaded.is_err() {
            unseen.unseen("the settings of pullgate on this machine: they cannot be read, or are faulty");
        }
        // Without a file and without a server there is no pullgate here: its defaults would say nothing.
        let loaded = loaded.ok().filter(|loaded| loaded.file.is_some() || status.is_some());
        let settings = loaded.as_ref().map(|loaded| &loaded.settings);
        let compiled = loaded.as_ref().and_then(|loaded| compiled::from_settings(loaded).ok());
        let scene = Scene::of(machine, request, settings).with_status(status);
        let scene = scene.with_policy(compiled.as_ref().map(|compiled| &compiled.snapshot));
        let mut report = doctor::examine(&scene).await;
        report.extend(unseen);
        Ok(report)
    })
}

/// What the server of this machine, if there is one, says of itself.
async fn ask_own(client: &Client, unseen: &mut Report) -> Option<StatusReport> {
    match client.status().await {
        Ok(status) => return Some(status),
        Err(ClientError::NotRunning(_) | ClientError::Dead(_)) => {}
        Err(error) => unseen.unseen(format!("what pullgate on this machine says of itself: {error}")),
    }
    None
}

impl Arguments {
    /// Refuses what only matters when somebody is asked, if nobody is.
    fn check(&self) -> Result<(), Failure> {
        let given = [
            ("--allowed", self.allowed.is_some()),
            ("--denied", self.denied.is_some()),
            ("--foreign", !self.foreign.is_empty()),
            ("--no-foreign", self.no_foreign),
            ("--timeout", self.timeout.is_some()),
        ];
        let asks = self.root.is_none() || !self.servers.is_empty();
        match given.into_iter().find(|(_, given)| *given && !asks) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::Usage {
                message: format!("{option} means nothing with --root alone: nobody is asked"),
                hint: Some("name a name server with --server".to_owned()),
            }),
        }
    }

    fn request(&self) -> Request {
        let foreign = match self.foreign.as_slice() {
            _ if self.no_foreign => Vec::new(),
            [] => doctor::public_resolvers(),
            given => given.to_vec(),
        };
        Request {
            servers: self.servers.clone(),
            allowed: self.allowed.clone(),
            denied: self.denied.clone(),
            foreign,
            timeout: self.timeout.unwrap_or(Request::default().timeout),
        }
    }
}

/// Prints a report for people: problems first, what is fine last.
pub(super) fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "where: {}", report.place)?;
    for severity in [Severity::Problem, Severity::Warning, Severity::Note, Severity::Ok] {
        let found = report.findings.iter().filter(|finding| finding.severity == severity);
        found.into_iter().try_for_each(|finding| print_finding(finding, output))?;
    }
    report.unseen.iter().try_for_each(|what| print_wrapped("unseen   ", what, output))?;
    writeln!(output, "{}", summary(report))?;
    Ok(())
}

fn print_finding(finding: &Finding, output: &mut Output) -> Result<(), Failure> {
    print_wrapped(&format!("{:8} ", word(finding.severity)), &finding.title, output)?;
    if finding.severity == Severity::Ok {
        return Ok(());
    }
    if !finding.meaning.is_empty() {
        print_wrapped(INDENT, &finding.meaning, output)?;
    }
    if let Some(fix) = &finding.fix {
        // On one line: it is there to be pasted.
        writeln!(output, "{INDENT}fix: {fix}")?;
    }
    writeln!(output, "{INDENT}see: README.md#{}", finding.section.anchor())?;
    Ok(())
}

/// Prints words after `start`, which is as wide as [`INDENT`], on as many lines as they take.
fn print_wrapped(start: &str, words: &str, output: &mut Output) -> Result<(), Failure> {
    wrapped(start, words).iter().try_for_each(|line| writeln!(output, "{line}"))?;
    Ok(())
}

fn wrapped(start: &str, words: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = start.to_owned();
    for word in words.split_ascii_whitespace() {
        if line.len() > INDENT.len() && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
        }
        if line.len() > INDENT.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Below a finding's title.
const INDENT: &str = "         ";
/// As wide as many terminals are.
const WIDTH: usize = 100;

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Problem => "PROBLEM",
    }
}

fn summary(report: &Report) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let [problems, warnings, notes] = [Severity::Problem, Severity::Warning, Severity::Note].map(count);
    let [problems, warnings, notes] =
        [counted(problems, "problem"), counted(warnings, "warning"), counted(notes, "note")];
    format!("{problems}, {warnings}, {notes}")
}

fn server_address(text: &str) -> Result<SocketAddr, String> {
    address::parse_socket(text, DNS_PORT).map_err(|fault| format!("{}: {}", fault.message, fault.hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_wrapped_and_long_words_are_not_torn() {
        let words = "word ".repeat(40);
        let lines = wrapped("PROBLEM  ", &words);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:#?}");
        assert!(lines[0].starts_with("PROBLEM  word ") && lines[1].starts_with("         word "), "{lines:#?}");
        assert_eq!(lines.iter().map(|line| line.matches("word").count()).sum::<usize>(), 40);
        let long = "x".repeat(200);
        assert_eq!(wrapped(INDENT, &long), [format!("{INDENT}{long}")]);
    }
}
