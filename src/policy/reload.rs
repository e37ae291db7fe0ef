//! The one way a policy comes into force: read, compile beside the old, swap, keep a copy; on any fault keep the old.
//!
//! Plain functions over files and a clock; [`crate::policy::watch`] says when.

mod first;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tracing::{error, info, warn};

use self::first::Chooser;
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::policy::compile::{Compiled, Options, Overlaid, load, load_overlaid};
use crate::policy::document::read_directory;
use crate::policy::exceptions::{Exception, Notice, Reminders, in_utc, in_words};
use crate::policy::kept::{Kept, KeptPolicy};
use crate::policy::overlay::{Change, Order, Overlay, Overlays};
use crate::policy::rollback::{self, Record};
use crate::policy::state_file::StateFile;
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

/// What came of a change on top of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlayOutcome {
    /// It is in force.
    InForce {
        /// The generation in force.
        generation: u64,
        /// What is on top.
        overlay: Overlay,
        /// What somebody should look at.
        warnings: Vec<Diagnostic>,
    },
    /// It has been ended.
    Ended {
        /// The generation in force.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<Diagnostic>,
    },
    /// Nothing changed.
    Refused {
        /// Why.
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
    kept: Kept,
    rollback_file: StateFile,
    /// What is in force instead of the files.
    rollback: Option<Record>,
    /// What is on top of what is in force.
    overlays: Overlays,
    clock: Arc<dyn Clock>,
    /// The files of the policy in force; none under deny-all.
    in_force: Option<Vec<Source>>,
    /// The files looked at last.
    seen: Reading,
    /// What was said of entries that run out.
    reminders: Reminders,
}

