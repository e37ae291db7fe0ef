//! The files of the last good policy, kept in the state directory for a start that meets a faulty one.
//!
//! Each set of files has a folder of its own, named by a hash of them, which gets that name only when it is complete and
//! on disk; `last-good` is a symbolic link that one rename turns from one folder to the next. A crash at any moment leaves
//! either set whole. The hash is checked when the files are read, so that a damaged copy is never taken for a policy.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Source};
use crate::policy::document::read_directory;

/// Keeps the last good policy in a state directory.
#[derive(Clone, Debug)]
pub(super) struct LastGood {
    state: PathBuf,
}

impl LastGood {
    /// Keeps it in `state`, which is created when needed.
    pub(super) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The files of the last good policy.
    ///
    /// # Errors
    /// There are none, they cannot be read, or they are not as they were written.
    pub(super) fn load(&self) -> Result<Vec<Source>, Vec<Diagnostic>> {
        let link = self.link();
        let sources = read_directory(&link)?;
        let is_whole = fs::read_link(&link).is_ok_and(|folder| folder == Path::new(&folder_name(&sources)));
        if is_whole {
            return Ok(sources);
        }
        Err(vec![Diagnostic::about(link, "the copy of the last good policy was changed or damaged")])
    }

    /// Keeps these files from now on, under their own names. Nothing is written when they are kept already.
    ///
    /// # Errors
    /// What the file system says; the files kept before are still whole then.
    pub(super) fn save(&self, sources: &[Source]) -> io::Result<()> {
        let name = folder_name(sources);
        if fs::read_link(self.link()).is_ok_and(|folder| folder == Path::new(&name)) && self.state.join(&name).is_dir()
        {
            return Ok(());
        }
        fs::create_dir_all(&self.state)?;
        let folder = self.state.join(&name);
        if !folder.is_dir() {
            let unfinished = self.state.join(UNFINISHED);
            remove_folder(&unfinished)?;
            write_files(&unfinished, sources)?;
            fs::rename(&unfinished, &folder)?;
        }
        self.turn_link(&name)?;
        self.remove_others(&name)
    }

    /// The state directory.
    pub(super) fn path(&self) -> &Path {
        &self.state
    }

    fn link(&self) -> PathBuf {
        self.state.join(LINK)
    }

    fn turn_link(&self, name: &str) -> io::Result<()> {
        let unfinished = self.state.join(UNFINISHED_LINK);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(name, &unfinished)?,
        }
        fs::rename(&unfinished, self.link())?;
        sync_folder(&self.state)
    }

    fn remove_others(&self, name: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.state)? {
            let other = entry?.file_name();
            let is_ours = other.to_str().is_some_and(|other| other.starts_with(PREFIX) && other != name);
            if is_ours {
                remove_folder(&self.state.join(other))?;
            }
        }
        Ok(())
    }
}

fn write_files(folder: &Path, sources: &[Source]) -> io::Result<()> {
    fs::create_dir(folder)?;
    for source in sources {
        let Some(name) = source.path().file_name() else { continue };
        let mut file = File::create_new(folder.join(name))?;
        file.write_all(source.text().as_bytes())?;
        file.sync_all()?;
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name of the folder for a set of files, by their names and bytes.
fn folder_name(sources: &[Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        let name = source.path().file_name().unwrap_or_default().as_encoded_bytes();
        for part in [name, source.text().as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let hash = hash.finalize();
    hash[..16].iter().fold(PREFIX.to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

const LINK: &str = "last-good";
const PREFIX: &str = "policy-";
const UNFINISHED: &str = ".policy.unfinished";
const UNFINISHED_LINK: &str = ".last-good.unfinished";

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Vec<Source> {
        texts.iter().map(|(name, text)| Source::new(Path::new("/policy.d").join(name), *text)).collect()
    }

    fn kept(last_good: &LastGood) -> Vec<(String, String)> {
        let sources = last_good.load().unwrap();
        let name = |source: &Source| source.path().file_name().unwrap().to_str().unwrap().to_owned();
        sources.iter().map(|source| (name(source), source.text().to_owned())).collect()
    }

    #[test]
    fn files_come_back_with_their_names_and_bytes() {
        let root = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(&root.path().join("state"));
        assert!(last_good.load().is_err());
        last_good.save(&files(&[("a.toml", "# ä\r\n"), ("b.json", "{}")])).unwrap();
        assert_eq!(kept(&last_good), [("a.toml".into(), "# ä\r\n".into()), ("b.json".into(), "{}".into())]);
    }

    #[test]
    fn the_next_files_replace_the_last_ones_and_leave_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(root.path());
        for text in ["1", "2", "2", "1"] {
            last_good.save(&files(&[("a.toml", text)])).unwrap();
            assert_eq!(kept(&last_good), [("a.toml".into(), text.into())]);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "a folder and the link");
    }

    #[test]
    fn what_a_crash_left_unfinished_is_never_read_and_never_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(root.path());
        last_good.save(&files(&[("a.toml", "old")])).unwrap();
        fs::create_dir(root.path().join(UNFINISHED)).unwrap();
        fs::write(root.path().join(UNFINISHED).join("a.toml"), "ne").unwrap();
        symlink("nowhere", root.path().join(UNFINISHED_LINK)).unwrap();
        assert_eq!(kept(&last_good), [("a.toml".into(), "old".into())]);
        last_good.save(&files(&[("a.toml", "new")])).unwrap();
        assert_eq!(kept(&last_good), [("a.toml".into(), "new".into())]);
    }

    #[test]
    fn a_copy_that_was_changed_is_not_taken_for_a_policy() {
        let root = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(root.path());
        last_good.save(&files(&[("a.toml", "old")])).unwrap();
        fs::write(root.path().join(LINK).join("a.toml"), "bad").unwrap();
        assert!(last_good.load().unwrap_err()[0].message.contains("changed or damaged"));
        last_good.save(&files(&[("a.toml", "new")])).unwrap();
        assert_eq!(kept(&last_good), [("a.toml".into(), "new".into())]);
    }
}
