//! The scope `engine`: only what the engine pulls is asked of pullgate.
//!
//! The daemon gets a resolv.conf of its own (see `service`), and daemon.json names the host's resolver for containers.

use std::net::{IpAddr, SocketAddr};

use super::TARGET;
use super::daemon::Daemon;
use crate::address::DNS_PORT;
use crate::inspect::machine::Machine;
use crate::inspect::setup::owner::RESOLV_CONF;
use crate::inspect::setup::service::{self, Service};
use crate::inspect::setup::{Plan, Request, SetupFault};
use crate::resolv_conf::ResolvConf;

/// Plans it.
pub(super) fn plan(machine: &Machine, request: &Request, daemon: &Daemon) -> Result<Plan, SetupFault> {
    let address = request.host_address()?;
    let host = host_resolver(machine)?;
    if host.servers.iter().any(|server| server.ip() == address || request.is_ours(*server)) {
        let fault =
            SetupFault::new("this host asks pullgate itself: there is nothing that --scope engine would leave alone");
        return Err(fault.hint("undo what was set up before, or use --scope machine"));
    }
    let mut plan = Plan::new(TARGET);
    let servers = container_servers(request, daemon, &host)?;
    daemon.set_dns(&mut plan, machine, &servers, "containers and RUN steps go on asking the host's own resolver")?;
    let docker = Service { name: SERVICE, restart: daemon.restart_disturbs(), mounts: Some(daemon.root()) };
    service::ask_pullgate(&mut plan, machine, request, &docker)?;
    holes(&mut plan, &servers);
    Ok(plan)
}

/// What the host's programs ask: behind the stub of resolved what that asks.
fn host_resolver(machine: &Machine) -> Result<ResolvConf, SetupFault> {
    let read = |path: &str| SetupFault::read(machine, path);
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
    if named.iter().any(|server| request.is_ours(SocketAddr::new(*server, DNS_PORT))) {
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

/// Whether a machine is set up this way.
pub(super) fn is_in_force(machine: &Machine) -> bool {
    machine.has(service::drop_in(SERVICE))
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
    ] {
        plan.note(hole);
    }
}

const SERVICE: &str = "docker";
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
