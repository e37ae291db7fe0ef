//! `pullgate setup ca`.

use std::path::PathBuf;
use std::time::SystemTime;

use super::targets;
use crate::config::DEFAULT_AUTHORITY;
use crate::gateway::authority::{CaCertificate, read_certificates};
use crate::inspect::machine::Machine;
use crate::inspect::setup::ca::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// The gateway's authority, for the programs of this machine to trust
///
/// Puts its certificates where the distribution takes additions to the system's bundle from, and
/// lists the commands that make the bundle and have engines read it. `pullgate images ca install`
/// is the same.
///
/// Examples:
///   sudo pullgate setup ca --write --restart
///   sudo pullgate setup ca --ca pullgate-ca.pem --write --restart    on another host than the gateway's
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[group(skip)]
pub(in crate::cli) struct Arguments {
    /// The authority's folder, or a file of certificates in PEM [default: `ca` of [gateway] in the settings, else
    /// /etc/pullgate/ca]
    #[arg(long, value_name = "PATH")]
    ca: Option<PathBuf>,
}

impl Arguments {
    fn certificates(&self, machine: &Machine, request: &Request) -> Result<Vec<CaCertificate>, SetupFault> {
        let of_machine = || {
            let folder = request.authority.clone().unwrap_or_else(|| DEFAULT_AUTHORITY.into());
            machine.locate(&folder).unwrap_or(folder)
        };
        let path = self.ca.clone().unwrap_or_else(of_machine);
        read_certificates(&path).map_err(|error| {
            SetupFault::new(error.to_string()).hint(
                "on the gateway's machine `pullgate images ca init` makes one; on another name with --ca the file that \
                 `pullgate images ca show --pem` printed there",
            )
        })
    }
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = ca::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        ca::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        let certificates = self.certificates(machine, request)?;
        ca::plan(machine, &Options { certificates, now: SystemTime::now() })
    }
}
