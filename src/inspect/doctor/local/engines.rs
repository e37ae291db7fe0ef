//! Engines inside engines, containers on the host's network, rootless engines, podman and Kubernetes: who resolves where.

use std::net::IpAddr;
use std::path::PathBuf;

use super::containers::REDIRECT;
use super::docker_rules::google;
use super::foreign;
use super::ours::{HostResolvers, Ours, Side, listed, servers};
use super::processes::{self, Process};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::edit::yaml;
use crate::inspect::engine::{Container, Engine};

/// Containers that share the host's resolver, and those that may run or drive an engine.
pub(super) fn containers(engine: &Engine, report: &mut Report) {
    let on_host: Vec<&str> = names(engine, |container| container.host_config.network_mode == "host");
    if !on_host.is_empty() {
        let title = format!("containers on the host's network: {}", on_host.join(", "));
        let meaning = "their questions come from the host's own address: they count as the host, not as containers";
        report.add(Finding::note(CHECK, title).meaning(meaning).section(Section::DockerEngine));
    }
    let with_socket =
        names(engine, |container| container.mounts.iter().any(|mount| mount.source.ends_with("/docker.sock")));
    if !with_socket.is_empty() {
        let title = format!("containers that drive this engine by its socket: {}", with_socket.join(", "));
        let meaning = "what they pull and build is pulled by this engine; what they start may be given any --dns";
        report.add(Finding::note(CHECK, title).meaning(meaning).section(Section::DockerEngine));
    }
    let nested = names(engine, |container| container.host_config.privileged && looks_like_engine(container));
    if !nested.is_empty() {
        let title = format!("containers with an engine of their own: {}", nested.join(", "));
        let finding = Finding::warning(CHECK, title)
            .meaning("an inner engine pulls with the resolver of its container, and hands its containers what its own daemon.json says")
            .fix(format!("inside each: pullgate doctor; or `{REDIRECT}`, which holds for it whatever it is told"));
        report.add(finding.section(Section::Transparent));
    }
    if engine.is_rootless() {
        let title = format!("the engine at {} is rootless", engine.socket.display());
        let finding = Finding::note(CHECK, title)
            .meaning("it pulls with the host's resolv.conf as it was when it started, from a network of its own")
            .fix("restart it after the host's resolv.conf changes");
        report.add(finding.section(Section::DockerEngine));
    }
}

/// podman has no daemon: whoever runs it pulls with the host's resolv.conf; its containers get the same, or what
/// containers.conf says.
pub(super) fn podman(scene: &Scene<'_>, report: &mut Report) {
    if !scene.machine.has("/usr/bin/podman") {
        return;
    }
    let ours = Ours::of(scene, report);
    let host = HostResolvers::of(scene.machine, report);
    let given = given_to_podman(scene, report);
    let place = if given.is_some() { "containers.conf" } else { "the host's resolv.conf" };
    if given.is_none() && scene.engine_alone {
        let title = "podman is not restricted: it asks the host's resolver, and the engine alone is to ask pullgate";
        return report.add(Finding::note("podman", title).meaning("whoever may run podman pulls any image"));
    }
    let of_host: Vec<IpAddr> = host.asked().iter().copied().filter(|server| !server.is_loopback()).collect();
    let is_fallback = given.is_none() && of_host.is_empty();
    let asked = given.unwrap_or(if is_fallback { google(false) } else { of_host });
    let title = format!("podman's containers will ask {} ({place})", listed(&asked));
    if ours.reached_at_all(&asked, Side::Container) {
        return report.add(Finding::ok("podman", title));
    }
    let meaning = if is_fallback {
        "the host's resolv.conf names no server that a container can reach, so podman puts Google's there: pullgate is not asked"
    } else {
        "pullgate is not the only one that is asked, if at all"
    };
    report.add(Finding::problem("podman", title).meaning(meaning).fix("pullgate setup podman --write"));
}

