//! The one way a policy comes into force: read, compile beside the old, swap, keep a copy; on any fault keep the old.
//!
//! Plain functions over files and a clock; [`crate::policy::watch`] says when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tracing::{error, info, warn};

use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::policy::compile::{Compiled, Options, load};
use crate::policy::document::read_directory;
use crate::policy::last_good::LastGood;
use crate::policy::snapshot::Snapshot;
use crate::policy::store::{PolicyState, PolicyStatus, PolicyStore};

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every policy file of this folder.
    Directory(PathBuf),
    /// The text of one TOML document in the program.
    Embedded(&'static str),
}

/// Tells the time. Policies depend on it through `expires` only.
pub trait Clock: Send + Sync + 'static {
    /// The time of day; it may be set, back as well as forth.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Why the policy is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A request on the control socket.
    Control,
    /// The file system said that something changed.
    FileEvent,
    /// The look every few seconds, for what the file system does not say.
    Poll,
    /// An entry ended, or the clock was set.
    Expiry,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// A policy that decides otherwise is in force.
    Applied {
        /// Its generation.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<Diagnostic>,
    },
    /// The policy is good and decides as the one before.
    Unchanged {
        /// The generation in force.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<Diagnostic>,
    },
    /// The policy has faults; the one before stays.
    Refused {
        /// All of them, without the warnings beside them: those refuse nothing.
        faults: Vec<Diagnostic>,
    },
}

/// The files of a policy at one moment, or why they could not be read.
pub(super) type Reading = Result<Vec<Source>, Vec<Diagnostic>>;

/// Brings policies into force.
pub struct Reloader {
    store: Arc<PolicyStore>,
    origin: Origin,
    options: Options,
    last_good: LastGood,
    clock: Arc<dyn Clock>,
    /// The files of the policy in force; none under deny-all.
    in_force: Option<Vec<Source>>,
    /// The files looked at last.
    seen: Reading,
}

impl Reloader {
    /// Brings the first policy into force: the one written, else the last good one kept in `state`, else one that denies
    /// everything. What happened is in the store's status.
    pub fn start(origin: Origin, options: Options, state: &Path, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let last_good = LastGood::new(state);
        let seen = origin.read();
        let first = First::choose(&seen, &last_good, &options, now);
        let store = Arc::new(PolicyStore::new(first.snapshot, first.state, now));
        let reloader = Self { store, origin, options, last_good, clock, in_force: first.files, seen };
        let unkept = match first.state {
            PolicyState::Ok => reloader.keep(),
            PolicyState::Degraded | PolicyState::DenyAll => None,
        };
        reloader.store.report(|status| {
            status.faults = first.faults;
            status.warnings = first.warnings;
            status.warnings.extend(unkept);
        });
        log_start(&reloader.store.status());
        reloader
    }

    /// The store that this fills.
    pub fn store(&self) -> &Arc<PolicyStore> {
        &self.store
    }

    /// Where the policy comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether a reading differs from the last one that was acted upon.
    pub(super) fn is_news(&self, reading: &Reading) -> bool {
        !same(reading, &self.seen)
    }

    /// Compiles a reading and puts it in force, or keeps the policy in force and says why.
    pub(super) fn reload(&mut self, reading: Reading, cause: Cause) -> ReloadOutcome {
        let now = self.clock.now();
        let compiled = reading.clone().and_then(|files| load(files, &self.options, now));
        self.seen = reading;
        match compiled {
            Ok(compiled) => self.accept(compiled, cause, now),
            Err(found) => self.refuse(faults_of(found), cause),
        }
    }

    /// Compiles a reading as a reload would, and changes nothing.
    pub(super) fn preview(&self, reading: Reading) -> Result<Compiled, Vec<Diagnostic>> {
        load(reading?, &self.options, self.clock.now()).map_err(faults_of)
    }

    /// What there is to do from time to time: frees policies that were in force, and ends entries.
    pub(super) fn tend(&mut self) {
        self.store.free_retired();
        self.expire();
    }

    /// Leaves out what has ended by now, or takes back what a clock set back has not ended yet, from the policy in force:
    /// also while the files have faults.
    fn expire(&mut self) {
        let now = self.clock.now();
        let is_current = self.store.current().snapshot.is_current(now);
        let Some(files) = self.in_force.clone().filter(|_| !is_current) else { return };
        match load(files, &self.options, now) {
            Ok(Compiled { snapshot, warnings }) => {
                let generation = self.store.swap(snapshot, now, |status| status.warnings = warnings);
                info!(cause = ?Cause::Expiry, generation, "policy entries ended or began anew");
            }
            Err(found) => {
                error!(faults = faults_of(found).len(), "the policy in force no longer compiles; it stays as it is");
            }
        }
    }

    /// How long the policy in force stays as it is, if the clock is not set.
    pub(super) fn until_expiry(&self) -> Option<std::time::Duration> {
        let next = self.store.current().snapshot.next_expiry()?;
        Some(next.duration_since(self.clock.now()).unwrap_or_default())
    }

