//! Puts a plan in place, and takes it back.
//!
//! Each file is replaced by a rename, so that no program ever reads half of one, and what stood there first is recorded
//! before. A plan is applied whole or not at all: when a file cannot be written, those before it are restored.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use super::plan::{Change, Command, Plan};
use super::record::{self, Record, Replaced, digest};
use crate::inspect::machine::{FileState, Machine};

/// A plan that was put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The files written, in their order.
    pub written: Vec<PathBuf>,
    /// The file that keeps what they were.
    pub record: PathBuf,
}

/// A plan that was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// The files that are as they were before, in the order in which they were restored.
    pub restored: Vec<PathBuf>,
    /// What makes it count.
    pub commands: Vec<Command>,
}

/// What an undo does about a file that somebody else has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnForeignChange {
    /// It restores nothing.
    Refuse,
    /// It restores the file all the same.
    Overwrite,
}

/// Why a plan could not be put in place or taken back.
#[derive(Debug, thiserror::Error)]
pub enum ApplyFault {
    /// What the file system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// A file is not what the plan was made for.
    #[error("{} has changed while it was being looked at", _0.display())]
    Changed(PathBuf),
    /// An undo would lose what somebody else wrote.
    #[error("changed by somebody else since: {}", list(_0))]
    ChangedSince(Vec<PathBuf>),
    /// What is recorded may not have been recorded by us.
    #[error("{} belongs to somebody else, so that what it keeps cannot be trusted", _0.display())]
    ForeignRecord(PathBuf),
}

