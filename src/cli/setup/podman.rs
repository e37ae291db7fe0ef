//! `pullgate setup podman`.

use std::path::PathBuf;

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::podman::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Containers of podman and buildah
///
/// Writes `dns_servers` into a drop-in of containers.conf. What podman, buildah and skopeo pull goes
/// by the resolv.conf of this machine: set that up with the target of its own.
///
/// Examples:
///   sudo pullgate setup podman --address 10.88.0.1 --write
///   pullgate setup podman --home ~ --address 10.88.0.1 --write
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Only for the user whose home folder this is [default: for all users]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = podman::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        podman::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        podman::plan(machine, request, &Options { home: self.home.clone() })
    }
}
