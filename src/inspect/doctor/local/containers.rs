//! Whom containers ask: those that run, and the next one on every network.

use std::net::IpAddr;

use super::daemon_json::{self, DaemonJson};
use super::docker_rules::{Network, Origin, Predicted, google, predicted_resolver};
use super::ours::{HostResolvers, Ours, Side, listed, servers};
use super::processes;
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::{Container, Engine};
use crate::inspect::machine::Machine;

/// Whom the next container, and the next RUN step, will ask by Docker's own rules. It needs neither root nor a running
/// engine.
pub(super) fn next(scene: &Scene<'_>, engine: Option<&Engine>, report: &mut Report) {
    let daemon = DaemonJson::of(scene.machine, report);
    let is_there = engine.is_some() || daemon.is_some() || has_docker(scene.machine);
    if !is_there || scene.engine_alone {
        return;
    }
    let host = HostResolvers::of(scene.machine, report);
    let ours = Ours::of(scene, report);
    let dns = given_servers(scene.machine, daemon.as_ref(), report);
    let ipv6 = engine.and_then(|engine| engine.network("bridge")).is_some_and(|bridge| bridge.has_ipv6);
    let networks = [Network::DefaultBridge { ipv6 }, Network::BuildKit, Network::UserDefined, Network::Host];
    let major = engine.and_then(Engine::major);
    let predictions = networks.map(|network| (network, predicted_resolver(&host, &dns, major, network)));
    let found = judge_next(&predictions, &ours);
    for finding in found {
        report.add(finding.section(Section::DockerEngine));
    }
}

/// Whom the running containers ask, by the resolv.conf that the engine mounted into each. Reading those needs root.
pub(super) fn running(scene: &Scene<'_>, engine: &Engine, report: &mut Report) {
    if scene.engine_alone {
        return;
    }
    let host = HostResolvers::of(scene.machine, report);
    let ours = Ours::of(scene, report);
    let mut unread = 0;
    let mut untold = Vec::new();
    for container in engine.containers.iter().filter(|container| has_own_resolver(container)) {
        let text = scene.machine.read(&container.resolv_conf_path).ok().flatten();
        unread += usize::from(text.is_none());
        let is_told = text.as_deref().is_none_or(|text| Asked::read(text).is_some());
        if !is_told && container.host_config.dns.is_empty() {
            untold.push(container.name());
        }
        let asked = match text {
            Some(text) => Asked::read(&text).or_else(|| Asked::given(container)),
            None => Asked::given(container),
        };
        if let Some(finding) = asked.and_then(|asked| judge_running(container, &asked, &host, &ours)) {
            report.add(finding);
        }
    }
    if !untold.is_empty() {
        let names = untold.join(", ");
        report.unseen(format!(
            "whom 127.0.0.11 asks in containers {names}: Docker before 25 does not write it down; run doctor inside"
        ));
    }
    if unread > 0 {
        report.unseen(format!("the resolv.conf of {unread} running containers: root may read them"));
    }
    if engine.containers_left_out > 0 {
        report.unseen(format!("{} more running containers", engine.containers_left_out));
    }
}

/// Whom one container asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    servers: Vec<IpAddr>,
    side: Side,
}

impl Asked {
    /// From its resolv.conf. Where that names the resolver inside, a comment of Docker 25 and later says whom it asks:
    /// `# ExtServers: [host(127.0.0.53) 192.0.2.1]`.
    fn read(text: &str) -> Option<Self> {
        let named = servers(text);
        if !named.iter().any(|server| is_docker_resolver(*server)) {
            return Some(Self { servers: named, side: Side::Container });
        }
        let list = text.lines().find_map(|line| line.strip_prefix("# ExtServers: [")?.strip_suffix(']'))?;
        let inner = |word: &str| word.strip_prefix("host(").and_then(|rest| rest.strip_suffix(')')).map(str::to_owned);
        let side = if list.split(' ').all(|word| inner(word).is_some()) { Side::Host } else { Side::Container };
        let words = list.split(' ').map(|word| inner(word).unwrap_or_else(|| word.to_owned()));
        Some(Self { servers: words.filter_map(|word| word.parse().ok()).collect(), side })
    }

