//! `pullgate setup rancher-desktop`.

use super::home::Home;
use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::rancher_desktop::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// The guest of Rancher Desktop, on macOS and Linux
///
/// Turns Lima's own resolver off and names pullgate as the only server, in the user's override.yaml.
///
/// Examples:
///   pullgate setup rancher-desktop --address 192.168.1.2 --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    home: Home,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = rancher_desktop::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        rancher_desktop::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        rancher_desktop::plan(machine, request, &Options { home: self.home.folder()? })
    }
}
