//! When the policy is looked at: one task that takes file events, a look every two seconds, requests, and the ends of
//! entries one after another, and brings what it finds into force through [`Reloader`].
//!
//! The folder is watched, not its files, since editors rename and a ConfigMap turns a link; and the folder above it, since
//! the folder itself may be replaced. Events only say "look": what counts is the contents, read until two readings agree.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, warn};

use crate::background::in_background;
use crate::diagnostic::Diagnostic;
use crate::policy::compile::Compiled;
use crate::policy::kept::KeptPolicy;
use crate::policy::overlay::{Change, Order};
use crate::policy::reload::{Cause, Origin, OverlayOutcome, Reading, ReloadOutcome, Reloader, same};

/// Looks at the policy when there is reason to.
pub struct Watch {
    /// Locked on blocking threads only, by one at a time.
    reloader: Arc<Mutex<Reloader>>,
    origin: Origin,
    timing: Timing,
    events: Option<Events>,
    requests: mpsc::Receiver<Request>,
}

/// Asks a [`Watch`] to look now.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<Request>);

/// What a [`Watch`] listens to, how often it looks, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Whether file events are listened to.
    pub events: bool,
    /// The time between two looks without an event.
    pub poll: Duration,
    /// The longest time between two looks at the clock.
    pub clock: Duration,
    /// The quiet time that ends a burst of events.
    pub quiet: Duration,
    /// The longest burst that is waited for.
    pub burst: Duration,
    /// The time between two readings that must agree.
    pub settle: Duration,
    /// How many readings to take at most until two agree.
    pub readings: usize,
}

/// What is to be done with the files as they are now.
type Request = Box<dyn FnOnce(&mut Reloader, Reading) + Send>;

/// The events of one folder and of what stands in it.
struct Events {
    watcher: RecommendedWatcher,
    folder: PathBuf,
    happened: Arc<Notify>,
}

impl Watch {
    /// Prepares to watch. Nothing happens before [`Watch::run`]; requests made until then wait for it.
    pub fn new(reloader: Reloader, timing: Timing) -> (Self, ReloadHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let origin = reloader.origin().clone();
        let events = match &origin {
            Origin::Directory(folder) if timing.events => Events::of(folder),
            Origin::Directory(_) | Origin::Embedded(_) => None,
        };
        let reloader = Arc::new(Mutex::new(reloader));
        (Self { reloader, origin, timing, events, requests }, ReloadHandle(sender))
    }

