use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::inspect::setup::apply;

const LINK: &str = "run/systemd/resolve/netif/7";

/// A machine whose resolv.conf is resolved's stub, with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    symlink(STUB, root.path().join("etc/resolv.conf")).unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn request() -> Request {
    Request { addresses: Vec::new(), listen: vec!["127.0.0.1:53".parse().unwrap()], authority: None }
}

fn planned(root: &TempDir) -> Plan {
    plan(&Machine::under(root.path()), &request()).unwrap()
}

fn after(plan: &Plan, path: &str) -> Option<String> {
    let change = plan.changes.iter().find(|change| change.path == Path::new(path))?;
    let FileState::Text { text, .. } = &change.after else { panic!("{:?}", change.after) };
    Some(text.clone())
}

#[test]
fn the_drop_in_forgets_other_servers_and_takes_every_name() {
    let plan = planned(&tree(&[(LINK, "SERVERS=192.0.2.1\n")]));
    let text = after(&plan, DROP_IN).unwrap();
    let settings: Vec<&str> = text.lines().filter(|line| line.contains('=') && !line.starts_with('#')).collect();
    assert_eq!(settings[..4], ["DNS=", "DNS=127.0.0.1", "Domains=~.", "FallbackDNS="]);
    assert!(settings.contains(&"DNSOverTLS=no"));
    assert_eq!(plan.changes.len(), 1);
    let other = Request { addresses: vec!["198.18.0.1".parse().unwrap()], listen: Vec::new(), authority: None };
    let plan = super::plan(&Machine::under(tree(&[]).path()), &other).unwrap();
    assert!(after(&plan, DROP_IN).unwrap().contains("DNS=\nDNS=198.18.0.1\n"));
}

#[test]
fn a_second_plan_changes_nothing() {
    let root = tree(&[("etc/systemd/resolved.conf", "[Resolve]\nDNS=192.0.2.1\n")]);
    let machine = Machine::under(root.path());
    apply(&planned(&root), &machine, "/state".as_ref()).unwrap();
    assert_eq!(planned(&root).changes, []);
}

#[test]
fn servers_of_resolved_s_own_files_are_kept_where_no_link_has_any() {
    let main = ("etc/systemd/resolved.conf", "[Resolve]\n#DNS=192.0.2.9\nDNS=192.0.2.1 192.0.2.2#dns.example\n");
    let more = ("etc/systemd/resolved.conf.d/a.conf", "[Resolve]\nDNS=192.0.2.3:5353\n");
    let kept = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3:5353\n";
    assert_eq!(after(&planned(&tree(&[main, more])), SAVED).as_deref(), Some(kept));
    let reset = ("etc/systemd/resolved.conf.d/b.conf", "[Resolve]\nDNS=\nDNS=192.0.2.4\n");
    assert_eq!(after(&planned(&tree(&[main, more, reset])), SAVED).as_deref(), Some("nameserver 192.0.2.4\n"));
    let plan = planned(&tree(&[main, (LINK, "SERVERS=10.8.0.1\n")]));
    assert_eq!(after(&plan, SAVED), None, "`system` means the servers of links");
    assert!(plan.notes.iter().any(|note| note.contains("192.0.2.1:53, 192.0.2.2:53")));
}

#[test]
fn a_vpn_that_claims_every_name_is_named_and_so_are_its_domains() {
    let net = ("sys/class/net/tun0/ifindex", "7\n");
    let all = planned(&tree(&[net, (LINK, "SERVERS=10.8.0.1\nDOMAINS=~.\n")]));
    assert!(all.notes.iter().any(|note| note.contains("tun0 claims every name") && note.contains("10.8.0.1")));
    let some = planned(&tree(&[(LINK, "SERVERS=10.8.0.1\nDOMAINS=~corp.example lan\n")]));
    assert!(some.notes.iter().any(|note| note.contains("corp.example, lan") && note.contains("link 7")));
    assert!(!some.notes.iter().any(|note| note.contains("every name")));
}

#[test]
fn a_file_that_names_servers_after_ours_is_named() {
    let later = ("etc/systemd/resolved.conf.d/zz.conf", "[Resolve]\nDNS=8.8.8.8\n");
    assert!(planned(&tree(&[later])).notes.iter().any(|note| note.contains("zz.conf")));
    let empty = ("etc/systemd/resolved.conf.d/zz.conf", "[Resolve]\nDNS=\n");
    assert!(!planned(&tree(&[empty])).notes.iter().any(|note| note.contains("zz.conf")));
}

#[test]
fn a_resolv_conf_that_lists_the_servers_of_links_is_turned_to_the_stub() {
    let root = tree(&[]);
    fs::remove_file(root.path().join("etc/resolv.conf")).unwrap();
    symlink("../run/systemd/resolve/resolv.conf", root.path().join("etc/resolv.conf")).unwrap();
    let plan = planned(&root);
    assert_eq!(plan.changes[0].after, FileState::Link(STUB.into()));
    apply(&plan, &Machine::under(root.path()), "/state".as_ref()).unwrap();
    assert_eq!(planned(&root).changes, []);
}

#[test]
fn without_a_stub_and_behind_another_owner_there_is_no_plan() {
    let off = tree(&[("etc/systemd/resolved.conf", "[Resolve]\nDNSStubListener=no\n")]);
    assert!(plan(&Machine::under(off.path()), &request()).unwrap_err().message.contains("DNSStubListener"));
    let other = tree(&[]);
    fs::remove_file(other.path().join("etc/resolv.conf")).unwrap();
    fs::write(other.path().join("etc/resolv.conf"), "# Generated by NetworkManager\n").unwrap();
    assert!(plan(&Machine::under(other.path()), &request()).unwrap_err().message.contains("NetworkManager"));
}
