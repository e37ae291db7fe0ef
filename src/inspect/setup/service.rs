//! One service alone asks pullgate: a drop-in of systemd binds another resolv.conf over the one that it sees.
//!
//! The service gets a mount namespace of its own for that ([BindReadOnlyPaths]), in which what the host mounts appears and
//! what it mounts itself stays. Go programs that are linked against glibc ask nss-resolve where nsswitch.conf names it,
//! and that asks systemd-resolved whatever resolv.conf says: then another nsswitch.conf is bound as well.
//!
//! [BindReadOnlyPaths]: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#BindPaths=

use super::owner::RESOLV_CONF;
use super::{Plan, Request, SetupFault};
use crate::inspect::machine::Machine;

/// Plans that `service`, such as `containerd.service`, asks pullgate and no other server.
pub(super) fn ask_pullgate(
    plan: &mut Plan,
    machine: &Machine,
    request: &Request,
    service: &str,
) -> Result<(), SetupFault> {
    let address = request.host_address()?;
    let mut binds = format!("[Service]\nBindReadOnlyPaths={ENGINE_RESOLV_CONF}:{RESOLV_CONF}\n");
    let resolver =
        format!("# Written by `pullgate setup`: what {service} sees as {RESOLV_CONF}.\nnameserver {address}\n");
    plan.write(machine, ENGINE_RESOLV_CONF, resolver, "what the service is to see as its resolv.conf")?;
    let switch = SetupFault::read(machine, NSSWITCH)?.unwrap_or_default();
    if let Some(without) = without_resolve(&switch) {
        plan.write(machine, ENGINE_NSSWITCH, without, "without nss-resolve, which asks past resolv.conf")?;
        binds.extend(["BindReadOnlyPaths=", ENGINE_NSSWITCH, ":", NSSWITCH, "\n"]);
    }
    let drop_in = format!("/etc/systemd/system/{service}.d/50-pullgate.conf");
    plan.write(machine, drop_in, binds, "the service sees them in the place of the machine's, and nobody else does")?;
    plan.command("systemctl daemon-reload", "reads the drop-in");
    plan.command(&format!("systemctl restart {service}"), "starts it where the bound files are");
    Ok(())
}

/// An nsswitch.conf whose `hosts` ask no nss-resolve; `None` if they do not anyway.
fn without_resolve(text: &str) -> Option<String> {
    let is_hosts = |line: &&str| line.trim_start().starts_with("hosts:");
    let hosts =
        text.lines().find(is_hosts).filter(|line| line.split_ascii_whitespace().any(|word| word == "resolve"))?;
    Some(text.replacen(hosts, "hosts:          files dns", 1))
}

const ENGINE_RESOLV_CONF: &str = "/etc/pullgate/engine-resolv.conf";
const ENGINE_NSSWITCH: &str = "/etc/pullgate/engine-nsswitch.conf";
const NSSWITCH: &str = "/etc/nsswitch.conf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    fn plan(machine: &Machine) -> Result<Plan, SetupFault> {
        let mut plan = Plan::new("test");
        ask_pullgate(&mut plan, machine, &request(), "containerd.service")?;
        Ok(plan)
    }

    #[test]
    fn the_service_sees_another_resolv_conf_and_the_machine_keeps_its_own() {
        let tree = Tree::new(&[("/etc/resolv.conf", "nameserver 192.0.2.1\n"), (NSSWITCH, "hosts: files dns\n")]);
        let plan = tree.apply(plan);
        let [(resolver, text), (drop_in, binds)] = files(&plan).try_into().unwrap();
        assert_eq!(resolver, ENGINE_RESOLV_CONF);
        assert!(text.ends_with("\nnameserver 127.0.0.1\n"), "{text}");
        assert_eq!(drop_in, "/etc/systemd/system/containerd.service.d/50-pullgate.conf");
        assert_eq!(binds, "[Service]\nBindReadOnlyPaths=/etc/pullgate/engine-resolv.conf:/etc/resolv.conf\n");
        assert_eq!(commands(&plan), ["systemctl daemon-reload", "systemctl restart containerd.service"]);
        assert_eq!(tree.text("/etc/resolv.conf").as_deref(), Some("nameserver 192.0.2.1\n"));
    }

    #[test]
    fn nss_resolve_is_kept_from_it_as_well() {
        let hosts = "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns\n";
        let tree = Tree::new(&[(NSSWITCH, hosts)]);
        let plan = tree.apply(plan);
        let [_, (switch, text), (_, binds)] = files(&plan).try_into().unwrap();
        assert_eq!((switch.as_str(), text.as_str()), (ENGINE_NSSWITCH, "passwd: files\nhosts:          files dns\n"));
        assert!(binds.contains("BindReadOnlyPaths=/etc/pullgate/engine-nsswitch.conf:/etc/nsswitch.conf\n"), "{binds}");
    }
}
