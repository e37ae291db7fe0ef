//! resolv.conf(5), the file that tells a stub resolver whom to ask; and a server as it is written there and in the files
//! of systemd-resolved.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use nix::net::if_::if_nametoindex;

use crate::address::DNS_PORT;

/// What a resolv.conf says. Lines that are not understood are passed over, as stub resolvers do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The `nameserver` lines in their order, each address once.
    pub servers: Vec<SocketAddr>,
    /// The last `search` or `domain` line's words.
    pub search: Vec<String>,
    /// The words of the `options` lines.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(parse_server).filter(|server| !read.servers.contains(server));
                    read.servers.extend(server);
                }
                Some("search" | "domain") => read.search = words.map(str::to_owned).collect(),
                Some("options") => read.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        read
    }
}

/// An address in one of the forms `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`, with `%link` and
/// `#certificate.name` behind. `0.0.0.0` is this host, as it is to a stub resolver.
pub fn parse_server(word: &str) -> Option<SocketAddr> {
    let (word, _) = word.split_once('#').unwrap_or((word, ""));
    let (address, link) = word.split_once('%').unwrap_or((word, ""));
    let address = address.parse().ok().or_else(|| address.parse().ok().map(|ip| SocketAddr::new(ip, DNS_PORT)))?;
    match address {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => {
            let scope = link.parse().ok().or_else(|| if_nametoindex(link).ok())?;
            Some(SocketAddrV6::new(*address.ip(), address.port(), 0, scope).into())
        }
        _ if address.ip().is_unspecified() => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())),
        _ => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn servers_search_list_and_options_are_read() {
        let text = "# mine\nsearch a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.1\noptions edns0\noptions ndots:2 trust-ad\n; done\nnameserver ::1\ndomain c.example\n";
        let read = ResolvConf::parse(text);
        assert_eq!(read.servers, ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(
            (read.search, read.options),
            (vec!["c.example".into()], vec!["edns0".into(), "ndots:2".into(), "trust-ad".into()])
        );
    }

    #[test]
    fn every_form_of_a_server_is_read() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("192.0.2.1:5353", Some("192.0.2.1:5353")),
            ("192.0.2.1%lo", Some("192.0.2.1:53")),
            ("192.0.2.1:853%eth0#dns.example", Some("192.0.2.1:853")),
            ("2001:db8::1#dns.example", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5353%2", Some("[2001:db8::1]:5353")),
            ("fe80::1%2", Some("[fe80::1%2]:53")),
            ("fe80::1%no-such-link", None),
            ("fe80::1", None),
            ("0.0.0.0", Some("127.0.0.1:53")),
            ("dns.example", None),
            ("", None),
            ("%#", None),
        ] {
            assert_eq!(parse_server(text).map(|server| server.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            ResolvConf::parse(&text);
        }

        #[test]
        fn each_server_written_is_read_and_nothing_else(addresses in prop::collection::vec(any::<[u8; 4]>(), 0..8), junk in "[a-z #=~\\n]{0,40}") {
            let addresses = addresses.into_iter().map(Ipv4Addr::from).filter(|address| !address.is_unspecified());
            let addresses: Vec<Ipv4Addr> = addresses.collect();
            let lines: Vec<String> = addresses.iter().map(|address| format!("nameserver {address}\nx{junk}")).collect();
            let text = lines.join("\n");
            let mut expected = Vec::new();
            for address in addresses {
                let address = SocketAddr::new(address.into(), DNS_PORT);
                    if !expected.contains(&address) {
                        expected.push(address);
                    }
            }
            prop_assert_eq!(ResolvConf::parse(&text).servers, expected);
        }
    }
}
