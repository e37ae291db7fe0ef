//! `pullgate setup docker`.

use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::docker::{self, Options, Scope};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Docker Engine: pulls, builds and containers
///
/// The daemon's pulls and the FROM of a build ask whom the host's resolv.conf names; containers and
/// RUN steps ask whom `dns` in daemon.json names. With the scope `machine` both become pullgate: the
/// host by whoever writes its resolv.conf, containers by the address of Docker's bridge, which is
/// added to server.listen where pullgate does not listen yet.
///
/// With the scope `engine` only what the daemon pulls is restricted: it gets a resolv.conf of its own;
/// host, containers and RUN steps go on as before. What goes past that is listed.
///
/// Examples:
///   pullgate setup docker
///   sudo pullgate setup docker --write --restart
///   sudo pullgate setup docker --address 198.18.0.1 --write     a pullgate on the gateway
///   sudo pullgate setup docker --scope engine --write
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// How much is to ask pullgate
    #[arg(long, value_enum, default_value_t)]
    scope: ScopeWord,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum ScopeWord {
    /// Pulls, builds, containers and the host itself
    #[default]
    Machine,
    /// What the daemon pulls, and nothing else
    Engine,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = docker::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        docker::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        let scope = match self.scope {
            ScopeWord::Machine => Scope::Machine,
            ScopeWord::Engine => Scope::Engine,
        };
        docker::plan(machine, request, &Options { scope })
    }
}
