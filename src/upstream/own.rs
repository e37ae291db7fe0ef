//! Which addresses are this program's own: a question sent there would come back for ever.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// The addresses this program listens on.
#[derive(Clone, Debug, Default)]
pub(super) struct Own(Vec<SocketAddr>);

impl Own {
    /// Takes the listeners as configured or as bound.
    pub(super) fn new(listeners: &[SocketAddr]) -> Self {
        Self(listeners.to_vec())
    }

    /// Whether a question to this address would reach this program. A wildcard listener is every address of the host,
    /// an IPv6 one the IPv4 addresses too.
    pub(super) fn contains(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.iter().filter(|listener| listener.port() == address.port()).any(|listener| {
            let listener = listener.ip().to_canonical();
            let may_reach = listener.is_unspecified() && (listener.is_ipv6() || ip.is_ipv4());
            listener == ip || may_reach && is_local(ip)
        })
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || local_addresses().any(|local| local == ip)
}

/// The addresses of this host's interfaces; none if the kernel does not say.
fn local_addresses() -> impl Iterator<Item = IpAddr> {
    getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(listener: &str, address: &str) -> bool {
        Own::new(&[listener.parse().unwrap()]).contains(address.parse().unwrap())
    }

    #[test]
    fn a_wildcard_listener_is_every_local_address_on_its_port() {
        assert!(own("0.0.0.0:53", "127.0.0.53:53"));
        assert!(own("[::]:53", "127.0.0.1:53"));
        assert!(own("[::]:53", "[::1]:53"));
        assert!(!own("0.0.0.0:53", "[::1]:53"));
        assert!(!own("0.0.0.0:53", "127.0.0.1:5353"));
        assert!(!own("0.0.0.0:53", "192.0.2.1:53"));
    }

    #[test]
    fn a_listener_on_one_address_is_that_address_alone() {
        assert!(own("127.0.0.1:53", "127.0.0.1:53"));
        assert!(own("127.0.0.1:53", "[::ffff:127.0.0.1]:53"));
        assert!(!own("127.0.0.1:53", "127.0.0.53:53"));
    }
}
