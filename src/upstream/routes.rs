//! Which servers answer for a name: a service's own, the route with the longest domain, or the default (split horizon).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::cache::Key;
use super::encrypted::{Encrypted, host_trust};
use super::exchange::Plain;
use super::own::Own;
use super::server::Server;
use super::system::SystemServers;
use super::{Lookup, UpstreamError};
use crate::config::{self, UpstreamServer};
use crate::name::{DomainName, NameRef};

/// Which servers answer for which names.
#[derive(Debug)]
pub(super) struct Routes {
    table: ArcSwap<Table>,
    settings: config::Upstream,
    known: Mutex<HashMap<UpstreamServer, Arc<Server>>>,
    own: Own,
    hasher: RandomState,
}

/// The routes of one moment.
pub(super) struct Current<'r> {
    table: Guard<Arc<Table>>,
    hasher: &'r RandomState,
}

/// A generation of routes; another one takes its place when the host's own servers change.
#[derive(Debug, Default)]
struct Table {
    generation: u64,
    default: Destination,
    domains: HashMap<DomainName, Destination>,
}

/// Where the questions for a domain go.
#[derive(Debug, Default)]
struct Destination {
    /// Tells its answers apart from those of others in the cache.
    id: u64,
    servers: Group,
}

/// Servers that answer for the same names.
pub(super) type Group = Arc<[Arc<Server>]>;

impl Routes {
    /// The routes of the settings, with the host's servers where those say `system`: it may have none yet.
    pub(super) fn new(settings: config::Upstream, system: &SystemServers, own: Own) -> Result<Self, UpstreamError> {
        let routes =
            Self { table: ArcSwap::default(), settings, known: Mutex::default(), own, hasher: RandomState::default() };
        let table = routes.table(system, 0)?;
        routes.table.store(Arc::new(table));
        Ok(routes)
    }

    /// Follows a change of the host's servers. If none would be left, all stays as it is: a host between two networks.
    pub(super) fn follow(&self, system: &SystemServers) -> Result<(), UpstreamError> {
        let generation = self.table.load().generation + 1;
        let table = self.table(system, generation)?;
        if table.default.servers.is_empty() {
            return Err(UpstreamError::NoSystemServer);
        }
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// Whether there is no server to ask for what no route takes.
    pub(super) fn lead_nowhere(&self) -> bool {
        self.table.load().default.servers.is_empty()
    }

    /// What the routes are now.
    pub(super) fn current(&self) -> Current<'_> {
        Current { table: self.table.load(), hasher: &self.hasher }
    }

    /// Whether a route or a service's own servers answer.
    pub(super) fn is_routed(&self, lookup: &Lookup<'_>) -> bool {
        !lookup.servers.is_empty() || self.table.load().route(lookup.name).is_some()
    }

    /// The servers to ask; none if a service's own are all this program itself.
    pub(super) fn servers(&self, lookup: &Lookup<'_>) -> Group {
        if lookup.servers.is_empty() {
            let table = self.table.load();
            return table.route(lookup.name).unwrap_or(&table.default).servers.clone();
        }
        let others = lookup.servers.iter().filter(|address| !self.own.contains(**address));
        others.filter_map(|address| self.server(&UpstreamServer::Plain(*address)).ok()).collect()
    }

    /// The servers of the default and of each route, with the domains they are for; none: for all that no route takes.
    pub(super) fn destinations(&self) -> Vec<(Vec<DomainName>, Group)> {
        let table = self.table.load();
        let mut found: Vec<(Vec<DomainName>, Group)> = vec![(Vec::new(), table.default.servers.clone())];
        for (domain, destination) in &table.domains {
            let routes = &mut found[1..];
            match routes.iter_mut().find(|(_, servers)| Arc::ptr_eq(servers, &destination.servers)) {
                Some((domains, _)) => domains.push(domain.clone()),
                None => found.push((vec![domain.clone()], destination.servers.clone())),
            }
        }
        for (domains, _) in &mut found {
            domains.sort();
        }
        found
    }

    /// Every server that was or may be asked.
    pub(super) fn known(&self) -> Vec<Arc<Server>> {
        self.lock().values().cloned().collect()
    }

