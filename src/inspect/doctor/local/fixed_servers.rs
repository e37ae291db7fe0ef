//! Name servers that the settings of a machine's network name: a static 8.8.8.8 in an image comes back at every boot,
//! whatever resolv.conf says today.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::foreign;
use super::ours::{Ours, Side, listed};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::machine::Machine;

/// Every server that a file of the network's settings names, and that is not pullgate.
pub(super) fn configured(scene: &Scene<'_>, report: &mut Report) {
    let ours = Ours::of(scene, report);
    for (form, path) in places(scene.machine, report) {
        let Some(text) = foreign::text(scene.machine, &path, report) else { continue };
        for (line, servers) in form.servers(&text) {
            if !ours.reached_at_all(&servers, Side::Host) {
                report.add(judge(&path, line, &servers));
            }
        }
    }
}

fn judge(path: &Path, line: usize, servers: &[IpAddr]) -> Finding {
    let place = format!("{}:{line}", path.display());
    Finding::warning("fixed-servers", format!("{place} names the server {}", listed(servers)))
        .meaning("at the next boot or lease the machine may ask it in pullgate's place, or beside it")
        .fix(format!("write pullgate's address there, or delete the line ({place}); or, on its gateway, `pullgate setup redirect --clients RANGE --write`"))
        .section(Section::Transparent)
}

/// How a file names servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Lines of `key = value`, one of these keys, addresses by comma, semicolon or space.
    Keys(&'static [&'static str]),
    /// Lines of `word word … address`, with one of these words.
    Words(&'static [&'static str]),
    /// YAML with `nameservers` or `dns-nameservers` anywhere.
    Yaml,
}

impl Form {
    /// Each line that names servers, with them.
    fn servers(self, text: &str) -> Vec<(usize, Vec<IpAddr>)> {
        let named: Vec<(usize, Vec<IpAddr>)> = match self {
            Self::Keys(keys) => {
                let settings =
                    foreign::settings(text).filter(|setting| keys.iter().any(|key| is_key(setting.key, key)));
                settings.map(|setting| (setting.line, addresses(setting.value))).collect()
            }
            Self::Words(words) => {
                let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with(['#', ';']));
                let lines = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
                lines.map(|(index, line)| (index + 1, addresses(line))).collect()
            }
            Self::Yaml => yaml(text),
        };
        named.into_iter().filter(|(_, servers)| !servers.is_empty()).collect()
    }
}

/// Whether it is the key, or the key with a number behind: `DNS`, `DNS1`.
fn is_key(written: &str, key: &str) -> bool {
    written.strip_prefix(key).is_some_and(|rest| rest.chars().all(|digit| digit.is_ascii_digit()))
}

/// Addresses in what follows `nameservers:`, on its line and on those further in.
fn yaml(text: &str) -> Vec<(usize, Vec<IpAddr>)> {
    let mut found = Vec::new();
    let mut below: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let content = line.split(" #").next().unwrap_or_default();
        let trimmed = content.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let depth = content.len() - trimmed.len();
        // A list may stand as far out as the key that it belongs to.
        below = below.filter(|key| depth > *key || depth == *key && trimmed.starts_with('-'));
        let key = trimmed.trim_start_matches("- ").split(':').next().unwrap_or_default().trim();
        if YAML_KEYS.contains(&key) {
            below = Some(depth);
        }
        if below.is_some() {
            found.push((index + 1, addresses(trimmed)));
        }
    }
    found
}

/// Every address among the words of a line.
fn addresses(text: &str) -> Vec<IpAddr> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '[' | ']' | '{' | '}' | '=');
    let words = text.split(is_between).map(|word| word.split(['#', '%']).next().unwrap_or_default());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The files of this machine that can name servers, each with its form.
fn places(machine: &Machine, report: &mut Report) -> Vec<(Form, PathBuf)> {
    let mut found: Vec<(Form, PathBuf)> = FILES.iter().map(|(form, path)| (*form, PathBuf::from(path))).collect();
    for (form, folder, start, ending) in FOLDERS {
        let files = foreign::list(machine, folder, ending, report).into_iter();
        let named = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
        found.extend(named.map(|path| (form, path)));
    }
    found
}

