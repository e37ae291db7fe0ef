//! What the tests of checks share: the tree of a machine, and what was said of it.

use std::fs;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::config::{Environment, Settings};
use crate::diagnostic::Source;
use crate::inspect::doctor::report::{Report, Severity};
use crate::inspect::doctor::scene::{Request, Scene};
use crate::inspect::machine::Machine;
use crate::policy::compile;
use crate::policy::snapshot::Snapshot;

/// A machine of a few files, as a check sees it.
pub(super) struct Tree {
    folder: TempDir,
    /// The machine.
    pub(super) machine: Machine,
    /// What the command line asks for.
    pub(super) request: Request,
    /// The settings of its pullgate.
    pub(super) settings: Option<Settings>,
    /// Its policy.
    policy: Option<Snapshot>,
}

impl Tree {
    /// A machine with these files: path without the leading `/`, and text.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let machine = Machine::under(folder.path());
        let tree = Self { folder, machine, request: Request::default(), settings: None, policy: None };
        for (path, text) in files {
            tree.write(path, text.as_bytes());
        }
        tree
    }

    /// The same with a pullgate whose pullgate.toml says this.
    pub(super) fn pullgate(mut self, text: &str) -> Self {
        let source = Source::new("/etc/pullgate/pullgate.toml", text);
        self.settings = Some(Settings::parse(&source, &Environment::default()).unwrap().0);
        self
    }

    /// The same with a policy, of which the first line is left out.
    pub(super) fn policy(mut self, text: &str) -> Self {
        let source = Source::new("/etc/pullgate/policy.d/10.toml", format!("version = 1\n{text}"));
        let options = compile::Options { has_gateway: true, ..compile::Options::default() };
        let compiled = compile::load(vec![source], &options, SystemTime::now()).unwrap();
        self.policy = Some(compiled.snapshot);
        self
    }

    /// Writes one more file.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds a symbolic link.
    pub(super) fn link(&self, path: &str, target: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// What checks look at.
    pub(super) fn scene(&self) -> Scene<'_> {
        Scene::of(&self.machine, &self.request, self.settings.as_ref()).with_policy(self.policy.as_ref())
    }

    /// What `check` says of it.
    pub(super) fn said(&self, check: impl FnOnce(&Scene<'_>, &mut Report)) -> Report {
        let mut report = Report::default();
        check(&self.scene(), &mut report);
        report
    }
}

/// Each finding as its severity and title, on a line each: what a table of facts is compared with.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let word = |severity| match severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Problem => "problem",
    };
    report.findings.iter().map(|finding| format!("{}: {}", word(finding.severity), finding.title)).collect()
}
