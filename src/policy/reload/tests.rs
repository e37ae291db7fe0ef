//! How policies come into force, and how they do not.

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
    assert!(status.warnings[0].message.starts_with("the last good policy cannot be kept"), "{}", status.warnings[0]);
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

/// A reloader whose policy was first `a.example`, then `b.example`.
fn with_two_generations(root: &TempDir) -> Reloader {
    two_generations(root, GOOD)
}

/// The same with another first policy.
fn two_generations(root: &TempDir, first: &str) -> Reloader {
    fs::create_dir(root.path().join("policy.d")).unwrap();
    write(root, first);
    let mut reloader = restart(root);
    write(root, &GOOD.replace("a.example", "b.example"));
    reloader.reload(reloader.origin().read(), Cause::Control);
    reloader
}

fn write(root: &TempDir, text: &str) {
    fs::write(root.path().join("policy.d/a.toml"), text).unwrap();
}

/// A start that finds the files as they are.
fn restart(root: &TempDir) -> Reloader {
    let origin = Origin::Directory(root.path().join("policy.d"));
    Reloader::start(origin, Options::default(), &root.path().join("state"), Arc::new(SystemClock))
}

fn roll_back(reloader: &mut Reloader, generation: u64) -> ReloadOutcome {
    reloader.roll_back(generation, "alice", reloader.origin().read())
}

#[test]
fn generations_go_on_over_a_restart_and_equal_policies_have_one() {
    let root = tempfile::tempdir().unwrap();
    with_two_generations(&root);
    let reloader = restart(&root);
    assert_eq!(reloader.store().status().generation, 2);
    assert_eq!(reloader.kept().iter().map(|kept| kept.generation).collect::<Vec<_>>(), [2, 1]);
    write(&root, &GOOD.replace("a.example", "c.example"));
    assert_eq!(restart(&root).store().status().generation, 3);
}

#[test]
fn a_rollback_puts_a_kept_policy_in_force_and_says_so_until_the_files_change() {
    let root = tempfile::tempdir().unwrap();
    let mut reloader = with_two_generations(&root);
    assert!(matches!(roll_back(&mut reloader, 1), ReloadOutcome::Applied { generation: 3, .. }));
    assert!(resolves(&reloader, "a.example") && !resolves(&reloader, "b.example"));
    let status = reloader.store().status();
    assert_eq!(
        (status.state, status.rollback.map(|rollback| rollback.by)),
        (PolicyState::RolledBack, Some("alice".into()))
    );
    assert!(
        status.warnings.iter().any(|warning| warning.message.contains("by a rollback of alice")),
        "{:?}",
        status.warnings
    );

    let outcome = reloader.reload(reloader.origin().read(), Cause::Signal);
    assert!(matches!(outcome, ReloadOutcome::Unchanged { generation: 3, .. }), "the same files change nothing");
    assert!(resolves(&reloader, "a.example"));

    write(&root, &GOOD.replace("a.example", "c.example"));
    reloader.reload(reloader.origin().read(), Cause::FileEvent);
    let status = reloader.store().status();
    assert_eq!((status.state, status.rollback), (PolicyState::Ok, None));
    assert!(resolves(&reloader, "c.example") && !resolves(&reloader, "a.example"));
    assert_eq!(restart(&root).store().status().state, PolicyState::Ok);
}

#[test]
fn a_rollback_survives_a_restart_and_files_that_became_faulty() {
    let root = tempfile::tempdir().unwrap();
    let mut reloader = with_two_generations(&root);
    roll_back(&mut reloader, 1);
    assert!(resolves(&restart(&root), "a.example"));
    write(&root, "version = 2");
    reloader.reload(reloader.origin().read(), Cause::FileEvent);
    for reloader in [reloader, restart(&root)] {
        assert!(resolves(&reloader, "a.example"));
        let status = reloader.store().status();
        assert_eq!((status.state, status.faults.len()), (PolicyState::RolledBack, 1), "{:?}", status.faults);
    }
    write(&root, &GOOD.replace("a.example", "c.example"));
    let reloader = restart(&root);
    assert_eq!(reloader.store().status().state, PolicyState::Ok, "files that changed while it was down end it");
    assert!(!root.path().join("state/rollback.json").exists());
}

