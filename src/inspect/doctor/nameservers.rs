//! The name servers that this machine's files name, and whether there is exactly one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::local::{self, Uplinks};
use super::place::Place;
use super::report::{Finding, Report, Section};
use super::scene::Scene;
use crate::address::DNS_PORT;
use crate::inspect::setup::owner::Owner;
use crate::resolv_conf::{ResolvConf, parse_server};

/// A name server, and who names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
}

/// Who names a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `--server`.
    CommandLine,
    /// resolv.conf.
    ResolvConf,
    /// systemd-resolved, which stands in resolv.conf and asks this one.
    Resolved,
    /// Docker's 127.0.0.11, which stands in a container's resolv.conf and asks this one.
    Docker,
    /// The resolv.conf that Docker's daemon has for itself alone.
    Daemon,
}

/// Whether resolv.conf is there and names exactly one server, or several that all proved to be pullgate.
pub(super) fn count(scene: &Scene<'_>, report: &mut Report) {
    let text = match scene.machine.read(RESOLV_CONF) {
        Ok(text) => text,
        Err(error) => return report.unseen(format!("{RESOLV_CONF} cannot be read: {error}")),
    };
    let servers = text.as_deref().map(ResolvConf::parse).unwrap_or_default().servers;
    report.add(match (&text, servers.as_slice()) {
        (None, _) => nothing(scene, format!("there is no {RESOLV_CONF}")),
        (Some(_), []) => nothing(scene, format!("{RESOLV_CONF} names no server")),
        (Some(_), [only]) => Finding::ok(CHECK, format!("{RESOLV_CONF} names one server, {}", only.ip())),
        (Some(_), several) if several.iter().all(|server| scene.is_proven(server.ip())) => {
            Finding::ok(CHECK, format!("{RESOLV_CONF} names {}, and each is pullgate", listed(several)))
        }
        (Some(_), several) => too_many(scene, several),
    });
}

/// The servers to try: those of the command line, else those of the files.
pub(super) fn to_try(scene: &Scene<'_>) -> Vec<NameServer> {
    let given = &scene.request.servers;
    let named = |address: &SocketAddr, origin| NameServer { address: *address, origin };
    if !given.is_empty() {
        return given.iter().take(MAX_SERVERS).map(|address| named(address, Origin::CommandLine)).collect();
    }
    let read = |path: &str| scene.machine.read(path).ok().flatten().unwrap_or_default();
    let text = read(RESOLV_CONF);
    let mut found: Vec<NameServer> = Vec::new();
    let mut add = |addresses: Vec<SocketAddr>, origin| {
        for address in addresses {
            if found.len() < MAX_SERVERS && !found.iter().any(|known| known.address == address) {
                found.push(NameServer { address, origin });
            }
        }
    };
    let servers = ResolvConf::parse(&text).servers;
    let behind =
        |stubs: &[Ipv4Addr]| servers.iter().any(|server| stubs.iter().any(|stub| server.ip() == IpAddr::V4(*stub)));
    let (resolved, docker) = (behind(&RESOLVED_STUBS), behind(&[DOCKER_STUB]));
    add(servers.clone(), Origin::ResolvConf);
    if resolved {
        // One that is asked for names below some domain alone is no second server.
        let asked = Uplinks::of(scene.machine, &mut Report::default()).asked.into_iter();
        add(asked.map(|server| SocketAddr::new(server, DNS_PORT)).collect(), Origin::Resolved);
    }
    add(local::servers_of_daemon(scene), Origin::Daemon);
    if docker {
        add(external_servers(&text), Origin::Docker);
    }
    found
}

/// Whether a program that only passes questions on listens there.
pub(super) fn is_stub(address: IpAddr) -> bool {
    RESOLVED_STUBS.iter().chain([&DOCKER_STUB]).any(|stub| address == IpAddr::V4(*stub))
}

/// The servers that Docker notes in a container's resolv.conf, as `# ExtServers: [198.18.10.1 host(127.0.0.53)]`. Those
/// in `host(…)` are asked from the host, where this client cannot ask.
fn external_servers(text: &str) -> Vec<SocketAddr> {
    let notes = text.lines().filter_map(|line| line.trim_start_matches('#').trim().strip_prefix("ExtServers:"));
    let words = notes.flat_map(|note| note.split(['[', ']', ',', ' ']));
    words.filter_map(parse_server).collect()
}

