//! What a setup replaced, kept in a file until it is undone.
//!
//! The file lies in a folder that only its owner may open: the settings of an engine can hold passwords. What it says is
//! written back with the rights of whoever undoes, so one that belongs to somebody else is not believed.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::apply::{ApplyFault, put};
use super::plan::Command;
use crate::config::Environment;
use crate::inspect::machine::{FileState, Machine};

/// What one target replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Each file once, in the order in which they were first written.
    pub(super) files: Vec<Replaced>,
    /// Folders that were made for them, outermost first.
    pub(super) folders: Vec<PathBuf>,
    /// What makes an undo count: command lines with their reasons.
    pub(super) commands: Vec<Command>,
}

/// A file that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replaced {
    /// Its path on the machine.
    pub(super) path: PathBuf,
    /// What stood there before the first setup.
    pub(super) original: FileState,
    /// Who owned it: user and group.
    pub(super) owner: Option<(u32, u32)>,
    /// The digests of what the last setup put there, and of what it found there of ours: where it is killed half-way,
    /// that is what still stands.
    pub(super) written: Vec<String>,
    /// Whether somebody else changed it between two setups, so that the original is not all there is to lose.
    pub(super) edited_between: bool,
    /// Whether other programs write it too for as long as the setup stands, so that nothing is lost with their changes.
    pub(super) shared: bool,
}

impl Replaced {
    /// Whether what stands there now is what a setup left, or what others may have made of it.
    pub(super) fn is_as_left(&self, now: &FileState) -> bool {
        (self.shared && *now != FileState::Absent) || self.written.contains(&digest(now))
    }
}

impl Record {
    /// The record at a place; `None` if nothing was set up.
    pub(super) fn load(place: &Path) -> Result<Option<Self>, ApplyFault> {
        let mut file = match open(place) {
            Ok(file) => file,
            Err(ApplyFault::Io { error, .. }) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let mut text = String::new();
        let read = file.read_to_string(&mut text).and_then(|_| Ok(serde_json::from_str(&text)?));
        read.map(Some).map_err(|error| ApplyFault::io(place, error))
    }

    /// Writes the record, whole or not at all.
    pub(super) fn save(&self, place: &Path) -> Result<(), ApplyFault> {
        let write = |text: String| put(place, &FileState::Text { text: text + "\n", mode: 0o600 }, None);
        let written = serde_json::to_string_pretty(self).map_err(io::Error::from).and_then(write);
        written.map_err(|error| ApplyFault::io(place, error))
    }
}

/// Keeps all others out of a folder of records, until it is dropped.
pub(super) type Lock = Flock<File>;

/// Takes hold of a folder of records, which is made if it is not there.
pub(super) fn lock(folder: &Path) -> Result<Lock, ApplyFault> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| ApplyFault::io(folder, error))?;
    Flock::lock(open(folder)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| ApplyFault::io(folder, io::Error::from(error)))
}

/// Opens a file or a folder that nobody else can have put there or changed.
fn open(path: &Path) -> Result<File, ApplyFault> {
    let opened = File::options().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    let foreign = || ApplyFault::ForeignRecord(path.to_owned());
    let file = match opened {
        Ok(file) => file,
        Err(_) if path.is_symlink() => return Err(foreign()),
        Err(error) => return Err(ApplyFault::io(path, error)),
    };
    let metadata = file.metadata().map_err(|error| ApplyFault::io(path, error))?;
    if is_own(&metadata) { Ok(file) } else { Err(foreign()) }
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == nix::unistd::geteuid().as_raw() && metadata.permissions().mode() & OTHERS_MAY_WRITE == 0
}

/// The folder of the machine that keeps the records. Root's, and those of a tree, are not below the service's own state:
/// systemd gives all of that to the service's user, who must not decide what root writes back.
pub fn folder(machine: &Machine, environment: &Environment) -> PathBuf {
    if machine.is_here() && environment.user != 0 { environment.state().join("setup") } else { ROOTS.into() }
}

/// Where the record of a target is kept.
pub(super) fn place(target: &str, machine: &Machine, records: &Path) -> Result<PathBuf, ApplyFault> {
    machine.locate(&records.join(format!("{target}.json"))).map_err(|error| ApplyFault::io(records, error))
}

/// The targets that have a record, in name order.
pub(super) fn targets(machine: &Machine, records: &Path) -> Result<Vec<String>, ApplyFault> {
    let found = machine.list(records).map_err(|error| ApplyFault::io(records, error))?;
    Ok(found.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".json").map(str::to_owned)).collect())
}

/// What tells two states of a file apart.
pub(super) fn digest(state: &FileState) -> String {
    let described = match state {
        FileState::Absent => "absent".to_owned(),
        FileState::Text { text, mode } => format!("text {mode:o} {text}"),
        FileState::Link(target) => format!("link {}", target.display()),
    };
    HEXLOWER.encode(&Sha256::digest(described))
}

const ROOTS: &str = "/var/lib/pullgate-setup";
/// The permission bits of group and others.
const OTHERS_MAY_WRITE: u32 = 0o022;
