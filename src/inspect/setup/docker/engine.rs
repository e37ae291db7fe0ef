//! The scope `engine`: only what the engine pulls is asked of pullgate.
//!
//! The daemon gets a resolv.conf of its own, in a mount namespace that systemd makes for it. A file that is bound over
//! another one is gone as soon as anybody replaces that other one by a rename, as everybody who writes a resolv.conf
//! does; the kernel takes the mount away in every namespace. Where resolv.conf is a link into the folder of
//! systemd-resolved, that folder is bound over, which no rename reaches. Elsewhere a unit watches the file and binds
//! again.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::TARGET;
use super::daemon::Daemon;
use super::listen::covers;
use crate::address::DNS_PORT;
use crate::inspect::machine::{FileState, Machine};
use crate::inspect::setup::owner::{Owner, RESOLV_CONF};
use crate::inspect::setup::{Change, Command, Plan, Request, SetupFault};
use crate::resolv_conf::ResolvConf;

/// Plans it.
pub(super) fn plan(machine: &Machine, request: &Request, daemon: &Daemon) -> Result<Plan, SetupFault> {
    let address = request.host_address()?;
    let host = host_resolver(machine)?;
    let ours = |server: &SocketAddr| server.ip() == address || covers(request, server.ip());
    if host.servers.iter().any(ours) {
        let fault =
            SetupFault::new("this host asks pullgate itself: there is nothing that --scope engine would leave alone");
        return Err(fault.hint("undo what was set up before, or use --scope machine"));
    }
    let mut plan = Plan::new(TARGET);
    let owner = Owner::find(machine).map_err(|error| SetupFault::reading(RESOLV_CONF.as_ref(), &error))?;
    if owner == Owner::Resolved {
        bind_folder(&mut plan, machine, &resolv_conf(address, &host))?;
    } else {
        bind_file(&mut plan, machine, &resolv_conf(address, &host))?;
        note_nss(&mut plan, machine);
    }
    let servers = container_servers(request, daemon, &host)?;
    daemon.set_dns(&mut plan, machine, &servers, "containers and RUN steps go on asking the host's own resolver")?;
    daemon.restart(&mut plan);
    undo(&mut plan);
    holes(&mut plan, &servers);
    Ok(plan)
}

/// What the host's programs ask: behind the stub of resolved what that asks.
fn host_resolver(machine: &Machine) -> Result<ResolvConf, SetupFault> {
    let read = |path: &str| machine.read(path).map_err(|error| SetupFault::reading(path.as_ref(), &error));
    let host = ResolvConf::parse(&read(RESOLV_CONF)?.unwrap_or_default());
    let is_stub = |server: &SocketAddr| ["127.0.0.53", "127.0.0.54"].contains(&server.ip().to_string().as_str());
    if !host.servers.iter().any(is_stub) {
        return Ok(host);
    }
    Ok(ResolvConf { servers: ResolvConf::parse(&read(UPLINK)?.unwrap_or_default()).servers, ..host })
}

/// Whom containers are to ask: what daemon.json says, else the host's own resolver.
fn container_servers(request: &Request, daemon: &Daemon, host: &ResolvConf) -> Result<Vec<IpAddr>, SetupFault> {
    let named = daemon.dns();
    if named.iter().any(|server| covers(request, *server) || request.addresses.contains(server)) {
        let fault = SetupFault::new("`dns` in daemon.json names pullgate: containers would not resolve as before");
        return Err(fault.hint("undo what was set up before, or take `dns` out of daemon.json"));
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let usable = host.servers.iter().filter(|server| server.port() == DNS_PORT && !server.ip().is_loopback());
    let servers: Vec<IpAddr> = usable.map(SocketAddr::ip).collect();
    if servers.is_empty() {
        let fault = SetupFault::new("this host's resolver answers on loopback, where no container reaches it");
        return Err(fault.hint("name a server for containers as `dns` in daemon.json, and run this again"));
    }
    Ok(servers)
}

fn resolv_conf(address: IpAddr, host: &ResolvConf) -> String {
    let mut text = format!(
        "# Written by `pullgate setup docker --scope engine`: the Docker daemon's own.\nnameserver {address}\n"
    );
    for (key, words) in [("search", &host.search), ("options", &host.options)] {
        if !words.is_empty() {
            text.extend([key, " ", &words.join(" "), "\n"]);
        }
    }
    text
}

fn bind_folder(plan: &mut Plan, machine: &Machine, text: &str) -> Result<(), SetupFault> {
    for name in ["stub-resolv.conf", "resolv.conf"] {
        plan.write(machine, format!("{FOLDER}/{name}"), text, "the daemon's own resolv.conf")?;
    }
    let settings = format!("{DROP_IN_HEAD}BindReadOnlyPaths={FOLDER}:/run/systemd/resolve\n");
    plan.write(machine, DROP_IN, settings, "the daemon, and nobody else, sees that folder in the place of resolved's")?;
    plan.command("systemctl daemon-reload", "systemd reads the drop-in");
    Ok(())
}

fn bind_file(plan: &mut Plan, machine: &Machine, text: &str) -> Result<(), SetupFault> {
    plan.write(machine, FILE, text, "the daemon's own resolv.conf")?;
    let settings = format!("{DROP_IN_HEAD}BindReadOnlyPaths={FILE}:{RESOLV_CONF}\n");
    plan.write(machine, DROP_IN, settings, "the daemon, and nobody else, sees that file in the place of the host's")?;
    plan.write(machine, WATCH, WATCH_UNIT, "a new resolv.conf of the host takes the bound one away; this notices")?;
    plan.write(machine, REBIND, REBIND_UNIT, "and this binds it again, without a restart of Docker")?;
    link(plan, machine, WANTED, WATCH)?;
    plan.command("systemctl daemon-reload", "systemd reads the units");
    plan.command(&format!("systemctl restart {WATCH_NAME}"), "watches the host's resolv.conf");
    plan.note(
        "when the host's resolv.conf is replaced, the daemon may ask the host's resolver for up to five seconds: until \
         the file is bound again, and Go programs look for a new one that often",
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
            why: "has systemd start it at every boot".to_owned(),
        });
    }
    Ok(())
}

