//! `setup ca`: the programs of a machine, its engines first, trust the gateway's authority.
//!
//! The certificate goes where the distribution takes additions to its bundle from. Folders of one engine alone are no way:
//! for Docker Hub, dockerd with the classic image store reads the system's bundle only ([service_v2.go]), and whoever
//! reads a folder of its own reads the bundle as well. Programs read the bundle when they start.
//!
//! [service_v2.go]: https://github.com/moby/moby/issues/28992

use std::time::SystemTime;

use super::plan::Change;
use super::{Plan, Request, SetupFault};
use crate::gateway::authority::CaCertificate;
use crate::inspect::machine::{FileState, Machine};
use crate::inspect::trust::{Anchor, Bundle, Store};

/// The target's name on the command line.
pub const TARGET: &str = "ca";

/// What is to be trusted.
#[derive(Clone, Debug)]
pub struct Options {
    /// The certificates of the authority; those that have expired are not added.
    pub certificates: Vec<CaCertificate>,
    /// The moment that expiry is judged by.
    pub now: SystemTime,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    Store::find(machine).map(|store| format!("{} ({})", store.anchors, store.name))
}

/// Plans it.
///
/// # Errors
/// The machine's distribution is not known; there is nothing to trust; files that cannot be read.
pub fn plan(machine: &Machine, options: &Options) -> Result<Plan, SetupFault> {
    let store = Store::find(machine).ok_or_else(unknown_store)?;
    let current: Vec<&CaCertificate> =
        options.certificates.iter().filter(|certificate| certificate.not_after() > options.now).collect();
    if current.is_empty() {
        return Err(SetupFault::new("every certificate of the authority has expired")
            .hint("`pullgate images ca rotate --overlap 0s` makes one that counts at once"));
    }
    let mut plan = Plan::new(TARGET);
    for certificate in current {
        let why = format!("programs here trust {}", certificate.subject());
        plan.write(machine, store.file(certificate), certificate.to_pem(), why)?;
    }
    take_out_expired(&mut plan, machine, options.now)?;
    commands(&mut plan, machine, store);
    notes(&mut plan, machine, &options.certificates)?;
    Ok(plan)
}

/// Takes out what an earlier setup added and what is no use to anybody any more.
fn take_out_expired(plan: &mut Plan, machine: &Machine, now: SystemTime) -> Result<(), SetupFault> {
    for anchor in added(machine)?.into_iter().filter(|anchor| anchor.certificate.not_after() <= now) {
        let before = machine.look(&anchor.path).map_err(|error| SetupFault::reading(&anchor.path, &error))?;
        let why = format!("{} has expired", anchor.certificate.subject());
        plan.changes.push(Change { path: anchor.path, before, after: FileState::Absent, why });
    }
    Ok(())
}

/// What makes the bundle, and then what makes engines read it.
fn commands(plan: &mut Plan, machine: &Machine, store: &Store) {
    plan.command(store.update, "makes the bundle that programs read");
    for (program, command, why) in ENGINES {
        if program.iter().any(|path| machine.has(path)) {
            plan.command(command, *why);
        }
    }
}

fn notes(plan: &mut Plan, machine: &Machine, certificates: &[CaCertificate]) -> Result<(), SetupFault> {
    if !machine.is_here() {
        plan.note("the commands are for inside that machine, or for its tree with `chroot DIR`");
    }
    let bundle = Bundle::read(machine).map_err(|error| SetupFault::reading("the system's bundle".as_ref(), &error))?;
    let is_made = |bundle: &Bundle| certificates.iter().all(|certificate| bundle.holds(certificate));
    if plan.changes.is_empty() && !bundle.as_ref().is_some_and(is_made) {
        plan.note(format!("the bundle does not hold it yet: run `{}`", plan.commands[0].line.join(" ")));
    }
    for note in NOTES {
        plan.note(*note);
    }
    Ok(())
}

