//! `pullgate setup libvirt`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::libvirt::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Guests of a virtual network of libvirt
///
/// DHCP hands out pullgate's address, so that policy can tell the guests apart; libvirt's own name
/// server in that network is turned off, since it would be a way around.
///
/// Examples:
///   pullgate setup libvirt --address 192.168.122.1
///   sudo pullgate setup libvirt --network lab --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The network's name
    #[arg(long, value_name = "NAME", default_value = "default")]
    network: String,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = libvirt::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        libvirt::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        libvirt::plan(machine, request, &Options { network: self.network.clone() })
    }
}
