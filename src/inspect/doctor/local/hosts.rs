//! Names that are answered before any name server is asked: /etc/hosts, the extra hosts of containers, and the order in
//! which glibc looks (nsswitch.conf).

use std::net::IpAddr;

use super::foreign;
use super::judged::{Judged, is_registry, judge};
use super::ours::{HostResolvers, Ours, Side, is_resolved_stub};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::{Container, Engine};
use crate::name::DomainName;

/// Entries of /etc/hosts for registries.
pub(super) fn file(scene: &Scene<'_>, report: &mut Report) {
    let Some(text) = foreign::text(scene.machine, HOSTS, report) else { return };
    for (line, address, name) in entries(&text) {
        if is_registry(scene, &name) {
            let place = format!("{HOSTS}:{line}");
            let fix = format!("delete `{name}` from {HOSTS}, line {line}");
            report.add(judge_entry(scene, &place, address, &name).fix(fix));
        }
    }
}

/// Whether [`file`] tells of this name.
pub(in crate::inspect::doctor) fn tells_of_hosts(scene: &Scene<'_>, name: &DomainName) -> bool {
    let text = scene.machine.read(HOSTS).ok().flatten().unwrap_or_default();
    is_registry(scene, name) && entries(&text).any(|(_, _, entry)| entry == *name)
}

/// Registries among the `--add-host` entries of running containers.
pub(super) fn of_containers(scene: &Scene<'_>, engine: &Engine, report: &mut Report) {
    for container in &engine.containers {
        for (address, name) in extra_hosts(container).filter(|(_, name)| is_registry(scene, name)) {
            let place = format!("container {}", container.name());
            let fix = format!("start {} without --add-host {name}:{address}", container.name());
            report.add(judge_entry(scene, &place, address, &name).fix(fix));
        }
    }
}

/// What glibc asks beside name servers, by the `hosts` line of nsswitch.conf.
pub(super) fn order(scene: &Scene<'_>, report: &mut Report) {
    let Some(text) = foreign::text(scene.machine, NSSWITCH, report) else { return };
    let Some((line, sources)) = hosts_line(&text) else { return };
    let before_dns: Vec<&str> = sources.iter().copied().take_while(|source| *source != "dns").collect();
    let host = HostResolvers::of(scene.machine, report);
    if before_dns.contains(&"resolve") && !host.uplink.is_empty() {
        let ours = Ours::of(scene, report);
        report.add(judge_resolve(line, &host, &ours));
    }
    if !sources.contains(&"dns") && !sources.contains(&"resolve") {
        let title = format!("{NSSWITCH}:{line} has neither `dns` nor `resolve`");
        let finding = Finding::warning(CHECK, title).meaning("programs with glibc ask no name server at all");
        report.add(finding.fix(format!("write `hosts: files dns` in {NSSWITCH}")));
    }
    // `myhostname` knows this machine's own names, `mdns4_minimal` those below .local: no registry is among them.
    if let Some(mdns) = before_dns.iter().find(|source| matches!(**source, "mdns" | "mdns4" | "mdns6")) {
        let title = format!("{NSSWITCH}:{line} asks the local network by multicast (`{mdns}`) before name servers");
        let meaning = "any machine of the network may answer any name, a registry's too";
        report.add(Finding::warning(CHECK, title).meaning(meaning).fix(format!("write `{mdns}_minimal` for `{mdns}`")));
    }
}

fn judge_entry(scene: &Scene<'_>, place: &str, address: IpAddr, name: &DomainName) -> Finding {
    let title = format!("{place} gives {name} the address {address}");
    let meaning = "pullgate is not asked for this name, whatever the policy says of it";
    let finding = match judge(scene, &name.to_string()) {
        _ if address.is_loopback() || address.is_unspecified() => Finding::note(CHECK, title),
        Judged::Allowed => Finding::warning(CHECK, title),
        _ => Finding::problem(CHECK, title),
    };
    finding.meaning(meaning).section(Section::CannotSee)
}

/// nss-resolve asks systemd-resolved without resolv.conf: that must lead to pullgate as well.
fn judge_resolve(line: usize, host: &HostResolvers, ours: &Ours) -> Finding {
    let title = format!("{NSSWITCH}:{line} asks systemd-resolved (`resolve`) before name servers");
    let is_stub = host.resolv_conf.iter().flatten().any(|server| is_resolved_stub(*server));
    if ours.reached_at_all(&host.asked_by_resolved, Side::Host) {
        return Finding::ok(CHECK, format!("{title}, and that asks pullgate"));
    }
    let meaning = if is_stub {
        "systemd-resolved asks other servers than pullgate"
    } else {
        "systemd-resolved asks other servers than resolv.conf names: programs with glibc get around pullgate, others do not"
    };
    Finding::problem(CHECK, title).meaning(meaning).fix("pullgate setup resolved --write")
}

/// Line, address and name of each entry; a line may have several names.
fn entries(text: &str) -> impl Iterator<Item = (usize, IpAddr, DomainName)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
        let names = words.filter_map(|word| word.parse().ok());
        names.filter_map(move |name| Some((index + 1, address?, name)))
    })
}

