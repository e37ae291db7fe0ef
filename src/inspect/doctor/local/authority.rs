//! The authority of the image gateway: whether it can sign for every inspected name, and whether engines here take what
//! it signs. Certificates are compared, never only their names or dates.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use super::foreign;
use super::processes;
use crate::config::Gateway;
use crate::gateway::authority::{
    AuthorityError, CaCertificate, Constraint, State, Stored, in_use, inspected, read_folder, states,
};
use crate::inspect::doctor::report::{Finding, Report};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::trust::{Anchor, Bundle, Store, written};
use crate::policy::pattern::Pattern;

/// The folder of this machine's own gateway, if it has one that inspects.
pub(super) fn of_gateway(scene: &Scene<'_>, report: &mut Report) {
    let Some((gateway, names)) = inspecting(scene) else { return };
    let folder = folder_of(scene, gateway);
    match read_folder(&folder) {
        Ok(files) => {
            judge_folder(gateway, &files, &names, SystemTime::now(), report);
            keys_of_others(scene, gateway, &files, report);
        }
        Err(AuthorityError::Io { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            foreign::unseen(report, format!("the gateway's authority ({}): {error}", gateway.authority.display()));
        }
        Err(error) => report.add(
            Finding::problem(CHECK, format!("the gateway's authority is damaged: {error}"))
                .meaning("no inspected registry can be reached: they fail closed")
                .fix("put the file back as it was, or take both files of the pair away"),
        ),
    }
}

/// Whether programs of this machine trust the authority, and engines have read the bundle since.
pub(super) fn trusted(scene: &Scene<'_>, report: &mut Report) {
    if !ENGINES.iter().any(|path| scene.machine.has(path)) {
        return;
    }
    let Known { certificates, anchors } = Known::of(scene, report);
    if certificates.is_empty() {
        return;
    }
    let bundle = Bundle::read(scene.machine).unwrap_or_else(|error| {
        foreign::unseen(report, format!("the certificates that programs here trust: {error}"));
        None
    });
    let (held, missing): (Vec<_>, Vec<_>) =
        certificates.iter().partition(|it| bundle.as_ref().is_some_and(|bundle| bundle.holds(it)));
    let now = SystemTime::now();
    for certificate in missing {
        let anchor = anchors.iter().find(|anchor| anchor.certificate == *certificate);
        report.add(judge_missing(scene, certificate, anchor, now));
    }
    let Some(bundle) = bundle.filter(|_| held.iter().any(|it| it.is_valid(now))) else { return };
    let title = format!("programs here trust the gateway's authority ({})", bundle.path.display());
    report.add(Finding::ok(CHECK, title));
    let added = |anchor: &&Anchor| held.contains(&&anchor.certificate) && anchor.certificate.is_valid(now);
    let anchors: Vec<&Path> = anchors.iter().filter(added).map(|anchor| anchor.path.as_path()).collect();
    restarts(scene, &anchors, &bundle.path, report);
    if inspecting(scene).is_none() {
        last_one_ends(&certificates, now, report);
    }
}

/// The certificates that the gateway's own may be signed by, as far as they are known here.
pub(in crate::inspect::doctor) fn authorities(scene: &Scene<'_>) -> Vec<CertificateDer<'static>> {
    // What cannot be seen is told by the checks.
    Known::of(scene, &mut Report::default()).certificates.into_iter().map(CaCertificate::into_der).collect()
}

/// What is known of the authority that engines of this machine are to trust.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its certificates that have not expired: those of this machine's own gateway, else those that were installed here.
    pub(super) certificates: Vec<CaCertificate>,
    /// What `pullgate setup ca` added here.
    anchors: Vec<Anchor>,
}

impl Known {
    /// Looks for it.
    pub(super) fn of(scene: &Scene<'_>, report: &mut Report) -> Self {
        let added = Store::find(scene.machine).map_or(Ok(Vec::new()), |store| store.added(scene.machine));
        let anchors = added.unwrap_or_else(|error| {
            foreign::unseen(report, format!("the certificates that were added here: {error}"));
            Vec::new()
        });
        // What is wrong with the folder is another check's to say.
        let own = inspecting(scene).and_then(|(gateway, _)| read_folder(&folder_of(scene, gateway)).ok());
        let own = own.filter(|files| !files.is_empty());
        let own = own.map(|files| files.into_iter().map(|stored| stored.certificate).collect::<Vec<_>>());
        let installed = || anchors.iter().map(|anchor| anchor.certificate.clone()).collect();
        let mut certificates = own.unwrap_or_else(installed);
        let now = SystemTime::now();
        certificates.retain(|certificate| certificate.not_after() > now);
        Self { certificates, anchors }
    }
}

/// The gateway of this machine's pullgate, and the names that its policy has inspected; `None` without either.
fn inspecting<'s>(scene: &Scene<'s>) -> Option<(&'s Gateway, Vec<Pattern>)> {
    let gateway = scene.settings?.gateway.as_ref()?;
    let names = inspected(scene.policy?);
    (!names.is_empty()).then_some((gateway, names))
}

