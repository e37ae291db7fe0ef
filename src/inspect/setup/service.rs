//! One service alone asks pullgate: a drop-in of systemd binds another resolv.conf over the one that it sees.
//!
//! The service gets a mount namespace of its own for that ([BindReadOnlyPaths]), in which what the host mounts appears and
//! what it mounts itself stays. Where others have to see that, as containerd has to see the file systems that Docker
//! mounts for containers, systemd cannot make the namespace: a script does, which leaves one folder shared.
//!
//! What is bound over a file is gone as soon as anybody replaces that file by a rename, as everybody who writes a
//! resolv.conf does: the kernel takes the mount away in every namespace. So where resolv.conf leads to systemd-resolved,
//! its whole folder is bound over, which no rename reaches; elsewhere a unit looks every second and binds again. (A path
//! unit of systemd does not see what happens while its service runs.)
//!
//! Programs that use glibc's resolver ask nss-resolve where nsswitch.conf names it, and that asks systemd-resolved
//! whatever resolv.conf says. In resolved's folder its socket is out of reach; elsewhere another nsswitch.conf is bound.
//!
//! [BindReadOnlyPaths]: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#BindPaths=

use std::path::Path;

use super::owner::{Owner, RESOLV_CONF};
use super::{Change, Command, Plan, Request, SetupFault, start};
use crate::inspect::machine::{FileState, Machine};
use crate::resolv_conf::ResolvConf;

/// A service that is to be set apart.
pub(super) struct Service<'a> {
    /// What systemd calls it, without `.service`.
    pub(super) name: &'a str,
    /// What its restart does.
    pub(super) restart: &'a str,
    /// The folder below which it mounts what others must see, if there is one.
    pub(super) mounts: Option<&'a str>,
}

