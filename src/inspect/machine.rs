//! The files of a machine, or of a tree that one will boot from.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A machine whose files are looked at: this one, or the tree of another below a folder. Paths are always written as the
/// machine itself sees them; links are followed within its tree.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Nothing.
    Absent,
    /// A file of text, with its permission bits.
    Text {
        /// Its content.
        text: String,
        /// Its permissions, such as `0o644`.
        mode: u32,
    },
    /// A symbolic link, with what it names.
    Link(PathBuf),
}

impl Machine {
    /// The machine this program runs on.
    pub fn here() -> Self {
        Self::under("/")
    }

    /// The machine whose root folder is `root`.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether it is the running one, so that its processes and its network can be asked as well.
    pub fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the machine is for this program, the last component not followed if it is a link.
    ///
    /// # Errors
    /// More links on the way than are followed.
    pub fn locate(&self, path: &Path) -> io::Result<PathBuf> {
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => Ok(self.follow(folder)?.join(name)),
            _ => self.follow(path),
        }
    }

    /// What stands at a path, a link not followed.
    ///
    /// # Errors
    /// Permissions, folders and special files, text that is not UTF-8, files above 1 MiB.
    pub fn look(&self, path: &Path) -> io::Result<FileState> {
        let place = self.locate(path)?;
        let metadata = match fs::symlink_metadata(&place) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return Ok(FileState::Absent),
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            return Ok(FileState::Link(fs::read_link(&place)?));
        }
        if !metadata.is_file() || metadata.len() > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file of text"));
        }
        Ok(FileState::Text { text: fs::read_to_string(&place)?, mode: metadata.permissions().mode() & 0o7777 })
    }

    /// The text of a file, links followed; `None` where there is none.
    ///
    /// # Errors
    /// As [`Machine::look`].
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Option<String>> {
        match self.look(&self.end_of(path.as_ref())?)? {
            FileState::Text { text, .. } => Ok(Some(text)),
            FileState::Absent | FileState::Link(_) => Ok(None),
        }
    }

    /// Whether something stands at a path, a link not followed.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.locate(path.as_ref()).and_then(fs::symlink_metadata).is_ok()
    }

    /// The path itself, or where the links lead that begin there.
    ///
    /// # Errors
    /// As [`Machine::look`].
    pub fn end_of(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.look(&path)? {
                FileState::Link(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
                FileState::Absent | FileState::Text { .. } => return Ok(path),
            }
        }
        Err(too_many_links())
    }

    /// The paths in a folder, in name order; none where there is no such folder.
    ///
    /// # Errors
    /// Permissions.
    pub fn list(&self, folder: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let entries = match fs::read_dir(self.follow(folder)?) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names: io::Result<Vec<_>> = entries.map(|entry| Ok(folder.join(entry?.file_name()))).collect();
        names.map(|mut paths| {
            paths.sort();
            paths
        })
    }

    /// Where a path of the machine is, links on the way and at its end followed within the tree. What is returned has no
    /// link on the way that the kernel could follow out of it.
    fn follow(&self, path: &Path) -> io::Result<PathBuf> {
        let mut seen = PathBuf::new();
        let mut links = 0;
        let mut left = parts_backwards(path);
        while let Some(part) = left.pop() {
            if part == ".." {
                seen.pop();
                continue;
            }
            seen.push(part);
            let Ok(target) = fs::read_link(self.root.join(&seen)) else { continue };
            links += 1;
            if links > MAX_LINKS {
                return Err(too_many_links());
            }
            if target.is_absolute() {
                seen.clear();
            } else {
                seen.pop();
            }
            left.extend(parts_backwards(&target));
        }
        Ok(self.root.join(seen))
    }
}

/// The names and the `..` of a path, last first.
fn parts_backwards(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

fn too_many_links() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "too many links")
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Links followed on the way to one file, as the kernel does.
const MAX_LINKS: usize = 40;
/// More than any of the files looked at has reason to be.
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn links_are_followed_within_the_tree_only() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("run/systemd/resolve")).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("run/systemd/resolve/stub-resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", root.path().join("etc/resolv.conf")).unwrap();
        symlink("/etc", root.path().join("absolute")).unwrap();
        symlink("../../../../etc", root.path().join("above")).unwrap();
        symlink("/etc", root.path().join("run/systemd/deep")).unwrap();
        let machine = Machine::under(root.path());
        for path in ["/etc/resolv.conf", "/absolute/resolv.conf", "/above/resolv.conf", "/run/systemd/deep/resolv.conf"]
        {
            assert_eq!(machine.read(path).unwrap().as_deref(), Some("nameserver 127.0.0.53\n"), "{path}");
        }
        assert_eq!(
            machine.look(Path::new("/etc/resolv.conf")).unwrap(),
            FileState::Link("../run/systemd/resolve/stub-resolv.conf".into())
        );
        assert_eq!(machine.list("/absolute").unwrap(), [Path::new("/absolute/resolv.conf")]);
    }

    #[test]
    fn links_without_end_lead_nowhere_and_not_out_of_the_tree() {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(outside.path().join("file"), "outside").unwrap();
        for number in 0..=MAX_LINKS {
            symlink(format!("/{}", number + 1), root.path().join(number.to_string())).unwrap();
            symlink(format!("x{0}/x{0}", number + 1), root.path().join(format!("x{number}"))).unwrap();
        }
        symlink(outside.path(), root.path().join((MAX_LINKS + 1).to_string())).unwrap();
        let machine = Machine::under(root.path());
        for first in 0..=MAX_LINKS + 1 {
            let path = PathBuf::from(format!("/{first}/file"));
            assert!(!machine.has(&path) && machine.read(&path).ok().flatten().is_none(), "{}", path.display());
        }
        assert!(machine.locate(Path::new("/0/file")).is_err());
        assert!(machine.locate(Path::new("/x0/file")).is_err(), "each names the next twice");
    }

    #[test]
    fn what_is_not_there_is_absent_and_a_loop_is_an_error() {
        let root = TempDir::new().unwrap();
        symlink("/loop", root.path().join("loop")).unwrap();
        let machine = Machine::under(root.path());
        assert_eq!(machine.look(Path::new("/etc/docker/daemon.json")).unwrap(), FileState::Absent);
        assert_eq!(machine.read("/etc/resolv.conf").unwrap(), None);
        assert_eq!(machine.list("/etc").unwrap(), Vec::<PathBuf>::new());
        assert!(machine.read("/loop").is_err());
    }
}
