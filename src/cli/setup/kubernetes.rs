//! `pullgate setup kubernetes`.

use std::net::IpAddr;

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::kubernetes::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// A node: its pulls ask pullgate, pods and CoreDNS the servers of before
///
/// Points the kubelet's resolvConf (of k3s and rke2: resolv-conf) to a file with the servers that the
/// node asks now, so that the node itself can be set up to ask pullgate after it.
///
/// Examples:
///   sudo pullgate setup kubernetes --write --restart
///   sudo pullgate setup resolved --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// A server for pods and CoreDNS; may be repeated [default: those of before]
    #[arg(long, value_name = "IP")]
    pods_server: Vec<IpAddr>,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = kubernetes::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        kubernetes::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        kubernetes::plan(machine, request, &Options { servers: self.pods_server.clone() })
    }
}
