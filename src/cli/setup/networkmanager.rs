//! `pullgate setup networkmanager`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault, networkmanager};

/// This machine's programs, where NetworkManager writes /etc/resolv.conf
///
/// Tells NetworkManager to leave the file alone, and names pullgate in it. The servers of the
/// connections stay known: pullgate's upstream `system` follows them, a VPN's included.
///
/// Examples:
///   pullgate setup networkmanager
///   sudo pullgate setup networkmanager --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

impl targets::Arguments for Arguments {
    const NAME: &'static str = networkmanager::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        networkmanager::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        networkmanager::plan(machine, request)
    }
}
