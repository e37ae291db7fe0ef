//! `setup resolved`: systemd-resolved sends this machine's questions to pullgate.
//!
//! A drop-in makes pullgate its only server of its own; what a link brings along stays known to it, which is where
//! pullgate's upstream `system` finds the real servers. Servers that stood in resolved's own files are kept.

pub(in crate::inspect) mod links;
mod settings;

use std::net::{IpAddr, SocketAddr};

use self::links::{Link, links};
use self::settings::Settings;
use super::owner::{Owner, RESOLV_CONF};
use super::plan::{Change, Plan, Request, SetupFault};
use super::resolv_conf::{self, SAVED};
use crate::address::DNS_PORT;
use crate::inspect::machine::{FileState, Machine};

/// The target's name on the command line.
pub const TARGET: &str = "resolved";

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    let is_owner = Owner::find(machine).is_ok_and(|owner| owner == Owner::Resolved);
    is_owner.then(|| "systemd-resolved writes /etc/resolv.conf".to_owned())
}

/// Plans it.
///
/// # Errors
/// systemd-resolved does not resolve this machine's names, or not by its stub; pullgate has no address for it.
pub fn plan(machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
    let address = request.host_address()?;
    let mut plan = Plan::new(TARGET);
    let settings = Settings::read(machine, DROP_IN)?;
    point_at_stub(&mut plan, machine, request, &settings)?;
    let links = links(machine)?;
    keep_servers(&mut plan, machine, request, &settings, &links)?;
    plan.write(machine, DROP_IN, drop_in(address), "resolved asks pullgate, and no server of its own besides")?;
    plan.command("systemctl restart systemd-resolved", "resolved reads its settings; it answers again within a second");
    for later in &settings.later {
        plan.note(format!(
            "{} is read after {DROP_IN} and names servers of its own: remove them there",
            later.display()
        ));
    }
    links.iter().filter_map(Link::warning).for_each(|warning| plan.note(warning));
    plan.note(
        "single-label names (LLMNR) and names below `local` (mDNS) are asked on the local network, past pullgate",
    );
    plan.note("Docker gives containers the servers of the links, past resolved: `pullgate setup docker` is for those");
    Ok(plan)
}

/// The drop-in of the repository, with the address of this pullgate.
fn drop_in(address: IpAddr) -> String {
    TEMPLATE.replace("DNS=127.0.0.1\n", &format!("DNS={address}\n"))
}

/// Programs must ask resolved's stub: its other file names the servers of the links beside pullgate.
fn point_at_stub(plan: &mut Plan, machine: &Machine, request: &Request, settings: &Settings) -> Result<(), SetupFault> {
    let owner = Owner::known(machine)?;
    match owner {
        Owner::Resolved if settings.has_stub => {}
        Owner::Resolved => {
            let fault = SetupFault::new("resolved's stub listener is off (DNSStubListener=no)");
            return Err(
                fault.hint("turn it on: without it programs are given the servers of the links beside pullgate")
            );
        }
        Owner::Nobody => {
            plan.include(resolv_conf::plan(machine, request)?);
            return Ok(());
        }
        _ => {
            let fault = SetupFault::new(format!("{} writes {RESOLV_CONF}, not systemd-resolved", owner.name()));
            return Err(fault.hint("`pullgate setup` shows which target this machine needs"));
        }
    }
    let before =
        machine.look(RESOLV_CONF.as_ref()).map_err(|error| SetupFault::reading(RESOLV_CONF.as_ref(), &error))?;
    if matches!(&before, FileState::Link(target) if !target.ends_with("systemd/resolve/stub-resolv.conf")) {
        let why = "the file it names now lists the servers of the links beside pullgate".to_owned();
        plan.changes.push(Change { path: RESOLV_CONF.into(), before, after: FileState::Link(STUB.into()), why });
    }
    Ok(())
}

/// Keeps the servers that stand in resolved's own files for `system`, which otherwise means those of the links.
fn keep_servers(
    plan: &mut Plan,
    machine: &Machine,
    request: &Request,
    settings: &Settings,
    links: &[Link],
) -> Result<(), SetupFault> {
    let own: Vec<SocketAddr> = settings.servers.iter().copied().filter(|server| !request.is_ours(*server)).collect();
    let listed = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if own.is_empty() && links.iter().all(|link| link.servers.is_empty()) {
        plan.note(
            "no link brings servers along now: while that is so, `system` has none; name some in upstream.servers",
        );
    } else if own.is_empty() {
        return Ok(());
    } else if links.iter().any(|link| !link.servers.is_empty()) {
        plan.note(format!("`system` means the servers of the links; to keep {listed}, name them in upstream.servers"));
    } else {
        let lines =
            own.iter().map(|server| format!("nameserver {}", written(*server))).collect::<Vec<_>>().join("\n") + "\n";
        plan.write(machine, SAVED, lines, "the servers of resolved's own settings, for pullgate's upstream `system`")?;
    }
    if settings.is_encrypted {
        plan.note(
            "resolved asked over TLS, `system` does not: write `tls://ADDRESS#NAME` in upstream.servers to keep that",
        );
    }
    Ok(())
}

fn written(server: SocketAddr) -> String {
    if server.port() == DNS_PORT { server.ip().to_string() } else { server.to_string() }
}

/// The drop-in that is also in the repository.
const TEMPLATE: &str = include_str!("../../../../systemd/resolved.conf.d/pullgate.conf");
const DROP_IN: &str = "/etc/systemd/resolved.conf.d/pullgate.conf";
const STUB: &str = "../run/systemd/resolve/stub-resolv.conf";

#[cfg(test)]
mod tests;
