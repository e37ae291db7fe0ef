//! `pullgate setup colima`.

use super::home::Home;
use super::targets;
use crate::inspect::machine::Machine;
use crate::inspect::setup::colima::{self, Options};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// The guest of a profile of Colima
///
/// Names pullgate in the profile's `network.dns`, which turns Lima's own resolver off as well.
///
/// Examples:
///   pullgate setup colima --address 192.168.1.2
///   pullgate setup colima --profile work --address 192.168.1.2 --write --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    home: Home,
    /// The profile
    #[arg(long, value_name = "NAME", default_value = "default")]
    profile: String,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = colima::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        colima::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        colima::plan(machine, request, &Options { home: self.home.folder()?, profile: self.profile.clone() })
    }
}
