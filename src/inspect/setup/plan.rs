//! A plan: the files to change, the commands that make the change count, and what an administrator has to know.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::DNS_PORT;
use crate::inspect::edit::EditFault;
use crate::inspect::machine::{FileState, Machine};

/// What one target needs. A plan without changes is in force already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The target's name on the command line.
    pub target: &'static str,
    /// Files, in the order in which they are written.
    pub changes: Vec<Change>,
    /// What makes the changes count, in their order; run by hand, or with `--restart`.
    pub commands: Vec<Command>,
    /// What makes it count that the files are as they were again, once they are; none: the same as `commands`.
    pub undo_commands: Vec<Command>,
    /// What this leaves open or depends on, a sentence each.
    pub notes: Vec<String>,
    /// Those files of `changes` that other programs write too from then on: no undo minds.
    pub shared: Vec<PathBuf>,
}

/// A file that is to be something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path on the machine.
    pub path: PathBuf,
    /// What stands there.
    pub before: FileState,
    /// What has to.
    pub after: FileState,
    /// Why, in one sentence.
    pub why: String,
}

/// A command line, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments.
    pub line: Vec<String>,
    /// What it does, and what it disturbs.
    pub why: String,
}

/// What every target is told.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The addresses to write, as the command line gives them (`--address`): at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Where pullgate answers, as its settings say.
    pub listen: Vec<SocketAddr>,
    /// The folder of the gateway's authority, as its settings say; `None`: it has no gateway.
    pub authority: Option<PathBuf>,
}

/// Why there can be no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SetupFault {
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: Option<String>,
}

impl Plan {
    /// A plan that changes nothing yet.
    pub fn new(target: &'static str) -> Self {
        Self { target, ..Self::default() }
    }

    /// Adds that the file `path` is to hold `text`, unless it does. Its permissions stay; a link there becomes a file.
    ///
    /// # Errors
    /// What stands there cannot be read.
    pub fn write(
        &mut self,
        machine: &Machine,
        path: impl Into<PathBuf>,
        text: impl Into<String>,
        why: impl Into<String>,
    ) -> Result<(), SetupFault> {
        let (path, text) = (path.into(), text.into());
        let before = machine.look(&path).map_err(|error| SetupFault::reading(&path, &error))?;
        let mode = if let FileState::Text { mode, .. } = before { mode } else { NEW_FILE };
        let after = FileState::Text { text, mode };
        if before != after {
            self.changes.push(Change { path, before, after, why: why.into() });
        }
        Ok(())
    }

    /// Adds that a file is to be what `edit` makes of it, or of an empty text where there is none. Of a link it is the
    /// file at its end: people keep their settings elsewhere.
    ///
    /// # Errors
    /// What stands there cannot be read, or not be edited.
    pub fn edit(
        &mut self,
        machine: &Machine,
        path: impl Into<PathBuf>,
        edit: impl FnOnce(&str) -> Result<String, EditFault>,
        why: impl Into<String>,
    ) -> Result<(), SetupFault> {
        let path = path.into();
        let path = machine.end_of(&path).map_err(|error| SetupFault::reading(&path, &error))?;
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        let text = edit(&text).map_err(|fault| SetupFault::editing(&path, &fault))?;
        self.write(machine, path, text, why)
    }

    /// Adds a command line, given as its words with blanks between.
    pub fn command(&mut self, line: &str, why: impl Into<String>) {
        self.commands
            .push(Command { line: line.split_ascii_whitespace().map(str::to_owned).collect(), why: why.into() });
    }

    /// Adds a command line whose last word comes from a file or a person, and may hold anything.
    pub fn command_on(&mut self, line: &str, object: &str, why: impl Into<String>) {
        let mut words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        words.push(object.to_owned());
        self.commands.push(Command { line: words, why: why.into() });
    }

    /// Adds a sentence that an administrator has to know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds what another plan holds, for a target that cannot do without it. Of one without changes the notes only.
    pub fn include(&mut self, other: Self) {
        if !other.changes.is_empty() {
            self.commands.extend(other.commands);
            self.undo_commands.extend(other.undo_commands);
        }
        self.changes.extend(other.changes);
        self.notes.extend(other.notes);
        self.shared.extend(other.shared);
    }
}

impl Request {
    /// The address for programs on this host: one given, else a listener on loopback, else any other.
    ///
    /// # Errors
    /// Nothing listens on port 53, the only one that a resolv.conf can name.
    pub fn host_address(&self) -> Result<IpAddr, SetupFault> {
        let localhost: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let answering = || localhost.into_iter().find(|address| self.answers_at(*address));
        let loopback = self.on_port_53().find(IpAddr::is_loopback).or_else(answering);
        self.addresses.first().copied().or(loopback).or_else(|| self.on_port_53().next()).ok_or_else(|| {
            let listen = self.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
            SetupFault::new(format!("pullgate does not listen on port 53 (server.listen: {listen})"))
                .hint("add `127.0.0.1:53` to server.listen, or name the address with --address")
        })
    }