/// `name:address`, or `name=address`; `host-gateway` is this host and no address.
fn extra_hosts(container: &Container) -> impl Iterator<Item = (IpAddr, DomainName)> {
    container.host_config.extra_hosts.iter().filter_map(|entry| {
        let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':'))?;
        Some((address.trim_matches(['[', ']']).parse().ok()?, name.parse().ok()?))
    })
}

/// The `hosts:` line and its sources, without what stands in brackets.
fn hosts_line(text: &str) -> Option<(usize, Vec<&str>)> {
    let mut lines = text.lines().enumerate();
    let (index, list) = lines.find_map(|(index, line)| Some((index, line.trim().strip_prefix("hosts:")?)))?;
    let sources = list.split('#').next().unwrap_or_default();
    let mut is_action = false;
    let sources = sources.split_ascii_whitespace().filter(|word| {
        is_action |= word.starts_with('[');
        let is_source = !is_action;
        is_action &= !word.ends_with(']');
        is_source
    });
    Some((index + 1, sources.collect()))
}

const CHECK: &str = "hosts";
const HOSTS: &str = "/etc/hosts";
const NSSWITCH: &str = "/etc/nsswitch.conf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const POLICY: &str = "[[registry]]\nname = \"lab\"\nhosts = [\"registry.lab.test\"]\n";

    #[test]
    fn entries_for_registries_are_found_and_others_left_alone() {
        for (entry, expected) in [
            ("192.0.2.1 ghcr.io", Some("problem: /etc/hosts:2 gives ghcr.io the address 192.0.2.1")),
            ("192.0.2.1 other GHCR.io # x", Some("problem: /etc/hosts:2 gives ghcr.io the address 192.0.2.1")),
            (
                "192.0.2.1 registry.lab.test",
                Some("warning: /etc/hosts:2 gives registry.lab.test the address 192.0.2.1"),
            ),
            ("0.0.0.0 quay.io", Some("note: /etc/hosts:2 gives quay.io the address 0.0.0.0")),
            ("192.0.2.1 printer.lab.test", None),
            ("# 192.0.2.1 ghcr.io", None),
            ("ghcr.io 192.0.2.1", None),
        ] {
            let text = format!("127.0.0.1 localhost\n{entry}\n");
            let report = Tree::of(&[("etc/hosts", &text)]).policy(POLICY).said(file);
            assert_eq!(lines(&report), expected.into_iter().collect::<Vec<_>>(), "{entry}");
        }
    }

    #[test]
    fn extra_hosts_of_containers_count_too() {
        let container = r#"{"Name": "/web", "HostConfig": {"ExtraHosts":
            ["ghcr.io:192.0.2.1", "quay.io=[fd18::1]", "host.docker.internal:host-gateway", "db:192.0.2.2"]}}"#;
        let engine = Engine { containers: vec![serde_json::from_str(container).unwrap()], ..Engine::default() };
        let report = Tree::of(&[]).policy(POLICY).said(|scene, report| of_containers(scene, &engine, report));
        let expected = [
            "problem: container web gives ghcr.io the address 192.0.2.1",
            "problem: container web gives quay.io the address fd18::1",
        ];
        assert_eq!(lines(&report), expected);
    }

    #[test]
    fn the_order_of_sources_is_judged() {
        let ours = ("etc/resolv.conf", "nameserver 198.18.0.1\n");
        let elsewhere = ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
        let same = ("run/systemd/resolve/resolv.conf", "nameserver 198.18.0.1\n");
        for (hosts, uplink, expected) in [
            ("files dns", elsewhere, vec![]),
            (
                "files resolve [!UNAVAIL=return] dns",
                elsewhere,
                vec!["problem: /etc/nsswitch.conf:1 asks systemd-resolved (`resolve`) before name servers"],
            ),
            (
                "files resolve [!UNAVAIL=return] dns",
                same,
                vec![
                    "ok: /etc/nsswitch.conf:1 asks systemd-resolved (`resolve`) before name servers, and that asks pullgate",
                ],
            ),
            ("files dns resolve", elsewhere, vec![]),
            ("files mdns4_minimal [NOTFOUND=return] dns myhostname", elsewhere, vec![]),
            (
                "files mdns4 dns",
                elsewhere,
                vec!["warning: /etc/nsswitch.conf:1 asks the local network by multicast (`mdns4`) before name servers"],
            ),
            ("files", elsewhere, vec!["warning: /etc/nsswitch.conf:1 has neither `dns` nor `resolve`"]),
        ] {
            let report = Tree::of(&[("etc/nsswitch.conf", &format!("hosts: {hosts}\n")), ours, uplink]).said(order);
            assert_eq!(lines(&report), expected, "{hosts}");
        }
    }

    proptest! {
        #[test]
        fn no_content_panics(text in "(hosts:|\\[|\\]|#|dns|ghcr.io|192.0.2.1|[ \\t\\n:\\PC]){0,40}") {
            entries(&text).count();
            hosts_line(&text);
        }
    }
}
