//! The address of pullgate that containers can reach, and how pullgate comes to listen there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use toml_edit::Array;

use super::daemon::Daemon;
use crate::address::{self, DNS_PORT};
use crate::inspect::edit::toml;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault};

/// The one address for containers: the one given, else the bridge's or any other where pullgate listens; if there is
/// none, its settings are planned to take the bridge's.
pub(super) fn address(
    plan: &mut Plan,
    machine: &Machine,
    request: &Request,
    daemon: &Daemon,
) -> Result<IpAddr, SetupFault> {
    if let Some(given) = request.addresses.first() {
        let address = request.reachable_address()?;
        if !request.answers_at(address) {
            plan.note(format!("containers will ask {given}:{DNS_PORT}: see that pullgate answers there"));
        }
        return Ok(address);
    }
    let bridge = bridge(machine, daemon)?;
    if request.answers_at(bridge) {
        return Ok(bridge);
    }
    if let Ok(other) = request.reachable_address() {
        return Ok(other);
    }
    listen_on(plan, machine, request, bridge)?;
    Ok(bridge)
}

fn bridge(machine: &Machine, daemon: &Daemon) -> Result<IpAddr, SetupFault> {
    if let Some(address) = daemon.bridge_address() {
        return Ok(address);
    }
    match daemon.bridge().as_deref() {
        None => Ok(interface_address(machine, "docker0").unwrap_or(DOCKER0)),
        Some(name) => interface_address(machine, name).ok_or_else(|| {
            SetupFault::new(format!("daemon.json puts containers on the bridge `{name}`, which has no address here"))
                .hint("name an address of this machine that they reach with --address")
        }),
    }
}

/// The first IPv4 address of an interface of the running machine.
fn interface_address(machine: &Machine, name: &str) -> Option<IpAddr> {
    if !machine.is_here() {
        return None;
    }
    let mut interfaces = getifaddrs().ok()?.filter(|interface| interface.interface_name == name);
    interfaces.find_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())))
}

/// Plans that pullgate's settings name one more address.
fn listen_on(plan: &mut Plan, machine: &Machine, request: &Request, bridge: IpAddr) -> Result<(), SetupFault> {
    let added = SocketAddr::new(bridge, DNS_PORT);
    let by_hand = |message: String| {
        SetupFault::new(message).hint(format!("add `{added}` to server.listen, or name an address with --address"))
    };
    let text = SetupFault::read(machine, SETTINGS)?;
    let text = text.ok_or_else(|| {
        by_hand(format!("pullgate listens where no container reaches it, and there is no {SETTINGS}"))
    })?;
    let fault = |fault| SetupFault::new(format!("{SETTINGS}: {fault}"));
    let written = toml::read(&text, &["server", "listen"]).map_err(fault)?;
    let mut listen: Array = written.and_then(|value| value.as_array().cloned()).unwrap_or_default();
    let words = listen.iter().filter_map(|value| value.as_str());
    let in_file: Vec<SocketAddr> = words.filter_map(|word| address::parse_socket(word, DNS_PORT).ok()).collect();
    if listen.is_empty() {
        listen.extend(request.listen.iter().map(ToString::to_string));
    } else if in_file != request.listen {
        return Err(by_hand(format!("pullgate listens where no container reaches it, and not as {SETTINGS} says")));
    }
    listen.push(added.to_string());
    let text = toml::set(&text, &["server", "listen"], listen).map_err(fault)?;
    plan.write(
        machine,
        SETTINGS,
        text,
        "pullgate answers on the bridge of Docker as well: to a container loopback is itself",
    )?;
    plan.command("systemctl restart pullgate", "pullgate listens there; questions of about a second are lost");
    Ok(())
}

/// What Docker gives its bridge where nobody says otherwise.
const DOCKER0: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));
const SETTINGS: &str = "/etc/pullgate/pullgate.toml";
