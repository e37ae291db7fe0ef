//! `pullgate allow`, `block`, `mode` and `overlay`: changes on top of the policy files that end by themselves.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::report::{FaultReport, OverlayOutcomeReport, OverlayReport};
use crate::diagnostic::Severity;
use crate::name::DomainName;
use crate::policy::exceptions::in_words;
use crate::policy::pattern::Pattern;

/// Allow a name for a while, on top of the policy files
///
/// It is in force at once and over restarts, listed by `status` and `overlay`, said by `check`, and ends by itself, after 7
/// days at most. The policy files stay untouched. A `[[deny]]` of theirs is never beaten, and what they allow already stays
/// as they have it. Only the group that is named has it, not those that inherit from it.
///
/// Examples:
///   pullgate allow quay.io --group ci --for 2h --ticket T-7 --reason "the mirror is down"
///   pullgate allow --end quay.io --group ci
///
/// Exit codes: 0 in force, or ended; 78 refused; 69 the server is not running.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct AllowArguments {
    /// The host name
    #[arg(value_parser = name)]
    name: DomainName,
    /// For how long: 30m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = time, required_unless_present = "end")]
    time: Option<Duration>,
    #[command(flatten)]
    terms: Terms,
}

/// Deny names at once, on top of the policy files
///
/// It beats whatever allows them, and audit, until it is ended or its time is up.
///
/// Examples:
///   pullgate block "*.evil.example"
///   pullgate block cdn.example --group ci --for 1d --reason SEC-7
///   pullgate block --end "*.evil.example"
///
/// Exit codes: 0 in force, or ended; 78 refused; 69 the server is not running.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BlockArguments {
    /// The host name, or a pattern
    #[arg(value_parser = pattern)]
    name: Pattern,
    /// For how long [default: until it is ended]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    #[command(flatten)]
    terms: Terms,
}

/// Put a group or one client under audit, or enforce the policy there, for a while
///
/// Without --group and --client it is the mode of whoever is in a group that does not say. A client stays in its group: what
/// is allowed to that, and what is denied by a `[[deny]]`, is so for the client as well.
///
/// Examples:
///   pullgate mode audit --group ci --for 1h --ticket T-7
///   pullgate mode audit --group ci --end
///   pullgate mode audit --client 10.20.0.7 --for 10m
///
/// Exit codes: 0 in force, or ended; 78 refused; 69 the server is not running.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ModeArguments {
    /// What a denial means
    mode: ModeWord,
    /// For how long: 30m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = time, required_unless_present = "end")]
    time: Option<Duration>,
    /// Only for the client at this address
    #[arg(long, value_name = "ADDR", conflicts_with = "group")]
    client: Option<IpAddr>,
    #[command(flatten)]
    terms: Terms,
}

