//! systemd-resolved and the programs that write resolv.conf: will the host still ask pullgate after the next lease, and
//! when pullgate is away?

use std::net::IpAddr;

use super::foreign;
use super::ours::{HostResolvers, Ours, Side, listed};
use super::uplinks::{Routed, Uplinks};
use crate::inspect::doctor::report::{Finding, Report};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::setup::owner::Owner;
use crate::name::DomainName;
use crate::policy::pattern::Pattern;
use crate::policy::snapshot::{EntryKind, Snapshot};

/// Whom systemd-resolved asks, and whom when it knows nobody else.
pub(super) fn resolved(scene: &Scene<'_>, report: &mut Report) {
    let host = HostResolvers::of(scene.machine, report);
    let owner = Owner::find(scene.machine).unwrap_or(Owner::Nobody);
    if host.uplink.is_empty() && owner != Owner::Resolved {
        return;
    }
    let ours = Ours::of(scene, report);
    let uplinks = Uplinks::of(scene.machine, report);
    // Where they were asked themselves, each is told by what it said.
    let is_told = scene.proven.is_some();
    if !is_told
        && !uplinks.asked.is_empty()
        && owner == Owner::Resolved
        && !ours.reached_at_all(&uplinks.asked, Side::Host)
    {
        let title = format!("systemd-resolved asks {}", listed(&uplinks.asked));
        let finding = Finding::problem(CHECK, title)
            .meaning("it chooses among all servers of all links: pullgate has to be the only one, or to take `~.`");
        report.add(finding.fix(FIX));
    }
    if let Some(finding) = judge_fallback(uplinks.fallback.as_deref(), &ours) {
        report.add(finding.fix(FIX));
    }
    let elsewhere = uplinks.routed.iter().filter(|routed| !ours.reached_at_all(&routed.servers, Side::Host));
    elsewhere.filter_map(|routed| judge_routed(scene, routed)).for_each(|finding| report.add(finding));
}

/// Whether somebody writes resolv.conf who does not know of pullgate.
pub(super) fn owner(scene: &Scene<'_>, report: &mut Report) {
    let host = HostResolvers::of(scene.machine, report);
    let ours = Ours::of(scene, report);
    let owner = match Owner::find(scene.machine) {
        Ok(owner) => owner,
        Err(error) => return foreign::unseen(report, format!("who writes /etc/resolv.conf: {error}")),
    };
    if !ours.reached_at_all(host.asked(), Side::Host) || scene.settings.is_none() && scene.request.servers.is_empty() {
        return;
    }
    let target = match owner {
        Owner::NetworkManager => "networkmanager",
        Owner::Resolvconf | Owner::Dhcpcd | Owner::Dhclient | Owner::Netconfig | Owner::Connman => "resolv-conf",
        // resolved's file follows resolved; WSL is another check's.
        Owner::Nobody | Owner::Resolved | Owner::Wsl => return,
    };
    let title = format!("{} writes /etc/resolv.conf", owner.name());
    let finding = Finding::note("owner", title).meaning(
        "it names pullgate now; whether it does after the next lease or link is up to that program's settings",
    );
    report.add(finding.fix(format!("pullgate setup {target}  # shows whether anything is missing")));
}

/// What a link, such as a VPN's, takes for itself. Domains that the policy hands on as a service are meant to be asked.
fn judge_routed(scene: &Scene<'_>, routed: &Routed) -> Option<Finding> {
    let domains: Vec<&str> =
        routed.domains.iter().map(String::as_str).filter(|domain| !is_service(scene, domain)).collect();
    let (list, servers) = (domains.join(", "), listed(&routed.servers));
    let title = format!("names below {list} are asked at {servers} (link {})", routed.link);
    let finding = Finding::note(CHECK, title)
        .meaning("systemd-resolved sends them there and not to pullgate: a registry below them is not under the policy")
        .fix(format!(
            "a [[service]] with `names = [\".{}\"]` and these `servers`, then `resolvectl domain {} \"\"`",
            domains.first()?,
            routed.link
        ));
    Some(finding)
}

/// Whether the policy has a service for everything below a domain.
fn is_service(scene: &Scene<'_>, domain: &str) -> bool {
    let Ok(below) = format!("any.{domain}").parse::<DomainName>() else { return false };
    let rules = scene.policy.into_iter().flat_map(Snapshot::rules);
    let services = rules.filter(|rule| rule.entry().kind == EntryKind::Service);
    let mut patterns = services.filter_map(|rule| rule.pattern().to_string().parse::<Pattern>().ok());
    patterns.any(|pattern| pattern.matches(below.as_name()))
}

fn judge_fallback(fallback: Option<&[IpAddr]>, ours: &Ours) -> Option<Finding> {
    let title = match fallback {
        None => "systemd-resolved has the fall-back servers that are compiled in".to_owned(),
        Some(list) if list.is_empty() || ours.reached_at_all(list, Side::Host) => return None,
        Some(list) => format!("systemd-resolved has the fall-back servers {}", listed(list)),
    };
    let meaning = "they are asked when no other server is known: before a lease has come, or when a link goes away";
    Some(Finding::warning(CHECK, title).meaning(meaning))
}