impl ApplyFault {
    pub(super) fn io(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}

/// Puts a plan in place. What stood there first is kept below `state`, a folder of the machine; what an earlier setup of
/// the same target kept stays. A plan without changes writes nothing.
///
/// # Errors
/// A file cannot be written, or is no longer what the plan was made for. All files are then what they were.
pub fn apply(plan: &Plan, machine: &Machine, state: &Path) -> Result<Applied, ApplyFault> {
    let place = record::place(plan.target, machine, state);
    if plan.changes.is_empty() {
        return Ok(Applied { written: Vec::new(), record: place });
    }
    for change in &plan.changes {
        if look(machine, &change.path)? != change.before {
            return Err(ApplyFault::Changed(change.path.clone()));
        }
    }
    let earlier = Record::load(&place)?;
    let mut record = earlier.clone().unwrap_or_default();
    extend(&mut record, plan, machine)?;
    record.save(&place)?;
    if let Err(fault) = write_all(&plan.changes, machine) {
        remove_folders(&record.folders, machine);
        match earlier {
            Some(earlier) => earlier.save(&place)?,
            None => remove(&place)?,
        }
        return Err(fault);
    }
    Ok(Applied { written: plan.changes.iter().map(|change| change.path.clone()).collect(), record: place })
}

/// Restores what stood where a target was set up, and forgets it. Where nothing was set up, nothing is done.
///
/// # Errors
/// A file was changed by somebody else since, or cannot be written. What was not restored is still recorded.
pub fn undo(
    target: &str,
    machine: &Machine,
    state: &Path,
    on_foreign_change: OnForeignChange,
) -> Result<Undone, ApplyFault> {
    let place = record::place(target, machine, state);
    let Some(record) = Record::load(&place)? else { return Ok(Undone::default()) };
    let mut to_restore = Vec::new();
    let mut foreign = Vec::new();
    for file in record.files.iter().rev() {
        let now = look(machine, &file.path)?;
        if now == file.original {
            continue;
        }
        if file.edited_between || digest(&now) != file.written {
            foreign.push(file.path.clone());
        }
        to_restore.push(file);
    }
    if !foreign.is_empty() && on_foreign_change == OnForeignChange::Refuse {
        return Err(ApplyFault::ChangedSince(foreign));
    }
    for file in &to_restore {
        let path = machine.locate(&file.path);
        put(&path, &file.original, file.owner).map_err(|error| ApplyFault::io(&file.path, error))?;
    }
    remove_folders(&record.folders, machine);
    remove(&place)?;
    Ok(Undone { restored: to_restore.iter().map(|file| file.path.clone()).collect(), commands: record.commands })
}

/// Adds what a plan replaces to what is recorded of its target.
fn extend(record: &mut Record, plan: &Plan, machine: &Machine) -> Result<(), ApplyFault> {
    for change in &plan.changes {
        let written = digest(&change.after);
        match record.files.iter_mut().find(|file| file.path == change.path) {
            Some(file) => {
                file.edited_between |= digest(&change.before) != file.written && change.before != file.original;
                file.written = written;
            }
            None => record.files.push(Replaced {
                path: change.path.clone(),
                original: change.before.clone(),
                owner: owner(machine, &change.path)?,
                written,
                edited_between: false,
            }),
        }
        for folder in missing_folders(machine, &change.path) {
            if !record.folders.contains(&folder) {
                record.folders.push(folder);
            }
        }
    }
    for command in if plan.undo_commands.is_empty() { &plan.commands } else { &plan.undo_commands } {
        if !record.commands.contains(command) {
            record.commands.push(command.clone());
        }
    }
    Ok(())
}

/// Writes every file; when one cannot be, restores those before it.
fn write_all(changes: &[Change], machine: &Machine) -> Result<(), ApplyFault> {
    for (at, change) in changes.iter().enumerate() {
        let path = machine.locate(&change.path);
        let written = owner(machine, &change.path).and_then(|owner| {
            make_folder(&path)
                .and_then(|()| put(&path, &change.after, owner))
                .map_err(|error| ApplyFault::io(&change.path, error))
        });
        if let Err(fault) = written {
            for written in changes[..at].iter().rev() {
                let path = machine.locate(&written.path);
                let owner = owner(machine, &written.path)?;
                put(&path, &written.before, owner).map_err(|error| ApplyFault::io(&written.path, error))?;
            }
            return Err(fault);
        }
    }
    Ok(())
}

/// Makes a path be what `state` says, in one step. Without an `owner` the file is that of whoever writes.
pub(super) fn put(path: &Path, state: &FileState, owner: Option<(u32, u32)>) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.pullgate-{}", std::process::id()));
    let written = match state {
        FileState::Absent => return remove_file(path),
        FileState::Link(target) => symlink(target, &draft),
        FileState::Text { text, mode } => write(&draft, text, *mode),
    };
    let finished = written
        .and_then(|()| owner.map_or(Ok(()), |(user, group)| lchown(&draft, Some(user), Some(group))))
        .and_then(|()| fs::rename(&draft, path));
    if finished.is_err() {
        // The failure that is reported is the one that matters.
        let _ = fs::remove_file(&draft);
    }
    finished
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn look(machine: &Machine, path: &Path) -> Result<FileState, ApplyFault> {
    machine.look(path).map_err(|error| ApplyFault::io(path, error))
}

/// Who owns what stands at a path.
fn owner(machine: &Machine, path: &Path) -> Result<Option<(u32, u32)>, ApplyFault> {
    match fs::symlink_metadata(machine.locate(path)) {
        Ok(metadata) => Ok(Some((metadata.uid(), metadata.gid()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(ApplyFault::io(path, error)),
    }
}

/// The folders above a path that are not there, outermost first.
fn missing_folders(machine: &Machine, path: &Path) -> Vec<PathBuf> {
    let is_missing = |folder: &&Path| !machine.locate(&folder.join("file")).parent().is_some_and(Path::is_dir);
    let mut missing: Vec<PathBuf> = path.ancestors().skip(1).take_while(is_missing).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Removes the folders that were made, innermost first; one in which there is something else by now stays.
fn remove_folders(folders: &[PathBuf], machine: &Machine) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(machine.locate(folder));
    }
}

fn remove(path: &Path) -> Result<(), ApplyFault> {
    remove_file(path).map_err(|error| ApplyFault::io(path, error))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
