use tempfile::TempDir;

use super::*;

/// A machine in a folder, and a plan that grows file by file.
struct Scene {
    root: TempDir,
    machine: Machine,
}

impl Scene {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let machine = Machine::under(root.path());
        Self { root, machine }
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn plan(&self, files: &[(&str, &str)]) -> Plan {
        let mut plan = Plan::new("test");
        for (path, text) in files {
            plan.write(&self.machine, path, *text, "a test").unwrap();
        }
        plan.command("true", "nothing");
        plan
    }

    fn apply(&self, files: &[(&str, &str)]) -> Applied {
        apply(&self.plan(files), &self.machine, STATE.as_ref()).unwrap()
    }

    fn undo(&self) -> Result<Undone, ApplyFault> {
        self.undo_target("test")
    }

    fn undo_target(&self, target: &str) -> Result<Undone, ApplyFault> {
        undo(target, &self.machine, STATE.as_ref(), OnForeignChange::Refuse)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.place(path)).unwrap()
    }

    /// Every path below the root with what stands there, but for the state.
    fn everything(&self) -> Vec<(PathBuf, FileState)> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/")];
        while let Some(folder) = folders.pop() {
            for path in self.machine.list(&folder).unwrap().into_iter().filter(|path| path != Path::new(STATE)) {
                let place = self.machine.locate(&path).unwrap();
                if place.is_dir() && !place.is_symlink() {
                    found.push((path.clone(), FileState::Absent));
                    folders.push(path);
                } else {
                    found.push((path.clone(), self.machine.look(&path).unwrap()));
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }
}

const STATE: &str = "/state";

#[test]
fn an_undo_leaves_files_links_permissions_and_folders_as_they_were() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "old").unwrap();
    fs::set_permissions(scene.place("etc/a"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(scene.place("etc/target"), "behind the link").unwrap();
    symlink("target", scene.place("etc/link")).unwrap();
    let before = scene.everything();
    scene.apply(&[("/etc/a", "new"), ("/etc/link", "a file now"), ("/etc/x/y/z", "made")]);
    assert_eq!((scene.read("etc/a"), scene.read("etc/link")), ("new".into(), "a file now".into()));
    assert_eq!(scene.read("etc/target"), "behind the link");
    assert_eq!(fs::metadata(scene.place("etc/a")).unwrap().mode() & 0o777, 0o600);
    let undone = scene.undo().unwrap();
    assert_eq!(undone.restored, ["/etc/x/y/z", "/etc/link", "/etc/a"].map(PathBuf::from));
    assert_eq!(undone.commands.len(), 1);
    assert_eq!(scene.everything(), before);
    assert_eq!(scene.undo().unwrap(), Undone::default(), "nothing is left to undo");
}

#[test]
fn a_later_setup_keeps_the_first_originals() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "first").unwrap();
    scene.apply(&[("/etc/a", "second")]);
    scene.apply(&[("/etc/a", "third"), ("/etc/b", "new")]);
    scene.undo().unwrap();
    assert_eq!(scene.read("etc/a"), "first");
    assert!(!scene.place("etc/b").exists());
}

#[test]
fn a_plan_without_changes_writes_no_record() {
    let scene = Scene::new();
    let applied = scene.apply(&[]);
    assert!(applied.written.is_empty() && !applied.record.exists());
}

#[test]
fn an_undo_refuses_by_name_what_somebody_else_has_changed_and_touches_nothing() {
    let scene = Scene::new();
    scene.apply(&[("/etc/a", "ours"), ("/etc/b", "ours")]);
    fs::write(scene.place("etc/a"), "theirs").unwrap();
    assert_eq!(scene.undo().unwrap_err().to_string(), "changed by somebody else since: /etc/a");
    assert_eq!(scene.read("etc/b"), "ours");
    undo("test", &scene.machine, STATE.as_ref(), OnForeignChange::Overwrite).unwrap();
    assert!(!scene.place("etc/a").exists() && !scene.place("etc/b").exists());
}

#[test]
fn an_edit_between_two_setups_is_not_lost_unasked() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "first").unwrap();
    scene.apply(&[("/etc/a", "ours")]);
    fs::write(scene.place("etc/a"), "edited").unwrap();
    scene.apply(&[("/etc/a", "ours again")]);
    assert!(matches!(scene.undo(), Err(ApplyFault::ChangedSince(_))));
}

#[test]
fn a_failure_half_way_restores_what_was_written_and_the_earlier_record() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "first").unwrap();
    scene.apply(&[("/etc/a", "ours")]);
    let record = fs::read_to_string(scene.place("state/test.json")).unwrap();
    let before = scene.everything();
    fs::write(scene.place("etc/file"), "").unwrap();
    let plan = scene.plan(&[("/etc/new/a", "x"), ("/etc/a", "ours 2"), ("/etc/file/below", "x")]);
    let fault = apply(&plan, &scene.machine, STATE.as_ref()).unwrap_err();
    assert!(fault.to_string().starts_with("/etc/file/below: "), "{fault}");
    fs::remove_file(scene.place("etc/file")).unwrap();
    assert_eq!(scene.everything(), before);
    assert_eq!(fs::read_to_string(scene.place("state/test.json")).unwrap(), record);
}