#[test]
fn a_rollback_is_ended_by_word_unless_the_files_are_faulty() {
    let root = tempfile::tempdir().unwrap();
    let mut reloader = with_two_generations(&root);
    roll_back(&mut reloader, 1);
    write(&root, "version = 2");
    let outcome = reloader.end_rollback("bob", reloader.origin().read());
    assert!(matches!(outcome, ReloadOutcome::Refused { .. }));
    assert_eq!(reloader.store().status().state, PolicyState::RolledBack);
    write(&root, &GOOD.replace("a.example", "b.example"));
    let outcome = reloader.end_rollback("bob", reloader.origin().read());
    assert!(matches!(outcome, ReloadOutcome::Applied { .. }), "{outcome:?}");
    assert!(resolves(&reloader, "b.example"));
    assert!(matches!(reloader.end_rollback("bob", reloader.origin().read()), ReloadOutcome::Refused { .. }));
    assert_eq!(restart(&root).store().status().state, PolicyState::Ok);
}

#[test]
fn a_generation_that_is_not_kept_is_refused_with_those_that_are() {
    let root = tempfile::tempdir().unwrap();
    let mut reloader = with_two_generations(&root);
    let ReloadOutcome::Refused { faults } = roll_back(&mut reloader, 9) else { panic!("it is not kept") };
    assert_eq!(
        (faults[0].message.as_str(), faults[0].hint.as_deref()),
        ("generation 9 is not kept", Some("kept are 2, 1"))
    );
    fs::write(root.path().join("state/last-good/a.toml"), "damaged").unwrap();
    assert!(matches!(roll_back(&mut reloader, 2), ReloadOutcome::Refused { .. }));
    assert!(resolves(&reloader, "b.example"));
}

#[test]
fn a_damaged_rollback_is_a_warning_and_not_followed() {
    let root = tempfile::tempdir().unwrap();
    with_two_generations(&root);
    fs::write(root.path().join("state/rollback.json"), "{\"generation\": 1").unwrap();
    let reloader = restart(&root);
    let status = reloader.store().status();
    assert_eq!(status.state, PolicyState::Ok);
    assert!(status.warnings[0].message.contains("counts as empty"), "{:?}", status.warnings);
    assert!(resolves(&reloader, "b.example"));
}

#[test]
fn what_ends_under_a_rollback_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut reloader = two_generations(&root, &format!("{GOOD}expires = 2001-01-01T00:00:00Z\n"));
    roll_back(&mut reloader, 1);
    assert!(!resolves(&reloader, "a.example"), "an entry that has ended does not come back");
}

fn order(change: Change) -> Order {
    let time = Some(std::time::Duration::from_secs(3600));
    Order { change, group: None, client: None, by: "alice".into(), time, ticket: Some("T".into()), reason: None }
}

fn allow(name: &str) -> Change {
    Change::Allow(name.parse().unwrap())
}

/// A reloader with [`GOOD`] in force, and a clock that goes as it is told.
fn with_set_clock(root: &TempDir) -> (Reloader, Arc<SetClock>) {
    fs::create_dir_all(root.path().join("policy.d")).unwrap();
    write(root, GOOD);
    let clock = Arc::new(SetClock(std::sync::Mutex::new(SystemTime::UNIX_EPOCH)));
    (restart_at(root, &clock), clock)
}

fn restart_at(root: &TempDir, clock: &Arc<SetClock>) -> Reloader {
    let origin = Origin::Directory(root.path().join("policy.d"));
    Reloader::start(origin, Options::default(), &root.path().join("state"), Arc::clone(clock) as Arc<dyn Clock>)
}

/// Shows what a test sets.
struct SetClock(std::sync::Mutex<SystemTime>);

impl SetClock {
    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += std::time::Duration::from_secs(seconds);
    }
}

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

