//! Trees of files to plan for, and what a plan makes of them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{OnForeignChange, Plan, Request, SetupFault, apply, undo};
use crate::inspect::machine::{FileState, Machine};

/// A machine's files in a folder of their own.
pub(super) struct Tree(TempDir);

impl Tree {
    /// A tree with these files, paths as the machine sees them.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(TempDir::new().unwrap());
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let place = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let place = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, place).unwrap();
    }

    pub(super) fn machine(&self) -> Machine {
        Machine::under(self.0.path())
    }

    /// What stands at a path, if anything.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.machine().read(path).unwrap()
    }

    /// Applies what is planned, holds that a second plan changes nothing and that an undo restores every file, and
    /// leaves it applied.
    pub(super) fn apply(&self, plan: impl Fn(&Machine) -> Result<Plan, SetupFault>) -> Plan {
        let machine = self.machine();
        let first = plan(&machine).unwrap();
        let state = Path::new("/state");
        apply(&first, &machine, state).unwrap();
        assert_eq!(plan(&machine).unwrap().changes, [], "a second plan changes nothing");
        undo(first.target, &machine, state, OnForeignChange::Refuse).unwrap();
        assert_eq!(plan(&machine).unwrap().changes, first.changes, "an undo restores all");
        apply(&first, &machine, state).unwrap();
        first
    }
}

/// A server on the default bridge's address and on loopback.
pub(super) fn request() -> Request {
    Request {
        addresses: Vec::new(),
        listen: vec!["127.0.0.1:53".parse().unwrap(), "172.17.0.1:53".parse().unwrap()],
        authority: None,
    }
}

/// The paths that a plan changes, with what they are to hold, or to name if they are links.
pub(super) fn files(plan: &Plan) -> Vec<(String, String)> {
    let text = |state: &FileState| match state {
        FileState::Text { text, .. } => text.clone(),
        FileState::Link(target) => target.display().to_string(),
        FileState::Absent => panic!("nothing"),
    };
    plan.changes.iter().map(|change| (change.path.display().to_string(), text(&change.after))).collect()
}

/// The command lines of a plan.
pub(super) fn commands(plan: &Plan) -> Vec<String> {
    plan.commands.iter().map(|command| command.line.join(" ")).collect()
}
