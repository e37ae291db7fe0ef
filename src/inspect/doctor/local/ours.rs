//! Which addresses are pullgate's, as seen from this machine and from its containers.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::foreign;
use super::uplinks::Uplinks;
use crate::address::DNS_PORT;
use crate::inspect::doctor::report::Report;
use crate::inspect::doctor::scene::Scene;
use crate::inspect::machine::Machine;
use crate::resolv_conf::ResolvConf;

/// What a machine's own files say about whom its programs ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostResolvers {
    /// The servers of /etc/resolv.conf; `None`: there is no such file.
    pub(super) resolv_conf: Option<Vec<IpAddr>>,
    /// All servers that systemd-resolved knows; engines give them to containers.
    pub(super) uplink: Vec<IpAddr>,
    /// Those among them that it asks for names that no link has for itself.
    pub(super) asked_by_resolved: Vec<IpAddr>,
}

/// The addresses at which a question reaches pullgate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ours(Vec<IpAddr>);

/// Where a program stands that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// In the host's network: loopback is the host's own.
    Host,
    /// In a network of its own: loopback is the container itself.
    Container,
}

impl HostResolvers {
    /// Reads them.
    pub(super) fn of(machine: &Machine, report: &mut Report) -> Self {
        let mut read = |path: &str| foreign::text(machine, path, report).map(|text| servers(&text));
        let (resolv_conf, uplink) = (read("/etc/resolv.conf"), read(UPLINK).unwrap_or_default());
        Self { resolv_conf, uplink, asked_by_resolved: Uplinks::of(machine, report).asked }
    }

    /// Whom programs of the host ask in the end: behind systemd-resolved's stub, whom that asks.
    pub(super) fn asked(&self) -> &[IpAddr] {
        match self.resolv_conf.as_deref().unwrap_or_default() {
            servers if servers.iter().any(|server| is_resolved_stub(*server)) => &self.asked_by_resolved,
            servers => servers,
        }
    }
}

impl Ours {
    /// Where this machine's pullgate listens on port 53, by its settings and by itself, where the command line says it is,
    /// and what proved to be it. Where nobody was asked and nothing says so, the first server that the host asks.
    pub(super) fn of(scene: &Scene<'_>, report: &mut Report) -> Self {
        let settings = scene.settings.map(|settings| settings.server.listen.as_slice()).unwrap_or_default();
        let bound = scene.status.iter().flat_map(|status| &status.listen).map(|listener| &listener.address);
        let given = settings.iter().chain(bound).chain(&scene.request.servers);
        let given = given.filter(|address| address.port() == DNS_PORT).map(|address| address.ip().to_canonical());
        let mut addresses: Vec<IpAddr> = given.chain(scene.proven.iter().flatten().copied()).collect();
        if addresses.iter().any(IpAddr::is_unspecified) && scene.machine.is_here() {
            addresses.extend(local_addresses());
        }
        let host = HostResolvers::of(scene.machine, report);
        if addresses.iter().any(|address| is_resolved_stub(*address)) && host.asked_by_resolved.len() == 1 {
            // What answers as pullgate behind systemd-resolved is the one server that it asks.
            addresses.extend(&host.asked_by_resolved);
        }
        if addresses.is_empty() && scene.proven.is_none() {
            addresses.extend(host.asked().first());
        }
        Self(addresses)
    }

    /// Whether a question to this address reaches pullgate.
    pub(super) fn reached_at(&self, address: IpAddr, from: Side) -> bool {
        self.0.contains(&address.to_canonical()) && (from == Side::Host || !address.is_loopback())
    }

    /// Whether all of these do, and there is one at least.
    pub(super) fn reached_at_all(&self, addresses: &[IpAddr], from: Side) -> bool {
        !addresses.is_empty() && addresses.iter().all(|address| self.reached_at(*address, from))
    }

