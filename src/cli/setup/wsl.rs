//! `pullgate setup wsl`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault, wsl};

/// A WSL 2 distribution
///
/// Tells WSL to leave resolv.conf alone (wsl.conf), and makes it a file that names pullgate only. What
/// concerns the network modes is set in Windows: the notes say what.
///
/// Examples:
///   sudo pullgate setup wsl --write
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

impl targets::Arguments for Arguments {
    const NAME: &'static str = wsl::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        wsl::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        wsl::plan(machine, request)
    }
}
