//! One small JSON file in the state directory: replaced as a whole, so that a crash leaves the old or the new one; and
//! never believed when it is damaged.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diagnostic::Diagnostic;

/// A file of the state directory.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    folder: PathBuf,
    name: &'static str,
}

impl StateFile {
    /// The file `name` in `state`, which is created when something is written.
    pub(super) fn new(state: &Path, name: &'static str) -> Self {
        Self { folder: state.to_owned(), name }
    }

    /// What it holds; `None`: it is not there.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, Diagnostic> {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(self.damaged(&error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| self.damaged(&error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged(&error))
    }

    /// Replaces what it holds; `None`: it is removed.
    ///
    /// # Errors
    /// What the file system says; what it held before is still whole then.
    pub(super) fn write<T: Serialize>(&self, value: Option<&T>) -> io::Result<()> {
        let Some(value) = value else { return self.remove() };
        fs::create_dir_all(&self.folder)?;
        let draft = self.folder.join(format!(".{}.unfinished", self.name));
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&draft, self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Diagnostic {
        Diagnostic::about(self.path(), format!("cannot be read and counts as empty: {error}"))
            .hint("it is replaced by the next change")
    }
}

/// More than anything here writes.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_until_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::new(&root.path().join("state"), "a.json");
        assert_eq!(file.read::<Vec<u8>>(), Ok(None));
        file.write(Some(&vec![1, 2])).unwrap();
        assert_eq!(file.read(), Ok(Some(vec![1, 2])));
        file.write::<Vec<u8>>(None).unwrap();
        file.write::<Vec<u8>>(None).unwrap();
        assert_eq!(file.read::<Vec<u8>>(), Ok(None));
    }

    #[test]
    fn a_damaged_file_is_a_fault_that_names_it_and_the_next_one_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::new(root.path(), "a.json");
        for damaged in [&b"[1, 2"[..], b"", b"{}", b"\xff\0"] {
            fs::write(file.path(), damaged).unwrap();
            let fault = file.read::<Vec<u8>>().unwrap_err();
            assert!(fault.to_string().contains("a.json") && fault.message.contains("counts as empty"), "{fault}");
        }
        file.write(Some(&vec![3])).unwrap();
        assert_eq!(file.read(), Ok(Some(vec![3])));
    }

    #[test]
    fn what_a_crash_left_unfinished_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::new(root.path(), "a.json");
        file.write(Some(&vec![1])).unwrap();
        fs::write(root.path().join(".a.json.unfinished"), "[9").unwrap();
        assert_eq!(file.read(), Ok(Some(vec![1])));
        file.write(Some(&vec![2])).unwrap();
        assert_eq!(file.read(), Ok(Some(vec![2])));
    }
}
