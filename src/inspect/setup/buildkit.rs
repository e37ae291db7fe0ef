//! `setup buildkit`: the RUN steps of BuildKit's own daemons and of buildx's builders ask pullgate.
//!
//! A step's resolv.conf is the daemon's with loopback servers left out; where none is left, BuildKit writes 8.8.8.8 and
//! 8.8.4.4 ([resolvconf.go]), so the servers are named in `[dns]` of [buildkitd.toml]. What the daemon itself pulls it
//! resolves where it stands: one on the host by the host's resolv.conf, a builder container by what its engine gives it.
//! buildx copies the settings into a builder when it creates it ([buildx create], since 0.9 also from
//! buildkitd.default.toml), so those there are have to be created anew.
//!
//! [resolvconf.go]: https://github.com/moby/buildkit/issues/2404
//! [buildkitd.toml]: https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md
//! [buildx create]: https://docs.docker.com/reference/cli/docker/buildx/create/#buildkitd-config

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml_edit::Array;

use super::{Plan, Request, SetupFault};
use crate::inspect::edit::toml;
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "buildkit";

/// Whose builders.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home folder of the user who builds.
    pub home: PathBuf,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    DAEMONS.iter().chain(BUILDX).find(|path| machine.has(path)).map(|path| (*path).to_owned())
}

/// Plans it.
///
/// # Errors
/// pullgate has no address that a container could reach; settings that are not TOML; nothing to set up.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let address = request.reachable_address()?.to_string();
    let mut plan = Plan::new(TARGET);
    let rootless = options.home.join(".config/buildkit/buildkitd.toml");
    let has_daemon = DAEMONS.iter().any(|path| machine.has(path));
    let has_buildx = BUILDX.iter().any(|path| machine.has(path)) || machine.has(buildx(&options.home));
    if !has_daemon && !has_buildx && !machine.has(&rootless) {
        return Err(SetupFault::new("neither buildkitd nor buildx is here")
            .hint("the BuildKit inside dockerd is set up with `pullgate setup docker`"));
    }
    if has_daemon {
        set_servers(&mut plan, machine, Path::new(SYSTEM), &address)?;
        plan.command("systemctl restart buildkit.service", "reads the settings; builds that run are aborted");
    }
    if machine.has(&rootless) {
        set_servers(&mut plan, machine, &rootless, &address)?;
        plan.command("systemctl --user restart buildkit.service", "the same for the user's own daemon");
    }
    if has_buildx {
        set_servers(&mut plan, machine, &buildx(&options.home).join("buildkitd.default.toml"), &address)?;
        renew_builders(&mut plan, machine, &options.home)?;
        plan.note(
            "a builder of buildx is a container of the engine: what it pulls itself it resolves by the engine's `dns` \
             (`pullgate setup docker`), also after this",
        );
        plan.note("builders created with --buildkitd-config of their own keep it: set `[dns]` in that file");
        plan.note("builders elsewhere (drivers kubernetes and remote) are set up where they run");
    }
    plan.note("`--network host` steps and `RUN --network=host` use the resolv.conf of where the daemon stands");
    Ok(plan)
}

fn set_servers(plan: &mut Plan, machine: &Machine, path: &Path, address: &str) -> Result<(), SetupFault> {
    let servers: Array = [address].into_iter().collect();
    let why = "RUN steps ask pullgate; without this, a server on loopback becomes 8.8.8.8 there";
    plan.edit(machine, path, |text| toml::set(text, &["dns", "nameservers"], servers), why)
}

/// A builder as buildx keeps it.
#[derive(Deserialize)]
struct Builder {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Driver")]
    driver: String,
}

/// Creates the builders of containers anew, their cache kept.
fn renew_builders(plan: &mut Plan, machine: &Machine, home: &Path) -> Result<(), SetupFault> {
    let folder = buildx(home).join("instances");
    for path in machine.list(&folder).map_err(|error| SetupFault::reading(&folder, &error))? {
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        let Ok(builder) = serde_json::from_str::<Builder>(&text) else {
            plan.note(format!("{} is no builder that can be read: create it anew by hand", path.display()));
            continue;
        };
        if builder.driver == "docker-container" {
            let name = builder.name;
            plan.command(&format!("docker buildx rm --keep-state {name}"), "its settings are those of its creation");
            plan.command(
                &format!("docker buildx create --name {name} --driver docker-container --bootstrap"),
                "with the new settings; add the --driver-opt and --platform it had",
            );
        }
    }
    Ok(())
}

fn buildx(home: &Path) -> PathBuf {
    home.join(".docker/buildx")
}

const DAEMONS: &[&str] = &["/usr/bin/buildkitd", "/usr/local/bin/buildkitd", SYSTEM];
const BUILDX: &[&str] = &[
    "/usr/libexec/docker/cli-plugins/docker-buildx",
    "/usr/lib/docker/cli-plugins/docker-buildx",
    "/usr/local/lib/docker/cli-plugins/docker-buildx",
];
const SYSTEM: &str = "/etc/buildkit/buildkitd.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    fn options() -> Options {
        Options { home: "/home/me".into() }
    }

    #[test]
    fn a_daemon_on_the_host_gets_a_server_that_its_steps_can_reach() {
        let before =
            "# ours\n[worker.oci]\n  gc = true\n[dns]\n  nameservers = [\"127.0.0.1\"]\n  options = [\"edns0\"]\n";
        let tree = Tree::new(&[(SYSTEM, before), ("/usr/bin/buildkitd", "")]);
        let plan = tree.apply(|machine| plan(machine, &request(), &options()));
        assert_eq!(files(&plan), [(SYSTEM.to_owned(), before.replace("127.0.0.1", "172.17.0.1"))]);
        assert_eq!(commands(&plan), ["systemctl restart buildkit.service"]);
    }

    #[test]
    fn builders_of_containers_are_created_anew_and_others_are_not() {
        let tree = Tree::new(&[
            ("/home/me/.docker/buildx/instances/mine", r#"{"Name":"mine","Driver":"docker-container","Nodes":[]}"#),
            ("/home/me/.docker/buildx/instances/far", r#"{"Name":"far","Driver":"remote","Nodes":[]}"#),
        ]);
        let plan = tree.apply(|machine| plan(machine, &request(), &options()));
        assert_eq!(
            files(&plan),
            [(
                "/home/me/.docker/buildx/buildkitd.default.toml".to_owned(),
                "[dns]\nnameservers = [\"172.17.0.1\"]\n".to_owned()
            )]
        );
        assert_eq!(
            commands(&plan),
            [
                "docker buildx rm --keep-state mine",
                "docker buildx create --name mine --driver docker-container --bootstrap"
            ]
        );
    }

    #[test]
    fn a_machine_without_buildkit_is_told_what_is_meant_instead() {
        let fault = plan(&Tree::new(&[]).machine(), &request(), &options()).unwrap_err();
        assert!(fault.hint.unwrap().contains("pullgate setup docker"));
    }

    #[test]
    fn an_address_of_loopback_is_refused() {
        let tree = Tree::new(&[("/usr/bin/buildkitd", "")]);
        let loopback = Request { addresses: vec!["127.0.0.1".parse().unwrap()], listen: Vec::new() };
        assert!(plan(&tree.machine(), &loopback, &options()).is_err());
    }
}
