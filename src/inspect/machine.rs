//! The files of a machine, or of a tree that one will boot from.

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
    pub fn locate(&self, path: &Path) -> PathBuf {
        let mut place = self.root.clone();
        place.extend(path.components().filter(|part| matches!(part, Component::Normal(_))));
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return place };
        self.follow(folder, MAX_LINKS).join(name)
    }

    /// What stands at a path, a link not followed.
    ///
    /// # Errors
    /// Permissions, folders and special files, text that is not UTF-8, files above 1 MiB.
    pub fn look(&self, path: &Path) -> io::Result<FileState> {
        let place = self.locate(path);
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
        fs::symlink_metadata(self.locate(path.as_ref())).is_ok()
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
        Err(io::Error::new(io::ErrorKind::InvalidData, "too many links"))
    }

    /// The paths in a folder, in name order; none where there is no such folder.
    ///
    /// # Errors
    /// Permissions.
    pub fn list(&self, folder: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let entries = match fs::read_dir(self.follow(folder, MAX_LINKS)) {
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

    /// Where a path of the machine is, links on the way and at its end followed within the tree.
    fn follow(&self, path: &Path, links_left: usize) -> PathBuf {
        let mut seen = PathBuf::from("/");
        for part in path.components() {
            match part {
                Component::Normal(name) => seen.push(name),
                Component::ParentDir => drop(seen.pop()),
                _ => continue,
            }
            let place = self.root.join(seen.strip_prefix("/").unwrap_or(&seen));
            if let (Ok(target), Some(links_left)) = (fs::read_link(place), links_left.checked_sub(1)) {
                seen.pop();
                let place = self.follow(&seen.join(target), links_left);
                seen = Path::new("/").join(place.strip_prefix(&self.root).unwrap_or(&place));
            }
        }
        self.root.join(seen.strip_prefix("/").unwrap_or(&seen))
    }
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
        let machine = Machine::under(root.path());
        for path in ["/etc/resolv.conf", "/absolute/resolv.conf", "/above/resolv.conf"] {
            assert_eq!(machine.read(path).unwrap().as_deref(), Some("nameserver 127.0.0.53\n"), "{path}");
        }
        assert_eq!(
            machine.look(Path::new("/etc/resolv.conf")).unwrap(),
            FileState::Link("../run/systemd/resolve/stub-resolv.conf".into())
        );
        assert_eq!(machine.list("/absolute").unwrap(), [Path::new("/absolute/resolv.conf")]);
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