    /// Whether pullgate runs on this machine, as far as its addresses tell.
    pub(super) fn is_here(&self) -> bool {
        self.0.iter().any(|address| address.is_loopback() || address.is_unspecified())
    }

    /// An address for a client there, to name in a fix.
    pub(super) fn address_for(&self, from: Side) -> Option<IpAddr> {
        self.0.iter().copied().find(|address| !address.is_unspecified() && self.reached_at(*address, from))
    }
}

/// The addresses of a resolv.conf's servers.
pub(super) fn servers(text: &str) -> Vec<IpAddr> {
    ResolvConf::parse(text).servers.iter().map(|server| server.ip().to_canonical()).collect()
}

/// Whether it is where systemd-resolved listens for programs of its host.
pub(super) fn is_resolved_stub(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [127, 0, 0, 53 | 54]))
}

/// Addresses as a sentence has them; `nothing` for none.
pub(super) fn listed(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "nothing".to_owned();
    }
    let more = if addresses.len() > MAX_LISTED { ", …" } else { "" };
    addresses.iter().take(MAX_LISTED).map(IpAddr::to_string).collect::<Vec<_>>().join(", ") + more
}

fn local_addresses() -> impl Iterator<Item = IpAddr> {
    getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    })
}

/// More than a sentence should have.
const MAX_LISTED: usize = 8;
/// The servers that systemd-resolved itself asks.
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";

#[cfg(test)]
impl Ours {
    /// These addresses.
    pub(super) fn at(addresses: &[&str]) -> Self {
        Self(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::Tree;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_is_ours_for_the_host_alone() {
        let ours = Ours::at(&["127.0.0.1", "172.17.0.1"]);
        for (asked, from, expected) in [
            ("127.0.0.1", Side::Host, true),
            ("127.0.0.1", Side::Container, false),
            ("172.17.0.1", Side::Container, true),
            ("::ffff:172.17.0.1", Side::Container, true),
            ("8.8.8.8", Side::Host, false),
        ] {
            assert_eq!(ours.reached_at(address(asked), from), expected, "{asked} {from:?}");
        }
        assert_eq!(ours.address_for(Side::Container), Some(address("172.17.0.1")));
        assert!(!ours.reached_at_all(&[], Side::Host), "nothing is no resolver");
    }

    #[test]
    fn behind_a_stub_it_is_the_uplink_that_is_asked() {
        let tree = Tree::of(&[
            ("etc/resolv.conf", "nameserver 127.0.0.53\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 198.18.0.1\nnameserver 8.8.8.8\n"),
        ]);
        let host = HostResolvers::of(&tree.machine, &mut Report::default());
        assert_eq!(listed(host.asked()), "198.18.0.1, 8.8.8.8");
        let ours = Ours::of(&tree.scene(), &mut Report::default());
        assert_eq!(ours, Ours::at(&["198.18.0.1"]), "no setting says otherwise");
    }

    #[test]
    fn who_was_asked_and_is_not_pullgate_is_not_taken_for_it() {
        let tree = Tree::of(&[("etc/resolv.conf", "nameserver 8.8.8.8\nnameserver 198.18.0.1\n")]);
        for (proven, expected) in [
            (None, Ours::at(&["8.8.8.8"])),
            (Some(vec![]), Ours::at(&[])),
            (Some(vec![address("198.18.0.1")]), Ours::at(&["198.18.0.1"])),
        ] {
            let scene = Scene { proven, ..tree.scene() };
            assert_eq!(Ours::of(&scene, &mut Report::default()), expected);
        }
    }

    #[test]
    fn the_command_line_counts_before_what_the_host_asks() {
        let mut tree = Tree::of(&[("etc/resolv.conf", "nameserver 8.8.8.8\n")]);
        tree.request.servers = vec!["198.18.10.1:53".parse().unwrap()];
        assert_eq!(Ours::of(&tree.scene(), &mut Report::default()), Ours::at(&["198.18.10.1"]));
    }
}