    /// Watches until `shutdown` is ready; a reload that has begun then is finished first.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        // Something may have changed since the start read the files.
        self.look(Cause::Poll).await;
        let mut polled = Instant::now();
        loop {
            self.with(Reloader::tend).await;
            let clock = Instant::now() + self.until_clock().await;
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(request) = self.requests.recv() => self.answer(request).await,
                () = Events::happened(self.events.as_ref()) => {
                    self.let_burst_end().await;
                    self.look(Cause::FileEvent).await;
                }
                () = sleep_until(clock) => {}
                () = sleep_until(polled + self.timing.poll) => {
                    self.look(Cause::Poll).await;
                    polled = Instant::now();
                }
            }
        }
    }

    /// Reloads if the files are not as they were.
    async fn look(&mut self, cause: Cause) {
        self.arm().await;
        let reading = self.read().await;
        if self.is_news(reading.clone()).await {
            let reading = self.settle(reading).await;
            if self.is_news(reading.clone()).await {
                self.with(move |reloader| reloader.reload(reading, cause)).await;
            }
        }
    }

    /// Does what is asked for, whether or not the files are as they were.
    async fn answer(&mut self, request: Request) {
        self.arm().await;
        let reading = self.read().await;
        let reading = self.settle(reading).await;
        self.with(move |reloader| request(reloader, reading)).await;
    }

    /// Reads until two readings agree, or often enough.
    async fn settle(&self, mut reading: Reading) -> Reading {
        for _ in 1..self.timing.readings {
            sleep(self.timing.settle).await;
            let again = self.read().await;
            if same(&reading, &again) {
                return again;
            }
            reading = again;
        }
        reading
    }

    /// Waits for the quiet after a burst of events: an editor's save is several.
    async fn let_burst_end(&self) {
        let quiet = async { while timeout(self.timing.quiet, Events::happened(self.events.as_ref())).await.is_ok() {} };
        // A burst that does not end is looked into as well.
        let _ = timeout(self.timing.burst, quiet).await;
    }

    /// Without its watcher, should that ever be lost, there is still the regular look.
    async fn arm(&mut self) {
        if let Some(mut events) = self.events.take() {
            let armed = spawn_blocking(move || {
                events.arm();
                events
            });
            self.events = armed.await.inspect_err(|error| error!(%error, "file events are lost")).ok();
        }
    }

    async fn read(&self) -> Reading {
        let origin = self.origin.clone();
        let lost = || Err(vec![Diagnostic::about(self.folder(), "reading the policy was interrupted")]);
        apart(move || origin.read()).await.unwrap_or_else(lost)
    }

    async fn is_news(&self, reading: Reading) -> bool {
        self.with(move |reloader| reloader.is_news(&reading)).await.unwrap_or(false)
    }

    /// How long the clock need not be looked at.
    async fn until_clock(&self) -> Duration {
        let expiry = self.with(|reloader| reloader.until_expiry()).await.flatten();
        let expiry = expiry.map(|wait| if wait.is_zero() { OVERDUE } else { wait });
        expiry.map_or(self.timing.clock, |wait| wait.min(self.timing.clock))
    }

    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Reloader) -> T + Send + 'static) -> Option<T> {
        let reloader = Arc::clone(&self.reloader);
        apart(move || work(&mut reloader.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    fn folder(&self) -> &Path {
        match &self.origin {
            Origin::Directory(folder) => folder,
            Origin::Embedded(_) => Path::new("."),
        }
    }
}

/// Does work that takes a while, or reads files, off the threads that answer questions; `None`, and a word in the log, if
/// it did not end.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // One thread waits for the other, within the same runtime, so that a test's paused clock stands still meanwhile.
    let runtime = Handle::current();
    let work = move || {
        let _within = runtime.enter();
        work()
    };
    let done = spawn_blocking(move || in_background("policy", work)).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.inspect_err(|error| error!(%error, "a look at the policy did not end")).ok()
}

impl ReloadHandle {
    /// Looks at the policy now, and tells what came of it.
    pub async fn reload(&self, cause: Cause) -> ReloadOutcome {
        self.ask(move |reloader, reading| reloader.reload(reading, cause)).await.unwrap_or_else(unlooked)
    }

    /// Compiles the policy as it is written now, and puts nothing in force.
    ///
    /// # Errors
    /// What a reload would be refused for.
    pub async fn preview(&self) -> Result<Compiled, Vec<Diagnostic>> {
        let preview = self.ask(|reloader, reading| reloader.preview(reading)).await;
        preview.unwrap_or_else(|| Err(vec![stopping()]))
    }

    /// The files in force without what is on top of them; `None`: none are.
    pub async fn files_alone(&self) -> Option<Compiled> {
        self.ask(|reloader, _| reloader.files_alone()).await.flatten()
    }

    /// The policies that can be rolled back to, newest first; none where the server is stopping.
    pub async fn kept(&self) -> Vec<KeptPolicy> {
        self.ask(|reloader, _| reloader.kept()).await.unwrap_or_default()
    }

    /// Puts a kept generation in force until the policy files change; `by` asked for it.
    pub async fn roll_back(&self, generation: u64, by: String) -> ReloadOutcome {
        let work = move |reloader: &mut Reloader, reading| reloader.roll_back(generation, &by, reading);
        self.ask(work).await.unwrap_or_else(unlooked)
    }

    /// Puts the policy files in force again; `by` asked for it.
    pub async fn end_rollback(&self, by: String) -> ReloadOutcome {
        let work = move |reloader: &mut Reloader, reading| reloader.end_rollback(&by, reading);
        self.ask(work).await.unwrap_or_else(unlooked)
    }