/// Show what is on top of the policy files: allow, block, mode
///
/// Exit codes: 0 also when there is nothing; 69 the server is not running.
#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What all of them have.
#[derive(Debug, clap::Args)]
struct Terms {
    /// Only for clients of this group [default: everyone]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Where it was decided
    #[arg(long, value_name = "TEXT")]
    ticket: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// End it
    #[arg(long, conflicts_with_all = ["time", "ticket", "reason"])]
    end: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModeWord {
    /// Denied names resolve, and count as would-deny
    Audit,
    /// They do not
    Enforce,
}

pub(super) fn allow(options: &Options, arguments: &AllowArguments, output: &mut Output) -> Outcome {
    let AllowArguments { name, time, terms } = arguments;
    let wanted = Wanted { kind: "allow", what: name.to_string(), time: *time, client: None };
    run(options, wanted, terms, output)
}

pub(super) fn block(options: &Options, arguments: &BlockArguments, output: &mut Output) -> Outcome {
    let BlockArguments { name, time, terms } = arguments;
    let wanted = Wanted { kind: "block", what: name.to_string(), time: *time, client: None };
    run(options, wanted, terms, output)
}

pub(super) fn mode(options: &Options, arguments: &ModeArguments, output: &mut Output) -> Outcome {
    let ModeArguments { mode, time, client, terms } = arguments;
    let what = match mode {
        ModeWord::Audit => "audit".to_owned(),
        ModeWord::Enforce => "enforce".to_owned(),
    };
    run(options, Wanted { kind: "mode", what, time: *time, client: *client }, terms, output)
}

pub(super) fn list(options: &Options, arguments: &ListArguments, output: &mut Output) -> Outcome {
    let client = options.client()?;
    let overlays = options::block_on(async { Ok(client.overlays().await?) })?;
    if arguments.json {
        output.json(&overlays)?;
    } else if overlays.is_empty() {
        writeln!(output, "nothing is on top of the policy files")?;
    } else {
        overlays.iter().try_for_each(|overlay| writeln!(output, "{}", line(overlay)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to change.
struct Wanted {
    kind: &'static str,
    what: String,
    time: Option<Duration>,
    client: Option<IpAddr>,
}

fn run(options: &Options, wanted: Wanted, terms: &Terms, output: &mut Output) -> Outcome {
    let server = options.client()?;
    let Wanted { kind, what, time, client } = wanted;
    let time = time.map(|time| humantime::format_duration(time).to_string());
    let client = client.map(|client| client.to_string());
    let Terms { group, ticket, reason, end, json } = terms;
    let given = [("group", group), ("client", &client), ("for", &time), ("ticket", ticket), ("reason", reason)];
    let given = given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let query: Vec<(&str, String)> = [("kind", kind.to_owned()), ("what", what)].into_iter().chain(given).collect();
    let report = options::block_on(async {
        Ok(if *end { server.end_overlay(&query).await? } else { server.put_overlay(&query).await? })
    })?;
    if *json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    match report {
        OverlayOutcomeReport::Refused { .. } => Ok(ExitCode::from(failure::CONFIG)),
        OverlayOutcomeReport::InForce { .. } | OverlayOutcomeReport::Ended { .. } => Ok(ExitCode::SUCCESS),
    }
}

fn print(report: &OverlayOutcomeReport, output: &mut Output) -> Result<(), Failure> {
    let print_each = |faults: &[FaultReport], severity: Severity| {
        for fault in faults {
            eprintln!("{}", fault.clone().into_diagnostic(severity));
        }
    };
    match report {
        OverlayOutcomeReport::InForce { generation, overlay, warnings } => {
            print_each(warnings, Severity::Warning);
            writeln!(output, "in force: generation {generation}, {}", line(overlay))?;
        }
        OverlayOutcomeReport::Ended { generation, warnings } => {
            print_each(warnings, Severity::Warning);
            writeln!(output, "ended: generation {generation}")?;
        }
        OverlayOutcomeReport::Refused { faults } => {
            print_each(faults, Severity::Fault);
            eprintln!("refused: nothing changed");
        }
    }
    Ok(())
}

/// `allow quay.io for group ci, by alice, 1h 58m left, ticket T-7: the mirror is down`.
pub(super) fn line(overlay: &OverlayReport) -> String {
    let OverlayReport { kind, what, group, client, by, until, ticket, reason, .. } = overlay;
    let client = client.map(|client| format!(" for client {client}"));
    let whose = group.as_ref().map(|group| format!(" for group {group}")).or(client).unwrap_or_default();
    let left = until.as_deref().map_or("until it is ended".to_owned(), left);
    let ticket = ticket.as_ref().map(|ticket| format!(", ticket {ticket}")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{kind} {what}{whose}, by {by}, {left}{ticket}{reason}")
}

/// How long it is until a moment, in words such as `1h 58m left`.
pub(super) fn left(until: &str) -> String {
    let Ok(until) = until.parse::<jiff::Timestamp>() else { return format!("until {until}") };
    let left = SystemTime::from(until).duration_since(SystemTime::now()).unwrap_or_default();
    format!("{} left", in_words(left))
}

fn name(text: &str) -> Result<DomainName, String> {
    let wildcard = "one name is allowed at a time: wildcards belong into the policy files";
    pattern(text)?.exact().ok_or_else(|| wildcard.to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|fault| format!("{}: {}", fault.message, fault.hint))
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "not a time: write it as in 30m, 2h, 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_allowed_at_a_time() {
        assert!(name("quay.io").is_ok());
        for text in ["*.quay.io", ".quay.io", "https://quay.io", "10.0.0.1", "*"] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_minutes_and_at_the_end_in_seconds() {
        let until =
            |seconds| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap().to_string();
        assert_eq!(left(&until(7200 + 30)), "2h left");
        assert!(left(&until(100)).ends_with("s left"));
        assert_eq!(left(&until(-5)), "0s left");
    }
}
