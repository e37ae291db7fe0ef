//! `setup rancher-desktop`: the virtual machine of Rancher Desktop asks pullgate, on macOS and Linux.
//!
//! The machine is one of Lima's, in a folder of Rancher Desktop's own; Rancher Desktop writes its lima.yaml anew at each
//! start, but leaves [_config/override.yaml] to the user, which Lima reads after it. The maintainers name it for servers of
//! one's own ([#2032]); a user reports that 1.22 with vz kept its own resolver all the same ([#9967]).
//!
//! [_config/override.yaml]: https://docs.rancherdesktop.io/how-to-guides/provisioning-scripts
//! [#2032]: https://github.com/rancher-sandbox/rancher-desktop/issues/2032
//! [#9967]: https://github.com/rancher-sandbox/rancher-desktop/issues/9967

use std::path::PathBuf;

use super::{Plan, Request, SetupFault, lima};
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "rancher-desktop";

/// Whose machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home folder of the user whose it is.
    pub home: PathBuf,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    PROGRAMS.iter().find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// Rancher Desktop has not been started yet; pullgate has no address that the guest could reach; settings that are not
/// YAML.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let address = request.reachable_address()?.to_string();
    let folders = FOLDERS.iter().map(|folder| options.home.join(folder));
    let folder = folders.into_iter().find(|folder| machine.has(folder)).ok_or_else(|| {
        SetupFault::new(format!("Rancher Desktop keeps no virtual machine in {}", options.home.display())).hint(
            "start it once, or name its user's home folder with --home; on Windows it is a WSL distribution with a \
                   resolver of its own, which `pullgate setup redirect` on a gateway gets round",
        )
    })?;
    let mut plan = Plan::new(TARGET);
    plan.edit(
        machine,
        folder.join("_config/override.yaml"),
        |text| lima::ask_only(text, &address),
        "the guest asks pullgate; Lima's own resolver, which would answer it before, is off",
    )?;
    plan.command("rdctl shutdown", "stops the containers: the guest reads its servers when it starts");
    plan.command("rdctl start", "with the new one");
    lima::guest_notes(&mut plan);
    plan.note(
        "afterwards `rdctl shell cat /etc/resolv.conf` has to show that address and no other; versions that keep their own \
         (rancher-desktop#9967) need `pullgate setup redirect` on a gateway",
    );
    plan.note("a factory reset of Rancher Desktop removes the file");
    Ok(plan)
}

const PROGRAMS: &[&str] = &["/opt/rancher-desktop", "/Applications/Rancher Desktop.app"];
/// Of macOS and of Linux.
const FOLDERS: &[&str] = &["Library/Application Support/rancher-desktop/lima", ".local/share/rancher-desktop/lima"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    #[test]
    fn the_users_override_gets_one_server_and_keeps_the_rest() {
        for folder in FOLDERS {
            let path = format!("/home/me/{folder}/_config/override.yaml");
            let before = "# ours\nprovision:\n- mode: system\n  script: |\n    #!/bin/sh\n    true\n";
            let tree = Tree::new(&[(&path, before)]);
            let options = Options { home: "/home/me".into() };
            let plan = tree.apply(|machine| plan(machine, &request(), &options));
            let after = format!("{before}hostResolver:\n  enabled: false\ndns: [172.17.0.1]\n");
            assert_eq!(files(&plan), [(path, after)]);
            assert_eq!(commands(&plan), ["rdctl shutdown", "rdctl start"]);
        }
    }

    #[test]
    fn a_user_without_it_is_told_so() {
        let fault = plan(&Tree::new(&[]).machine(), &request(), &Options { home: "/home/me".into() }).unwrap_err();
        assert!(fault.message.contains("/home/me"));
    }
}