    /// Puts a change on top of the policy in force.
    pub async fn put_overlay(&self, order: Order) -> OverlayOutcome {
        let outcome = self.ask(move |reloader, _| reloader.put_overlay(order)).await;
        outcome.unwrap_or_else(|| OverlayOutcome::Refused { faults: vec![stopping()] })
    }

    /// Ends such a change; `by` asked for it.
    pub async fn end_overlay(
        &self,
        change: Change,
        group: Option<String>,
        client: Option<IpAddr>,
        by: String,
    ) -> OverlayOutcome {
        let work = move |reloader: &mut Reloader, _| reloader.end_overlay(&change, group.as_deref(), client, &by);
        let outcome = self.ask(work).await;
        outcome.unwrap_or_else(|| OverlayOutcome::Refused { faults: vec![stopping()] })
    }

    /// Has something done with the policy files as they are now; `None`: the server is stopping.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reloader, Reading) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let request = move |reloader: &mut Reloader, reading: Reading| {
            // Whoever asked may have gone.
            let _ = answer.send(work(reloader, reading));
        };
        self.0.send(Box::new(request)).await.ok()?;
        answered.await.ok()
    }
}

fn unlooked() -> ReloadOutcome {
    ReloadOutcome::Refused { faults: vec![stopping()] }
}

fn stopping() -> Diagnostic {
    Diagnostic::about(".", "the policy was not looked at: the server is stopping")
}

impl Events {
    /// Listens to `folder`; `None`, and a word in the log, where that cannot be: then only the regular look remains.
    fn of(folder: &Path) -> Option<Self> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let happened = Arc::new(Notify::new());
        let (within, tell) = (folder.clone(), Arc::clone(&happened));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event, &within)) {
                tell.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| warn!(%error, "no file events; the policy is looked at regularly"));
        let mut events = Self { watcher: watcher.ok()?, folder, happened };
        events.arm();
        Some(events)
    }

    /// Watches the folder that has the name now, and the one above it. To be done before each reading, so that what
    /// happens after the reading is an event.
    fn arm(&mut self) {
        for path in self.folder.parent().into_iter().chain([self.folder.as_path()]) {
            // What is not watched, or no longer, cannot be unwatched.
            let _ = self.watcher.unwatch(path);
            if let Err(error) = self.watcher.watch(path, RecursiveMode::NonRecursive) {
                debug!(%error, path = %path.display(), "no file events");
            }
        }
    }

    /// Ready when something happened since the last time.
    async fn happened(events: Option<&Self>) {
        match events {
            Some(events) => events.happened.notified().await,
            None => pending().await,
        }
    }
}

/// Whether an event may mean that policy files changed. Opening and reading them, as we do ourselves, does not; nor does
/// what happens beside the folder.
fn is_change(event: &Event, folder: &Path) -> bool {
    let is_reading = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let is_inside = event.paths.iter().any(|path| path.starts_with(folder));
    !is_reading && (event.need_rescan() || is_inside)
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            events: true,
            poll: Duration::from_secs(2),
            clock: Duration::from_secs(30),
            quiet: Duration::from_millis(50),
            burst: Duration::from_millis(300),
            settle: Duration::from_millis(20),
            readings: 10,
        }
    }
}

/// Requests that wait; whoever asks beyond waits for room.
const REQUESTS: usize = 16;

