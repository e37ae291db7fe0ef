//! `pullgate setup resolv-conf`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault, resolv_conf};

/// This machine's programs, by /etc/resolv.conf
///
/// Names pullgate as the only server; search list and options stay. The file as it was is kept in
/// /etc/pullgate/resolv.conf, where pullgate's upstream `system` finds it. dhclient and dhcpcd are
/// told to leave the file alone; where another program writes it, its own target is named.
///
/// Examples:
///   pullgate setup resolv-conf
///   sudo pullgate setup resolv-conf --address 192.168.1.2 --write
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

impl targets::Arguments for Arguments {
    const NAME: &'static str = resolv_conf::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        resolv_conf::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        resolv_conf::plan(machine, request)
    }
}
