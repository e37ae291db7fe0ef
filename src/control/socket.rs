//! The control socket as a file: made with mode 0660, replaced when its server is dead, left alone when it is not.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A listening control socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server answers at it.
    #[error("another pullgate serves {}; stop it, or give this one its own --socket", .0.display())]
    InUse(PathBuf),
    /// Something else has that name, and is not ours to remove.
    #[error("{} is in the way: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    /// Its folder belongs to somebody else, who could put another server's socket in its place.
    #[error("{} belongs to another user; remove it, or name another place with --socket", .0.display())]
    ForeignFolder(PathBuf),
    /// It could not be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens at `path`; makes its folder if need be. The file appears with its final mode, by a rename.
    ///
    /// # Errors
    /// Another server is there, something else is in the way, or the folder or the socket cannot be made or trusted.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
            let owner = fs::metadata(folder).map_err(failed)?.uid();
            if !may_be_trusted(owner, nix::unistd::geteuid().as_raw()) {
                return Err(SocketError::ForeignFolder(folder.to_owned()));
            }
        }
        make_way(path)?;
        let draft = draft_path(path);
        let _ = fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(failed)?;
        let finished = fs::set_permissions(&draft, Permissions::from_mode(0o660))
            .and_then(|()| fs::symlink_metadata(&draft))
            .and_then(|made| fs::rename(&draft, path).map(|()| made.ino()));
        match finished {
            Ok(inode) => Ok((Self { path: path.to_owned(), inode }, listener)),
            Err(source) => {
                let _ = fs::remove_file(&draft);
                Err(failed(source))
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    /// Removes the file, unless another server put its own there meanwhile.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `user` may leave a socket in a folder of `owner`: in its own and in root's, and root everywhere.
fn may_be_trusted(owner: u32, user: u32) -> bool {
    user == 0 || owner == 0 || owner == user
}

/// Finds out whether `path` may be replaced.
fn make_way(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(there) if !there.file_type().is_socket() => Err(SocketError::InTheWay(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(SocketError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(source) => Err(SocketError::Io { path: path.to_owned(), source }),
        },
    }
}

fn draft_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group_only_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let (socket, _listener) = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_servers_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_socket, _listener) = ControlSocket::bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_live_servers_socket_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (_socket, _listener) = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)));
        assert!(error.to_string().contains(path.to_str().unwrap()));
    }

    #[tokio::test]
    async fn a_file_of_that_name_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InTheWay(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_folder_of_another_user_is_not_trusted() {
        let trusted = [(0, 0), (0, 1000), (1000, 1000), (1000, 0), (1001, 1000)];
        assert_eq!(trusted.map(|(owner, user)| may_be_trusted(owner, user)), [true, true, true, true, false]);
    }

    #[tokio::test]
    async fn a_server_that_was_replaced_does_not_remove_its_successors_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (old, listener) = ControlSocket::bind(&path).unwrap();
        drop(listener);
        let (_new, _listener) = ControlSocket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }
}