/// When to look again at an expiry that could not be acted upon.
const OVERDUE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use tempfile::TempDir;
    use tokio::sync::watch::Receiver;

    use super::*;
    use crate::policy::compile::Options;
    use crate::policy::reload::{Clock, SystemClock};
    use crate::policy::store::{PolicyState, PolicyStatus, PolicyStore};

    /// A policy folder with a watch on it.
    struct Watched {
        root: TempDir,
        store: Arc<PolicyStore>,
        status: Receiver<PolicyStatus>,
        reload: ReloadHandle,
    }

    /// Events only: a look in between would hide one that is missed.
    fn by_events() -> Timing {
        Timing { poll: Duration::from_hours(1), ..Timing::default() }
    }

    /// Looks only, for what no event tells of.
    fn by_looks() -> Timing {
        Timing { events: false, poll: Duration::from_millis(20), ..Timing::default() }
    }

    fn policy(hosts: &[&str]) -> String {
        format!("version = 1\n[[registry]]\nname = \"r\"\nhosts = {hosts:?}\n")
    }

    impl Watched {
        /// With one file, `a.toml`, that allows `a.example`.
        async fn new(timing: Timing) -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("policy.d")).unwrap();
            fs::write(root.path().join("policy.d/a.toml"), policy(&["a.example"])).unwrap();
            Self::over(root, timing).await
        }

        async fn over(root: TempDir, timing: Timing) -> Self {
            let origin = Origin::Directory(root.path().join("policy.d"));
            let reloader =
                Reloader::start(origin, Options::default(), &root.path().join("state"), Arc::new(SystemClock));
            let store = Arc::clone(reloader.store());
            let (watch, reload) = Watch::new(reloader, timing);
            tokio::spawn(watch.run(pending()));
            // The answer comes after the first look, so that what follows is seen by what is tested.
            reload.reload(Cause::Control).await;
            let mut status = store.subscribe();
            status.mark_unchanged();
            Self { root, store, status, reload }
        }

        fn folder(&self) -> PathBuf {
            self.root.path().join("policy.d")
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.folder().join(file), text).unwrap();
        }

        async fn until(&mut self, is_so: impl FnMut(&PolicyStatus) -> bool) -> PolicyStatus {
            let reached = timeout(Duration::from_secs(5), self.status.wait_for(is_so)).await;
            reached.expect("the status changes in time").unwrap().clone()
        }

        async fn until_rules(&mut self, rules: usize) {
            self.until(|status| status.state == PolicyState::Ok && status.rules == rules).await;
        }

        /// Waits for a refusal; the policy before has to be in force still.
        async fn until_refused(&mut self) -> PolicyStatus {
            let generation = self.store.current().generation;
            let status = self.until(|status| status.state == PolicyState::Degraded).await;
            assert_eq!(self.store.current().generation, generation);
            assert_eq!(status.rules, 1);
            status
        }
    }

    #[tokio::test]
    async fn a_file_renamed_into_place_comes_into_force() {
        let mut watched = Watched::new(by_events()).await;
        watched.write(".a.toml.new", &policy(&["a.example", "b.example"]));
        fs::rename(watched.folder().join(".a.toml.new"), watched.folder().join("a.toml")).unwrap();
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn a_file_rewritten_in_place_comes_into_force() {
        let mut watched = Watched::new(by_events()).await;
        watched.write("a.toml", &policy(&["a.example", "b.example"]));
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn an_editor_that_moves_the_old_file_away_and_writes_anew_is_followed() {
        let mut watched = Watched::new(by_events()).await;
        let (file, backup) = (watched.folder().join("a.toml"), watched.folder().join("a.toml~"));
        watched.write("4913", "");
        fs::remove_file(watched.folder().join("4913")).unwrap();
        fs::rename(&file, &backup).unwrap();
        watched.write("a.toml", &policy(&["a.example", "b.example"]));
        fs::remove_file(backup).unwrap();
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn files_that_come_and_go_are_followed() {
        let mut watched = Watched::new(by_events()).await;
        watched.write("b.toml", &policy(&["b.example"]).replace("\"r\"", "\"other\""));
        watched.until_rules(2).await;
        fs::remove_file(watched.folder().join("a.toml")).unwrap();
        watched.until_rules(1).await;
        let pattern = watched.store.current().snapshot.rules().next().unwrap().pattern().to_string();
        assert_eq!(pattern, "b.example");
    }

    #[tokio::test]
    async fn a_folder_that_is_replaced_is_followed_and_so_is_what_happens_in_the_new_one() {
        let mut watched = Watched::new(by_events()).await;
        let new = watched.root.path().join("policy.new");
        fs::create_dir(&new).unwrap();
        fs::write(new.join("a.toml"), policy(&["a.example", "b.example"])).unwrap();
        fs::rename(watched.folder(), watched.root.path().join("policy.old")).unwrap();
        fs::rename(&new, watched.folder()).unwrap();
        watched.until_rules(2).await;
        watched.write("a.toml", &policy(&["a.example", "b.example", "c.example"]));
        watched.until_rules(3).await;
    }

    #[tokio::test]
    async fn a_folder_that_is_deleted_leaves_the_policy_and_is_followed_once_it_is_back() {
        let mut watched = Watched::new(by_events()).await;
        fs::remove_dir_all(watched.folder()).unwrap();
        watched.until_refused().await;
        fs::create_dir(watched.folder()).unwrap();
        watched.write("a.toml", &policy(&["a.example", "b.example"]));
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn an_emptied_folder_leaves_the_policy_in_force() {
        let mut watched = Watched::new(by_events()).await;
        fs::remove_file(watched.folder().join("a.toml")).unwrap();
        watched.until_refused().await;
    }

    #[tokio::test]
    async fn a_config_map_that_turns_its_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policy.d");
        for (version, hosts) in [("..1", &["a.example"][..]), ("..2", &["a.example", "b.example"])] {
            fs::create_dir_all(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("a.toml"), policy(hosts)).unwrap();
        }
        symlink("..1", folder.join("..data")).unwrap();
        symlink("..data/a.toml", folder.join("a.toml")).unwrap();
        let mut watched = Watched::over(root, by_events()).await;
        assert_eq!(watched.store.status().rules, 1);
        symlink("..2", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn a_policy_folder_that_is_a_link_is_followed_when_it_is_turned() {
        let root = tempfile::tempdir().unwrap();
        for (release, hosts) in [("r1", &["a.example"][..]), ("r2", &["a.example", "b.example"])] {
            fs::create_dir(root.path().join(release)).unwrap();
            fs::write(root.path().join(release).join("a.toml"), policy(hosts)).unwrap();
        }
        symlink("r1", root.path().join("policy.d")).unwrap();
        let mut watched = Watched::over(root, by_events()).await;
        symlink("r2", watched.root.path().join("next")).unwrap();
        fs::rename(watched.root.path().join("next"), watched.folder()).unwrap();
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn a_half_written_file_changes_nothing_and_the_whole_one_does() {
        let mut watched = Watched::new(by_events()).await;
        let whole = policy(&["a.example", "b.example"]);
        watched.write("a.toml", &whole[..whole.len() - 5]);
        let status = watched.until_refused().await;
        assert!(status.faults.iter().any(Diagnostic::is_fault));
        watched.write("a.toml", &whole);
        watched.until_rules(2).await;
        assert_eq!(watched.store.status().faults, []);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_changes_nothing() {
        let mut watched = Watched::new(by_events()).await;
        symlink("nowhere", watched.folder().join("b.toml")).unwrap();
        let status = watched.until_refused().await;
        assert!(status.faults[0].path.ends_with("b.toml"), "{}", status.faults[0]);
    }

    #[tokio::test]
    async fn a_broken_policy_that_is_taken_back_is_no_new_generation() {
        let mut watched = Watched::new(by_events()).await;
        watched.write("a.toml", "version = 1\n[[regsitry]]\n");
        watched.until_refused().await;
        watched.write("a.toml", &policy(&["a.example"]));
        let status = watched.until(|status| status.state == PolicyState::Ok).await;
        assert_eq!((status.generation, status.applied, status.refused), (1, 1, 1));
    }

    #[tokio::test]
    async fn what_no_event_tells_of_is_found_by_looking() {
        let mut watched = Watched::new(by_looks()).await;
        watched.write("a.toml", &policy(&["a.example", "b.example"]));
        watched.until_rules(2).await;
    }

    #[tokio::test]
    async fn a_request_is_answered_with_what_came_of_it() {
        let watched = Watched::new(Timing { events: false, ..by_events() }).await;
        let ask = || watched.reload.reload(Cause::Signal);
        assert!(matches!(ask().await, ReloadOutcome::Unchanged { generation: 1, .. }));
        watched.write("a.toml", &policy(&["b.example"]));
        assert!(matches!(ask().await, ReloadOutcome::Applied { generation: 2, .. }));
        watched.write("a.toml", "nonsense");
        let ReloadOutcome::Refused { faults } = ask().await else { panic!("nonsense is refused") };
        assert!(faults[0].to_string().contains("a.toml:1:"), "{}", faults[0]);
        assert!(matches!(ask().await, ReloadOutcome::Refused { .. }), "it is still refused");
    }

    #[tokio::test]
    async fn a_preview_tells_what_a_reload_would_take_and_changes_nothing() {
        let watched = Watched::new(Timing { events: false, ..by_events() }).await;
        watched.write("a.toml", &policy(&["b.example", "c.example"]));
        let compiled = watched.reload.preview().await.unwrap();
        assert_eq!((compiled.snapshot.rule_count(), watched.store.status().rules), (2, 1));
        watched.write("a.toml", "nonsense");
        assert!(watched.reload.preview().await.unwrap_err()[0].to_string().contains("a.toml:1:"));
        let status = watched.store.status();
        assert_eq!((status.state, status.generation, status.refused), (PolicyState::Ok, 1, 0));
    }

    #[tokio::test]
    async fn comments_move_the_places_of_rules_without_a_new_generation() {
        let watched = Watched::new(Timing { events: false, ..by_events() }).await;
        watched.write("a.toml", &format!("# why\n{}", policy(&["a.example"])));
        let outcome = watched.reload.reload(Cause::Control).await;
        assert!(matches!(outcome, ReloadOutcome::Unchanged { generation: 1, .. }));
        assert_eq!(watched.store.current().snapshot.rules().next().unwrap().place().unwrap().line, 5);
    }

    #[tokio::test]
    async fn whoever_asks_after_the_end_is_told() {
        let root = tempfile::tempdir().unwrap();
        let origin = Origin::Embedded("version = 1\n[[registry]]\npreset = \"docker-hub\"\n");
        let reloader = Reloader::start(origin, Options::default(), root.path(), Arc::new(SystemClock));
        let (watch, reload) = Watch::new(reloader, Timing::default());
        watch.run(std::future::ready(())).await;
        assert!(matches!(reload.reload(Cause::Control).await, ReloadOutcome::Refused { .. }));
    }

    /// A wall clock that goes with tokio's paused one, and that a test sets.
    struct SetClock {
        began: Instant,
        showed: Mutex<SystemTime>,
    }

    impl SetClock {
        fn set_to_hour(&self, hour: u64) {
            *self.showed.lock().unwrap() = at_hour(hour) - self.began.elapsed();
        }
    }

    impl Clock for SetClock {
        fn now(&self) -> SystemTime {
            *self.showed.lock().unwrap() + self.began.elapsed()
        }
    }

    fn at_hour(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 40 + hour)
    }

    /// A registry that ends at hour 1; it is hour 0.
    fn ending_at_hour_one() -> (Arc<SetClock>, Receiver<PolicyStatus>) {
        let clock = Arc::new(SetClock { began: Instant::now(), showed: Mutex::new(at_hour(0)) });
        let origin = Origin::Embedded(
            "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"a.example\"]\nexpires = 2009-12-22T01:00:00Z\n",
        );
        let state = Path::new("/nonexistent");
        let reloader = Reloader::start(origin, Options::default(), state, Arc::clone(&clock) as Arc<dyn Clock>);
        let status = reloader.store().subscribe();
        assert_eq!(status.borrow().rules, 1);
        let timing = Timing { poll: Duration::from_hours(10_000), ..Timing::default() };
        tokio::spawn(Watch::new(reloader, timing).0.run(pending()));
        (clock, status)
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_at_its_time() {
        let (clock, mut status) = ending_at_hour_one();
        status.wait_for(|status| status.rules == 0).await.unwrap();
        let late = clock.now().duration_since(at_hour(1)).unwrap();
        assert!(late <= Duration::from_millis(10), "{late:?}");
        assert_eq!(status.borrow().generation, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_ends_an_entry_or_brings_it_back_within_half_a_minute() {
        let (clock, mut status) = ending_at_hour_one();
        for (hour, rules) in [(2, 0), (0, 1), (3, 0)] {
            clock.set_to_hour(hour);
            let set = Instant::now();
            status.wait_for(|status| status.rules == rules).await.unwrap();
            assert!(set.elapsed() <= Duration::from_secs(31), "{:?}", set.elapsed());
        }
    }
}
