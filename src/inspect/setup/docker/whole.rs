//! The scope `machine`: the engine, its containers and the host ask pullgate.

use super::TARGET;
use super::daemon::Daemon;
use super::{engine, listen};
use crate::inspect::machine::Machine;
use crate::inspect::setup::owner::Owner;
use crate::inspect::setup::{Plan, Request, SetupFault, networkmanager, resolv_conf, resolved};

/// Plans it.
pub(super) fn plan(machine: &Machine, request: &Request, daemon: &Daemon) -> Result<Plan, SetupFault> {
    if engine::is_in_force(machine) {
        let fault = SetupFault::new("Docker is set up with --scope engine");
        return Err(fault.hint("take that back first: `pullgate setup docker --undo`"));
    }
    let mut plan = Plan::new(TARGET);
    let address = listen::address(&mut plan, machine, request, daemon)?;
    plan.include(host(machine, request)?);
    let before = plan.changes.len();
    daemon.set_dns(&mut plan, machine, &[address], "containers and RUN steps ask pullgate, and no other")?;
    if plan.changes.len() > before {
        plan.command("systemctl restart docker", daemon.restart_disturbs());
    }
    if daemon.has_ipv6() && address.is_ipv4() {
        plan.note(
            "containers without IPv4 do not reach an IPv4 resolver: for those name an IPv6 address with --address",
        );
    }
    plan.note(
        "a container started with `--dns`, or `dns:` in a Compose file, asks whom it names: `pullgate setup redirect \
         --interface docker0 --interface 'br-*'` brings that to pullgate as well",
    );
    plan.note("a buildx builder of the driver docker-container has settings of its own: `pullgate setup buildkit`");
    Ok(plan)
}

/// The host's own resolver, which is also the daemon's, by whoever writes its resolv.conf.
fn host(machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
    let owner = Owner::known(machine)?;
    match owner {
        Owner::Resolved => resolved::plan(machine, request),
        Owner::NetworkManager => networkmanager::plan(machine, request),
        _ => resolv_conf::plan(machine, request),
    }
}
