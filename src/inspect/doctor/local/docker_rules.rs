//! Which resolver Docker gives to what it starts, by its own rules.
//!
//! Read in moby's `libnetwork` (20.10 to 29) and BuildKit's `executor/oci/resolvconf.go`, and seen in the lab:
//!
//! | started on | servers |
//! |---|---|
//! | the default bridge, RUN of the classic builder | daemon.json's `dns`; else the host's that are not loopback; else Google's |
//! | RUN of BuildKit | the same, but before Docker 29 loopback addresses of `dns` are left out too |
//! | a network that a user made | 127.0.0.11, which asks daemon.json's `dns` from within the container; else the host's, loopback among them, from the host; else, before Docker 28, Google's |
//! | the host's network | daemon.json's `dns`, else the host's |
//!
//! The host's servers are those of /etc/resolv.conf. Where that names 127.0.0.53 alone, all but the last two rows take
//! systemd-resolved's own servers instead. IPv6 servers are for networks with IPv6; up to Docker 25, 127.0.0.11 asks no
//! IPv6 servers of the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ours::{HostResolvers, Side};

/// What a container or a RUN step is started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Docker's own bridge, for containers and for the classic builder's RUN.
    DefaultBridge {
        /// Whether it has IPv6.
        ipv6: bool,
    },
    /// BuildKit's RUN.
    BuildKit,
    /// A network that a user made.
    UserDefined,
    /// The host's own.
    Host,
}

/// Whom it will ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Predicted {
    /// The servers in their order.
    pub(super) servers: Vec<IpAddr>,
    /// Whose loopback a loopback address among them is.
    pub(super) from: Side,
    /// Where Docker took them from.
    pub(super) origin: Origin,
}

/// Where Docker takes servers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// daemon.json, or the daemon's command line.
    Daemon,
    /// The host's resolv.conf, or what systemd-resolved keeps.
    Host,
    /// Google's, compiled in: the rest left none.
    Fallback,
}

/// Whom the next container or RUN step on `network` will ask. `dns` is what daemon.json says; `major` the engine's first
/// version number, `None` where it is not known: then the older rule counts, which leaves more ways round.
pub(super) fn predicted_resolver(
    host: &HostResolvers,
    dns: &[IpAddr],
    major: Option<u32>,
    network: Network,
) -> Predicted {
    let from = if network == Network::Host { Side::Host } else { Side::Container };
    let before = |version| major.is_none_or(|major| major < version);
    let strip_given = network == Network::BuildKit && before(29);
    let given: Vec<IpAddr> = dns.iter().copied().filter(|server| !(strip_given && server.is_loopback())).collect();
    if !given.is_empty() {
        return Predicted { servers: given, from, origin: Origin::Daemon };
    }
    let inherited = match network {
        Network::Host => host.resolv_conf.clone().unwrap_or_default(),
        Network::UserDefined => user_defined(host, before(26)),
        Network::DefaultBridge { ipv6 } => copied(host, ipv6),
        Network::BuildKit if dns.is_empty() => copied(host, true),
        Network::BuildKit => Vec::new(),
    };
    let has_fallback = match network {
        Network::Host => false,
        Network::UserDefined => before(28),
        Network::DefaultBridge { .. } | Network::BuildKit => true,
    };
    if inherited.is_empty() && has_fallback {
        let ipv6 = !matches!(network, Network::DefaultBridge { ipv6: false } | Network::UserDefined);
        return Predicted { servers: google(ipv6), from, origin: Origin::Fallback };
    }
    let from = if network == Network::UserDefined { Side::Host } else { from };
    Predicted { servers: inherited, from, origin: Origin::Host }
}

/// What is copied into a container that has no resolver inside.
fn copied(host: &HostResolvers, ipv6: bool) -> Vec<IpAddr> {
    let listed = host.resolv_conf.as_deref().unwrap_or_default();
    let source = if listed == [STUB] { &host.uplink } else { listed };
    source.iter().copied().filter(|server| !server.is_loopback() && (ipv6 || server.is_ipv4())).collect()
}

/// What 127.0.0.11 asks, from the host's network.
fn user_defined(host: &HostResolvers, only_v4: bool) -> Vec<IpAddr> {
    let listed = host.resolv_conf.iter().flatten();
    listed.copied().filter(|server| !only_v4 || server.is_ipv4()).collect()
}

/// The servers that are compiled into Docker, BuildKit and podman.
pub(super) fn google(ipv6: bool) -> Vec<IpAddr> {
    let v4 = GOOGLE_V4.map(IpAddr::V4).into_iter();
    v4.chain(GOOGLE_V6.map(IpAddr::V6).into_iter().filter(|_| ipv6)).collect()
}

