//! What a walk stands on: the resolver, proxies, authorities and credentials of this machine and this user.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::compiled;
use super::super::failure::Failure;
use super::super::options::Loaded;
use crate::config::{self, DEFAULT_AUTHORITY, UpstreamServer};
use crate::gateway;
use crate::inspect::discover::{Certificates, Keyring, Network, Proxies, ServersOf};
use crate::inspect::machine::Machine;
use crate::policy::judge::Asker;
use crate::upstream::Resolver;

/// How pullgate itself reaches hosts: names go to its upstreams, and where the policy has servers for one, to those.
pub(super) fn own_network(loaded: &Loaded) -> Result<Network, Failure> {
    let settings = &loaded.settings;
    let authority = settings.gateway.as_ref().map_or(Path::new(DEFAULT_AUTHORITY), |gateway| &gateway.authority);
    let resolver = start(&settings.upstream, loaded, &settings.server.listen)?;
    network(loaded, resolver, servers_of(loaded), Some(authority))
}

/// How this machine's clients reach hosts: names go to `listener`, and where they lead to the gateway, its authority is
/// one like others.
pub(super) fn clients_network(loaded: &Loaded, listener: SocketAddr) -> Result<Network, Failure> {
    let timeout = loaded.settings.upstream.timeout;
    let upstream = config::Upstream { servers: vec![UpstreamServer::Plain(listener)], timeout, routes: Vec::new() };
    let resolver = start(&upstream, loaded, &[])?;
    network(loaded, resolver, Box::new(|_| Vec::new()), None)
}

/// The credentials of this user, and what of them cannot be read.
pub(super) fn keyring() -> (Keyring, Vec<String>) {
    Keyring::of(|name| std::env::var_os(name))
}

fn start(upstream: &config::Upstream, loaded: &Loaded, own: &[SocketAddr]) -> Result<Arc<Resolver>, Failure> {
    let failure = |error: crate::upstream::UpstreamError| Failure::Settings { message: error.to_string(), hint: None };
    Resolver::start(upstream, &loaded.settings.cache, own).map_err(failure)
}

fn network(
    loaded: &Loaded,
    resolver: Arc<Resolver>,
    servers: ServersOf,
    authority: Option<&Path>,
) -> Result<Network, Failure> {
    let extra = loaded.settings.gateway.as_ref().and_then(|gateway| gateway.upstream_roots.as_deref());
    let roots = gateway::trusted(authority, extra)
        .map_err(|error| Failure::Settings { message: error.to_string(), hint: None })?;
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let certificates = Certificates::new(roots, Machine::here(), home.as_deref());
    let variable = |name: &str| std::env::var(name).ok();
    let proxies = Proxies::of(variable)
        .map_err(|fault| Failure::Settings { message: fault.to_string(), hint: Some(fault.hint.clone()) })?;
    Network::new(resolver, servers, proxies, certificates)
        .map_err(|error| Failure::Settings { message: error.to_string(), hint: None })
}

/// Who resolves a name by the policy files; where they are faulty, whoever the settings say.
fn servers_of(loaded: &Loaded) -> ServersOf {
    let Ok(compiled) = compiled::from_settings(loaded) else { return Box::new(|_| Vec::new()) };
    let asker = Asker { client: std::net::Ipv4Addr::LOCALHOST.into(), listener: None };
    Box::new(move |name| {
        let verdict = compiled.snapshot.judge(&asker, name.as_name()).verdict;
        verdict.rule().map(|rule| rule.entry().servers.to_vec()).unwrap_or_default()
    })
}
