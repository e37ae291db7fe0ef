//! `pullgate status`: how the running resolver is.

use std::io::Write;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, overlay};
use crate::control::report::{ExceptionReport, FaultReport, ListenReport, RollbackReport, State, StatusReport};
use crate::diagnostic::Severity;

/// Show how the running resolver is: policy in force, listeners, faults
///
/// Exit codes: 0 ok; 1 degraded (the files are faulty, an earlier policy is in force), rolled-back or deny-all (no policy
/// at all); 69 the server is not running.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    let report = options::block_on(async { Ok(client.status().await?) })?;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(match report.state {
        State::Ok => ExitCode::SUCCESS,
        State::Degraded | State::RolledBack | State::DenyAll => ExitCode::from(failure::NO),
    })
}

fn print(report: &StatusReport, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "{}", headline(report.state))?;
    let rules = counted(report.rules, "rule");
    writeln!(output, "  policy   generation {}, {rules}, digest {}", report.generation, report.digest)?;
    writeln!(output, "           in force since {} ({})", report.since, age(&report.since))?;
    if let Some(RollbackReport { generation, since, by }) = &report.rollback {
        writeln!(output, "           rolled back to generation {generation} by {by} at {since} ({} ago)", age(since))?;
    }
    for overlay in &report.overlays {
        writeln!(output, "  overlay  {}", overlay::line(overlay))?;
    }
    for exception in &report.exceptions {
        let what = if exception.ended { "ended  " } else { "expires" };
        writeln!(output, "  {what}  {}", exception_line(exception))?;
    }
    for line in listeners(&report.listen) {
        writeln!(output, "  listens  {line}")?;
    }
    writeln!(output, "  server   {}, pid {}, up {}", report.version, report.pid, age(&report.started))?;
    if !report.forwards_unlisted.is_empty() {
        let groups = report.forwards_unlisted.join(", ");
        writeln!(output, "  note     unlisted registries are reachable for: {groups} (unlisted = \"forward\")")?;
    }
    print_each(&report.warnings, Severity::Warning, output)?;
    print_each(&report.faults, Severity::Fault, output)
}

fn headline(state: State) -> &'static str {
    match state {
        State::Ok => "ok: the policy files are in force",
        State::Degraded => "degraded: the policy files are faulty, an earlier policy is in force",
        State::RolledBack => "rolled-back: an earlier policy is in force, the policy files are not",
        State::DenyAll => "deny-all: there is no policy to put in force, every name is denied",
    }
}

/// `registry old-mirror for ci: 5d 3h left (2027-01-31T00:00:00.000Z), owner platform, ticket SEC-118, policy.d/a.toml:12`.
fn exception_line(exception: &ExceptionReport) -> String {
    let ExceptionReport { entry, kind, expires, ended, owner, ticket, groups, path, line, .. } = exception;
    let whose = if groups.is_empty() { String::new() } else { format!(" for {}", groups.join(", ")) };
    let when = match ended {
        true => format!("at {expires}, and is left out"),
        false => format!("{} ({expires})", overlay::left(expires)),
    };
    let owner = owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
    let ticket = ticket.as_ref().map(|ticket| format!(", ticket {ticket}")).unwrap_or_default();
    format!("{kind} {entry}{whose}: {when}{owner}{ticket}, {}:{line}", path.display())
}

/// One line an address, with everything spoken there.
fn listeners(listen: &[ListenReport]) -> Vec<String> {
    let mut lines: Vec<(std::net::SocketAddr, Vec<&str>)> = Vec::new();
    for listener in listen {
        match lines.iter_mut().find(|(address, _)| *address == listener.address) {
            Some((_, transports)) => transports.push(&listener.transport),
            None => lines.push((listener.address, vec![&listener.transport])),
        }
    }
    lines.into_iter().map(|(address, transports)| format!("{address} ({})", transports.join(", "))).collect()
}

fn print_each(faults: &[FaultReport], severity: Severity, output: &mut Output) -> Result<(), Failure> {
    for fault in faults {
        writeln!(output, "{}", fault.clone().into_diagnostic(severity))?;
    }
    Ok(())
}

/// How long ago `since` was, in words such as `2h 5m`; empty when it is no time.
fn age(since: &str) -> String {
    let Ok(since) = since.parse::<jiff::Timestamp>() else { return String::new() };
    let seconds = jiff::Timestamp::now().duration_since(since).as_secs().max(0);
    humantime::format_duration(std::time::Duration::from_secs(seconds.unsigned_abs())).to_string()
}
