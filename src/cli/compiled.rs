//! A policy compiled from its files, for the commands that work without a running server.

use std::path::Path;
use std::time::SystemTime;

use super::failure::Failure;
use super::options::Loaded;
use crate::config::PolicySource;
use crate::daemon;
use crate::diagnostic::Diagnostic;
use crate::policy::compile::{self, Compiled, Options, Tested};

/// Compiles the policy that `settings` name, as a server would.
pub(super) fn from_settings(loaded: &Loaded) -> Result<Compiled, Failure> {
    compiled(&loaded.settings.policy.source, loaded).map_err(Failure::Faults)
}

/// Compiles the policy of another folder, under the same settings.
pub(super) fn from_folder(folder: &Path, loaded: &Loaded) -> Result<Compiled, Failure> {
    self::folder(folder, loaded).map_err(Failure::Faults)
}

/// The same, with the faults as they are.
pub(super) fn folder(folder: &Path, loaded: &Loaded) -> Result<Compiled, Vec<Diagnostic>> {
    compiled(&PolicySource::Directory(folder.to_owned()), loaded)
}

/// Holds the assertions of a folder, else of the settings' policy, against what it decides.
pub(super) fn tested(folder: Option<&Path>, loaded: &Loaded) -> Result<Vec<Tested>, Vec<Diagnostic>> {
    let folder = folder.map(|folder| PolicySource::Directory(folder.to_owned()));
    let source = folder.as_ref().unwrap_or(&loaded.settings.policy.source);
    let files = daemon::policy_origin(source).read()?;
    compile::test(files, &options(loaded), SystemTime::now())
}

/// Compiles a policy, as a server would.
pub(super) fn compiled(source: &PolicySource, loaded: &Loaded) -> Result<Compiled, Vec<Diagnostic>> {
    let files = daemon::policy_origin(source).read()?;
    compile::load(files, &options(loaded), SystemTime::now())
}

/// What the settings say about the policy. Without a settings file nobody knows whether there will be a gateway: whoever
/// writes a policy for another machine is not told that this one has none.
fn options(loaded: &Loaded) -> Options {
    let options = daemon::policy_options(&loaded.settings);
    let has_gateway = options.has_gateway || loaded.file.is_none();
    Options { has_gateway, ..options }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Settings};

    #[test]
    fn without_a_settings_file_a_policy_may_count_on_a_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let text = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\npath = \"pass\"\n";
        std::fs::write(folder.path().join("a.toml"), text).unwrap();
        let compiles = |file: Option<&Path>| {
            let settings = Settings::embedded(&Environment::of_process());
            let loaded = Loaded { settings, file: file.map(Path::to_owned), warnings: Vec::new() };
            from_folder(folder.path(), &loaded).is_ok()
        };
        assert!(compiles(None));
        assert!(!compiles(Some(Path::new("pullgate.toml"))), "these settings have none");
    }
}
