//! `setup colima`: Colima's virtual machines ask pullgate.
//!
//! A profile's `network.dns` ([colima.yaml]) becomes Lima's `dns`, and turns Lima's own resolver off; in newer images a
//! dnsmasq in the guest forwards to it. Every profile has a file of its own, in a folder that is found as the [FAQ] says.
//!
//! [colima.yaml]: https://github.com/abiosoft/colima/blob/main/embedded/defaults/colima.yaml
//! [FAQ]: https://github.com/abiosoft/colima/blob/main/docs/FAQ.md#specifying-the-config-location

use std::path::PathBuf;

use super::{Plan, Request, SetupFault, lima};
use crate::inspect::edit::yaml::{self, Value};
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "colima";

/// Whose guests.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home folder of the user whose they are.
    pub home: PathBuf,
    /// The profile.
    pub profile: String,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    PROGRAMS.iter().find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// There is no such profile; pullgate has no address that a guest could reach; settings that are not YAML.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let address = request.reachable_address()?.to_string();
    let profile = &options.profile;
    let folders = [".colima", ".config/colima"].map(|folder| options.home.join(folder));
    let folder = folders.iter().find(|folder| machine.has(folder)).unwrap_or(&folders[0]);
    let path = folder.join(profile).join("colima.yaml");
    if !machine.has(&path) {
        return Err(SetupFault::new(format!("there is no {}", path.display()))
            .hint(format!("`colima start {profile} --dns {address}` makes one; --profile and --home name another")));
    }
    let mut plan = Plan::new(TARGET);
    let servers = Value::List(vec![address]);
    plan.edit(
        machine,
        path,
        |text| yaml::set(text, &["network", "dns"], &servers),
        "the guest asks pullgate; Lima's own resolver, which would answer it before, is off",
    )?;
    plan.command_on("colima stop", profile, "the guest reads its servers when it starts");
    plan.command_on("colima start", profile, "with the new one");
    lima::guest_notes(&mut plan);
    plan.note(format!(
        "afterwards `colima ssh -p {profile} -- cat /etc/resolv.conf` has to show one server: that \
                       address, or one of the guest's own where its dnsmasq forwards"
    ));
    Ok(plan)
}

const PROGRAMS: &[&str] = &["/usr/bin/colima", "/usr/local/bin/colima", "/opt/homebrew/bin/colima"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    fn options(profile: &str) -> Options {
        Options { home: "/home/me".into(), profile: profile.to_owned() }
    }

    #[test]
    fn a_profile_gets_one_server_and_keeps_its_comments() {
        for path in ["/home/me/.colima/default/colima.yaml", "/home/me/.config/colima/default/colima.yaml"] {
            let before = "cpu: 2\nnetwork:\n  # Custom DNS\n  #\n  # EXAMPLE\n  # dns: [8.8.8.8]\n  dns: []\n\n  dnsHosts: {}\n# next\nenv: {}\n";
            let tree = Tree::new(&[(path, before)]);
            let plan = tree.apply(|machine| plan(machine, &request(), &options("default")));
            assert_eq!(files(&plan), [(path.to_owned(), before.replace("dns: []", "dns: [172.17.0.1]"))]);
            assert_eq!(commands(&plan), ["colima stop default", "colima start default"]);
        }
    }

    #[test]
    fn a_profile_that_is_not_there_is_a_fault_that_says_how_to_make_it() {
        let tree = Tree::new(&[("/home/me/.colima/default/colima.yaml", "")]);
        let fault = plan(&tree.machine(), &request(), &options("work")).unwrap_err();
        assert!(fault.hint.unwrap().contains("colima start work --dns 172.17.0.1"));
    }
}
