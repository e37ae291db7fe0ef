//! systemd-resolved and the programs that write resolv.conf: will the host still ask pullgate after the next lease, and
//! when pullgate is away?

use std::net::IpAddr;
use std::path::PathBuf;

use super::foreign;
use super::ours::{HostResolvers, Ours, Side, listed};
use crate::inspect::doctor::report::{Finding, Report};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::machine::Machine;
use crate::inspect::setup::owner::Owner;
use crate::resolv_conf::parse_server;

/// Whom systemd-resolved asks, and whom when it knows nobody else.
pub(super) fn resolved(scene: &Scene<'_>, report: &mut Report) {
    let host = HostResolvers::of(scene.machine, report);
    let owner = Owner::find(scene.machine).unwrap_or(Owner::Nobody);
    if host.uplink.is_empty() && owner != Owner::Resolved {
        return;
    }
    let ours = Ours::of(scene, report);
    if !host.uplink.is_empty() && owner == Owner::Resolved && !ours.reached_at_all(&host.uplink, Side::Host) {
        let title = format!("systemd-resolved asks {}", listed(&host.uplink));
        let finding = Finding::problem(CHECK, title)
            .meaning("it chooses among all servers of all links: pullgate has to be the only one, or to take `~.`");
        report.add(finding.fix(FIX));
    }
    let settings = ResolvedSettings::of(scene.machine, report);
    if let Some(finding) = settings.judge_fallback(&ours) {
        report.add(finding.fix(FIX));
    }
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
    report.add(finding.fix(format!("pullgate setup {target} (shows whether anything is missing)")));
}

/// What resolved.conf and its drop-ins say.
#[derive(Debug, Default, PartialEq, Eq)]
struct ResolvedSettings {
    /// `FallbackDNS`; `None` if no file sets it, so that those compiled in count.
    fallback: Option<Vec<IpAddr>>,
}

impl ResolvedSettings {
    fn of(machine: &Machine, report: &mut Report) -> Self {
        let mut settings = Self::default();
        for path in files(machine, report) {
            let text = foreign::text(machine, path, report).unwrap_or_default();
            for setting in foreign::settings(&text).filter(|s| s.section == "Resolve" && s.key == "FallbackDNS") {
                let servers = setting.value.split_ascii_whitespace().filter_map(parse_server);
                let given: Vec<IpAddr> = servers.map(|server| server.ip()).collect();
                // An empty value empties the list, another adds to it.
                let list = settings.fallback.get_or_insert_default();
                if setting.value.is_empty() {
                    list.clear();
                }
                list.extend(given);
            }
        }
        settings
    }

    fn judge_fallback(&self, ours: &Ours) -> Option<Finding> {
        let meaning = "they are asked when no other server is known: before a lease has come, or when a link goes away";
        match &self.fallback {
            None => {
                let title = "systemd-resolved has the fall-back servers that are compiled in";
                Some(Finding::warning(CHECK, title).meaning(meaning))
            }
            Some(list) if list.is_empty() || ours.reached_at_all(list, Side::Host) => None,
            Some(list) => {
                let title = format!("systemd-resolved has the fall-back servers {}", listed(list));
                Some(Finding::warning(CHECK, title).meaning(meaning))
            }
        }
    }
}

/// resolved.conf and its drop-ins, in the order in which they count.
fn files(machine: &Machine, report: &mut Report) -> Vec<PathBuf> {
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        for path in foreign::list(machine, format!("{folder}/resolved.conf.d"), ".conf", report) {
            if !drop_ins.iter().any(|earlier| earlier.file_name() == path.file_name()) {
                drop_ins.push(path);
            }
        }
    }
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let mains = FOLDERS.iter().map(|folder| PathBuf::from(format!("{folder}/resolved.conf")));
    let main = mains.into_iter().find(|path| matches!(machine.read(path), Ok(Some(_))));
    main.into_iter().chain(drop_ins).collect()
}

const CHECK: &str = "resolved";
const FIX: &str = "pullgate setup resolved --write";
/// Where systemd looks for settings; what comes first counts.
const FOLDERS: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

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

    #[test]
    fn a_resolv_conf_that_another_program_writes_is_noted() {
        let network_manager = ("etc/resolv.conf", "# Generated by NetworkManager\nnameserver 127.0.0.1\n");
        let report = Tree::of(&[network_manager]).pullgate(SETTINGS).said(owner);
        assert_eq!(lines(&report), ["note: NetworkManager writes /etc/resolv.conf"]);
        let nobody = Tree::of(&[("etc/resolv.conf", "nameserver 127.0.0.1\n")]).pullgate(SETTINGS).said(owner);
        assert_eq!(nobody, Report::default());
    }
}
