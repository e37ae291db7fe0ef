//! `setup buildkit`: the RUN steps of BuildKit's own daemons and of buildx's builders ask pullgate.
//!
//! A step's resolv.conf is the daemon's with loopback servers left out; where none is left, BuildKit writes 8.8.8.8 and
//! 8.8.4.4 ([resolvconf.go]), so the servers are named in `[dns]` of [buildkitd.toml]. What the daemon itself pulls it
//! resolves where it stands: one on the host by the host's resolv.conf, a builder container by what its engine gives it.
//! buildx copies the settings into a builder when it creates it ([buildx create], since 0.9 also from
//! buildkitd.default.toml), so those there are have to be created anew.
//!
//! Such a builder has a bundle of its own as well. What was added to this machine's ([`super::ca`]) is named as `ca` of the
//! registries that it is for: buildx copies the files into the builder.
//!
//! [resolvconf.go]: https://github.com/moby/buildkit/issues/2404
//! [buildkitd.toml]: https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md
//! [buildx create]: https://docs.docker.com/reference/cli/docker/buildx/create/#buildkitd-config

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::Deserialize;
use toml_edit::Array;

use super::{Command, Plan, Request, SetupFault, ca};
use crate::gateway::authority::{CaCertificate, parse_pem};
use crate::inspect::edit::{EditFault, toml};
use crate::inspect::machine::Machine;
use crate::inspect::trust::{self, Anchor};

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
        let settings = buildx(&options.home).join("buildkitd.default.toml");
        let needs = Needs { address, added: ca::added(machine)? };
        let why = "builders ask pullgate in RUN steps, and trust the authority that was added here";
        plan.edit(
            machine,
            &settings,
            |text| needs.write(text),
            if needs.added.is_empty() { WHY_SERVERS } else { why },
        )?;
        renew_builders(&mut plan, machine, &options.home, &needs)?;
        ca::remind(&mut plan, machine, request)?;
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
    plan.edit(machine, path, |text| toml::set(text, SETTING, servers), WHY_SERVERS)
}

/// What a builder of buildx has to be created with.
struct Needs {
    /// Whom its steps ask.
    address: String,
    /// The certificates that it has to trust.
    added: Vec<Anchor>,
}

impl Needs {
    /// Its settings, with all else kept.
    fn write(&self, text: &str) -> Result<String, EditFault> {
        let servers: Array = [self.address.as_str()].into_iter().collect();
        let mut text = toml::set(text, SETTING, servers)?;
        for registry in self.registries() {
            let setting = ["registry", &registry, "ca"];
            let listed = toml::read(&text, &setting)?;
            let listed = listed.iter().filter_map(|value| value.as_array()).flatten().filter_map(|path| path.as_str());
            let foreign = listed.filter(|path| !trust::is_ours(path.as_ref())).map(str::to_owned);
            let ours = self.added.iter().map(|anchor| anchor.path.display().to_string());
            let files: Array = foreign.chain(ours).collect();
            text = toml::set(&text, &setting, files)?;
        }
        Ok(text)
    }

    /// The registries that the certificates are for, by the names that people type.
    fn registries(&self) -> BTreeSet<String> {
        let permitted = self.added.iter().flat_map(|anchor| anchor.certificate.permitted().unwrap_or_default());
        let typed = |name: String| if name == HUB_HOST { HUB.to_owned() } else { name };
        permitted.map(|subtree| typed(subtree.base().to_string())).collect()
    }
}

/// A builder as buildx keeps it, with its machines.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Builder {
    name: String,
    driver: String,
    #[serde(default)]
    nodes: Vec<BuilderNode>,
}

/// One machine of a builder.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BuilderNode {
    #[serde(default)]
    endpoint: String,
    driver_opts: Option<BTreeMap<String, String>>,
    flags: Option<Vec<String>>,
    /// What was copied into it, in base64.
    files: Option<BTreeMap<String, String>>,
}