fn nothing(scene: &Scene<'_>, title: String) -> Finding {
    let remedy = Remedy::of(scene, Origin::ResolvConf);
    Finding::problem(CHECK, title)
        .meaning(
            "programs ask whatever answers on 127.0.0.1, and Docker gives containers and RUN steps 8.8.8.8 and 8.8.4.4",
        )
        .fix(remedy.command)
        .section(remedy.section)
}

fn too_many(scene: &Scene<'_>, servers: &[SocketAddr]) -> Finding {
    let remedy = Remedy::of(scene, Origin::ResolvConf);
    Finding::problem(CHECK, format!("{RESOLV_CONF} names {} servers: {}", servers.len(), listed(servers)))
        .meaning(
            "when one does not answer, fails or refuses, programs ask the next; musl asks all at once and takes the \
             first answer",
        )
        .fix(remedy.command)
        .section(remedy.section)
}

fn listed(servers: &[SocketAddr]) -> String {
    let more = if servers.len() > MAX_LISTED { ", …" } else { "" };
    let listed: Vec<String> = servers.iter().take(MAX_LISTED).map(|server| server.ip().to_string()).collect();
    listed.join(", ") + more
}

/// What puts pullgate, and nothing else, where a name server is named.
pub(super) struct Remedy {
    pub(super) command: String,
    pub(super) section: Section,
}

impl Remedy {
    /// The remedy for a server that `origin` names, where the client stands.
    pub(super) fn of(scene: &Scene<'_>, origin: Origin) -> Self {
        let owner = || Owner::find(scene.machine).unwrap_or(Owner::Nobody);
        let engine = if origin == Origin::Docker { Some("docker") } else { scene.place.engine() };
        if let Some(engine) = engine {
            let section = if engine == "kubernetes" { Section::Kubernetes } else { Section::DockerEngine };
            return Self { command: setup_command(scene, engine) + "  # on the host of the engine", section };
        }
        let target = match (origin, owner()) {
            (Origin::Resolved, _) | (_, Owner::Resolved) => "resolved",
            (_, Owner::NetworkManager) => "networkmanager",
            (_, Owner::Wsl) => "wsl",
            _ => "resolv-conf",
        };
        let section = match &scene.place {
            Place::Wsl(_) => Section::Wsl,
            Place::VirtualMachine(_) => Section::DockerVm,
            Place::Host | Place::Container(_) => Section::DockerEngine,
        };
        Self { command: setup_command(scene, target), section }
    }
}

/// How `setup` is called here: a pullgate of another machine has to be named.
fn setup_command(scene: &Scene<'_>, target: &str) -> String {
    if scene.settings.is_some() {
        return format!("pullgate setup {target} --write");
    }
    let proven = scene.proven.iter().flatten().find(|address| !address.is_loopback());
    let address = proven.map_or_else(|| "PULLGATE".to_owned(), ToString::to_string);
    format!("pullgate setup {target} --address {address} --write")
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.port() == DNS_PORT {
            self.address.ip().fmt(f)?;
        } else {
            self.address.fmt(f)?;
        }
        f.write_str(match self.origin {
            Origin::CommandLine => "",
            Origin::ResolvConf => " (resolv.conf)",
            Origin::Resolved => " (behind systemd-resolved)",
            Origin::Docker => " (behind Docker's 127.0.0.11)",
            Origin::Daemon => " (resolv.conf of Docker's daemon)",
        })
    }
}