    fn accept(&mut self, compiled: Compiled, cause: Cause, now: SystemTime) -> ReloadOutcome {
        let Compiled { snapshot, mut warnings } = compiled;
        let applied = self.store.swap(snapshot, now, |status| {
            status.state = PolicyState::Ok;
            status.loaded = now;
            status.faults.clear();
            status.warnings.clone_from(&warnings);
        });
        self.in_force = self.seen.clone().ok();
        if let Some(warning) = self.keep() {
            warnings.push(warning.clone());
            self.store.report(|status| status.warnings.push(warning));
        }
        let PolicyStatus { generation, digest, rules, .. } = self.store.status();
        if applied.is_none() {
            info!(?cause, generation, "policy unchanged");
            return ReloadOutcome::Unchanged { generation, warnings };
        }
        info!(?cause, generation, %digest, rules, warnings = warnings.len(), "policy applied");
        ReloadOutcome::Applied { generation, warnings }
    }

    fn refuse(&self, faults: Vec<Diagnostic>, cause: Cause) -> ReloadOutcome {
        self.store.report(|status| {
            status.faults.clone_from(&faults);
            status.refused += 1;
            status.loaded = self.clock.now();
            if status.state == PolicyState::Ok {
                status.state = PolicyState::Degraded;
            }
        });
        let generation = self.store.current().generation;
        error!(
            ?cause,
            generation,
            faults = faults.len(),
            first = first_line(&faults),
            "policy refused; the one before stays"
        );
        ReloadOutcome::Refused { faults }
    }

    /// Keeps a copy of the files in force; a warning if that fails.
    fn keep(&self) -> Option<Diagnostic> {
        let (Origin::Directory(_), Some(files)) = (&self.origin, &self.in_force) else { return None };
        let error = self.last_good.save(files).err()?;
        warn!(%error, "the last good policy cannot be kept");
        let message = format!("the last good policy cannot be kept: {error}");
        let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::about(self.last_good.path(), message) };
        Some(warning.hint("a restart that meets a faulty policy would deny everything"))
    }
}