    /// From what it was started with, if that says anything.
    fn given(container: &Container) -> Option<Self> {
        let given = &container.host_config.dns;
        let servers = given.iter().filter_map(|server| server.parse().ok()).collect();
        (!given.is_empty()).then_some(Self { servers, side: Side::Container })
    }
}

/// Findings about what is started next: networks with the same servers together.
fn judge_next(predictions: &[(Network, Predicted)], ours: &Ours) -> Vec<Finding> {
    let mut groups: Vec<(Vec<&str>, &Predicted)> = Vec::new();
    for (network, predicted) in predictions {
        match groups.iter_mut().find(|(_, known)| is_alike(known, predicted)) {
            Some((networks, _)) => networks.push(started_on(*network)),
            None => groups.push((vec![started_on(*network)], predicted)),
        }
    }
    let bad: Vec<Finding> =
        groups.iter().filter_map(|(networks, predicted)| judge(&networks.join(", "), predicted, ours)).collect();
    if bad.is_empty() {
        return vec![Finding::ok(CHECK, "the next container and RUN step will ask pullgate, on every network")];
    }
    bad
}

/// Whether the same is to be said of both: whose loopback it is matters where there is loopback.
fn is_alike(one: &Predicted, other: &Predicted) -> bool {
    let has_loopback = one.servers.iter().any(IpAddr::is_loopback);
    one.servers == other.servers && one.origin == other.origin && (one.from == other.from || !has_loopback)
}

fn judge(networks: &str, predicted: &Predicted, ours: &Ours) -> Option<Finding> {
    if ours.reached_at_all(&predicted.servers, predicted.from) {
        return None;
    }
    let problem = Finding::problem(CHECK, format!("{networks} will ask {}", listed(&predicted.servers)));
    let meaning = match predicted.origin {
        Origin::Fallback => {
            "the host's resolv.conf names no server that a container can reach, so Docker puts Google's there: pullgate is not asked"
        }
        _ if predicted.servers.is_empty() => "no name resolves there",
        Origin::Daemon if predicted.servers.iter().all(IpAddr::is_loopback) => {
            "to a container, loopback is the container itself: no name resolves there"
        }
        _ if predicted.servers.iter().any(|server| ours.reached_at(*server, predicted.from)) => {
            "pullgate is only one of them: when it does not answer at once, or refuses, the others are asked"
        }
        _ => "pullgate is not asked",
    };
    Some(problem.meaning(meaning).fix(fix(ours)))
}

fn judge_running(container: &Container, asked: &Asked, host: &HostResolvers, ours: &Ours) -> Option<Finding> {
    if asked.servers.is_empty() || ours.reached_at_all(&asked.servers, asked.side) {
        return None;
    }
    let name = container.name();
    let title = format!("container {name} asks {}", listed(&asked.servers));
    let finding = Finding::problem(CHECK, title);
    if !container.host_config.dns.is_empty() {
        return Some(
            finding
                .meaning("it was started with --dns, which no setting of the daemon overrules")
                .fix(format!("start {name} without --dns, or `{REDIRECT}`"))
                .section(Section::Transparent),
        );
    }
    let is_fallback = asked.servers.iter().all(|server| google(true).contains(server));
    let is_stale = !asked.servers.iter().all(|server| host.asked().contains(server));
    let meaning = if is_fallback {
        "when it started the host named no server that a container can reach, so Docker put Google's there"
    } else if is_stale {
        "its resolv.conf was made when it started, and has not followed the host's or the daemon's since"
    } else {
        "it has the host's servers, and pullgate is not the only one among them"
    };
    let fix = format!("{} && docker restart {name}", fix(ours));
    Some(finding.meaning(meaning).fix(fix).section(Section::DockerEngine))
}

/// The setup that mends it, with the address to write where pullgate is on another machine.
fn fix(ours: &Ours) -> String {
    match ours.address_for(Side::Container).filter(|_| !ours.is_here()) {
        Some(address) => format!("pullgate setup docker --address {address} --write --restart"),
        None => "pullgate setup docker --write --restart".to_owned(),
    }
}

