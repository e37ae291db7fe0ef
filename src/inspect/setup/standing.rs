//! What setup wrote, and whether it still stands.

use std::path::{Path, PathBuf};

use super::apply::ApplyFault;
use super::record::{self, Record, Replaced};
use crate::inspect::machine::Machine;

/// One target that was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The target's name on the command line.
    pub target: String,
    /// The files that are as setup left them.
    pub kept: Vec<PathBuf>,
    /// Those that somebody else changed since, or took away.
    pub changed: Vec<PathBuf>,
}

/// Every target that was set up on a machine, in name order, by the records in a folder.
///
/// # Errors
/// The folder or a record cannot be read, or belongs to somebody else. Only root may look into root's.
pub fn standing(machine: &Machine, records: &Path) -> Result<Vec<Standing>, ApplyFault> {
    let mut found = Vec::new();
    for target in record::targets(machine, records)? {
        let Some(record) = Record::load(&record::place(&target, machine, records)?)? else { continue };
        let stands = |file: &&Replaced| machine.look(&file.path).is_ok_and(|now| file.is_as_left(&now));
        let (kept, changed): (Vec<_>, Vec<_>) = record.files.iter().partition(stands);
        let paths = |files: Vec<&Replaced>| files.into_iter().map(|file| file.path.clone()).collect();
        found.push(Standing { target, kept: paths(kept), changed: paths(changed) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::inspect::machine::FileState;
    use crate::inspect::setup::{Change, Plan, apply};

    #[test]
    fn what_somebody_else_changed_since_is_told_from_what_stands() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        let machine = Machine::under(root.path());
        let state = Path::new("/var/lib/pullgate");
        assert_eq!(standing(&machine, state).unwrap(), []);
        let change = |path: &str| Change {
            path: path.into(),
            before: FileState::Absent,
            after: FileState::Text { text: "nameserver 127.0.0.1\n".to_owned(), mode: 0o644 },
            why: String::new(),
        };
        let changes = vec![change("/etc/a"), change("/etc/b")];
        let plan = Plan { target: "docker", changes, ..Plan::default() };
        apply(&plan, &machine, state).unwrap();
        fs::write(root.path().join("etc/b"), "nameserver 8.8.8.8\n").unwrap();
        let found = standing(&machine, state).unwrap();
        let expected =
            Standing { target: "docker".to_owned(), kept: vec!["/etc/a".into()], changed: vec!["/etc/b".into()] };
        assert_eq!(found, [expected]);
    }
}