    /// The address for containers and other machines: one given, else a listener that is not loopback.
    ///
    /// # Errors
    /// There is none: to a container, loopback is the container itself.
    pub fn reachable_address(&self) -> Result<IpAddr, SetupFault> {
        let is_wildcard = |listener: &SocketAddr| listener.port() == DNS_PORT && listener.ip().is_unspecified();
        let (message, hint) = if self.listen.iter().any(is_wildcard) {
            (
                "pullgate listens on every address: which of them is to be written is not known",
                "name one that containers reach with --address, such as 172.17.0.1 (docker0)",
            )
        } else {
            (
                "pullgate has no address that a container could reach",
                "add one of this machine's, such as `172.17.0.1:53` (docker0), to server.listen, or use --address",
            )
        };
        self.reachable().first().copied().ok_or_else(|| SetupFault::new(message).hint(hint))
    }

    /// Every address that could do for containers and other machines, those given first.
    pub fn reachable(&self) -> Vec<IpAddr> {
        let known = self.addresses.iter().copied().chain(self.on_port_53());
        known.filter(|address| !address.is_loopback()).collect()
    }

    /// Whether pullgate listens on port 53 of an address of this machine, by itself or on every address.
    pub fn answers_at(&self, address: IpAddr) -> bool {
        self.listens_on(SocketAddr::new(address, DNS_PORT))
    }

    /// The same with the port.
    pub fn listens_on(&self, address: SocketAddr) -> bool {
        self.listen.iter().filter(|listener| listener.port() == address.port()).any(|listener| {
            let is_wildcard = listener.ip().is_unspecified() && (listener.is_ipv6() || address.is_ipv4());
            listener.ip() == address.ip() || is_wildcard
        })
    }

    /// Whether a server that somebody names is known to be pullgate. Of a listener on every address only loopback is.
    pub fn is_ours(&self, server: SocketAddr) -> bool {
        self.addresses.contains(&server.ip())
            || self.listen.contains(&server)
            || (server.ip().is_loopback() && self.listens_on(server))
    }

    fn on_port_53(&self) -> impl Iterator<Item = IpAddr> {
        let usable = |address: &&SocketAddr| address.port() == DNS_PORT && !address.ip().is_unspecified();
        self.listen.iter().filter(usable).map(SocketAddr::ip)
    }
}

impl SetupFault {
    /// A fault without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// A file that could not be read.
    pub fn reading(path: &Path, error: &io::Error) -> Self {
        Self::new(format!("{} cannot be read: {error}", path.display()))
    }

    /// The text of a file of the machine, `None` where there is none; or that it cannot be read.
    ///
    /// # Errors
    /// As [`Machine::read`].
    pub fn read(machine: &Machine, path: impl AsRef<Path>) -> Result<Option<String>, Self> {
        let path = path.as_ref();
        machine.read(path).map_err(|error| Self::reading(path, &error))
    }

    /// A file that could not be edited.
    pub fn editing(path: &Path, fault: &EditFault) -> Self {
        Self::new(format!("{}: {fault}", path.display()))
    }

    /// The same with what would do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The permissions of a file that was not there: settings that every program may read.
const NEW_FILE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(addresses: &[&str], listen: &[&str]) -> Request {
        Request {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            authority: None,
        }
    }

    #[test]
    fn the_host_asks_on_loopback_and_containers_where_they_can_reach() {
        let both = request(&[], &["172.17.0.1:53", "127.0.0.1:53"]);
        assert_eq!(both.host_address().unwrap().to_string(), "127.0.0.1");
        assert_eq!(both.reachable_address().unwrap().to_string(), "172.17.0.1");
        let given = request(&["198.18.0.1"], &["127.0.0.1:53"]);
        assert_eq!(given.host_address().unwrap(), given.reachable_address().unwrap());
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback_and_is_no_other_machine_s_server() {
        for (listen, host) in [("0.0.0.0:53", "127.0.0.1"), ("[::]:53", "127.0.0.1")] {
            let everywhere = request(&[], &[listen]);
            assert_eq!(everywhere.host_address().unwrap().to_string(), host, "{listen}");
            assert!(everywhere.reachable_address().unwrap_err().hint.unwrap().contains("--address"));
            assert!(everywhere.is_ours("127.0.0.1:53".parse().unwrap()));
            assert!(!everywhere.is_ours("192.0.2.1:53".parse().unwrap()));
            assert!(!everywhere.is_ours("127.0.0.1:5300".parse().unwrap()), "another resolver's port");
        }
    }

    #[test]
    fn a_port_that_no_resolv_conf_can_name_is_a_fault() {
        assert!(request(&[], &["127.0.0.1:5300"]).host_address().unwrap_err().message.contains("127.0.0.1:5300"));
        assert!(request(&[], &["127.0.0.1:53"]).reachable_address().is_err());
        assert!(request(&["127.0.0.1"], &[]).reachable_address().is_err());
    }
}