/// The servers of daemon.json, else those on the running daemon's command line.
pub(super) fn given_servers(machine: &Machine, daemon: Option<&DaemonJson>, report: &mut Report) -> Vec<IpAddr> {
    let written = daemon.map(DaemonJson::dns).unwrap_or_default();
    if !written.is_empty() {
        return written;
    }
    processes::named(machine, &["dockerd"], report).iter().flat_map(daemon_json::dns_options).collect()
}

/// Whether Docker's daemon is installed.
pub(super) fn has_docker(machine: &Machine) -> bool {
    DAEMONS.iter().any(|path| machine.has(path))
}

fn has_own_resolver(container: &Container) -> bool {
    let mode = container.host_config.network_mode.as_str();
    mode != "none" && mode != "host" && !mode.starts_with("container:")
}

fn started_on(network: Network) -> &'static str {
    match network {
        Network::DefaultBridge { .. } => "containers on the default bridge and classic RUN steps",
        Network::BuildKit => "BuildKit RUN steps",
        Network::UserDefined => "containers on a network of your own",
        Network::Host => "containers on the host's network",
    }
}

fn is_docker_resolver(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets() == [127, 0, 0, 11])
}

/// Sends to pullgate what containers ask, whatever server they name.
pub(super) const REDIRECT: &str = "pullgate setup redirect --interface docker0 --interface 'br-*' --write --restart";
const CHECK: &str = "containers";
/// Where packages put Docker's daemon.
const DAEMONS: [&str; 3] = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const LOOPBACK: (&str, &str) = ("etc/resolv.conf", "nameserver 127.0.0.1\n");
    const DOCKERD: (&str, &str) = ("usr/bin/dockerd", "");

    fn next_said(files: &[(&str, &str)]) -> Report {
        let tree = Tree::of(files).pullgate("[server]\nlisten = [\"127.0.0.1:53\", \"172.17.0.1:53\"]\n");
        tree.said(|scene, report| next(scene, None, report))
    }

    #[test]
    fn a_loopback_server_on_the_host_sends_containers_and_run_steps_to_google() {
        let report = next_said(&[LOOPBACK, DOCKERD]);
        let expected = [
            "problem: containers on the default bridge and classic RUN steps will ask 8.8.8.8, 8.8.4.4",
            "problem: BuildKit RUN steps will ask 8.8.8.8, 8.8.4.4, 2001:4860:4860::8888, 2001:4860:4860::8844",
        ];
        assert_eq!(lines(&report), expected);
        assert_eq!(report.findings[0].fix.as_deref(), Some("pullgate setup docker --write --restart"));
    }

    #[test]
    fn daemon_json_with_an_address_that_containers_reach_mends_it() {
        let report = next_said(&[LOOPBACK, ("etc/docker/daemon.json", r#"{"dns": ["172.17.0.1"]}"#)]);
        assert_eq!(lines(&report), ["ok: the next container and RUN step will ask pullgate, on every network"]);
        let report = next_said(&[LOOPBACK, ("etc/docker/daemon.json", r#"{"dns": ["172.17.0.1", "8.8.8.8"]}"#)]);
        assert_eq!(report.findings.len(), 1);
        assert!(report.findings[0].meaning.contains("only one of them"), "{report:?}");
    }

    #[test]
    fn the_daemons_command_line_counts_where_daemon_json_is_silent() {
        let daemon = ("proc/9/cmdline", "dockerd\0--dns=172.17.0.1\0");
        let report = next_said(&[LOOPBACK, DOCKERD, ("proc/9/comm", "dockerd\n"), daemon]);
        assert!(report.is_clean(), "{report:?}");
    }

    #[test]
    fn where_the_engine_alone_is_restricted_containers_go_their_own_way() {
        let tree = Tree::of(&[LOOPBACK, DOCKERD]);
        let mut report = Report::default();
        next(&Scene { engine_alone: true, ..tree.scene() }, None, &mut report);
        assert_eq!(report, Report::default());
    }

    #[test]
    fn a_machine_without_docker_has_no_containers_to_speak_of() {
        assert_eq!(next_said(&[LOOPBACK]), Report::default());
    }

    #[test]
    fn the_resolver_inside_says_whom_it_asks() {
        for (text, expected) in [
            ("nameserver 127.0.0.11\n# ExtServers: [host(127.0.0.53)]\n", Some(("127.0.0.53", Side::Host))),
            ("nameserver 127.0.0.11\n# ExtServers: [8.8.8.8 1.1.1.1]\n", Some(("8.8.8.8, 1.1.1.1", Side::Container))),
            ("nameserver 127.0.0.11\noptions ndots:0\n", None),
            ("nameserver 8.8.8.8\n", Some(("8.8.8.8", Side::Container))),
        ] {
            let read = Asked::read(text).map(|asked| (listed(&asked.servers), asked.side));
            assert_eq!(read, expected.map(|(servers, side)| (servers.to_owned(), side)), "{text}");
        }
    }

    /// What is said of one container with this resolv.conf and `HostConfig`.
    fn running_said(resolv_conf: Option<&str>, host_config: &str) -> Report {
        let tree = Tree::of(&[("etc/resolv.conf", "nameserver 198.18.0.1\n")]);
        if let Some(text) = resolv_conf {
            tree.write("var/lib/docker/web/resolv.conf", text.as_bytes());
        }
        let text = format!(
            r#"{{"Name": "/web", "ResolvConfPath": "/var/lib/docker/web/resolv.conf", "HostConfig": {host_config}}}"#
        );
        let engine = Engine { containers: vec![serde_json::from_str(&text).unwrap()], ..Engine::default() };
        tree.said(|scene, report| running(scene, &engine, report))
    }

    #[test]
    fn a_running_container_is_judged_by_its_own_file() {
        for (resolv_conf, host_config, expected) in [
            ("nameserver 198.18.0.1\n", "{}", None),
            ("nameserver 8.8.8.8\n", "{}", Some("docker restart web")),
            ("nameserver 8.8.8.8\n", r#"{"Dns": ["8.8.8.8"]}"#, Some("without --dns")),
            ("nameserver 127.0.0.11\n", r#"{"Dns": ["8.8.8.8"]}"#, Some("without --dns")),
            ("nameserver 127.0.0.11\n", "{}", None),
            ("nameserver 127.0.0.1\n", r#"{"NetworkMode": "host"}"#, None),
            ("nameserver 8.8.8.8\n", r#"{"NetworkMode": "container:abc"}"#, None),
        ] {
            let report = running_said(Some(resolv_conf), host_config);
            let fix = report.findings.first().and_then(|finding| finding.fix.clone());
            assert_eq!(fix.is_some(), expected.is_some(), "{resolv_conf} {host_config}: {report:?}");
            assert!(fix.unwrap_or_default().contains(expected.unwrap_or_default()), "{report:?}");
        }
    }

    #[test]
    fn whom_the_resolver_inside_asks_is_unseen_where_no_comment_says_it() {
        let report = running_said(Some("nameserver 127.0.0.11\n"), "{}");
        assert!(report.findings.is_empty() && report.unseen[0].contains("in containers web"), "{report:?}");
        for (text, host_config) in [
            ("nameserver 127.0.0.11\n# ExtServers: [198.18.0.1]\n", "{}"),
            ("nameserver 127.0.0.11\n", r#"{"Dns": ["198.18.0.1"]}"#),
        ] {
            assert_eq!(running_said(Some(text), host_config), Report::default(), "{text}");
        }
    }

    #[test]
    fn without_root_what_a_container_was_started_with_is_still_known() {
        let report = running_said(None, r#"{"Dns": ["8.8.8.8"]}"#);
        assert_eq!(lines(&report), ["problem: container web asks 8.8.8.8"]);
        assert_eq!(report.unseen, ["the resolv.conf of 1 running containers: root may read them"]);
    }
}
