//! A drafted policy as a file for people to read: never where it would be in force.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::options::Options;
use crate::config::PolicySource;

/// What to do with a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing is written.
    Keep,
    /// It is overwritten.
    Overwrite,
}

/// Refuses a path in the settings' policy folder: what is written there would be in force at once.
pub(super) fn refuse_policy_folder(path: &Path, options: &Options) -> Result<(), Failure> {
    match options.settings()?.settings.policy.source {
        PolicySource::Directory(folder) => refuse_folder(path, &folder),
        PolicySource::Embedded(_) => Ok(()),
    }
}

/// Refuses a path in a policy folder, or below it.
pub(super) fn refuse_folder(path: &Path, folder: &Path) -> Result<(), Failure> {
    let (Ok(target), Ok(folder)) = (real(path), folder.canonicalize()) else { return Ok(()) };
    if !target.starts_with(&folder) {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!("{} is the policy folder: what is written there is in force", folder.display()),
        hint: Some("write it elsewhere, read it, and move it there".to_owned()),
    })
}

/// Writes a draft.
pub(super) fn write(path: &Path, text: &str, existing: Existing) -> Result<(), Failure> {
    let mut how = OpenOptions::new();
    match existing {
        Existing::Keep => how.write(true).create_new(true),
        Existing::Overwrite => how.write(true).create(true).truncate(true),
    };
    let written = how.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Io(format!("{} exists: nothing was written", path.display())),
        _ => Failure::Io(format!("{} cannot be written: {error}", path.display())),
    })
}

/// Where a file is, or would be; links are followed.
fn real(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().or_else(|_| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(parent.canonicalize()?.join(path.file_name().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_into_a_policy_folder_however_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("policy.d");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        std::fs::write(folder.join("a.toml"), "version = 1\n").unwrap();
        std::os::unix::fs::symlink(folder.join("a.toml"), root.path().join("link.toml")).unwrap();
        let is_refused = |path: &str| refuse_folder(&root.path().join(path), &folder).is_err();
        for path in
            ["policy.d/new.toml", "policy.d/a.toml", "policy.d/below/new.toml", "link.toml", "policy.d/../policy.d/x"]
        {
            assert!(is_refused(path), "{path}");
        }
        for path in ["new.toml", "policy.d.toml", "nowhere/new.toml"] {
            assert!(!is_refused(path), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_to_be_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.toml");
        write(&path, "one, longer", Existing::Keep).unwrap();
        assert!(write(&path, "two", Existing::Keep).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one, longer");
        write(&path, "two", Existing::Overwrite).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }
}
