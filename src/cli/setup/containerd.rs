//! `pullgate setup containerd`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::containerd;
use crate::inspect::setup::{Plan, Request, SetupFault};

/// containerd, and the containers of nerdctl
///
/// containerd has no setting for it: it pulls by the resolv.conf that it sees. With --scope machine
/// that is this machine's, and nerdctl's containers get `dns` of nerdctl.toml. With --scope engine
/// containerd.service sees another one, and everything else is left alone.
///
/// Examples:
///   pullgate setup containerd
///   sudo pullgate setup containerd --scope engine --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// What asks pullgate
    #[arg(long, value_enum, value_name = "SCOPE", default_value = "machine")]
    scope: Scope,
}

/// What asks pullgate.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scope {
    /// This machine and its containers.
    Machine,
    /// containerd's own process, and nothing else.
    Engine,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = containerd::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        containerd::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        let scope = match self.scope {
            Scope::Machine => containerd::Scope::Host,
            Scope::Engine => containerd::Scope::Engine,
        };
        containerd::plan(machine, request, scope)
    }
}
