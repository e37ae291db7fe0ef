//! `pullgate setup resolved`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault, resolved};

/// This machine's programs, by systemd-resolved
///
/// Writes a drop-in that makes pullgate the only server of resolved itself, for every name, without
/// fall-back servers. What a link brings along (DHCP, a VPN) stays known to resolved: pullgate's
/// upstream `system` finds the real servers there. Links that claim names for themselves are named.
///
/// Examples:
///   pullgate setup resolved
///   sudo pullgate setup resolved --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

impl targets::Arguments for Arguments {
    const NAME: &'static str = resolved::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        resolved::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        resolved::plan(machine, request)
    }
}