/// Creates those builders of containers anew that were created without the setting; their cache is kept.
fn renew_builders(plan: &mut Plan, machine: &Machine, home: &Path, needs: &Needs) -> Result<(), SetupFault> {
    let folder = buildx(home).join("instances");
    for path in machine.list(&folder).map_err(|error| SetupFault::reading(&folder, &error))? {
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        let Ok(builder) = serde_json::from_str::<Builder>(&text) else {
            plan.note(format!("{} is no builder that can be read: create it anew by hand", path.display()));
            continue;
        };
        if builder.driver == "docker-container" && !builder.nodes.iter().all(|node| node.has(needs)) {
            builder.renew(plan);
        }
    }
    Ok(())
}

impl Builder {
    fn renew(&self, plan: &mut Plan) {
        let name = &self.name;
        plan.note(format!(
            "the builder {name} was created before this, and has no such setting until it is created anew"
        ));
        let [node] = self.nodes.as_slice() else {
            plan.note(format!("{name} has several machines: create it anew by hand, machine by machine"));
            return;
        };
        let remove = ["docker", "buildx", "rm", "--keep-state", name].map(str::to_owned).to_vec();
        plan.commands.push(Command { line: remove, why: "its settings are those of its creation".to_owned() });
        let create = ["docker", "buildx", "create", "--name", name, "--driver", "docker-container", "--bootstrap"];
        let mut line: Vec<String> = create.map(str::to_owned).to_vec();
        line.extend(node.options());
        plan.commands.push(Command { line, why: "with the new settings, and its cache".to_owned() });
    }
}

impl BuilderNode {
    /// Whether it was created with what it needs.
    fn has(&self, needs: &Needs) -> bool {
        let held: Vec<CaCertificate> = self.contents().filter_map(|text| parse_pem(&text).ok()).flatten().collect();
        self.asks(&needs.address) && needs.added.iter().all(|anchor| held.contains(&anchor.certificate))
    }

    /// What was copied into it.
    fn contents(&self) -> impl Iterator<Item = Vec<u8>> {
        let files = self.files.iter().flat_map(BTreeMap::values);
        files.filter_map(|file| BASE64.decode(file.as_bytes()).ok())
    }

