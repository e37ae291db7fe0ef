//! What `pullgate setup` wrote on this machine, and whether it still stands.

use std::path::PathBuf;

use crate::config::Environment;
use crate::inspect::doctor::report::{Finding, Report};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::setup::{Standing, folder_of_records, standing};

/// Compares the records of `setup` with the files as they are.
pub(super) fn standing_ones(scene: &Scene<'_>, report: &mut Report) {
    let user = Environment::of_process();
    let root = Environment { user: 0, ..user.clone() };
    let mut folders = [root, user].map(|whose| folder_of_records(scene.machine, &whose)).to_vec();
    folders.dedup();
    for folder in folders {
        match standing(scene.machine, &folder) {
            Ok(found) => found.iter().for_each(|standing| report.add(judge(standing))),
            Err(fault) => report.unseen(format!("what `pullgate setup` wrote here: {fault}")),
        }
    }
}

fn judge(standing: &Standing) -> Finding {
    let target = &standing.target;
    if standing.changed.is_empty() {
        return Finding::ok(CHECK, format!("setup {target} stands: {}", listed(&standing.kept)));
    }
    Finding::warning(CHECK, format!("setup {target} was changed since: {}", listed(&standing.changed)))
        .meaning("somebody else wrote what `pullgate setup` had written: it may no longer be in force")
        .fix(format!("pullgate setup {target}  # shows what is missing; then with --write"))
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

const CHECK: &str = "setup";
#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::Tree;
    use crate::inspect::doctor::report::Severity;

    #[test]
    fn a_setup_stands_until_one_of_its_files_is_changed() {
        let kept =
            Standing { target: "docker".to_owned(), kept: vec!["/etc/docker/daemon.json".into()], changed: vec![] };
        assert_eq!(judge(&kept).title, "setup docker stands: /etc/docker/daemon.json");
        let changed = Standing { changed: vec!["/etc/resolv.conf".into()], ..kept };
        let finding = judge(&changed);
        assert_eq!(
            (finding.severity, finding.title.as_str()),
            (Severity::Warning, "setup docker was changed since: /etc/resolv.conf")
        );
    }

    #[test]
    fn a_record_that_cannot_be_read_is_unseen() {
        let tree = Tree::of(&[("var/lib/pullgate-setup/docker.json", "{")]);
        let report = tree.said(standing_ones);
        assert_eq!((report.findings.len(), report.unseen.len()), (0, 1), "{report:?}");
        assert_eq!(Tree::of(&[]).said(standing_ones), Report::default());
    }
}