#[test]
fn an_overlay_is_in_force_over_reloads_rollbacks_and_restarts_until_its_time_is_up() {
    let root = tempfile::tempdir().unwrap();
    let (mut reloader, clock) = with_set_clock(&root);
    let outcome = reloader.put_overlay(order(allow("new.example")));
    let OverlayOutcome::InForce { generation: 2, overlay, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reloader.store().status().overlays, [overlay]);
    assert!(resolves(&reloader, "new.example"));
    assert_eq!(reloader.until_expiry(), Some(std::time::Duration::from_secs(3600)));

    write(&root, &GOOD.replace("a.example", "b.example"));
    reloader.reload(reloader.origin().read(), Cause::FileEvent);
    assert!(resolves(&reloader, "new.example") && resolves(&reloader, "b.example"));
    roll_back(&mut reloader, 1);
    assert!(resolves(&reloader, "new.example") && resolves(&reloader, "a.example"));
    clock.advance(3599);
    let mut reloader = restart_at(&root, &clock);
    assert!(resolves(&reloader, "new.example"));

    clock.advance(1);
    reloader.tend();
    assert!(!resolves(&reloader, "new.example") && resolves(&reloader, "a.example"));
    assert!(reloader.store().status().overlays.is_empty());
    assert!(!root.path().join("state/overlays.json").exists());
}

#[test]
fn an_overlay_that_ended_while_the_server_was_down_does_not_come_back() {
    let root = tempfile::tempdir().unwrap();
    let (mut reloader, clock) = with_set_clock(&root);
    reloader.put_overlay(order(allow("new.example")));
    clock.advance(3601);
    let reloader = restart_at(&root, &clock);
    assert!(!resolves(&reloader, "new.example"));
    assert!(reloader.store().status().overlays.is_empty());
}

#[test]
fn an_overlay_is_ended_by_word() {
    let root = tempfile::tempdir().unwrap();
    let (mut reloader, _) = with_set_clock(&root);
    reloader.put_overlay(order(allow("new.example")));
    let outcome = reloader.end_overlay(&allow("other.example"), None, None, "bob");
    assert!(matches!(outcome, OverlayOutcome::Refused { .. }), "{outcome:?}");
    let outcome = reloader.end_overlay(&allow("new.example"), None, None, "bob");
    assert!(matches!(outcome, OverlayOutcome::Ended { generation: 3, .. }), "{outcome:?}");
    assert!(!resolves(&reloader, "new.example"));
}

#[test]
fn an_overlay_without_effect_or_without_a_policy_is_refused_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (mut reloader, _) = with_set_clock(&root);
    for change in [allow("a.example"), allow("localhost")] {
        assert!(matches!(reloader.put_overlay(order(change)), OverlayOutcome::Refused { .. }));
    }
    let endless = Order { time: None, ..order(allow("new.example")) };
    assert!(matches!(reloader.put_overlay(endless), OverlayOutcome::Refused { .. }));
    assert!(reloader.store().status().overlays.is_empty());

    let root = tempfile::tempdir().unwrap();
    let mut reloader = start(&root, Some("version = 2"));
    assert!(matches!(reloader.put_overlay(order(allow("new.example"))), OverlayOutcome::Refused { .. }));
}

#[test]
fn an_overlay_whose_group_goes_is_a_warning_and_refuses_no_reload() {
    let root = tempfile::tempdir().unwrap();
    let (mut reloader, _) = with_set_clock(&root);
    let group = "[[group]]\nname = \"default\"\nregistries = [\"*\"]\n";
    write(&root, &format!("{GOOD}{group}"));
    reloader.reload(reloader.origin().read(), Cause::FileEvent);
    let ours = Order { group: Some("default".into()), ..order(allow("new.example")) };
    assert!(matches!(reloader.put_overlay(ours), OverlayOutcome::InForce { .. }));
    write(&root, GOOD);
    let ReloadOutcome::Applied { warnings, .. } = reloader.reload(reloader.origin().read(), Cause::FileEvent) else {
        panic!("it is applied")
    };
    assert!(
        warnings.iter().any(|warning| warning.message.contains("the policy has no group `default`")),
        "{warnings:?}"
    );
}