/// Kubernetes: what the kubelet gives to pods that do not use the cluster's DNS, CoreDNS first of all.
pub(super) fn kubelet(scene: &Scene<'_>, report: &mut Report) {
    let Some(path) = kubelet_resolv_conf(scene, report) else { return };
    let Some(text) = foreign::text(scene.machine, &path, report) else {
        let title = format!("the kubelet's resolv.conf, {path}, is not there");
        let finding = Finding::problem("kubelet", title).meaning("no pod can be started");
        return report.add(finding.fix("pullgate setup kubernetes --write").section(Section::Kubernetes));
    };
    let given = servers(&text);
    let ours = Ours::of(scene, report);
    let title = format!("the kubelet gives CoreDNS and pods of `dnsPolicy: Default` {} ({path})", listed(&given));
    let finding = if given.iter().any(IpAddr::is_loopback) {
        Finding::problem("kubelet", title)
            .meaning("to a pod, loopback is itself: CoreDNS asks itself in a loop and stops")
            .fix("pullgate setup kubernetes --write")
    } else if given.iter().any(|server| ours.reached_at(*server, Side::Host)) {
        Finding::warning("kubelet", title)
            .meaning("pods ask pullgate for everything, by way of CoreDNS: what is no registry of the policy does not resolve for them")
            .fix("pullgate setup kubernetes --write  # keeps pods on the original servers")
    } else {
        Finding::note("kubelet", title)
            .meaning("the node's own pulls are filtered, pods are not: they can fetch what they like, but run only what the node pulled")
    };
    report.add(finding.section(Section::Kubernetes));
}

fn names(engine: &Engine, is_one: impl Fn(&Container) -> bool) -> Vec<&str> {
    engine.containers.iter().filter(|container| is_one(container)).map(Container::name).collect()
}

/// Whether its image is one of those that run an engine.
fn looks_like_engine(container: &Container) -> bool {
    let image = container.config.image.rsplit('/').next().unwrap_or_default();
    ENGINE_IMAGES.iter().any(|mark| image.starts_with(mark) || image.contains("dind"))
}

/// `dns_servers` of containers.conf: the last of its files that sets them counts.
fn given_to_podman(scene: &Scene<'_>, report: &mut Report) -> Option<Vec<IpAddr>> {
    let found = containers_conf(scene).into_iter().rev().filter_map(|path| {
        let config = foreign::toml(scene.machine, path, report)?;
        let list = config.get("containers")?.get("dns_servers")?.as_array()?.clone();
        Some(list.iter().filter_map(|address| address.as_str()?.parse().ok()).collect::<Vec<IpAddr>>())
    });
    found.into_iter().find(|list| !list.is_empty())
}

/// The files of containers.conf(5) in the order that podman reads them: the distribution's, the machine's with its
/// drop-ins, the user's with theirs.
fn containers_conf(scene: &Scene<'_>) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(DISTRIBUTION_CONF)];
    let home = scene.variables.get("HOME").map(|home| format!("{home}/.config"));
    for folder in ["/etc".to_owned()].into_iter().chain(home) {
        files.push(format!("{folder}/containers/containers.conf").into());
        let drop_ins = scene.machine.list(format!("{folder}/containers/containers.conf.d")).unwrap_or_default();
        files.extend(drop_ins.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "conf")));
    }
    files
}

/// The file that a kubelet hands to pods; `None`: there is no kubelet.
fn kubelet_resolv_conf(scene: &Scene<'_>, report: &mut Report) -> Option<String> {
    let running = processes::named(scene.machine, &["kubelet", "k3s-server", "k3s-agent"], report);
    let by_option = running.iter().find_map(resolv_conf_option);
    let kubelet = foreign::text(scene.machine, KUBELET, report);
    let k3s = foreign::text(scene.machine, K3S, report);
    if running.is_empty() && kubelet.is_none() && k3s.is_none() {
        return None;
    }
    let read = |text: &Option<String>, key: &str| match yaml::read(text.as_deref()?, &[key]).ok()?? {
        yaml::Value::Text(path) => Some(path),
        _ => None,
    };
    let written = read(&kubelet, "resolvConf").or_else(|| read(&k3s, "resolv-conf"));
    by_option.or(written).or_else(|| Some("/etc/resolv.conf".to_owned()))
}

fn resolv_conf_option(process: &Process) -> Option<String> {
    let joined = process.arguments.iter().find_map(|word| word.strip_prefix("--resolv-conf="));
    let pair = process.arguments.windows(2).find(|pair| pair[0] == "--resolv-conf");
    joined.map(str::to_owned).or_else(|| pair.map(|pair| pair[1].clone()))
}

