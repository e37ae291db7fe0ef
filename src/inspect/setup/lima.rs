//! `setup lima`: Lima's virtual machines ask pullgate.
//!
//! By default Lima's host agent answers its guests with the host's own resolver, and hands what it does not know to
//! 8.8.8.8 ([user-mode network]). `hostResolver.enabled: false` ends that; only then may `dns` name servers ([lima.yaml],
//! in whose `dns` the list of the file that goes first counts alone).
//! One instance is set in its own lima.yaml, all of them in _config/override.yaml, which goes before every lima.yaml.
//!
//! [user-mode network]: https://lima-vm.io/docs/config/network/user/
//! [lima.yaml]: https://github.com/lima-vm/lima/blob/master/templates/default.yaml

use std::path::{Path, PathBuf};

use super::{Plan, Request, SetupFault};
use crate::inspect::edit::EditFault;
use crate::inspect::edit::yaml::{self, Value};
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "lima";

/// Whose guests.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home folder of the user whose they are.
    pub home: PathBuf,
    /// One instance; all of them without it.
    pub instance: Option<String>,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    PROGRAMS.iter().find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// There is no such instance; pullgate has no address that a guest could reach; settings that are not YAML.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let address = request.reachable_address()?.to_string();
    let folder = options.home.join(".lima");
    let instances = instances(machine, &folder)?;
    let mut plan = Plan::new(TARGET);
    let (path, named) = match &options.instance {
        Some(name) if !instances.contains(name) => {
            return Err(SetupFault::new(format!("there is no instance {name} in {}", folder.display()))
                .hint(format!("there is: {}", instances.join(", "))));
        }
        Some(name) => (folder.join(name).join("lima.yaml"), std::slice::from_ref(name)),
        None if !machine.has(&folder) => {
            return Err(SetupFault::new(format!("there is no {}", folder.display()))
                .hint("name the home folder of Lima's user with --home"));
        }
        None => (folder.join("_config/override.yaml"), instances.as_slice()),
    };
    let why = "guests ask pullgate; Lima's own resolver, which would answer them before, is off";
    plan.edit(machine, path, |text| ask_only(text, &address), why)?;
    for name in named.iter().filter(|name| machine.has(folder.join(name).join("ha.pid"))) {
        plan.command_on("limactl stop", name, "the guest reads its servers when it starts");
        plan.command_on("limactl start", name, "with the new one");
    }
    guest_notes(&mut plan);
    plan.note("afterwards `limactl shell NAME cat /etc/resolv.conf` has to show that address and no other");
    Ok(plan)
}

/// Lima's settings with one server for guests.
pub(super) fn ask_only(text: &str, address: &str) -> Result<String, EditFault> {
    let off = yaml::set(text, &["hostResolver", "enabled"], &Value::Flag(false))?;
    yaml::set(&off, &["dns"], &Value::List(vec![address.to_owned()]))
}

/// What holds for the guests of everything that stands on Lima.
pub(super) fn guest_notes(plan: &mut Plan) {
    plan.note(
        "the address must be one that the guest reaches: its own loopback is not this machine's, and 192.168.5.2, which \
         leads there, answers on port 53 itself under vz",
    );
    plan.note("with user-mode networking pullgate sees this machine as the client of all guests, whichever asks");
    plan.note("pullgate's own tests cannot run this target's program: run `pullgate doctor` in the guest");
}

/// The names of the instances there are.
fn instances(machine: &Machine, folder: &Path) -> Result<Vec<String>, SetupFault> {
    let entries = machine.list(folder).map_err(|error| SetupFault::reading(folder, &error))?;
    let is_instance = |path: &PathBuf| machine.has(path.join("lima.yaml"));
    let names = entries.into_iter().filter(is_instance);
    Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

const PROGRAMS: &[&str] = &["/usr/bin/limactl", "/usr/local/bin/limactl", "/opt/homebrew/bin/limactl"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    const OURS: &str = "hostResolver:\n  enabled: false\ndns: [172.17.0.1]\n";

    fn options(instance: Option<&str>) -> Options {
        Options { home: "/home/me".into(), instance: instance.map(str::to_owned) }
    }

    fn two_guests() -> Tree {
        let own =
            "# mine\nimages:\n- location: x.img\nhostResolver:\n  enabled: null # default\n  hosts:\n    a: 1.2.3.4\n";
        Tree::new(&[
            ("/home/me/.lima/default/lima.yaml", own),
            ("/home/me/.lima/default/ha.pid", "1"),
            ("/home/me/.lima/other/lima.yaml", "images: []\n"),
            ("/home/me/.lima/_config/networks.yaml", ""),
        ])
    }

    #[test]
    fn all_guests_are_set_in_one_file_and_those_that_run_are_started_anew() {
        let tree = two_guests();
        let plan = tree.apply(|machine| plan(machine, &request(), &options(None)));
        assert_eq!(files(&plan), [("/home/me/.lima/_config/override.yaml".to_owned(), OURS.to_owned())]);
        assert_eq!(commands(&plan), ["limactl stop default", "limactl start default"]);
    }

    #[test]
    fn one_guest_is_set_in_its_own_file_which_keeps_the_rest() {
        let tree = two_guests();
        let plan = tree.apply(|machine| plan(machine, &request(), &options(Some("default"))));
        let expected = "# mine\nimages:\n- location: x.img\nhostResolver:\n  enabled: false # default\n  hosts:\n    a: 1.2.3.4\ndns: [172.17.0.1]\n";
        assert_eq!(files(&plan), [("/home/me/.lima/default/lima.yaml".to_owned(), expected.to_owned())]);
    }

    #[test]
    fn an_instance_or_a_user_that_is_not_there_is_a_fault() {
        let fault = plan(&two_guests().machine(), &request(), &options(Some("third"))).unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("there is: default, other"));
        assert!(plan(&Tree::new(&[]).machine(), &request(), &options(None)).is_err());
    }
}
