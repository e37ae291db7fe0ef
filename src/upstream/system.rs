//! The servers that the host itself uses, read from what resolv.conf, systemd-resolved and systemd-networkd leave in
//! files, and followed live.
//!
//! Where resolv.conf names systemd-resolved's stub, its file of real servers is read, and with it which links have which
//! servers for which domains. Where it names nobody but this program, the host asks us, and its servers are those that
//! NetworkManager would have written there, else those that `pullgate setup` kept. The formats are not promised by
//! anyone, so what cannot be read is passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::own::Own;
use crate::name::DomainName;
use crate::resolv_conf::{ResolvConf, parse_server};

/// What the host uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SystemServers {
    /// For every name that no domain takes.
    pub(super) default: Vec<SocketAddr>,
    /// For these names and those below them, whatever is default.
    pub(super) domains: BTreeMap<DomainName, Vec<SocketAddr>>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub(super) struct SystemPaths {
    resolv_conf: PathBuf,
    /// What resolv.conf would say if it did not name this program: NetworkManager's, and the one that `setup` kept.
    others: [PathBuf; 2],
    uplink: PathBuf,
    /// One file a link, by index: what systemd-resolved was told by NetworkManager, VPN clients, `resolvectl`; and what
    /// systemd-networkd knows.
    links: [PathBuf; 2],
}

/// What one link has.
#[derive(Debug, Default)]
pub(super) struct Link {
    servers: Vec<SocketAddr>,
    /// Names to resolve on this link.
    domains: Vec<DomainName>,
    /// Whether none of them is searched too.
    route_only: bool,
    default_route: Option<bool>,
}

impl Default for SystemPaths {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl SystemPaths {
    /// The usual places under another root.
    pub(super) fn under(root: &Path) -> Self {
        Self {
            resolv_conf: root.join("etc/resolv.conf"),
            others: [root.join("run/NetworkManager/no-stub-resolv.conf"), root.join("etc/pullgate/resolv.conf")],
            uplink: root.join("run/systemd/resolve/resolv.conf"),
            links: [root.join("run/systemd/resolve/netif"), root.join("run/systemd/netif/links")],
        }
    }

    /// Reads what the host uses now, but for this program itself. A file that is not there is an empty one.
    pub(super) fn read(&self, own: &Own) -> SystemServers {
        let named = ResolvConf::parse(&read_file(&self.resolv_conf)).servers;
        let found = self.without(own, &named);
        let asks_us = named.iter().any(|server| own.contains(*server) || is_stub(*server));
        if !found.default.is_empty() || !asks_us {
            return found;
        }
        let others = self.others.iter().map(|path| self.without(own, &ResolvConf::parse(&read_file(path)).servers));
        let default = others.map(|other| other.default).find(|servers| !servers.is_empty());
        SystemServers { default: default.unwrap_or_default(), ..found }
    }

    /// What the servers of a resolv.conf stand for: without our own, and with resolved's in the place of its stub.
    fn without(&self, own: &Own, named: &[SocketAddr]) -> SystemServers {
        let is_other = |server: &SocketAddr| !is_stub(*server) && !own.contains(*server);
        if !named.iter().any(|server| is_stub(*server)) {
            let default = named.iter().copied().filter(is_other).collect();
            return SystemServers { default, domains: BTreeMap::new() };
        }
        let mut uplink = ResolvConf::parse(&read_file(&self.uplink)).servers;
        uplink.retain(is_other);
        combine(uplink, &self.read_links())
    }

    fn read_links(&self) -> Vec<Link> {
        let entries = self.links.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        paths.iter().map(|path| parse_link(&read_file(path))).filter(|link| !link.servers.is_empty()).collect()
    }
}

/// Sorts servers into default and by domain as systemd-resolved does: a link with the domain `.` takes every name, one
/// that has only routing domains takes no others.
pub(super) fn combine(uplink: Vec<SocketAddr>, links: &[Link]) -> SystemServers {
    let mut domains: BTreeMap<DomainName, Vec<SocketAddr>> = BTreeMap::new();
    for link in links {
        for domain in &link.domains {
            add(domains.entry(domain.clone()).or_default(), &link.servers);
        }
    }
    if let Some(everything) = domains.remove(&DomainName::root()) {
        return SystemServers { default: everything, domains };
    }
    let mut elsewhere = Vec::new();
    for link in links.iter().filter(|link| !link.default_route.unwrap_or(!link.route_only)) {
        add(&mut elsewhere, &link.servers);
    }
    let rest: Vec<SocketAddr> = uplink.iter().copied().filter(|server| !elsewhere.contains(server)).collect();
    SystemServers { default: if rest.is_empty() { uplink } else { rest }, domains }
}

fn add(servers: &mut Vec<SocketAddr>, more: &[SocketAddr]) {
    for server in more {
        if !servers.contains(server) {
            servers.push(*server);
        }
    }
}

fn is_stub(server: SocketAddr) -> bool {
    STUBS.iter().any(|stub| server.ip() == IpAddr::V4(*stub))
}

/// The start of a file, as text; what is not UTF-8 in it is replaced.
fn read_file(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_FILE as u64), &mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// A link's file: lines of `KEY=words`. systemd-resolved writes SERVERS, DOMAINS (`~` before those only for routing)
/// and `DEFAULT_ROUTE`; systemd-networkd DNS, DOMAINS and `ROUTE_DOMAINS`.
pub(super) fn parse_link(text: &str) -> Link {
    let mut link = Link::default();
    let mut searched = false;
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let words = value.split_ascii_whitespace();
        match key.trim() {
            "SERVERS" | "DNS" => link.servers.extend(words.filter_map(parse_server)),
            "DOMAINS" => {
                for word in words {
                    searched |= !word.starts_with('~');
                    link.domains.extend(parse_domain(word));
                }
            }
            "ROUTE_DOMAINS" => link.domains.extend(words.filter_map(parse_domain)),
            "DEFAULT_ROUTE" | "DNS_DEFAULT_ROUTE" => link.default_route = parse_bool(value.trim()),
            _ => {}
        }
    }
    link.route_only = !link.domains.is_empty() && !searched;
    link
}

fn parse_domain(word: &str) -> Option<DomainName> {
    word.strip_prefix('~').unwrap_or(word).parse().ok()
}

fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "yes" | "1" | "true" => Some(true),
        "no" | "0" | "false" => Some(false),
        _ => None,
    }
}

/// More than any of these files has reason to be.
const MAX_FILE: usize = 64 * 1024;
/// Where systemd-resolved's stub listens.
const STUBS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];

#[cfg(test)]
mod tests;
