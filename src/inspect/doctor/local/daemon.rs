//! Whom Docker's daemon asks when it pulls: the host's resolver, or one that its unit binds over that; never what
//! daemon.json says, which is for containers alone.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::containers::{given_servers, has_docker};
use super::daemon_json::DaemonJson;
use super::foreign;
use super::ours::{HostResolvers, Ours, Side, is_resolved_stub, listed, servers};
use super::processes::{self, Process};
use super::units::{UnitSetting, service_settings, words};
use crate::address::DNS_PORT;
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::machine::Machine;
use crate::inspect::setup::service;

/// Whether the daemon's own pulls ask pullgate.
pub(super) fn pulls(scene: &Scene<'_>, report: &mut Report) {
    let daemon = DaemonJson::of(scene.machine, report);
    if daemon.is_none() && !has_docker(scene.machine) {
        return;
    }
    let host = HostResolvers::of(scene.machine, report);
    let ours = Ours::of(scene, report);
    let for_containers = given_servers(scene.machine, daemon.as_ref(), report);
    for source in sources(scene.machine, &host, report) {
        let is_stub = source.servers.iter().any(|server| is_resolved_stub(*server));
        let asked = if is_stub { &host.asked_by_resolved } else { &source.servers };
        report.add(judge(&source.place, asked, &for_containers, &ours).section(Section::DockerEngine));
    }
}

/// Whether Docker's daemon asks pullgate and the host does not: then all but the daemon is meant to go on as before.
pub(in crate::inspect::doctor) fn is_engine_alone(scene: &Scene<'_>) -> bool {
    // What cannot be seen is told by the check of the pulls.
    let untold = &mut Report::default();
    let (host, ours) = (HostResolvers::of(scene.machine, untold), Ours::of(scene, untold));
    let is_own = |source: &Source| {
        host.resolv_conf.as_ref() != Some(&source.servers) && ours.reached_at_all(&source.servers, Side::Host)
    };
    sources(scene.machine, &host, untold).iter().all(is_own) && !ours.reached_at_all(host.asked(), Side::Host)
}

/// The servers that Docker's daemon has for itself alone.
pub(in crate::inspect::doctor) fn servers_of_daemon(scene: &Scene<'_>) -> Vec<SocketAddr> {
    let untold = &mut Report::default();
    let host = HostResolvers::of(scene.machine, untold);
    let sources = sources(scene.machine, &host, untold).into_iter();
    let own = sources.filter(|source| host.resolv_conf.as_ref() != Some(&source.servers));
    own.flat_map(|source| source.servers).map(|server| SocketAddr::new(server, DNS_PORT)).collect()
}

/// Says once for all checks that the engine alone is restricted, if it is.
pub(super) fn alone(scene: &Scene<'_>, report: &mut Report) {
    if !scene.engine_alone {
        return;
    }
    let host = HostResolvers::of(scene.machine, report);
    let asked = listed(host.asked());
    let title =
        format!("the engine alone is restricted: this machine, its containers and RUN steps may ask others ({asked})");
    let meaning = "what Docker pulls is decided by the policy, and nothing else is: that is what `pullgate setup docker --scope engine` is for";
    report.add(Finding::note(CHECK, title).meaning(meaning).section(Section::DockerEngine));
}

/// Where a daemon finds its servers, and which.
struct Source {
    place: String,
    servers: Vec<IpAddr>,
}

fn judge(place: &str, asked: &[IpAddr], for_containers: &[IpAddr], ours: &Ours) -> Finding {
    let title = format!("Docker's own pulls ask {} ({place})", listed(asked));
    if ours.reached_at_all(asked, Side::Host) {
        return Finding::ok(CHECK, title);
    }
    let meaning = if for_containers.iter().any(|server| ours.reached_at(*server, Side::Host)) {
        "`dns` of daemon.json sends containers to pullgate, but not the daemon: pulls, `docker run` and FROM get any image"
    } else {
        "pulls, `docker run` and FROM of every build get any image"
    };
    Finding::problem(CHECK, title)
        .meaning(meaning)
        .fix("pullgate setup docker --write --restart  # of all the host; its pulls alone: with --scope engine")
}

/// What each running daemon has mounted, if that can be seen; else what the unit binds over the host's file, else that.
fn sources(machine: &Machine, host: &HostResolvers, report: &mut Report) -> Vec<Source> {
    let running = processes::named(machine, &["dockerd"], report);
    let mounted: Vec<Source> = running.iter().filter_map(|daemon| mounted(daemon, machine)).collect();
    if !mounted.is_empty() {
        return mounted;
    }
    if !running.is_empty() {
        foreign::unseen(report, format!("what the running dockerd has mounted over {RESOLV_CONF}: root may look"));
    }
    let settings = service_settings(machine, "docker.service", report);
    let Some(path) = bound_over_resolv_conf(&settings) else {
        return vec![Source { place: RESOLV_CONF.to_owned(), servers: host.resolv_conf.clone().unwrap_or_default() }];
    };
    let text = foreign::text(machine, &path, report).unwrap_or_default();
    vec![Source { place: path.display().to_string(), servers: servers(&text) }]
}

fn mounted(daemon: &Process, machine: &Machine) -> Option<Source> {
    let text = daemon.root(machine).read(RESOLV_CONF).ok()??;
    Some(Source { place: format!("{RESOLV_CONF} of process {}", daemon.id), servers: servers(&text) })
}

