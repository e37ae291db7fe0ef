use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::inspect::machine::FileState;
use crate::inspect::setup::{OnForeignChange, apply, undo};

const MACHINE: Options = Options { scope: Scope::Machine };
const ENGINE: Options = Options { scope: Scope::Engine };
const SETTINGS: &str = "# mine\n[server]\nlisten = [\"127.0.0.1\"] # here\nworkers = 2\n";

/// A machine with a resolv.conf by hand, pullgate on loopback, and these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    let usual = [
        ("etc/resolv.conf", "nameserver 192.0.2.1\nsearch lan\n"),
        ("etc/pullgate/pullgate.toml", SETTINGS),
        ("lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n"),
    ];
    for (path, text) in [&usual, files].concat() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// The same with resolved's stub for a resolver.
fn resolved_tree(files: &[(&str, &str)]) -> TempDir {
    let uplink = ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nsearch lan\n");
    let stub = ("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\nsearch lan\n");
    let root = tree(&[&[uplink, stub][..], files].concat());
    fs::remove_file(root.path().join("etc/resolv.conf")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", root.path().join("etc/resolv.conf")).unwrap();
    root
}

fn listening(listen: &[&str]) -> Request {
    Request {
        addresses: Vec::new(),
        listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
        authority: None,
    }
}

fn planned(root: &TempDir, request: &Request, options: Options) -> Plan {
    plan(&Machine::under(root.path()), request, &options).unwrap()
}

fn fault(root: &TempDir, request: &Request, options: Options) -> String {
    let SetupFault { message, hint } = plan(&Machine::under(root.path()), request, &options).unwrap_err();
    format!("{message} / {}", hint.unwrap_or_default())
}

fn after(plan: &Plan, path: &str) -> Option<String> {
    let change = plan.changes.iter().find(|change| change.path == Path::new(path))?;
    let FileState::Text { text, .. } = &change.after else { panic!("{:?}", change.after) };
    Some(text.clone())
}

fn commands(plan: &Plan) -> Vec<String> {
    plan.commands.iter().map(|command| command.line.join(" ")).collect()
}

#[test]
fn the_machine_containers_and_the_daemon_ask_one_address_each() {
    let root = tree(&[("etc/docker/daemon.json", "{\n  \"debug\": true\n}\n")]);
    let plan = planned(&root, &listening(&["127.0.0.1:53"]), MACHINE);
    let dns = "{\n  \"debug\": true,\n  \"dns\": [\"172.17.0.1\"]\n}\n";
    assert_eq!(after(&plan, "/etc/docker/daemon.json").as_deref(), Some(dns));
    assert!(after(&plan, "/etc/resolv.conf").unwrap().contains("nameserver 127.0.0.1\n"));
    let settings = "# mine\n[server]\nlisten = [\"127.0.0.1\", \"172.17.0.1:53\"] # here\nworkers = 2\n";
    assert_eq!(after(&plan, "/etc/pullgate/pullgate.toml").as_deref(), Some(settings));
    assert_eq!(commands(&plan), ["systemctl restart pullgate", "systemctl restart docker"]);
    let written = crate::config::Settings::parse(
        &crate::diagnostic::Source::new("pullgate.toml", settings),
        &crate::config::Environment::default(),
    );
    assert_eq!(written.unwrap().0.server.listen.len(), 2);
}

#[test]
fn once_written_there_is_nothing_to_change_and_an_undo_restores_every_byte() {
    for (root, options) in [
        (tree(&[("etc/docker/daemon.json", "{}")]), MACHINE),
        (resolved_tree(&[]), MACHINE),
        (tree(&[("etc/docker/daemon.json", "{\"bip\":\"198.18.10.1/24\"}")]), ENGINE),
        (resolved_tree(&[]), ENGINE),
    ] {
        let machine = Machine::under(root.path());
        let request = listening(&["127.0.0.1:53", "172.17.0.1:53"]);
        let plan = planned(&root, &request, options);
        assert!(!plan.changes.is_empty());
        apply(&plan, &machine, "/state".as_ref()).unwrap();
        assert_eq!(planned(&root, &request, options).changes, [], "{options:?}");
        undo(TARGET, &machine, "/state".as_ref(), OnForeignChange::Refuse).unwrap();
        assert_eq!(planned(&root, &request, options), plan, "{options:?}");
    }
}

#[test]
fn the_address_for_containers_is_where_pullgate_listens_else_the_bridge() {
    let bip = ("etc/docker/daemon.json", "{\"bip\": \"198.18.10.1/24\"}");
    for (files, listen, expected) in [
        (&[bip][..], &["127.0.0.1:53"][..], "198.18.10.1"),
        (&[bip], &["127.0.0.1:53", "198.18.10.1:53"], "198.18.10.1"),
        (&[bip], &["127.0.0.1:53", "192.0.2.7:53"], "192.0.2.7"),
        (&[], &["0.0.0.0:53"], "172.17.0.1"),
        (&[], &["[::]:53"], "172.17.0.1"),
        (&[], &["127.0.0.1:53"], "172.17.0.1"),
    ] {
        let request = Request { addresses: Vec::new(), ..listening(listen) };
        let mut plan = Plan::new(TARGET);
        let root = tree(files);
        let machine = Machine::under(root.path());
        let daemon = Daemon::read(&machine).unwrap();
        let found = listen::address(&mut plan, &machine, &request, &daemon).unwrap();
        assert_eq!(found.to_string(), expected, "{listen:?}");
    }
}

#[test]
fn a_given_address_is_taken_and_loopback_refused() {
    let gateway = Request { addresses: vec!["198.18.0.1".parse().unwrap()], listen: Vec::new(), authority: None };
    let plan = planned(&tree(&[]), &gateway, MACHINE);
    assert_eq!(after(&plan, "/etc/docker/daemon.json").as_deref(), Some("{\n  \"dns\": [\"198.18.0.1\"]\n}\n"));
    assert_eq!(after(&plan, "/etc/pullgate/pullgate.toml"), None);
    let loopback = Request { addresses: vec!["127.0.0.1".parse().unwrap()], listen: Vec::new(), authority: None };
    assert!(fault(&tree(&[]), &loopback, MACHINE).contains("container"));
}

#[test]
fn broken_or_contradicting_settings_of_docker_are_a_fault_with_their_place() {
    let request = listening(&["127.0.0.1:53", "172.17.0.1:53"]);
    let broken = tree(&[("etc/docker/daemon.json", "{\n  \"debug\": true,\n}\n")]);
    assert!(fault(&broken, &request, MACHINE).starts_with("/etc/docker/daemon.json:2:16: "));
    let flag = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --dns=8.8.8.8\n";
    let flagged = tree(&[("etc/systemd/system/docker.service.d/a.conf", flag)]);
    assert!(fault(&flagged, &request, MACHINE).contains("docker.service.d/a.conf starts Docker with --dns"));
    let other = "# --dns 8.8.8.8\nDOCKER_OPTS=\"--dns-search lan --config-file /srv/daemon.json\"\n";
    let plan = planned(&tree(&[("etc/default/docker", other)]), &request, MACHINE);
    assert!(after(&plan, "/srv/daemon.json").is_some());
}

#[test]
fn settings_that_are_not_those_in_use_are_left_to_the_administrator() {
    let message = fault(&tree(&[]), &listening(&["127.0.0.2:53"]), MACHINE);
    assert!(message.contains("not as /etc/pullgate/pullgate.toml says") && message.contains("172.17.0.1:53"));
}

#[test]
fn what_a_restart_does_to_containers_is_said() {
    let request = listening(&["127.0.0.1:53", "172.17.0.1:53"]);
    let why =
        |json: &str| planned(&tree(&[("etc/docker/daemon.json", json)]), &request, MACHINE).commands.pop().unwrap().why;
    assert!(why("{}").contains("stops every container"));
    assert!(why("{\"live-restore\": true}").contains("containers go on"));
}

#[test]
fn the_engine_alone_asks_us_and_containers_whom_the_host_asked() {
    let root = resolved_tree(&[]);
    let plan = planned(&root, &listening(&["127.0.0.1:53"]), ENGINE);
    let settings = after(&plan, "/etc/systemd/system/docker.service.d/zz-pullgate.conf").unwrap();
    assert!(settings.ends_with("/start /usr/sbin/dockerd -H fd://\n"), "containerd has to see its mounts: {settings}");
    assert_eq!(after(&plan, "/etc/docker/daemon.json").as_deref(), Some("{\n  \"dns\": [\"192.0.2.1\"]\n}\n"));
    assert_eq!(after(&plan, "/etc/pullgate/pullgate.toml"), None);
    assert_eq!(commands(&plan), ["systemctl daemon-reload", "systemctl restart docker"]);
    for hole in ["Docker in Docker", "podman", "driver docker-container"] {
        assert!(plan.notes.iter().any(|note| note.contains(hole)), "{hole}");
    }
}

#[test]
fn the_mounts_below_the_engine_s_own_folder_are_left_to_be_seen() {
    let root = resolved_tree(&[("etc/docker/daemon.json", "{\"data-root\": \"/srv/my docker\"}")]);
    let plan = planned(&root, &listening(&["127.0.0.1:53"]), ENGINE);
    let script = after(&plan, "/etc/pullgate/services/docker/start").unwrap();
    assert!(script.contains("mountpoint -q '/srv/my docker'"), "{script}");
    assert!(script.contains("bind /etc/pullgate/services/docker /run/systemd/resolve\n"), "{script}");
}

#[test]
fn servers_that_daemon_json_names_for_containers_stay_theirs() {
    let root = tree(&[("etc/docker/daemon.json", "{\"dns\": [\"192.0.2.9\"]}")]);
    let plan = planned(&root, &listening(&["127.0.0.1:53"]), ENGINE);
    assert_eq!(after(&plan, "/etc/docker/daemon.json"), None);
    let ours = tree(&[("etc/docker/daemon.json", "{\"dns\": [\"172.17.0.1\"]}")]);
    let request = listening(&["127.0.0.1:53", "172.17.0.1:53"]);
    assert!(fault(&ours, &request, ENGINE).contains("take `dns` out"));
}

#[test]
fn the_engine_alone_makes_no_sense_where_the_host_asks_us_and_no_promise_where_it_asks_itself() {
    let request = listening(&["127.0.0.1:53"]);
    let asks_us = tree(&[("etc/resolv.conf", "nameserver 127.0.0.1\n")]);
    assert!(fault(&asks_us, &request, ENGINE).contains("--scope machine"));
    assert!(!planned(&tree(&[]), &listening(&["127.0.0.1:53", "[::]:53"]), ENGINE).changes.is_empty());
    let own = tree(&[("etc/resolv.conf", "nameserver 127.0.0.2\n")]);
    assert!(fault(&own, &request, ENGINE).contains("on loopback"));
    let root = tree(&[]);
    apply(&planned(&root, &request, ENGINE), &Machine::under(root.path()), "/state".as_ref()).unwrap();
    assert!(fault(&root, &request, MACHINE).contains("--undo"));
}

#[test]
fn a_resolver_that_nobody_knows_how_to_stop_is_named_and_daemons_without_root_too() {
    let request = listening(&["127.0.0.1:53", "172.17.0.1:53"]);
    let root = tree(&[("etc/resolv.conf", "# Generated by resolvconf\nnameserver 192.0.2.1\n")]);
    assert!(fault(&root, &request, MACHINE).contains("resolvconf writes"));
    let rootless = tree(&[("home/me/.config/docker/daemon.json", "{}")]);
    assert!(planned(&rootless, &request, MACHINE).notes.iter().any(|note| note.contains("/home/me/.config/docker")));
}
