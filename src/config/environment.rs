//! What the settings take from the process: who runs it, where it may keep things, how many cores there are.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// The process's surroundings as a plain value, so that settings are a function of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The effective user id; 0 is root.
    pub user: u32,
    /// How many cores there are; 0 counts as 1.
    pub cores: usize,
    /// `$STATE_DIRECTORY`, set by systemd.
    pub state_directory: Option<PathBuf>,
    /// `$RUNTIME_DIRECTORY`, set by systemd.
    pub runtime_directory: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        Self {
            user: nix::unistd::geteuid().as_raw(),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            state_directory: absolute(std::env::var_os("STATE_DIRECTORY")),
            runtime_directory: absolute(std::env::var_os("RUNTIME_DIRECTORY")),
            xdg_state_home: absolute(std::env::var_os("XDG_STATE_HOME")),
            xdg_runtime_dir: absolute(std::env::var_os("XDG_RUNTIME_DIR")),
            home: absolute(std::env::var_os("HOME")),
        }
    }

    /// Where the last good policy and the history are kept unless `policy.state` says otherwise.
    pub fn state(&self) -> PathBuf {
        self.state_of(OWN_FOLDER)
    }

    /// The same of a gateway that is a process of its own.
    pub fn gateway_state(&self) -> PathBuf {
        self.state_of(GATEWAY_FOLDER)
    }

    /// Where the control socket is unless `control.socket` says otherwise.
    pub fn control_socket(&self) -> PathBuf {
        self.socket_of(OWN_FOLDER)
    }

    /// The same of a gateway that is a process of its own.
    pub fn gateway_socket(&self) -> PathBuf {
        self.socket_of(GATEWAY_FOLDER)
    }

    fn state_of(&self, name: &str) -> PathBuf {
        if let Some(given) = &self.state_directory {
            return given.clone();
        }
        if self.user == 0 {
            return Path::new(SYSTEM_STATE).join(name);
        }
        match (&self.xdg_state_home, &self.home) {
            (Some(state), _) => state.join(name),
            (None, Some(home)) => home.join(".local/state").join(name),
            (None, None) => self.temporary(name),
        }
    }

    fn socket_of(&self, name: &str) -> PathBuf {
        let folder = match (&self.runtime_directory, &self.xdg_runtime_dir) {
            (Some(given), _) => given.clone(),
            (None, _) if self.user == 0 => Path::new(SYSTEM_RUNTIME).join(name),
            (None, Some(runtime)) => runtime.join(name),
            (None, None) => self.temporary(name),
        };
        folder.join("control.sock")
    }

    /// A folder of this user's where there is no better one. Its name can be guessed: whoever uses it must own it.
    fn temporary(&self, name: &str) -> PathBuf {
        Path::new("/tmp").join(format!("{name}-{}", self.user))
    }
}

/// A path from the environment; relative ones are ignored, as the XDG base directory specification asks, and of systemd's
/// colon-separated lists the first counts.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    let value = value?;
    let path = std::env::split_paths(&value).next()?;
    path.is_absolute().then_some(path)
}

/// Where the state is of a service that root starts without systemd, and where its control socket.
const SYSTEM_STATE: &str = "/var/lib";
const SYSTEM_RUNTIME: &str = "/run";
/// Control socket of the packaged service, and of one that root starts without systemd.
pub const SYSTEM_SOCKET: &str = "/run/pullgate/control.sock";
const OWN_FOLDER: &str = "pullgate";
const GATEWAY_FOLDER: &str = "pullgate-gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_keeps_things_in_the_system_s_folders() {
        let root = Environment { xdg_runtime_dir: Some("/run/user/0".into()), ..Environment::default() };
        assert_eq!(root.state(), Path::new("/var/lib/pullgate"));
        assert_eq!(root.control_socket(), Path::new("/run/pullgate/control.sock"));
    }

    #[test]
    fn a_gateway_of_its_own_keeps_its_own_things() {
        let root = Environment::default();
        assert_eq!(root.gateway_state(), Path::new("/var/lib/pullgate-gateway"));
        assert_eq!(root.gateway_socket(), Path::new("/run/pullgate-gateway/control.sock"));
    }

    #[test]
    fn a_service_uses_the_folders_systemd_made() {
        let service = Environment {
            user: 61000,
            state_directory: Some("/var/lib/pullgate".into()),
            runtime_directory: Some("/run/pullgate".into()),
            ..Environment::default()
        };
        assert_eq!(service.state(), Path::new("/var/lib/pullgate"));
        assert_eq!(service.control_socket(), Path::new("/run/pullgate/control.sock"));
    }

    #[test]
    fn a_user_keeps_things_at_home() {
        let user = Environment { user: 1000, home: Some("/home/a".into()), ..Environment::default() };
        assert_eq!(user.state(), Path::new("/home/a/.local/state/pullgate"));
        assert_eq!(user.control_socket(), Path::new("/tmp/pullgate-1000/control.sock"));
        let user =
            Environment { xdg_state_home: Some("/s".into()), xdg_runtime_dir: Some("/run/user/1000".into()), ..user };
        assert_eq!(user.state(), Path::new("/s/pullgate"));
        assert_eq!(user.control_socket(), Path::new("/run/user/1000/pullgate/control.sock"));
    }

    #[test]
    fn relative_paths_in_the_environment_are_ignored() {
        assert_eq!(absolute(Some("state".into())), None);
        assert_eq!(absolute(Some("/a:/b".into())), Some("/a".into()));
    }
}