#[test]
fn a_file_that_changed_after_the_plan_was_made_is_not_overwritten() {
    let scene = Scene::new();
    let plan = scene.plan(&[("/etc/a", "ours")]);
    fs::write(scene.place("etc/a"), "theirs").unwrap();
    assert!(matches!(apply(&plan, &scene.machine, STATE.as_ref()), Err(ApplyFault::Changed(_))));
    assert_eq!(scene.read("etc/a"), "theirs");
}

#[test]
fn what_was_kept_is_for_its_owner_only_and_is_not_believed_behind_a_link() {
    let scene = Scene::new();
    let applied = scene.apply(&[("/etc/a", "ours")]);
    let folder = applied.record.parent().unwrap();
    for (path, mode) in [(applied.record.as_path(), 0o600), (folder, 0o700)] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode, "{}", path.display());
    }
    let planted = scene.place("planted.json");
    fs::rename(&applied.record, &planted).unwrap();
    symlink(&planted, &applied.record).unwrap();
    assert!(matches!(scene.undo(), Err(ApplyFault::ForeignRecord(_))));
    fs::rename(&planted, &applied.record).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(scene.undo(), Err(ApplyFault::ForeignRecord(_))), "anybody could have put it there");
    assert_eq!(scene.read("etc/a"), "ours");
}

#[test]
fn a_setup_that_was_killed_half_way_can_be_undone_and_done_again() {
    for finish in [true, false] {
        let scene = Scene::new();
        fs::write(scene.place("etc/a"), "first").unwrap();
        scene.apply(&[("/etc/a", "second"), ("/etc/b", "second")]);
        scene.apply(&[("/etc/a", "third"), ("/etc/b", "third")]);
        // Killed behind the record and the first file, with a draft of the second.
        fs::write(scene.place("etc/b"), "second").unwrap();
        fs::write(scene.place("etc/.b.pullgate"), "thi").unwrap();
        if finish {
            scene.apply(&[("/etc/b", "third")]);
            assert!(!scene.place("etc/.b.pullgate").exists());
        }
        scene.undo().unwrap();
        assert_eq!(scene.read("etc/a"), "first");
        assert!(!scene.place("etc/b").exists());
    }
}

#[test]
fn of_two_targets_that_change_one_file_the_later_is_undone_first() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "first").unwrap();
    scene.apply(&[("/etc/a", "second")]);
    let other = Plan { target: "other", ..scene.plan(&[("/etc/a", "third")]) };
    apply(&other, &scene.machine, STATE.as_ref()).unwrap();
    assert_eq!(scene.undo().unwrap_err().to_string(), "`setup other` has changed /etc/a since");
    scene.undo_target("other").unwrap();
    assert_eq!(scene.read("etc/a"), "second");
    scene.undo().unwrap();
    assert_eq!(scene.read("etc/a"), "first");
}

#[test]
fn what_others_are_to_write_as_well_is_in_the_way_of_no_undo() {
    let scene = Scene::new();
    let mut plan = scene.plan(&[("/etc/leases", "ours"), ("/etc/b", "ours")]);
    plan.shared.push("/etc/leases".into());
    apply(&plan, &scene.machine, STATE.as_ref()).unwrap();
    fs::write(scene.place("etc/leases"), "theirs").unwrap();
    assert_eq!(scene.undo().unwrap().restored.len(), 2);
    assert!(!scene.place("etc/leases").exists());
}

#[test]
fn a_file_whose_folder_was_removed_since_is_restored_with_it() {
    let scene = Scene::new();
    fs::create_dir(scene.place("etc/docker")).unwrap();
    fs::write(scene.place("etc/docker/a"), "first").unwrap();
    scene.apply(&[("/etc/docker/a", "ours")]);
    fs::remove_dir_all(scene.place("etc/docker")).unwrap();
    assert!(matches!(scene.undo(), Err(ApplyFault::ChangedSince(_))));
    undo("test", &scene.machine, STATE.as_ref(), OnForeignChange::Overwrite).unwrap();
    assert_eq!(scene.read("etc/docker/a"), "first");
}

#[test]
fn what_cannot_be_restored_either_is_named_and_stays_recorded() {
    let scene = Scene::new();
    fs::write(scene.place("etc/a"), "first").unwrap();
    fs::write(scene.place("etc/file"), "").unwrap();
    // A folder in the place of its draft: `a` can be written before it is there, and not restored after.
    let plan = scene.plan(&[("/etc/a", "ours"), ("/etc/.a.pullgate/x", "x"), ("/etc/file/below", "x")]);
    let fault = apply(&plan, &scene.machine, STATE.as_ref()).unwrap_err();
    assert!(matches!(&fault, ApplyFault::HalfWritten { left, .. } if *left == [Path::new("/etc/a")]), "{fault}");
    assert_eq!(scene.read("etc/a"), "ours");
    fs::remove_file(scene.place("etc/file")).unwrap();
    fs::remove_dir(scene.place("etc/.a.pullgate")).unwrap();
    scene.undo().unwrap();
    assert_eq!(scene.read("etc/a"), "first");
}