const NETWORKD: Form = Form::Keys(&["DNS"]);
const KEYFILE: Form = Form::Keys(&["dns"]);
const IFCFG: Form = Form::Keys(&["DNS"]);
const IFUPDOWN: Form = Form::Words(&["dns-nameservers"]);
const YAML_KEYS: [&str; 3] = ["nameservers", "dns-nameservers", "dns_nameservers"];
const FILES: [(Form, &str); 8] = [
    (IFUPDOWN, "/etc/network/interfaces"),
    (Form::Words(&["domain-name-servers"]), "/etc/dhcp/dhclient.conf"),
    (Form::Words(&["domain_name_servers"]), "/etc/dhcpcd.conf"),
    (Form::Words(&["nameserver"]), "/etc/resolvconf/resolv.conf.d/head"),
    (Form::Words(&["nameserver"]), "/etc/resolvconf/resolv.conf.d/base"),
    (Form::Words(&["nameserver"]), "/etc/resolvconf/resolv.conf.d/tail"),
    (Form::Keys(&["DNS"]), "/etc/systemd/resolved.conf"),
    (Form::Yaml, "/etc/cloud/cloud.cfg"),
];
/// Form, folder, how names begin and end.
const FOLDERS: [(Form, &str, &str, &str); 10] = [
    (Form::Yaml, "/etc/netplan", "", ".yaml"),
    (Form::Yaml, "/run/netplan", "", ".yaml"),
    (Form::Yaml, "/etc/cloud/cloud.cfg.d", "", ".cfg"),
    (Form::Yaml, "/var/lib/cloud/seed/nocloud", "network-config", ""),
    (NETWORKD, "/etc/systemd/network", "", ".network"),
    (NETWORKD, "/etc/systemd/resolved.conf.d", "", ".conf"),
    (KEYFILE, "/etc/NetworkManager/system-connections", "", ".nmconnection"),
    (IFCFG, "/etc/sysconfig/network-scripts", "ifcfg-", ""),
    (IFUPDOWN, "/etc/network/interfaces.d", "", ""),
    (Form::Keys(&["servers"]), "/etc/NetworkManager/conf.d", "", ".conf"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    #[test]
    fn a_static_server_is_found_wherever_a_network_is_set_up() {
        for (path, text, expected) in [
            (
                "etc/netplan/50.yaml",
                "network:\n  ethernets:\n    eth0:\n      nameservers:\n        addresses: [8.8.8.8, 198.18.0.1]\n      dhcp4: true\n",
                "5 names the server 8.8.8.8, 198.18.0.1",
            ),
            ("etc/netplan/50.yaml", "nameservers:\n  addresses:\n  - 8.8.8.8 # x\n", "3 names the server 8.8.8.8"),
            (
                "etc/systemd/network/10.network",
                "[Network]\nAddress=192.0.2.7/24\nDNS=8.8.8.8\n",
                "3 names the server 8.8.8.8",
            ),
            (
                "etc/systemd/resolved.conf",
                "[Resolve]\nDNS=1.1.1.1#one.one\n#DNS=9.9.9.9\nFallbackDNS=8.8.8.8\n",
                "2 names the server 1.1.1.1",
            ),
            (
                "etc/NetworkManager/system-connections/a.nmconnection",
                "[ipv4]\naddress1=192.0.2.7/24,192.0.2.1\ndns=8.8.8.8;8.8.4.4;\n",
                "3 names the server 8.8.8.8, 8.8.4.4",
            ),
            (
                "etc/sysconfig/network-scripts/ifcfg-eth0",
                "IPADDR=192.0.2.7\nDNS1=\"8.8.8.8\"\n",
                "2 names the server 8.8.8.8",
            ),
            (
                "etc/network/interfaces",
                "iface eth0 inet static\n  address 192.0.2.7\n  dns-nameservers 8.8.8.8\n",
                "3 names the server 8.8.8.8",
            ),
            (
                "etc/dhcp/dhclient.conf",
                "supersede domain-name-servers 8.8.8.8, 8.8.4.4;\n",
                "1 names the server 8.8.8.8, 8.8.4.4",
            ),
            ("etc/resolvconf/resolv.conf.d/head", "nameserver 8.8.8.8\n", "1 names the server 8.8.8.8"),
            (
                "etc/cloud/cloud.cfg.d/99.cfg",
                "manage_resolv_conf: true\nresolv_conf:\n  nameservers: ['8.8.8.8']\n",
                "3 names the server 8.8.8.8",
            ),
        ] {
            let mut tree = Tree::of(&[(path, text)]);
            tree.request.servers = vec!["198.18.0.1:53".parse().unwrap()];
            assert_eq!(lines(&tree.said(configured)), [format!("warning: /{path}:{expected}")]);
        }
    }

    #[test]
    fn pullgate_itself_and_other_addresses_are_no_news() {
        for (path, text) in [
            ("etc/netplan/50.yaml", "nameservers:\n  addresses: [198.18.0.1]\naddresses: [8.8.8.8]\n"),
            ("etc/netplan/50.yaml", "# nameservers: [8.8.8.8]\nroutes:\n- via: 192.0.2.1\n"),
            ("etc/systemd/network/10.network", "[Network]\nDNS=198.18.0.1\nDNSSEC=no\nGateway=192.0.2.1\n"),
            ("etc/network/interfaces", "# dns-nameservers 8.8.8.8\n"),
        ] {
            let mut tree = Tree::of(&[(path, text)]);
            tree.request.servers = vec!["198.18.0.1:53".parse().unwrap()];
            assert_eq!(tree.said(configured), Report::default(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_content_panics(text in "(nameservers:|dns|DNS=|8.8.8.8|- |\\n|[ \\[\\]#:=\\PC]){0,40}") {
            for form in [Form::Yaml, NETWORKD, IFUPDOWN] {
                form.servers(&text);
            }
        }
    }
}
