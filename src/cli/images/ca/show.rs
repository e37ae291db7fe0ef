//! `pullgate images ca show`.

use std::io::Write;
use std::time::SystemTime;

use super::report::Report;
use super::{Folder, exit_code, names};
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::{ExitCode, Outcome};
use crate::gateway::authority::read_certificates;

/// Show the authority: its certificates, what each is for, and whether every inspected name is covered
///
/// JSON (--json):
///   folder, certificates (name, state: in-use, next, previous, without-key or expired, subject,
///   fingerprint, `not_before`, `not_after`, permitted), names (pattern, covered)
///
/// Exit codes:
///   0   a pair is in use, and is for every inspected name of the policy
///   1   not so
///   64  the command line is wrong
///   74  reading or writing failed
///   78  a file of the folder is damaged; the policy has faults
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    folder: Folder,
    /// Print the certificates that hosts have to trust, and nothing else
    #[arg(long, conflicts_with = "json")]
    pem: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let folder = arguments.folder.path(&loaded.settings);
    let now = SystemTime::now();
    if arguments.pem {
        for certificate in read_certificates(&folder)?.into_iter().filter(|it| it.not_after() > now) {
            write!(output, "{}", certificate.to_pem())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report::of(&folder, &names::in_force(&loaded)?, None, now)?;
    if arguments.json { output.json(&report) } else { report.print(output) }?;
    Ok(exit_code(&report))
}