/// What stands where, and in whose place the service is to see it.
type Bind = (String, &'static str);

/// Plans that a service asks pullgate and no other server.
pub(super) fn ask_pullgate(
    plan: &mut Plan,
    machine: &Machine,
    request: &Request,
    service: &Service<'_>,
) -> Result<(), SetupFault> {
    let resolver = resolver(machine, request, service.name)?;
    let folder = folder(service.name);
    plan.write(machine, format!("{folder}/resolv.conf"), &*resolver, "what the service is to see as its resolv.conf")?;
    let owner = Owner::known(machine)?;
    let mut binds: Vec<Bind> = Vec::new();
    let mut why = "the service sees that in the place of the host's, and nobody else does";
    if owner == Owner::Resolved {
        plan.write(machine, format!("{folder}/stub-resolv.conf"), &*resolver, "the same under its other name")?;
        binds.push((folder.clone(), RESOLVED));
        why = "the service, and nobody else, sees that folder and not resolved's, nor the socket that nss-resolve asks";
    } else {
        binds.push((format!("{folder}/resolv.conf"), RESOLV_CONF));
        let switch = SetupFault::read(machine, NSSWITCH)?.unwrap_or_default();
        if let Some(without) = without_resolve(&switch) {
            let path = format!("{folder}/nsswitch.conf");
            plan.write(machine, &path, without, "without nss-resolve, which asks past resolv.conf")?;
            binds.push((path, NSSWITCH));
        }
    }
    let settings = match service.mounts {
        None => bound_by_systemd(&binds),
        Some(root) => started_by_script(plan, machine, service, root, &folder, &binds)?,
    };
    plan.write(machine, drop_in(service.name), format!("{HEAD}[Service]\n{settings}"), why)?;
    plan.command("systemctl daemon-reload", "systemd reads the units");
    if owner != Owner::Resolved {
        keep_bound(plan, machine, service.name, &folder)?;
    }
    plan.command(&format!("systemctl restart {}", service.name), service.restart);
    plan.undo_commands.extend(plan.commands.iter().cloned());
    Ok(())
}

/// The drop-in that sets a service apart: the last one, whose `ExecStart=` holds.
pub(super) fn drop_in(service: &str) -> String {
    format!("/etc/systemd/system/{service}.service.d/zz-pullgate.conf")
}

/// Where the files are kept that a service is to see in the place of the host's.
pub(in crate::inspect) fn folder(service: &str) -> String {
    format!("/etc/pullgate/services/{service}")
}

fn bound_by_systemd(binds: &[Bind]) -> String {
    binds.iter().fold(String::new(), |lines, (from, to)| lines + &format!("BindReadOnlyPaths={from}:{to}\n"))
}

/// Plans the script that starts the service in a namespace of its own, and returns the settings that have it do so.
fn started_by_script(
    plan: &mut Plan,
    machine: &Machine,
    service: &Service<'_>,
    root: &str,
    folder: &str,
    binds: &[Bind],
) -> Result<String, SetupFault> {
    let command = start::command(machine, service.name)?;
    let path = format!("{folder}/start");
    let binds = binds.iter().fold(String::new(), |lines, (from, to)| lines + &format!("    bind {from} {to}\n"));
    // Last what comes from a file: nothing in it is replaced.
    let text =
        START.replace("{service}", service.name).replace("    {binds}\n", &binds).replace("{root}", &quoted(root));
    plan.write(
        machine,
        &path,
        text,
        "starts the service where it sees other files, and all others see what it mounts",
    )?;
    Ok(format!("ExecStart=\nExecStart=/bin/sh {path} {command}\n"))
}

/// A word of the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A resolv.conf with pullgate alone, and the search list and options of the host's.
fn resolver(machine: &Machine, request: &Request, service: &str) -> Result<String, SetupFault> {
    let address = request.host_address()?;
    let host = ResolvConf::parse(&SetupFault::read(machine, RESOLV_CONF)?.unwrap_or_default());
    let mut text =
        format!("# Written by `pullgate setup`: what {service} sees as its resolv.conf.\nnameserver {address}\n");
    for (key, words) in [("search", &host.search), ("options", &host.options)] {
        if !words.is_empty() {
            text.extend([key, " ", &words.join(" "), "\n"]);
        }
    }
    Ok(text)
}

/// Plans the unit that binds the file again when somebody has replaced the one below it.
fn keep_bound(plan: &mut Plan, machine: &Machine, service: &str, folder: &str) -> Result<(), SetupFault> {
    let name = format!("pullgate-{service}.service");
    let unit = format!("/etc/systemd/system/{name}");
    let text = KEEPER.replace("{service}", service).replace("{folder}", folder);
    plan.write(machine, &unit, text, "a new resolv.conf of the host takes the bound one away: this binds it again")?;
    link(plan, machine, &format!("/etc/systemd/system/{service}.service.wants/{name}"), &unit)?;
    let line = ["systemctl", "stop", &name].map(str::to_owned).into();
    // While systemd still knows the unit: its file is gone by then.
    plan.undo_commands.push(Command { line, why: "there is nothing to bind any more".to_owned() });
    plan.note(
        "when the host's resolv.conf is replaced, the service may ask the host's resolver for some six seconds: until the \
         file is bound again, and Go programs look for a new one every five",
    );
    Ok(())
}

fn link(plan: &mut Plan, machine: &Machine, path: &str, target: &str) -> Result<(), SetupFault> {
    let before = machine.look(Path::new(path)).map_err(|error| SetupFault::reading(path.as_ref(), &error))?;
    let after = FileState::Link(target.into());
    if before != after {
        plan.changes.push(Change {
            path: path.into(),
            before,
            after,
            why: "has systemd start it with the service".to_owned(),
        });
    }
    Ok(())
}

/// An nsswitch.conf whose `hosts` ask no nss-resolve; `None` if they do not anyway.
fn without_resolve(text: &str) -> Option<String> {
    let is_hosts = |line: &&str| line.trim_start().starts_with("hosts:");
    let hosts =
        text.lines().find(is_hosts).filter(|line| line.split_ascii_whitespace().any(|word| word == "resolve"))?;
    Some(text.replacen(hosts, "hosts:          files dns", 1))
}

const NSSWITCH: &str = "/etc/nsswitch.conf";
const RESOLVED: &str = "/run/systemd/resolve";
/// Every command is run in the place of the one before, so that systemd goes on knowing the service's process. What is
/// mounted at a place of its own stays shared when the file systems of the bound files no longer are.
const START: &str = r#"#!/bin/sh
# Written by `pullgate setup`: starts {service} so that it alone sees other files, and everybody sees what it mounts below
# its folder of data.
set -e

bind() {
    mount --make-slave "$(findmnt --noheadings --output TARGET --target "$2")"
    mount --bind "$1" "$2"
}

if [ "$1" = --apart ]; then
    shift
    {binds}
    exec "$@"
fi
mkdir -p {root}
mountpoint -q {root} || mount --bind {root} {root}
exec unshare --mount --propagation unchanged /bin/sh "$0" --apart "$@"
"#;
const HEAD: &str = "# Written by `pullgate setup`.\n";
const KEEPER: &str = r"# Written by `pullgate setup`.
[Unit]
Description=Keep the resolv.conf of {service} in its place
BindsTo={service}.service
After={service}.service
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh -c 'main=$$(systemctl show --property MainPID --value {service}.service); \
  while [ -e /proc/$$main/ns/mnt ]; do \
    cmp -s {folder}/resolv.conf /proc/$$main/root/etc/resolv.conf || \
      nsenter --mount=/proc/$$main/ns/mnt mount --bind {folder}/resolv.conf /etc/resolv.conf; \
    sleep 1; \
  done'
Restart=always
RestartSec=1

[Install]
WantedBy={service}.service
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    fn plan(machine: &Machine) -> Result<Plan, SetupFault> {
        let mut plan = Plan::new("test");
        let containerd = Service { name: "containerd", restart: "starts anew", mounts: None };
        ask_pullgate(&mut plan, machine, &request(), &containerd)?;
        Ok(plan)
    }

    fn plan_mounting(machine: &Machine) -> Result<Plan, SetupFault> {
        let mut plan = Plan::new("test");
        let docker = Service { name: "docker", restart: "starts anew", mounts: Some("/var/lib/docker") };
        ask_pullgate(&mut plan, machine, &request(), &docker)?;
        Ok(plan)
    }

    fn file(plan: &Plan, path: &str) -> Option<String> {
        files(plan).into_iter().find(|(changed, _)| changed == path).map(|(_, text)| text)
    }

    #[test]
    fn the_service_sees_another_resolv_conf_and_the_machine_keeps_its_own() {
        let host = "nameserver 192.0.2.1\nsearch lan\n";
        let tree = Tree::new(&[("/etc/resolv.conf", host), (NSSWITCH, "hosts: files dns\n")]);
        let plan = tree.apply(plan);
        let text = file(&plan, "/etc/pullgate/services/containerd/resolv.conf").unwrap();
        assert!(text.ends_with("\nnameserver 127.0.0.1\nsearch lan\n"), "{text}");
        let binds = file(&plan, &drop_in("containerd")).unwrap();
        let bind = "BindReadOnlyPaths=/etc/pullgate/services/containerd/resolv.conf:/etc/resolv.conf\n";
        assert!(binds.ends_with(bind), "{binds}");
        assert_eq!(tree.text("/etc/resolv.conf").as_deref(), Some(host));
    }

    #[test]
    fn a_file_that_somebody_may_replace_is_bound_again() {
        let tree = Tree::new(&[("/run/NetworkManager/resolv.conf", "nameserver 192.0.2.1\n")]);
        tree.link("/etc/resolv.conf", "../run/NetworkManager/resolv.conf");
        let plan = tree.apply(plan);
        let keeper = "/etc/systemd/system/pullgate-containerd.service";
        assert!(file(&plan, keeper).unwrap().contains("BindsTo=containerd.service\n"));
        let wanted = "/etc/systemd/system/containerd.service.wants/pullgate-containerd.service";
        assert_eq!(file(&plan, wanted).as_deref(), Some(keeper));
        let rest = ["systemctl daemon-reload", "systemctl restart containerd"];
        assert_eq!(commands(&plan), rest);
        let undo: Vec<String> = plan.undo_commands.iter().map(|command| command.line.join(" ")).collect();
        assert_eq!(undo, ["systemctl stop pullgate-containerd.service", rest[0], rest[1]]);
    }

    #[test]
    fn in_the_place_of_resolved_s_folder_there_is_another_without_its_socket() {
        let tree = Tree::new(&[("/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n")]);
        tree.link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
        let plan = tree.apply(plan);
        let binds = file(&plan, &drop_in("containerd")).unwrap();
        assert!(
            binds.ends_with("BindReadOnlyPaths=/etc/pullgate/services/containerd:/run/systemd/resolve\n"),
            "{binds}"
        );
        assert!(file(&plan, "/etc/pullgate/services/containerd/stub-resolv.conf").is_some());
        assert_eq!(commands(&plan), ["systemctl daemon-reload", "systemctl restart containerd"]);
    }

    #[test]
    fn nss_resolve_is_kept_from_it_as_well() {
        let hosts = "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns\n";
        let plan = Tree::new(&[(NSSWITCH, hosts)]).apply(plan);
        let switch = file(&plan, "/etc/pullgate/services/containerd/nsswitch.conf");
        assert_eq!(switch.as_deref(), Some("passwd: files\nhosts:          files dns\n"));
        let binds = file(&plan, &drop_in("containerd")).unwrap();
        assert!(binds.contains("/nsswitch.conf:/etc/nsswitch.conf\n"), "{binds}");
    }

    #[test]
    fn what_a_service_mounts_for_others_is_seen_by_them() {
        let unit = ("/lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/sbin/dockerd -H fd:// $OPTIONS\n");
        let tree = Tree::new(&[("/etc/resolv.conf", "nameserver 192.0.2.1\n"), unit]);
        let plan = tree.apply(plan_mounting);
        let settings = file(&plan, &drop_in("docker")).unwrap();
        let start = "/bin/sh /etc/pullgate/services/docker/start /usr/sbin/dockerd -H fd:// $OPTIONS";
        assert!(settings.ends_with(&format!("[Service]\nExecStart=\nExecStart={start}\n")), "{settings}");
        let script = file(&plan, "/etc/pullgate/services/docker/start").unwrap();
        assert!(
            script.contains("\n    bind /etc/pullgate/services/docker/resolv.conf /etc/resolv.conf\n    exec "),
            "{script}"
        );
        assert!(
            script.contains("\nmountpoint -q '/var/lib/docker' || mount --bind '/var/lib/docker' '/var/lib/docker'\n")
        );
    }
}