fn folder_of(scene: &Scene<'_>, gateway: &Gateway) -> PathBuf {
    scene.machine.locate(&gateway.authority).unwrap_or_else(|_| gateway.authority.clone())
}

fn judge_folder(gateway: &Gateway, files: &[Stored], names: &[Pattern], now: SystemTime, report: &mut Report) {
    let folder = gateway.authority.display();
    if files.is_empty() {
        report.add(
            Finding::problem(CHECK, format!("the policy has names inspected, and {folder} holds no authority"))
                .meaning("the gateway has no certificate for them: they fail closed")
                .fix("pullgate images ca init && pullgate images ca install --write --restart"),
        );
        return;
    }
    let Some(current) = in_use(files, now) else {
        report.add(
            Finding::problem(CHECK, format!("no authority in {folder} is valid now, or none has its key"))
                .meaning("the gateway has no certificate for inspected names: they fail closed")
                .fix(ROTATE_NOW),
        );
        return;
    };
    let mut findings = vec![uncovered(current, names), ends(current, &states(files, now), now)];
    findings.extend(files.iter().map(open_key));
    let mut findings: Vec<Finding> = findings.into_iter().flatten().collect();
    if findings.is_empty() {
        let title = format!(
            "the gateway's authority is for every inspected name, until {}",
            day(current.certificate.not_after())
        );
        findings.push(Finding::ok(CHECK, title));
    }
    for finding in findings {
        report.add(finding);
    }
}

fn uncovered(current: &Stored, names: &[Pattern]) -> Option<Finding> {
    let covers =
        |pattern: &&Pattern| Constraint::of(pattern).is_some_and(|needed| current.certificate.permits(needed.name()));
    let left: Vec<String> = names.iter().filter(|pattern| !covers(pattern)).map(ToString::to_string).collect();
    let title = || format!("the gateway's authority may not sign for {}", left.join(", "));
    (!left.is_empty()).then(|| {
        Finding::problem(CHECK, title())
            .meaning("the policy has it inspected since the authority was made: its clients get no connection")
            .fix(ROTATE_NOW)
    })
}

fn ends(current: &Stored, states: &[State], now: SystemTime) -> Option<Finding> {
    let left = current.certificate.not_after().duration_since(now).unwrap_or_default();
    let is_followed = states.contains(&State::Next);
    (left < SOON && !is_followed).then(|| {
        Finding::warning(CHECK, format!("the gateway's authority ends on {}", day(current.certificate.not_after())))
            .meaning("inspected registries fail closed from then on")
            .fix("pullgate images ca rotate && pullgate images ca install --write --restart  # on every host")
    })
}

/// A key that others than its user may read.
fn open_key(stored: &Stored) -> Option<Finding> {
    let path = stored.key_path();
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let title = format!("the key of the gateway's authority is open to others (mode {mode:o})");
        Finding::warning(CHECK, title)
            .meaning("whoever reads it can pretend to be the inspected registries to hosts that trust it")
            .fix(format!("chmod 600 {}", path.display()))
    })
}

/// Keys that the user of the gateway cannot read: made before there was such a user, or restored by root.
fn keys_of_others(scene: &Scene<'_>, gateway: &Gateway, files: &[Stored], report: &mut Report) {
    let user = if gateway.separate { SEPARATE_USER } else { USER };
    let users = foreign::text(scene.machine, "/etc/passwd", report).unwrap_or_default();
    let line = users.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':'));
    let Some(number) = line.and_then(|rest| rest.split(':').nth(1)?.parse::<u32>().ok()) else { return };
    for path in files.iter().map(Stored::key_path) {
        let Some(owner) = fs::metadata(&path).ok().map(|metadata| metadata.uid()).filter(|owner| *owner != number)
        else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = gateway.authority.join(name.as_ref());
        report.add(
            Finding::problem(
                CHECK,
                format!("{} belongs to user {owner}, and the gateway runs as {user}", place.display()),
            )
            .meaning("the gateway cannot read the key: inspected registries fail closed")
            .fix(format!("chown {user}: {}", place.display())),
        );
    }
}