const CHECK: &str = "engines";
/// How the names of images that run an engine begin.
const ENGINE_IMAGES: [&str; 4] = ["docker:", "buildkit", "kind", "k3s"];
const DISTRIBUTION_CONF: &str = "/usr/share/containers/containers.conf";
const KUBELET: &str = "/var/lib/kubelet/config.yaml";
const K3S: &str = "/etc/rancher/k3s/config.yaml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    #[test]
    fn containers_that_matter_are_named_once_for_each_reason() {
        let container = |text: &str| serde_json::from_str::<Container>(text).unwrap();
        let mut engine = Engine::default();
        engine.info.security_options = vec!["name=rootless".to_owned()];
        engine.containers = vec![
            container(r#"{"Name": "/a", "HostConfig": {"NetworkMode": "host"}}"#),
            container(r#"{"Name": "/b", "Mounts": [{"Source": "/var/run/docker.sock"}]}"#),
            container(r#"{"Name": "/c", "HostConfig": {"Privileged": true}, "Config": {"Image": "docker:26-dind"}}"#),
            container(r#"{"Name": "/d", "HostConfig": {"Privileged": true}, "Config": {"Image": "nginx"}}"#),
        ];
        let mut report = Report::default();
        containers(&engine, &mut report);
        let expected = [
            "note: containers on the host's network: a",
            "note: containers that drive this engine by its socket: b",
            "warning: containers with an engine of their own: c",
            "note: the engine at  is rootless",
        ];
        assert_eq!(lines(&report), expected);
    }

    const SETTINGS: &str = "[server]\nlisten = [\"127.0.0.1:53\", \"172.17.0.1:53\"]\n";

    #[test]
    fn podman_gives_its_containers_the_host_s_servers_without_loopback() {
        for (resolv_conf, containers_conf, expected) in [
            ("127.0.0.1", "", "problem: podman's containers will ask 8.8.8.8, 8.8.4.4 (the host's resolv.conf)"),
            ("172.17.0.1", "", "ok: podman's containers will ask 172.17.0.1 (the host's resolv.conf)"),
            (
                "127.0.0.1",
                "[containers]\ndns_servers = [\"172.17.0.1\"]\n",
                "ok: podman's containers will ask 172.17.0.1 (containers.conf)",
            ),
            (
                "172.17.0.1",
                "[containers]\ndns_servers = [\"8.8.8.8\"]\n",
                "problem: podman's containers will ask 8.8.8.8 (containers.conf)",
            ),
        ] {
            let resolv_conf = format!("nameserver {resolv_conf}\n");
            let files = [
                ("usr/bin/podman", ""),
                ("etc/resolv.conf", resolv_conf.as_str()),
                ("etc/containers/containers.conf", containers_conf),
            ];
            assert_eq!(lines(&Tree::of(&files).pullgate(SETTINGS).said(podman)), [expected]);
        }
        assert_eq!(Tree::of(&[]).pullgate(SETTINGS).said(podman), Report::default());
    }

    #[test]
    fn what_setup_podman_writes_counts_after_the_file_of_an_administrator() {
        let files = [
            ("usr/bin/podman", ""),
            ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
            ("etc/containers/containers.conf", "[containers]\ndns_servers = [\"8.8.8.8\"]\n"),
            ("etc/containers/containers.conf.d/50-pullgate.conf", "[containers]\ndns_servers = [\"172.17.0.1\"]\n"),
            ("etc/containers/containers.conf.d/README", "no TOML"),
        ];
        let expected = "ok: podman's containers will ask 172.17.0.1 (containers.conf)";
        assert_eq!(lines(&Tree::of(&files).pullgate(SETTINGS).said(podman)), [expected]);
    }

    #[test]
    fn the_kubelet_s_file_is_judged_as_pods_would_use_it() {
        let original = ("run/original.conf", "nameserver 192.0.2.53\n");
        for (files, expected) in [
            (
                vec![
                    ("var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n"),
                    ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
                ],
                "problem: the kubelet gives CoreDNS and pods of `dnsPolicy: Default` 127.0.0.1 (/etc/resolv.conf)",
            ),
            (
                vec![("var/lib/kubelet/config.yaml", "resolvConf: /run/original.conf\n"), original],
                "note: the kubelet gives CoreDNS and pods of `dnsPolicy: Default` 192.0.2.53 (/run/original.conf)",
            ),
            (
                vec![("etc/rancher/k3s/config.yaml", "resolv-conf: /run/original.conf\n")],
                "problem: the kubelet's resolv.conf, /run/original.conf, is not there",
            ),
            (
                vec![
                    ("proc/7/comm", "kubelet\n"),
                    ("proc/7/cmdline", "kubelet\0--resolv-conf=/run/original.conf\0"),
                    ("run/original.conf", "nameserver 172.17.0.1\n"),
                ],
                "warning: the kubelet gives CoreDNS and pods of `dnsPolicy: Default` 172.17.0.1 (/run/original.conf)",
            ),
        ] {
            assert_eq!(lines(&Tree::of(&files).pullgate(SETTINGS).said(kubelet)), [expected]);
        }
    }
}
