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
    /// Another target has changed a file on top of this one.
    #[error("`setup {target}` has changed {} since", path.display())]
    SetUpOver {
        /// The other target.
        target: String,
        /// The file.
        path: PathBuf,
    },
    /// One file could not be written, and those before it could not be restored either.
    #[error("{fault}; written before that, and not to be restored now: {}", list(left))]
    HalfWritten {
        /// Why the one could not be written.
        fault: Box<ApplyFault>,
        /// What stands changed; what it was is still recorded.
        left: Vec<PathBuf>,
    },
    /// What is recorded may not have been recorded by us.
    #[error("{} belongs to somebody else, so that what it keeps cannot be trusted", _0.display())]
    ForeignRecord(PathBuf),
}

impl ApplyFault {
    pub(super) fn io(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}

/// Puts a plan in place. What stood there first is kept in `records`, a folder of the machine; what an earlier setup of
/// the same target kept stays. A plan without changes writes nothing.
///
/// # Errors
/// A file cannot be written, or is no longer what the plan was made for. All files are then what they were, unless the
/// fault names some that could not be restored; those are still recorded.
pub fn apply(plan: &Plan, machine: &Machine, records: &Path) -> Result<Applied, ApplyFault> {
    let place = record::place(plan.target, machine, records)?;
    if plan.changes.is_empty() {
        return Ok(Applied { written: Vec::new(), record: place });
    }
    let _lock = lock(&place)?;
    for change in &plan.changes {
        if look(machine, &change.path)? != change.before {
            return Err(ApplyFault::Changed(change.path.clone()));
        }
    }
    let earlier = Record::load(&place)?;
    let mut record = earlier.clone().unwrap_or_default();
    extend(&mut record, plan, machine)?;
    record.save(&place)?;
    match write_all(&plan.changes, machine) {
        Ok(()) => {
            Ok(Applied { written: plan.changes.iter().map(|change| change.path.clone()).collect(), record: place })
        }
        Err(fault @ ApplyFault::HalfWritten { .. }) => Err(fault),
        Err(fault) => {
            remove_folders(&record.folders, machine);
            // Where that fails, a record stays whose undo finds nothing to restore; the first failure is the one to tell.
            let _ = earlier.map_or_else(|| remove(&place), |earlier| earlier.save(&place));
            Err(fault)
        }
    }
}

/// Restores what stood where a target was set up, and forgets it. Where nothing was set up, nothing is done.
///
/// # Errors
/// A file was changed by somebody else since, or cannot be written. What was not restored is still recorded.
pub fn undo(
    target: &str,
    machine: &Machine,
    records: &Path,
    on_foreign_change: OnForeignChange,
) -> Result<Undone, ApplyFault> {
    let place = record::place(target, machine, records)?;
    if Record::load(&place)?.is_none() {
        return Ok(Undone::default());
    }
    let _lock = lock(&place)?;
    let Some(record) = Record::load(&place)? else { return Ok(Undone::default()) };
    let mut to_restore = Vec::new();
    let mut foreign = Vec::new();
    for file in record.files.iter().rev() {
        let now = look(machine, &file.path)?;
        if now == file.original {
            continue;
        }
        if file.edited_between || !file.is_as_left(&now) {
            foreign.push((file.path.clone(), digest(&now)));
        }
        to_restore.push(file);
    }
    if !foreign.is_empty() && on_foreign_change == OnForeignChange::Refuse {
        return Err(changed_since(foreign, target, machine, records)?);
    }
    for file in &to_restore {
        restore(file, machine).map_err(|error| ApplyFault::io(&file.path, error))?;
    }
    remove_folders(&record.folders, machine);
    remove(&place)?;
    Ok(Undone { restored: to_restore.iter().map(|file| file.path.clone()).collect(), commands: record.commands })
}

/// Who has changed files since: another target, if one has recorded that it wrote what stands there, else somebody else.
fn changed_since(
    files: Vec<(PathBuf, String)>,
    target: &str,
    machine: &Machine,
    records: &Path,
) -> Result<ApplyFault, ApplyFault> {
    for other in record::targets(machine, records)?.into_iter().filter(|other| other != target) {
        let Some(record) = Record::load(&record::place(&other, machine, records)?)? else { continue };
        let wrote = |(path, now): &&(PathBuf, String)| {
            record.files.iter().any(|file| file.path == *path && file.written.contains(now))
        };
        if let Some((path, _)) = files.iter().find(wrote) {
            return Ok(ApplyFault::SetUpOver { target: other, path: path.clone() });
        }
    }
    Ok(ApplyFault::ChangedSince(files.into_iter().map(|(path, _)| path).collect()))
}

fn restore(file: &Replaced, machine: &Machine) -> io::Result<()> {
    let path = machine.locate(&file.path)?;
    if file.original != FileState::Absent {
        make_folder_of(&path)?;
    }
    put(&path, &file.original, file.owner)
}

/// Adds what a plan replaces to what is recorded of its target.
fn extend(record: &mut Record, plan: &Plan, machine: &Machine) -> Result<(), ApplyFault> {
    for change in &plan.changes {
        let written = digest(&change.after);
        match record.files.iter_mut().find(|file| file.path == change.path) {
            Some(file) => {
                let found = digest(&change.before);
                let is_ours = file.is_as_left(&change.before);
                file.edited_between |= !is_ours && change.before != file.original;
                file.written = if is_ours { vec![found, written] } else { vec![written] };
            }
            None => record.files.push(Replaced {
                path: change.path.clone(),
                original: change.before.clone(),
                owner: owner(machine, &change.path)?,
                written: vec![written],
                edited_between: false,
                shared: plan.shared.contains(&change.path),
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
        if let Err(fault) = write_one(&change.path, &change.after, machine) {
            let restored = |change: &&Change| write_one(&change.path, &change.before, machine).is_err();
            let left: Vec<PathBuf> =
                changes[..at].iter().rev().filter(restored).map(|change| change.path.clone()).collect();
            return Err(if left.is_empty() { fault } else { ApplyFault::HalfWritten { fault: Box::new(fault), left } });
        }
    }
    Ok(())
}

/// Writes a file, which stays whose it is; a new one is that of whom the folder is, such as a home.
fn write_one(path: &Path, state: &FileState, machine: &Machine) -> Result<(), ApplyFault> {
    let owner = owner(machine, path)?;
    let place = locate(machine, path)?;
    let write = |()| put(&place, state, owner.map_or_else(|| inherited(&place), |owner| Ok(Some(owner)))?);
    make_folder_of(&place).and_then(write).map_err(|error| ApplyFault::io(path, error))
}

/// Makes a path be what `state` says, in one step. Without an `owner` the file is that of whoever writes.
pub(super) fn put(path: &Path, state: &FileState, owner: Option<(u32, u32)>) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.pullgate"));
    // One that was killed may have left it; nobody else writes at the same time.
    remove_file(&draft)?;
    let written = match state {
        FileState::Absent => return remove_file(path),
        FileState::Link(target) => symlink(target, &draft),
        FileState::Text { text, mode } => write(&draft, text, *mode),
    };
    let finished = written
        .and_then(|()| owner.map_or(Ok(()), |(user, group)| lchown(&draft, Some(user), Some(group))))
        .and_then(|()| fs::rename(&draft, path));
    // Of either failure, it is the first that is reported: the file is there or not by now.
    if finished.is_err() {
        let _ = fs::remove_file(&draft);
    } else if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    finished
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Keeps other setups out until it is dropped.
fn lock(place: &Path) -> Result<record::Lock, ApplyFault> {
    record::lock(place.parent().unwrap_or(place))
}

fn locate(machine: &Machine, path: &Path) -> Result<PathBuf, ApplyFault> {
    machine.locate(path).map_err(|error| ApplyFault::io(path, error))
}

fn look(machine: &Machine, path: &Path) -> Result<FileState, ApplyFault> {
    machine.look(path).map_err(|error| ApplyFault::io(path, error))
}

/// Who owns what stands at a path.
fn owner(machine: &Machine, path: &Path) -> Result<Option<(u32, u32)>, ApplyFault> {
    match fs::symlink_metadata(locate(machine, path)?) {
        Ok(metadata) => Ok(Some((metadata.uid(), metadata.gid()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(ApplyFault::io(path, error)),
    }
}

/// The folders above a path that are not there, outermost first.
fn missing_folders(machine: &Machine, path: &Path) -> Vec<PathBuf> {
    let is_there =
        |folder: &Path| machine.locate(&folder.join("file")).is_ok_and(|file| file.parent().is_some_and(Path::is_dir));
    let is_missing = |folder: &&Path| !is_there(folder);
    let mut missing: Vec<PathBuf> = path.ancestors().skip(1).take_while(is_missing).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Makes the folder of a file, and those above it, for every program to read whatever this one's umask is.
fn make_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) else { return Ok(()) };
    make_folder_of(folder)?;
    let owner = inherited(folder)?;
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(NEW_FOLDER))?;
    owner.map_or(Ok(()), |(user, group)| lchown(folder, Some(user), Some(group)))
}

/// Whose a new file is to be: nobody but root can choose.
fn inherited(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let Some(folder) = path.parent().filter(|_| nix::unistd::geteuid().is_root()) else { return Ok(None) };
    let metadata = fs::metadata(folder)?;
    Ok((metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid())))
}

/// Removes the folders that were made, innermost first; one in which there is something else by now stays.
fn remove_folders(folders: &[PathBuf], machine: &Machine) {
    for folder in folders.iter().rev() {
        let _ = machine.locate(folder).and_then(fs::remove_dir);
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

/// The permissions of a folder that was not there.
const NEW_FOLDER: u32 = 0o755;

#[cfg(test)]
mod tests;
