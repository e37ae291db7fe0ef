//! What a setup replaced, kept in a file until it is undone.
//!
//! The file lies in a folder that only its owner may open: the settings of an engine can hold passwords. What it says is
//! written back with the rights of whoever undoes, so one that belongs to somebody else is not believed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::apply::{ApplyFault, put};
use super::plan::Command;
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
    /// The digest of what the last setup put there.
    pub(super) written: String,
    /// Whether somebody else changed it between two setups, so that the original is not all there is to lose.
    pub(super) edited_between: bool,
}

impl Record {
    /// The record of a target; `None` if nothing was set up.
    pub(super) fn load(place: &Path) -> Result<Option<Self>, ApplyFault> {
        let text = match fs::read_to_string(place) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ApplyFault::io(place, error)),
        };
        place.parent().into_iter().chain([place]).try_for_each(check_owner)?;
        serde_json::from_str(&text).map(Some).map_err(|error| ApplyFault::io(place, error.into()))
    }

    /// Writes the record of a target, whole or not at all.
    pub(super) fn save(&self, place: &Path) -> Result<(), ApplyFault> {
        let write = |text: String| put(place, &FileState::Text { text: text + "\n", mode: 0o600 }, None);
        if let Some(folder) = place.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| ApplyFault::io(folder, error))?;
            check_owner(folder)?;
        }
        let written = serde_json::to_string_pretty(self).map_err(io::Error::from).and_then(write);
        written.map_err(|error| ApplyFault::io(place, error))
    }
}

/// Refuses what another user may have put there.
fn check_owner(path: &Path) -> Result<(), ApplyFault> {
    let metadata = fs::symlink_metadata(path).map_err(|error| ApplyFault::io(path, error))?;
    let is_own = !metadata.is_symlink() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if is_own { Ok(()) } else { Err(ApplyFault::ForeignRecord(path.to_owned())) }
}

/// Where the record of a target is kept.
pub(super) fn place(target: &str, machine: &Machine, state: &Path) -> PathBuf {
    machine.locate(&state.join("setup")).join(format!("{target}.json"))
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