impl Reloader {
    /// Brings the first policy into force: the one of a rollback that is still on, else the one written, else the last good
    /// one kept in `state`, else one that denies everything. What happened is in the store's status.
    pub fn start(origin: Origin, options: Options, state: &Path, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let kept = Kept::new(state);
        let rollback_file = rollback::file(state);
        let (rollback, damaged) = match rollback_file.read() {
            Ok(rollback) => (rollback, None),
            Err(fault) => (None, Some(Diagnostic { severity: Severity::Warning, ..fault })),
        };
        let (mut overlays, mut found) = Overlays::load(state);
        let unkept = end_overlays(&mut overlays, now);
        found.extend(damaged.into_iter().chain(unkept));
        let seen = origin.read();
        let first =
            Chooser { kept: &kept, overlays: overlays.list(), options: &options, now }.choose(&seen, rollback.as_ref());
        let generation = kept.generation_of(first.snapshot.digest());
        let store = Arc::new(PolicyStore::new(first.snapshot, first.state, generation, now));
        let (rollback, ended) = match first.state {
            PolicyState::RolledBack => (rollback, None),
            PolicyState::Ok | PolicyState::Degraded | PolicyState::DenyAll => (None, rollback),
        };
        let in_force = first.files;
        let reminders = Reminders::default();
        let reloader =
            Self { store, origin, options, kept, rollback_file, rollback, overlays, clock, in_force, seen, reminders };
        if let Some(ended) = ended {
            info!(of = ended.generation(), "rollback ended: the policy files changed, or its own are gone");
            reloader.forget_rollback();
        }
        let unkept = if first.state == PolicyState::Ok { reloader.keep() } else { None };
        let standing = reloader.standing();
        reloader.store.report(|status| {
            status.faults = first.faults;
            status.warnings = first.warnings;
            status.warnings.extend(found.into_iter().chain(unkept).chain(standing));
            status.rollback = reloader.rollback.as_ref().map(Record::shown);
            status.overlays = reloader.overlays.list().to_vec();
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
        let compiled = reading.clone().and_then(|files| self.compile(files, now));
        self.seen = reading;
        match compiled {
            Ok(compiled) if self.rollback.as_ref().is_some_and(|rollback| rollback.overrides(&self.seen)) => {
                self.stay(compiled.warnings)
            }
            Ok(compiled) => self.accept(compiled, cause, now),
            Err(found) => self.refuse(faults_of(found), cause),
        }
    }

    /// Compiles a reading as a reload would, and changes nothing.
    pub(super) fn preview(&self, reading: Reading) -> Result<Compiled, Vec<Diagnostic>> {
        self.compile(reading?, self.clock.now()).map_err(faults_of)
    }

    /// Compiles the files in force without what is on top of them; `None`: none are, or they no longer compile.
    pub(super) fn files_alone(&self) -> Option<Compiled> {
        load(self.in_force.clone()?, &self.options, self.clock.now()).ok()
    }

    /// The policies that can be rolled back to, newest first.
    pub(super) fn kept(&self) -> Vec<KeptPolicy> {
        self.kept.list()
    }

    /// Puts the files of a kept generation in force, until those of `reading`, as they are in the policy folder, change.
    pub(super) fn roll_back(&mut self, generation: u64, by: &str, reading: Reading) -> ReloadOutcome {
        let now = self.clock.now();
        let files = self.kept.files(generation).unwrap_or_else(|| Err(vec![self.not_kept(generation)]));
        let compiled = files.and_then(|files| Ok((files.clone(), self.compile(files, now)?)));
        let (files, compiled) = match compiled {
            Ok(found) => found,
            Err(found) => return ReloadOutcome::Refused { faults: faults_of(found) },
        };
        let record = Record::new(generation, by, &reading, now);
        let unkept = self.rollback_file.write(Some(&record)).err().map(|error| self.forgotten(&error));
        (self.seen, self.in_force) = (reading, Some(files));
        self.rollback = Some(record);
        let warnings: Vec<Diagnostic> = compiled.warnings.into_iter().chain(unkept).chain(self.standing()).collect();
        let applied = self.store.swap(compiled.snapshot, now, |status| {
            status.state = PolicyState::RolledBack;
            status.warnings.clone_from(&warnings);
            status.rollback = self.rollback.as_ref().map(Record::shown);
        });
        let in_force = self.store.current().generation;
        warn!(generation = in_force, of = generation, by, "policy rolled back; the policy files are not in force");
        match applied {
            Some(generation) => ReloadOutcome::Applied { generation, warnings },
            None => ReloadOutcome::Unchanged { generation: in_force, warnings },
        }
    }

    /// Ends a rollback: puts the files in force again. It stays if they have faults.
    pub(super) fn end_rollback(&mut self, by: &str, reading: Reading) -> ReloadOutcome {
        let Some(rollback) = self.rollback.take() else {
            let message = "no rollback is in force";
            return ReloadOutcome::Refused { faults: vec![Diagnostic::about(self.kept.path(), message)] };
        };
        let outcome = self.reload(reading, Cause::Control);
        if let ReloadOutcome::Refused { .. } = outcome {
            self.rollback = Some(rollback);
        } else {
            self.forget_rollback();
            info!(of = rollback.generation(), by, "rollback ended");
        }
        outcome
    }

    /// Puts a change on top of the policy in force.
    pub(super) fn put_overlay(&mut self, order: Order) -> OverlayOutcome {
        let now = self.clock.now();
        let overlay = match order.accept(self.overlays.next_id(), now) {
            Ok(overlay) => overlay,
            Err(fault) => return OverlayOutcome::refused(fault.to_string()),
        };
        let Some(list) = self.overlays.with(&overlay) else {
            return OverlayOutcome::refused("there are too many overlays: end one, or write it into the policy files");
        };
        let Some(files) = self.in_force.clone() else {
            return OverlayOutcome::refused("no policy is in force that it could be put on");
        };
        let overlaid = match load_overlaid(files, &list, &self.options, now) {
            Ok(overlaid) => overlaid,
            Err(found) => return OverlayOutcome::Refused { faults: faults_of(found) },
        };
        if let Some((_, why)) = overlaid.idle.iter().find(|(id, _)| *id == overlay.id) {
            return OverlayOutcome::Refused { faults: vec![why.clone().into_fault()] };
        }
        let unkept = self.overlays.set(list);
        let generation = self.put(with_idle(overlaid), now);
        warn!(generation, overlay = %overlay, ticket = overlay.ticket, reason = overlay.reason, "overlay in force");
        let warnings = overlay.strangers().into_iter().chain(unkept).collect();
        OverlayOutcome::InForce { generation, overlay, warnings }
    }

    /// Ends the overlay that makes this change for a group or a client.
    pub(super) fn end_overlay(
        &mut self,
        change: &Change,
        group: Option<&str>,
        client: Option<IpAddr>,
        by: &str,
    ) -> OverlayOutcome {
        let rest = self.overlays.without(change, group, client);
        if rest.len() == self.overlays.list().len() {
            let client_text = client.map(|client| format!(" for client {client}"));
            let whose = group.map(|group| format!(" for group `{group}`")).or(client_text).unwrap_or_default();
            return OverlayOutcome::refused(format!(
                "there is no overlay `{} {}`{whose}",
                change.kind(),
                change.what()
            ));
        }
        let warnings = self.overlays.set(rest).into_iter().collect();
        let generation = self.relay(self.clock.now());
        let client = client.map(tracing::field::display);
        info!(generation, kind = change.kind(), what = change.what(), group, client, by, "overlay ended");
        OverlayOutcome::Ended { generation, warnings }
    }

    /// What there is to do from time to time: frees policies that were in force, ends entries, and says which soon will.
    pub(super) fn tend(&mut self) {
        self.store.free_retired();
        self.expire();
        self.remind();
    }

    /// Says which entries run out.
    fn remind(&mut self) {
        let now = self.clock.now();
        let in_force = self.store.current();
        for (notice, exception) in self.reminders.due(in_force.snapshot.exceptions(), now) {
            let Exception { entry, expires, owner, ticket, place, .. } = exception;
            let (expires, owner, ticket) = (in_utc(*expires), owner.as_deref(), ticket.as_deref());
            match notice {
                Notice::Week | Notice::Day => {
                    let left = in_words(exception.left(now).unwrap_or_default());
                    warn!(entry, left, expires, owner, ticket, %place, "a policy entry ends soon");
                }
                Notice::Ended => warn!(entry, expires, owner, ticket, %place, "a policy entry ended"),
            }
        }
    }

    /// Leaves out what has ended by now, or takes back what a clock set back has not ended yet, from the policy in force:
    /// also while the files have faults.
    fn expire(&mut self) {
        let now = self.clock.now();
        let overlays = self.overlays.list().len();
        let unkept = end_overlays(&mut self.overlays, now);
        if self.overlays.list().len() == overlays && self.store.current().snapshot.is_current(now) {
            return;
        }
        let before = self.store.current().generation;
        let generation = self.relay(now);
        self.store.report(|status| status.warnings.extend(unkept));
        if generation == before {
            return;
        }
        info!(cause = ?Cause::Expiry, generation, "policy entries or overlays ended or began anew");
    }

    /// Compiles the files in force anew, with what is on top of them by now. The generation in force.
    fn relay(&mut self, now: SystemTime) -> u64 {
        match self.in_force.clone().map(|files| self.compile(files, now)) {
            Some(Ok(compiled)) => return self.put(compiled, now),
            Some(Err(found)) => {
                error!(faults = faults_of(found).len(), "the policy in force no longer compiles; it stays as it is");
            }
            None => {}
        }
        self.store.report(|status| status.overlays = self.overlays.list().to_vec());
        self.store.current().generation
    }

    /// Puts the files in force as they compile now: neither the state nor the faults of those on disk change.
    fn put(&self, compiled: Compiled, now: SystemTime) -> u64 {
        let Compiled { snapshot, mut warnings } = compiled;
        warnings.extend(self.standing());
        self.store.swap(snapshot, now, |status| {
            status.warnings = warnings;
            status.overlays = self.overlays.list().to_vec();
        });
        self.store.current().generation
    }

    /// Compiles files with what is on top of them.
    fn compile(&self, files: Vec<Source>, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
        load_overlaid(files, self.overlays.list(), &self.options, now).map(with_idle)
    }

    /// How long the policy in force stays as it is, if the clock is not set.
    pub(super) fn until_expiry(&self) -> Option<std::time::Duration> {
        let ends = [self.store.current().snapshot.next_expiry(), self.overlays.next_end()];
        let next = ends.into_iter().flatten().min()?;
        Some(next.duration_since(self.clock.now()).unwrap_or_default())
    }

    fn accept(&mut self, compiled: Compiled, cause: Cause, now: SystemTime) -> ReloadOutcome {
        let Compiled { snapshot, mut warnings } = compiled;
        if let Some(rollback) = self.rollback.take() {
            self.forget_rollback();
            info!(of = rollback.generation(), "rollback ended: the policy files changed");
        }
        let applied = self.store.swap(snapshot, now, |status| {
            status.state = PolicyState::Ok;
            status.loaded = now;
            status.faults.clear();
            status.warnings.clone_from(&warnings);
            status.rollback = None;
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

    /// The files are as they were when they were rolled back.
    fn stay(&self, mut warnings: Vec<Diagnostic>) -> ReloadOutcome {
        warnings.extend(self.standing());
        self.store.report(|status| {
            status.faults.clear();
            status.loaded = self.clock.now();
        });
        let generation = self.store.current().generation;
        warn!(generation, "policy files unchanged since the rollback, which stays");
        ReloadOutcome::Unchanged { generation, warnings }
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
        let PolicyStatus { generation, since, digest, .. } = self.store.status();
        let error = self.kept.save(files, &KeptPolicy { generation, since, digest: digest.to_string() }).err()?;
        warn!(%error, "the last good policy cannot be kept");
        let message = format!("the last good policy cannot be kept: {error}");
        let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::about(self.kept.path(), message) };
        Some(warning.hint("a restart that meets a faulty policy would deny everything"))
    }

    /// What is to be said for as long as it lasts.
    fn standing(&self) -> Option<Diagnostic> {
        self.rollback.as_ref().map(|rollback| rollback.warning(self.kept.path()))
    }

    fn forget_rollback(&self) {
        if let Err(error) = self.rollback_file.write::<Record>(None) {
            warn!(%error, "the rollback cannot be taken off the disk: a restart may bring it back");
        }
    }

    fn forgotten(&self, error: &std::io::Error) -> Diagnostic {
        let message = format!("the rollback cannot be kept: {error}");
        let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::about(self.kept.path(), message) };
        warning.hint("a restart would put the policy files in force again")
    }

    fn not_kept(&self, generation: u64) -> Diagnostic {
        let kept: Vec<String> = self.kept().iter().map(|kept| kept.generation.to_string()).collect();
        let hint =
            if kept.is_empty() { "none is kept yet".to_owned() } else { format!("kept are {}", kept.join(", ")) };
        Diagnostic::about(self.kept.path(), format!("generation {generation} is not kept")).hint(hint)
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

impl OverlayOutcome {
    fn refused(why: impl Into<String>) -> Self {
        Self::Refused { faults: vec![Diagnostic::about("overlay", why)] }
    }
}

/// A policy that says which of its overlays are of no effect.
fn with_idle(Overlaid { compiled, idle }: Overlaid) -> Compiled {
    let Compiled { snapshot, mut warnings } = compiled;
    warnings.extend(idle.into_iter().map(|(_, warning)| warning));
    Compiled { snapshot, warnings }
}

/// Takes out the overlays that have ended; a warning if that cannot be kept.
fn end_overlays(overlays: &mut Overlays, now: SystemTime) -> Option<Diagnostic> {
    let (ended, rest) = overlays.split(now);
    if ended.is_empty() {
        return None;
    }
    for overlay in &ended {
        info!(%overlay, ticket = overlay.ticket, "overlay ended: its time is up");
    }
    overlays.set(rest)
}

fn log_start(status: &PolicyStatus) {
    let PolicyStatus { digest, rules, faults, warnings, .. } = status;
    let first = first_line(faults);
    match status.state {
        PolicyState::Ok => info!(%digest, rules, warnings = warnings.len(), "policy in force"),
        PolicyState::RolledBack => warn!(rules, first, "an earlier policy is in force by a rollback"),
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
mod tests;