    /// Whether its steps ask this server alone.
    fn asks(&self, address: &str) -> bool {
        let file = self.files.as_ref().and_then(|files| files.get("buildkitd.toml"));
        let bytes = file.and_then(|file| BASE64.decode(file.as_bytes()).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let servers = toml::read(&text, SETTING).ok().flatten();
        let listed = servers.as_ref().and_then(|servers| servers.as_array());
        listed.is_some_and(|listed| listed.len() == 1 && listed.iter().all(|server| server.as_str() == Some(address)))
    }

    /// What it was created with.
    fn options(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (key, value) in self.driver_opts.iter().flatten() {
            words.extend(["--driver-opt".to_owned(), format!("{key}={value}")]);
        }
        if let Some(flags) = self.flags.as_ref().filter(|flags| !flags.is_empty()) {
            words.extend(["--buildkitd-flags".to_owned(), flags.join(" ")]);
        }
        words.extend(Some(self.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()));
        words
    }
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
const SETTING: &[&str] = &["dns", "nameservers"];
const WHY_SERVERS: &str = "RUN steps ask pullgate; without this, a server on loopback becomes 8.8.8.8 there";
/// Docker Hub by the name of its API, and as BuildKit's settings call it.
const HUB_HOST: &str = "registry-1.docker.io";
const HUB: &str = "docker.io";
const SYSTEM: &str = "/etc/buildkit/buildkitd.toml";

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::gateway::authority::{Creation, constraints, create};
    use crate::inspect::setup::testing::{Tree, commands, files, request};
    use crate::policy::pattern::Pattern;

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

    fn builder(name: &str, driver: &str, settings: &str) -> String {
        let files = BASE64.encode(settings.as_bytes());
        format!(
            r#"{{"Name":"{name}","Driver":"{driver}","Nodes":[{{"Name":"{name}0","Endpoint":"unix:///run/docker.sock","Platforms":null,"DriverOpts":{{"network":"host"}},"Flags":["--debug"],"Files":{{"buildkitd.toml":"{files}"}}}}],"Dynamic":false}}"#
        )
    }

    #[test]
    fn builders_created_without_the_setting_are_created_anew_as_they_were_and_others_are_not() {
        let ours = "[dns]\nnameservers = [\"172.17.0.1\"]\n";
        let tree = Tree::new(&[
            ("/home/me/.docker/buildx/instances/far", &builder("far", "remote", "")),
            ("/home/me/.docker/buildx/instances/mine", &builder("mine", "docker-container", "debug = true\n")),
            ("/home/me/.docker/buildx/instances/new", &builder("new", "docker-container", ours)),
        ]);
        let plan = tree.apply(|machine| plan(machine, &request(), &options()));
        assert_eq!(files(&plan), [("/home/me/.docker/buildx/buildkitd.default.toml".to_owned(), ours.to_owned())]);
        assert_eq!(
            commands(&plan),
            [
                "docker buildx rm --keep-state mine",
                "docker buildx create --name mine --driver docker-container --bootstrap --driver-opt network=host \
                 --buildkitd-flags --debug unix:///run/docker.sock"
            ]
        );
        assert!(plan.notes.concat().contains("the builder mine was created before this"));
    }

    #[test]
    fn builders_trust_what_was_added_to_this_machine_for_the_registries_that_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let patterns = ["registry-1.docker.io", "ghcr.io"].map(|name| Pattern::parse(name).unwrap());
        let (constraints, _) = constraints(&patterns);
        let creation = Creation {
            constraints: &constraints,
            not_before: SystemTime::now(),
            lifetime: Duration::from_secs(1000),
            owner: None,
        };
        let pem = create(folder.path(), &creation).unwrap().certificate.to_pem();
        let installed = "/usr/local/share/ca-certificates/pullgate-1.crt";
        let before = "[registry.\"ghcr.io\"]\nca = [\"/etc/own.pem\", \"/old/pullgate-0.crt\"]\n";
        let default = "/home/me/.docker/buildx/buildkitd.default.toml";
        let tree = Tree::new(&[
            ("/usr/sbin/update-ca-certificates", ""),
            (installed, &pem),
            (default, before),
            (
                "/home/me/.docker/buildx/instances/mine",
                &builder("mine", "docker-container", "[dns]\nnameservers = [\"172.17.0.1\"]\n"),
            ),
        ]);
        let plan = tree.apply(|machine| plan(machine, &request(), &options()));
        let written = &files(&plan)[0].1;
        let ca = |registry: &str| toml::read(written, &["registry", registry, "ca"]).unwrap().unwrap().to_string();
        assert_eq!(ca("docker.io"), format!("[\"{installed}\"]"));
        assert_eq!(ca("ghcr.io"), format!("[\"/etc/own.pem\", \"{installed}\"]"));
        assert!(commands(&plan)[0].ends_with("rm --keep-state mine"), "{:?}", plan.commands);
    }

    #[test]
    fn a_machine_without_buildkit_is_told_what_is_meant_instead() {
        let fault = plan(&Tree::new(&[]).machine(), &request(), &options()).unwrap_err();
        assert!(fault.hint.unwrap().contains("pullgate setup docker"));
    }

    #[test]
    fn an_address_of_loopback_is_refused() {
        let tree = Tree::new(&[("/usr/bin/buildkitd", "")]);
        let loopback = Request { addresses: vec!["127.0.0.1".parse().unwrap()], listen: Vec::new(), authority: None };
        assert!(plan(&tree.machine(), &loopback, &options()).is_err());
    }
}
