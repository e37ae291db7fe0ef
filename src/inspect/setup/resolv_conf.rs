//! `setup resolv-conf`: this machine's programs ask pullgate, by /etc/resolv.conf.
//!
//! One name server and no other: a second one is asked whenever the first is late or refuses, and musl asks all at once.
//! The file as it was is kept where pullgate's upstream `system` finds it.

use std::net::IpAddr;

use super::owner::{Owner, RESOLV_CONF};
use super::plan::{Plan, Request, SetupFault};
use crate::inspect::machine::Machine;
use crate::resolv_conf::ResolvConf;

/// The target's name on the command line.
pub const TARGET: &str = "resolv-conf";

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    let owner = Owner::find(machine).ok()?;
    match owner {
        Owner::Nobody => {
            machine.read(RESOLV_CONF).ok()??.lines().next().map(|_| "/etc/resolv.conf, written by hand".to_owned())
        }
        Owner::Dhclient | Owner::Dhcpcd => Some(format!("/etc/resolv.conf, written by {}", owner.name())),
        _ => None,
    }
}

/// Plans it.
///
/// # Errors
/// Another program owns the file, or pullgate has no address that it could name.
pub fn plan(machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
    let owner = Owner::known(machine)?;
    let mut plan = Plan::new(TARGET);
    match owner {
        Owner::Nobody => {}
        Owner::Dhclient => silence_dhclient(&mut plan, machine)?,
        Owner::Dhcpcd => silence_dhcpcd(&mut plan, machine)?,
        _ => return Err(owned_by(owner)),
    }
    take_over(&mut plan, machine, request)?;
    Ok(plan)
}

/// Plans that resolv.conf names pullgate only, and that its servers of now are kept for `system`.
pub(super) fn take_over(plan: &mut Plan, machine: &Machine, request: &Request) -> Result<(), SetupFault> {
    let text = SetupFault::read(machine, RESOLV_CONF)?;
    let text = text.unwrap_or_default();
    if !is_ours(&text, request) {
        plan.write(machine, SAVED, text.as_str(), "the servers of now, for pullgate's upstream `system`")?;
        plan.shared.push(SAVED.into());
    }
    let address = request.host_address()?;
    plan.write(
        machine,
        RESOLV_CONF,
        naming(address, &text),
        "every program of this machine asks pullgate, and no other",
    )?;
    plan.note("a program that reads resolv.conf only when it starts asks as before until it is started anew");
    Ok(())
}

/// Whether this machine's programs ask pullgate, and no other server.
pub(super) fn names_only_us(machine: &Machine, request: &Request) -> Result<bool, SetupFault> {
    let text = SetupFault::read(machine, RESOLV_CONF)?;
    let mut text = text.unwrap_or_default();
    if ResolvConf::parse(&text).servers.iter().any(|server| STUBS.contains(&server.ip().to_string().as_str())) {
        text = SetupFault::read(machine, UPLINK)?.unwrap_or_default();
    }
    Ok(!ResolvConf::parse(&text).servers.is_empty() && is_ours(&text, request))
}

/// Whether a resolv.conf names no server that `system` could use.
fn is_ours(text: &str, request: &Request) -> bool {
    let servers = ResolvConf::parse(text).servers;
    servers.iter().all(|server| request.is_ours(*server)) || (servers.len() == 1 && text.starts_with(HEADER))
}

/// A resolv.conf with one name server, and the search list and the options of another. Its comments go: they say who
/// writes the file, and some writers go by them.
fn naming(address: IpAddr, text: &str) -> String {
    let stays = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        !word.is_empty() && word != "nameserver" && !word.starts_with(['#', ';'])
    };
    let mut written = format!("{HEADER}nameserver {address}\n");
    text.lines().filter(stays).for_each(|line| written.extend([line, "\n"]));
    written
}

fn silence_dhclient(plan: &mut Plan, machine: &Machine) -> Result<(), SetupFault> {
    plan.write(
        machine,
        DHCLIENT_HOOK,
        HOOK,
        "dhclient leaves resolv.conf alone and tells `system` of new servers instead",
    )
}

fn silence_dhcpcd(plan: &mut Plan, machine: &Machine) -> Result<(), SetupFault> {
    let text = SetupFault::read(machine, DHCPCD_CONF)?;
    let mut text = text.unwrap_or_default();
    if !text.lines().any(|line| line.trim() == NO_HOOK) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.extend([NO_HOOK, "\n"]);
    }
    plan.write(machine, DHCPCD_CONF, text, "dhcpcd leaves resolv.conf alone")?;
    plan.command("dhcpcd --rebind", "makes dhcpcd read its settings");
    plan.note(format!(
        "`system` keeps to the servers in {SAVED}: when this machine moves to another network, change them there"
    ));
    Ok(())
}

fn owned_by(owner: Owner) -> SetupFault {
    let hint = match owner {
        Owner::Resolved => "use `pullgate setup resolved`",
        Owner::NetworkManager => "use `pullgate setup networkmanager`",
        Owner::Wsl => "use `pullgate setup wsl`",
        Owner::Resolvconf => {
            "openresolv: write `name_servers=ADDRESS` into /etc/resolvconf.conf and run `resolvconf -u`; Debian's resolvconf: \
             `nameserver ADDRESS` into /etc/resolvconf/resolv.conf.d/head and remove the package's other sources. Name your \
             network's servers in upstream.servers of pullgate.toml"
        }
        Owner::Netconfig => {
            "write `NETCONFIG_DNS_POLICY=\"\"` into /etc/sysconfig/network/config, run `netconfig update -f` and this again"
        }
        Owner::Connman => "start connmand with `--nodnsproxy` and `--noresolvconf`, and run this again",
        Owner::Nobody | Owner::Dhcpcd | Owner::Dhclient => "nothing else is needed",
    };
    SetupFault::new(format!("{} writes {RESOLV_CONF}: what is put there by hand would be gone soon", owner.name()))
        .hint(hint)
}

/// The resolv.conf as it was; read by the upstream `system`.
pub(super) const SAVED: &str = "/etc/pullgate/resolv.conf";
/// Where systemd-resolved answers; whom it asks itself stands in the other file.
const STUBS: &[&str] = &["127.0.0.53", "127.0.0.54"];
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
const HEADER: &str = "# Written by `pullgate setup`; the servers of before are in /etc/pullgate/resolv.conf.\n";
/// dhclient-script(8) reads every file of this folder before it does anything.
const DHCLIENT_HOOK: &str = "/etc/dhcp/dhclient-enter-hooks.d/pullgate";
const DHCPCD_CONF: &str = "/etc/dhcpcd.conf";
const NO_HOOK: &str = "nohook resolv.conf";
const HOOK: &str = r#"# Written by `pullgate setup resolv-conf`. /etc/resolv.conf names pullgate and stays as it is; the servers of a lease
# go where pullgate's upstream `system` looks for them. Of two address families the last lease counts.
make_resolv_conf() {
    servers="$new_domain_name_servers $new_dhcp6_name_servers"
    [ -n "${servers# }" ] || return 0
    for server in $servers; do echo "nameserver $server"; done > /etc/pullgate/resolv.conf.new &&
        mv /etc/pullgate/resolv.conf.new /etc/pullgate/resolv.conf
}
"#;

#[cfg(test)]
mod tests;