fn judge_missing(scene: &Scene<'_>, certificate: &CaCertificate, anchor: Option<&Anchor>, now: SystemTime) -> Finding {
    let fix = match (anchor, Store::find(scene.machine)) {
        (Some(_), Some(store)) => format!("{}  # then restart the engines", store.update),
        _ => "pullgate images ca install --write --restart".to_owned(),
    };
    let subject = certificate.subject();
    if certificate.not_before() > now {
        let from = day(certificate.not_before());
        return Finding::warning(CHECK, format!("programs here do not trust the next authority yet ({subject})"))
            .meaning(format!("it is used from {from}; engines refuse inspected registries then"))
            .fix(fix);
    }
    Finding::problem(CHECK, format!("programs here do not trust the gateway's authority ({subject})"))
        .meaning("engines refuse inspected registries: `x509: certificate signed by unknown authority`")
        .fix(fix)
}

/// Engines that started before the certificate was there. Without a file of ours it came some other way, and only the
/// bundle's own date tells, which changes for other reasons as well.
fn restarts(scene: &Scene<'_>, anchors: &[&Path], bundle: &Path, report: &mut Report) {
    let newest = anchors.iter().filter_map(|path| written(scene.machine, path)).max();
    let (since, is_known) = match newest {
        Some(since) => (since, true),
        None => match written(scene.machine, bundle) {
            Some(since) => (since, false),
            None => return,
        },
    };
    let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
    for engine in processes::named(scene.machine, &names, report) {
        let Some(started) = engine.started(scene.machine) else { continue };
        if started + CLOCK_STEP >= since {
            continue;
        }
        let Some((name, service)) = SERVICES.iter().find(|(name, _)| *name == engine.name) else { continue };
        let title = format!("{name} (process {}) started before the authority was trusted here", engine.id);
        let finding = if is_known { Finding::problem(CHECK, title) } else { Finding::warning(CHECK, title) };
        report.add(
            finding
                .meaning("it read the system's certificates once: it may go on refusing inspected registries")
                .fix(format!("systemctl restart {service}.service")),
        );
    }
}

/// On a machine that is told of authorities by hand: whether somebody has to come again.
fn last_one_ends(certificates: &[CaCertificate], now: SystemTime, report: &mut Report) {
    let Some(last) = certificates.iter().map(CaCertificate::not_after).max() else { return };
    if last.duration_since(now).unwrap_or_default() < SOON {
        report.add(
            Finding::warning(CHECK, format!("the authority that programs here trust ends on {}", day(last)))
                .meaning("inspected registries fail closed from then on")
                .fix("pullgate images ca install --ca FILE --write --restart  # FILE: `images ca show --pem` of the gateway"),
        );
    }
}

fn day(moment: SystemTime) -> String {
    let text = jiff::Timestamp::try_from(moment).map(|moment| moment.to_string()).unwrap_or_default();
    text.split('T').next().unwrap_or_default().to_owned()
}

const CHECK: &str = "authority";
/// Whom the gateway runs as, within `pullgate serve` and by itself.
const USER: &str = "pullgate";
const SEPARATE_USER: &str = "pullgate-gateway";
const ROTATE_NOW: &str =
    "pullgate images ca rotate --overlap 0s && pullgate images ca install --write --restart  # on every host";
