//! A policy compiled from its files, for the commands that work without a running server.

use std::path::Path;
use std::time::SystemTime;

use super::failure::Failure;
use crate::config::{PolicySource, Settings};
use crate::diagnostic::{Diagnostic, Source};
use crate::policy::compile::{self, Compiled, Options};
use crate::policy::document::read_directory;

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
    let sources = match source {
        PolicySource::Directory(folder) => read_directory(folder)?,
        PolicySource::Embedded(text) => vec![Source::new(EMBEDDED_NAME, *text)],
    };
    let options = Options {
        mode: settings.policy.mode,
        group: settings.policy.group.clone(),
        strict: settings.policy.strict,
        statics: settings.statics.keys().cloned().collect(),
    };
    compile::load(sources, &options, SystemTime::now())
}

const EMBEDDED_NAME: &str = "(built in)";
