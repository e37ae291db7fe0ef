//! `setup containerd`: what containerd pulls, and the containers of nerdctl, by pullgate's policy.
//!
//! Nothing in containerd's config.toml names a name server: it resolves as every program of its machine, and so do `ctr`
//! and `nerdctl`, which pull in their own process (without containerd's [transfer service]). So either the whole machine
//! asks pullgate, or containerd.service alone does, for what it pulls itself: the images of CRI (Kubernetes) and of the
//! transfer service. The containers of nerdctl get `dns` of [nerdctl.toml], which nerdctl reads since 2.1.3.
//!
//! [transfer service]: https://github.com/containerd/containerd/blob/main/docs/transfer.md
//! [nerdctl.toml]: https://github.com/containerd/nerdctl/blob/main/docs/config.md

use toml_edit::Array;

use super::ca;
use super::service::{self, Service};
use super::{Plan, Request, SetupFault, resolv_conf};
use crate::inspect::edit::toml;
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "containerd";

/// What is to ask pullgate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The machine and the containers.
    #[default]
    Host,
    /// containerd's own process, and nothing else.
    Engine,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    PROGRAMS.iter().find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// The machine itself has to be set up first, by another target; settings that are not TOML.
pub fn plan(machine: &Machine, request: &Request, scope: Scope) -> Result<Plan, SetupFault> {
    let mut plan = Plan::new(TARGET);
    match scope {
        Scope::Host => plan_host(&mut plan, machine, request)?,
        Scope::Engine => plan_engine(&mut plan, machine, request)?,
    }
    ca::remind(&mut plan, machine, request)?;
    plan.note("pods resolve by what the kubelet gives them: `pullgate setup kubernetes`");
    Ok(plan)
}

fn plan_host(plan: &mut Plan, machine: &Machine, request: &Request) -> Result<(), SetupFault> {
    let is_filtered = resolv_conf::names_only_us(machine, request)?;
    let has_nerdctl = NERDCTL.iter().any(|path| machine.has(path));
    if !is_filtered && !has_nerdctl {
        return Err(SetupFault::new("containerd pulls by this machine's resolv.conf, which does not name pullgate")
            .hint(
                "`pullgate setup` says which of resolv-conf, resolved and networkmanager this machine needs; \
                   --scope engine restricts containerd alone",
            ));
    }
    if has_nerdctl {
        let servers: Array = [request.reachable_address()?.to_string()].into_iter().collect();
        let why = "containers of nerdctl ask pullgate; without this, a server on loopback becomes 8.8.8.8 there";
        plan.edit(machine, NERDCTL_TOML, |text| toml::set(text, &["dns"], servers), why)?;
        plan.note("nerdctl reads `dns` since 2.1.3; before it, give each container --dns");
        plan.note("rootless nerdctl reads ~/.config/nerdctl/nerdctl.toml instead");
    }
    if !is_filtered {
        plan.note(
            "containerd, ctr and nerdctl pull by this machine's resolv.conf, which does not name pullgate: `pullgate \
             setup` says which of resolv-conf, resolved and networkmanager it needs",
        );
    }
    Ok(())
}

fn plan_engine(plan: &mut Plan, machine: &Machine, request: &Request) -> Result<(), SetupFault> {
    let containerd = Service { name: "containerd", restart: "containerd pulls by it; containers go on", mounts: None };
    service::ask_pullgate(plan, machine, request, &containerd)?;
    plan.note(
        "ctr and nerdctl pull in their own process: they, like everything else on this machine, are not restricted",
    );
    plan.note(
        "containerd's mounts are its own from then on: not for nodes whose pods mount for others (mountPropagation: \
         Bidirectional, as CSI drivers do); those take `pullgate setup kubernetes`",
    );
    plan.note("containerd that dockerd, k3s or rke2 start themselves is not that service");
    Ok(())
}

const PROGRAMS: &[&str] = &["/usr/bin/containerd", "/usr/local/bin/containerd"];
const NERDCTL: &[&str] = &["/usr/bin/nerdctl", "/usr/local/bin/nerdctl", NERDCTL_TOML];
const NERDCTL_TOML: &str = "/etc/nerdctl/nerdctl.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, files, request};

    #[test]
    fn a_machine_that_does_not_ask_pullgate_is_told_what_to_set_up_first() {
        let tree = Tree::new(&[("/etc/resolv.conf", "nameserver 192.0.2.1\n"), ("/usr/bin/containerd", "")]);
        let fault = plan(&tree.machine(), &request(), Scope::Host).unwrap_err();
        assert!(fault.hint.unwrap().contains("--scope engine"));
        tree.write("/etc/resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(plan(&tree.machine(), &request(), Scope::Host).unwrap().changes, []);
    }

    #[test]
    fn containers_of_nerdctl_get_a_server_that_they_can_reach() {
        let before = "# ours\nnamespace = \"k8s.io\"\n";
        let tree = Tree::new(&[(NERDCTL_TOML, before), ("/etc/resolv.conf", "nameserver 192.0.2.1\n")]);
        let plan = tree.apply(|machine| plan(machine, &request(), Scope::Host));
        assert_eq!(files(&plan), [(NERDCTL_TOML.to_owned(), format!("{before}dns = [\"172.17.0.1\"]\n"))]);
        assert!(plan.notes.concat().contains("does not name pullgate"));
    }

    #[test]
    fn with_scope_engine_the_machine_is_left_alone() {
        let tree = Tree::new(&[("/etc/resolv.conf", "nameserver 192.0.2.1\n"), (NERDCTL_TOML, "")]);
        let plan = tree.apply(|machine| plan(machine, &request(), Scope::Engine));
        let paths: Vec<String> = files(&plan).into_iter().map(|(path, _)| path).collect();
        assert!(paths.contains(&service::drop_in("containerd")), "{paths:?}");
        assert!(!paths.iter().any(|path| path == NERDCTL_TOML || path == "/etc/resolv.conf"), "{paths:?}");
    }
}
