//! `pullgate setup lima`.

use super::home::Home;
use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::lima::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Guests of Lima
///
/// Turns Lima's own resolver off and names pullgate as the only server: of one instance, or of all in
/// _config/override.yaml.
///
/// Examples:
///   pullgate setup lima --address 192.168.1.2
///   pullgate setup lima --instance docker --address 192.168.1.2 --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    home: Home,
    /// Only this instance [default: all]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = lima::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        lima::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        lima::plan(machine, request, &Options { home: self.home.folder()?, instance: self.instance.clone() })
    }
}
