//! What all checks share: whose files are looked at, where that is, and what the command line says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::place::Place;
use crate::config::Settings;
use crate::control::report::StatusReport;
use crate::inspect::machine::Machine;
use crate::name::DomainName;
use crate::policy::snapshot::{EntryKind, Snapshot};

/// What the command line asks for.
#[derive(Clone, Debug)]
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

impl Default for Request {
    /// The configured servers, names that are found, and no other resolver.
    fn default() -> Self {
        Self { servers: Vec::new(), allowed: None, denied: None, foreign: Vec::new(), timeout: DEFAULT_TIMEOUT }
    }
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
    /// How the pullgate that runs on this machine is, where it may be asked.
    pub status: Option<StatusReport>,
    /// The servers in use that proved to be pullgate; `None`: nobody was asked.
    pub(super) proven: Option<Vec<IpAddr>>,
    /// Whether Docker's daemon asks pullgate by a resolv.conf of its own, and everybody else here is meant to ask another.
    pub(super) engine_alone: bool,
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
        Self {
            machine,
            request,
            settings,
            policy: None,
            status: None,
            proven: None,
            engine_alone: false,
            variables,
            place,
        }
    }

    /// The same with the policy in force, by which hosts that files name are judged.
    #[must_use]
    pub fn with_policy(self, policy: Option<&'a Snapshot>) -> Self {
        Self { policy, ..self }
    }

    /// The same with what the pullgate that runs on this machine says of itself.
    #[must_use]
    pub fn with_status(self, status: Option<StatusReport>) -> Self {
        Self { status, ..self }
    }

    /// Whether the server at this address proved to be pullgate.
    pub(super) fn is_proven(&self, address: IpAddr) -> bool {
        self.proven.iter().flatten().any(|proven| *proven == address.to_canonical())
    }

    /// Whether there is anybody to ask: the tree of another machine has no network.
    pub(super) fn has_network(&self) -> bool {
        self.machine.is_here() || !self.request.servers.is_empty()
    }

    /// Names that a policy may allow or deny: hosts of the policy in force here, then those of well-known registries.
    pub(super) fn candidates(&self) -> Vec<DomainName> {
        let rules = self.policy.into_iter().flat_map(Snapshot::rules);
        let registries = rules.filter(|rule| rule.entry().kind == EntryKind::Registry);
        let patterns = registries.map(|rule| rule.pattern().to_string()).filter(|pattern| !pattern.contains('*'));
        // A pattern for all that is below a name begins with a dot, and is no name.
        let hosts = patterns.filter_map(|pattern| pattern.parse().ok());
        hosts.take(MAX_OWN).chain(WELL_KNOWN.iter().filter_map(|name| name.parse().ok())).collect()
    }
}

/// This process's environment; what is not UTF-8 in it is nothing that a check looks for.
fn own_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Far more than an answer from the same network takes; a stub waits five seconds.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Registries that many use and few allow all of; each is in the catalogue.
const WELL_KNOWN: [&str; 8] = [
    "registry-1.docker.io",
    "quay.io",
    "ghcr.io",
    "gcr.io",
    "registry.gitlab.com",
    "mcr.microsoft.com",
    "nvcr.io",
    "docker.elastic.co",
];
/// How many hosts of the policy are tried.
const MAX_OWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::preset;

    #[test]
    fn every_well_known_registry_is_in_the_catalogue() {
        let known =
            |name: &str| preset::catalogue().iter().flat_map(|preset| &preset.hosts).any(|host| host.name == name);
        let unknown: Vec<_> = WELL_KNOWN.into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