/// Notes for the plan of an engine that its machine does not trust the authority of the gateway yet, if there is one.
///
/// # Errors
/// What was added cannot be read.
pub(super) fn remind(plan: &mut Plan, machine: &Machine, request: &Request) -> Result<(), SetupFault> {
    let Some(folder) = &request.authority else { return Ok(()) };
    if added(machine)?.is_empty() {
        plan.note(format!(
            "inspected registries are refused until the gateway's authority ({}) is trusted here: `pullgate images ca \
             install --write --restart`; engines read the system's certificates when they start",
            folder.display()
        ));
    }
    Ok(())
}

/// What was added to the bundle of a machine.
pub(super) fn added(machine: &Machine) -> Result<Vec<Anchor>, SetupFault> {
    let Some(store) = Store::find(machine) else { return Ok(Vec::new()) };
    store.added(machine).map_err(|error| SetupFault::reading(store.anchors.as_ref(), &error))
}

fn unknown_store() -> SetupFault {
    SetupFault::new("how this machine's programs are told whom to trust is not known").hint(
        "install its package `ca-certificates`, or add what `pullgate images ca show --pem` prints to whatever they read \
         (NixOS: security.pki.certificateFiles)",
    )
}

/// The paths that tell that an engine is there, what has it read the bundle, and what that disturbs. Docker comes after
/// containerd, which it may be bound to.
const ENGINES: &[(&[&str], &str, &str)] = &[
    (
        &["/usr/bin/containerd", "/usr/local/bin/containerd"],
        "systemctl restart containerd.service",
        "reads the bundle, for what containerd pulls itself; containers go on",
    ),
    (
        &["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"],
        "systemctl restart docker.service",
        "Docker reads the bundle when it starts, and at no other time; without `live-restore` this stops containers",
    ),
    (
        &["/usr/bin/buildkitd", "/usr/local/bin/buildkitd"],
        "systemctl restart buildkit.service",
        "the same for BuildKit's own daemon; builds that run are aborted",
    ),
];
/// What has a store of its own.
const NOTES: &[&str] = &[
    "podman, skopeo and buildah have no daemon: they read the bundle at their next start",
    "buildx builders of the driver docker-container have a bundle of their own: `pullgate setup buildkit` after this",
    "kind, k3d and Docker in Docker are machines of their own: mount the file into them and run the update there",
    "VMs (podman machine, Lima, Colima, Rancher Desktop) and WSL distributions have bundles of their own: give them what \
     `pullgate images ca show --pem` prints, and run `pullgate images ca install --ca FILE --write` there",
    "programs that pull by themselves in another language: Java wants `keytool -importcert -cacerts -alias pullgate -file \
     FILE`, Python's requests REQUESTS_CA_BUNDLE=BUNDLE (pip and certifi bring their own), Node \
     NODE_EXTRA_CA_CERTS=FILE",
];

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::gateway::authority::{Constraint, Creation, create};
    use crate::inspect::setup::testing::{Tree, commands, files};
    use crate::policy::pattern::Pattern;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_824_000)
    }

    /// A certificate that counts for a hundred days from `not_before` on.
    fn certificate(not_before: SystemTime) -> CaCertificate {
        let folder = TempDir::new().unwrap();
        let constraints = [Constraint::of(&Pattern::parse("ghcr.io").unwrap()).unwrap()];
        let creation = Creation { constraints: &constraints, not_before, lifetime: 100 * DAY, owner: None };
        create(folder.path(), &creation).unwrap().certificate
    }

    fn options(certificates: &[CaCertificate]) -> Options {
        Options { certificates: certificates.to_vec(), now: now() }
    }

    #[test]
    fn every_distribution_gets_the_certificate_where_it_looks_for_it() {
        let current = certificate(now() - DAY);
        for (sign, folder, update) in [
            ("/usr/sbin/update-ca-certificates", "/usr/local/share/ca-certificates", "update-ca-certificates"),
            ("/etc/pki/ca-trust/source/README", "/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
            ("/etc/pki/trust/anchors/x", "/etc/pki/trust/anchors", "update-ca-certificates"),
            (
                "/etc/ca-certificates/trust-source/README",
                "/etc/ca-certificates/trust-source/anchors",
                "update-ca-trust",
            ),
        ] {
            let tree = Tree::new(&[(sign, "")]);
            let plan = tree.apply(|machine| plan(machine, &options(std::slice::from_ref(&current))));
            let [(path, text)] = files(&plan).try_into().unwrap();
            assert!(path.starts_with(&format!("{folder}/pullgate-")), "{path}");
            assert_eq!(Path::new(&path).extension().unwrap(), "crt");
            assert_eq!(text, current.to_pem());
            assert_eq!(commands(&plan), [update]);
        }
    }

    #[test]
    fn engines_that_are_there_are_restarted_after_the_bundle_was_made() {
        let tree = Tree::new(&[("/usr/sbin/update-ca-certificates", ""), ("/usr/bin/dockerd", "")]);
        let plan = plan(&tree.machine(), &options(&[certificate(now())])).unwrap();
        assert_eq!(commands(&plan), ["update-ca-certificates", "systemctl restart docker.service"]);
        assert!(plan.notes.concat().contains("chroot"), "{:?}", plan.notes);
    }

    #[test]
    fn a_certificate_that_is_still_to_come_is_trusted_before_and_one_that_expired_is_taken_out() {
        let tree = Tree::new(&[("/usr/sbin/update-ca-certificates", "")]);
        let store = Store::find(&tree.machine()).unwrap();
        let expired = certificate(now() - 200 * DAY);
        let path = store.file(&expired).display().to_string();
        tree.write(&path, &expired.to_pem());
        let all = [expired.clone(), certificate(now() - DAY), certificate(now() + DAY)];
        let plan = plan(&tree.machine(), &options(&all)).unwrap();
        let after = |change: &Change| change.after == FileState::Absent;
        assert_eq!(plan.changes.iter().map(after).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(plan.changes[2].path.display().to_string(), path);
        let fault = super::plan(&tree.machine(), &options(&[expired])).unwrap_err();
        assert!(fault.message.contains("expired"), "{fault}");
    }

    #[test]
    fn a_certificate_that_stands_there_is_nothing_to_change_but_the_bundle_may_lack_it() {
        let current = certificate(now() - DAY);
        let tree = Tree::new(&[("/usr/sbin/update-ca-certificates", "")]);
        let path = Store::find(&tree.machine()).unwrap().file(&current).display().to_string();
        tree.write(&path, &current.to_pem());
        let lacks = |tree: &Tree| {
            let plan = plan(&tree.machine(), &options(std::slice::from_ref(&current))).unwrap();
            assert_eq!(plan.changes, []);
            plan.notes.concat().contains("does not hold it yet")
        };
        assert!(lacks(&tree));
        tree.write("/etc/ssl/certs/ca-certificates.crt", &(certificate(now()).to_pem() + &current.to_pem()));
        assert!(!lacks(&tree));
    }

    #[test]
    fn the_plan_of_an_engine_says_when_the_authority_is_not_trusted_yet() {
        let current = certificate(now());
        let tree = Tree::new(&[("/usr/sbin/update-ca-certificates", "")]);
        let said = |request: &Request| {
            let mut plan = Plan::new("docker");
            remind(&mut plan, &tree.machine(), request).unwrap();
            plan.notes.len()
        };
        let gateway = Request { authority: Some("/etc/pullgate/ca".into()), ..Request::default() };
        assert_eq!((said(&Request::default()), said(&gateway)), (0, 1));
        let path = Store::find(&tree.machine()).unwrap().file(&current).display().to_string();
        tree.write(&path, &current.to_pem());
        assert_eq!(said(&gateway), 0);
    }

    #[test]
    fn a_machine_of_an_unknown_kind_is_told_what_to_do_by_hand() {
        let fault = plan(&Tree::new(&[]).machine(), &options(&[certificate(now())])).unwrap_err();
        assert!(fault.hint.unwrap().contains("show --pem"));
    }
}
