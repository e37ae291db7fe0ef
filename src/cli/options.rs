//! The options every command takes, and the settings and server they lead to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::address::{self, DNS_PORT};
use crate::config::{Environment, PolicySource, SYSTEM_SOCKET, Settings};
use crate::control::Client;
use crate::diagnostic::{Diagnostic, Source};
use crate::inspect::machine::Machine;

/// Options that any command takes, before or after its name.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where things are")]
pub(super) struct Options {
    /// Settings file [default: /etc/pullgate/pullgate.toml if there is one, else the built-in default]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Policy folder, instead of the settings' own
    #[arg(long, global = true, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Answer here instead of where the settings say; may be repeated [port: 53 if not given]
    #[arg(long, global = true, value_name = "ADDR", value_parser = listen_address)]
    listen: Vec<SocketAddr>,
    /// Control socket, instead of the settings' own
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Settings, and where they come from.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What they say, options applied.
    pub(super) settings: Settings,
    /// Their file; `None`: the built-in default.
    pub(super) file: Option<PathBuf>,
    /// What somebody should look at.
    pub(super) warnings: Vec<Diagnostic>,
}

impl Options {
    /// Refuses options that the command does nothing with: they were meant to change something.
    pub(super) fn refuse_all_but(&self, used: &[&str]) -> Result<(), Failure> {
        let given = [
            ("--config", self.config.is_some()),
            ("--policy", self.policy.is_some()),
            ("--listen", !self.listen.is_empty()),
            ("--socket", self.socket.is_some()),
        ];
        let unused = given.into_iter().find(|(option, given)| *given && !used.contains(option));
        let failure =
            |option| Failure::Usage { message: format!("{option} means nothing to this command"), hint: None };
        unused.map_or(Ok(()), |(option, _)| Err(failure(option)))
    }

    /// The settings with the options applied.
    pub(super) fn settings(&self) -> Result<Loaded, Failure> {
        self.settings_of(&Machine::here())
    }

    /// The same for another machine's own settings file, where the command line names none.
    pub(super) fn settings_of(&self, machine: &Machine) -> Result<Loaded, Failure> {
        let mut loaded = self.read_settings(machine)?;
        let settings = &mut loaded.settings;
        if let Some(folder) = &self.policy {
            settings.policy.source = PolicySource::Directory(folder.clone());
        }
        if !self.listen.is_empty() {
            settings.server.listen.clone_from(&self.listen);
        }
        if let Some(socket) = &self.socket {
            settings.control.socket.clone_from(socket);
        }
        Ok(loaded)
    }

    /// Whether the command line names a control socket.
    pub(super) fn names_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// The policy folder that the command line names.
    pub(super) fn policy(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// The server to ask: at `--socket`, else where the settings say. Where neither names a socket and this user has no
    /// server, it is the system's service: systemd tells its folder to the service alone.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(Client::new(socket));
        }
        let named = self.read_settings(&Machine::here())?.settings.control.socket;
        let is_default = self.config.is_none() && named == Environment::of_process().control_socket();
        let service = Path::new(SYSTEM_SOCKET);
        Ok(Client::new(if is_default && !named.exists() && service.exists() { service } else { &named }))
    }

    fn read_settings(&self, machine: &Machine) -> Result<Loaded, Failure> {
        let environment = Environment::of_process();
        let usual = Path::new(DEFAULT_CONFIG);
        let (file, read) = match &self.config {
            Some(given) => (given.clone(), std::fs::read_to_string(given).map(Some)),
            None => (machine.locate(usual).unwrap_or_else(|_| usual.to_owned()), machine.read(usual)),
        };
        let text = match read {
            Ok(Some(text)) => text,
            Ok(None) => {
                return Ok(Loaded { settings: Settings::embedded(&environment), file: None, warnings: Vec::new() });
            }
            Err(error) => {
                let fault = Diagnostic::about(&file, format!("cannot be read: {error}"));
                return Err(Failure::Faults(vec![fault]));
            }
        };
        let parsed = Settings::parse(&Source::new(&file, text), &environment);
        let (settings, warnings) = parsed.map_err(Failure::Faults)?;
        Ok(Loaded { settings, file: Some(file), warnings })
    }
}

/// Runs what a command asks the server, on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Io(format!("cannot start: {error}")))?.block_on(work)
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    address::parse_socket(text, DNS_PORT).map_err(|fault| format!("{}: {}", fault.message, fault.hint))
}

const DEFAULT_CONFIG: &str = "/etc/pullgate/pullgate.toml";
