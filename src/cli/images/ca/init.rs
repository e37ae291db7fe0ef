//! `pullgate images ca init`.

use std::io::Write;
use std::time::SystemTime;

use super::names::Names;
use super::{Folder, Making, make};
use crate::cli::failure::Failure;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::{ExitCode, Outcome};
use crate::gateway::authority::{BACKDATED, read_folder};

/// Make the authority, for the names that the policy has inspected
///
/// A key (ECDSA P-256, readable for the service alone) and a certificate that may sign for those
/// names and what lies below them, for nothing else and for no other authority. Whoever steals the
/// key can pretend to be those registries to the hosts that trust it, and nobody else.
///
/// As root, the key is given to the user of the service: `pullgate-gateway` or `pullgate`, if there
/// is one.
///
/// Examples:
///   sudo pullgate images ca init
///   pullgate images ca init --ca ./ca --name registry-1.docker.io
///
/// Exit codes:
///   0   made
///   64  the command line is wrong
///   74  reading or writing failed
///   78  there is an authority already, or the policy has no inspected name, or has faults
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    making: Making,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let settings = &loaded.settings;
    let folder = arguments.folder.path(settings);
    if let Some(stored) = read_folder(&folder)?.first() {
        return Err(Failure::Settings {
            message: format!("there is an authority already: {}", stored.path.display()),
            hint: Some("`pullgate images ca rotate` makes another, which is trusted before it is used".to_owned()),
        });
    }
    let names = Names::of(&loaded, &arguments.making.names)?;
    let report = make(&folder, &names, &arguments.making, settings, SystemTime::now() - BACKDATED)?;
    if arguments.making.json {
        output.json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    report.print(output)?;
    writeln!(output, "{NEXT}")?;
    Ok(ExitCode::SUCCESS)
}

const NEXT: &str = "
Next, on every host whose engines use the gateway:
  sudo pullgate images ca install --write --restart       # here
  pullgate images ca show --pem > pullgate-ca.pem         # for others: carry this file there, and run
  sudo pullgate images ca install --ca pullgate-ca.pem --write --restart";