/// The watch is stopped while systemd still knows it; the rest is the same as for the setup.
fn undo(plan: &mut Plan) {
    let restarts_watch = |command: &Command| command.line.iter().any(|word| word == WATCH_NAME);
    let (watch, rest): (Vec<Command>, Vec<Command>) = plan.commands.iter().cloned().partition(restarts_watch);
    plan.undo_commands = rest;
    if !watch.is_empty() {
        let line = ["systemctl", "stop", WATCH_NAME].map(str::to_owned).into();
        plan.undo_commands.insert(0, Command { line, why: "nothing is left to watch".to_owned() });
    }
}

/// The C library may go past any resolv.conf; where resolved's folder is bound over, its socket is out of reach too.
fn note_nss(plan: &mut Plan, machine: &Machine) {
    let switch = machine.read("/etc/nsswitch.conf").ok().flatten().unwrap_or_default();
    let mut hosts = switch.lines().filter(|line| line.trim_start().starts_with("hosts:"));
    if hosts.any(|line| line.split_ascii_whitespace().any(|word| word == "resolve")) {
        plan.note(
            "/etc/nsswitch.conf names `resolve` (nss-resolve): a daemon built to use the C library's resolver asks \
             systemd-resolved over its socket, past any resolv.conf; Docker's own packages use Go's",
        );
    }
}

/// What goes past this scope.
fn holes(plan: &mut Plan, servers: &[IpAddr]) {
    let listed = servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    plan.note(format!(
        "daemon.json holds {listed} from now on: when this host moves to another network, change `dns` there"
    ));
    for hole in [
        "Docker in Docker and buildx builders of the driver docker-container pull inside a container, and ask its resolver",
        "podman, buildah, skopeo and containerd's `ctr` are no part of the daemon, and ask the host's resolver",
        "a container, or anybody on this host, still resolves every registry's name: this scope restricts the daemon only",
        "the daemon's mounts are its own now: what a volume driver mounts is not seen by the host",
    ] {
        plan.note(hole);
    }
}

/// The drop-in for the unit of Docker.
pub(super) const DROP_IN: &str = "/etc/systemd/system/docker.service.d/50-pullgate.conf";
const DROP_IN_HEAD: &str = "# Written by `pullgate setup docker --scope engine`.\n[Service]\n";
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
const FOLDER: &str = "/etc/pullgate/engine";
const FILE: &str = "/etc/pullgate/engine-resolv.conf";
const WATCH: &str = "/etc/systemd/system/pullgate-docker.path";
const WATCH_NAME: &str = "pullgate-docker.path";
const REBIND: &str = "/etc/systemd/system/pullgate-docker.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/pullgate-docker.path";
const WATCH_UNIT: &str = "\
# Written by `pullgate setup docker --scope engine`.
[Unit]
Description=Notice a new resolv.conf, which takes the Docker daemon's own away

[Path]
PathChanged=/etc/resolv.conf

[Install]
WantedBy=multi-user.target
";
const REBIND_UNIT: &str = r#"# Written by `pullgate setup docker --scope engine`.
[Unit]
Description=Give the Docker daemon its own resolv.conf again

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'daemon=$$(systemctl show --property MainPID --value docker.service); [ "$$daemon" -gt 0 ] || exit 0; \
  nsenter --mount=/proc/$$daemon/ns/mnt sh -c "cmp -s /etc/pullgate/engine-resolv.conf /etc/resolv.conf || mount --bind /etc/pullgate/engine-resolv.conf /etc/resolv.conf"'
"#;
