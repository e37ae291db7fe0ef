//! `pullgate setup buildkit`.

use super::home::Home;
use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::buildkit::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// RUN steps of buildkitd and of buildx's builders
///
/// Names pullgate in `[dns]` of buildkitd.toml: without it, a server on loopback becomes 8.8.8.8 in
/// RUN steps. Builders of buildx have to be created anew to get it; the commands are listed.
///
/// Examples:
///   pullgate setup buildkit
///   sudo pullgate setup buildkit --home /home/me --address 172.17.0.1 --write
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    home: Home,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = buildkit::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        buildkit::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        buildkit::plan(machine, request, &Options { home: self.home.folder()? })
    }
}
