//! `pullgate check`: would a name resolve, and why.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome, compiled};
use crate::control::explain::{self, OnBehalf, Question};
use crate::control::report::{Asked, CheckReport, VerdictWord};
use crate::name::DomainName;
use crate::record_type;

/// Say whether names would resolve, and which rule decides
///
/// Reads the policy files as they are now; it needs no running server. For a denied name it says
/// what would allow it; and if a server runs that was asked for it right after a registry, for
/// which registry, since that may have sent the client there.
///
/// Examples:
///   pullgate check ghcr.io quay.io
///   pullgate check ghcr.io --policy ./policy.d --client 10.20.0.5
///   pullgate check nexus.corp.example --group ci --json
///
/// Exit codes:
///   0   every name is allowed, or let through by audit
///   1   one is denied
///   64  a name is none
///   78  the settings or the policy are faulty
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The names
    #[arg(required = true, value_name = "NAME", value_parser = host_name)]
    names: Vec<DomainName>,
    /// Ask as the client at this address
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// Ask as a client of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "client")]
    group: Option<String>,
    /// Ask for this record type
    #[arg(long = "type", value_name = "TYPE", value_parser = type_number)]
    record_type: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let snapshot = compiled::from_settings(&loaded)?.snapshot;
    let on_behalf = match &arguments.group {
        Some(group) => OnBehalf::Group(group.clone()),
        None => OnBehalf::Client(arguments.client),
    };
    let mut reports = Vec::new();
    for name in &arguments.names {
        let question =
            Question { name: name.clone(), record_type: arguments.record_type, on_behalf: on_behalf.clone() };
        let report = explain::check(&snapshot, &question, &loaded.settings.server.record_types);
        let report = report.map_err(|unknown| Failure::Usage { message: unknown.to_string(), hint: None })?;
        reports.push(with_log(report, options)?);
    }
    if arguments.json {
        output.json(&reports)?;
    } else {
        reports.iter().try_for_each(|report| print(report, output))?;
    }
    let denied = reports.iter().any(|report| report.verdict == VerdictWord::Deny);
    Ok(if denied { ExitCode::from(failure::NO) } else { ExitCode::SUCCESS })
}

/// Adds what a running server knows of a denied name. Without one the report is as good as can be had.
fn with_log(report: CheckReport, options: &Options) -> Result<CheckReport, Failure> {
    if report.verdict == VerdictWord::Allow {
        return Ok(report);
    }
    let (client, filter) = (options.client()?, [("name", report.name.clone())]);
    let entries = options::block_on(async { Ok(client.log(&filter).await.unwrap_or_default()) })?;
    Ok(report.with_log(&entries))
}

fn print(report: &CheckReport, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "{:5}  {}  {}", report.verdict, report.name, report.reason)?;
    if let Some(group) = &report.group {
        writeln!(output, "       group: {group}")?;
    }
    if let Some(rule) = &report.rule {
        writeln!(output, "       rule: {rule}")?;
    }
    for (label, text) in [("note", &report.note), ("hint", &report.hint)] {
        if let Some(text) = text {
            writeln!(output, "       {label}: {text}")?;
        }
    }
    if let Some(Asked { at, client, after, line }) = &report.asked {
        writeln!(output, "       asked: by {client} at {at}, right after {}", after.name)?;
        writeln!(output, "       hint: if that sends downloads here, add to {}: {line}", after.place())?;
    }
    Ok(())
}

/// A name as people paste it; what comes with an image reference is told apart from it.
fn host_name(text: &str) -> Result<DomainName, String> {
    if text.contains("://") || text.contains('/') {
        return Err("a host name, not a URL or an image: write `ghcr.io`".to_owned());
    }
    if text.contains(':') {
        return Err("a host name, without a port: DNS has no ports".to_owned());
    }
    text.parse().map_err(|error| format!("not a name: {error}"))
}

fn type_number(text: &str) -> Result<u16, String> {
    record_type::number(text).ok_or_else(|| "not a record type: write A, AAAA, HTTPS, TXT or TYPE65".to_owned())
}
