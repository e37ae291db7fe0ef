//! `setup libvirt`: the guests of a virtual network ask pullgate.
//!
//! A network's dnsmasq hands out itself as name server, and forwards. Forwarding to pullgate (`<forwarder>`) would show it
//! one client, the host; so DHCP hands out pullgate's own address instead, by [dnsmasq:options] (libvirt 5.6), which keeps
//! the guests apart for groups, and libvirt's own server is turned off with [`<dns enable='no'/>`]: it would be a way
//! around, and would hold port 53 of the bridge, where pullgate can then listen.
//! libvirt writes /etc/libvirt/qemu/networks/NAME.xml in the order and form that is kept here, so that what it makes of
//! the file is the file.
//!
//! [dnsmasq:options]: https://libvirt.org/formatnetwork.html#network-namespaces
//! [`<dns enable='no'/>`]: https://libvirt.org/formatnetwork.html#addressing

mod definition;

use std::net::IpAddr;
use std::path::Path;

use self::definition::Definition;
use super::{Plan, Request, SetupFault};
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "libvirt";

/// Which network.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network's name.
    pub network: String,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    let names = networks(machine).ok().filter(|names| !names.is_empty())?;
    Some(format!("networks: {}", names.join(", ")))
}

/// Plans it.
///
/// # Errors
/// There is no such network, or it hands out no addresses; pullgate has no address that a guest could reach.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let name = &options.network;
    let path = Path::new(NETWORKS).join(format!("{name}.xml"));
    let Some(text) = SetupFault::read(machine, &path)? else {
        let names = networks(machine)?.join(", ");
        return Err(SetupFault::new(format!("there is no network {name}: {} is not there", path.display()))
            .hint(format!("name one with --network; there is: {names}")));
    };
    let definition = Definition::read(&text).map_err(|fault| SetupFault::editing(&path, &fault))?;
    if !definition.has_dhcp() {
        return Err(SetupFault::new(format!("network {name} hands out no addresses, and so no name server")).hint(
            "its guests name theirs themselves: `pullgate setup redirect` takes their questions whatever they name",
        ));
    }
    let servers = servers(request, &definition)?;
    let after = definition.with_servers(&servers);
    let mut plan = Plan::new(TARGET);
    plan.write(machine, path.clone(), after, "DHCP names pullgate, and libvirt's own server, a way around, is off")?;
    plan.command_on("virsh net-define", &path.display().to_string(), "libvirt reads it");
    plan.command_on("virsh net-destroy", name, "cuts the guests of this network off until they are started anew");
    plan.command_on("virsh net-start", name, "with the new server; guests learn it with their next lease");
    notes(&mut plan, &servers, &definition);
    Ok(plan)
}

/// One address of each family that the network hands out: one given, else the network's own where pullgate listens there,
/// else any that guests could reach.
fn servers(request: &Request, definition: &Definition) -> Result<Vec<IpAddr>, SetupFault> {
    let reachable = request.reachable();
    let of_family = |is_ipv4: bool| {
        let mut candidates = reachable.iter().filter(|address| address.is_ipv4() == is_ipv4);
        let own = |address: &&IpAddr| definition.addresses().contains(address);
        let given = request.addresses.iter().find(|address| address.is_ipv4() == is_ipv4);
        let preferred = given.or_else(|| reachable.iter().find(own).filter(|address| address.is_ipv4() == is_ipv4));
        preferred.or_else(|| candidates.next()).copied()
    };
    let mut servers: Vec<IpAddr> = of_family(true).into_iter().collect();
    if definition.addresses().iter().any(IpAddr::is_ipv6) {
        servers.extend(of_family(false));
    }
    if servers.is_empty() {
        let own = definition.addresses().first().map_or_else(|| "its bridge".to_owned(), IpAddr::to_string);
        return Err(SetupFault::new("pullgate has no address that a guest of this network could reach")
            .hint(format!("add `{own}:53` to server.listen, or use --address")));
    }
    Ok(servers)
}

fn notes(plan: &mut Plan, servers: &[IpAddr], definition: &Definition) {
    if servers.iter().any(|server| definition.addresses().contains(server)) {
        plan.note(
            "pullgate listens on the bridge's address, on port 53, which libvirt's server holds until the network is \
             started anew: restart pullgate after that",
        );
    }
    if definition.addresses().iter().any(IpAddr::is_ipv6) && !servers.iter().any(IpAddr::is_ipv6) {
        plan.note(
            "the network has IPv6 as well, for which guests are told no server: --address adds one of that family",
        );
    }
    plan.note("guests no longer find each other by libvirt's names; keep those in your own DNS");
    plan.note("a guest with a server of its own is not reached by DHCP, but by `pullgate setup redirect --interface`");
    plan.note("networks of users (qemu:///session) have no DHCP of libvirt's: their guests ask what this machine asks");
}

/// The names of the networks that are defined.
fn networks(machine: &Machine) -> Result<Vec<String>, SetupFault> {
    let paths = machine.list(NETWORKS).map_err(|error| SetupFault::reading(NETWORKS.as_ref(), &error))?;
    let definitions = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "xml"));
    Ok(definitions.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect())
}

const NETWORKS: &str = "/etc/libvirt/qemu/networks";

#[cfg(test)]
mod tests;
