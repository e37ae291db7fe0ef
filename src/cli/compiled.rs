//! A policy compiled from its files, for the commands that work without a running server.

use std::path::Path;
use std::time::SystemTime;

use super::failure::Failure;
use crate::config::{PolicySource, Settings};
use crate::daemon;
use crate::diagnostic::Diagnostic;
use crate::policy::compile::{self, Compiled};

/// Compiles the policy that `settings` name, as a server would.
pub(super) fn from_settings(settings: &Settings) -> Result<Compiled, Failure> {
    compiled(&settings.policy.source, settings).map_err(Failure::Faults)
}

/// Compiles the policy of another folder, under the same settings.
pub(super) fn from_folder(folder: &Path, settings: &Settings) -> Result<Compiled, Failure> {
    compiled(&PolicySource::Directory(folder.to_owned()), settings).map_err(Failure::Faults)
}

/// The same, with the faults as they are.
pub(super) fn compiled(source: &PolicySource, settings: &Settings) -> Result<Compiled, Vec<Diagnostic>> {
    let files = daemon::policy_origin(source).read()?;
    compile::load(files, &daemon::policy_options(settings), SystemTime::now())
}