    fn table(&self, system: &SystemServers, generation: u64) -> Result<Table, UpstreamError> {
        let destination = |domain: Option<&DomainName>, servers| {
            let domain = domain.map(DomainName::as_wire);
            Destination { id: self.hasher.hash_one((generation, domain)), servers }
        };
        let default = destination(None, self.group(&self.settings.servers, &system.default)?);
        let mut domains = HashMap::new();
        if self.settings.servers.contains(&UpstreamServer::System) {
            for (domain, addresses) in &system.domains {
                let group = self.group(&[UpstreamServer::System], addresses)?;
                if !group.is_empty() {
                    domains.insert(domain.clone(), destination(Some(domain), group));
                }
            }
        }
        for route in &self.settings.routes {
            let group = self.group(&route.servers, &[])?;
            let routed = |domain: &DomainName| (domain.clone(), destination(Some(domain), group.clone()));
            domains.extend(route.domains.iter().map(routed));
        }
        Ok(Table { generation, default, domains })
    }

    /// The servers of a list, `system` written out, each one once. A configured server that is this program is a fault,
    /// one of the host's is passed over: pointing the host at this program is what the program is for.
    fn group(&self, servers: &[UpstreamServer], system: &[SocketAddr]) -> Result<Group, UpstreamError> {
        let mut wanted = Vec::new();
        for server in servers {
            match server {
                UpstreamServer::System => {
                    let others = system.iter().filter(|address| !self.own.contains(**address));
                    wanted.extend(others.map(|address| UpstreamServer::Plain(*address)));
                }
                UpstreamServer::Plain(address) if self.own.contains(*address) => {
                    return Err(UpstreamError::Own(*address));
                }
                UpstreamServer::Plain(_) | UpstreamServer::Tls { .. } | UpstreamServer::Https { .. } => {
                    wanted.push(server.clone());
                }
            }
        }
        let mut group: Vec<Arc<Server>> = Vec::new();
        for server in wanted {
            let server = self.server(&server)?;
            if !group.iter().any(|other| Arc::ptr_eq(other, &server)) {
                group.push(server);
            }
        }
        Ok(group.into())
    }

    /// The one server of this description: its history is shared by all routes.
    fn server(&self, wanted: &UpstreamServer) -> Result<Arc<Server>, UpstreamError> {
        let mut known = self.lock();
        if let Some(server) = known.get(wanted) {
            return Ok(server.clone());
        }
        if known.len() >= MAX_IDLE_SERVERS {
            known.retain(|_, server| Arc::strong_count(server) > 1);
        }
        let server = Arc::new(connect(wanted)?);
        known.insert(wanted.clone(), server.clone());
        Ok(server)
    }

    /// What is under the lock is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, HashMap<UpstreamServer, Arc<Server>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current<'_> {
    /// Where the cache holds the answer to a question.
    pub(super) fn key<'a>(&self, lookup: &Lookup<'a>) -> Key<'a> {
        Key { name: lookup.name, record_type: lookup.record_type, dnssec: lookup.dnssec, route: self.id(lookup) }
    }

    /// What tells answers from different servers apart in the cache. Changes with the host's servers: another network
    /// may have other answers.
    pub(super) fn id(&self, lookup: &Lookup<'_>) -> u64 {
        if !lookup.servers.is_empty() {
            return self.hasher.hash_one(lookup.servers);
        }
        self.table.route(lookup.name).unwrap_or(&self.table.default).id
    }
}

impl Table {
    fn route(&self, name: NameRef<'_>) -> Option<&Destination> {
        if self.domains.is_empty() {
            return None;
        }
        name.ancestors().find_map(|ancestor| self.domains.get(ancestor.as_wire()))
    }
}

fn connect(wanted: &UpstreamServer) -> Result<Server, UpstreamError> {
    let trust = || host_trust().map_err(UpstreamError::Trust);
    match wanted {
        UpstreamServer::System => Err(UpstreamError::NoSystemServer),
        UpstreamServer::Plain(address) => Ok(Server::new(address.to_string(), Box::new(Plain::new(*address)))),
        UpstreamServer::Tls { addr, name } => {
            let transport = Encrypted::over_tls(*addr, name, trust()?);
            Ok(Server::new(format!("tls://{addr}#{name}"), Box::new(transport)))
        }
        UpstreamServer::Https { addr, name, path } => {
            let transport = Encrypted::over_https(*addr, name, path, trust()?);
            Ok(Server::new(format!("https://{addr}{path}#{name}"), Box::new(transport)))
        }
    }
}

/// Servers remembered beyond those in use, for their history.
const MAX_IDLE_SERVERS: usize = 256;
