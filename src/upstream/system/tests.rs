//! What is made of the files that a host leaves about its servers.

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::testing::name;
use super::*;

const LINK: &str = "run/systemd/resolve/netif/2";
const VPN: &str = "run/systemd/resolve/netif/7";
const NETWORKD: &str = "run/systemd/netif/links/3";
const STUB: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";

/// A host with these files and an uplink file of two servers.
fn read(files: &[(&str, &str)]) -> SystemServers {
    let root = TempDir::new().unwrap();
    let uplink = ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 10.8.0.1\n");
    for (path, text) in [&[uplink], files].concat() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    SystemPaths::under(root.path()).read()
}

fn servers(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_servers_of_resolv_conf_are_taken_in_order_and_once() {
    let text = "# made by hand\nsearch lan\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\nnameserver 192.0.2.1\n\
                nameserver\nnameserver nonsense\n;nameserver 192.0.2.9\noptions ndots:5\nnameservers 192.0.2.8\n";
    let system = read(&[("etc/resolv.conf", text)]);
    assert_eq!(system.default, servers(&["192.0.2.1:53", "[2001:db8::1]:53"]));
    assert!(system.domains.is_empty());
}

#[test]
fn a_host_without_files_has_no_servers() {
    let root = TempDir::new().unwrap();
    assert_eq!(SystemPaths::under(root.path()).read(), SystemServers::default());
}

#[test]
fn behind_the_stub_the_uplinks_are_used() {
    for stub in ["127.0.0.53", "127.0.0.54"] {
        let system = read(&[("etc/resolv.conf", &STUB.replace("127.0.0.53", stub))]);
        assert_eq!(system.default, servers(&["192.0.2.1:53", "10.8.0.1:53"]));
    }
}

#[test]
fn without_the_stub_the_links_do_not_matter() {
    let system = read(&[("etc/resolv.conf", "nameserver 192.0.2.7\n"), (VPN, "SERVERS=10.8.0.1\nDOMAINS=~.\n")]);
    assert_eq!(system, SystemServers { default: servers(&["192.0.2.7:53"]), domains: BTreeMap::new() });
}

#[test]
fn a_link_with_routing_domains_takes_those_and_no_others() {
    let system = read(&[
        ("etc/resolv.conf", STUB),
        (LINK, "# This is private data. Do not parse.\nLLMNR=yes\nMDNS=no\nSERVERS=192.0.2.1\nDOMAINS=lan\n"),
        (VPN, "SERVERS=10.8.0.1\nDOMAINS=~corp.example ~10.in-addr.arpa\n"),
    ]);
    assert_eq!(system.default, servers(&["192.0.2.1:53"]));
    let expected = [("lan", "192.0.2.1:53"), ("corp.example", "10.8.0.1:53"), ("10.in-addr.arpa", "10.8.0.1:53")];
    assert_eq!(system.domains, expected.map(|(domain, server)| (name(domain), servers(&[server]))).into());
}

#[test]
fn a_link_with_the_root_as_its_domain_takes_every_name() {
    let system = read(&[("etc/resolv.conf", STUB), (VPN, "SERVERS=10.8.0.1\nDOMAINS=~.\n")]);
    assert_eq!(system, SystemServers { default: servers(&["10.8.0.1:53"]), domains: BTreeMap::new() });
}

#[test]
fn whether_a_link_is_a_default_route_is_believed() {
    let link = |default: &str| format!("SERVERS=10.8.0.1\nDOMAINS=~corp.example\nDEFAULT_ROUTE={default}\n");
    let system = |default| read(&[("etc/resolv.conf", STUB), (VPN, &link(default))]);
    assert_eq!(system("yes").default, servers(&["192.0.2.1:53", "10.8.0.1:53"]));
    assert_eq!(system("no").default, servers(&["192.0.2.1:53"]));
}

#[test]
fn what_networkd_knows_of_a_link_counts_too() {
    let link = "ADMIN_STATE=up\nDNS=10.8.0.1\nDOMAINS=\nROUTE_DOMAINS=corp.example\n";
    let system = read(&[("etc/resolv.conf", STUB), (NETWORKD, link)]);
    assert_eq!(system.domains, [(name("corp.example"), servers(&["10.8.0.1:53"]))].into());
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic_and_yield_no_stub(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let links = [parse_link(text), parse_link(&format!("SERVERS={text}")), parse_link(&format!("DOMAINS={text}"))];
            combine(ResolvConf::parse(text).servers, &links);
        }
    }
}