/// systemd-resolved's stub, as its resolv.conf names it.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
const GOOGLE_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
const GOOGLE_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::ours::listed;

    fn addresses(list: &str) -> Vec<IpAddr> {
        list.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// `resolv.conf` and uplink as lists of addresses; `-`: there is no file.
    fn host(resolv_conf: &str, uplink: &str) -> HostResolvers {
        HostResolvers {
            resolv_conf: (resolv_conf != "-").then(|| addresses(resolv_conf)),
            uplink: addresses(uplink),
            asked_by_resolved: Vec::new(),
        }
    }

    const BRIDGE: Network = Network::DefaultBridge { ipv6: false };
    const BRIDGE6: Network = Network::DefaultBridge { ipv6: true };
    const GOOGLE: &str = "8.8.8.8, 8.8.4.4";
    const GOOGLE6: &str = "8.8.8.8, 8.8.4.4, 2001:4860:4860::8888, 2001:4860:4860::8844";

    #[test]
    fn every_network_gets_what_docker_gives_it() {
        use Network::{BuildKit, Host, UserDefined};
        for (resolv_conf, uplink, dns, major, network, expected) in [
            // A server that containers can reach is copied.
            ("198.18.0.1", "", "", 20, BRIDGE, "198.18.0.1"),
            ("198.18.0.1", "", "", 26, BuildKit, "198.18.0.1"),
            ("198.18.0.1 8.8.8.8", "", "", 26, UserDefined, "198.18.0.1, 8.8.8.8"),
            // Loopback is not; Google's come in its place, in every version.
            ("127.0.0.1", "", "", 20, BRIDGE, GOOGLE),
            ("127.0.0.1", "", "", 29, BRIDGE, GOOGLE),
            ("127.0.0.1", "", "", 26, BRIDGE6, GOOGLE6),
            ("127.0.0.1", "", "", 29, BuildKit, GOOGLE6),
            ("127.0.0.1 198.18.0.1", "", "", 26, BRIDGE, "198.18.0.1"),
            // The resolver inside user networks asks the host's loopback from the host.
            ("127.0.0.1", "", "", 20, UserDefined, "127.0.0.1"),
            ("127.0.0.1", "", "", 28, UserDefined, "127.0.0.1"),
            // No resolv.conf, or an empty one.
            ("-", "", "", 20, BRIDGE, GOOGLE),
            ("-", "", "", 27, UserDefined, GOOGLE),
            ("-", "", "", 28, UserDefined, "nothing"),
            ("-", "", "", 28, BuildKit, GOOGLE6),
            ("", "", "", 28, BRIDGE, GOOGLE),
            ("-", "", "", 26, Host, "nothing"),
            // systemd-resolved: its own servers are copied, its stub is asked from the host.
            ("127.0.0.53", "198.18.0.1", "", 26, BRIDGE, "198.18.0.1"),
            ("127.0.0.53", "198.18.0.1", "", 26, BuildKit, "198.18.0.1"),
            ("127.0.0.53", "198.18.0.1", "", 26, UserDefined, "127.0.0.53"),
            ("127.0.0.53", "198.18.0.1", "", 26, Host, "127.0.0.53"),
            ("127.0.0.53", "127.0.0.1", "", 26, BRIDGE, GOOGLE),
            ("127.0.0.53 198.18.0.2", "198.18.0.1", "", 26, BRIDGE, "198.18.0.2"),
            // IPv6 servers.
            ("fd18::1", "", "", 26, BRIDGE, GOOGLE),
            ("fd18::1", "", "", 26, BRIDGE6, "fd18::1"),
            ("fd18::1", "", "", 26, BuildKit, "fd18::1"),
            ("fd18::1", "", "", 25, UserDefined, GOOGLE),
            ("fd18::1", "", "", 26, UserDefined, "fd18::1"),
            // daemon.json.
            ("127.0.0.1", "", "198.18.0.1", 20, BRIDGE, "198.18.0.1"),
            ("127.0.0.1", "", "198.18.0.1", 20, UserDefined, "198.18.0.1"),
            ("127.0.0.1", "", "198.18.0.1", 20, BuildKit, "198.18.0.1"),
            ("127.0.0.1", "", "198.18.0.1", 20, Host, "198.18.0.1"),
            ("198.18.0.1", "", "127.0.0.1", 26, BRIDGE, "127.0.0.1"),
            ("198.18.0.1", "", "127.0.0.1", 26, BuildKit, GOOGLE6),
            ("198.18.0.1", "", "127.0.0.1", 29, BuildKit, "127.0.0.1"),
        ] {
            let dns = addresses(dns);
            let predicted = predicted_resolver(&host(resolv_conf, uplink), &dns, Some(major), network);
            assert_eq!(listed(&predicted.servers), expected, "{resolv_conf} {uplink} {dns:?} {major} {network:?}");
        }
    }

    #[test]
    fn only_user_networks_and_the_host_s_ask_from_the_host() {
        for (dns, network, expected) in [
            (&[][..], BRIDGE, Side::Container),
            (&[], Network::UserDefined, Side::Host),
            (&[STUB], Network::UserDefined, Side::Container),
            (&[STUB], Network::Host, Side::Host),
        ] {
            assert_eq!(predicted_resolver(&host("127.0.0.1", ""), dns, None, network).from, expected, "{network:?}");
        }
    }
}
