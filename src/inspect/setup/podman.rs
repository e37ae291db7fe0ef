//! `setup podman`: the containers of podman and the RUN steps of buildah ask pullgate.
//!
//! There is no daemon: podman, buildah and skopeo pull as the user who called them, by that machine's resolv.conf. Only
//! containers are set up here, with `dns_servers` of [containers.conf(5)] in a drop-in of our own.
//! On podman's default network the setting is the container's resolv.conf. On networks with names (netavark) the container
//! asks aardvark-dns, which podman tells the same servers ([since 4.4.3]; before, the container asks them itself).
//!
//! [containers.conf(5)]: https://github.com/containers/common/blob/main/docs/containers.conf.5.md
//! [since 4.4.3]: https://github.com/containers/podman/issues/17499

use std::path::{Path, PathBuf};

use toml_edit::Array;

use super::ca;
use super::owner::RESOLV_CONF;
use super::{Plan, Request, SetupFault, resolv_conf};
use crate::inspect::edit::toml;
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "podman";

/// Whose containers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The home folder of the one user whose containers ask pullgate; all users' without it.
    pub home: Option<PathBuf>,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    PROGRAMS.iter().find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// pullgate has no address that a container could reach; settings that are not TOML.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let address = request.reachable_address()?;
    let mut plan = Plan::new(TARGET);
    let folder = options.home.as_deref().map_or_else(|| PathBuf::from("/etc"), |home| home.join(".config"));
    let own = folder.join("containers/containers.conf.d").join(DROP_IN);
    let servers: Array = [address.to_string()].into_iter().collect();
    plan.edit(
        machine,
        own.clone(),
        |text| toml::set(text, SETTING, servers),
        "containers ask pullgate, and no other server",
    )?;
    refuse_later_settings(machine, &own, options)?;
    ca::remind(&mut plan, machine, request)?;
    notes(&mut plan, machine, request)?;
    Ok(plan)
}

/// The last file that sets the servers counts.
fn refuse_later_settings(machine: &Machine, own: &Path, options: &Options) -> Result<(), SetupFault> {
    let own_folder = own.parent().unwrap_or(own);
    let mut later = machine.list(own_folder).map_err(|error| SetupFault::reading(own_folder, &error))?;
    later.retain(|path| path > &own.to_owned() && path.extension().is_some_and(|extension| extension == "conf"));
    if options.home.is_none() {
        later.extend(ROOTLESS.iter().map(PathBuf::from));
    }
    for path in later {
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        let set = toml::read(&text, SETTING).map_err(|fault| SetupFault::editing(&path, &fault))?;
        if set.is_some() {
            return Err(SetupFault::new(format!("{} sets dns_servers, and is read after ours", path.display()))
                .hint("remove that line, and run this again"));
        }
    }
    Ok(())
}

fn notes(plan: &mut Plan, machine: &Machine, request: &Request) -> Result<(), SetupFault> {
    if !resolv_conf::names_only_us(machine, request)? {
        plan.note(format!(
            "podman, buildah and skopeo pull by {RESOLV_CONF} of this machine, which does not name pullgate: `pullgate \
             setup` says which of resolv-conf, resolved and networkmanager it needs"
        ));
    }
    plan.note("containers that run keep what they have until they are created anew");
    plan.note(
        "on networks with names it is podman's aardvark-dns that asks: pullgate sees this machine as the client of all \
         containers there",
    );
    plan.note("before podman 4.4.3, containers on networks with names no longer find each other by those after this");
    plan.note(
        "a user's own containers.conf, CONTAINERS_CONF, `--dns` and `podman network update --dns-add` go before this",
    );
    plan.note(
        "a rootless container reaches the address through pasta, as this machine's own when that is its address on the \
         way out: name one that containers do not share, such as that of a bridge",
    );
    plan.note("podman machine: run this inside it (`podman machine ssh`), with an address that it reaches");
    Ok(())
}

const PROGRAMS: &[&str] = &["/usr/bin/podman", "/usr/local/bin/podman", "/usr/bin/buildah", "/usr/local/bin/buildah"];
/// Behind a distribution's own, before what an administrator puts last.
const DROP_IN: &str = "50-pullgate.conf";
const SETTING: &[&str] = &["containers", "dns_servers"];
/// Read for users other than root, after the files of all users.
const ROOTLESS: &[&str] = &["/etc/containers/containers.rootless.conf"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, files, request};

    #[test]
    fn containers_get_one_server_that_they_can_reach() {
        let tree = Tree::new(&[
            ("/usr/bin/podman", ""),
            ("/etc/containers/containers.conf", "[containers]\ntz = \"local\"\n"),
        ]);
        let plan = tree.apply(|machine| plan(machine, &request(), &Options::default()));
        assert_eq!(
            files(&plan),
            [(
                "/etc/containers/containers.conf.d/50-pullgate.conf".to_owned(),
                "[containers]\ndns_servers = [\"172.17.0.1\"]\n".to_owned()
            )]
        );
        assert_eq!(found(&tree.machine()).as_deref(), Some("/usr/bin/podman"));
    }

    #[test]
    fn what_a_user_keeps_in_our_file_stays() {
        let path = "/home/me/.config/containers/containers.conf.d/50-pullgate.conf";
        let tree = Tree::new(&[(path, "# mine\n[containers]\ndns_servers = [\"8.8.8.8\"] # Google\ntz = \"local\"\n")]);
        let options = Options { home: Some("/home/me".into()) };
        tree.apply(|machine| plan(machine, &request(), &options));
        let expected = "# mine\n[containers]\ndns_servers = [\"172.17.0.1\"] # Google\ntz = \"local\"\n";
        assert_eq!(tree.text(path).as_deref(), Some(expected));
    }

    #[test]
    fn a_file_that_is_read_after_ours_is_named() {
        let later = "/etc/containers/containers.conf.d/90-dns.conf";
        let tree = Tree::new(&[(later, "[containers]\ndns_servers = [\"8.8.8.8\"]\n")]);
        let fault = plan(&tree.machine(), &request(), &Options::default()).unwrap_err();
        assert!(fault.message.starts_with(later), "{fault}");
        let tree = Tree::new(&[(later, "[containers]\ntz = \"local\"\n")]);
        assert!(plan(&tree.machine(), &request(), &Options::default()).is_ok());
    }

    #[test]
    fn settings_that_are_not_toml_are_a_fault_with_their_place() {
        let tree = Tree::new(&[("/etc/containers/containers.conf.d/50-pullgate.conf", "[containers\n")]);
        let fault = plan(&tree.machine(), &request(), &Options::default()).unwrap_err();
        assert!(fault.message.contains("50-pullgate.conf: line 1, column "), "{fault}");
    }

    #[test]
    fn the_note_on_pulls_goes_when_the_machine_itself_asks_pullgate() {
        let notes = |resolv_conf: &str| {
            let tree = Tree::new(&[("/etc/resolv.conf", resolv_conf)]);
            plan(&tree.machine(), &request(), &Options::default()).unwrap().notes.concat()
        };
        assert!(notes("nameserver 192.0.2.1\n").contains("does not name pullgate"));
        assert!(notes("nameserver 127.0.0.1\nnameserver 192.0.2.1\n").contains("does not name pullgate"));
        assert!(!notes("nameserver 127.0.0.1\n").contains("does not name pullgate"));
    }
}