const CHECK: &str = "resolved";
const FIX: &str = "pullgate setup resolved --write";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const SETTINGS: &str = "[server]\nlisten = [\"127.0.0.1:53\"]\n";
    const STUB: (&str, &str) = (
        "etc/resolv.conf",
        "# This is /run/systemd/resolve/stub-resolv.conf managed by man:systemd-resolved(8).\nnameserver 127.0.0.53\n",
    );
    const UPLINK: (&str, &str) = ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n");

    fn said(files: &[(&str, &str)]) -> Vec<String> {
        lines(&Tree::of(files).pullgate(SETTINGS).said(resolved))
    }

    #[test]
    fn fall_back_servers_are_found_unless_they_are_emptied() {
        let compiled_in = "warning: systemd-resolved has the fall-back servers that are compiled in";
        let main =
            ("etc/systemd/resolved.conf", "[Resolve]\n#FallbackDNS=9.9.9.9\nFallbackDNS=8.8.8.8 1.1.1.1#one.one\n");
        for (files, expected) in [
            (vec![STUB, UPLINK], vec![compiled_in]),
            (vec![STUB, UPLINK, main], vec!["warning: systemd-resolved has the fall-back servers 8.8.8.8, 1.1.1.1"]),
            (vec![STUB, UPLINK, main, ("etc/systemd/resolved.conf.d/p.conf", "[Resolve]\nFallbackDNS=\n")], vec![]),
            (vec![("etc/resolv.conf", "nameserver 127.0.0.1\n")], vec![]),
        ] {
            assert_eq!(said(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn servers_of_links_beside_pullgate_are_a_problem() {
        let both = ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\nnameserver 192.0.2.53\n");
        let emptied = ("etc/systemd/resolved.conf", "[Resolve]\nFallbackDNS=\n");
        assert_eq!(said(&[STUB, both, emptied]), ["problem: systemd-resolved asks 127.0.0.1, 192.0.2.53"]);
    }

    const EMPTIED: (&str, &str) = ("etc/systemd/resolved.conf", "[Resolve]\nFallbackDNS=\n");
    const BOTH: (&str, &str) = ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\nnameserver 10.8.0.1\n");
    const TAKES_ALL: (&str, &str) =
        ("etc/systemd/resolved.conf", "[Resolve]\nDNS=127.0.0.1\nDomains=~.\nFallbackDNS=\n");

    fn link(text: &str) -> (&str, &str) {
        ("run/systemd/resolve/netif/7", text)
    }

    #[test]
    fn a_link_that_only_routes_is_no_second_server() {
        let routes = link("SERVERS=10.8.0.1\nDOMAINS=~corp.example\n");
        let note = "note: names below corp.example are asked at 10.8.0.1 (link 7)";
        for (files, expected) in [
            ([STUB, BOTH, EMPTIED, routes], vec![note]),
            ([STUB, BOTH, TAKES_ALL, routes], vec![note]),
            ([STUB, BOTH, TAKES_ALL, link("SERVERS=10.8.0.1\n")], vec![]),
            (
                [STUB, BOTH, ("etc/systemd/resolved.conf", "[Resolve]\nDNS=10.8.0.1\nFallbackDNS=\n"), routes],
                vec!["problem: systemd-resolved asks 127.0.0.1, 10.8.0.1"],
            ),
            (
                [STUB, BOTH, EMPTIED, link("SERVERS=10.8.0.1\nDOMAINS=~corp.example\nDEFAULT_ROUTE=yes\n")],
                vec!["problem: systemd-resolved asks 127.0.0.1, 10.8.0.1"],
            ),
            (
                [STUB, BOTH, EMPTIED, link("SERVERS=10.8.0.1\nDOMAINS=corp.example\n")],
                vec!["problem: systemd-resolved asks 127.0.0.1, 10.8.0.1"],
            ),
            (
                [STUB, BOTH, EMPTIED, link("SERVERS=10.8.0.1\nDOMAINS=~.\n")],
                vec!["problem: systemd-resolved asks 10.8.0.1"],
            ),
        ] {
            assert_eq!(said(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_domain_that_the_policy_hands_on_is_meant_to_be_asked_elsewhere() {
        let routes = link("SERVERS=10.8.0.1\nDOMAINS=~corp.example\n");
        let tree = Tree::of(&[STUB, BOTH, EMPTIED, routes]).pullgate(SETTINGS);
        let service = "[[service]]\nname = \"corp\"\nnames = [\".corp.example\"]\nservers = [\"10.8.0.1\"]\n";
        assert_eq!(tree.policy(service).said(resolved), Report::default());
    }

    #[test]
    fn a_resolv_conf_that_another_program_writes_is_noted() {
        let network_manager = ("etc/resolv.conf", "# Generated by NetworkManager\nnameserver 127.0.0.1\n");
        let report = Tree::of(&[network_manager]).pullgate(SETTINGS).said(owner);
        assert_eq!(lines(&report), ["note: NetworkManager writes /etc/resolv.conf"]);
        let nobody = Tree::of(&[("etc/resolv.conf", "nameserver 127.0.0.1\n")]).pullgate(SETTINGS).said(owner);
        assert_eq!(nobody, Report::default());
    }
}