const CHECK: &str = "nameservers";
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved's stub listens.
const RESOLVED_STUBS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];
/// Where Docker answers in the containers of a user network.
const DOCKER_STUB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// More than a title should have.
const MAX_LISTED: usize = 5;
/// More than anybody has reason to name.
const MAX_SERVERS: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::inspect::doctor::{Request, Severity};
    use crate::inspect::machine::Machine;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> (TempDir, Machine) {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::under(root.path());
        (root, machine)
    }

    fn counted(files: &[(&str, &str)]) -> Report {
        let ((_root, machine), request) = (machine(files), Request::default());
        let mut report = Report::default();
        count(&Scene::of(&machine, &request, None), &mut report);
        report
    }

    fn tried(files: &[(&str, &str)]) -> Vec<String> {
        let ((_root, machine), request) = (machine(files), Request::default());
        to_try(&Scene::of(&machine, &request, None)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn exactly_one_server_is_fine() {
        for (text, expected) in [
            (Some("nameserver 192.0.2.1\n"), Severity::Ok),
            (Some("nameserver 192.0.2.1\nnameserver 192.0.2.2\n"), Severity::Problem),
            (Some("search corp.example\n"), Severity::Problem),
            (None, Severity::Problem),
        ] {
            let files: Vec<_> = text.map(|text| ("etc/resolv.conf", text)).into_iter().collect();
            let report = counted(&files);
            assert_eq!(report.worst(), expected, "{text:?}: {report:?}");
            assert!(report.findings.iter().all(|finding| finding.fix.is_some() || expected == Severity::Ok));
        }
    }

    #[test]
    fn several_servers_are_fine_when_each_is_pullgate() {
        let (_root, machine) = machine(&[("etc/resolv.conf", "nameserver 198.18.10.1\nnameserver fd18:10::1\n")]);
        let request = Request::default();
        let worst = |proven: &[&str]| {
            let proven = Some(proven.iter().map(|address| address.parse().unwrap()).collect());
            let mut report = Report::default();
            count(&Scene { proven, ..Scene::of(&machine, &request, None) }, &mut report);
            report.worst()
        };
        assert_eq!(worst(&["198.18.10.1", "fd18:10::1"]), Severity::Ok);
        assert_eq!(worst(&["198.18.10.1"]), Severity::Problem);
        assert_eq!(worst(&[]), Severity::Problem);
    }

    #[test]
    fn a_pullgate_of_another_machine_is_named_in_the_fix() {
        let (_root, machine) = machine(&[]);
        let request = Request::default();
        let command = |proven: &[&str]| {
            let proven = Some(proven.iter().map(|address| address.parse().unwrap()).collect());
            Remedy::of(&Scene { proven, ..Scene::of(&machine, &request, None) }, Origin::ResolvConf).command
        };
        assert_eq!(command(&["127.0.0.53", "198.18.10.1"]), "pullgate setup resolv-conf --address 198.18.10.1 --write");
        assert_eq!(command(&[]), "pullgate setup resolv-conf --address PULLGATE --write");
    }

    #[test]
    fn the_fix_is_made_where_the_file_is_written() {
        let report = counted(&[(".dockerenv", "")]);
        assert!(report.findings[0].fix.as_deref().unwrap().starts_with("pullgate setup docker"), "{report:?}");
    }

    #[test]
    fn whoever_stands_behind_a_stub_is_tried_as_well() {
        let uplinks = "nameserver 198.18.10.1\nnameserver 198.18.10.9\n";
        assert_eq!(
            tried(&[("etc/resolv.conf", "nameserver 127.0.0.53\n"), ("run/systemd/resolve/resolv.conf", uplinks)]),
            [
                "127.0.0.53 (resolv.conf)",
                "198.18.10.1 (behind systemd-resolved)",
                "198.18.10.9 (behind systemd-resolved)"
            ]
        );
        assert_eq!(
            tried(&[("etc/resolv.conf", "nameserver 192.0.2.1\n"), ("run/systemd/resolve/resolv.conf", uplinks)]),
            ["192.0.2.1 (resolv.conf)"]
        );
    }

    #[test]
    fn a_container_names_the_servers_that_docker_asks_for_it() {
        for (note, expected) in [
            ("# ExtServers: [198.18.10.1 198.18.10.9]", &["198.18.10.1", "198.18.10.9"][..]),
            ("# ExtServers: [host(127.0.0.53)]", &[]),
            ("# ExtServers: [host(127.0.0.53) 198.18.10.1]", &["198.18.10.1"]),
            ("# Based on host file: '/etc/resolv.conf'", &[]),
        ] {
            let text = format!("nameserver 127.0.0.11\noptions ndots:0\n\n{note}\n");
            let behind = expected.iter().map(|server| format!("{server} (behind Docker's 127.0.0.11)"));
            let all: Vec<String> = std::iter::once("127.0.0.11 (resolv.conf)".to_owned()).chain(behind).collect();
            assert_eq!(tried(&[("etc/resolv.conf", &text)]), all, "{note}");
        }
    }
}
