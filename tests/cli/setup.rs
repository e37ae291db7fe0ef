//! `pullgate setup` on the files of a machine that does not run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Ended, pullgate};

const DAEMON_JSON: &str = "{\n    \"debug\": true,\n    \"log-opts\": {\"max-size\": \"10m\"}\n}\n";

/// The tree of a machine with Docker whose resolver is systemd-resolved.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write("etc/docker/daemon.json", DAEMON_JSON);
        tree.write("etc/pullgate/pullgate.toml", "[server]\nlisten = [\"127.0.0.1\"]\n");
        tree.write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n");
        tree.write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n");
        tree.write("run/systemd/resolve/netif/2", "SERVERS=192.0.2.1\n");
        tree.write("usr/bin/dockerd", "");
        tree.write("lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n");
        symlink("../run/systemd/resolve/stub-resolv.conf", tree.path("etc/resolv.conf")).unwrap();
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn setup(&self, arguments: &[&str]) -> Ended {
        let root = self.0.path().display().to_string();
        let arguments = [&["setup", "--root", &root], arguments].concat();
        Ended::from(pullgate(&arguments).output().unwrap())
    }

    /// Everything in /etc: each path with its content, or with what it links to.
    fn etc(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("etc")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match fs::read_link(&path) {
                    Ok(target) => found.push((path, target.display().to_string())),
                    Err(_) if path.is_dir() => folders.push(path),
                    Err(_) => found.push((path.clone(), fs::read_to_string(path).unwrap())),
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn the_overview_says_which_targets_the_machine_has() {
    let tree = Tree::new();
    let ended = tree.setup(&[]);
    assert_eq!(ended.code, Some(0));
    let line = |target: &str| ended.stdout.lines().find(|line| line.starts_with(target)).unwrap().to_owned();
    assert!(line("docker").contains("/usr/bin/dockerd"), "{}", ended.stdout);
    assert!(line("networkmanager").contains("  -  "), "{}", ended.stdout);
    let json: Value = serde_json::from_str(&tree.setup(&["--json"]).stdout).unwrap();
    let targets = json.as_array().unwrap();
    let resolved = targets.iter().find(|target| target["target"] == "resolved").unwrap();
    assert!(resolved["found"].is_string() && !resolved["about"].as_str().unwrap().is_empty());
}

#[test]
fn without_write_the_changes_are_shown_with_their_reasons_and_nothing_is_written() {
    let tree = Tree::new();
    let before = tree.etc();
    let Ended { code, stdout, .. } = tree.setup(&["docker"]);
    assert_eq!(code, Some(0));
    for expected in [
        "/etc/docker/daemon.json: containers and RUN steps ask pullgate",
        "+    \"dns\": [\"172.17.0.1\"]",
        "+DNS=127.0.0.1",
        "  systemctl restart docker",
        "Note: ",
        "Nothing has been written",
    ] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
    assert_eq!(tree.etc(), before);
}

#[test]
fn what_is_written_twice_is_written_once_and_an_undo_restores_every_byte() {
    for arguments in [&["docker"][..], &["docker", "--scope", "engine"], &["resolved"]] {
        let tree = Tree::new();
        let before = tree.etc();
        let written = tree.setup(&[arguments, &["--write"]].concat());
        assert_eq!((written.code, written.stdout.contains("--undo")), (Some(0), true), "{written:?}");
        let once = tree.etc();
        assert_ne!(once, before);
        let again = tree.setup(&[arguments, &["--write"]].concat());
        assert!(again.stdout.contains("nothing to change"), "{}", again.stdout);
        assert_eq!(tree.etc(), once);
        let undone = tree.setup(&[arguments[0], "--undo"]);
        assert!(undone.code == Some(0) && undone.stdout.contains("restored /etc/"), "{undone:?}");
        assert_eq!(tree.etc(), before, "{arguments:?}");
        assert!(tree.setup(&[arguments[0], "--undo"]).stdout.contains("nothing to undo"));
    }
}

#[test]
fn json_holds_the_plan_and_what_became_of_it() {
    let tree = Tree::new();
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&tree.setup(arguments).stdout).unwrap() };
    let plan = json(&["docker", "--json"]);
    assert_eq!((&plan["target"], &plan["written"]), (&"docker".into(), &false.into()));
    let change = &plan["changes"][0];
    assert!(change["path"].is_string() && change["why"].is_string());
    assert!(change["diff"].as_str().unwrap().starts_with("--- "), "{change}");
    assert_eq!(plan["commands"][0]["line"][0], "systemctl");
    assert!(plan["notes"].as_array().unwrap().iter().all(Value::is_string));
    let written = json(&["docker", "--json", "--write"]);
    assert_eq!((&written["written"], &written["doctor"]), (&true.into(), &Value::Null));
    assert!(Path::new(written["record"].as_str().unwrap()).is_file());
    let undone = json(&["docker", "--json", "--undo"]);
    assert_eq!(undone["restored"].as_array().unwrap().len(), plan["changes"].as_array().unwrap().len());
}

#[test]
fn an_undo_names_what_somebody_else_has_changed_and_takes_force() {
    let tree = Tree::new();
    tree.setup(&["docker", "--write"]);
    tree.write("etc/docker/daemon.json", "{}");
    let refused = tree.setup(&["docker", "--undo"]);
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("/etc/docker/daemon.json") && refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(tree.read("etc/docker/daemon.json"), "{}");
    assert_eq!(tree.setup(&["docker", "--undo", "--force"]).code, Some(0));
    assert_eq!(tree.read("etc/docker/daemon.json"), DAEMON_JSON);
}

#[test]
fn a_daemon_json_that_is_none_is_shown_with_its_place_and_nothing_is_written() {
    let tree = Tree::new();
    tree.write("etc/docker/daemon.json", "{\n  \"debug\": true,\n}\n");
    let before = tree.etc();
    let ended = tree.setup(&["docker", "--write"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("/etc/docker/daemon.json:2:"), "{}", ended.stderr);
    assert_eq!(tree.etc(), before);
}

#[test]
fn options_that_contradict_each_other_are_a_wrong_command_line() {
    let tree = Tree::new();
    for arguments in [
        &["docker", "--write", "--undo"][..],
        &["--write", "docker", "--undo"],
        &["docker", "--restart"],
        &["docker", "--write", "--restart"],
        &["docker", "--force"],
        &["docker", "--address", "192.0.2.1", "--address", "192.0.2.2"],
        &["--write"],
        &["no-such-target"],
    ] {
        assert_eq!(tree.setup(arguments).code, Some(64), "{arguments:?}");
    }
    let both = ["resolved", "--address", "192.0.2.1", "--address", "2001:db8::1"];
    assert_eq!(tree.setup(&both).code, Some(0));
}
