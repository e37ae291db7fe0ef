//! What all checks share: whose files are looked at, where that is, and what the command line says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::place::Place;
use crate::config::Settings;
use crate::inspect::machine::Machine;
use crate::name::DomainName;
use crate::policy::snapshot::Snapshot;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name servers to try instead of the configured ones.
    pub servers: Vec<SocketAddr>,
    /// A name that must resolve.
    pub allowed: Option<DomainName>,
    /// A name that must not.
    pub denied: Option<DomainName>,
    /// Other resolvers, which clients must not reach; empty: none is tried.
    pub foreign: Vec<SocketAddr>,
    /// How long one question may take.
    pub timeout: Duration,
}

/// What the checks look at. It is gathered once; the checks only read it.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// Whose files.
    pub machine: &'a Machine,
    /// What the command line asks for.
    pub request: &'a Request,
    /// The settings of a pullgate on this machine, where they can be read.
    pub settings: Option<&'a Settings>,
    /// The policy that those name, where it can be read and has no fault.
    pub policy: Option<&'a Snapshot>,
    /// The environment of the user: proxies among it. Empty for the tree of another machine.
    pub variables: BTreeMap<String, String>,
    /// Where the client stands.
    pub place: Place,
}

impl<'a> Scene<'a> {
    /// Gathers what `machine` shows.
    pub fn of(machine: &'a Machine, request: &'a Request, settings: Option<&'a Settings>) -> Self {
        let variables = if machine.is_here() { own_variables() } else { BTreeMap::new() };
        let place = Place::of(machine, &variables);
        Self { machine, request, settings, policy: None, variables, place }
    }

    /// The same with the policy in force, by which hosts that files name are judged.
    #[must_use]
    pub fn with_policy(self, policy: Option<&'a Snapshot>) -> Self {
        Self { policy, ..self }
    }
}

/// This process's environment; what is not UTF-8 in it is nothing that a check looks for.
fn own_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
