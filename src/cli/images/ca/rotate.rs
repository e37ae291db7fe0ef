//! `pullgate images ca rotate`.

use std::io::Write;
use std::time::{Duration, SystemTime};

use super::names::Names;
use super::{Folder, Making, make};
use crate::cli::failure::Failure;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::{ExitCode, Outcome};
use crate::gateway::authority::{AuthorityError, BACKDATED, Constraint, Stored, in_use, read_folder};

/// Make another authority, which hosts trust before it is used
///
/// It is for the names that the policy has inspected now; without any, for those of the pair in use.
/// Until its time comes the old pair goes on signing: have all hosts trust both meanwhile, with
/// `pullgate images ca install`. What the old one signed counts for a week after that.
///
/// Examples:
///   sudo pullgate images ca rotate                 used in two weeks
///   sudo pullgate images ca rotate --overlap 0s    at once: for a name that the old one is not for
///
/// Exit codes:
///   0   made
///   64  the command line is wrong
///   74  reading or writing failed
///   78  there is no authority yet, or the one in use would end before; the policy has faults
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    making: Making,
    /// After how long it is used
    #[arg(long, value_name = "DURATION", default_value = "14days", value_parser = humantime::parse_duration)]
    overlap: Duration,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let settings = &loaded.settings;
    let folder = arguments.folder.path(settings);
    let files = read_folder(&folder)?;
    if files.is_empty() {
        return Err(AuthorityError::Missing(folder).into());
    }
    let now = SystemTime::now();
    let current = in_use(&files, now);
    let start = start(arguments.overlap, current, now)?;
    let mut names = Names::of(&loaded, &arguments.making.names)?;
    if names.constraints.is_empty() {
        let permitted = current.and_then(|stored| stored.certificate.permitted()).unwrap_or_default();
        names.constraints = permitted.iter().map(Constraint::from).collect();
    }
    let report = make(&folder, &names, &arguments.making, settings, start)?;
    if arguments.making.json {
        output.json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    report.print(output)?;
    writeln!(output, "Every host has to trust it before it is used: `pullgate images ca install --write --restart`.")?;
    Ok(ExitCode::SUCCESS)
}

/// When the new pair begins to count; the one in use must not end before.
///
/// Of the pairs that count the newest signs. One that is to count at once is therefore newer than the one in use by a
/// second, which is all that a certificate's times can tell (RFC 5280, section 4.1.2.5).
fn start(overlap: Duration, current: Option<&Stored>, now: SystemTime) -> Result<SystemTime, Failure> {
    if overlap.is_zero() {
        let newer = current.map(|stored| stored.certificate.not_before() + Duration::from_secs(1));
        return Ok((now - BACKDATED).max(newer.unwrap_or(SystemTime::UNIX_EPOCH)));
    }
    let start = now.checked_add(overlap).filter(|start| *start < now + super::MAX_LIFETIME);
    let start = start.ok_or_else(|| Failure::Usage { message: "--overlap is too long".to_owned(), hint: None })?;
    let problem = match current {
        Some(stored) if stored.certificate.not_after() > start => return Ok(start),
        Some(_) => "the authority in use ends before another would begin",
        None => "no authority is in use: there is nothing to overlap with",
    };
    let hint = "a shorter --overlap does it; with 0s it is used at once, and hosts have to trust it at once";
    Err(Failure::Settings { message: problem.to_owned(), hint: Some(hint.to_owned()) })
}