/// Time to reach every host.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// When a process started is known to the second, and by the clock as it is now.
const CLOCK_STEP: Duration = Duration::from_secs(2);
/// What pulls images, and reads the system's bundle for it.
const ENGINES: [&str; 9] = [
    "/usr/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/local/bin/dockerd",
    "/usr/bin/containerd",
    "/usr/local/bin/containerd",
    "/usr/bin/podman",
    "/usr/bin/buildah",
    "/usr/bin/buildkitd",
    "/usr/local/bin/buildkitd",
];
/// Those of them that run on, by process and service.
const SERVICES: [(&str, &str); 3] = [("dockerd", "docker"), ("containerd", "containerd"), ("buildkitd", "buildkit")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::authority::{Creation, constraints, create};
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const SETTINGS: &str = "[gateway]\naddress = \"192.0.2.53\"\n";
    const POLICY: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\npath = \"inspect\"\n\
                          [[images]]\nregistry = \"a\"\nallow = [\"**\"]\n";
    const DOCKER: (&str, &str) = ("usr/bin/dockerd", "");
    const DEBIAN: (&str, &str) = ("usr/sbin/update-ca-certificates", "");

    /// Makes a pair for a name in the tree's folder: days from now, when it begins and when it ends.
    fn make(tree: &Tree, name: &str, begins: i32, ends: i32) -> Stored {
        let moment = |days: i32| {
            let away = DAY * days.unsigned_abs();
            if days < 0 { SystemTime::now() - away } else { SystemTime::now() + away }
        };
        let pattern = Pattern::parse(name).unwrap();
        let (constraints, _) = constraints([&pattern]);
        let lifetime = moment(ends).duration_since(moment(begins)).unwrap();
        let creation = Creation { constraints: &constraints, not_before: moment(begins), lifetime, owner: None };
        create(&tree.machine.locate("/etc/pullgate/ca".as_ref()).unwrap(), &creation).unwrap()
    }

    /// A machine with a gateway that inspects `a.example`, Docker, and these other files.
    fn gateway(files: &[(&str, &str)]) -> Tree {
        Tree::of(&[files, &[DOCKER, DEBIAN]].concat()).pullgate(SETTINGS).policy(POLICY)
    }

    fn install(tree: &Tree, stored: &Stored) -> PathBuf {
        let path = Store::find(&tree.machine).unwrap().file(&stored.certificate);
        tree.write(&path.display().to_string()[1..], stored.certificate.to_pem().as_bytes());
        path
    }

    fn bundle(tree: &Tree, stored: &[&Stored]) {
        let text: String = stored.iter().map(|stored| stored.certificate.to_pem()).collect();
        tree.write("etc/ssl/certs/ca-certificates.crt", text.as_bytes());
    }

    /// The first thing that is said, up to the bracket before what no test can know.
    fn first(report: &Report) -> String {
        lines(report).first().and_then(|line| line.split(" (CN=").next().map(str::to_owned)).unwrap_or_default()
    }

    #[test]
    fn a_gateway_that_inspects_needs_an_authority_that_is_for_every_name() {
        let nothing = gateway(&[]);
        assert_eq!(
            lines(&nothing.said(of_gateway)),
            ["problem: the policy has names inspected, and /etc/pullgate/ca holds no authority"]
        );
        for (name, begins, ends, expected) in [
            ("a.example", -1, 300, "ok: the gateway's authority is for every inspected name, until"),
            ("b.example", -1, 300, "problem: the gateway's authority may not sign for a.example"),
            ("a.example", -300, 20, "warning: the gateway's authority ends on"),
            ("a.example", -300, -20, "problem: no authority in /etc/pullgate/ca is valid now, or none has its key"),
            ("a.example", 10, 20, "problem: no authority in /etc/pullgate/ca is valid now, or none has its key"),
        ] {
            let tree = gateway(&[]);
            make(&tree, name, begins, ends);
            let said = lines(&tree.said(of_gateway));
            assert!(said.len() == 1 && said[0].starts_with(expected), "{expected}: {said:?}");
        }
    }

    #[test]
    fn an_end_that_another_pair_waits_for_is_no_news() {
        let tree = gateway(&[]);
        make(&tree, "a.example", -300, 20);
        make(&tree, "a.example", 10, 300);
        assert!(tree.said(of_gateway).is_clean(), "{:?}", tree.said(of_gateway));
    }

    #[test]
    fn a_key_that_others_may_read_and_a_damaged_file_are_told() {
        let tree = gateway(&[]);
        let stored = make(&tree, "a.example", -1, 300);
        fs::set_permissions(stored.key_path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            lines(&tree.said(of_gateway)),
            ["warning: the key of the gateway's authority is open to others (mode 640)"]
        );
        tree.write("etc/pullgate/ca/x.crt", b"no certificate");
        let said = lines(&tree.said(of_gateway));
        assert!(said[0].ends_with("x.crt: no certificate in PEM"), "{said:?}");
    }

    #[test]
    fn a_key_that_the_gateway_s_user_cannot_read_is_told() {
        let own = nix::unistd::geteuid().as_raw();
        for (users, is_told) in [
            (format!("root:x:0:0::/:\npullgate:x:{own}:1::/:\n"), false),
            (format!("root:x:0:0::/:\npullgate:x:{}:1::/:\n", own + 1), true),
            (format!("pullgate-gateway:x:{}:1::/:\n", own + 1), false),
            ("pullgate:x\nbroken".to_owned(), false),
        ] {
            let tree = gateway(&[("etc/passwd", &users)]);
            let stored = make(&tree, "a.example", -1, 300);
            let said = lines(&tree.said(of_gateway));
            let key = format!("problem: /etc/pullgate/ca/{}.key belongs to user {own}", stored.name());
            assert_eq!(said.iter().any(|line| line.starts_with(&key)), is_told, "{users}: {said:?}");
        }
    }

    #[test]
    fn without_a_gateway_or_an_inspected_name_nothing_is_said() {
        let direct = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";
        for tree in [
            Tree::of(&[DOCKER, DEBIAN]),
            Tree::of(&[DOCKER, DEBIAN]).pullgate(SETTINGS).policy(direct),
            Tree::of(&[DOCKER, DEBIAN]).pullgate("").policy(direct),
        ] {
            assert_eq!(tree.said(of_gateway), Report::default());
            assert_eq!(tree.said(trusted), Report::default());
        }
    }

    #[test]
    fn engines_must_trust_the_certificate_itself_and_one_that_is_still_to_come_as_well() {
        let tree = gateway(&[]);
        let current = make(&tree, "a.example", -1, 300);
        let other = make(&Tree::of(&[]), "a.example", -1, 300);
        bundle(&tree, &[&other]);
        let report = tree.said(trusted);
        assert_eq!(first(&report), "problem: programs here do not trust the gateway's authority");
        assert_eq!(report.findings[0].fix.as_deref(), Some("pullgate images ca install --write --restart"));
        install(&tree, &current);
        let fix = tree.said(trusted).findings[0].fix.clone().unwrap();
        assert!(fix.starts_with("update-ca-certificates"), "it is there and not in the bundle: {fix}");
        bundle(&tree, &[&other, &current]);
        assert_eq!(
            lines(&tree.said(trusted)),
            ["ok: programs here trust the gateway's authority (/etc/ssl/certs/ca-certificates.crt)"]
        );
        make(&tree, "a.example", 10, 300);
        assert_eq!(first(&tree.said(trusted)), "warning: programs here do not trust the next authority yet");
    }

    #[test]
    fn a_machine_without_engines_need_not_trust_it() {
        let tree = Tree::of(&[DEBIAN]).pullgate(SETTINGS).policy(POLICY);
        make(&tree, "a.example", -1, 300);
        assert_eq!(tree.said(trusted), Report::default());
    }

    #[test]
    fn another_host_is_judged_by_what_was_installed_there() {
        let gateway = Tree::of(&[]);
        let tree = Tree::of(&[DOCKER, DEBIAN]);
        let stored = make(&gateway, "a.example", -300, 20);
        install(&tree, &stored);
        assert!(lines(&tree.said(trusted))[0].starts_with("problem: programs here do not trust"));
        bundle(&tree, &[&stored]);
        let said = lines(&tree.said(trusted));
        assert!(said[1].starts_with("warning: the authority that programs here trust ends on"), "{said:?}");
        let next = make(&gateway, "a.example", 10, 300);
        install(&tree, &next);
        bundle(&tree, &[&stored, &next]);
        assert!(tree.said(trusted).is_clean(), "{:?}", tree.said(trusted));
    }

    #[test]
    fn an_engine_that_started_before_has_to_be_restarted() {
        let start = SystemTime::now() - DAY;
        let boot = start.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 100;
        let fields = "S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 9 0 10000 0 0";
        for (installed, has_file, expected) in [
            (start + DAY / 2, true, Some("problem: dockerd (process 7) started before the authority was trusted here")),
            (start - DAY / 2, true, None),
            (
                start + DAY / 2,
                false,
                Some("warning: dockerd (process 7) started before the authority was trusted here"),
            ),
            (start - DAY / 2, false, None),
        ] {
            let tree = gateway(&[("proc/7/comm", "dockerd\n"), ("proc/7/cmdline", "dockerd\0")]);
            tree.write("proc/stat", format!("cpu 1 2\nbtime {boot}\n").as_bytes());
            tree.write("proc/7/stat", format!("7 (docker (d) x) {fields}\n").as_bytes());
            let stored = make(&tree, "a.example", -2, 300);
            bundle(&tree, &[&stored]);
            let dated = if has_file { install(&tree, &stored) } else { "/etc/ssl/certs/ca-certificates.crt".into() };
            let place = tree.machine.locate(&dated).unwrap();
            fs::File::options().write(true).open(place).unwrap().set_modified(installed).unwrap();
            let said = lines(&tree.said(trusted));
            assert_eq!(said.get(1).map(String::as_str), expected, "{said:?}");
        }
    }
}
