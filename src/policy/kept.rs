//! The files of the last good policies, kept in the state directory: for a start that meets a faulty one, and to roll back
//! to.
//!
//! Each set of files has a folder of its own, named by a hash of them, which gets that name only when it is complete and
//! on disk; `last-good` is a symbolic link that one rename turns from one folder to the next, and an index says which
//! generation each was. A crash at any moment leaves either set whole. The hash is checked when the files are read, so that
//! a damaged copy is never taken for a policy.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::diagnostic::{Diagnostic, Source};
use crate::policy::document::read_directory;
use crate::policy::snapshot::Digest;
use crate::policy::state_file::StateFile;

/// Keeps the last good policies in a state directory.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    state: PathBuf,
    index: StateFile,
}

/// A policy that was in force and is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPolicy {
    /// Its generation.
    pub generation: u64,
    /// When it came into force.
    pub since: SystemTime,
    /// The digest of what it decided then.
    pub digest: String,
}

/// A line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    generation: u64,
    /// In Unix time.
    since: u64,
    digest: String,
    folder: String,
}

impl Kept {
    /// Keeps them in `state`, which is created when needed.
    pub(super) fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), index: StateFile::new(state, INDEX) }
    }

    /// The files of the last good policy.
    ///
    /// # Errors
    /// There are none, they cannot be read, or they are not as they were written.
    pub(super) fn last_good(&self) -> Result<Vec<Source>, Vec<Diagnostic>> {
        let link = self.link();
        let sources = read_directory(&link)?;
        let is_whole = fs::read_link(&link).is_ok_and(|folder| folder == Path::new(&fingerprint(&sources)));
        if is_whole { Ok(sources) } else { Err(vec![damaged(link)]) }
    }

    /// The kept policies, newest first. What cannot be read counts as none.
    pub(super) fn list(&self) -> Vec<KeptPolicy> {
        self.lines().into_iter().rev().map(KeptPolicy::from).collect()
    }

    /// The files of a generation; `None`: it is not kept.
    ///
    /// # Errors
    /// They cannot be read, or are not as they were written.
    pub(super) fn files(&self, generation: u64) -> Option<Result<Vec<Source>, Vec<Diagnostic>>> {
        let line = self.lines().into_iter().find(|line| line.generation == generation)?;
        // The name is what the hash has to be: a folder elsewhere never has it.
        let folder = self.state.join(line.folder.replace('/', ""));
        let sources = match read_directory(&folder) {
            Ok(sources) => sources,
            Err(faults) => return Some(Err(faults)),
        };
        let is_whole = fingerprint(&sources) == line.folder;
        Some(if is_whole { Ok(sources) } else { Err(vec![damaged(folder)]) })
    }

    /// The generation that a policy with this digest has after a start: that of the newest kept one if it decides alike,
    /// else the next.
    pub(super) fn generation_of(&self, digest: Digest) -> u64 {
        self.lines().last().map_or(1, |newest| newest.generation + u64::from(newest.digest != digest.to_string()))
    }

    /// Keeps these files from now on, under their own names, as the policy in force since `kept.since`. Nothing is written
    /// when they are kept already.
    ///
    /// # Errors
    /// What the file system says; the files kept before are still whole then.
    pub(super) fn save(&self, sources: &[Source], kept: &KeptPolicy) -> io::Result<()> {
        let name = fingerprint(sources);
        let folder = self.state.join(&name);
        let is_last = fs::read_link(self.link()).is_ok_and(|last| last == Path::new(&name));
        let mut lines = self.lines();
        let is_known = lines.last().is_some_and(|newest| newest.generation == kept.generation && newest.folder == name);
        if is_last && is_known && folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.state)?;
        if !folder.is_dir() {
            let unfinished = self.state.join(UNFINISHED);
            remove_folder(&unfinished)?;
            write_files(&unfinished, sources)?;
            fs::rename(&unfinished, &folder)?;
        }
        self.turn_link(&name)?;
        let KeptPolicy { generation, since, digest } = kept;
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        lines.retain(|line| line.generation < *generation);
        lines.push(Line { generation: *generation, since, digest: digest.clone(), folder: name });
        lines.drain(..lines.len().saturating_sub(MAX_KEPT));
        self.index.write(Some(&lines))?;
        self.remove_all_but(&lines)
    }

    /// The state directory.
    pub(super) fn path(&self) -> &Path {
        &self.state
    }

    /// The index, oldest first.
    fn lines(&self) -> Vec<Line> {
        self.index.read().ok().flatten().unwrap_or_default()
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

    fn remove_all_but(&self, lines: &[Line]) -> io::Result<()> {
        for entry in fs::read_dir(&self.state)? {
            let other = entry?.file_name();
            let is_kept = |other: &str| lines.iter().any(|line| line.folder == other);
            if other.to_str().is_some_and(|other| other.starts_with(PREFIX) && !is_kept(other)) {
                remove_folder(&self.state.join(other))?;
            }
        }
        Ok(())
    }
}

impl From<Line> for KeptPolicy {
    fn from(line: Line) -> Self {
        let Line { generation, since, digest, folder: _ } = line;
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(since)).unwrap_or(UNIX_EPOCH);
        Self { generation, since, digest }
    }
}

fn damaged(folder: PathBuf) -> Diagnostic {
    Diagnostic::about(folder, "the copy of the last good policy was changed or damaged")
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

/// What tells one set of files from another, by their names and bytes; the name of their folder.
pub(super) fn fingerprint(sources: &[Source]) -> String {
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

const INDEX: &str = "generations.json";
const LINK: &str = "last-good";
const PREFIX: &str = "policy-";
const UNFINISHED: &str = ".policy.unfinished";
/// How many policies are kept.
const MAX_KEPT: usize = 10;
const UNFINISHED_LINK: &str = ".last-good.unfinished";

#[cfg(test)]
mod tests;