/// The file that the script of `setup`, `BindPaths=` or `BindReadOnlyPaths=` puts over resolv.conf; the last counts.
fn bound_over_resolv_conf(settings: &[UnitSetting]) -> Option<PathBuf> {
    let folder = service::folder("docker");
    let start = settings.iter().rfind(|setting| setting.key == "ExecStart");
    if start.is_some_and(|setting| words(&setting.value).iter().any(|word| *word == format!("{folder}/start"))) {
        return Some(Path::new(&folder).join("resolv.conf"));
    }
    let binds = settings.iter().filter(|setting| matches!(setting.key.as_str(), "BindPaths" | "BindReadOnlyPaths"));
    let pairs = binds.flat_map(|setting| words(&setting.value));
    let mut over = pairs.filter_map(|pair| {
        let (source, rest) = pair.split_once(':')?;
        let target = rest.split(':').next()?;
        (target == RESOLV_CONF).then(|| PathBuf::from(source.trim_start_matches('-')))
    });
    over.next_back()
}

const CHECK: &str = "pulls";
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const FOREIGN: (&str, &str) = ("etc/resolv.conf", "nameserver 192.0.2.53\n");
    const DNS: (&str, &str) = ("etc/docker/daemon.json", r#"{"dns": ["172.17.0.1"]}"#);
    const DROP_IN: (&str, &str) = (
        "etc/systemd/system/docker.service.d/pullgate.conf",
        "[Service]\nBindReadOnlyPaths=/etc/pullgate/resolv.conf:/etc/resolv.conf\n",
    );
    const BOUND: (&str, &str) = ("etc/pullgate/resolv.conf", "nameserver 127.0.0.1\n");

    fn said(files: &[(&str, &str)]) -> Report {
        let tree = Tree::of(files).pullgate("[server]\nlisten = [\"127.0.0.1:53\", \"172.17.0.1:53\"]\n");
        tree.said(pulls)
    }

    #[test]
    fn dns_of_daemon_json_does_not_reach_the_daemon_itself() {
        let report = said(&[FOREIGN, DNS]);
        assert_eq!(lines(&report), ["problem: Docker's own pulls ask 192.0.2.53 (/etc/resolv.conf)"]);
        assert!(report.findings[0].meaning.contains("but not the daemon"), "{report:?}");
    }

    #[test]
    fn a_resolv_conf_bound_over_the_daemons_counts() {
        let report = said(&[FOREIGN, DNS, DROP_IN, BOUND]);
        assert_eq!(lines(&report), ["ok: Docker's own pulls ask 127.0.0.1 (/etc/pullgate/resolv.conf)"]);
        assert_eq!(
            said(&[FOREIGN, DNS, DROP_IN]).worst(),
            crate::inspect::doctor::report::Severity::Problem,
            "nothing to bind"
        );
    }

    #[test]
    fn what_the_running_daemon_has_mounted_counts_before_what_its_unit_says() {
        let running = [("proc/9/comm", "dockerd\n"), ("proc/9/cmdline", "dockerd\0")];
        let before = ("proc/9/root/etc/resolv.conf", "nameserver 192.0.2.53\n");
        let report = said(&[FOREIGN, DNS, DROP_IN, BOUND, running[0], running[1], before]);
        assert_eq!(lines(&report), ["problem: Docker's own pulls ask 192.0.2.53 (/etc/resolv.conf of process 9)"]);
        let report = said(&[FOREIGN, DNS, DROP_IN, BOUND, running[0], running[1]]);
        assert_eq!(report.unseen.len(), 1, "{report:?}");
    }

    #[test]
    fn the_engine_is_alone_only_with_a_resolv_conf_of_its_own() {
        let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\n");
        let both = ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\nnameserver 192.0.2.53\n");
        for (files, expected) in [
            (vec![FOREIGN, DROP_IN, BOUND], true),
            (vec![FOREIGN], false),
            (vec![BOUND, DROP_IN, ("etc/resolv.conf", "nameserver 127.0.0.1\n")], false),
            (vec![stub, both], false),
            (vec![stub, ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n"), DROP_IN, BOUND], false),
        ] {
            let tree = Tree::of(&files);
            let proven = Some(vec!["127.0.0.1".parse().unwrap(), "127.0.0.53".parse().unwrap()]);
            let alone = is_engine_alone(&Scene { proven, ..tree.scene() });
            assert_eq!(alone, expected, "{files:?}");
        }
    }

    #[test]
    fn what_the_script_of_setup_binds_counts_where_nobody_may_look_at_the_daemon() {
        let ours = "[Service]\nExecStart=\nExecStart=/bin/sh /etc/pullgate/services/docker/start /usr/sbin/dockerd\n";
        let drop_in = ("etc/systemd/system/docker.service.d/zz-pullgate.conf", ours);
        let bound = ("etc/pullgate/services/docker/resolv.conf", "nameserver 127.0.0.1\n");
        let report = said(&[FOREIGN, DNS, drop_in, bound]);
        let expected = "ok: Docker's own pulls ask 127.0.0.1 (/etc/pullgate/services/docker/resolv.conf)";
        assert_eq!(lines(&report), [expected]);
        let theirs =
            ("etc/systemd/system/docker.service.d/zzz.conf", "[Service]\nExecStart=\nExecStart=/opt/dockerd\n");
        assert_eq!(
            said(&[FOREIGN, DNS, drop_in, bound, theirs]).worst(),
            crate::inspect::doctor::report::Severity::Problem
        );
    }

    #[test]
    fn a_resolv_conf_of_the_daemons_own_is_asked_as_well() {
        let of = |files: &[(&str, &str)]| servers_of_daemon(&Tree::of(files).scene());
        assert_eq!(of(&[FOREIGN, DROP_IN, BOUND]), ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(of(&[FOREIGN]), []);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn behind_systemd_resolved_it_is_the_uplink_that_is_asked() {
        let uplink = ("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n");
        let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\n");
        assert!(said(&[stub, uplink, DNS]).is_clean());
        assert_eq!(said(&[FOREIGN]), Report::default(), "no Docker, no pulls");
    }
}