impl Origin {
    /// Reads the files as they are now.
    ///
    /// # Errors
    /// Every reason why they cannot be read.
    pub fn read(&self) -> Result<Vec<Source>, Vec<Diagnostic>> {
        match self {
            Self::Directory(path) => read_directory(path),
            Self::Embedded(text) => Ok(vec![Source::new(EMBEDDED_NAME, *text)]),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The policy that a start brings into force.
struct First {
    state: PolicyState,
    snapshot: Snapshot,
    files: Option<Vec<Source>>,
    faults: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl First {
    fn choose(seen: &Reading, last_good: &LastGood, options: &Options, now: SystemTime) -> Self {
        let compile = |reading: Reading| {
            let files = reading?;
            load(files.clone(), options, now).map(|compiled| (files, compiled))
        };
        let faults = match compile(seen.clone()) {
            Ok((files, Compiled { snapshot, warnings })) => {
                return Self { state: PolicyState::Ok, snapshot, files: Some(files), faults: Vec::new(), warnings };
            }
            Err(found) => faults_of(found),
        };
        let Ok((files, Compiled { snapshot, warnings })) = compile(last_good.load()) else {
            let snapshot = Snapshot::deny_all(options);
            return Self { state: PolicyState::DenyAll, snapshot, files: None, faults, warnings: Vec::new() };
        };
        Self { state: PolicyState::Degraded, snapshot, files: Some(files), faults, warnings }
    }
}

fn log_start(status: &PolicyStatus) {
    let PolicyStatus { digest, rules, faults, warnings, .. } = status;
    let first = first_line(faults);
    match status.state {
        PolicyState::Ok => info!(%digest, rules, warnings = warnings.len(), "policy in force"),
        PolicyState::Degraded => error!(rules, first, "the policy has faults; the last good one is in force"),
        PolicyState::DenyAll => error!(first, "no valid policy; everything is denied"),
    }
}

/// Why a policy is refused: of what was found, the faults. `lint` shows the warnings as well.
fn faults_of(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.retain(Diagnostic::is_fault);
    found
}

/// The first fault's first line, for the log; `status` and `lint` show all.
fn first_line(faults: &[Diagnostic]) -> String {
    faults.first().map(ToString::to_string).and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

/// Whether two readings found the same files with the same bytes, or the same faults.
pub(super) fn same(a: &Reading, b: &Reading) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            let same_file = |(a, b): (&Source, &Source)| a.path() == b.path() && a.text() == b.text();
            a.len() == b.len() && a.iter().zip(b).all(same_file)
        }
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

/// How the policy in the program is called in complaints.
const EMBEDDED_NAME: &str = "built-in policy";

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::name::DomainName;
    use crate::policy::document::Mode;

    const GOOD: &str = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"a.example\"]\n";

    fn start(root: &TempDir, text: Option<&str>) -> Reloader {
        let folder = root.path().join("policy.d");
        fs::create_dir_all(&folder).unwrap();
        match text {
            Some(text) => fs::write(folder.join("a.toml"), text).unwrap(),
            None => fs::remove_dir_all(&folder).unwrap(),
        }
        let options = Options { mode: Mode::Audit, ..Options::default() };
        Reloader::start(Origin::Directory(folder), options, &root.path().join("state"), Arc::new(SystemClock))
    }

    fn resolves(reloader: &Reloader, name: &str) -> bool {
        let name: DomainName = name.parse().unwrap();
        reloader.store().current().snapshot.judge_as(None, name.as_name()).verdict.resolves()
    }

    #[test]
    fn a_start_with_a_good_policy_is_ok() {
        let root = tempfile::tempdir().unwrap();
        let status = start(&root, Some(GOOD)).store().status();
        assert_eq!((status.state, status.generation, status.rules), (PolicyState::Ok, 1, 1));
        assert!(status.faults.is_empty());
    }

    #[test]
    fn a_start_with_a_faulty_policy_takes_the_last_good_one_and_is_degraded() {
        let root = tempfile::tempdir().unwrap();
        start(&root, Some(GOOD));
        for text in [Some("version = 2"), Some(""), None] {
            let reloader = start(&root, text);
            let status = reloader.store().status();
            assert_eq!((status.state, status.rules), (PolicyState::Degraded, 1), "{text:?}");
            assert!(!status.faults.is_empty());
            assert!(resolves(&reloader, "a.example"));
        }
    }

    #[test]
    fn a_start_without_any_good_policy_denies_everything_even_under_audit() {
        let root = tempfile::tempdir().unwrap();
        let reloader = start(&root, Some("version = 2"));
        assert_eq!(reloader.store().status().state, PolicyState::DenyAll);
        assert!(!resolves(&reloader, "a.example"));
        assert!(resolves(&reloader, "localhost"));
    }

    #[test]
    fn deny_all_ends_with_the_first_good_policy_and_not_with_another_faulty_one() {
        let root = tempfile::tempdir().unwrap();
        let mut reloader = start(&root, Some("version = 2"));
        reloader.reload(reloader.origin().read(), Cause::Signal);
        assert_eq!(reloader.store().status().state, PolicyState::DenyAll);
        fs::write(root.path().join("policy.d/a.toml"), GOOD).unwrap();
        reloader.reload(reloader.origin().read(), Cause::Signal);
        let status = reloader.store().status();
        assert_eq!((status.state, status.generation, status.refused), (PolicyState::Ok, 2, 1));
        assert!(status.faults.is_empty());
    }

    #[test]
    fn an_applied_policy_is_the_next_last_good_one_and_a_refused_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut reloader = start(&root, Some(GOOD));
        for text in [&GOOD.replace("a.example", "b.example"), "version = 2"] {
            fs::write(root.path().join("policy.d/a.toml"), text).unwrap();
            reloader.reload(reloader.origin().read(), Cause::Control);
        }
        let again = start(&root, Some("version = 2"));
        assert_eq!(again.store().current().snapshot.rules().next().unwrap().pattern().to_string(), "b.example");
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("state"), "a file").unwrap();
        let status = start(&root, Some(GOOD)).store().status();
        assert_eq!(status.state, PolicyState::Ok);
        assert!(
            status.warnings[0].message.starts_with("the last good policy cannot be kept"),
            "{}",
            status.warnings[0]
        );
    }

    #[test]
    fn what_is_said_of_a_refused_policy_is_its_faults_without_the_warnings_beside_them() {
        let text = format!("{GOOD}[[registry]]\npreset = \"nonsense\"\n[[group]]\nname = \"ci\"\n");
        let root = tempfile::tempdir().unwrap();
        let mut reloader = start(&root, Some(&text));
        let at_start = reloader.store().status().faults;
        let ReloadOutcome::Refused { faults } = reloader.reload(reloader.origin().read(), Cause::Control) else {
            panic!("a fault refuses")
        };
        for found in [at_start, faults, reloader.store().status().faults] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].message.starts_with("unknown preset"), "{}", found[0]);
        }
    }

    #[test]
    fn an_entry_ends_while_the_files_have_faults() {
        /// Past the end of the entry from the second reading on.
        #[derive(Default)]
        struct Late(std::sync::atomic::AtomicBool);
        impl Clock for Late {
            fn now(&self) -> SystemTime {
                let is_late = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
                if is_late { SystemTime::now() } else { SystemTime::UNIX_EPOCH }
            }
        }
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.toml");
        fs::write(&file, format!("{GOOD}expires = 2001-01-01T00:00:00Z\n")).unwrap();
        let origin = Origin::Directory(root.path().to_owned());
        let state = root.path().join("state");
        let mut reloader = Reloader::start(origin, Options::default(), &state, Arc::new(Late::default()));
        assert!(resolves(&reloader, "a.example"));
        fs::write(&file, "version = 2").unwrap();
        reloader.reload(reloader.origin().read(), Cause::Poll);
        assert!(resolves(&reloader, "a.example"), "a refused policy changes nothing");
        reloader.expire();
        assert!(!resolves(&reloader, "a.example"));
        assert_eq!(reloader.store().status().state, PolicyState::Degraded);
    }
}
